//! The contract with producers: control headers in, `delayed-…` headers out.

use std::sync::Arc;

use bytes::Bytes;

use crate::clock::EpochMs;
use crate::priority::Priority;
use crate::record::{Header, Record};

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

const OUTPUTS: [&str; 5] = [OUT_DUE_MS, OUT_PATH, OUT_SOURCE, OUT_ID, OUT_TIMESTAMP_MS];
const CONTROL_PREFIXES: [&str; 2] = ["delay-", "deliver-"];

/// Longest `delay-id`, in bytes.
pub const ID_MAX_BYTES: usize = 256;
/// `deliver-at-ms` below this is a time in seconds by mistake (10¹² ms is September 2001).
pub const DELIVER_AT_MIN_MS: i64 = 1_000_000_000_000;

/// What to do with a header that begins like a control and is none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum UnknownControls {
    /// Refuse: a misspelt `delay-mss` must not be published at once.
    #[default]
    Refuse,
    /// Pass it through like any other header.
    Pass,
}

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

impl HeaderNames {
    fn all(&self) -> impl Iterator<Item = &str> {
        let always = [
            &self.delay_ms,
            &self.deliver_at,
            &self.deliver_at_ms,
            &self.target,
            &self.priority,
            &self.id,
            &self.action,
            &self.replaces,
        ];
        let optional = [&self.deliver_at_s, &self.target_key];
        let names = always.into_iter().chain(optional.into_iter().flatten());
        names.map(String::as_str)
    }

    /// Whether a header goes no further: a control, or what an earlier pass through delayq added.
    fn is_ours(&self, name: &str) -> bool {
        self.all().any(|known| known == name)
            || OUTPUTS.contains(&name)
            || [
                ERROR_CODE,
                ERROR_DETAIL,
                ERROR_TOPIC,
                ERROR_PRIORITY,
                ERROR_PAYLOAD,
                ERROR_PAYLOAD_CHUNKS,
            ]
            .contains(&name)
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

/// When a record asks to be published.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Due {
    /// Milliseconds after its own timestamp.
    After(i64),
    /// Epoch milliseconds.
    At(EpochMs),
}

/// What to do with a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ControlAction {
    /// Publish it at its due time.
    #[default]
    Schedule,
    /// Cancel the tracked record of that id.
    Cancel,
}

/// The control headers of a record, read.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Controls {
    /// `None`: the route's configured delay, else now.
    pub due: Option<Due>,
    /// `None`: the topic's configured target.
    pub target: Option<String>,
    /// `None`: the record's own key.
    pub key: Option<Bytes>,
    /// `None`: the route's, else standard.
    pub priority: Option<Priority>,
    /// Tracked.
    pub id: Option<Arc<str>>,
    /// Schedule or cancel.
    pub action: ControlAction,
    /// Partition and offset of the record in whose place it is scheduled, or not at all.
    pub replaces: Option<(i32, i64)>,
}

