//! What each process counts of what comes due, in the table of the shards' state rows, under a hash key of its own.
//!
//! Hash key `p` (the same text for all, so that one Query lists them), range key `n` (number, writer and part), `body` (binary),
//! `until` (number, ms since the Unix epoch: then it says nothing any more), `e` (number, seconds since the Unix epoch, the
//! table's TTL attribute, which state rows do not have).

use async_trait::async_trait;
use aws_sdk_dynamodb::primitives::Blob;
use aws_sdk_dynamodb::types::{AttributeValue, ReturnConsumedCapacity};
use bytes::Bytes;
use delayq_core::clock::EpochMs;
use delayq_core::error::PortError;
use delayq_core::ports::TallyStore;
use delayq_core::upcoming::Part;

use crate::attributes::{Item, number, text};
use crate::connect::Clients;
use crate::dynamo_shards::{EXPIRES, PARTITION, SHARD};
use crate::errors::CallSite;
use crate::meter::{Tier, item_bytes};
use crate::metrics;
use crate::names::TableNames;

/// The hash key's only value.
const UPCOMING: &str = "upcoming";
const BODY: &str = "body";
const UNTIL: &str = "until";

/// [`TallyStore`] over DynamoDB. Makes no call until it is used; retries none.
#[derive(Debug)]
pub struct DynamoTallyStore {
    clients: Clients,
    table: String,
    /// `table <name>`, for texts.
    label: String,
}

impl DynamoTallyStore {
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
impl TallyStore for DynamoTallyStore {
    async fn put(&self, writer: u32, part: Part) -> Result<(), PortError> {
        let item = to_item(writer, part);
        let size_bytes = item_bytes(&item);
        let request = self
            .clients
            .dynamodb
            .put_item()
            .table_name(&self.table)
            .set_item(Some(item));
        let written = self.site("dynamodb PutItem").finish(request.send().await);
        Tier::Upcoming.write(size_bytes, written).map(drop)
    }

    async fn list(&self, now_ms: EpochMs) -> Result<Vec<Bytes>, PortError> {
        let site = self.site("dynamodb Query");
        let mut bodies = Vec::new();
        let mut after: Option<Item> = None;
        let mut consumed = 0.0;
        loop {
            let request = self
                .clients
                .dynamodb
                .query()
                .table_name(&self.table)
                .key_condition_expression("#p = :p")
                .filter_expression("#until > :now")
                .expression_attribute_names("#p", PARTITION)
                .expression_attribute_names("#until", UNTIL)
                .expression_attribute_values(":p", text(UPCOMING))
                .expression_attribute_values(":now", number(now_ms))
                .return_consumed_capacity(ReturnConsumedCapacity::Total)
                .set_exclusive_start_key(after);
            let page = site.finish(request.send().await)?;
            let capacity = page.consumed_capacity().and_then(|c| c.capacity_units());
            consumed += capacity.unwrap_or_default();
            bodies.extend(page.items.unwrap_or_default().into_iter().filter_map(body));
            after = page.last_evaluated_key;
            if after.is_none() {
                Tier::Upcoming.consumed(consumed);
                return Ok(bodies);
            }
        }
    }
}

fn to_item(writer: u32, part: Part) -> Item {
    let row = (u64::from(writer) << 32) | u64::from(part.number);
    Item::from([
        (PARTITION.to_owned(), text(UPCOMING)),
        (SHARD.to_owned(), number(row)),
        (UNTIL.to_owned(), number(part.until_ms)),
        (EXPIRES.to_owned(), number(part.until_ms.div_euclid(1000))),
        (
            BODY.to_owned(),
            AttributeValue::B(Blob::new(Vec::from(part.body))),
        ),
    ])
}

/// A row without a body says nothing, which is counted.
fn body(mut item: Item) -> Option<Bytes> {
    let Some(AttributeValue::B(body)) = item.remove(BODY) else {
        metrics::count_unreadable("upcoming");
        return None;
    };
    Some(Bytes::from(body.into_inner()))
}
