//! The rows of the tracked records as DynamoDB keeps them.
//!
//! Hash key `k` (text, `<delay topic>|<id>`; no topic's name holds a `|`). The version: `part`, `offset`, `appended` (numbers);
//! `rev` (number). What it is, absent for a cancel that came before its record: `due` (number), `to` (text, the output topic),
//! `prio`, `path` (text). What has become of it: `state` (text), `at` (number, since when; absent while scheduled), `by` (text) and
//! `until` (number) of a claim, `to_part` and `to_offset` (numbers) of a publication, `reason` (text) of a dead letter. `overlaps`
//! (boolean), `e` (number, seconds since the Unix epoch, the table's TTL attribute). Times are milliseconds since the Unix epoch.
//! Names are short because they count to the item's size: a row is some 250 bytes, and its first KiB is one write unit.
//!
//! The index [`INDEX`] holds the rows that have details, whole. Hash key `g` (text, `<delay topic>|<class>|<n>`, see [`group`]), range
//! key `o` (text, see [`order`]): the due time alone would be none, since DynamoDB promises no order of rows with equal range keys.

use aws_sdk_dynamodb::types::AttributeValue;
use delayq_core::clock::EpochMs;
use delayq_core::error::{ErrorClass, PortError};
use delayq_core::priority::Priority;
use delayq_core::record::Path;
use delayq_core::tracked::{Claim, Details, MessageKey, MessageRow, Publication, State, Version};

use crate::attributes::{Item, flag, number, read_flag, read_number, read_text, text};
use crate::errors::CallSite;
use crate::metrics;

/// Hash key.
pub(crate) const KEY: &str = "k";
pub(crate) const PARTITION: &str = "part";
pub(crate) const OFFSET: &str = "offset";
const APPENDED: &str = "appended";
pub(crate) const REVISION: &str = "rev";
const DUE: &str = "due";
pub(crate) const OUTPUT_TOPIC: &str = "to";
pub(crate) const PRIORITY: &str = "prio";
const PATH: &str = "path";
pub(crate) const STATE: &str = "state";
const AT: &str = "at";
const CLAIMED_BY: &str = "by";
const CLAIMED_UNTIL: &str = "until";
const OUTPUT_PARTITION: &str = "to_part";
const OUTPUT_OFFSET: &str = "to_offset";
const REASON: &str = "reason";
const OVERLAPS: &str = "overlaps";
/// The index by due time.
pub(crate) const INDEX: &str = "by-due";
/// Hash key of the index.
pub(crate) const GROUP: &str = "g";
/// Range key of the index.
pub(crate) const ORDER: &str = "o";
/// Over so many groups the rows of a class are spread: one alone would take 1,000 write units/s.
pub(crate) const SPREAD: u32 = 4;
/// TTL attribute: the name it has in the table of batches.
pub(crate) const EXPIRES: &str = crate::dynamo_batches::EXPIRES;

/// The states that are together in the index: a claim, which each record goes through, moves nothing there.
pub(crate) const CLASSES: [&str; 4] = ["open", "published", "cancelled", "dead"];

/// The class of a state by its name.
pub(crate) fn class(state: &str) -> &str {
    match state {
        "scheduled" | "publishing" => "open",
        ended => ended,
    }
}

/// The hash key of a part of the index.
pub(crate) fn group(topic: &str, class: &str, n: u32) -> String {
    format!("{topic}|{class}|{n}")
}

/// The range key of the index: the due time (the sign turned, in hexadecimal, so that texts sort as numbers do), then the id.
pub(crate) fn order(due_ms: EpochMs, id: &str) -> String {
    format!("{:016x}{id}", due_ms.cast_unsigned() ^ (1 << 63))
}

