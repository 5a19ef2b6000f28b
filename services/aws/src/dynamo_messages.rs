//! The tracked records in DynamoDB: a row an id, replaced as a whole, on the condition that it is the one expected.
//!
//! Hash key `k` (text, `<delay topic>|<id>`; no topic's name holds a `|`). The version: `part`, `offset`, `appended` (numbers);
//! `rev` (number). What it is, absent for a cancel that came before its record: `due` (number), `to` (text, the output topic),
//! `prio`, `path` (text). What has become of it: `state` (text), `at` (number, since when; absent while scheduled), `by` (text) and
//! `until` (number) of a claim, `to_part` and `to_offset` (numbers) of a publication, `reason` (text) of a dead letter. `overlaps`
//! (boolean), `e` (number, seconds since the Unix epoch, the table's TTL attribute). Times are milliseconds since the Unix epoch.
//! Names are short because they count to the item's size: a row is some 200 bytes, and its first KiB is one write unit.

use async_trait::async_trait;
use aws_sdk_dynamodb::operation::put_item::{PutItemError, PutItemOutput};
use aws_sdk_dynamodb::types::{AttributeValue, ReturnValuesOnConditionCheckFailure};
use aws_smithy_runtime_api::client::orchestrator::HttpResponse;
use aws_smithy_runtime_api::client::result::SdkError;
use delayq_core::error::{ErrorClass, PortError};
use delayq_core::ports::{MessageRegistry, Written};
use delayq_core::priority::Priority;
use delayq_core::record::Path;
use delayq_core::tracked::{
    Claim, Details, MessageKey, MessageRow, Publication, RowStamp, State, Version,
};

use crate::attributes::{Item, flag, number, read_flag, read_number, read_text, text};
use crate::connect::Clients;
use crate::errors::CallSite;
use crate::meter::{Tier, item_bytes, items_bytes};
use crate::names::TableNames;

/// Hash key.
pub(crate) const KEY: &str = "k";
const PARTITION: &str = "part";
const OFFSET: &str = "offset";
const APPENDED: &str = "appended";
const REVISION: &str = "rev";
const DUE: &str = "due";
const OUTPUT_TOPIC: &str = "to";
const PRIORITY: &str = "prio";
const PATH: &str = "path";
const STATE: &str = "state";
const AT: &str = "at";
const CLAIMED_BY: &str = "by";
const CLAIMED_UNTIL: &str = "until";
const OUTPUT_PARTITION: &str = "to_part";
const OUTPUT_OFFSET: &str = "to_offset";
const REASON: &str = "reason";
const OVERLAPS: &str = "overlaps";
/// TTL attribute: the name it has in the table of batches.
pub(crate) const EXPIRES: &str = crate::dynamo_batches::EXPIRES;

/// [`MessageRegistry`] over DynamoDB. Makes no call until it is used; retries none.
#[derive(Debug)]
pub struct DynamoMessageRegistry {
    clients: Clients,
    table: String,
    /// `table <name>`, for texts.
    label: String,
}

impl DynamoMessageRegistry {
    /// The messages table of these names.
    #[must_use]
    pub fn new(clients: &Clients, names: &TableNames) -> Self {
        Self {
            clients: clients.clone(),
            table: names.messages.clone(),
            label: format!("table {}", names.messages),
        }
    }

    fn site(&self, operation: &'static str) -> CallSite<'_> {
        CallSite {
            operation,
            resource: &self.label,
            endpoint: &self.clients.dynamodb_endpoint,
        }
    }
}

#[async_trait]
impl MessageRegistry for DynamoMessageRegistry {
    async fn write(
        &self,
        row: MessageRow,
        expected: Option<RowStamp>,
    ) -> Result<Written, PortError> {
        let site = self.site("dynamodb PutItem");
        let item = to_item(&row);
        let size_bytes = item_bytes(&item);
        let request = self
            .clients
            .dynamodb
            .put_item()
            .table_name(&self.table)
            .set_item(Some(item))
            .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld);
        let request = match expected {
            None => request
                .condition_expression("attribute_not_exists(#k)")
                .expression_attribute_names("#k", KEY),
            Some(stamp) => request
                .condition_expression("#part = :part AND #offset = :offset AND #rev = :rev")
                .expression_attribute_names("#part", PARTITION)
                .expression_attribute_names("#offset", OFFSET)
                .expression_attribute_names("#rev", REVISION)
                .expression_attribute_values(":part", number(stamp.version.partition))
                .expression_attribute_values(":offset", number(stamp.version.offset))
                .expression_attribute_values(":rev", number(stamp.revision)),
        };
        let answer = request.send().await;
        let found = in_its_place(&answer);
        // Billed by the larger of both, if the condition failed too. What a row that was replaced had is not told; versions of one
        // row hardly differ in size.
        let size_bytes = size_bytes.max(found.as_ref().map_or(0, item_bytes));
        match Tier::Tracked.write(size_bytes, site.finish(answer)) {
            Ok(_) => Ok(Written::Done),
            Err(error) if error.class == ErrorClass::Conflict => {
                let current = match found {
                    Some(item) => Some(decode(site, &row.key, &item)?),
                    // There was none, or it was not told.
                    None => self.read(&row.key).await?,
                };
                Ok(Written::Differs(current.map(Box::new)))
            }
            Err(error) => Err(error),
        }
    }

    async fn read(&self, key: &MessageKey) -> Result<Option<MessageRow>, PortError> {
        let site = self.site("dynamodb GetItem");
        let request = self
            .clients
            .dynamodb
            .get_item()
            .table_name(&self.table)
            .consistent_read(true)
            .key(KEY, text(key.to_string()));
        let answer = site.finish(request.send().await);
        let answer = Tier::Tracked.read(answer, |answer| [items_bytes(&answer.item)])?;
        answer.item.map(|item| decode(site, key, &item)).transpose()
    }
}

/// The row for which a condition failed.
fn in_its_place(
    answer: &Result<PutItemOutput, SdkError<PutItemError, HttpResponse>>,
) -> Option<Item> {
    match answer.as_ref().err()?.as_service_error()? {
        PutItemError::ConditionalCheckFailedException(failed) => failed.item().cloned(),
        _ => None,
    }
}

fn to_item(row: &MessageRow) -> Item {
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
fn decode(site: CallSite<'_>, key: &MessageKey, item: &Item) -> Result<MessageRow, PortError> {
    from_item(key, item).map_err(|what| {
        site.error(
            ErrorClass::Invalid,
            format_args!("the row of {key} cannot be read: {what}"),
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

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
            assert!(item_bytes(&item) < 250, "{} bytes", item_bytes(&item));
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
            for name in whole.keys().filter(|name| *name != KEY) {
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
}
