//! The layers above the defaults, each taken apart into settings: one key, one value, one source.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use figment::value::{Dict, Value};

use super::console::OIDC;
use super::fault::{ConfigErrors, Source};

/// What an environment variable of ours starts with.
const ENV_PREFIX: &str = "DELAYQ_";
/// Names the file, as `--config` does.
const ENV_FILE: &str = "DELAYQ_CONFIG";
/// Read if it is there and no other file is named.
const DEFAULT_FILE: &str = "delayq.toml";
/// The one field that is a map, and whose keys have dots of their own.
pub(super) const PROPERTIES: &str = "kafka.properties";

/// Where to read from. [`Sources::from_process`] is what a binary wants; tests make their own.
#[derive(Debug, Clone, Default)]
pub struct Sources {
    /// The TOML file; `None` reads none.
    pub file: Option<PathBuf>,
    /// Environment variables; those without `DELAYQ_` are ignored.
    pub env: Vec<(String, String)>,
    /// Overrides, as `section.field=value`; the last one wins.
    pub set: Vec<String>,
}

impl Sources {
    /// The file of `--config`, else of `DELAYQ_CONFIG`, else `./delayq.toml` if it exists; this process's environment;
    /// and the pairs of `--set`.
    #[must_use]
    pub fn from_process(file: Option<PathBuf>, set: Vec<String>) -> Self {
        let env: Vec<(String, String)> = std::env::vars_os()
            .map(|(name, value)| {
                (
                    name.to_string_lossy().into_owned(),
                    value.to_string_lossy().into_owned(),
                )
            })
            .filter(|(name, _)| name.starts_with(ENV_PREFIX))
            .collect();
        let named = || {
            env.iter()
                .find(|(name, value)| name == ENV_FILE && !value.is_empty())
                .map(|(_, value)| PathBuf::from(value))
        };
        let found = || Some(PathBuf::from(DEFAULT_FILE)).filter(|path| path.exists());
        Self {
            file: file.or_else(named).or_else(found),
            env,
            set,
        }
    }
}

/// A value as it was written.
#[derive(Debug, Clone)]
pub(super) enum Written {
    /// In TOML, where it has a type.
    Typed(Value),
    /// As text, whose type is the field's to say.
    Text(String),
}

/// One key with its value. Three parts only below [`PROPERTIES`], where the rest of the key is a property's name.
#[derive(Debug, Clone)]
pub(super) struct Setting {
    /// `section.field`, and one part more below [`OIDC`].
    pub(super) key: String,
    /// The property's name, if `key` is [`PROPERTIES`].
    pub(super) property: Option<String>,
    pub(super) value: Written,
    pub(super) source: Source,
}

impl Setting {
    /// The key as it is shown.
    pub(super) fn shown_key(&self) -> String {
        match &self.property {
            Some(property) => format!("{}.{property}", self.key),
            None => self.key.clone(),
        }
    }
}

/// What all layers hold.
pub(super) struct Layers {
    /// The weakest layer first.
    pub(super) settings: Vec<Setting>,
    /// Whether every layer could be read; if not, nothing can be said of what the rest adds up to.
    pub(super) whole: bool,
}

/// Takes the layers apart. `known` are the keys that exist, for a hint at misspelt variables.
pub(super) fn layers(sources: &Sources, known: &[String], faults: &mut ConfigErrors) -> Layers {
    let mut settings = Vec::new();
    let mut whole = true;
    if let Some(path) = &sources.file {
        match file(path) {
            Ok(fields) => settings = fields,
            Err((problem, remedy)) => {
                whole = false;
                let source = Source::File(path.clone());
                faults.add_from("the configuration file", source, problem, remedy);
            }
        }
    }
    environment(&sources.env, known, &mut settings, faults);
    overrides(&sources.set, &mut settings, faults);
    Layers { settings, whole }
}

/// The settings of a file, or the problem with it and its remedy.
fn file(path: &Path) -> Result<Vec<Setting>, (String, &'static str)> {
    let text = std::fs::read_to_string(path).map_err(|error| {
        (
            format!("cannot be read: {error}"),
            "name another with --config or DELAYQ_CONFIG",
        )
    })?;
    let table: toml::Table = toml::from_str(&text).map_err(|error| {
        let problem = format!("is not TOML: {}", position_only(&error, &text));
        (problem, "mend the file")
    })?;
    let sections = match Value::serialize(&table) {
        Ok(Value::Dict(_, sections)) => sections,
        _ => return Err(("cannot be understood".to_owned(), "mend the file")),
    };
    let source = Source::File(path.to_owned());
    let mut settings = Vec::new();
    for (section, value) in sections {
        let Value::Dict(_, fields) = value else {
            settings.push(Setting {
                key: section,
                property: None,
                value: Written::Typed(value),
                source: source.clone(),
            });
            continue;
        };
        for (field, value) in fields {
            let key = format!("{section}.{field}");
            match value {
                Value::Dict(_, properties) if key == PROPERTIES => {
                    for (property, value) in flatten(properties) {
                        settings.push(Setting {
                            key: key.clone(),
                            property: Some(property),
                            value: Written::Typed(value),
                            source: source.clone(),
                        });
                    }
                }
                // Field by field, as every section; without any field it is there all the same.
                Value::Dict(_, inner) if key == OIDC && !inner.is_empty() => {
                    for (field, value) in inner {
                        settings.push(Setting {
                            key: format!("{key}.{field}"),
                            property: None,
                            value: Written::Typed(value),
                            source: source.clone(),
                        });
                    }
                }
                value => settings.push(Setting {
                    key,
                    property: None,
                    value: Written::Typed(value),
                    source: source.clone(),
                }),
            }
        }
    }
    Ok(settings)
}

