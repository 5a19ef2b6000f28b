//! Where each value of a configuration came from, and the configuration printed with that beside it.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use crate::config::Config;
use crate::config::fault::Source;

/// Column of the comments, where the value leaves room.
const COMMENT_COLUMN: usize = 48;

/// Where the values that are not defaults were set last, by `section.field`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Origins(pub(super) BTreeMap<String, Source>);

impl Origins {
    /// The origin of a key such as `kafka.group_id`, `kafka.properties.sasl.password` or `routes`; `None`: its default.
    #[must_use]
    pub fn of(&self, key: &str) -> Option<&Source> {
        self.0.get(key)
    }

    /// The configuration as TOML that can be loaded again (but for secrets, which are `***`), each value followed by
    /// its origin: `# default`, `# delayq.toml`, `# env DELAYQ_KAFKA__GROUP_ID` or `# --set`.
    ///
    /// # Errors
    /// A value that TOML has no form for; there is none today.
    pub fn annotate(&self, config: &Config) -> Result<String, toml::ser::Error> {
        let plain = toml::to_string(config)?;
        let mut out = String::with_capacity(plain.len() * 2);
        let mut section = String::new();
        let mut value = String::new();
        for line in plain.lines() {
            if value.is_empty() && (line.is_empty() || line.starts_with('[')) {
                if line.starts_with('[') {
                    line.trim_matches(['[', ']']).clone_into(&mut section);
                }
                out.push_str(line);
                out.push('\n');
                continue;
            }
            // A text with line breaks may be written over several lines: it ends where it can be read.
            if !value.is_empty() {
                value.push('\n');
            }
            value.push_str(line);
            let Some(key) = only_key(&value) else {
                continue;
            };
            let last = value.lines().last().map_or(0, |line| line.chars().count());
            let room = COMMENT_COLUMN.saturating_sub(last);
            let origin = self.shown(&section, &key);
            // Writing to a string does not fail.
            writeln!(out, "{value}{:room$} # {origin}", "").unwrap_or_default();
            value.clear();
        }
        out.push_str(&value);
        Ok(out)
    }

    fn shown(&self, section: &str, key: &str) -> String {
        // The list of routes is one value, whatever is in it.
        let top = section.split('.').next().unwrap_or(section);
        let source = match self.of(top) {
            Some(source) => Some(source),
            None if section.is_empty() => self.of(key),
            None => self.of(&format!("{section}.{key}")),
        };
        let shown = match source {
            None => "default".to_owned(),
            Some(Source::File(path)) => path.display().to_string(),
            Some(Source::Env(name)) => format!("env {name}"),
            Some(Source::Set) => "--set".to_owned(),
        };
        // A file's name may hold anything, a comment no line break.
        shown.replace(char::is_control, "?")
    }
}

/// The key of a `key = value`, if that is complete.
fn only_key(text: &str) -> Option<String> {
    let table: toml::Table = toml::from_str(text).ok()?;
    table.into_iter().next().map(|(key, _)| key)
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use crate::config::{Sources, load, load_with_origins};

    const FILE: &str = r#"
[topics]
allow = ["orders", "orders.*"]
[kafka]
group_id = "file"
[kafka.properties]
"ssl.ca.location" = "/etc/ca"
[[routes]]
name = "payments"
match.target = "orders"
delay.standard = "5m"
"#;

    fn line<'t>(text: &'t str, key: &str) -> &'t str {
        let begins = |line: &&str| line.starts_with(&format!("{key} = "));
        text.lines()
            .find(begins)
            .unwrap_or_else(|| panic!("no {key} in {text}"))
    }

    #[test]
    fn each_value_has_its_origin_and_the_whole_loads_back() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("delayq.toml");
        std::fs::write(&path, FILE).unwrap();
        let sources = Sources {
            file: Some(path.clone()),
            env: vec![
                ("DELAYQ_KAFKA__CLIENT_ID".into(), "two\nlines".into()),
                ("DELAYQ_KAFKA__GROUP_ID".into(), "env".into()),
                (
                    "DELAYQ_KAFKA__PROPERTIES__SASL_PASSWORD".into(),
                    "hunter2".into(),
                ),
            ],
            set: vec!["kafka.group_id=set".into(), "delays.max=3d".into()],
        };
        let (config, origins) = load_with_origins(&sources).unwrap();
        let text = origins.annotate(&config).unwrap();
        let file = format!("# {}", path.display());
        for (key, end) in [
            ("bootstrap_servers", "# default"),
            (
                "group_id",
                "\"set\"                                 # --set",
            ),
            ("max", "# --set"),
            ("allow", &file),
            ("\"ssl.ca.location\"", &file),
            (
                "\"sasl.password\"",
                "\"***\" # env DELAYQ_KAFKA__PROPERTIES__SASL_PASSWORD",
            ),
            ("name", &file),
            ("standard", &file),
            ("shards", "# default"),
        ] {
            let squeezed = |t: &str| t.split_whitespace().collect::<Vec<_>>().join(" ");
            let line = squeezed(line(&text, key));
            assert!(line.ends_with(&squeezed(end)), "{line}");
        }
        assert!(text.contains("# env DELAYQ_KAFKA__CLIENT_ID"), "{text}");
        assert!(!text.contains("hunter2"), "{text}");

        let again = folder.path().join("again.toml");
        std::fs::write(&again, &text).unwrap();
        let loaded = load(&Sources {
            file: Some(again),
            ..Sources::default()
        });
        let expected = config.to_redacted_toml().unwrap();
        assert_eq!(loaded.unwrap().to_redacted_toml().unwrap(), expected);
    }

    #[test]
    fn a_file_name_cannot_break_out_of_its_comment() {
        let folder = tempfile::tempdir().unwrap();
        let path: PathBuf = folder.path().join("a\nb.toml");
        std::fs::write(&path, FILE).unwrap();
        let sources = Sources {
            file: Some(path),
            ..Sources::default()
        };
        let (config, origins) = load_with_origins(&sources).unwrap();
        let text = origins.annotate(&config).unwrap();
        assert!(text.contains("a?b.toml"), "{text}");
        assert!(toml::from_str::<toml::Table>(&text).is_ok(), "{text}");
    }
}
