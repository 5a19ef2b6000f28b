//! What an owner of jobs sees of the task that publishes: how it is set, what it is told, how jobs end.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use delayq_core::clock::EpochMs;
use delayq_core::error::PortError;
use tokio::sync::{mpsc, oneshot, watch};
use tokio_util::task::AbortOnDropHandle;

use super::job::Job;

/// How a job ended, confirmed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EndKind {
    /// In its output topic.
    Published,
    /// In the dead-letter topic.
    DeadLettered,
    /// Nowhere: the registry of tracked records says that it was cancelled, superseded, or has ended before.
    Dropped,
    /// The owner gave it up before its end was confirmed.
    Abandoned,
}

/// The end of a job.
#[derive(Debug)]
pub struct End<T> {
    /// The owner's.
    pub ticket: T,
    /// How.
    pub kind: EndKind,
}

/// Settings.
#[derive(Debug, Clone)]
pub struct PublishSettings {
    /// `router` or `emitter`, for metrics.
    pub service: &'static str,
    /// Where dead letters go.
    pub dead_letter_topic: Arc<str>,
    /// Tries until a record at fault becomes a dead letter.
    pub attempts: u32,
    /// First wait between tries.
    pub retry_first: Duration,
    /// Longest wait between tries.
    pub retry_max: Duration,
    /// How often a record probes whether Kafka is back.
    pub breaker_probe: Duration,
    /// Records handed to the sink and not yet acknowledged, at most.
    pub max_under_way: usize,
    /// See [`delayq_core::priority::PriorityPicker::new`].
    pub floor_every: u32,
    /// Longest sleep: a wall clock that jumps is noticed after at most this.
    pub clock_check: Duration,
}

/// What the owner asks of the task.
pub(super) enum Command<T> {
    /// See [`Publisher::hold`].
    Hold(Vec<Job<T>>),
    /// See [`Publisher::recall`].
    Recall(EpochMs, oneshot::Sender<Vec<Job<T>>>),
}

/// Handle to the task that publishes. The task ends with the last handle: an owner that is gone can confirm nothing, so that
/// what it held is published by whoever gets it next.
#[derive(Debug)]
pub struct Publisher<T> {
    commands: mpsc::UnboundedSender<Command<T>>,
    breaker: watch::Receiver<Option<PortError>>,
    task: Arc<AbortOnDropHandle<()>>,
}

impl<T> std::fmt::Debug for Command<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Command")
    }
}

impl<T> Clone for Publisher<T> {
    fn clone(&self) -> Self {
        Self {
            commands: self.commands.clone(),
            breaker: self.breaker.clone(),
            task: self.task.clone(),
        }
    }
}

impl<T: Send + 'static> Publisher<T> {
    pub(super) fn new(
        commands: mpsc::UnboundedSender<Command<T>>,
        breaker: watch::Receiver<Option<PortError>>,
        task: AbortOnDropHandle<()>,
    ) -> Self {
        Self {
            commands,
            breaker,
            task: Arc::new(task),
        }
    }

    /// Takes jobs on. Memory is the caller's to bound. `false`: the task is gone; nothing was taken.
    #[must_use]
    pub fn hold(&self, jobs: Vec<Job<T>>) -> bool {
        jobs.is_empty() || self.commands.send(Command::Hold(jobs)).is_ok()
    }

    /// Takes back everything that is due after `after_ms` and has not been handed to the broker.
    pub async fn recall(&self, after_ms: EpochMs) -> Vec<Job<T>> {
        let (reply, answer) = oneshot::channel();
        if self
            .commands
            .send(Command::Recall(after_ms, reply))
            .is_err()
        {
            return Vec::new();
        }
        answer.await.unwrap_or_default()
    }

    /// Why publishing is held back; `None` while Kafka answers.
    #[must_use]
    pub fn held_back(&self) -> Option<PortError> {
        self.breaker.borrow().clone()
    }

    /// Changes with [`Publisher::held_back`].
    #[must_use]
    pub fn watch_held_back(&self) -> watch::Receiver<Option<PortError>> {
        self.breaker.clone()
    }
}

/// A flag that is never cleared: for jobs that are always wanted.
#[must_use]
pub fn always_alive() -> Arc<AtomicBool> {
    Arc::new(AtomicBool::new(true))
}
