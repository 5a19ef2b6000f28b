//! The chunks of large records in DynamoDB.
//!
//! Hash key `chunk` (text, `<id>#<number>`), `body` (binary), `e` (number, seconds since the Unix epoch, the table's TTL
//! attribute). Each chunk has a partition key of its own: under one key a payload of some MB would be bound by the 1,000
//! write units a second of a single partition.
//! <https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/bp-partition-key-design.html>

use std::collections::HashMap;

use async_trait::async_trait;
use aws_sdk_dynamodb::operation::batch_get_item::BatchGetItemOutput;
use aws_sdk_dynamodb::primitives::Blob;
use aws_sdk_dynamodb::types::{AttributeValue, KeysAndAttributes};
use bytes::Bytes;
use delayq_core::error::{ErrorClass, PortError};
use delayq_core::ports::{Outcomes, PayloadStore};
use futures::stream::{self, StreamExt};

use crate::attributes::{Item, number, read_text, text};
use crate::connect::Clients;
use crate::errors::CallSite;
use crate::meter::{Tier, item_bytes};
use crate::metrics;
use crate::names::TableNames;

/// Hash key.
pub(crate) const CHUNK: &str = "chunk";
const BODY: &str = "body";
/// TTL attribute: the name it has in the table of batches.
pub(crate) const EXPIRES: &str = crate::dynamo_batches::EXPIRES;

/// Writes of one payload under way at once: 8 chunks are 2.8 MB on the wire.
const WRITES_AT_ONCE: usize = 8;
/// Chunks asked for in one call. An answer holds up to 16 MB and a call up to 100 keys; 40 of the largest items
/// (400 KB) always fit.
/// <https://docs.aws.amazon.com/amazondynamodb/latest/APIReference/API_BatchGetItem.html>
const READS_A_CALL: u32 = 40;

/// [`PayloadStore`] over DynamoDB. Makes no call until it is used; retries none.
#[derive(Debug)]
pub struct DynamoPayloadStore {
    clients: Clients,
    table: String,
    /// `table <name>`, for texts.
    label: String,
}

impl DynamoPayloadStore {
    /// The payloads table of these names.
    #[must_use]
    pub fn new(clients: &Clients, names: &TableNames) -> Self {
        Self {
            clients: clients.clone(),
            table: names.payloads.clone(),
            label: format!("table {}", names.payloads),
        }
    }

    fn site(&self, operation: &'static str) -> CallSite<'_> {
        CallSite {
            operation,
            resource: &self.label,
            endpoint: &self.clients.dynamodb_endpoint,
        }
    }

    async fn put_one(&self, key: String, chunk: Bytes, expires_s: i64) -> Result<(), PortError> {
        let item = to_item(key, chunk, expires_s);
        let size_bytes = item_bytes(&item);
        let request = self
            .clients
            .dynamodb
            .put_item()
            .table_name(&self.table)
            .set_item(Some(item));
        let answer = request.send().await;
        let written = self.site("dynamodb PutItem").finish(answer);
        Tier::Payloads.write(size_bytes, written).map(drop)
    }

    /// The sizes of the reads of an answer, which are billed one by one: those of what is not there too, those left unread not.
    fn billed_reads(&self, answer: &BatchGetItemOutput, asked: usize) -> Vec<usize> {
        let items = answer
            .responses()
            .and_then(|tables| tables.get(&self.table));
        let mut sizes: Vec<usize> = items.into_iter().flatten().map(item_bytes).collect();
        let left = answer.unprocessed_keys();
        let left = left.and_then(|tables| tables.get(&self.table));
        let done = asked.saturating_sub(left.map_or(0, |left| left.keys().len()));
        sizes.resize(sizes.len().max(done), 0);
        sizes
    }

    /// Reads these chunks, as far as they are there, into `found` by their keys.
    async fn get_some(
        &self,
        keys: Vec<Item>,
        found: &mut HashMap<String, Bytes>,
    ) -> Result<(), PortError> {
        let site = self.site("dynamodb BatchGetItem");
        let mut keys = keys;
        while !keys.is_empty() {
            let asked = keys.len();
            let wanted = KeysAndAttributes::builder()
                .set_keys(Some(keys))
                .consistent_read(true)
                .build()
                .map_err(|e| site.error(ErrorClass::Invalid, e))?;
            let request = self
                .clients
                .dynamodb
                .batch_get_item()
                .request_items(&self.table, wanted);
            let answer = site.finish(request.send().await);
            let mut answer =
                Tier::Payloads.read(answer, |answer| self.billed_reads(answer, asked))?;
            let items = answer
                .responses
                .as_mut()
                .and_then(|tables| tables.remove(&self.table));
            for item in items.unwrap_or_default() {
                let (key, body) =
                    from_item(item).map_err(|what| site.error(ErrorClass::Transient, what))?;
                found.insert(key, body);
            }
            keys = answer
                .unprocessed_keys
                .and_then(|mut tables| tables.remove(&self.table))
                .map(|left| left.keys)
                .unwrap_or_default();
            // What an answer could not hold comes with the next one. No progress at all is another matter: the table
            // gives less than is asked of it, and the caller decides when to ask again.
            if keys.len() >= asked {
                metrics::count_failed_entry(site.operation, ErrorClass::Throttled);
                return Err(site.error(
                    ErrorClass::Throttled,
                    format_args!("{asked} chunks were left unread"),
                ));
            }
        }
        Ok(())
    }
}

#[async_trait]
impl PayloadStore for DynamoPayloadStore {
    async fn put(&self, id: &str, chunks: Vec<Bytes>, expires_s: i64) -> Outcomes {
        let writes: Vec<_> = (0..)
            .zip(chunks)
            .map(|(n, chunk)| self.put_one(chunk_key(id, n), chunk, expires_s))
            .collect();
        stream::iter(writes)
            .buffered(WRITES_AT_ONCE)
            .collect()
            .await
    }

