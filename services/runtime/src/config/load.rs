//! From layers to a checked configuration, with every fault on the way.
//!
//! Each setting is tried on its own, over what was accepted before it: serde's first error is then about that setting
//! alone, and the next one is tried all the same.

use std::collections::BTreeMap;

use figment::error::{Actual, Error, Kind};
use figment::providers::Serialized;
use figment::value::{Dict, Value};
use figment::{Figment, Profile};

use super::console::OIDC;
use super::fault::{ConfigErrors, Source};
use super::layers::{Layers, PROPERTIES, Setting, Sources, Written, layers};
use super::{Config, OidcConfig, Properties, RouteConfig};

mod origins;

pub use origins::Origins;

/// Reads all layers and checks the whole.
///
/// # Errors
/// Every fault of every layer: files that cannot be read, unknown keys, values of the wrong type, values out of range and
/// fields that do not fit together. Rules about a field whose value could not be read are left out, and all of them
/// if the file could not be.
pub fn load(sources: &Sources) -> Result<Config, ConfigErrors> {
    load_with_origins(sources).map(|(config, _)| config)
}

/// As [`load`], and says of each value where it came from.
///
/// # Errors
/// As [`load`].
pub fn load_with_origins(sources: &Sources) -> Result<(Config, Origins), ConfigErrors> {
    let mut faults = ConfigErrors::default();
    let mut accepted = Accepted::new();
    let known = accepted.known_keys();
    let Layers { settings, whole } = layers(sources, &known, &mut faults);
    for setting in settings {
        accepted.apply(setting, &known, &mut faults);
    }
    let Accepted {
        config, origins, ..
    } = accepted;
    if whole && let Err(unfit) = config.validate() {
        let unread = faults.clone();
        let hidden = |key: &str| unread.faults().iter().any(|fault| fault.concerns(key));
        for mut fault in unfit {
            if fault.places.iter().any(|place| hidden(&place.key)) {
                continue;
            }
            for place in &mut fault.places {
                place.source = origins.get(&place.key).cloned();
            }
            faults.push(fault);
        }
    }
    faults.into_result().map(|()| (config, Origins(origins)))
}

/// What has been accepted so far: always a whole configuration.
struct Accepted {
    figment: Figment,
    config: Config,
    /// Where each key that is not at its default was set last.
    origins: BTreeMap<String, Source>,
}

impl Accepted {
    fn new() -> Self {
        Self {
            figment: Figment::from(Serialized::defaults(Config::default())),
            config: Config::default(),
            origins: BTreeMap::new(),
        }
    }

    /// All keys, as `section.field`, and those below [`OIDC`], which is not there by default.
    fn known_keys(&self) -> Vec<String> {
        let sections = self.figment.extract::<Dict>().unwrap_or_default();
        let mut keys = Vec::new();
        for (section, fields) in &sections {
            match fields {
                Value::Dict(_, fields) => {
                    keys.extend(fields.keys().map(|field| format!("{section}.{field}")));
                }
                _ => keys.push(section.clone()),
            }
        }
        let oidc = Figment::from(Serialized::defaults(OidcConfig::default()));
        let fields = oidc.extract::<Dict>().unwrap_or_default();
        keys.extend(fields.keys().map(|field| format!("{OIDC}.{field}")));
        keys.sort();
        keys
    }

    fn apply(&mut self, setting: Setting, known: &[String], faults: &mut ConfigErrors) {
        let shown = setting.shown_key();
        if let Some((key, remedy)) = unknown(&setting.key, known) {
            return faults.add_from(&key, setting.source, "is not known", remedy);
        }
        let mut first_error = None;
        for candidate in candidates(&setting) {
            let trial = self.with(&setting, candidate);
            match trial.extract::<Config>() {
                Ok(config) => {
                    self.figment = trial;
                    self.config = config;
                    self.origins.insert(shown, setting.source);
                    return;
                }
                Err(error) => first_error = first_error.or(Some(error)),
            }
        }
        if let (ROUTES, Written::Typed(Value::Array(_, routes))) = (&*setting.key, &setting.value) {
            return unreadable_routes(routes, &setting.source, faults);
        }
        let (problem, remedy) = match &first_error {
            Some(error) if !is_secret(&setting) => explain(error),
            _ => (
                "has a value of the wrong type (not shown)".to_owned(),
                "give it a string".to_owned(),
            ),
        };
        faults.add_from(&shown, setting.source, problem, remedy);
    }

    fn with(&self, setting: &Setting, value: Value) -> Figment {
        let value = match &setting.property {
            Some(property) => Value::from(Dict::from([(property.clone(), value)])),
            None => value,
        };
        self.figment
            .clone()
            .merge(Serialized::from(value, Profile::Default).key(&setting.key))
    }
}

/// The one key that is no section: a list of tables.
const ROUTES: &str = "routes";

