//! Writes the canaries to the delay topic, like any producer.

use std::sync::Arc;
use std::time::Duration;

use delayq_core::canary::Canary;
use delayq_core::clock::Clock;
use delayq_core::error::{ErrorClass, PortError};
use delayq_core::ports::RecordSink;
use delayq_core::priority::Priority;
use delayq_core::record::{Outgoing, Path};
use tokio::sync::{oneshot, watch};
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;

use super::{CanarySettings, metrics as names};

/// Sends while it is this process's turn, and the canary topic is there: else they would end as dead letters.
pub(super) struct Sender {
    pub(super) settings: CanarySettings,
    pub(super) sink: Arc<dyn RecordSink>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) leads: watch::Receiver<bool>,
    pub(super) topic_found: watch::Receiver<bool>,
}

impl Sender {
    pub(super) async fn run(mut self, stop: CancellationToken) {
        let mut every = tokio::time::interval(Duration::from_millis(
            self.settings.times.interval_ms.max(1).unsigned_abs(),
        ));
        every.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let told = tokio::select! {
                _ = every.tick() => Ok(()),
                told = self.leads.changed() => told,
                told = self.topic_found.changed() => told,
                () = stop.cancelled() => return,
            };
            if told.is_err() {
                tracing::debug!("no more canaries are sent: the router or the observer has ended");
                return;
            }
            if *self.leads.borrow_and_update() && *self.topic_found.borrow_and_update() {
                every.reset();
                self.round().await;
            }
        }
    }

    /// Those of the direct path go last: they say that the others are under way.
    async fn round(&self) {
        let sent_ms = self.clock.now_ms();
        for paths in [&[Path::Long, Path::Short][..], &[Path::Direct]] {
            let mut answers = Vec::new();
            for path in paths {
                for priority in Priority::ALL {
                    answers.extend(self.send(*path, priority, sent_ms));
                }
            }
            let mut failed = false;
            for answer in answers {
                let outcome = match answer.await {
                    Ok(Ok(())) => "confirmed",
                    Ok(Err(error)) => {
                        tracing::warn!(%error, "a canary could not be written to the delay topic");
                        failed = true;
                        "failed"
                    }
                    Err(_) => {
                        failed = true;
                        "failed"
                    }
                };
                ::metrics::counter!(names::SENT, "outcome" => outcome).increment(1);
            }
            if failed {
                return;
            }
        }
    }

    fn send(
        &self,
        path: Path,
        priority: Priority,
        sent_ms: i64,
    ) -> Option<oneshot::Receiver<Result<(), PortError>>> {
        let settings = &self.settings;
        let due_ms = sent_ms.saturating_add(settings.times.delay_ms(path)?);
        let canary = Canary {
            path,
            priority,
            sent_ms,
        };
        let record = canary.record(due_ms, &settings.topic, &settings.names);
        let outgoing = Outgoing::standard(settings.delay_topic.clone(), record);
        let (told, answer) = oneshot::channel();
        let acknowledge = Box::new(move |result: Result<_, PortError>| {
            if told.send(result.map(|_| ())).is_err() {
                tracing::debug!("a canary was confirmed after its sender had ended");
            }
        });
        if let Err(acknowledge) = self.sink.publish(&outgoing, acknowledge) {
            let full = "the producer's queue is full";
            acknowledge(Err(PortError::new(
                ErrorClass::Transient,
                "kafka produce",
                full,
            )));
        }
        Some(answer)
    }
}
