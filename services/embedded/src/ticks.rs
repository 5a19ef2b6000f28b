//! The FIFO queue of ticks in memory: one group a shard, copies dropped, a lease on the group.
//! <https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/FIFO-queues-understanding-logic.html>

use std::collections::{BTreeMap, HashSet, VecDeque};
use std::pin::pin;
use std::sync::Mutex;
use std::time::Duration;

use async_trait::async_trait;
use delayq_core::bucket::ShardId;
use delayq_core::clock::EpochMs;
use delayq_core::error::{ErrorClass, PortError};
use delayq_core::ports::{TICK_RETENTION, Tick, TickQueue};
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::lock::locked;
use crate::wait::changed_or;

/// How long a copy of a tick is recognised, counted from the send, also after the tick was deleted.
const DEDUPLICATION: Duration = Duration::from_secs(300);
/// Longest long poll.
const WAIT_MAX: Duration = Duration::from_secs(20);

/// The queue of all shards' ticks.
#[derive(Debug, Default)]
pub struct MemoryTickQueue {
    state: Mutex<State>,
    changed: Notify,
}

#[derive(Debug, Default)]
struct State {
    groups: BTreeMap<ShardId, VecDeque<Queued>>,
    recent: HashSet<(ShardId, EpochMs)>,
    /// `recent` in order of time.
    recent_since: VecDeque<(Instant, ShardId, EpochMs)>,
    last_sequence: u64,
    last_receipt: u64,
}

#[derive(Debug)]
struct Queued {
    sequence: u64,
    tick_ms: EpochMs,
    sent: Instant,
    hold: Option<Hold>,
}

#[derive(Debug)]
struct Hold {
    receipt: u64,
    until: Instant,
}

impl Queued {
    fn is_held(&self, now: Instant) -> bool {
        self.hold.as_ref().is_some_and(|hold| hold.until > now)
    }
}

impl MemoryTickQueue {
    /// An empty queue.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }
}

impl State {
    fn send(&mut self, shard: ShardId, tick_ms: EpochMs, now: Instant) {
        self.forget_expired(now);
        if !self.recent.insert((shard, tick_ms)) {
            return;
        }
        self.recent_since.push_back((now, shard, tick_ms));
        self.last_sequence += 1;
        self.groups.entry(shard).or_default().push_back(Queued {
            sequence: self.last_sequence,
            tick_ms,
            sent: now,
            hold: None,
        });
    }

    fn forget_expired(&mut self, now: Instant) {
        while let Some((since, shard, tick_ms)) = self.recent_since.front().copied()
            && since + DEDUPLICATION <= now
        {
            self.recent_since.pop_front();
            self.recent.remove(&(shard, tick_ms));
        }
        self.groups.retain(|_, ticks| {
            ticks.retain(|tick| tick.sent + TICK_RETENTION > now);
            !ticks.is_empty()
        });
    }

    /// The oldest tick of a free group. Only the head of a group is ever held, so the head says it all.
    fn receive(&mut self, lease: Duration, now: Instant) -> Option<Tick> {
        self.forget_expired(now);
        let heads = self.groups.iter_mut().filter_map(|(shard, ticks)| {
            let head = ticks.front_mut().filter(|tick| !tick.is_held(now))?;
            Some((*shard, head))
        });
        let (shard, head) = heads.min_by_key(|(_, head)| head.sequence)?;
        self.last_receipt += 1;
        head.hold = Some(Hold {
            receipt: self.last_receipt,
            until: now + lease,
        });
        Some(Tick {
            shard,
            tick_ms: head.tick_ms,
            handle: self.last_receipt.to_string(),
        })
    }

    /// When a group becomes free by itself.
    fn next_free(&self) -> Option<Instant> {
        let heads = self.groups.values().filter_map(VecDeque::front);
        heads
            .filter_map(|head| Some(head.hold.as_ref()?.until.min(head.sent + TICK_RETENTION)))
            .min()
    }

    /// The head of the tick's group, if this receipt holds it still.
    fn held(&mut self, tick: &Tick, now: Instant) -> Option<&mut Hold> {
        self.forget_expired(now);
        let head = self.groups.get_mut(&tick.shard)?.front_mut()?;
        let hold = head.hold.as_mut()?;
        (hold.until > now && hold.receipt.to_string() == tick.handle).then_some(hold)
    }

    fn delete(&mut self, tick: &Tick, now: Instant) {
        if self.held(tick, now).is_some()
            && let Some(ticks) = self.groups.get_mut(&tick.shard)
        {
            ticks.pop_front();
            if ticks.is_empty() {
                self.groups.remove(&tick.shard);
            }
        }
    }
}

#[async_trait]
impl TickQueue for MemoryTickQueue {
    async fn send(&self, shard: ShardId, tick_ms: EpochMs) -> Result<(), PortError> {
        locked(&self.state).send(shard, tick_ms, Instant::now());
        self.changed.notify_waiters();
        Ok(())
    }

    async fn receive(&self, wait: Duration, lease: Duration) -> Result<Option<Tick>, PortError> {
        let deadline = Instant::now() + wait.min(WAIT_MAX);
        loop {
            // Enabled before looking, so that a change between looking and waiting is not missed.
            let mut changed = pin!(self.changed.notified());
            changed.as_mut().enable();
            let now = Instant::now();
            let (tick, next_free) = {
                let mut state = locked(&self.state);
                (state.receive(lease, now), state.next_free())
            };
            if tick.is_some() || now >= deadline {
                return Ok(tick);
            }
            let until = next_free.map_or(deadline, |at| at.min(deadline));
            changed_or(changed, Some(until)).await;
        }
    }

    async fn extend(&self, tick: &Tick, lease: Duration) -> Result<(), PortError> {
        let now = Instant::now();
        let mut state = locked(&self.state);
        let hold = state.held(tick, now).ok_or_else(|| {
            let detail = format!("the hold on shard {} was lost", tick.shard);
            PortError::new(ErrorClass::Conflict, "memory extend tick", detail)
        })?;
        hold.until = now + lease;
        drop(state);
        self.changed.notify_waiters();
        Ok(())
    }

    async fn delete(&self, tick: &Tick) -> Result<(), PortError> {
        locked(&self.state).delete(tick, Instant::now());
        self.changed.notify_waiters();
        Ok(())
    }
}
