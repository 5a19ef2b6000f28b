//! Who has which record in hand, which faults may have doubled it, and what happened: the evidence for the oracle.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::sync::{Mutex, MutexGuard, PoisonError};

use delayq_core::bucket::{Bucket, ShardId};
use delayq_core::commit_metadata;
use delayq_core::offsets::FinishedMap;
use delayq_core::ports::{Commit, Lane};
use delayq_core::record::{Source, TopicPartition};
use delayq_core::tracked::{MessageRow, State as RowState};
use tokio::time::Instant;

/// A fault that may double the records that it touches (promise P4 lists them; whatever else doubles one breaks it).
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, serde::Serialize, serde::Deserialize,
)]
#[serde(rename_all = "kebab-case")]
pub enum Cause {
    /// A process died that had it in hand.
    Crash,
    /// A call with it took effect and was not answered.
    Unanswered,
    /// A process that had it in hand was stopped for longer than its lease or session.
    LeaseLapsed,
    /// Its message or shard could not be held on to, not be deleted, or not be sent whole and saved in the time of its
    /// lease, because queue or table failed.
    QueueFailed,
    /// Its partition was taken away without notice, or given up unfinished because a tier was away.
    PartitionLost,
    /// The queue delivered its message twice, to two emitters.
    DeliveredTwice,
    /// Its bucket closed under a stalled write.
    ClosingBucket,
}

/// What a process has in hand.
#[derive(Debug, Default)]
pub struct Hands {
    /// Delivered by the broker, from the committed offset on.
    delivered: BTreeMap<TopicPartition, BTreeSet<i64>>,
    /// Of these, what the last confirmed commit says is finished.
    finished: BTreeMap<TopicPartition, FinishedMap>,
    /// Received and not deleted.
    messages: BTreeMap<(u8, String), Vec<Source>>,
    /// Shards that it has a tick of, and whether the lease may be over because it was stopped with it.
    ticks: BTreeMap<ShardId, bool>,
    /// Sent by a scheduler since it last saved a cursor, by shard.
    pages: BTreeMap<ShardId, Vec<Source>>,
    /// Written by a router to a bucket.
    written: Vec<(ShardId, Bucket, Vec<Source>)>,
}

/// A lane as a key.
#[must_use]
pub const fn lane_key(lane: Lane) -> u8 {
    match lane {
        Lane::Main(priority) => priority.index() as u8,
        Lane::DeadLetter(priority) => 3 + priority.index() as u8,
    }
}

/// Writes of a router that are remembered: more than it has under way at once.
const WRITTEN_MAX: usize = 256;

impl Hands {
    /// A record was delivered.
    pub fn delivered(&mut self, source: &Source) {
        let offsets = self.delivered.entry(source.at.clone()).or_default();
        offsets.insert(source.offset);
    }

    /// A commit took effect.
    pub fn committed(&mut self, commit: &Commit) {
        let Some(offsets) = self.delivered.get_mut(&commit.partition) else {
            return;
        };
        *offsets = offsets.split_off(&commit.offset);
        let map = commit_metadata::decode(&commit.metadata, commit.offset);
        let finished = map.ok().flatten().map(|map| map.finished);
        let finished = finished.unwrap_or_default();
        self.finished.insert(commit.partition.clone(), finished);
    }

    /// What of a partition is delivered and not covered by the last confirmed commit.
    fn uncovered(&self, partition: &TopicPartition) -> Vec<Source> {
        let finished = self.finished.get(partition);
        let offsets = self.delivered.get(partition).into_iter().flatten();
        let open = offsets.filter(|offset| finished.is_none_or(|map| !map.contains(**offset)));
        open.map(|offset| Source {
            at: partition.clone(),
            offset: *offset,
        })
        .collect()
    }

    /// A partition is given up: what of it was in hand still.
    pub fn give_up(&mut self, partition: &TopicPartition) -> Vec<Source> {
        let uncovered = self.uncovered(partition);
        self.delivered.remove(partition);
        self.finished.remove(partition);
        uncovered
    }

