//! The state rows of the shards in DynamoDB, with the epoch as fence, and writes that only go forward.
//!
//! Hash key `p` (the same text for all rows, so that one consistent Query lists them), range key `n`
//! (number, the shard), `watermark`, `closing`, `epoch`, `cursor_sub` (numbers), `cursor_after` (text,
//! absent at the start of a sub-partition), `owner` (text).

use async_trait::async_trait;
use aws_sdk_dynamodb::types::{AttributeValue, ReturnValue};
use delayq_core::bucket::{Bucket, ShardId};
use delayq_core::error::{ErrorClass, PortError};
use delayq_core::handover::{Cursor, ShardRow};
use delayq_core::ports::ShardState;

use crate::attributes::{Item, number, read_number, read_text, text};
use crate::connect::Clients;
use crate::errors::CallSite;
use crate::meter::{Tier, items_bytes};
use crate::names::TableNames;

/// Hash key.
pub(crate) const PARTITION: &str = "p";
/// Range key.
pub(crate) const SHARD: &str = "n";
/// TTL attribute of what is kept beside the state rows ([`crate::dynamo_tallies`]); they have none, and never expire.
pub(crate) const EXPIRES: &str = crate::dynamo_batches::EXPIRES;
/// The hash key's value of all state rows.
const SHARDS: &str = "shards";
const WATERMARK: &str = "watermark";
const CLOSING: &str = "closing";
const CURSOR_SUB: &str = "cursor_sub";
const CURSOR_AFTER: &str = "cursor_after";
const EPOCH: &str = "epoch";
const OWNER: &str = "owner";
/// A row is some 150 bytes: one write unit.
const ROW_MAX_BYTES: usize = 1_024;

/// [`ShardState`] over DynamoDB. Makes no call until it is used; retries none.
#[derive(Debug)]
pub struct DynamoShardState {
    clients: Clients,
    table: String,
    /// `table <name>`, for texts.
    label: String,
}

