//! The delay queues in memory, with the rules of SQS: visibility, receipts, receive counts, redrive.
//! <https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/sqs-visibility-timeout.html>

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt;
use std::pin::pin;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use delayq_core::clock::{Clock, EpochMs};
use delayq_core::delay::{QUEUE_DELAY_MAX_S, QUEUE_MESSAGE_MAX_BYTES};
use delayq_core::error::{ErrorClass, PortError};
use delayq_core::ports::{DelayQueue, Lane, Outcomes, QueueMessage, Receipt};
use delayq_core::priority::Priority;
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::lock::locked;
use crate::wait::changed_or;

/// Most messages one receive answers with.
const RECEIVE_MAX: usize = 10;
/// Longest long poll.
const WAIT_MAX: Duration = Duration::from_secs(20);
/// Longest visibility time-out.
const VISIBILITY_MAX: Duration = Duration::from_secs(12 * 3600);
/// How long a message is kept, a move to the dead-letter queue not counting as a new start.
const RETENTION: Duration = Duration::from_secs(14 * 24 * 3600);
/// A message received this often is moved to the dead-letter queue instead of being received again.
pub const MAX_RECEIVE_COUNT: u32 = 100;

/// All queues with their dead-letter queues.
pub struct MemoryDelayQueue {
    clock: Arc<dyn Clock>,
    max_receive_count: u32,
    state: Mutex<State>,
    changed: Notify,
}

#[derive(Default)]
struct State {
    lanes: HashMap<Lane, Queue>,
    last_id: u64,
    last_receipt: u64,
}

#[derive(Default)]
struct Queue {
    /// Ids grow with time, so the first is the oldest.
    messages: BTreeMap<u64, Stored>,
    by_visible: BTreeSet<(Instant, u64)>,
}

struct Stored {
    body: Arc<str>,
    sent: Instant,
    sent_ms: EpochMs,
    visible: Instant,
    receive_count: u32,
    /// The receipt that may delete or extend; older ones are stale.
    receipt: Option<u64>,
}

impl fmt::Debug for MemoryDelayQueue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemoryDelayQueue")
            .field("max_receive_count", &self.max_receive_count)
            .finish_non_exhaustive()
    }
}

impl MemoryDelayQueue {
    /// Empty queues; `clock` stamps what is sent.
    #[must_use]
    pub fn new(clock: Arc<dyn Clock>) -> Self {
        Self::with_max_receive_count(clock, MAX_RECEIVE_COUNT)
    }

    /// Empty queues that give a message up after so many receives.
    #[must_use]
    pub fn with_max_receive_count(clock: Arc<dyn Clock>, max_receive_count: u32) -> Self {
        Self {
            clock,
            max_receive_count,
            state: Mutex::default(),
            changed: Notify::new(),
        }
    }

    /// Number of messages in a queue: visible, delayed and in flight.
    #[must_use]
    pub fn len(&self, lane: Lane) -> usize {
        let state = locked(&self.state);
        state.lanes.get(&lane).map_or(0, |q| q.messages.len())
    }

    /// Messages of a queue that can be received now, that somebody has received, and that wait for their time.
    #[must_use]
    pub fn depth(&self, lane: Lane) -> [u64; 3] {
        let now = Instant::now();
        let state = locked(&self.state);
        let mut depth = [0; 3];
        let messages = state.lanes.get(&lane).into_iter();
        for message in messages.flat_map(|queue| queue.messages.values()) {
            let [ready, in_flight, delayed] = &mut depth;
            let counted = match (message.visible <= now, message.receive_count) {
                (true, _) => ready,
                (false, 0) => delayed,
                (false, _) => in_flight,
            };
            *counted += 1;
        }
        depth
    }

    /// Whether a queue holds nothing, not even delayed or in flight.
    #[must_use]
    pub fn is_empty(&self, lane: Lane) -> bool {
        self.len(lane) == 0
    }

    /// Bodies of all messages of a queue, oldest first: for tests that account for every record.
    #[must_use]
    pub fn bodies(&self, lane: Lane) -> Vec<Arc<str>> {
        let state = locked(&self.state);
        let queue = state.lanes.get(&lane);
        queue.map_or_else(Vec::new, |q| {
            q.messages.values().map(|m| m.body.clone()).collect()
        })
    }
}

