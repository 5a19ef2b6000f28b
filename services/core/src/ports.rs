//! The ports: what the services need from brokers and stores. Every adapter passes the same contract tests.
//!
//! A batch call answers with one outcome an entry, in the order of the entries: a reply of the
//! transport that hides failed entries cannot be mistaken for success.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;

use crate::bucket::{BucketKey, ShardId};
use crate::clock::EpochMs;
use crate::error::{ErrorClass, PortError};
use crate::handover::ShardRow;
use crate::priority::Priority;
use crate::record::{Incoming, Outgoing, TopicPartition};
use crate::tracked::{MessageKey, MessageRow, RowStamp};
use crate::upcoming::Part;

/// One outcome an entry, in the order of the entries.
pub type Outcomes = Vec<Result<(), PortError>>;

/// Each entry of a batch call with its outcome. An adapter that answers with too few confirms nothing by that:
/// entries without an outcome count as failed, `Transient`.
pub fn paired<E>(
    entries: impl IntoIterator<Item = E>,
    outcomes: Outcomes,
    operation: &'static str,
) -> impl Iterator<Item = (E, Result<(), PortError>)> {
    let missing = move || {
        Err(PortError::new(
            ErrorClass::Transient,
            operation,
            "no outcome for an entry",
        ))
    };
    let outcomes = outcomes.into_iter().chain(std::iter::repeat_with(missing));
    entries.into_iter().zip(outcomes)
}

// ---------------------------------------------------------------- Kafka in

/// A partition that this consumer now owns.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Assigned {
    /// The partition.
    pub partition: TopicPartition,
    /// Committed offset: the next to be delivered, if there is one.
    pub committed: Option<i64>,
    /// Commit metadata as the group coordinator keeps it, undecoded.
    pub metadata: Option<String>,
}

/// What the consumer group tells the router.
#[derive(Debug)]
pub enum SourceEvent {
    /// New partitions, in addition to those held; none for a member of the group that has nothing to do for now.
    Assigned(Vec<Assigned>),
    /// Records, in order within each partition.
    Records(Vec<Incoming>),
    /// Partitions to be given up: finish, answer with the last commits through `reply`. The adapter
    /// commits them synchronously before it lets the partitions go, and stops waiting at its revoke time-out.
    Revoked {
        /// Which.
        partitions: Vec<TopicPartition>,
        /// Where the last commits go.
        reply: RevokeReply,
    },
    /// Partitions that already belong to somebody else: discard, never commit.
    Lost(Vec<TopicPartition>),
    /// The broker cannot be reached or refuses; the adapter goes on trying.
    Unhealthy(PortError),
    /// The broker answers again.
    Healthy,
}

/// Gives the last commits of revoked partitions back to the adapter. Dropping it commits nothing.
pub struct RevokeReply(Box<dyn FnOnce(Vec<Commit>) + Send>);

impl RevokeReply {
    /// `answer` receives the commits.
    pub fn new(answer: impl FnOnce(Vec<Commit>) + Send + 'static) -> Self {
        Self(Box::new(answer))
    }

    /// Answers.
    pub fn send(self, commits: Vec<Commit>) {
        (self.0)(commits);
    }
}

impl std::fmt::Debug for RevokeReply {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("RevokeReply")
    }
}

/// An offset to commit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Commit {
    /// The partition.
    pub partition: TopicPartition,
    /// The next offset to be delivered: all before it are finished.
    pub offset: i64,
    /// Commit metadata (see [`crate::commit_metadata`]); empty when nothing is finished beyond the head.
    pub metadata: String,
}

/// The consumer side of the delay topics. Owned by one task.
#[async_trait]
pub trait RecordSource: Send + Sync {
    /// The next event. Cancel safe. `None` after [`RecordSource::close`].
    async fn next(&mut self) -> Option<SourceEvent>;