/// Reads the control headers. The first fault found refuses the record.
pub fn read(record: &Record, names: &HeaderNames) -> Result<Controls, Refusal> {
    refuse_unknown(record, names)?;
    let delay = control(record, &names.delay_ms)?;
    let at = control(record, &names.deliver_at)?;
    let at_ms = control(record, &names.deliver_at_ms)?;
    let at_s = match &names.deliver_at_s {
        Some(name) => control(record, name)?.map(|text| (name, text)),
        None => None,
    };
    let due = match (delay, at, at_ms, at_s) {
        (None, None, None, None) => None,
        (Some(text), None, None, None) => Some(Due::After(delay_ms(&names.delay_ms, text)?)),
        (None, Some(text), None, None) => Some(Due::At(deliver_at(&names.deliver_at, text)?)),
        (None, None, Some(text), None) => Some(Due::At(deliver_at_ms(&names.deliver_at_ms, text)?)),
        (None, None, None, Some((name, text))) => Some(Due::At(deliver_at_s(name, text)?)),
        _ => {
            let mut known = vec![&*names.delay_ms, &*names.deliver_at, &*names.deliver_at_ms];
            known.extend(names.deliver_at_s.as_deref());
            return Err(Refusal::new(
                "contradictory-due",
                format!("give only one of {}", known.join(", ")),
            ));
        }
    };
    let action = match control(record, &names.action)? {
        None | Some("schedule") => ControlAction::Schedule,
        Some("cancel") => ControlAction::Cancel,
        Some(other) => {
            return Err(Refusal::new(
                "invalid-action",
                format!(
                    "{}: {other:?} is neither \"schedule\" nor \"cancel\"",
                    names.action
                ),
            ));
        }
    };
    let id = control(record, &names.id)?
        .map(|text| tracked_id(&names.id, text))
        .transpose()?;
    if action == ControlAction::Cancel && id.is_none() {
        return Err(Refusal::new(
            "cancel-without-id",
            format!("a cancel needs {}", names.id),
        ));
    }
    let replaces = control(record, &names.replaces)?
        .map(|text| replaces(&names.replaces, text))
        .transpose()?;
    if replaces.is_some() && (id.is_none() || action == ControlAction::Cancel) {
        return Err(Refusal::new(
            "replaces-without-id",
            format!(
                "{} is for a record with {} that is to be scheduled",
                names.replaces, names.id
            ),
        ));
    }
    let priority = control(record, &names.priority)?
        .map(|text| {
            Priority::parse(text).ok_or_else(|| {
                Refusal::new(
                    "invalid-priority",
                    format!(
                        "{}: {text:?} is not high, standard, low or a digit 0–9",
                        names.priority
                    ),
                )
            })
        })
        .transpose()?;
    Ok(Controls {
        due,
        target: control(record, &names.target)?.map(str::to_owned),
        key: match &names.target_key {
            Some(name) => control_bytes(record, name)?.cloned(),
            None => None,
        },
        priority,
        id,
        action,
        replaces,
    })
}

/// `partition/offset` in the record's own topic.
fn replaces(name: &str, text: &str) -> Result<(i32, i64), Refusal> {
    let place = text.split_once('/').and_then(|(partition, offset)| {
        Some((partition.parse::<i32>().ok()?, offset.parse::<i64>().ok()?))
    });
    place
        .filter(|(partition, offset)| *partition >= 0 && *offset >= 0)
        .ok_or_else(|| {
            Refusal::new(
                "invalid-replaces",
                format!("{name}: {text:?} is no partition/offset, such as 3/1234"),
            )
        })
}

/// The text of a control header that may be given once.
fn control<'r>(record: &'r Record, name: &str) -> Result<Option<&'r str>, Refusal> {
    let Some(value) = control_bytes(record, name)? else {
        return Ok(None);
    };
    match std::str::from_utf8(value) {
        Ok(text) => Ok(Some(text)),
        Err(_) => Err(Refusal::new(
            "header-not-text",
            format!("{name} is not UTF-8 text: write numbers as decimal digits"),
        )),
    }
}

/// The value of a control header that may be given once.
fn control_bytes<'r>(record: &'r Record, name: &str) -> Result<Option<&'r Bytes>, Refusal> {
    let mut found = record.headers.iter().filter(|h| h.name == name);
    let Some(header) = found.next() else {
        return Ok(None);
    };
    if found.next().is_some() {
        return Err(Refusal::new(
            "duplicate-header",
            format!("{name} is given more than once"),
        ));
    }
    match &header.value {
        Some(value) => Ok(Some(value)),
        None => Err(Refusal::new(
            "null-header",
            format!("{name} is null: give it a value or leave it out"),
        )),
    }
}