    async fn get(&self, id: &str, chunks: u32) -> Result<Vec<Option<Bytes>>, PortError> {
        let mut all = Vec::new();
        let mut from = 0;
        while from < chunks {
            let to = from.saturating_add(READS_A_CALL).min(chunks);
            let key = |n| Item::from([(CHUNK.to_owned(), text(chunk_key(id, n)))]);
            let mut found = HashMap::new();
            self.get_some((from..to).map(key).collect(), &mut found)
                .await?;
            all.extend((from..to).map(|n| found.remove(&chunk_key(id, n))));
            from = to;
        }
        Ok(all)
    }
}

/// Without ambiguity whatever the id holds: what follows the last `#` is the number.
fn chunk_key(id: &str, n: u32) -> String {
    format!("{id}#{n}")
}

fn to_item(key: String, chunk: Bytes, expires_s: i64) -> Item {
    Item::from([
        (CHUNK.to_owned(), text(key)),
        (
            BODY.to_owned(),
            AttributeValue::B(Blob::new(Vec::from(chunk))),
        ),
        (EXPIRES.to_owned(), number(expires_s)),
    ])
}

/// A row without a readable body comes as an empty chunk: the checksum of the whole finds it damaged, while an error
/// here would be tried again for ever.
fn from_item(mut item: Item) -> Result<(String, Bytes), String> {
    let key = read_text(&item, CHUNK)?.to_owned();
    let body = match item.remove(BODY) {
        Some(AttributeValue::B(body)) => Bytes::from(body.into_inner()),
        _ => {
            metrics::count_unreadable("payload");
            tracing::warn!(key, "a row without a body in the payloads table");
            Bytes::new()
        }
    };
    Ok((key, body))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_round_trip() {
        let body = Bytes::from_static(&[0, 1, 255]);
        let item = to_item(chunk_key("orders/1/2-00ff", 7), body.clone(), 1_702_592_000);
        assert_eq!(item.get(CHUNK), Some(&text("orders/1/2-00ff#7")));
        assert_eq!(item.get(EXPIRES), Some(&number(1_702_592_000)));
        let read = from_item(item);
        assert_eq!(read, Ok(("orders/1/2-00ff#7".to_owned(), body)));
    }

    #[test]
    fn a_broken_row_is_an_empty_chunk() {
        let mut item = to_item("a#0".to_owned(), Bytes::from_static(b"x"), 1);
        item.insert(BODY.to_owned(), text("not binary"));
        assert_eq!(from_item(item), Ok(("a#0".to_owned(), Bytes::new())));
    }
}