    /// Stops fetching these partitions; what was already fetched may still arrive.
    fn pause(&self, partitions: &[TopicPartition]);

    /// Fetches these partitions again.
    fn resume(&self, partitions: &[TopicPartition]);

    /// Commits; returns when the coordinator has confirmed. One outcome a commit.
    async fn commit(&self, commits: Vec<Commit>) -> Outcomes;

    /// Leaves the group. Partitions still held are revoked first, as [`SourceEvent::Revoked`];
    /// go on calling [`RecordSource::next`] until it answers `None`.
    fn close(&self);
}

// ---------------------------------------------------------------- Kafka out

/// Where the broker put a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Published {
    /// Partition.
    pub partition: i32,
    /// Offset.
    pub offset: i64,
}

/// Called exactly once with the broker's word on a record.
pub type Acknowledge = Box<dyn FnOnce(Result<Published, PortError>) + Send>;

/// The producer side. `Invalid` errors are the record's fault, all others are not.
pub trait RecordSink: Send + Sync {
    /// Hands a record over; `acknowledge` is called once the broker has answered, or the sink has given up.
    /// Never blocks. `Err` gives the callback back when the sink's queue is full: try again shortly.
    fn publish(&self, record: &Outgoing, acknowledge: Acknowledge) -> Result<(), Acknowledge>;

    /// Whether the brokers can be reached, as far as is known; the reason when not.
    fn health(&self) -> Result<(), PortError>;
}

// ---------------------------------------------------------------- short tier

/// A message for a delay queue: an encoded batch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QueueMessage {
    /// Text body (base64 of the encoded batch), at most [`crate::delay::QUEUE_MESSAGE_MAX_BYTES`].
    pub body: Arc<str>,
    /// Whole seconds until it becomes visible, 0–900.
    pub delay_s: u32,
}

/// A received message; its handle belongs to this receipt only.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Receipt {
    /// Text body.
    pub body: String,
    /// Receipt handle.
    pub handle: String,
    /// How often it has been received, this time included.
    pub receive_count: u32,
    /// When it was sent, milliseconds since the Unix epoch, if the queue says.
    pub sent_ms: Option<EpochMs>,
}

/// Which of the queues of a priority.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Lane {
    /// The queue itself.
    Main(Priority),
    /// Its dead-letter queue: messages received too often.
    DeadLetter(Priority),
}

/// The delay queues, one a priority, each with a dead-letter queue.
#[async_trait]
pub trait DelayQueue: Send + Sync {
    /// Sends up to 10 messages, at most 1 MiB in sum (larger lists are split by the adapter). One outcome a message.
    async fn send(&self, priority: Priority, messages: Vec<QueueMessage>) -> Outcomes;

    /// Waits up to `wait` (at most 20 s) for up to `max` (at most 10) messages, invisible to others for `visibility`.
    async fn receive(
        &self,
        lane: Lane,
        max: usize,
        wait: Duration,
        visibility: Duration,
    ) -> Result<Vec<Receipt>, PortError>;

    /// Deletes. One outcome a handle; a stale handle is no error.
    async fn delete(&self, lane: Lane, handles: Vec<String>) -> Outcomes;

    /// Sets the remaining invisibility. One outcome a handle.
    async fn extend(&self, lane: Lane, handles: Vec<String>, visibility: Duration) -> Outcomes;
}

// ---------------------------------------------------------------- long tier

/// An encoded batch in the long tier.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredBatch {
    /// Bucket, shard, sub-partition.
    pub key: BucketKey,
    /// Position within the key: first due, writer, sequence. Sorts by due time.
    pub sort: String,
    /// Encoded [`crate::batch::RecordBatch`], at most [`crate::delay::STORE_BATCH_MAX_BYTES`].
    pub body: Bytes,
    /// When the store may forget it, seconds since the Unix epoch.
    pub expires_s: i64,
}

