//! The changes of the tracked records, from the stream of their table.
//!
//! A stream is in shards, which end and have children as the table's partitions do. The changes of one row are in one shard, and go on
//! in its child: a child is read only when its parent was read to the end. What is open at the start is read from there on, all that
//! comes later from its beginning. Needs `dynamodb:DescribeTable`, `DescribeStream`, `GetShardIterator` and `GetRecords`.
//! <https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/Streams.html>

use std::error::Error;
use std::time::Duration;

use async_trait::async_trait;
use aws_sdk_dynamodbstreams::types::{OperationType, Record, ShardIteratorType};
use aws_smithy_runtime_api::client::orchestrator::HttpResponse;
use aws_smithy_runtime_api::client::result::SdkError;
use aws_smithy_types::error::metadata::ProvideErrorMetadata;
use delayq_core::error::{ErrorClass, PortError};
use delayq_core::ports::{MessageChange, MessageFeed};
use futures::stream::{self, StreamExt};
use tokio::time::Instant;

use crate::attributes::from_stream;
use crate::connect::Clients;
use crate::errors::{CallSite, short_code};
use crate::feed_shards::{Due, Listed, Next, Place, Shards};
use crate::message_rows::decode_any;
use crate::names::TableNames;
use crate::provision_tables::describe;

/// Between two looks at which shards there are.
const LOOK_EVERY: Duration = Duration::from_secs(10);
/// The same, once a shard has ended, as it may have children, and after a failure.
const LOOK_SOON: Duration = Duration::from_secs(1);
/// Shards read at once.
const READS_AT_ONCE: usize = 16;

/// [`MessageFeed`] over DynamoDB Streams. Retries nothing by itself: the next call goes on.
#[derive(Debug)]
pub struct DynamoMessageFeed {
    calls: Calls,
    stream_arn: String,
    shards: Shards,
    look_at: Instant,
    /// To be told once the changes that were read beside it are handed out.
    failed: Option<PortError>,
}

impl DynamoMessageFeed {
    /// The changes of the messages table of these names from now on.
    ///
    /// # Errors
    /// The call that failed; `Misconfigured` when the table has no stream.
    pub async fn open(clients: &Clients, names: &TableNames) -> Result<Self, PortError> {
        let calls = Calls {
            clients: clients.clone(),
            table: names.messages.clone(),
            label: format!("table {}", names.messages),
        };
        let now = Instant::now();
        let stream_arn = calls.stream_arn().await?;
        let mut shards = Shards::start(calls.shards(&stream_arn).await?, now);
        // Here, not at the first read: what is written from now on is seen.
        for due in shards.due(now) {
            if let Next::Iterator(iterator) = calls.iterator(&stream_arn, &due).await? {
                shards.stands(&due.shard, iterator);
            }
        }
        Ok(Self {
            calls,
            stream_arn,
            shards,
            look_at: now + LOOK_EVERY,
            failed: None,
        })
    }

    /// Looks which shards there are, if it is time to.
    async fn look(&mut self) -> Result<(), PortError> {
        let now = Instant::now();
        if now < self.look_at {
            return Ok(());
        }
        self.look_at = now + LOOK_SOON;
        let stream_arn = self.calls.stream_arn().await?;
        let listed = self.calls.shards(&stream_arn).await?;
        let mut missed = stream_arn != self.stream_arn;
        if missed {
            self.shards = Shards::default();
            self.stream_arn = stream_arn;
        }
        missed |= self.shards.update(listed, now);
        if missed {
            self.failed = Some(self.calls.missed());
        }
        self.look_at = now + LOOK_EVERY;
        Ok(())
    }

