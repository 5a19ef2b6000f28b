//! The bounded queue between the poll thread and the router's task.
//!
//! Only chunks of records count against the bound: rebalance events are few, and must never wait behind the
//! very records whose commits they ask for. Order is kept among all of them.

use std::collections::{HashSet, VecDeque};
use std::sync::{Condvar, Mutex, PoisonError};
use std::time::Duration;

use delayq_core::ports::SourceEvent;
use delayq_core::record::{Incoming, TopicPartition};
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::sync::lock;

/// Chunks of records that may wait: about 4 MiB, or 2,000 small records.
pub(crate) const CAPACITY_CHUNKS: usize = 4;

#[derive(Debug, Default)]
struct State {
    events: VecDeque<SourceEvent>,
    chunks: usize,
    /// The poll thread has finished: what is left is the end.
    finished: bool,
    /// The reader is gone: nothing will be taken any more.
    abandoned: bool,
}

/// The queue.
#[derive(Debug, Default)]
pub(crate) struct EventQueue {
    state: Mutex<State>,
    taken: Condvar,
    arrived: Notify,
}

/// A full queue gives the records back.
#[derive(Debug)]
pub(crate) struct Full(pub(crate) Vec<Incoming>);

impl EventQueue {
    /// Adds records, waiting up to `patience` for room. With no reader left they are dropped: nobody will commit them.
    pub(crate) fn push_records(
        &self,
        records: Vec<Incoming>,
        patience: Duration,
    ) -> Result<(), Full> {
        let deadline = Instant::now() + patience;
        let mut state = lock(&self.state);
        while state.chunks >= CAPACITY_CHUNKS && !state.abandoned {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(Full(records));
            }
            state = self
                .taken
                .wait_timeout(state, left)
                .unwrap_or_else(PoisonError::into_inner)
                .0;
        }
        self.append_records(state, records);
        Ok(())
    }

    /// Adds records beyond the bound: what a rebalance finds in hand must go first.
    pub(crate) fn push_records_at_once(&self, records: Vec<Incoming>) {
        let state = lock(&self.state);
        self.append_records(state, records);
    }

    fn append_records(&self, mut state: std::sync::MutexGuard<'_, State>, records: Vec<Incoming>) {
        if state.abandoned || records.is_empty() {
            return;
        }
        state.chunks += 1;
        state.events.push_back(SourceEvent::Records(records));
        drop(state);
        self.arrived.notify_one();
    }

    /// Adds anything but records. A word on health replaces an untaken one. `false` when the reader is gone.
    pub(crate) fn push_event(&self, event: SourceEvent) -> bool {
        let mut state = lock(&self.state);
        if state.abandoned {
            return false;
        }
        if is_health(&event) && state.events.back().is_some_and(is_health) {
            state.events.pop_back();
        }
        state.events.push_back(event);
        drop(state);
        self.arrived.notify_one();
        true
    }

    /// Drops the waiting records of partitions that belong to somebody else now.
    pub(crate) fn drop_records_of(&self, partitions: &HashSet<TopicPartition>) {
        let mut state = lock(&self.state);
        for event in &mut state.events {
            if let SourceEvent::Records(records) = event {
                records.retain(|record| !partitions.contains(&record.source.at));
            }
        }
    }

    /// Whether at most half of the room is taken.
    pub(crate) fn is_relaxed(&self) -> bool {
        lock(&self.state).chunks <= CAPACITY_CHUNKS / 2
    }

    /// No more events will come.
    pub(crate) fn finish(&self) {
        lock(&self.state).finished = true;
        self.arrived.notify_one();
    }

    /// No more events will be taken. Dropping a waiting `Revoked` answers it: nothing to commit.
    pub(crate) fn abandon(&self) {
        let left = {
            let mut state = lock(&self.state);
            state.abandoned = true;
            state.chunks = 0;
            std::mem::take(&mut state.events)
        };
        drop(left);
        self.taken.notify_all();
    }

    pub(crate) fn is_abandoned(&self) -> bool {
        lock(&self.state).abandoned
    }

    /// The next event; `None` when the queue is finished and empty. Cancel safe: an event is taken only when
    /// it is returned.
    pub(crate) async fn next(&self) -> Option<SourceEvent> {
        loop {
            {
                let mut state = lock(&self.state);
                if let Some(event) = state.events.pop_front() {
                    if let SourceEvent::Records(records) = &event {
                        state.chunks = state.chunks.saturating_sub(1);
                        self.taken.notify_one();
                        if records.is_empty() {
                            continue;
                        }
                    }
                    return Some(event);
                }
                if state.finished {
                    return None;
                }
            }
            // `notify_one` leaves a permit when nobody waits, so nothing is missed in between.
            self.arrived.notified().await;
        }
    }
}

