//! Receives the queues, within the memory budget and while Kafka takes records.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use delayq_core::error::PortError;
use delayq_core::ports::{DelayQueue, HealthReport, Lane, Receipt};
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::budget::Budget;
use crate::held::priority_of;

/// Messages that were received.
#[derive(Debug)]
pub struct Received {
    /// Where.
    pub lane: Lane,
    /// The messages.
    pub receipts: Vec<Receipt>,
    /// Invisible to others until then.
    pub visible_at: Instant,
    /// What was taken from the budget for them.
    pub budgeted_bytes: usize,
}

/// Receives one lane.
pub struct Intake {
    /// Lane.
    pub lane: Lane,
    /// Queues.
    pub queue: Arc<dyn DelayQueue>,
    /// Memory.
    pub budget: Arc<Budget>,
    /// What a message of this lane is expected to take: moved towards what the last ones took.
    pub message_bytes: Arc<AtomicUsize>,
    /// Health.
    pub health: Arc<dyn HealthReport>,
    /// Why publishing is held back.
    pub held_back: watch::Receiver<Option<PortError>>,
    /// Long poll.
    pub wait: Duration,
    /// Invisibility.
    pub visibility: Duration,
}

/// Messages a call.
const RECEIVE_MAX: usize = 10;
/// Long poll of the first call: whether the queue answers is known soon.
const FIRST_WAIT: Duration = Duration::from_secs(1);
/// Wait after a failure.
const RETRY: Duration = Duration::from_secs(1);

impl Intake {
    /// Runs until `stop`. A call under way is waited for: dropped, its messages would stay invisible.
    pub async fn run(mut self, received: mpsc::Sender<Received>, stop: CancellationToken) {
        let priority = priority_of(self.lane);
        let component = match self.lane {
            Lane::Main(_) => format!("queue {priority} (receive)"),
            Lane::DeadLetter(_) => format!("queue {priority} dead letters (receive)"),
        };
        let mut wait = FIRST_WAIT.min(self.wait);
        while !stop.is_cancelled() {
            let each = self.message_bytes.load(Ordering::Relaxed);
            tokio::select! {
                // Kafka being away is not the message's fault: its receive count is not burnt.
                ready = self.held_back.wait_for(Option::is_none) => {
                    if ready.is_err() {
                        return;
                    }
                }
                () = stop.cancelled() => return,
            }
            // As many messages as there is room for: a large one opens to megabytes.
            let messages = tokio::select! {
                messages = self.budget.take_some(self.lane, each, RECEIVE_MAX) => messages,
                () = stop.cancelled() => return,
            };
            let expected = each * messages;
            let asked = Instant::now();
            match self
                .queue
                .receive(self.lane, messages, wait, self.visibility)
                .await
            {
                Ok(receipts) => {
                    wait = self.wait;
                    self.health.report(&component, Ok(()));
                    if receipts.is_empty() {
                        self.budget.free(self.lane, expected);
                        continue;
                    }
                    // Counted from before the call: the lease may have begun at any time within it.
                    let visible_at = asked + self.visibility;
                    let message = Received {
                        lane: self.lane,
                        receipts,
                        visible_at,
                        budgeted_bytes: expected,
                    };
                    if received.send(message).await.is_err() {
                        tracing::error!(
                            "the emitter ended before its intake: messages come again when their visibility ends"
                        );
                        return;
                    }
                }
                Err(error) => {
                    self.budget.free(self.lane, expected);
                    self.health.report(&component, Err(error.to_string()));
                    tokio::select! {
                        () = tokio::time::sleep(error.retry_after.unwrap_or(RETRY)) => {}
                        () = stop.cancelled() => return,
                    }
                }
            }
        }
    }
}