/// TOML's own message quotes the line, which may hold a secret: only what is wrong, and the line's number.
fn position_only(error: &toml::de::Error, text: &str) -> String {
    let line = error.span().map(|span| {
        let before = text.get(..span.start).unwrap_or_default();
        before.matches('\n').count() + 1
    });
    match line {
        Some(line) => format!("line {line}: {}", error.message()),
        None => error.message().to_owned(),
    }
}

/// `security.protocol = "ssl"` without quotes is a table in TOML: put its name together again.
fn flatten(properties: Dict) -> BTreeMap<String, Value> {
    let mut flat = BTreeMap::new();
    for (name, value) in properties {
        match value {
            Value::Dict(_, inner) => {
                for (rest, value) in flatten(inner) {
                    flat.insert(format!("{name}.{rest}"), value);
                }
            }
            value => {
                flat.insert(name, value);
            }
        }
    }
    flat
}

fn environment(
    env: &[(String, String)],
    known: &[String],
    settings: &mut Vec<Setting>,
    faults: &mut ConfigErrors,
) {
    for (name, value) in env {
        let Some(rest) = name.strip_prefix(ENV_PREFIX) else {
            continue;
        };
        let source = Source::Env(name.clone());
        // DELAYQ_CONFIG, DELAYQ_STACK_… steer the program and its tests; a key has a double underscore.
        if name.starts_with("DELAYQ_STACK_") {
            continue;
        }
        if rest.eq_ignore_ascii_case("routes") {
            faults.add_from(
                "routes",
                source,
                "a list of tables cannot be given in the environment",
                "write [[routes]] in the configuration file",
            );
            continue;
        }
        let (rest, value) = match in_a_file(rest, known) {
            Some(field) => match value_of_file(field, value, env) {
                Ok(value) => (field, value),
                Err((problem, remedy)) => {
                    faults.add_from(name, source, problem, remedy);
                    continue;
                }
            },
            None => (rest, value.clone()),
        };
        let Some((section, field)) = rest.split_once("__") else {
            // One underscore too few would be ignored in silence.
            let meant = known
                .iter()
                .find(|key| key.replace('.', "_") == rest.to_ascii_lowercase());
            if let Some(key) = meant {
                let name = key.replace('.', "__").to_ascii_uppercase();
                faults.add_from(
                    key,
                    source,
                    "section and field are parted by one underscore, so the variable would be ignored",
                    format!("name it {ENV_PREFIX}{name}"),
                );
            }
            continue;
        };
        let key = format!("{section}.{field}").to_ascii_lowercase();
        settings.push(match key.strip_prefix("kafka.properties__") {
            Some(property) => Setting {
                key: PROPERTIES.to_owned(),
                // No librdkafka property has an underscore, and no shell variable a dot.
                property: Some(property.replace('_', ".")),
                value: Written::Text(value),
                source,
            },
            None => Setting {
                key: key.replace("__", "."),
                property: None,
                value: Written::Text(value),
                source,
            },
        });
    }
}

/// The variable without `_FILE`, where that names a field and the whole does not: its value is a file that holds the field's.
fn in_a_file<'a>(rest: &'a str, known: &[String]) -> Option<&'a str> {
    const SUFFIX: &str = "_FILE";
    let (field, suffix) = rest.split_at_checked(rest.len().checked_sub(SUFFIX.len())?)?;
    let key = |name: &str| name.to_ascii_lowercase().replace("__", ".");
    let is_known = |key: &String| known.contains(key) || key.starts_with("kafka.properties.");
    let is_file = suffix.eq_ignore_ascii_case(SUFFIX);
    (is_file && !known.contains(&key(rest)) && is_known(&key(field))).then_some(field)
}

/// What the file holds, but for the end of its last line, which editors and `echo` write; or the problem and its remedy.
fn value_of_file(
    field: &str,
    path: &str,
    env: &[(String, String)],
) -> Result<String, (String, &'static str)> {
    let twin = format!("{ENV_PREFIX}{field}");
    if env.iter().any(|(name, _)| *name == twin) {
        return Err((format!("is a twin of {twin}"), "set one of the two"));
    }
    let text = std::fs::read_to_string(path).map_err(|error| {
        (
            format!("{path} cannot be read: {error}"),
            "name a file that holds the value",
        )
    })?;
    let text = text.strip_suffix('\n').unwrap_or(&text);
    Ok(text.strip_suffix('\r').unwrap_or(text).to_owned())
}

fn overrides(set: &[String], settings: &mut Vec<Setting>, faults: &mut ConfigErrors) {
    for pair in set {
        let Some((key, value)) = pair.split_once('=') else {
            faults.add_from(
                pair,
                Source::Set,
                "is not a setting",
                "write it as section.field=value",
            );
            continue;
        };
        let key = key.trim();
        let property = key
            .strip_prefix(PROPERTIES)
            .and_then(|rest| rest.strip_prefix('.'));
        settings.push(Setting {
            key: property.map_or(key, |_| PROPERTIES).to_owned(),
            property: property.map(str::to_owned),
            value: Written::Text(value.to_owned()),
            source: Source::Set,
        });
    }
}
