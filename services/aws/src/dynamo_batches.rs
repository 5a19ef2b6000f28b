//! The long tier's batches in DynamoDB.
//!
//! Hash key `k` (text, the bucket key), range key `s` (text, sorts by first due time), `b` (binary, the
//! encoded batch), `e` (number, seconds since the Unix epoch, the table's TTL attribute). Names are one
//! letter because they count to the item's size on each write.

use aws_sdk_dynamodb::primitives::Blob;
use aws_sdk_dynamodb::types::AttributeValue;

use async_trait::async_trait;
use bytes::Bytes;
use delayq_core::bucket::BucketKey;
use delayq_core::error::{ErrorClass, PortError};
use delayq_core::ports::{BatchStore, Outcomes, Page, StoredBatch};
use futures::stream::{self, StreamExt};

use crate::attributes::{Item, number, read_number, read_text, text};
use crate::connect::Clients;
use crate::errors::CallSite;
use crate::meter::{Tier, item_bytes, items_bytes};
use crate::metrics;
use crate::names::TableNames;

/// Hash key.
pub(crate) const KEY: &str = "k";
/// Range key.
pub(crate) const SORT: &str = "s";
const BODY: &str = "b";
/// TTL attribute.
pub(crate) const EXPIRES: &str = "e";

/// Writes of one list under way at once. One partition takes 1,000 KB/s: more would only be throttled.
/// <https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/bp-partition-key-design.html>
const WRITES_AT_ONCE: usize = 8;

/// [`BatchStore`] over DynamoDB. Makes no call until it is used; retries none.
#[derive(Debug)]
pub struct DynamoBatchStore {
    clients: Clients,
    table: String,
    /// `table <name>`, for texts.
    label: String,
}

impl DynamoBatchStore {
    /// The batches table of these names.
    #[must_use]
    pub fn new(clients: &Clients, names: &TableNames) -> Self {
        Self {
            clients: clients.clone(),
            table: names.batches.clone(),
            label: format!("table {}", names.batches),
        }
    }

    fn site(&self, operation: &'static str) -> CallSite<'_> {
        CallSite {
            operation,
            resource: &self.label,
            endpoint: &self.clients.dynamodb_endpoint,
        }
    }

    async fn put_one(&self, batch: StoredBatch) -> Result<(), PortError> {
        let item = to_item(batch);
        let size_bytes = item_bytes(&item);
        let request = self
            .clients
            .dynamodb
            .put_item()
            .table_name(&self.table)
            .set_item(Some(item));
        let answer = request.send().await;
        let written = self.site("dynamodb PutItem").finish(answer);
        Tier::Batches.write(size_bytes, written).map(drop)
    }
}

#[async_trait]
impl BatchStore for DynamoBatchStore {
    async fn put(&self, batches: Vec<StoredBatch>) -> Outcomes {
        let writes: Vec<_> = batches.into_iter().map(|b| self.put_one(b)).collect();
        stream::iter(writes)
            .buffered(WRITES_AT_ONCE)
            .collect()
            .await
    }

    async fn page(&self, key: &BucketKey, after: Option<&str>) -> Result<Page, PortError> {
        let site = self.site("dynamodb Query");
        let mut request = self
            .clients
            .dynamodb
            .query()
            .table_name(&self.table)
            .consistent_read(true)
            .key_condition_expression("#k = :k")
            .expression_attribute_names("#k", KEY)
            .expression_attribute_values(":k", text(key.to_string()));
        if let Some(after) = after {
            request = request
                .exclusive_start_key(KEY, text(key.to_string()))
                .exclusive_start_key(SORT, text(after));
        }
        let answer = site.finish(request.send().await);
        let answer = Tier::Batches.read(answer, |page| [items_bytes(page.items())])?;
        let batches = answer
            .items
            .unwrap_or_default()
            .into_iter()
            .map(|item| from_item(*key, item))
            .collect::<Result<_, _>>()
            .map_err(|what| site.error(ErrorClass::Invalid, what))?;
        let next = match answer.last_evaluated_key {
            None => None,
            Some(last) => {
                let sort = read_text(&last, SORT).map_err(|what| {
                    site.error(ErrorClass::Transient, format_args!("end of page: {what}"))
                })?;
                Some(sort.to_owned())
            }
        };
        Ok(Page { batches, next })
    }
}

fn to_item(batch: StoredBatch) -> Item {
    Item::from([
        (KEY.to_owned(), text(batch.key.to_string())),
        (SORT.to_owned(), text(batch.sort)),
        (
            BODY.to_owned(),
            AttributeValue::B(Blob::new(Vec::from(batch.body))),
        ),
        (EXPIRES.to_owned(), number(batch.expires_s)),
    ])
}

/// A row without a readable body comes as a batch with an empty one: whoever decodes it dead-letters it,
/// while an error here would hold up the shard for ever.
fn from_item(key: BucketKey, mut item: Item) -> Result<StoredBatch, String> {
    let sort = read_text(&item, SORT)?.to_owned();
    let body = match item.remove(BODY) {
        Some(AttributeValue::B(body)) => Bytes::from(body.into_inner()),
        _ => {
            metrics::count_unreadable("batch");
            tracing::warn!(%key, sort, "a row without a batch body in the batches table");
            Bytes::new()
        }
    };
    // TTL decides nothing about delivery, so a row without it is as good as any.
    let expires_s = read_number(&item, EXPIRES).unwrap_or(0);
    Ok(StoredBatch {
        key,
        sort,
        body,
        expires_s,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use delayq_core::bucket::{Bucket, ShardId};

    const HERE: BucketKey = BucketKey {
        bucket: Bucket(5_666_667),
        shard: ShardId(2),
        sub: 7,
    };

    fn batch() -> StoredBatch {
        StoredBatch {
            key: HERE,
            sort: "001700000000000#w#000000000001".to_owned(),
            body: Bytes::from_static(&[0, 1, 255]),
            expires_s: 1_702_592_000,
        }
    }

    #[test]
    fn rows_round_trip() {
        let item = to_item(batch());
        assert_eq!(item.get(KEY), Some(&text("5666667#2#7")));
        assert_eq!(from_item(HERE, item), Ok(batch()));
    }

    #[test]
    fn a_broken_row_does_not_hold_up_the_page() {
        let mut item = to_item(batch());
        item.insert(BODY.to_owned(), text("not binary"));
        item.remove(EXPIRES);
        let read = from_item(HERE, item).unwrap();
        assert!(read.body.is_empty());
        assert_eq!(read.expires_s, 0);
    }
}