impl MemoryDelayQueue {
    /// Lets `by` pass for all messages that wait for their delay, as a clock that jumps would. Those in flight keep
    /// their visibility.
    pub fn advance(&self, by: Duration) {
        let mut state = locked(&self.state);
        let now = Instant::now();
        for queue in state.lanes.values_mut() {
            let waiting = queue.messages.iter().filter(|(_, m)| m.receipt.is_none());
            let waiting: Vec<u64> = waiting.map(|(id, _)| *id).collect();
            for id in waiting {
                if let Some(mut message) = queue.remove(id) {
                    // No instant lies before the machine's start; what would is visible now.
                    message.visible = message.visible.checked_sub(by).unwrap_or(now);
                    queue.insert(id, message);
                }
            }
        }
        drop(state);
        self.changed.notify_waiters();
    }
}

impl State {
    fn send(&mut self, lane: Lane, message: QueueMessage, now: Instant, sent_ms: EpochMs) {
        self.last_id += 1;
        let stored = Stored {
            body: message.body,
            sent: now,
            sent_ms,
            visible: now + Duration::from_secs(u64::from(message.delay_s)),
            receive_count: 0,
            receipt: None,
        };
        let queue = self.lanes.entry(lane).or_default();
        queue.forget_expired(now);
        queue.insert(self.last_id, stored);
    }

    /// Receives what is visible; what was received too often moves to the dead-letter queue.
    fn receive(&mut self, lane: Lane, ask: &Ask, now: Instant) -> Received {
        let mut received = Received::default();
        let mut taken = Vec::new();
        let mut dead = Vec::new();
        let queue = self.lanes.entry(lane).or_default();
        queue.forget_expired(now);
        while taken.len() < ask.max {
            let Some((id, message)) = queue.take_visible(now) else {
                break;
            };
            match lane {
                Lane::Main(priority) if message.receive_count >= ask.max_receive_count => {
                    dead.push((priority, id, message));
                }
                _ => taken.push((id, message)),
            }
        }
        for (id, mut message) in taken {
            self.last_receipt += 1;
            message.receive_count += 1;
            message.receipt = Some(self.last_receipt);
            message.visible = now + ask.visibility;
            received.receipts.push(Receipt {
                body: message.body.to_string(),
                handle: handle(id, self.last_receipt),
                receive_count: message.receive_count,
                sent_ms: Some(message.sent_ms),
            });
            queue.insert(id, message);
        }
        received.next_visible = queue.by_visible.first().map(|(at, _)| *at);
        received.redriven = !dead.is_empty();
        for (priority, id, mut message) in dead {
            message.receipt = None;
            let dead_letters = self.lanes.entry(Lane::DeadLetter(priority)).or_default();
            dead_letters.insert(id, message);
        }
        received
    }

    fn delete(&mut self, lane: Lane, handle: &str) -> Result<(), PortError> {
        let (id, receipt) = parse_handle("memory delete message", handle)?;
        if let Some(queue) = self.lanes.get_mut(&lane)
            && queue.holds(id, receipt).is_some()
        {
            queue.remove(id);
        }
        Ok(())
    }

    fn extend(
        &mut self,
        lane: Lane,
        handle: &str,
        visibility: Duration,
        now: Instant,
    ) -> Result<(), PortError> {
        const CALL: &str = "memory extend message";
        let (id, receipt) = parse_handle(CALL, handle)?;
        if visibility > VISIBILITY_MAX {
            let detail = format!("{visibility:?} is over the limit of {VISIBILITY_MAX:?}");
            return Err(PortError::new(ErrorClass::Invalid, CALL, detail));
        }
        let queue = self.lanes.entry(lane).or_default();
        let in_flight = queue
            .holds(id, receipt)
            .is_some_and(|message| message.visible > now);
        match queue.remove(id) {
            Some(mut message) if in_flight => {
                message.visible = now + visibility;
                queue.insert(id, message);
                Ok(())
            }
            other => {
                if let Some(message) = other {
                    queue.insert(id, message);
                }
                let detail = "the message is not in flight under this handle";
                Err(PortError::new(ErrorClass::Conflict, CALL, detail))
            }
        }
    }
}

struct Ask {
    max: usize,
    visibility: Duration,
    max_receive_count: u32,
}

#[derive(Default)]
struct Received {
    receipts: Vec<Receipt>,
    next_visible: Option<Instant>,
    redriven: bool,
}

impl Queue {
    fn insert(&mut self, id: u64, message: Stored) {
        self.by_visible.insert((message.visible, id));
        self.messages.insert(id, message);
    }

    fn remove(&mut self, id: u64) -> Option<Stored> {
        let message = self.messages.remove(&id)?;
        self.by_visible.remove(&(message.visible, id));
        Some(message)
    }

