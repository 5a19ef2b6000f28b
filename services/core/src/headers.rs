//! The contract with producers: control headers in, `delayed-…` headers out.

use crate::record::Header;

mod controls;

pub use controls::{
    ControlAction, Controls, DELIVER_AT_MIN_MS, Due, ID_MAX_BYTES, UnknownControls, read,
};

/// Due time, epoch milliseconds.
pub const OUT_DUE_MS: &str = "delayed-due-ms";
/// `direct`, `short` or `long`.
pub const OUT_PATH: &str = "delayed-path";
/// `topic/partition/offset` of the record in the delay topic: the key to recognise a duplicate by.
pub const OUT_SOURCE: &str = "delayed-source";
/// The `delay-id`, if one was given.
pub const OUT_ID: &str = "delayed-id";
/// Timestamp of the record in the delay topic, epoch milliseconds.
pub const OUT_TIMESTAMP_MS: &str = "delayed-timestamp-ms";
/// Dead letters: a stable code.
pub const ERROR_CODE: &str = "delay-error";
/// Dead letters: what was wrong and what to do, for people.
pub const ERROR_DETAIL: &str = "delay-error-detail";

/// Dead letters too large for their topic: the name under which the payload table keeps key, value and headers.
pub const ERROR_PAYLOAD: &str = "delay-error-payload";
/// Dead letters of records that were accepted: the output topic, of which the target was told when there were controls.
pub const ERROR_TOPIC: &str = "delay-error-topic";
/// Dead letters of records that were accepted: the priority.
pub const ERROR_PRIORITY: &str = "delay-error-priority";
/// How often the record was sent again from the dead letters. It passes through like a header of the producer's own, so
/// that a record that fails again and again is known by it wherever it stands.
pub const OUT_REDRIVES: &str = "delayed-redrives";
/// In how many chunks.
pub const ERROR_PAYLOAD_CHUNKS: &str = "delay-error-payload-chunks";

/// What an earlier pass through delayq added goes no further.
const ADDED: [&str; 11] = [
    OUT_DUE_MS,
    OUT_PATH,
    OUT_SOURCE,
    OUT_ID,
    OUT_TIMESTAMP_MS,
    ERROR_CODE,
    ERROR_DETAIL,
    ERROR_TOPIC,
    ERROR_PRIORITY,
    ERROR_PAYLOAD,
    ERROR_PAYLOAD_CHUNKS,
];
/// All of them begin so.
const ADDED_PREFIX: &str = "delay";

/// Names of the control headers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HeaderNames {
    /// Milliseconds after the record's own timestamp.
    pub delay_ms: String,
    /// RFC 3339 with offset.
    pub deliver_at: String,
    /// Epoch milliseconds.
    pub deliver_at_ms: String,
    /// Epoch seconds, as some schedulers have it; `None`: no header means that.
    pub deliver_at_s: Option<String>,
    /// Target topic.
    pub target: String,
    /// The key with which the record is published, in place of its own; `None`: no header means that.
    pub target_key: Option<String>,
    /// `high`, `standard`, `low` or 0–9.
    pub priority: String,
    /// Identity of a tracked record.
    pub id: String,
    /// `schedule` or `cancel`.
    pub action: String,
    /// Which record of its id this one takes the place of.
    pub replaces: String,
    /// Policy for other headers that begin with `delay-` or `deliver-`.
    pub unknown: UnknownControls,
}

impl Default for HeaderNames {
    fn default() -> Self {
        Self {
            delay_ms: "delay-ms".into(),
            deliver_at: "deliver-at".into(),
            deliver_at_ms: "deliver-at-ms".into(),
            deliver_at_s: None,
            target: "delay-target".into(),
            target_key: None,
            priority: "delay-priority".into(),
            id: "delay-id".into(),
            action: "delay-action".into(),
            replaces: "delay-replaces".into(),
            unknown: UnknownControls::Refuse,
        }
    }
}