/// A page of a bucket.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Page {
    /// Batches in order of `sort`.
    pub batches: Vec<StoredBatch>,
    /// Where the next page starts; `None` at the end.
    pub next: Option<String>,
}

/// The table of batches.
#[async_trait]
pub trait BatchStore: Send + Sync {
    /// Writes batches; writing one again is harmless. One outcome a batch.
    async fn put(&self, batches: Vec<StoredBatch>) -> Outcomes;

    /// Strongly consistent read of one key, after `after` (exclusive), about 1 MiB a page.
    async fn page(&self, key: &BucketKey, after: Option<&str>) -> Result<Page, PortError>;
}

/// Keeps the chunks of records that are too large for a batch (see [`crate::payload`]).
#[async_trait]
pub trait PayloadStore: Send + Sync {
    /// Writes the chunks of a payload, each at most [`crate::payload::CHUNK_MAX_BYTES`]; writing them again is
    /// harmless. One outcome a chunk. The store forgets them some time after `expires_s` (seconds since the Unix
    /// epoch), whether a reference to them was ever written or not.
    async fn put(&self, id: &str, chunks: Vec<Bytes>, expires_s: i64) -> Outcomes;

    /// Reads chunks `0..chunks`, strongly consistent, in order; `None` in the place of one that is not there.
    async fn get(&self, id: &str, chunks: u32) -> Result<Vec<Option<Bytes>>, PortError>;
}

/// The state rows of the shards. All reads are strongly consistent.
#[async_trait]
pub trait ShardState: Send + Sync {
    /// Creates the row unless there is one.
    async fn create_if_absent(&self, row: ShardRow) -> Result<(), PortError>;

    /// Reads a row.
    async fn read(&self, shard: ShardId) -> Result<Option<ShardRow>, PortError>;

    /// All rows that exist.
    async fn list(&self) -> Result<Vec<ShardRow>, PortError>;

    /// Raises the epoch and names the owner; answers with the row as it is then. `Conflict` when there is no row.
    async fn take(&self, shard: ShardId, owner: &str) -> Result<ShardRow, PortError>;

    /// Replaces closing, cursor and watermark; `Conflict` unless [`ShardRow::may_become`] allows it, decided by the store
    /// at the moment of the write.
    async fn update(&self, row: ShardRow) -> Result<(), PortError>;

    /// How far this machine's clock is from the store's, in ms (positive: ours is ahead); `None` while unknown.
    fn clock_skew_ms(&self) -> Option<i64>;
}

/// A tick: "bring this shard up to date".
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tick {
    /// Shard.
    pub shard: ShardId,
    /// The sender's clock, rounded down to the tick interval.
    pub tick_ms: EpochMs,
    /// Receipt handle.
    pub handle: String,
}

/// How long the tick queue keeps a tick, also one that is being worked on (`init` makes it so): then its shard is free, whoever
/// still works on it. An old tick says nothing that the next one does not.
pub const TICK_RETENTION: Duration = Duration::from_secs(300);

/// The FIFO queue of ticks: one group a shard, copies dropped by shard and tick time.
#[async_trait]
pub trait TickQueue: Send + Sync {
    /// Sends a tick; a copy within 5 minutes is dropped by the queue.
    async fn send(&self, shard: ShardId, tick_ms: EpochMs) -> Result<(), PortError>;

    /// Waits up to `wait` for one tick, which holds its group for `lease`. Ticks that cannot be read are deleted.
    async fn receive(&self, wait: Duration, lease: Duration) -> Result<Option<Tick>, PortError>;

    /// Prolongs the hold on the group; `Conflict` when it was lost.
    async fn extend(&self, tick: &Tick, lease: Duration) -> Result<(), PortError>;

    /// Deletes the tick and frees its group. A stale handle is no error.
    async fn delete(&self, tick: &Tick) -> Result<(), PortError>;
}

// ---------------------------------------------------------------- tracked records

