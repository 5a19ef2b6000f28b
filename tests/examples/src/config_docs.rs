//! The configuration reference, from the doc comments of the configuration's structs and from its defaults.
//!
//! The sources are read line by line, in the form that rustfmt gives them: a field's attributes may span lines, its
//! declaration does not.

use std::collections::BTreeMap;

use delayq_runtime::config::Config;
use toml::{Table, Value};

use crate::repo;

const SOURCES: &str = "services/runtime/src/config";

/// A field of a struct.
#[derive(Debug, Clone, Default)]
struct Field {
    /// Its name in the file.
    name: String,
    /// Without `Option` and `Vec`.
    kind: String,
    many: bool,
    docs: String,
}

type Structs = BTreeMap<String, Vec<Field>>;

/// All public structs with public fields in one source text.
fn structs(text: &str, found: &mut Structs) {
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        let Some(name) = line
            .strip_prefix("pub struct ")
            .and_then(|rest| rest.strip_suffix(" {"))
        else {
            continue;
        };
        let mut fields = Vec::new();
        let (mut docs, mut attributes) = (String::new(), String::new());
        let mut in_attribute = false;
        for line in lines.by_ref().take_while(|line| *line != "}") {
            let line = line.trim();
            if in_attribute || line.starts_with("#[") {
                attributes.push_str(line);
                in_attribute = !line.ends_with(']');
            } else if let Some(text) = line.strip_prefix("///") {
                docs.push_str(text);
            } else if let Some(declared) = line.strip_prefix("pub ") {
                let (field, kind) = declared.split_once(": ").expect("a field and its type");
                let renamed = attributes
                    .split_once("rename = \"")
                    .and_then(|(_, rest)| rest.split('"').next());
                let kind = kind.trim_end_matches(',');
                let inner = ["Option<", "Vec<"]
                    .iter()
                    .find_map(|outer| kind.strip_prefix(outer)?.strip_suffix('>'));
                fields.push(Field {
                    name: renamed.unwrap_or(field).to_owned(),
                    kind: inner.unwrap_or(kind).to_owned(),
                    many: kind.starts_with("Vec<"),
                    docs: docs.trim().to_owned(),
                });
                docs.clear();
                attributes.clear();
            }
        }
        if !fields.is_empty() {
            found.insert(name.to_owned(), fields);
        }
    }
}

/// The doc text without its last sentence `Default …`, and that sentence's content.
fn split_default(docs: &str) -> (String, Option<String>) {
    let Some(at) = docs
        .rfind("Default ")
        .filter(|at| *at == 0 || docs.get(..*at).is_some_and(|before| before.ends_with(". ")))
    else {
        return (docs.to_owned(), None);
    };
    let (meaning, default) = docs.split_at(at);
    let default = default.trim_start_matches("Default ").trim_end_matches('.');
    (meaning.trim().to_owned(), Some(default.to_owned()))
}

fn row(out: &mut String, name: &str, field: &Field, value: Option<&Value>) {
    assert!(!field.docs.is_empty(), "{name} has no documentation");
    let (meaning, told) = split_default(&field.docs);
    let empty = |value: &Value| match value {
        Value::Table(table) => table.is_empty(),
        Value::Array(list) => list.is_empty(),
        _ => false,
    };
    // The code's own value is the truth; the comment speaks where there is none.
    let default = match value.filter(|value| !empty(value)) {
        Some(value) => format!("`{value}`"),
        None => told.unwrap_or_else(|| "none".to_owned()),
    };
    let cell = |text: &str| text.replace('|', "\\|");
    out.push_str(&format!(
        "| `{name}` | {} | {} |\n",
        cell(&default),
        cell(&meaning)
    ));
}

fn rows(
    out: &mut String,
    prefix: &str,
    fields: &[Field],
    defaults: Option<&Table>,
    structs: &Structs,
) {
    for field in fields {
        let name = format!("{prefix}{}", field.name);
        let value = defaults.and_then(|table| table.get(&field.name));
        row(out, &name, field, value);
        if let Some(inner) = structs.get(&field.kind) {
            let table = value.and_then(Value::as_table);
            rows(out, &format!("{name}."), inner, table, structs);
        }
    }
}

/// The whole reference, as Markdown.
pub fn reference() -> String {
    let mut found = Structs::new();
    let is_source = |path: &std::path::Path| path.extension().is_some_and(|e| e == "rs");
    for file in repo::files(&repo::root().join(SOURCES), &is_source) {
        let text = std::fs::read_to_string(&file).expect("a source file");
        structs(&text, &mut found);
    }
    let defaults = Value::try_from(Config::default()).expect("the defaults as TOML");
    let defaults = defaults.as_table().expect("sections");
    let mut out = INTRODUCTION.to_owned();
    let sections = found.get("Config").expect("the configuration");
    for section in sections {
        let fields = found
            .get(&section.kind)
            .unwrap_or_else(|| panic!("no struct {} in {SOURCES}", section.kind));
        let heading = if section.many {
            format!("[[{}]]", section.name)
        } else {
            format!("[{}]", section.name)
        };
        out.push_str(&format!("\n## `{heading}`\n\n{}\n\n", section.docs));
        out.push_str("| field | default | meaning |\n| --- | --- | --- |\n");
        let table = defaults.get(&section.name).and_then(Value::as_table);
        rows(&mut out, "", fields, table, &found);
    }
    out
}

const INTRODUCTION: &str = "# Configuration

Generated from `services/runtime/src/config`; a test compares. To rewrite it:
`DELAYQ_BLESS=1 cargo test -p delayq-examples-test --test documents`.

Four layers, each over the one before: the defaults below, a TOML file (`--config FILE`, else `DELAYQ_CONFIG`, else
`./delayq.toml` if it is there), environment variables `DELAYQ_SECTION__FIELD` (or `DELAYQ_SECTION__FIELD_FILE`, which names a file
that holds the value: for secrets), and `--set section.field=value`. A list is
`a,b` in a variable or in `--set`. `delayq config` prints the result, secrets hidden. An unknown key, a value out of range or
two values that contradict each other end every command with exit code 2, and all faults are listed at once.

Durations are written `\"250ms\"`, `\"5m\"`, `\"7days\"`; sizes `\"256KiB\"`, `\"64KB\"` (thousands) or a number of bytes. `topics.allow`
is the one field that has to be set.
";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_read_with_their_docs_attributes_and_types() {
        let text = "/// A.\npub struct A {\n    /// One,\n    /// and more. Default `x`.\n    #[serde(\n        default,\n        rename = \"match\"\n    )]\n    pub one: Option<B>,\n    /// Two.\n    pub two: Vec<String>,\n}\n";
        let mut found = Structs::new();
        structs(text, &mut found);
        let fields = &found["A"];
        assert_eq!(fields[0].name, "match");
        assert_eq!(fields[0].kind, "B");
        assert_eq!(fields[0].docs, "One, and more. Default `x`.");
        assert!(fields[1].many && fields[1].name == "two");
    }

    #[test]
    fn the_last_sentence_about_the_default_is_taken_off() {
        let taken = |docs| split_default(docs);
        assert_eq!(
            taken("Time. Default 45 s."),
            ("Time.".into(), Some("45 s".into()))
        );
        assert_eq!(
            taken("Default AWS's own."),
            (String::new(), Some("AWS's own".into()))
        );
        assert_eq!(taken("Has no default."), ("Has no default.".into(), None));
    }
}