fn refuse_unknown(record: &Record, names: &HeaderNames) -> Result<(), Refusal> {
    if names.unknown == UnknownControls::Pass {
        return Ok(());
    }
    for header in &record.headers {
        let lower = header.name.to_ascii_lowercase();
        if !names.is_ours(&header.name) && CONTROL_PREFIXES.iter().any(|p| lower.starts_with(p)) {
            // Names are short; a long one, whoever sent it, is not worth the work.
            let cut: String = lower.chars().take(64).collect();
            let nearest = names
                .all()
                .min_by_key(|known| strsim::levenshtein(known, &cut))
                .unwrap_or_default();
            let detail = format!(
                "{:?} is no control header of delayq (did you mean {nearest}? names are case-sensitive); names beginning with \
                 delay- or deliver- are reserved unless headers.unknown = \"pass\"",
                header.name
            );
            return Err(Refusal::new("unknown-header", detail));
        }
    }
    Ok(())
}

fn delay_ms(name: &str, text: &str) -> Result<i64, Refusal> {
    match text.parse::<i64>() {
        Ok(ms) if ms >= 0 && !text.starts_with('+') => Ok(ms),
        _ => Err(Refusal::new(
            "invalid-delay",
            format!("{name}: {text:?} is not a whole number of milliseconds, 0 or more"),
        )),
    }
}

fn deliver_at_ms(name: &str, text: &str) -> Result<EpochMs, Refusal> {
    match text.parse::<i64>() {
        Ok(ms) if ms >= DELIVER_AT_MIN_MS && !text.starts_with('+') => Ok(ms),
        Ok(seconds) if (1..DELIVER_AT_MIN_MS).contains(&seconds) => Err(Refusal::new(
            "invalid-deliver-at",
            format!(
                "{name}: {text:?} lies before September 2001: give milliseconds since 1970, not seconds"
            ),
        )),
        _ => Err(Refusal::new(
            "invalid-deliver-at",
            format!("{name}: {text:?} is not milliseconds since 1970"),
        )),
    }
}

/// Seconds from here on are milliseconds by mistake (10¹¹ s is the year 5138).
const DELIVER_AT_TOO_LARGE_S: i64 = 100_000_000_000;

fn deliver_at_s(name: &str, text: &str) -> Result<EpochMs, Refusal> {
    match text.parse::<i64>() {
        Ok(seconds) if seconds >= DELIVER_AT_TOO_LARGE_S => Err(Refusal::new(
            "invalid-deliver-at",
            format!(
                "{name}: {text:?} lies after the year 5000: give seconds since 1970, not milliseconds"
            ),
        )),
        Ok(seconds) if seconds >= DELIVER_AT_MIN_MS / 1000 && !text.starts_with('+') => {
            Ok(seconds * 1000)
        }
        _ => Err(Refusal::new(
            "invalid-deliver-at",
            format!("{name}: {text:?} is not seconds since 1970"),
        )),
    }
}

fn deliver_at(name: &str, text: &str) -> Result<EpochMs, Refusal> {
    let at = chrono::DateTime::parse_from_rfc3339(text).map_err(|e| {
        Refusal::new("invalid-deliver-at", format!("{name}: {text:?} is not RFC 3339 with an offset, such as 2026-01-31T08:00:00+01:00 ({e})"))
    })?;
    // A fraction of a millisecond is rounded up: never early.
    Ok(at.timestamp_millis() + i64::from(at.timestamp_subsec_nanos() % 1_000_000 != 0))
}

