//! A Kafka broker in memory: topics as logs, consumer groups, and the faults that a test wants.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::{Arc, Mutex};

use delayq_core::clock::{Clock, EpochMs};
use delayq_core::error::{ErrorClass, PortError};
use delayq_core::record::{Incoming, Record, Source, TopicPartition};
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::group::{Group, MemberId, Notice, Topics};
use crate::lock::locked;
use crate::log::{Entry, Log};

/// Largest record: Kafka's default `max.message.bytes` without the batch's own header of 61 bytes.
/// <https://kafka.apache.org/documentation/#topicconfigs_max.message.bytes>
pub const RECORD_MAX_BYTES: usize = 1_048_588 - 61;

/// The broker; clones are the same broker.
#[derive(Clone)]
pub struct MemoryBroker {
    pub(crate) shared: Arc<Shared>,
}

pub(crate) struct Shared {
    clock: Arc<dyn Clock>,
    retain: Option<usize>,
    pub(crate) state: Mutex<State>,
    pub(crate) changed: Notify,
}

#[derive(Default)]
pub(crate) struct State {
    topics: BTreeMap<Arc<str>, Vec<Log>>,
    groups: BTreeMap<Arc<str>, Group>,
    down: bool,
}

impl fmt::Debug for MemoryBroker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemoryBroker").finish_non_exhaustive()
    }
}

impl MemoryBroker {
    /// A broker without topics that keeps every record; `clock` stamps records written without a timestamp.
    #[must_use]
    pub fn new(clock: Arc<dyn Clock>) -> Self {
        Self::start(clock, None)
    }

    /// A broker that keeps only the last `records` of each partition: for a demo that runs long.
    #[must_use]
    pub fn with_retention(clock: Arc<dyn Clock>, records: usize) -> Self {
        Self::start(clock, Some(records))
    }

    fn start(clock: Arc<dyn Clock>, retain: Option<usize>) -> Self {
        let shared = Shared {
            clock,
            retain,
            state: Mutex::default(),
            changed: Notify::new(),
        };
        Self {
            shared: Arc::new(shared),
        }
    }

    /// Creates a topic, or adds the partitions that it lacks. Groups are rebalanced over them.
    pub fn create_topic(&self, topic: &str, partitions: u32) {
        self.shared.change(|state| {
            let logs = state.topics.entry(Arc::from(topic)).or_default();
            let wanted = usize::try_from(partitions).unwrap_or(usize::MAX);
            if logs.len() < wanted {
                logs.resize_with(wanted, Log::default);
            }
            state.rebalance_all();
        });
    }

    /// The topics and their numbers of partitions.
    #[must_use]
    pub fn topics(&self) -> Vec<(Arc<str>, u32)> {
        let state = locked(&self.shared.state);
        let count = |logs: &Vec<Log>| u32::try_from(logs.len()).unwrap_or(u32::MAX);
        let topics = state.topics.iter();
        topics
            .map(|(name, logs)| (name.clone(), count(logs)))
            .collect()
    }

    /// Appends a record and answers with its offset. `timestamp_ms`: when the producer wrote it, now if `None`.
    ///
    /// # Errors
    /// `Invalid` for an unknown partition or a record over [`RECORD_MAX_BYTES`], `Transient` while the broker is down.
    pub fn produce(
        &self,
        partition: &TopicPartition,
        record: Record,
        timestamp_ms: Option<EpochMs>,
    ) -> Result<i64, PortError> {
        self.shared
            .change(|state| self.shared.append(state, partition, record, timestamp_ms))
    }

    /// Leaves out the next `offsets` of a partition, as control records and compaction do.
    pub fn skip_offsets(&self, partition: &TopicPartition, offsets: u32) {
        if let Some(log) = locked(&self.shared.state).log_mut(partition) {
            log.skip(offsets);
        }
    }

    /// Everything kept of a topic, partition by partition in order of offsets.
    #[must_use]
    pub fn read(&self, topic: &str) -> Vec<Incoming> {
        let state = locked(&self.shared.state);
        let Some((name, logs)) = state.topics.get_key_value(topic) else {
            return Vec::new();
        };
        (0..)
            .zip(logs)
            .flat_map(|(number, log)| {
                let partition = TopicPartition::new(name.clone(), number);
                log.from(0).map(move |entry| incoming(&partition, entry))
            })
            .collect()
    }

    /// The offset that the next record of a partition gets; `None` if there is no such partition.
    #[must_use]
    pub fn end_offset(&self, partition: &TopicPartition) -> Option<i64> {
        locked(&self.shared.state).log(partition).map(Log::end)
    }

    /// A group's committed offset and metadata.
    #[must_use]
    pub fn committed(&self, group: &str, partition: &TopicPartition) -> Option<(i64, String)> {
        let state = locked(&self.shared.state);
        state.groups.get(group)?.committed(partition).cloned()
    }

    /// Takes the broker down (nothing is read, written, committed or rebalanced) or brings it back.
    pub fn set_down(&self, down: bool) {
        self.shared.change(|state| {
            state.down = down;
            state.rebalance_all();
        });
    }