/// A row as an item.
pub(crate) fn to_item(row: &MessageRow) -> Item {
    let mut item = Item::new();
    let mut put = |name: &str, value: AttributeValue| {
        item.insert(name.to_owned(), value);
    };
    put(KEY, text(row.key.to_string()));
    put(PARTITION, number(row.version.partition));
    put(OFFSET, number(row.version.offset));
    put(APPENDED, number(row.version.appended_ms));
    put(REVISION, number(row.revision));
    if let Some(details) = &row.details {
        put(DUE, number(details.due_ms));
        put(OUTPUT_TOPIC, text(&*details.output_topic));
        put(PRIORITY, text(details.priority.as_str()));
        put(PATH, text(details.path.as_str()));
        let n = crc32c::crc32c(row.key.id.as_bytes()) % SPREAD;
        let class = class(row.state.as_str());
        put(GROUP, text(group(&row.key.topic, class, n)));
        put(ORDER, text(order(details.due_ms, &row.key.id)));
    }
    put(STATE, text(row.state.as_str()));
    match &row.state {
        State::Scheduled => {}
        State::Publishing(claim) => {
            put(AT, number(claim.at_ms));
            put(CLAIMED_BY, text(&*claim.by));
            put(CLAIMED_UNTIL, number(claim.until_ms));
        }
        State::Published(publication) => {
            put(AT, number(publication.at_ms));
            put(OUTPUT_PARTITION, number(publication.partition));
            put(OUTPUT_OFFSET, number(publication.offset));
        }
        State::Cancelled { at_ms } => put(AT, number(at_ms)),
        State::Dead { at_ms, reason } => {
            put(AT, number(at_ms));
            put(REASON, text(reason));
        }
    }
    put(OVERLAPS, flag(row.overlaps));
    put(EXPIRES, number(row.expires_s));
    item
}

fn from_item(key: &MessageKey, item: &Item) -> Result<MessageRow, String> {
    Ok(MessageRow {
        key: key.clone(),
        version: Version {
            partition: read_number(item, PARTITION)?,
            offset: read_number(item, OFFSET)?,
            appended_ms: read_number(item, APPENDED)?,
        },
        revision: read_number(item, REVISION)?,
        details: read_details(item)?,
        state: read_state(item)?,
        overlaps: read_flag(item, OVERLAPS)?,
        expires_s: read_number(item, EXPIRES)?,
    })
}

/// All of them or none: a row with some is broken.
fn read_details(item: &Item) -> Result<Option<Details>, String> {
    let mut names = [DUE, OUTPUT_TOPIC, PRIORITY, PATH].into_iter();
    if !names.any(|name| item.contains_key(name)) {
        return Ok(None);
    }
    Ok(Some(Details {
        due_ms: read_number(item, DUE)?,
        output_topic: read_text(item, OUTPUT_TOPIC)?.into(),
        priority: read_name(item, PRIORITY, Priority::ALL, Priority::as_str)?,
        path: read_name(item, PATH, Path::ALL, Path::as_str)?,
    }))
}

fn read_state(item: &Item) -> Result<State, String> {
    let at_ms = || read_number(item, AT);
    Ok(match read_text(item, STATE)? {
        "scheduled" => State::Scheduled,
        "publishing" => State::Publishing(Claim {
            by: read_text(item, CLAIMED_BY)?.into(),
            at_ms: at_ms()?,
            until_ms: read_number(item, CLAIMED_UNTIL)?,
        }),
        "published" => State::Published(Publication {
            at_ms: at_ms()?,
            partition: read_number(item, OUTPUT_PARTITION)?,
            offset: read_number(item, OUTPUT_OFFSET)?,
        }),
        "cancelled" => State::Cancelled { at_ms: at_ms()? },
        "dead" => State::Dead {
            at_ms: at_ms()?,
            reason: read_text(item, REASON)?.to_owned(),
        },
        other => return Err(unknown(STATE, other)),
    })
}

/// The one of these that goes by the name in a text attribute.
fn read_name<T: Copy>(
    item: &Item,
    name: &str,
    all: [T; 3],
    as_str: fn(T) -> &'static str,
) -> Result<T, String> {
    let value = read_text(item, name)?;
    let known = all.into_iter().find(|one| as_str(*one) == value);
    known.ok_or_else(|| unknown(name, value))
}

fn unknown(name: &str, value: &str) -> String {
    format!("attribute `{name}` is unknown: {value}")
}

/// A broken row is no absent one: taken for absent, a record that was cancelled would be published.
pub(crate) fn decode(
    site: CallSite<'_>,
    key: &MessageKey,
    item: &Item,
) -> Result<MessageRow, PortError> {
    from_item(key, item).map_err(|what| {
        site.error(
            ErrorClass::Invalid,
            format_args!("the row of {key} cannot be read: {what}"),
        )
    })
}