fn tracked_id(name: &str, text: &str) -> Result<Arc<str>, Refusal> {
    if text.is_empty() || text.len() > ID_MAX_BYTES {
        return Err(Refusal::new(
            "invalid-id",
            format!(
                "{name} has {} bytes; 1 to {ID_MAX_BYTES} are allowed",
                text.len()
            ),
        ));
    }
    Ok(Arc::from(text))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::any_header;
    use bytes::Bytes;
    use proptest::prelude::*;

    fn with(headers: &[(&str, &str)]) -> Record {
        Record {
            headers: headers.iter().map(|(n, v)| Header::text(*n, *v)).collect(),
            ..Record::default()
        }
    }

    fn code(headers: &[(&str, &str)]) -> &'static str {
        read(&with(headers), &HeaderNames::default())
            .unwrap_err()
            .code
    }

    #[test]
    fn every_control_is_read() {
        let record = with(&[
            ("delay-ms", "1500"),
            ("delay-target", "orders"),
            ("delay-priority", "8"),
            ("delay-id", "o-1"),
            ("x", "y"),
        ]);
        let controls = read(&record, &HeaderNames::default()).unwrap();
        assert_eq!(
            controls,
            Controls {
                due: Some(Due::After(1500)),
                target: Some("orders".into()),
                key: None,
                priority: Some(Priority::High),
                id: Some("o-1".into()),
                action: ControlAction::Schedule,
                replaces: None,
            }
        );
        assert_eq!(
            HeaderNames::default().strip(record.headers),
            [Header::text("x", "y")]
        );
    }

    #[test]
    fn other_schedulers_headers() {
        let names = HeaderNames {
            deliver_at_s: Some("scheduler-epoch".into()),
            target_key: Some("scheduler-target-key".into()),
            ..HeaderNames::default()
        };
        let controls = |h: &[(&str, &str)]| read(&with(h), &names);
        let read = controls(&[
            ("scheduler-epoch", "1700000000"),
            ("scheduler-target-key", "k"),
        ]);
        let read = read.unwrap();
        assert_eq!(read.due, Some(Due::At(1_700_000_000_000)));
        assert_eq!(read.key.as_deref(), Some(b"k".as_slice()));
        for bad in ["1700000000000", "5", "-1", "soon"] {
            let refusal = controls(&[("scheduler-epoch", bad)]).unwrap_err();
            assert_eq!(refusal.code, "invalid-deliver-at", "{bad}");
        }
        let both = controls(&[("scheduler-epoch", "1700000000"), ("delay-ms", "1")]).unwrap_err();
        assert_eq!(both.code, "contradictory-due");
        assert!(both.detail.contains("scheduler-epoch"), "{both}");
        let passed = names.strip(with(&[("scheduler-epoch", "1"), ("x", "y")]).headers);
        assert_eq!(passed, [Header::text("x", "y")]);
    }

    #[test]
    fn absolute_times() {
        let due = |n: &str, v: &str| read(&with(&[(n, v)]), &HeaderNames::default()).map(|c| c.due);
        assert_eq!(
            due("deliver-at-ms", "1700000000000"),
            Ok(Some(Due::At(1_700_000_000_000)))
        );
        assert_eq!(
            due("deliver-at", "2023-11-14T23:13:20+01:00"),
            Ok(Some(Due::At(1_700_000_000_000)))
        );
        assert_eq!(
            due("deliver-at", "2023-11-14T22:13:20.0000001Z"),
            Ok(Some(Due::At(1_700_000_000_001))),
            "never early"
        );
    }

    #[test]
    fn every_fault_has_its_reason() {
        assert_eq!(
            code(&[("delay-ms", "1"), ("deliver-at-ms", "1700000000000")]),
            "contradictory-due"
        );
        assert_eq!(
            code(&[("delay-ms", "1"), ("delay-ms", "1")]),
            "duplicate-header"
        );
        for bad in ["", "-1", "1.5", "5s", "+5", " 5", "99999999999999999999"] {
            assert_eq!(code(&[("delay-ms", bad)]), "invalid-delay", "{bad:?}");
        }
        for bad in ["1700000000", "0", "-1", "now"] {
            assert_eq!(
                code(&[("deliver-at-ms", bad)]),
                "invalid-deliver-at",
                "{bad:?}"
            );
        }
        for bad in ["2023-11-14T22:13:20", "tomorrow", "1700000000000"] {
            assert_eq!(
                code(&[("deliver-at", bad)]),
                "invalid-deliver-at",
                "{bad:?}"
            );
        }
        assert_eq!(code(&[("delay-priority", "urgent")]), "invalid-priority");
        assert_eq!(code(&[("delay-action", "stop")]), "invalid-action");
        assert_eq!(code(&[("delay-action", "cancel")]), "cancel-without-id");
        assert_eq!(code(&[("delay-id", "")]), "invalid-id");
        assert_eq!(code(&[("delay-id", &"x".repeat(257))]), "invalid-id");
        let null = Record {
            headers: vec![Header {
                name: "delay-ms".into(),
                value: None,
            }],
            ..Record::default()
        };
        assert_eq!(
            read(&null, &HeaderNames::default()).unwrap_err().code,
            "null-header"
        );
        let binary = Record {
            headers: vec![Header {
                name: "delay-ms".into(),
                value: Some(Bytes::from_static(&[0xff])),
            }],
            ..Record::default()
        };
        assert_eq!(
            read(&binary, &HeaderNames::default()).unwrap_err().code,
            "header-not-text"
        );
    }

    #[test]
    fn seconds_for_milliseconds_are_told_apart_from_nonsense() {
        for (value, told) in [
            ("1700000000", "not seconds"),
            ("1", "not seconds"),
            ("0", "is not milliseconds"),
            ("-1700000000000", "is not milliseconds"),
            ("+1700000000000", "is not milliseconds"),
        ] {
            let record = with(&[("deliver-at-ms", value)]);
            let refusal = read(&record, &HeaderNames::default()).unwrap_err();
            assert!(refusal.detail.contains(told), "{value}: {}", refusal.detail);
        }
    }

    #[test]
    fn a_misspelt_control_is_refused_with_a_suggestion() {
        let refusal = read(&with(&[("Delay-MS", "5")]), &HeaderNames::default()).unwrap_err();
        assert_eq!(refusal.code, "unknown-header");
        assert!(
            refusal.detail.contains("did you mean delay-ms?"),
            "{refusal}"
        );
        let names = HeaderNames {
            unknown: UnknownControls::Pass,
            ..HeaderNames::default()
        };
        assert_eq!(
            read(&with(&[("Delay-MS", "5")]), &names).map(|c| c.due),
            Ok(None)
        );
    }

    #[test]
    fn a_forwarded_output_or_dead_letter_is_a_fresh_record() {
        let forwarded = with(&[
            (OUT_DUE_MS, "1"),
            (OUT_PATH, "long"),
            (OUT_SOURCE, "a/1/2"),
            (ERROR_CODE, "x"),
            ("delay-ms", "7"),
            ("keep", "1"),
        ]);
        assert_eq!(
            read(&forwarded, &HeaderNames::default()).unwrap().due,
            Some(Due::After(7))
        );
        assert_eq!(
            HeaderNames::default().strip(forwarded.headers),
            [Header::text("keep", "1")]
        );
    }

    proptest! {
        #[test]
        fn other_headers_pass_untouched(headers in prop::collection::vec(any_header(), 0..10)) {
            let names = HeaderNames { unknown: UnknownControls::Pass, ..HeaderNames::default() };
            let expected: Vec<_> = headers.iter().filter(|h| !names.is_ours(&h.name)).cloned().collect();
            prop_assert_eq!(names.strip(headers), expected);
        }

        #[test]
        fn no_header_panics(values in prop::collection::vec((0usize..7, prop::option::of(prop::collection::vec(any::<u8>(), 0..20))), 0..4)) {
            let names = HeaderNames::default();
            let headers = values.into_iter().map(|(i, v)| Header { name: names.all().nth(i).unwrap().into(), value: v.map(Bytes::from) }).collect();
            drop(read(&Record { headers, ..Record::default() }, &names));
        }

        #[test]
        fn whole_milliseconds_are_read_back(ms in 0..i64::MAX) {
            prop_assert_eq!(delay_ms("delay-ms", &ms.to_string()), Ok(ms));
        }
    }
}