    /// Takes in what was read. Changes in order for each shard.
    fn take_in(&mut self, reads: Vec<(String, Result<Batch, PortError>)>) -> Vec<MessageChange> {
        let now = Instant::now();
        let mut changes = Vec::new();
        for (shard, outcome) in reads {
            let batch = match outcome {
                Ok(batch) => batch,
                Err(error) => {
                    self.shards.has_failed(&shard, now);
                    self.failed = Some(error);
                    continue;
                }
            };
            match batch.next {
                Next::Lost(_) => self.failed = Some(self.calls.missed()),
                Next::End => self.look_at = self.look_at.min(now + LOOK_SOON),
                Next::Iterator(_) | Next::From(_) => {}
            }
            let mut sequence = batch.records.iter().rev();
            let last = sequence.find_map(|record| record.dynamodb()?.sequence_number());
            let last = last.map(str::to_owned);
            self.shards.was_read(&shard, last, batch.next, now);
            changes.extend(batch.records.into_iter().filter_map(change));
        }
        changes
    }
}

#[async_trait]
impl MessageFeed for DynamoMessageFeed {
    async fn next(&mut self) -> Result<Vec<MessageChange>, PortError> {
        loop {
            if let Some(error) = self.failed.take() {
                return Err(error);
            }
            self.look().await?;
            let due = self.shards.due(Instant::now());
            let (calls, stream_arn) = (&self.calls, &self.stream_arn);
            let reads = due.into_iter().map(|due| calls.read(stream_arn, due));
            // Collected first: as a stream of its own the borrow is none that can be sent.
            let reads: Vec<_> = reads.collect();
            let reads = stream::iter(reads).buffer_unordered(READS_AT_ONCE);
            let reads = reads.collect().await;
            // From here on nothing is awaited until the changes are handed out: a call that is dropped has taken none.
            let changes = self.take_in(reads);
            if !changes.is_empty() {
                return Ok(changes);
            }
            if self.failed.is_none() {
                let read_at = self.shards.next_read().unwrap_or(self.look_at);
                tokio::time::sleep_until(read_at.min(self.look_at)).await;
            }
        }
    }
}

/// What a read of a shard has brought.
struct Batch {
    records: Vec<Record>,
    next: Next,
}

/// The calls that a feed makes.
#[derive(Debug)]
struct Calls {
    clients: Clients,
    table: String,
    /// `table <name>`, for texts.
    label: String,
}