    /// A message was received.
    pub fn received(&mut self, lane: Lane, handle: &str, sources: Vec<Source>) {
        let key = (lane_key(lane), handle.to_owned());
        self.messages.insert(key, sources);
    }

    /// The records of a message.
    #[must_use]
    pub fn of_message(&self, lane: Lane, handle: &str) -> Vec<Source> {
        let key = (lane_key(lane), handle.to_owned());
        self.messages.get(&key).cloned().unwrap_or_default()
    }

    /// A message was deleted.
    pub fn deleted(&mut self, lane: Lane, handle: &str) {
        self.messages.remove(&(lane_key(lane), handle.to_owned()));
    }

    /// A page of a shard was sent.
    pub fn sent_page(&mut self, shard: ShardId, sources: Vec<Source>) {
        self.pages.entry(shard).or_default().extend(sources);
    }

    /// A shard's cursor was saved, or the shard was taken.
    pub fn saved(&mut self, shard: ShardId) {
        self.pages.remove(&shard);
    }

    /// A batch was written to a bucket.
    pub fn wrote(&mut self, shard: ShardId, bucket: Bucket, sources: Vec<Source>) {
        if self.written.len() >= WRITTEN_MAX {
            self.written.remove(0);
        }
        self.written.push((shard, bucket, sources));
    }

    /// The writer was told that buckets up to `closing` close: what it wrote to them is sent as well.
    #[must_use]
    pub fn sent_too(&self, shard: ShardId, closing: Bucket) -> Vec<Source> {
        let closes =
            |(of, bucket, _): &&(ShardId, Bucket, Vec<Source>)| *of == shard && *bucket <= closing;
        let hit = self.written.iter().filter(closes);
        hit.flat_map(|(_, _, sources)| sources.clone()).collect()
    }

    /// A tick was received, perhaps by a process that is stopped, or its lease prolonged.
    pub fn holds_tick(&mut self, shard: ShardId, stopped: bool) {
        self.ticks.insert(shard, stopped);
    }

    /// The process is stopped: the leases run.
    pub fn stopped(&mut self) {
        self.ticks.values_mut().for_each(|lapses| *lapses = true);
    }

    /// Whether the lease of its tick may be over without its knowing.
    #[must_use]
    pub fn lease_may_be_over(&self, shard: ShardId) -> bool {
        self.ticks.get(&shard).copied().unwrap_or(false)
    }

    /// The pages in which one of these records is, each with its shard.
    #[must_use]
    pub fn pages_with(&self, sources: &[Source]) -> Vec<(ShardId, Vec<Source>)> {
        let holds = |page: &[Source]| sources.iter().any(|source| page.contains(source));
        let pages = self.pages.iter().filter(|(_, page)| holds(page));
        pages.map(|(shard, page)| (*shard, page.clone())).collect()
    }

    /// What of a shard was sent and not saved.
    #[must_use]
    pub fn of_shard(&self, shard: ShardId) -> Vec<Source> {
        self.pages.get(&shard).cloned().unwrap_or_default()
    }

    /// Everything.
    #[must_use]
    pub fn all(&self) -> Vec<Source> {
        let partitions = self.delivered.keys();
        let delivered = partitions.flat_map(|partition| self.uncovered(partition));
        let messages = self.messages.values().flatten().cloned();
        let pages = self.pages.values().flatten().cloned();
        delivered.chain(messages).chain(pages).collect()
    }
}

#[derive(Default)]
struct State {
    /// Pages that the queue did not take whole, or whose cursor could not be saved, by shard: if the lease ends first, they are
    /// sent again.
    unsettled: BTreeMap<ShardId, BTreeSet<Source>>,
    causes: BTreeMap<Source, BTreeSet<Cause>>,
    publishers: BTreeMap<Source, Vec<String>>,
    /// Versions of tracked records that were claimed, and those that were cancelled.
    claimed: BTreeSet<Source>,
    cancelled: BTreeSet<Source>,
    early: Vec<String>,
    late: Vec<String>,
    faults: BTreeMap<&'static str, u64>,
    digest: DefaultHasher,
    events: u64,
}

/// The evidence of one world.
pub struct Ledger {
    started: Instant,
    state: Mutex<State>,
}