    /// Ends every session of a group: partitions go to whoever asks first, and the old holders learn that
    /// they are lost when they ask next.
    pub fn expire_sessions(&self, group: &str) {
        self.shared.change(|state| {
            if let Some(group) = state.groups.get_mut(group) {
                let members: Vec<_> = group.members().collect();
                members.into_iter().for_each(|id| group.expire(id));
            }
            state.rebalance_all();
        });
    }
}

impl Shared {
    /// Changes the state and wakes everyone who waits for a change.
    pub(crate) fn change<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        let done = change(&mut locked(&self.state));
        self.changed.notify_waiters();
        done
    }

    pub(crate) fn append(
        &self,
        state: &mut State,
        partition: &TopicPartition,
        record: Record,
        timestamp_ms: Option<EpochMs>,
    ) -> Result<i64, PortError> {
        const CALL: &str = "memory produce";
        state.check_up(CALL)?;
        let bytes = record.payload_bytes();
        let log = state.log_mut(partition).ok_or_else(|| {
            let detail = format!("there is no partition {partition}");
            PortError::new(ErrorClass::Invalid, CALL, detail)
        })?;
        if bytes > RECORD_MAX_BYTES {
            let detail = format!("a record of {bytes} bytes is over the limit");
            return Err(PortError::new(ErrorClass::Invalid, CALL, detail).for_size());
        }
        let timestamp_ms = timestamp_ms.unwrap_or_else(|| self.clock.now_ms());
        Ok(log.append(record, timestamp_ms, self.retain))
    }
}

impl State {
    pub(crate) const fn is_down(&self) -> bool {
        self.down
    }

    pub(crate) fn check_up(&self, operation: &'static str) -> Result<(), PortError> {
        if self.down {
            let detail = "the broker is down";
            return Err(PortError::new(ErrorClass::Transient, operation, detail));
        }
        Ok(())
    }

    pub(crate) fn partitions(&self, topic: &str) -> Option<u32> {
        let logs = self.topics.get(topic)?;
        u32::try_from(logs.len()).ok()
    }

    fn log(&self, partition: &TopicPartition) -> Option<&Log> {
        let number = usize::try_from(partition.partition).ok()?;
        self.topics.get(&partition.topic)?.get(number)
    }

    fn log_mut(&mut self, partition: &TopicPartition) -> Option<&mut Log> {
        let number = usize::try_from(partition.partition).ok()?;
        self.topics.get_mut(&partition.topic)?.get_mut(number)
    }

    pub(crate) fn join(&mut self, group: &Arc<str>, topics: BTreeSet<Arc<str>>) -> MemberId {
        let id = self.groups.entry(group.clone()).or_default().join(topics);
        self.rebalance_all();
        id
    }

    pub(crate) fn group_mut(&mut self, group: &str) -> Option<&mut Group> {
        self.groups.get_mut(group)
    }

    pub(crate) fn next_deadline(&self, group: &str) -> Option<Instant> {
        self.groups.get(group)?.next_deadline()
    }

    /// What a member must hear before it gets records. A rejoin after lost partitions is a rebalance.
    pub(crate) fn notice(
        &mut self,
        group: &str,
        member: MemberId,
        revoke_deadline: Instant,
    ) -> Option<Notice> {
        let members = self.groups.get_mut(group)?;
        let notice = members.notice(member, revoke_deadline);
        if matches!(notice, Some(Notice::Lost(_))) {
            self.rebalance_all();
        }
        notice
    }

    /// A coordinator that is down hands nothing out; [`MemoryBroker::set_down`] makes up for it.
    pub(crate) fn rebalance_all(&mut self) {
        if self.down {
            return;
        }
        let count = |logs: &Vec<Log>| i32::try_from(logs.len()).unwrap_or(i32::MAX);
        let topics: Topics = self
            .topics
            .iter()
            .map(|(name, logs)| (name.clone(), count(logs)))
            .collect();
        for group in self.groups.values_mut() {
            group.rebalance(&topics);
        }
    }

    /// Up to `max` records for a member, in order within each partition.
    pub(crate) fn fetch(&mut self, group: &str, member: MemberId, max: usize) -> Vec<Incoming> {
        let mut records = Vec::new();
        let Some(open) = self.groups.get(group).map(|g| g.fetchable(member)) else {
            return records;
        };
        for (partition, position) in open {
            if records.len() >= max {
                break;
            }
            let before = records.len();
            if let Some(log) = self.log(&partition) {
                // A position beyond the end is reset to the start, as `auto.offset.reset=earliest` does.
                let position = if position > log.end() { 0 } else { position };
                let more = log.from(position).take(max - before);
                records.extend(more.map(|entry| incoming(&partition, entry)));
            }
            if let Some(last) = records.get(before..).and_then(<[Incoming]>::last)
                && let Some(group) = self.groups.get_mut(group)
            {
                group.fetched(member, &partition, last.source.offset + 1);
            }
        }
        records
    }
}

fn incoming(partition: &TopicPartition, entry: &Entry) -> Incoming {
    Incoming {
        source: Source {
            at: partition.clone(),
            offset: entry.offset,
        },
        leader_epoch: Some(0),
        timestamp_ms: Some(entry.timestamp_ms),
        record: entry.record.clone(),
        malformed: None,
    }
}