/// The control headers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Control {
    DelayMs,
    DeliverAt,
    DeliverAtMs,
    DeliverAtS,
    Target,
    TargetKey,
    Priority,
    Id,
    Action,
    Replaces,
}

/// Whether delayq adds headers of that name: to what it publishes, or to dead letters.
fn is_added(name: &str) -> bool {
    // Most headers are the producers' own.
    name.starts_with(ADDED_PREFIX) && ADDED.contains(&name)
}

impl HeaderNames {
    /// The name of each that there is.
    fn controls(&self) -> impl Iterator<Item = (&str, Control)> {
        let known = [
            (Some(&self.delay_ms), Control::DelayMs),
            (Some(&self.deliver_at), Control::DeliverAt),
            (Some(&self.deliver_at_ms), Control::DeliverAtMs),
            (Some(&self.target), Control::Target),
            (Some(&self.priority), Control::Priority),
            (Some(&self.id), Control::Id),
            (Some(&self.action), Control::Action),
            (Some(&self.replaces), Control::Replaces),
            (self.deliver_at_s.as_ref(), Control::DeliverAtS),
            (self.target_key.as_ref(), Control::TargetKey),
        ];
        known
            .into_iter()
            .filter_map(|(name, control)| Some((name?.as_str(), control)))
    }

    fn all(&self) -> impl Iterator<Item = &str> {
        self.controls().map(|(name, _)| name)
    }

    /// What a header of that name controls.
    fn control(&self, name: &str) -> Option<Control> {
        self.controls()
            .find(|(known, _)| *known == name)
            .map(|(_, control)| control)
    }

    /// Whether a header goes no further: a control, or what an earlier pass through delayq added.
    fn is_ours(&self, name: &str) -> bool {
        self.control(name).is_some() || is_added(name)
    }

    /// The headers that are published: all but the controls and those of an earlier pass.
    #[must_use]
    pub fn strip(&self, headers: Vec<Header>) -> Vec<Header> {
        headers
            .into_iter()
            .filter(|h| !self.is_ours(&h.name))
            .collect()
    }
}

/// Why a record is refused. The code is stable; it is the value of `delay-error` and a metric label.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{code}: {detail}")]
pub struct Refusal {
    /// Stable code, in words with hyphens.
    pub code: &'static str,
    /// What is wrong and what to do.
    pub detail: String,
}

impl Refusal {
    /// A refusal.
    pub fn new(code: &'static str, detail: impl Into<String>) -> Self {
        Self {
            code,
            detail: detail.into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::Record;
    use crate::testing::any_header;
    use proptest::prelude::*;

    #[test]
    fn all_that_is_added_begins_alike() {
        assert!(ADDED.iter().all(|name| name.starts_with(ADDED_PREFIX)));
    }

    #[test]
    fn a_forwarded_output_or_dead_letter_is_a_fresh_record() {
        let forwarded = Record {
            headers: vec![
                Header::text(OUT_DUE_MS, "1"),
                Header::text(OUT_PATH, "long"),
                Header::text(OUT_SOURCE, "a/1/2"),
                Header::text(ERROR_CODE, "x"),
                Header::text("delay-ms", "7"),
                Header::text("keep", "1"),
            ],
            ..Record::default()
        };
        let names = HeaderNames::default();
        assert_eq!(read(&forwarded, &names).unwrap().due, Some(Due::After(7)));
        assert_eq!(names.strip(forwarded.headers), [Header::text("keep", "1")]);
    }

    proptest! {
        #[test]
        fn other_headers_pass_untouched(headers in prop::collection::vec(any_header(), 0..10)) {
            let names = HeaderNames { unknown: UnknownControls::Pass, ..HeaderNames::default() };
            let expected: Vec<_> = headers.iter().filter(|h| !names.is_ours(&h.name)).cloned().collect();
            prop_assert_eq!(names.strip(headers), expected);
        }
    }
}
