//! A row as people and programs read it.

use std::time::Duration;

use delayq_console::message::Message;
use delayq_core::clock::EpochMs;
use delayq_core::tracked::{CancelAnswer, MessageRow, State};
use humantime::format_duration;
use serde_json::{Value, json};

use crate::send::local;

/// All that is known, as the API has it.
pub(super) fn json(row: &MessageRow) -> Value {
    json!(Message::from(row))
}

/// The same with the answer to a change.
pub(super) fn answer(answer: &str, row: &MessageRow) -> Value {
    let mut object = json(row);
    if let Some(object) = object.as_object_mut() {
        object.insert("answer".to_owned(), json!(answer));
    }
    object
}

/// A line for people.
pub(super) fn line(row: &MessageRow, now_ms: EpochMs) -> String {
    let id = &row.key.id;
    let source = row.version.source(&row.key.topic);
    let overlaps = if row.overlaps {
        "; an earlier record with this id was being published when this one took its place"
    } else {
        ""
    };
    format!("{id}  {}  ({source}{overlaps})", state(row, now_ms))
}

fn state(row: &MessageRow, now_ms: EpochMs) -> String {
    let to = row.details.as_ref().map_or_else(String::new, |details| {
        format!(
            " to {}, {} priority, {} path",
            details.output_topic, details.priority, details.path
        )
    });
    let due = |text: &str| {
        row.details.as_ref().map_or_else(String::new, |details| {
            format!(
                " {text} {} ({})",
                local(details.due_ms),
                away(details.due_ms - now_ms)
            )
        })
    };
    match &row.state {
        State::Scheduled => format!("scheduled, due{}{to}", due("")),
        State::Publishing(claim) => format!(
            "publishing, due{}{to}; claimed {}",
            due(""),
            local(claim.at_ms)
        ),
        State::Published(publication) => {
            let output = row.details.as_ref().map_or("", |d| &*d.output_topic);
            let late = row.details.as_ref().map_or_else(String::new, |details| {
                format!(
                    ", {} ms after it was due",
                    publication.at_ms - details.due_ms
                )
            });
            format!(
                "published {} to {output}/{}/{}{late}",
                local(publication.at_ms),
                publication.partition,
                publication.offset
            )
        }
        State::Cancelled { at_ms } => match &row.details {
            Some(_) => format!("cancelled {}, was due{}", local(*at_ms), due("")),
            None => format!("cancelled {} before its record was read", local(*at_ms)),
        },
        State::Dead { at_ms, reason } => format!("dead letter {}: {reason}", local(*at_ms)),
    }
}

/// `in 5m 3s`, `2s ago`.
fn away(ms: i64) -> String {
    let rounded = Duration::from_secs(ms.unsigned_abs().div_ceil(1000));
    if ms >= 0 {
        format!("in {}", format_duration(rounded))
    } else {
        format!("{} ago", format_duration(rounded))
    }
}

/// What an answer means, for people.
pub(super) fn meaning(answer: &CancelAnswer, row: Option<&MessageRow>, now_ms: EpochMs) -> String {
    let what = match answer {
        CancelAnswer::Cancelled => "cancelled: it will never be published",
        CancelAnswer::Published(_) => "not cancelled, it is published",
        CancelAnswer::TooLate => "too late: it is being published",
        CancelAnswer::Superseded => "a later record has its id",
        CancelAnswer::Dead(_) => "not cancelled, it is a dead letter",
        CancelAnswer::Unknown => {
            return "unknown: no record with this id has been read from the topic".to_owned();
        }
    };
    row.map_or_else(
        || what.to_owned(),
        |row| format!("{what}; {}", state(row, now_ms)),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use delayq_core::priority::Priority;
    use delayq_core::record::Path;
    use delayq_core::tracked::{Claim, Details, MessageKey, Publication, Version};

    const NOW: EpochMs = 1_800_000_000_000;

    fn row(state: State) -> MessageRow {
        MessageRow {
            key: MessageKey {
                topic: "orders.delay".into(),
                id: "o-1".into(),
            },
            version: Version {
                partition: 2,
                offset: 7,
                appended_ms: NOW - 1_000,
            },
            revision: 1,
            details: Some(Details {
                due_ms: NOW + 62_500,
                output_topic: "orders.high".into(),
                priority: Priority::High,
                path: Path::Short,
            }),
            state,
            overlaps: false,
            expires_s: 5,
        }
    }

    #[test]
    fn each_state_says_what_it_means() {
        let publication = Publication {
            at_ms: NOW + 62_503,
            partition: 4,
            offset: 99,
        };
        let claim = Claim {
            by: "e".into(),
            at_ms: NOW,
            until_ms: NOW + 30_000,
        };
        for (state, parts) in [
            (
                State::Scheduled,
                [
                    "scheduled, due ",
                    "in 1m 3s",
                    "orders.high, high priority, short path",
                ],
            ),
            (
                State::Publishing(claim),
                ["publishing, due ", "in 1m 3s", "claimed "],
            ),
            (
                State::Published(publication),
                ["published ", "to orders.high/4/99", "3 ms after it was due"],
            ),
            (
                State::Cancelled { at_ms: NOW },
                ["cancelled ", "was due", "in 1m 3s"],
            ),
            (
                State::Dead {
                    at_ms: NOW,
                    reason: "publish-failed".to_owned(),
                },
                ["dead letter ", "publish-failed", "(orders.delay/2/7)"],
            ),
        ] {
            let line = line(&row(state), NOW);
            assert!(line.starts_with("o-1  "), "{line}");
            for part in parts {
                assert!(line.contains(part), "{part:?} in {line}");
            }
        }
        let mut tombstone = row(State::Cancelled { at_ms: NOW });
        tombstone.details = None;
        assert!(line(&tombstone, NOW).contains("before its record was read"));
        let mut overlapping = row(State::Scheduled);
        overlapping.overlaps = true;
        assert!(
            line(&overlapping, NOW).contains("was being published when this one took its place")
        );
        assert_eq!(away(-1_500), "2s ago");
    }

    #[test]
    fn programs_get_what_applies_and_nothing_else() {
        let published = json(&row(State::Published(Publication {
            at_ms: NOW + 62_503,
            partition: 4,
            offset: 99,
        })));
        assert_eq!(published["state"], "published");
        assert_eq!(published["late_ms"], 3);
        assert_eq!(published["source"], "orders.delay/2/7");
        assert!(published.get("reason").is_none() && published.get("claimed_ms").is_none());
        let dead = json(&row(State::Dead {
            at_ms: NOW,
            reason: "publish-failed".to_owned(),
        }));
        assert_eq!(
            (&dead["reason"], &dead["dead_ms"]),
            (&json!("publish-failed"), &json!(NOW))
        );
    }
}