    fn take_visible(&mut self, now: Instant) -> Option<(u64, Stored)> {
        let (_, id) = *self.by_visible.first().filter(|(at, _)| *at <= now)?;
        self.remove(id).map(|message| (id, message))
    }

    fn holds(&self, id: u64, receipt: u64) -> Option<&Stored> {
        self.messages
            .get(&id)
            .filter(|message| message.receipt == Some(receipt))
    }

    fn forget_expired(&mut self, now: Instant) {
        while let Some((id, message)) = self.messages.first_key_value()
            && message.sent + RETENTION <= now
        {
            let id = *id;
            self.remove(id);
        }
    }
}

fn handle(id: u64, receipt: u64) -> String {
    format!("{id}-{receipt}")
}

fn parse_handle(operation: &'static str, handle: &str) -> Result<(u64, u64), PortError> {
    handle
        .split_once('-')
        .and_then(|(id, receipt)| Some((id.parse().ok()?, receipt.parse().ok()?)))
        .ok_or_else(|| {
            let detail = format!("{handle:?} is no receipt handle of this queue");
            PortError::new(ErrorClass::Invalid, operation, detail)
        })
}

/// What SQS refuses.
/// <https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/API_SendMessage.html>
fn check(message: &QueueMessage) -> Result<(), PortError> {
    let detail = if message.delay_s > QUEUE_DELAY_MAX_S {
        format!(
            "a delay of {} s is over the limit of {QUEUE_DELAY_MAX_S}",
            message.delay_s
        )
    } else if message.body.is_empty() || message.body.len() > QUEUE_MESSAGE_MAX_BYTES {
        format!(
            "a body has 1 to {QUEUE_MESSAGE_MAX_BYTES} bytes, not {}",
            message.body.len()
        )
    } else if let Some(bad) = message.body.chars().find(|c| !is_xml_legal(*c)) {
        format!("a body is XML-legal text, and {bad:?} is not")
    } else {
        return Ok(());
    };
    Err(PortError::new(
        ErrorClass::Invalid,
        "memory send message",
        detail,
    ))
}

const fn is_xml_legal(c: char) -> bool {
    matches!(c, '\t' | '\n' | '\r' | ' '..='\u{FFFD}' | '\u{10000}'..)
}

#[async_trait]
impl DelayQueue for MemoryDelayQueue {
    async fn send(&self, priority: Priority, messages: Vec<QueueMessage>) -> Outcomes {
        let (now, sent_ms) = (Instant::now(), self.clock.now_ms());
        let outcomes = {
            let mut state = locked(&self.state);
            let mut send = |message| {
                check(&message)?;
                state.send(Lane::Main(priority), message, now, sent_ms);
                Ok(())
            };
            messages.into_iter().map(&mut send).collect()
        };
        self.changed.notify_waiters();
        outcomes
    }

    async fn receive(
        &self,
        lane: Lane,
        max: usize,
        wait: Duration,
        visibility: Duration,
    ) -> Result<Vec<Receipt>, PortError> {
        let ask = Ask {
            max: max.min(RECEIVE_MAX),
            visibility: visibility.min(VISIBILITY_MAX),
            max_receive_count: self.max_receive_count,
        };
        let deadline = Instant::now() + wait.min(WAIT_MAX);
        loop {
            // Enabled before looking, so that a change between looking and waiting is not missed.
            let mut changed = pin!(self.changed.notified());
            changed.as_mut().enable();
            let now = Instant::now();
            let received = locked(&self.state).receive(lane, &ask, now);
            if received.redriven {
                self.changed.notify_waiters();
            }
            if !received.receipts.is_empty() || now >= deadline {
                return Ok(received.receipts);
            }
            let until = received
                .next_visible
                .map_or(deadline, |at| at.min(deadline));
            changed_or(changed, Some(until)).await;
        }
    }

    async fn delete(&self, lane: Lane, handles: Vec<String>) -> Outcomes {
        let mut state = locked(&self.state);
        handles
            .iter()
            .map(|handle| state.delete(lane, handle))
            .collect()
    }

    async fn extend(&self, lane: Lane, handles: Vec<String>, visibility: Duration) -> Outcomes {
        let now = Instant::now();
        let outcomes = {
            let mut state = locked(&self.state);
            handles
                .iter()
                .map(|handle| state.extend(lane, handle, visibility, now))
                .collect()
        };
        self.changed.notify_waiters();
        outcomes
    }
}
