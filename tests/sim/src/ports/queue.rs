//! The delay queues.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use delayq_core::error::PortError;
use delayq_core::ports::{DelayQueue, Lane, Outcomes, QueueMessage, Receipt};
use delayq_core::priority::Priority;
use delayq_core::record::Source;
use delayq_embedded::MemoryDelayQueue;

use super::{all_fail, listed, merge, sift, sources_of_text};
use crate::ledger::Cause;
use crate::node::Node;
use crate::weather::Target;

/// As one process reaches them.
pub struct SimQueue {
    /// The process.
    pub node: Arc<Node>,
    /// The queues.
    pub inner: Arc<MemoryDelayQueue>,
}

impl SimQueue {
    fn of_messages(&self, lane: Lane, handles: &[String]) -> Vec<Source> {
        let hands = self.node.hands();
        let each = handles.iter().map(|handle| hands.of_message(lane, handle));
        each.flatten().collect()
    }

    /// A queue that delivers at least once: now and then a message is there twice.
    fn doubled(&self, messages: Vec<QueueMessage>) -> Vec<QueueMessage> {
        let mut all = Vec::with_capacity(messages.len());
        for message in messages {
            if self.node.weather.delivers_twice() {
                self.node.ledger.fault("delivered twice");
                let sources = sources_of_text(&message.body);
                self.node.ledger.blame(Cause::DeliveredTwice, sources);
                all.push(message.clone());
            }
            all.push(message);
        }
        all
    }

    async fn send_all(&self, priority: Priority, messages: Vec<QueueMessage>) -> Outcomes {
        let mut outcomes = Outcomes::with_capacity(messages.len());
        for message in messages {
            let sources = sources_of_text(&message.body);
            self.node.note(format_args!(
                "sends {} to {priority}, delay {} s",
                listed(&sources),
                message.delay_s
            ));
            // One call a message, so that a copy's outcome is not taken for another message's.
            let copies = self.doubled(vec![message]);
            let sent = self.inner.send(priority, copies).await;
            outcomes.push(sent.into_iter().collect());
        }
        outcomes
    }

    /// The others of its page are sent again with it if a scheduler's lease ends first.
    fn note_unsent(&self, bodies: &[Arc<str>], outcomes: &Outcomes) {
        for (body, outcome) in bodies.iter().zip(outcomes) {
            if outcome.is_err() {
                let pages = self.node.hands().pages_with(&sources_of_text(body));
                self.node.ledger.unsettled(pages);
            }
        }
    }

    /// What is held is no longer surely ours, or comes again.
    fn blame_failures(&self, lane: Lane, handles: &[String], outcomes: &Outcomes) {
        for (handle, outcome) in handles.iter().zip(outcomes) {
            if outcome.is_err() {
                let sources = self.node.hands().of_message(lane, handle);
                self.node.ledger.blame(Cause::QueueFailed, sources);
            }
        }
    }
}

#[async_trait]
impl DelayQueue for SimQueue {
    async fn send(&self, priority: Priority, messages: Vec<QueueMessage>) -> Outcomes {
        const CALL: &str = "queue send";
        let count = messages.len();
        let bodies: Vec<_> = messages
            .iter()
            .map(|message| message.body.clone())
            .collect();
        let touched = || {
            bodies
                .iter()
                .flat_map(|body| sources_of_text(body))
                .collect()
        };
        let effect = async {
            let sifted = sift(&self.node, CALL, messages);
            merge(
                sifted.failures,
                self.send_all(priority, sifted.passed).await,
            )
        };
        let outcomes = self
            .node
            .call(Target::Queue, CALL, touched, effect, |error| {
                all_fail(count, &error)
            })
            .await;
        self.note_unsent(&bodies, &outcomes);
        outcomes
    }

    async fn receive(
        &self,
        lane: Lane,
        max: usize,
        wait: Duration,
        visibility: Duration,
    ) -> Result<Vec<Receipt>, PortError> {
        let effect = async {
            let mut receipts = self.inner.receive(lane, max, wait, visibility).await?;
            // No order is promised.
            for at in (1..receipts.len()).rev() {
                let other = usize::try_from(self.node.weather.below(at as u64 + 1)).unwrap_or(at);
                receipts.swap(at, other);
            }
            for receipt in &receipts {
                let sources = sources_of_text(&receipt.body);
                self.node.note(format_args!(
                    "receives {} of {lane:?}, time {}",
                    listed(&sources),
                    receipt.receive_count
                ));
                if self.node.is_frozen() {
                    // The answer waits in a socket; the lease runs.
                    self.node.ledger.blame(Cause::LeaseLapsed, sources.clone());
                }
                self.node.hands().received(lane, &receipt.handle, sources);
            }
            Ok(receipts)
        };
        // What is received without an answer comes again to who is answered.
        self.node
            .call(Target::Queue, "queue receive", Vec::new, effect, Err)
            .await
    }

    async fn delete(&self, lane: Lane, handles: Vec<String>) -> Outcomes {
        const CALL: &str = "queue delete";
        let count = handles.len();
        let asked = handles.clone();
        let touched = || self.of_messages(lane, &asked);
        let effect = async {
            let sifted = sift(&self.node, CALL, handles);
            merge(
                sifted.failures,
                self.inner.delete(lane, sifted.passed).await,
            )
        };
        let outcomes = self
            .node
            .call(Target::Queue, CALL, touched, effect, |error| {
                all_fail(count, &error)
            })
            .await;
        self.blame_failures(lane, &asked, &outcomes);
        for (handle, outcome) in asked.iter().zip(&outcomes) {
            if outcome.is_ok() {
                self.node.hands().deleted(lane, handle);
            }
        }
        outcomes
    }

    async fn extend(&self, lane: Lane, handles: Vec<String>, visibility: Duration) -> Outcomes {
        const CALL: &str = "queue extend";
        let count = handles.len();
        let asked = handles.clone();
        let effect = async {
            let sifted = sift(&self.node, CALL, handles);
            let extended = self.inner.extend(lane, sifted.passed, visibility).await;
            merge(sifted.failures, extended)
        };
        let outcomes = self
            .node
            .call(Target::Queue, CALL, Vec::new, effect, |error| {
                all_fail(count, &error)
            })
            .await;
        // A conflict says that the message was deleted meanwhile, by this process: no fault of the queue.
        self.blame_failures(lane, &asked, &outcomes);
        outcomes
    }
}
