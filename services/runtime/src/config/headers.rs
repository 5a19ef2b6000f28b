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

/// Names that other schedulers' producers write already.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum HeaderPreset {
    /// delayq's own.
    #[default]
    Delayq,
    /// `x-delay` in milliseconds, as of RabbitMQ's delayed-message exchange.
    XDelay,
    /// `scheduler-epoch` in seconds, `scheduler-target-topic` and `scheduler-target-key`, as of kafka-message-scheduler.
    Scheduler,
}

/// `[headers]`: all names compare exactly, case included.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HeadersConfig {
    /// `delayq`, `x-delay` (RabbitMQ) or `scheduler` (kafka-message-scheduler): the names where the fields below are left at
    /// their defaults. Default `delayq`.
    pub preset: HeaderPreset,
    /// Milliseconds after the record's own timestamp. Default `delay-ms`.
    pub delay_ms: String,
    /// Due time, RFC 3339 with offset. Default `deliver-at`.
    pub deliver_at: String,
    /// Due time, milliseconds since the epoch. Default `deliver-at-ms`.
    pub deliver_at_ms: String,
    /// Due time, seconds since the epoch. Default none; `scheduler-epoch` in the preset `scheduler`.
    pub deliver_at_s: Option<String>,
    /// Target topic. Default `delay-target`.
    pub target: String,
    /// Key with which the record is published, in place of its own. Default none; `scheduler-target-key` in the preset
    /// `scheduler`.
    pub target_key: Option<String>,
    /// Kind of record, for routes; it is passed on. Default `message-type`.
    pub message_type: String,
    /// `high`, `standard`, `low` or 0–9. Default `delay-priority`.
    pub priority: String,
    /// Id of a tracked record. Default `delay-id`.
    pub id: String,
    /// `schedule` or `cancel`. Default `delay-action`.
    pub action: String,
    /// `partition/offset` of the record of the same id that must still wait, or else this one is dropped: as `delayq reschedule` writes
    /// it. Default `delay-replaces`.
    pub replaces: String,
    /// `refuse` or `pass` headers that look like controls and are none. Default `refuse`.
    pub unknown: UnknownHeaders,
}

impl Default for HeadersConfig {
    fn default() -> Self {
        Self {
            preset: HeaderPreset::Delayq,
            delay_ms: "delay-ms".to_owned(),
            deliver_at: "deliver-at".to_owned(),
            deliver_at_ms: "deliver-at-ms".to_owned(),
            deliver_at_s: None,
            target: "delay-target".to_owned(),
            target_key: None,
            message_type: "message-type".to_owned(),
            priority: "delay-priority".to_owned(),
            id: "delay-id".to_owned(),
            action: "delay-action".to_owned(),
            replaces: "delay-replaces".to_owned(),
            unknown: UnknownHeaders::Refuse,
        }
    }
}

/// What delayq writes itself: `delayed-…` on published records, `delay-error…` on dead letters. Read as a control, a
/// forwarded record would carry orders that nobody gave.
const RESERVED_PREFIXES: [&str; 2] = ["delayed-", "delay-error"];

impl HeadersConfig {
    /// The names that hold: those of the preset where a field was left at its default.
    #[must_use]
    pub fn effective(&self) -> Self {
        let own = Self::default();
        let unless_set = |field: &String, own: &String, preset: &str| {
            if field == own {
                preset.to_owned()
            } else {
                field.clone()
            }
        };
        let or =
            |field: &Option<String>, preset: &str| Some(field.clone().unwrap_or(preset.into()));
        match self.preset {
            HeaderPreset::Delayq => self.clone(),
            HeaderPreset::XDelay => Self {
                delay_ms: unless_set(&self.delay_ms, &own.delay_ms, "x-delay"),
                ..self.clone()
            },
            HeaderPreset::Scheduler => Self {
                deliver_at_s: or(&self.deliver_at_s, "scheduler-epoch"),
                target: unless_set(&self.target, &own.target, "scheduler-target-topic"),
                target_key: or(&self.target_key, "scheduler-target-key"),
                ..self.clone()
            },
        }
    }

    pub(super) fn check(&self, faults: &mut ConfigErrors) {
        let effective = self.effective();
        let mut names = vec![
            ("headers.delay_ms", &effective.delay_ms),
            ("headers.deliver_at", &effective.deliver_at),
            ("headers.deliver_at_ms", &effective.deliver_at_ms),
            ("headers.target", &effective.target),
            ("headers.priority", &effective.priority),
            ("headers.id", &effective.id),
            ("headers.action", &effective.action),
            ("headers.replaces", &effective.replaces),
            ("headers.message_type", &effective.message_type),
        ];
        let reserved = ["delay-", "deliver-"];
        if let Some(prefix) = reserved.iter().find(|p| self.message_type.starts_with(**p)) {
            faults.add(
                &["headers.message_type"],
                format!(
                    "\"{}\" starts with {prefix}: as no control header has that name, every record with it would be refused",
                    self.message_type
                ),
                "choose a name outside delay-… and deliver-…",
            );
        }
        let optional = [
            ("headers.deliver_at_s", &effective.deliver_at_s),
            ("headers.target_key", &effective.target_key),
        ];
        names.extend(
            optional
                .iter()
                .filter_map(|(key, name)| name.as_ref().map(|name| (*key, name))),
        );
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