impl DynamoShardState {
    /// The shards table of these names.
    #[must_use]
    pub fn new(clients: &Clients, names: &TableNames) -> Self {
        Self {
            clients: clients.clone(),
            table: names.shards.clone(),
            label: format!("table {}", names.shards),
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
impl ShardState for DynamoShardState {
    async fn create_if_absent(&self, row: ShardRow) -> Result<(), PortError> {
        let request = self
            .clients
            .dynamodb
            .put_item()
            .table_name(&self.table)
            .set_item(Some(to_item(&row)))
            .condition_expression("attribute_not_exists(#p)")
            .expression_attribute_names("#p", PARTITION);
        let answer = request.send().await;
        let created = self.site("dynamodb PutItem").finish(answer);
        match Tier::Shards.write(ROW_MAX_BYTES, created) {
            Err(error) if error.class == ErrorClass::Conflict => Ok(()),
            answer => answer.map(drop),
        }
    }

    async fn read(&self, shard: ShardId) -> Result<Option<ShardRow>, PortError> {
        let site = self.site("dynamodb GetItem");
        let request = self
            .clients
            .dynamodb
            .get_item()
            .table_name(&self.table)
            .consistent_read(true)
            .set_key(Some(key(shard)));
        let answer = site.finish(request.send().await);
        let answer = Tier::Shards.read(answer, |answer| [items_bytes(&answer.item)])?;
        answer.item.map(|item| decode(site, &item)).transpose()
    }

    async fn list(&self) -> Result<Vec<ShardRow>, PortError> {
        let site = self.site("dynamodb Query");
        let mut rows = Vec::new();
        let mut after: Option<Item> = None;
        loop {
            let request = self
                .clients
                .dynamodb
                .query()
                .table_name(&self.table)
                .consistent_read(true)
                .key_condition_expression("#p = :p")
                .expression_attribute_names("#p", PARTITION)
                .expression_attribute_values(":p", text(SHARDS))
                .set_exclusive_start_key(after);
            let answer = site.finish(request.send().await);
            let answer = Tier::Shards.read(answer, |page| [items_bytes(page.items())])?;
            for item in answer.items() {
                rows.push(decode(site, item)?);
            }
            after = answer.last_evaluated_key;
            if after.is_none() {
                return Ok(rows);
            }
        }
    }

    async fn take(&self, shard: ShardId, owner: &str) -> Result<ShardRow, PortError> {
        let site = self.site("dynamodb UpdateItem");
        let request = self
            .clients
            .dynamodb
            .update_item()
            .table_name(&self.table)
            .set_key(Some(key(shard)))
            .update_expression("SET #owner = :owner ADD #epoch :one")
            .condition_expression("attribute_exists(#p)")
            .expression_attribute_names("#p", PARTITION)
            .expression_attribute_names("#owner", OWNER)
            .expression_attribute_names("#epoch", EPOCH)
            .expression_attribute_values(":owner", text(owner))
            .expression_attribute_values(":one", number(1))
            .return_values(ReturnValue::AllNew);
        let taken = site.finish(request.send().await);
        let answer = Tier::Shards.write(ROW_MAX_BYTES, taken)?;
        let item = answer.attributes.ok_or_else(|| {
            site.error(
                ErrorClass::Transient,
                "the answer does not hold the new row",
            )
        })?;
        decode(site, &item)
    }

    async fn update(&self, row: ShardRow) -> Result<(), PortError> {
        const SET: &str = "SET #watermark = :watermark, #closing = :closing, #sub = :sub";
        let mut request = self
            .clients
            .dynamodb
            .update_item()
            .table_name(&self.table)
            .set_key(Some(key(row.shard)))
            // ShardRow::may_become
            .condition_expression(
                "#epoch = :epoch AND #watermark <= :watermark AND #closing <= :closing",
            )
            .expression_attribute_names("#epoch", EPOCH)
            .expression_attribute_names("#watermark", WATERMARK)
            .expression_attribute_names("#closing", CLOSING)
            .expression_attribute_names("#sub", CURSOR_SUB)
            .expression_attribute_names("#after", CURSOR_AFTER)
            .expression_attribute_values(":epoch", number(row.epoch))
            .expression_attribute_values(":watermark", number(row.watermark.0))
            .expression_attribute_values(":closing", number(row.closing.0))
            .expression_attribute_values(":sub", number(row.cursor.sub));
        request = match row.cursor.after {
            Some(after) => request
                .update_expression(format!("{SET}, #after = :after"))
                .expression_attribute_values(":after", text(after)),
            None => request.update_expression(format!("{SET} REMOVE #after")),
        };
        let answer = request.send().await;
        let updated = self.site("dynamodb UpdateItem").finish(answer);
        Tier::Shards.write(ROW_MAX_BYTES, updated).map(drop)
    }

    fn clock_skew_ms(&self) -> Option<i64> {
        self.clients.skew.skew_ms()
    }
}

fn key(shard: ShardId) -> Item {
    Item::from([
        (PARTITION.to_owned(), text(SHARDS)),
        (SHARD.to_owned(), number(shard)),
    ])
}

fn to_item(row: &ShardRow) -> Item {
    let mut item = key(row.shard);
    let mut put = |name: &str, value: AttributeValue| {
        item.insert(name.to_owned(), value);
    };
    put(WATERMARK, number(row.watermark.0));
    put(CLOSING, number(row.closing.0));
    put(CURSOR_SUB, number(row.cursor.sub));
    if let Some(after) = &row.cursor.after {
        put(CURSOR_AFTER, text(after));
    }
    put(EPOCH, number(row.epoch));
    put(OWNER, text(&row.owner));
    item
}

fn from_item(item: &Item) -> Result<ShardRow, String> {
    let after = item
        .contains_key(CURSOR_AFTER)
        .then(|| read_text(item, CURSOR_AFTER).map(str::to_owned))
        .transpose()?;
    Ok(ShardRow {
        shard: ShardId(read_number(item, SHARD)?),
        watermark: Bucket(read_number(item, WATERMARK)?),
        closing: Bucket(read_number(item, CLOSING)?),
        cursor: Cursor {
            sub: read_number(item, CURSOR_SUB)?,
            after,
        },
        epoch: read_number(item, EPOCH)?,
        owner: read_text(item, OWNER)?.to_owned(),
    })
}

/// Unlike a batch, a broken state row stops its shard: to guess a watermark would lose records.
fn decode(site: CallSite<'_>, item: &Item) -> Result<ShardRow, PortError> {
    from_item(item).map_err(|what| {
        let shard = read_number::<u32>(item, SHARD).map_or("?".to_owned(), |n| n.to_string());
        site.error(
            ErrorClass::Invalid,
            format_args!("the state row of shard {shard} cannot be read: {what}"),
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(after: Option<&str>) -> ShardRow {
        ShardRow {
            shard: ShardId(3),
            watermark: Bucket(-1),
            closing: Bucket(5_666_667),
            cursor: Cursor {
                sub: 15,
                after: after.map(str::to_owned),
            },
            epoch: u64::MAX,
            owner: String::new(),
        }
    }

    #[test]
    fn rows_round_trip() {
        for row in [row(None), row(Some("001#w#1"))] {
            assert!(items_bytes([&to_item(&row)]) <= ROW_MAX_BYTES);
            assert_eq!(from_item(&to_item(&row)), Ok(row));
        }
    }

    #[test]
    fn what_is_wrong_with_a_row_is_named() {
        let site = CallSite {
            operation: "dynamodb GetItem",
            resource: "table t",
            endpoint: "here",
        };
        let broken = |name: &str, value: Option<AttributeValue>| {
            let mut item = to_item(&row(None));
            item.remove(name);
            item.extend(value.map(|v| (name.to_owned(), v)));
            decode(site, &item).unwrap_err()
        };
        let error = broken(WATERMARK, None);
        assert_eq!(error.class, ErrorClass::Invalid);
        assert_eq!(
            error.detail,
            "table t: the state row of shard 3 cannot be read: attribute `watermark` is missing"
        );
        assert!(
            broken(EPOCH, Some(number(-1)))
                .detail
                .contains("out of range: -1")
        );
        assert!(
            broken(CURSOR_SUB, Some(text("x")))
                .detail
                .contains("is no number")
        );
        assert!(
            broken(CURSOR_AFTER, Some(number(1)))
                .detail
                .contains("is no text")
        );
        assert!(broken(SHARD, None).detail.contains("shard ?"));
    }
}
