//! `[headers]`: the names of the control headers.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::check::not_blank;
use super::fault::ConfigErrors;

/// What becomes of a header that looks like a control header (`delay-…`, `deliver-…`) but is none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum UnknownHeaders {
    /// The record is refused: a misspelt `deliver-at` would publish it at once.
    Refuse,
    /// The header is passed on like any other.
    Pass,
}

/// `[headers]`: all names compare exactly, case included.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HeadersConfig {
    /// Milliseconds after the record's own timestamp. Default `delay-ms`.
    pub delay_ms: String,
    /// Due time, RFC 3339 with offset. Default `deliver-at`.
    pub deliver_at: String,
    /// Due time, milliseconds since the epoch. Default `deliver-at-ms`.
    pub deliver_at_ms: String,
    /// Target topic. Default `delay-target`.
    pub target: String,
    /// `high`, `standard`, `low` or 0–9. Default `delay-priority`.
    pub priority: String,
    /// Id of a tracked record. Default `delay-id`.
    pub id: String,
    /// `schedule` or `cancel`. Default `delay-action`.
    pub action: String,
    /// `refuse` or `pass` headers that look like controls and are none. Default `refuse`.
    pub unknown: UnknownHeaders,
}

impl Default for HeadersConfig {
    fn default() -> Self {
        Self {
            delay_ms: "delay-ms".to_owned(),
            deliver_at: "deliver-at".to_owned(),
            deliver_at_ms: "deliver-at-ms".to_owned(),
            target: "delay-target".to_owned(),
            priority: "delay-priority".to_owned(),
            id: "delay-id".to_owned(),
            action: "delay-action".to_owned(),
            unknown: UnknownHeaders::Refuse,
        }
    }
}

/// What delayq writes itself: `delayed-…` on published records, `delay-error…` on dead letters. Read as a control, a
/// forwarded record would carry orders that nobody gave.
const RESERVED_PREFIXES: [&str; 2] = ["delayed-", "delay-error"];

impl HeadersConfig {
    pub(super) fn check(&self, faults: &mut ConfigErrors) {
        let names = [
            ("headers.delay_ms", &self.delay_ms),
            ("headers.deliver_at", &self.deliver_at),
            ("headers.deliver_at_ms", &self.deliver_at_ms),
            ("headers.target", &self.target),
            ("headers.priority", &self.priority),
            ("headers.id", &self.id),
            ("headers.action", &self.action),
        ];
        let mut users: BTreeMap<&str, &str> = BTreeMap::new();
        for (key, name) in names {
            not_blank(faults, key, name);
            if let Some(prefix) = RESERVED_PREFIXES
                .iter()
                .find(|prefix| name.starts_with(**prefix))
            {
                faults.add(
                    &[key],
                    format!("\"{name}\" starts with {prefix}, which delayq writes itself"),
                    "choose another name",
                );
            }
            if let Some(other) = users.insert(name, key) {
                faults.add(
                    &[key, other],
                    format!("both are \"{name}\""),
                    "give each control header a name of its own",
                );
            }
        }
    }
}
