//! Tracked records on their way: each is claimed shortly before it is due, and its end is noted before it counts as ended.
//! Between the two it is a job like any other.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use delayq_core::clock::{Clock, EpochMs};
use delayq_core::headers::Refusal;
use delayq_core::record::Scheduled;
use delayq_core::tracked::{Claimed, Dropped, MessageKey, MessageRow, State, Version};
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::dead_letter::DeadLetter;
use super::job::{Job, Work};
use super::publisher::EndKind;
use crate::registry::Registry;

/// What the registry knows a job's record by.
#[derive(Debug, Clone)]
pub struct Tracking {
    key: MessageKey,
    version: Version,
    /// The row as it was last seen, or as its router must have written it.
    row: MessageRow,
    /// Until when this process may publish it; `None` before it is claimed.
    claimed_until: Option<Instant>,
}

impl Tracking {
    /// Of a record; `None` for one that is not tracked.
    #[must_use]
    pub fn of(record: &Scheduled) -> Option<Box<Self>> {
        let key = record.key()?;
        Some(Box::new(Self {
            version: Version::of(&record.source, record.timestamp_ms),
            row: MessageRow::first(key.clone(), record),
            key,
            claimed_until: None,
        }))
    }

    /// Whether the claim holds.
    pub(super) fn is_claimed(&self, now: Instant) -> bool {
        self.claimed_until.is_some_and(|until| now < until)
    }
}

/// What has become of a job here.
#[derive(Debug)]
pub(super) enum Outcome<T> {
    /// To be published, or written to the dead-letter topic.
    GoOn(Job<T>),
    /// Ended: its end is noted, or the registry says that it has ended.
    Ended(Job<T>, EndKind),
    /// Held by another for a time: claimed again then.
    Later(Job<T>, EpochMs),
}

/// Jobs that wait for their claim, and calls under way.
pub(super) struct Tracked<T> {
    registry: Arc<Registry>,
    clock: Arc<dyn Clock>,
    /// By the time at which they are to be claimed.
    waiting: BTreeMap<EpochMs, VecDeque<Job<T>>>,
    calls: JoinSet<Outcome<T>>,
}