/// The faults of each route on its own: serde ends at the first.
fn unreadable_routes(routes: &[Value], source: &Source, faults: &mut ConfigErrors) {
    for (index, route) in routes.iter().enumerate() {
        if let Err(error) = route.deserialize::<RouteConfig>() {
            let place =
                std::iter::once(format!("routes[{index}]")).chain(error.path.iter().cloned());
            let (problem, remedy) = explain(&error);
            let key = place.collect::<Vec<_>>().join(".");
            faults.add_from(&key, source.clone(), problem, remedy);
        }
    }
}

/// The ways to read what was written, the likeliest first. Text may be a string, or stand for a number or an array; a field
/// that is a string takes even digits as they are (`DELAYQ_KAFKA__GROUP_ID=7`).
fn candidates(setting: &Setting) -> Vec<Value> {
    match &setting.value {
        Written::Typed(value) if setting.property.is_some() => vec![property_text(value)],
        Written::Typed(value) => vec![value.clone()],
        Written::Text(text) if setting.property.is_some() => vec![Value::from(text.as_str())],
        Written::Text(text) => {
            let string = Value::from(text.as_str());
            let Ok(parsed) = text.parse::<Value>();
            if text.starts_with(['[', '"']) {
                vec![parsed, string]
            } else {
                vec![string, parsed]
            }
        }
    }
}

/// librdkafka takes text; TOML may say `true` or `5000`.
fn property_text(value: &Value) -> Value {
    match value {
        Value::Bool(_, bool) => Value::from(bool.to_string()),
        Value::Num(_, number) => number
            .to_i128()
            .map(|number| number.to_string())
            .or_else(|| number.to_f64().map(|number| number.to_string()))
            .map_or_else(|| value.clone(), Value::from),
        _ => value.clone(),
    }
}

fn is_secret(setting: &Setting) -> bool {
    // Any property: what is passed to librdkafka is not ours to show.
    setting.key == PROPERTIES || Properties::is_secret(&setting.key)
}

/// What to say of a key that does not exist: the unknown part of it, and what there is in its place.
fn unknown(key: &str, known: &[String]) -> Option<(String, String)> {
    if known.iter().any(|exists| exists == key) {
        return None;
    }
    let section = key.split('.').next().unwrap_or(key);
    let fields: Vec<&str> = known
        .iter()
        .filter_map(|exists| exists.strip_prefix(section)?.strip_prefix('.'))
        .collect();
    if fields.is_empty() {
        let mut sections: Vec<&str> = known
            .iter()
            .filter_map(|exists| exists.split('.').next())
            .collect();
        sections.dedup();
        return Some((
            section.to_owned(),
            format!("there are the sections {}", sections.join(", ")),
        ));
    }
    if key == section {
        return Some((
            key.to_owned(),
            format!("it is a section: set its fields {}", fields.join(", ")),
        ));
    }
    // A field of the same name may just stand in the wrong section.
    let field = key.get(section.len() + 1..).unwrap_or_default();
    let elsewhere: Vec<&str> = known
        .iter()
        .filter(|exists| {
            exists
                .split_once('.')
                .is_some_and(|(_, name)| name == field)
        })
        .map(String::as_str)
        .collect();
    let remedy = if elsewhere.is_empty() {
        format!("[{section}] has {}", fields.join(", "))
    } else {
        format!(
            "did you mean {}? [{section}] has {}",
            elsewhere.join(" or "),
            fields.join(", ")
        )
    };
    Some((key.to_owned(), remedy))
}

fn explain(error: &Error) -> (String, String) {
    let (problem, expected) = match &error.kind {
        Kind::InvalidType(actual, expected) | Kind::InvalidValue(actual, expected) => {
            (format!("is {}", plain(actual)), expected.clone())
        }
        Kind::UnknownVariant(actual, expected) => (
            format!("is \"{actual}\""),
            format!("one of {}", expected.join(", ")),
        ),
        other => (other.to_string(), "a valid value".to_owned()),
    };
    let remedy = match expected.as_str() {
        "a duration" => {
            "give a number with a unit, such as \"250ms\", \"30s\", \"5m\" or \"7d\"".to_owned()
        }
        "a size in bytes" => {
            "give a size such as \"256KiB\", \"4MiB\" or a number of bytes".to_owned()
        }
        "a list of strings" => "give a list such as [\"orders.*\", \"billing\"]".to_owned(),
        "u32" | "u64" | "usize" | "i32" => "give a whole number".to_owned(),
        "struct OidcConfig" => format!("set its fields, such as {OIDC}.issuer"),
        other => format!("give {other}"),
    };
    (problem, remedy)
}

/// The value as it was written.
fn plain(actual: &Actual) -> String {
    match actual {
        Actual::Bool(bool) => bool.to_string(),
        Actual::Unsigned(number) => number.to_string(),
        Actual::Signed(number) => number.to_string(),
        Actual::Float(number) => number.to_string(),
        Actual::Str(text) => format!("\"{text}\""),
        Actual::Seq => "a list".to_owned(),
        Actual::Map => "a table".to_owned(),
        other => other.to_string(),
    }
}
