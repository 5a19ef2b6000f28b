//! A piece of work for the publisher: what to write, when, and for whom.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use delayq_core::clock::EpochMs;
use delayq_core::priority::Priority;
use delayq_core::record::Scheduled;
use tokio::time::Instant;

use super::dead_letter::DeadLetter;
use super::tracked::Tracking;

/// What is to be written.
#[derive(Debug, Clone)]
pub enum Work {
    /// A record, at its due time.
    Publish(Arc<Scheduled>),
    /// A dead letter, at once.
    DeadLetter(Arc<DeadLetter>),
}

/// A piece of work and the ticket by which its owner knows it.
#[derive(Debug, Clone)]
pub struct Job<T> {
    /// What to write.
    pub work: Work,
    /// The owner's.
    pub ticket: T,
    /// Cleared by the owner when the record is no longer its own: then it is not published any more.
    pub alive: Arc<AtomicBool>,
    /// Not published before this, though it may be due: the turn that a rate limit gives it.
    pub not_before_ms: EpochMs,
    /// What the registry knows its record by, if it is tracked: its end is noted there.
    pub tracking: Option<Box<Tracking>>,
}

impl<T> Job<T> {
    /// Work to be done as soon as it is due. A tracked record that is to be published is claimed first.
    pub fn new(work: Work, ticket: T, alive: Arc<AtomicBool>) -> Self {
        let tracking = match &work {
            Work::Publish(record) => Tracking::of(record),
            Work::DeadLetter(_) => None,
        };
        Self {
            work,
            ticket,
            alive,
            not_before_ms: EpochMs::MIN,
            tracking,
        }
    }

    pub(super) fn due_ms(&self) -> EpochMs {
        match &self.work {
            Work::Publish(record) => record.due_ms.max(self.not_before_ms),
            Work::DeadLetter(_) => EpochMs::MIN,
        }
    }

    /// How late it is at `now_ms`. A dead letter is due at once, and never late.
    pub(super) fn late_ms(&self, now_ms: EpochMs) -> EpochMs {
        match &self.work {
            Work::Publish(_) => now_ms.saturating_sub(self.due_ms()),
            Work::DeadLetter(_) => 0,
        }
    }

    pub(super) fn priority(&self) -> Priority {
        match &self.work {
            Work::Publish(record) => record.priority,
            // A dead letter blocks its batch or partition: it is written like any standard record.
            Work::DeadLetter(_) => Priority::Standard,
        }
    }

    /// Whether it is tracked, and was not claimed, or too long ago, to be published.
    pub(super) fn needs_claim(&self, now: impl FnOnce() -> Instant) -> bool {
        let publishes = matches!(self.work, Work::Publish(_));
        publishes
            && self
                .tracking
                .as_ref()
                .is_some_and(|one| !one.is_claimed(now()))
    }

    /// Whether the owner still wants it.
    #[must_use]
    pub fn is_alive(&self) -> bool {
        self.alive.load(Ordering::Acquire)
    }
}