/// What a conditional write did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Written {
    /// The row is as it was given.
    Done,
    /// Nothing was written: the row as it is instead, if there is one.
    Differs(Option<Box<MessageRow>>),
}

/// The table of tracked records (see [`crate::tracked`]).
#[async_trait]
pub trait MessageRegistry: Send + Sync {
    /// Writes a row in the place of the one with the stamp `expected`, or where there is none; decided by the store at the moment
    /// of the write. A call that failed may have taken effect: the same call again then answers [`Written::Differs`].
    async fn write(
        &self,
        row: MessageRow,
        expected: Option<RowStamp>,
    ) -> Result<Written, PortError>;

    /// Reads a row, strongly consistent.
    async fn read(&self, key: &MessageKey) -> Result<Option<MessageRow>, PortError>;
}

/// Which tracked records of a delay topic are listed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MessageFilter {
    /// Delay topic.
    pub topic: Arc<str>,
    /// One state, by [`crate::tracked::State::as_str`]; else all.
    pub state: Option<&'static str>,
    /// Output topic; else all.
    pub output_topic: Option<Arc<str>>,
    /// Priority; else all.
    pub priority: Option<Priority>,
    /// Due at this time or later.
    pub due_from_ms: EpochMs,
    /// Due before this time.
    pub due_to_ms: EpochMs,
}

/// A part of a list.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct MessagePage {
    /// In order of due time, then of key.
    pub rows: Vec<MessageRow>,
    /// Where the next part begins; `None` at the end.
    pub next: Option<String>,
}

/// Tracked records by state and due time. Eventually consistent: a change is seen within about a second.
#[async_trait]
pub trait MessageIndex: Send + Sync {
    /// Up to `limit` rows after `after`, which an earlier page named. Rows without details (tombstones) are not listed.
    async fn list(
        &self,
        filter: &MessageFilter,
        after: Option<&str>,
        limit: usize,
    ) -> Result<MessagePage, PortError>;
}

/// A change of a tracked record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MessageChange {
    /// The row as it is since then.
    pub row: MessageRow,
    /// When it was changed, by the store's clock; about a second exact.
    pub at_ms: EpochMs,
}

/// The changes of all tracked records, in order for each record, from the time at which it was opened.
#[async_trait]
pub trait MessageFeed: Send {
    /// Waits for changes. Cancel safe. After an error it goes on where it was.
    async fn next(&mut self) -> Result<Vec<MessageChange>, PortError>;
}

// ---------------------------------------------------------------- what comes due

/// Keeps what each process has counted of what comes due (see [`crate::upcoming`]).
#[async_trait]
pub trait TallyStore: Send + Sync {
    /// Writes a part in the place of an earlier one with its writer and number. It may be forgotten once its time is over.
    async fn put(&self, writer: u32, part: Part) -> Result<(), PortError>;

    /// The bodies of all parts that say something of what is due after `now_ms`. Eventually consistent: a part is seen within
    /// about a second.
    async fn list(&self, now_ms: EpochMs) -> Result<Vec<Bytes>, PortError>;
}

// ---------------------------------------------------------------- health

/// Where services say whether a part of them works.
pub trait HealthReport: Send + Sync {
    /// Reports a component such as `sqs high`; `Err` holds the reason. Cheap enough to call often.
    fn report(&self, component: &str, state: Result<(), String>);

    /// Says that a task is alive; one that falls silent for `limit` is stalled.
    fn beat(&self, task: &'static str, limit: Duration);

    /// Forgets a component that is no longer this process's concern (a shard or partition given up).
    fn forget(&self, component: &str);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_without_an_outcome_has_failed() {
        let pairs: Vec<_> = paired(["a", "b"], vec![Ok(())], "test").collect();
        assert_eq!(pairs[0], ("a", Ok(())));
        assert!(pairs[1].1.as_ref().is_err_and(PortError::is_retryable));
        assert_eq!(pairs.len(), 2);
    }
}