/// The row in an item that was not asked for by its key; `None`, counted, if it cannot be read: one such row must not hide the others.
pub(crate) fn decode_any(item: &Item) -> Option<MessageRow> {
    let row = read_text(item, KEY).and_then(|key| {
        let parts = key.split_once('|');
        let (topic, id) = parts.ok_or_else(|| unknown(KEY, key))?;
        let (topic, id) = (topic.into(), id.into());
        from_item(&MessageKey { topic, id }, item)
    });
    row.inspect_err(|what| {
        metrics::count_unreadable("tracked");
        tracing::warn!(what, key = ?item.get(KEY), "a row of a tracked record cannot be read");
    })
    .ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::meter::item_bytes;

    fn row(state: State) -> MessageRow {
        MessageRow {
            key: MessageKey {
                topic: "orders.delay".into(),
                id: "o|1".into(),
            },
            version: Version {
                partition: 2,
                offset: 1_234_567,
                appended_ms: 1_790_000_000_123,
            },
            revision: 3,
            details: Some(Details {
                due_ms: 1_790_000_060_123,
                output_topic: "orders.standard".into(),
                priority: Priority::Standard,
                path: Path::Short,
            }),
            state,
            overlaps: false,
            expires_s: 1_792_592_060,
        }
    }

    fn states() -> [State; 5] {
        let at_ms = 1_790_000_060_124;
        [
            State::Scheduled,
            State::Publishing(Claim {
                by: "emitter-7f3a".into(),
                at_ms,
                until_ms: at_ms + 30_000,
            }),
            State::Published(Publication {
                at_ms,
                partition: 4,
                offset: 99_000_000,
            }),
            State::Cancelled { at_ms },
            State::Dead {
                at_ms,
                reason: "output-refused".to_owned(),
            },
        ]
    }

    #[test]
    fn rows_round_trip() {
        for state in states() {
            let row = row(state);
            let item = to_item(&row);
            assert_eq!(item.get(KEY), Some(&text("orders.delay|o|1")));
            assert_eq!(item.get(STATE), Some(&text(row.state.as_str())));
            assert_eq!(item.get(EXPIRES), Some(&number(1_792_592_060)));
            let class = class(row.state.as_str());
            assert!(CLASSES.contains(&class));
            let group = format!("orders.delay|{class}|2");
            assert_eq!(item.get(GROUP), Some(&text(group)));
            assert_eq!(item.get(ORDER), Some(&text("800001a0c45156dbo|1")));
            assert!(item_bytes(&item) < 300, "{} bytes", item_bytes(&item));
            assert_eq!(decode_any(&item).as_ref(), Some(&row));
            assert_eq!(from_item(&row.key, &item), Ok(row));
        }
    }

    /// Each attribute of a row is needed, and of its kind; the only ones that may be absent are all of the details together.
    #[test]
    fn what_is_wrong_with_a_row_is_named() {
        let site = CallSite {
            operation: "dynamodb GetItem",
            resource: "table t",
            endpoint: "here",
        };
        for state in states() {
            let row = row(state);
            let whole = to_item(&row);
            for name in whole
                .keys()
                .filter(|name| ![KEY, GROUP, ORDER].contains(&name.as_str()))
            {
                for (value, what) in [
                    (None, "is missing"),
                    (Some(AttributeValue::Null(true)), "is no "),
                ] {
                    let mut item = whole.clone();
                    item.remove(name);
                    item.extend(value.map(|v| (name.clone(), v)));
                    let error = decode(site, &row.key, &item).unwrap_err();
                    assert_eq!(error.class, ErrorClass::Invalid);
                    let expected = format!(
                        "table t: the row of orders.delay|o|1 cannot be read: attribute `{name}` {what}"
                    );
                    assert!(error.detail.starts_with(&expected), "{error}");
                    assert_eq!(decode_any(&item), None);
                }
            }
        }
        for (name, value, what) in [
            (STATE, text("superseded"), "is unknown: superseded"),
            (PRIORITY, text("urgent"), "is unknown: urgent"),
            (PATH, text("Short"), "is unknown: Short"),
            (REVISION, number(-1), "is out of range: -1"),
        ] {
            let row = row(State::Scheduled);
            let mut item = to_item(&row);
            item.insert(name.to_owned(), value);
            let error = decode(site, &row.key, &item).unwrap_err();
            assert!(
                error
                    .detail
                    .ends_with(&format!("attribute `{name}` {what}")),
                "{error}"
            );
        }
    }

    #[test]
    fn rows_without_details_are_not_in_the_index() {
        let item = to_item(&MessageRow {
            details: None,
            ..row(State::Cancelled { at_ms: 1 })
        });
        assert!(!item.contains_key(GROUP) && !item.contains_key(ORDER));
    }

    #[test]
    fn the_index_sorts_by_due_time_and_then_by_id() {
        let places = [
            (i64::MIN, "z"),
            (-1, "z"),
            (0, ""),
            (0, "a"),
            (9, "z"),
            (10, "a"),
            (10, "é"),
            (1_790_000_000_000, "a"),
            (i64::MAX, "a"),
        ];
        assert!(places.is_sorted());
        assert!(places.map(|(due_ms, id)| order(due_ms, id)).is_sorted());
    }
}