impl<T: Send + 'static> Tracked<T> {
    pub(super) fn new(registry: Arc<Registry>, clock: Arc<dyn Clock>) -> Self {
        Self {
            registry,
            clock,
            waiting: BTreeMap::new(),
            calls: JoinSet::new(),
        }
    }

    /// Takes a job that must be claimed before it may go on; gives the others back.
    pub(super) fn take(&mut self, job: Job<T>) -> Option<Job<T>> {
        if !job.needs_claim(Instant::now) {
            return Some(job);
        }
        let lead_ms = self.registry.settings().claim_lead_ms;
        self.wait_until(job.due_ms().saturating_sub(lead_ms), job);
        None
    }

    /// Starts the claims whose time has come, up to `most`.
    pub(super) fn start_claims(&mut self, now_ms: EpochMs, most: usize) {
        for _ in 0..most {
            let Some(mut entry) = self.waiting.first_entry().filter(|e| *e.key() <= now_ms) else {
                return;
            };
            let job = entry.get_mut().pop_front();
            if entry.get().is_empty() {
                entry.remove();
            }
            let Some(job) = job else { continue };
            let (registry, clock) = (self.registry.clone(), self.clock.clone());
            self.calls.spawn(claim(registry, clock, job));
        }
    }

    /// Calls to the registry under way.
    pub(super) fn calls(&self) -> usize {
        self.calls.len()
    }

    /// Notes the end of a tracked job; gives back a job that is not tracked, with its end.
    pub(super) fn finish(
        &mut self,
        job: Job<T>,
        kind: EndKind,
        state: State,
    ) -> Option<(Job<T>, EndKind)> {
        let Some(tracking) = job.tracking.clone() else {
            return Some((job, kind));
        };
        let registry = self.registry.clone();
        self.calls.spawn(async move {
            let Tracking {
                key, version, row, ..
            } = *tracking;
            let alive = || job.alive.load(Ordering::Acquire);
            let noted = registry.finish(&key, &version, &row, &state, alive).await;
            let kind = if noted { kind } else { EndKind::Abandoned };
            Outcome::Ended(job, kind)
        });
        None
    }

    /// The next outcome; pending for ever while nothing is under way. Cancel safe.
    pub(super) async fn next(&mut self) -> Outcome<T> {
        loop {
            match self.calls.join_next().await {
                Some(Ok(outcome)) => return outcome,
                // Its owner would wait for ever: only a restart repeats the record.
                Some(Err(error)) if error.is_panic() => {
                    std::panic::resume_unwind(error.into_panic())
                }
                Some(Err(_)) => {}
                None => std::future::pending().await,
            }
        }
    }

    pub(super) fn wait_until(&mut self, at_ms: EpochMs, job: Job<T>) {
        self.waiting.entry(at_ms).or_default().push_back(job);
    }

    /// Gives back what is due after `after_ms` and has not been claimed.
    pub(super) fn recall(&mut self, after_ms: EpochMs) -> Vec<Job<T>> {
        let mut later = Vec::new();
        for jobs in self.waiting.values_mut() {
            let (due_later, kept) = jobs
                .drain(..)
                .partition(|job: &Job<T>| job.due_ms() > after_ms);
            let due_later: VecDeque<_> = due_later;
            later.extend(due_later);
            *jobs = kept;
        }
        self.waiting.retain(|_, jobs| !jobs.is_empty());
        later
    }

    /// When [`Tracked::start_claims`] has something to do.
    pub(super) fn next_ms(&self) -> Option<EpochMs> {
        self.waiting.first_key_value().map(|(at_ms, _)| *at_ms)
    }

    /// When the oldest of those that wait was due, if it is due at `now_ms`.
    pub(super) fn oldest_due_ms(&self, now_ms: EpochMs) -> Option<EpochMs> {
        let due = |job: &Job<T>| job.due_ms();
        let waiting = self.waiting.values().flatten().map(due);
        waiting.filter(|due_ms| *due_ms <= now_ms).min()
    }

    pub(super) fn is_idle(&self) -> bool {
        self.waiting.is_empty() && self.calls.is_empty()
    }
}

async fn claim<T>(registry: Arc<Registry>, clock: Arc<dyn Clock>, mut job: Job<T>) -> Outcome<T> {
    let (Some(mut tracking), Work::Publish(record)) = (job.tracking.take(), job.work.clone())
    else {
        return Outcome::GoOn(job);
    };
    let alive = || job.alive.load(Ordering::Acquire);
    let Tracking {
        key, version, row, ..
    } = &*tracking;
    // Counted from before the call: the store counts from later.
    let asked = Instant::now();
    let Some(answered) = registry.claim(key, version, row, alive).await else {
        return Outcome::Ended(job, EndKind::Abandoned);
    };
    let lease_ms = registry.settings().lease_ms;
    let outcome = answered.answer;
    if let Some(row) = answered.row {
        tracking.row = row;
    }
    match outcome {
        Claimed::Mine => {
            let lease = Duration::from_millis(lease_ms.max(0).unsigned_abs());
            tracking.claimed_until = Some(asked + lease);
            job.tracking = Some(tracking);
            Outcome::GoOn(job)
        }
        Claimed::Busy { until_ms } => {
            job.tracking = Some(tracking);
            // Another's clock says until when; the store's condition, not ours, decides then.
            Outcome::Later(job, until_ms.min(clock.now_ms().saturating_add(lease_ms)))
        }
        Claimed::Dropped(dropped) => {
            note_dropped(&record, dropped);
            Outcome::Ended(job, EndKind::Dropped)
        }
        Claimed::Missing => {
            let refusal = Refusal::new(
                "registry-missing",
                "the registry of tracked records does not know this record, though it was registered: rows were lost, so that nobody can say whether it was cancelled; send it again if it is still wanted",
            );
            job.work = Work::DeadLetter(Arc::new(DeadLetter::unpublishable(&record, refusal)));
            Outcome::GoOn(job)
        }
    }
}

fn note_dropped(record: &Scheduled, dropped: Dropped) {
    tracing::debug!(source = %record.source, why = dropped.as_str(), "a tracked record is not published");
}