impl Ledger {
    /// Empty, from now on.
    #[must_use]
    pub fn new() -> Self {
        Self {
            started: Instant::now(),
            state: Mutex::default(),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Something happened: two runs of a seed have the same history, or its digest says that they have not.
    pub fn note(&self, who: &str, what: fmt::Arguments<'_>) {
        let at_ms = self.started.elapsed().as_millis();
        let mut state = self.state();
        state.events += 1;
        (at_ms, who).hash(&mut state.digest);
        let text = what.to_string();
        text.hash(&mut state.digest);
        drop(state);
        tracing::debug!(target: "delayq_sim::history", at_ms = at_ms as u64, who, "{text}");
    }

    /// A fault was injected.
    pub fn fault(&self, kind: &'static str) {
        *self.state().faults.entry(kind).or_default() += 1;
    }

    /// These records may come twice because of it.
    pub fn blame(&self, cause: Cause, sources: impl IntoIterator<Item = Source>) {
        let mut state = self.state();
        for source in sources {
            state.causes.entry(source).or_default().insert(cause);
        }
    }

    /// A part of these pages could not be sent, or their cursor not be saved.
    pub fn unsettled(&self, pages: Vec<(ShardId, Vec<Source>)>) {
        let mut state = self.state();
        for (shard, page) in pages {
            state.unsettled.entry(shard).or_default().extend(page);
        }
    }

    /// A shard's cursor was saved: its page was sent whole.
    pub fn settled(&self, shard: ShardId) {
        self.state().unsettled.remove(&shard);
    }

    /// A shard was taken: what its last holder could not send whole, or save, is sent again.
    pub fn taken(&self, shard: ShardId) {
        let page = self.state().unsettled.remove(&shard);
        self.blame(Cause::QueueFailed, page.unwrap_or_default());
    }

    /// A process handed a record to the broker.
    pub fn published(&self, who: &str, source: Source) {
        let mut state = self.state();
        state
            .publishers
            .entry(source)
            .or_default()
            .push(who.to_owned());
    }

    /// A row of the registry was written.
    pub fn tracked(&self, row: &MessageRow) {
        let source = row.version.source(&row.key.topic);
        let mut state = self.state();
        match row.state {
            RowState::Publishing(_) => state.claimed.insert(source),
            RowState::Cancelled { .. } => state.cancelled.insert(source),
            _ => false,
        };
    }

    /// Whether a tracked record was claimed.
    #[must_use]
    pub fn was_claimed(&self, source: &Source) -> bool {
        self.state().claimed.contains(source)
    }

    /// Whether a tracked record was cancelled.
    #[must_use]
    pub fn was_cancelled(&self, source: &Source) -> bool {
        self.state().cancelled.contains(source)
    }

    /// A record was published before its due time, by the publisher's clock.
    pub fn early(&self, what: String) {
        self.state().early.push(what);
    }

    /// A record was published later than a healthy deployment may.
    pub fn late(&self, what: String) {
        self.state().late.push(what);
    }

    /// Why a record may have come twice.
    #[must_use]
    pub fn causes(&self, source: &Source) -> BTreeSet<Cause> {
        self.state().causes.get(source).cloned().unwrap_or_default()
    }

    /// Who handed it to the broker, in order.
    #[must_use]
    pub fn publishers(&self, source: &Source) -> Vec<String> {
        self.state()
            .publishers
            .get(source)
            .cloned()
            .unwrap_or_default()
    }

    /// What was early, and what was late.
    #[must_use]
    pub fn untimely(&self) -> (Vec<String>, Vec<String>) {
        let state = self.state();
        (state.early.clone(), state.late.clone())
    }

    /// Faults by kind.
    #[must_use]
    pub fn faults(&self) -> BTreeMap<&'static str, u64> {
        self.state().faults.clone()
    }

    /// A number that is the same for the same history, and how long that is.
    #[must_use]
    pub fn digest(&self) -> (u64, u64) {
        let state = self.state();
        (state.digest.finish(), state.events)
    }
}

impl Default for Ledger {
    fn default() -> Self {
        Self::new()
    }
}
