//! What the control headers of a record ask for.

use std::sync::Arc;

use bytes::Bytes;

use super::{Control, HeaderNames, Refusal, is_added};
use crate::clock::EpochMs;
use crate::priority::Priority;
use crate::record::{Header, Record};

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
pub struct Controls<'r> {
    /// `None`: the route's configured delay, else now.
    pub due: Option<Due>,
    /// `None`: the topic's configured target.
    pub target: Option<&'r str>,
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
pub fn read<'r>(record: &'r Record, names: &HeaderNames) -> Result<Controls<'r>, Refusal> {
    let given = Given::of(record, names)?;
    let delay = text(&names.delay_ms, given.delay_ms)?;
    let at = text(&names.deliver_at, given.deliver_at)?;
    let at_ms = text(&names.deliver_at_ms, given.deliver_at_ms)?;
    let at_s = match &names.deliver_at_s {
        Some(name) => text(name, given.deliver_at_s)?.map(|text| (name, text)),
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
    let action = match text(&names.action, given.action)? {
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
    let id = text(&names.id, given.id)?
        .map(|text| tracked_id(&names.id, text))
        .transpose()?;
    if action == ControlAction::Cancel && id.is_none() {
        return Err(Refusal::new(
            "cancel-without-id",
            format!("a cancel needs {}", names.id),
        ));
    }
    let replaces = text(&names.replaces, given.replaces)?
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
    let priority = text(&names.priority, given.priority)?
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
        target: text(&names.target, given.target)?,
        key: given.target_key.cloned(),
        priority,
        id,
        action,
        replaces,
    })
}

/// The values of the control headers, each at most once.
#[derive(Default)]
struct Given<'r> {
    delay_ms: Option<&'r Bytes>,
    deliver_at: Option<&'r Bytes>,
    deliver_at_ms: Option<&'r Bytes>,
    deliver_at_s: Option<&'r Bytes>,
    target: Option<&'r Bytes>,
    target_key: Option<&'r Bytes>,
    priority: Option<&'r Bytes>,
    id: Option<&'r Bytes>,
    action: Option<&'r Bytes>,
    replaces: Option<&'r Bytes>,
}

impl<'r> Given<'r> {
    fn of(record: &'r Record, names: &HeaderNames) -> Result<Self, Refusal> {
        let mut given = Self::default();
        for Header { name, value } in &record.headers {
            let Some(control) = names.control(name) else {
                refuse_misspelt(name, names)?;
                continue;
            };
            let Some(value) = value else {
                return Err(Refusal::new(
                    "null-header",
                    format!("{name} is null: give it a value or leave it out"),
                ));
            };
            if given.place(control).replace(value).is_some() {
                return Err(Refusal::new(
                    "duplicate-header",
                    format!("{name} is given more than once"),
                ));
            }
        }
        Ok(given)
    }

    const fn place(&mut self, control: Control) -> &mut Option<&'r Bytes> {
        match control {
            Control::DelayMs => &mut self.delay_ms,
            Control::DeliverAt => &mut self.deliver_at,
            Control::DeliverAtMs => &mut self.deliver_at_ms,
            Control::DeliverAtS => &mut self.deliver_at_s,
            Control::Target => &mut self.target,
            Control::TargetKey => &mut self.target_key,
            Control::Priority => &mut self.priority,
            Control::Id => &mut self.id,
            Control::Action => &mut self.action,
            Control::Replaces => &mut self.replaces,
        }
    }
}

fn text<'r>(name: &str, value: Option<&'r Bytes>) -> Result<Option<&'r str>, Refusal> {
    let read = value.map(|value| std::str::from_utf8(value)).transpose();
    read.map_err(|_| {
        Refusal::new(
            "header-not-text",
            format!("{name} is not UTF-8 text: write numbers as decimal digits"),
        )
    })
}

fn refuse_misspelt(name: &str, names: &HeaderNames) -> Result<(), Refusal> {
    let begins = |prefix: &&str| {
        let start = name.get(..prefix.len());
        start.is_some_and(|start| start.eq_ignore_ascii_case(prefix))
    };
    let reserved = names.unknown == UnknownControls::Refuse && CONTROL_PREFIXES.iter().any(begins);
    if !reserved || is_added(name) {
        return Ok(());
    }
    // Names are short; a long one, whoever sent it, is not worth the work.
    let cut: String = name.to_ascii_lowercase().chars().take(64).collect();
    let nearest = names
        .all()
        .min_by_key(|known| strsim::levenshtein(known, &cut))
        .unwrap_or_default();
    let detail = format!(
        "{name:?} is no control header of delayq (did you mean {nearest}? names are case-sensitive); names beginning with \
         delay- or deliver- are reserved unless headers.unknown = \"pass\""
    );
    Err(Refusal::new("unknown-header", detail))
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
                target: Some("orders"),
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
        let both_headers = with(&[
            ("scheduler-epoch", "1700000000"),
            ("scheduler-target-key", "k"),
        ]);
        let controls = read(&both_headers, &names).unwrap();
        assert_eq!(controls.due, Some(Due::At(1_700_000_000_000)));
        assert_eq!(controls.key.as_deref(), Some(b"k".as_slice()));
        let refused = |h: &[(&str, &str)]| read(&with(h), &names).unwrap_err();
        for bad in ["1700000000000", "5", "-1", "soon"] {
            let refusal = refused(&[("scheduler-epoch", bad)]);
            assert_eq!(refusal.code, "invalid-deliver-at", "{bad}");
        }
        let both = refused(&[("scheduler-epoch", "1700000000"), ("delay-ms", "1")]);
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

    proptest! {
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