fn is_health(event: &SourceEvent) -> bool {
    matches!(event, SourceEvent::Unhealthy(_) | SourceEvent::Healthy)
}

#[cfg(test)]
mod tests {
    use super::*;
    use delayq_core::error::{ErrorClass, PortError};
    use delayq_core::record::{Record, Source};
    use std::sync::Arc;

    fn records(partition: i32, offsets: std::ops::Range<i64>) -> Vec<Incoming> {
        offsets
            .map(|offset| Incoming {
                source: Source {
                    at: TopicPartition::new("t", partition),
                    offset,
                },
                leader_epoch: None,
                timestamp_ms: Some(0),
                record: Record::default(),
                malformed: None,
            })
            .collect()
    }

    fn full(queue: &EventQueue) {
        for offset in 0..CAPACITY_CHUNKS as i64 {
            assert!(
                queue
                    .push_records(records(0, offset..offset + 1), Duration::ZERO)
                    .is_ok()
            );
        }
    }

    #[tokio::test]
    async fn a_full_queue_gives_records_back_but_takes_rebalances() {
        let queue = EventQueue::default();
        full(&queue);
        let Err(Full(back)) = queue.push_records(records(0, 9..10), Duration::ZERO) else {
            panic!("took more than its bound");
        };
        assert_eq!(back.len(), 1);
        assert!(queue.push_event(SourceEvent::Lost(vec![TopicPartition::new("t", 0)])));
        queue.finish();
        let mut seen = 0;
        let mut last = None;
        while let Some(event) = queue.next().await {
            seen += 1;
            last = Some(event);
        }
        assert_eq!(seen, CAPACITY_CHUNKS + 1);
        assert!(matches!(last, Some(SourceEvent::Lost(_))));
    }

    #[tokio::test]
    async fn a_waiting_writer_gets_the_room_a_reader_makes() {
        let queue = Arc::new(EventQueue::default());
        full(&queue);
        let writer = {
            let queue = Arc::clone(&queue);
            tokio::task::spawn_blocking(move || {
                queue.push_records(records(0, 50..51), Duration::from_secs(30))
            })
        };
        assert!(queue.next().await.is_some());
        assert!(matches!(writer.await, Ok(Ok(()))));
    }

    #[tokio::test]
    async fn lost_partitions_leave_no_records_and_no_empty_events() {
        let queue = EventQueue::default();
        queue.push_records_at_once(records(0, 0..3));
        queue.push_records_at_once(records(1, 0..3));
        queue.drop_records_of(&HashSet::from([TopicPartition::new("t", 0)]));
        queue.finish();
        let Some(SourceEvent::Records(left)) = queue.next().await else {
            panic!("no records");
        };
        assert!(left.iter().all(|r| r.source.at.partition == 1) && left.len() == 3);
        assert!(queue.next().await.is_none());
    }

    #[tokio::test]
    async fn only_the_last_word_on_health_is_kept() {
        let queue = EventQueue::default();
        let sick = PortError::new(ErrorClass::Transient, "kafka consumer", "down");
        assert!(queue.push_event(SourceEvent::Unhealthy(sick)));
        assert!(queue.push_event(SourceEvent::Healthy));
        queue.finish();
        assert!(matches!(queue.next().await, Some(SourceEvent::Healthy)));
        assert!(queue.next().await.is_none());
    }

    #[tokio::test]
    async fn without_a_reader_nothing_waits() {
        let queue = EventQueue::default();
        full(&queue);
        queue.abandon();
        assert!(
            queue
                .push_records(records(0, 0..1), Duration::from_secs(30))
                .is_ok()
        );
        assert!(!queue.push_event(SourceEvent::Healthy));
        assert!(queue.is_abandoned() && queue.is_relaxed());
    }
}