impl Calls {
    fn site(&self, operation: &'static str) -> CallSite<'_> {
        CallSite {
            operation,
            resource: &self.label,
            endpoint: &self.clients.dynamodb_endpoint,
        }
    }

    fn missed(&self) -> PortError {
        self.site("dynamodb GetRecords").error(
            ErrorClass::Transient,
            "the stream has gone on without its reader: changes were missed",
        )
    }

    async fn stream_arn(&self) -> Result<String, PortError> {
        let table = describe(&self.clients, &self.table, &self.label).await?;
        let arn = table.and_then(|table| {
            let stream = table.stream_specification.as_ref();
            let on = stream.is_some_and(|stream| stream.stream_enabled);
            table.latest_stream_arn.filter(|_| on)
        });
        arn.ok_or_else(|| {
            self.site("dynamodb DescribeTable").error(
                ErrorClass::Misconfigured,
                "there is no stream of its changes; create it with `delayq init`",
            )
        })
    }

    async fn shards(&self, stream_arn: &str) -> Result<Vec<Listed>, PortError> {
        let (mut shards, mut after) = (Vec::new(), None);
        loop {
            let request = self
                .clients
                .dynamodb_streams
                .describe_stream()
                .stream_arn(stream_arn)
                .set_exclusive_start_shard_id(after);
            let site = self.site("dynamodb DescribeStream");
            let page = site.finish(request.send().await)?.stream_description;
            let listed = page.iter().flat_map(|page| page.shards());
            shards.extend(listed.filter_map(|shard| {
                let range = shard.sequence_number_range();
                let end = range.and_then(|range| range.ending_sequence_number());
                Some(Listed {
                    id: shard.shard_id()?.to_owned(),
                    parent: shard.parent_shard_id().map(str::to_owned),
                    open: end.is_none(),
                })
            }));
            after = page.and_then(|page| page.last_evaluated_shard_id);
            if after.is_none() {
                return Ok(shards);
            }
        }
    }

    /// An iterator that stands where the shard is to be read from.
    async fn iterator(&self, stream_arn: &str, due: &Due) -> Result<Next, PortError> {
        let (kind, sequence) = match &due.place {
            Place::Now => (ShardIteratorType::Latest, None),
            Place::Beginning => (ShardIteratorType::TrimHorizon, None),
            Place::After(last) => (ShardIteratorType::AfterSequenceNumber, Some(last.clone())),
        };
        let request = self
            .clients
            .dynamodb_streams
            .get_shard_iterator()
            .stream_arn(stream_arn)
            .shard_id(&due.shard)
            .shard_iterator_type(kind)
            .set_sequence_number(sequence);
        let site = self.site("dynamodb GetShardIterator");
        let answer = request.send().await;
        let trimmed = is(&answer, TRIMMED);
        match site.finish(answer) {
            Err(_) if trimmed => Ok(Next::Lost(Place::Beginning)),
            answer => answer?
                .shard_iterator
                .map(Next::Iterator)
                .ok_or_else(|| site.error(ErrorClass::Transient, "the answer has no iterator")),
        }
    }

    async fn read(&self, stream_arn: &str, due: Due) -> (String, Result<Batch, PortError>) {
        let outcome = self.records(stream_arn, &due).await;
        (due.shard, outcome)
    }

    async fn records(&self, stream_arn: &str, due: &Due) -> Result<Batch, PortError> {
        let without_records = |next| Batch {
            records: Vec::new(),
            next,
        };
        let iterator = match due.iterator.clone() {
            Some(iterator) => iterator,
            None => match self.iterator(stream_arn, due).await? {
                Next::Iterator(iterator) => iterator,
                other => return Ok(without_records(other)),
            },
        };
        let request = self
            .clients
            .dynamodb_streams
            .get_records()
            .shard_iterator(iterator);
        let answer = request.send().await;
        let (expired, trimmed) = (is(&answer, EXPIRED), is(&answer, TRIMMED));
        match self.site("dynamodb GetRecords").finish(answer) {
            // Where an iterator stood that was not moved by any change, only itself knew.
            Err(_) if expired && due.place == Place::Now => {
                Ok(without_records(Next::Lost(Place::Now)))
            }
            Err(_) if expired => Ok(without_records(Next::From(due.place.clone()))),
            // DynamoDB Local, once a shard that was empty has changes: the iterator stood before the oldest of them.
            Err(_) if trimmed && due.place == Place::Now => {
                Ok(without_records(Next::From(Place::Beginning)))
            }
            Err(_) if trimmed => Ok(without_records(Next::Lost(Place::Beginning))),
            answer => {
                let answer = answer?;
                Ok(Batch {
                    records: answer.records.unwrap_or_default(),
                    next: answer.next_shard_iterator.map_or(Next::End, Next::Iterator),
                })
            }
        }
    }
}

/// An iterator lives for 15 minutes.
const EXPIRED: &str = "ExpiredIteratorException";
/// A change is kept for 24 hours.
const TRIMMED: &str = "TrimmedDataAccessException";

fn is<T, E>(answer: &Result<T, SdkError<E, HttpResponse>>, code: &str) -> bool
where
    E: ProvideErrorMetadata + Error + 'static,
{
    answer
        .as_ref()
        .is_err_and(|error| error.code().map(short_code) == Some(code))
}

/// A row that was written. One that has expired, or cannot be read, is none.
fn change(record: Record) -> Option<MessageChange> {
    if record.event_name == Some(OperationType::Remove) {
        return None;
    }
    let change = record.dynamodb?;
    let at = change.approximate_creation_date_time?;
    Some(MessageChange {
        row: decode_any(&from_stream(change.new_image?))?,
        at_ms: at.to_millis().ok()?,
    })
}
