//! Which record is published next: a pure state machine of what waits, what is ready and what is under way.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use delayq_core::clock::EpochMs;
use delayq_core::error::{ErrorClass, PortError};
use delayq_core::headers::Refusal;
use delayq_core::priority::{Priority, PriorityPicker};
use slab::Slab;

use super::dead_letter::DeadLetter;
use super::job::{Job, Work};
use super::lanes::Open;

/// Names a job under way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct JobId {
    place: usize,
    turn: u32,
}

#[cfg(test)]
impl JobId {
    pub(super) const fn of(place: usize) -> Self {
        Self { place, turn: 0 }
    }
}

/// A job with its history.
#[derive(Debug, Clone)]
pub struct Attempt<T> {
    /// The job.
    pub job: Job<T>,
    /// Failures that were the record's fault.
    pub failures: u32,
}

/// What a failed publication leads to.
#[derive(Debug, PartialEq, Eq)]
pub enum Failure {
    /// Tried again later, counted against the record.
    RetryRecord,
    /// Tried again later: not the record's fault.
    RetryBroker,
    /// Out of tries: it is a dead letter now.
    DeadLettered,
    /// The job was not under way.
    Unknown,
}

/// Waiting, ready and under way.
#[derive(Debug)]
pub struct Emission<T> {
    /// By millisecond, in order of arrival: due times, and times of another try.
    waiting: BTreeMap<EpochMs, Vec<Attempt<T>>>,
    ready: [VecDeque<Attempt<T>>; 3],
    under_way: Slab<UnderWay<T>>,
    picker: PriorityPicker,
    turn: u32,
    attempts: u32,
}

/// A place is used again and again: by its turn a late answer is known from one that belongs there now.
#[derive(Debug)]
struct UnderWay<T> {
    turn: u32,
    attempt: Attempt<T>,
}

impl<T> Emission<T> {
    /// `attempts`: tries until a record whose own fault it is becomes a dead letter.
    /// `floor_every`: see [`PriorityPicker::new`].
    #[must_use]
    pub fn new(attempts: u32, floor_every: u32) -> Self {
        Self {
            waiting: BTreeMap::new(),
            ready: Default::default(),
            under_way: Slab::new(),
            picker: PriorityPicker::new(floor_every),
            turn: 0,
            attempts: attempts.max(1),
        }
    }

    /// Takes a job on.
    pub fn hold(&mut self, job: Job<T>) {
        let at_ms = job.due_ms();
        self.wait_until(at_ms, Attempt { job, failures: 0 });
    }

    /// The next job to be published at `now_ms`, never before its due time, of a priority that is `open`. It is under way from then on.
    pub fn pop(&mut self, now_ms: EpochMs, open: Open) -> Option<(JobId, &Attempt<T>)> {
        self.make_ready(now_ms);
        loop {
            let ready = &self.ready;
            let chosen = self
                .picker
                .pick(|p| open.has(p) && ready.get(p.index()).is_some_and(|q| !q.is_empty()))?;
            let attempt = self.ready.get_mut(chosen.index())?.pop_front()?;
            let due_ms = attempt.job.due_ms();
            if due_ms > now_ms {
                // The clock was set back since it became ready.
                self.wait_until(due_ms, attempt);
                continue;
            }
            self.turn = self.turn.wrapping_add(1);
            let place = self.under_way.vacant_entry();
            let id = JobId {
                place: place.key(),
                turn: self.turn,
            };
            let turn = self.turn;
            return Some((id, &place.insert(UnderWay { turn, attempt }).attempt));
        }
    }

    /// Whether [`Emission::pop`] has something at `now_ms`.
    pub fn has(&mut self, now_ms: EpochMs, open: Open) -> bool {
        self.make_ready(now_ms);
        Priority::ALL
            .into_iter()
            .any(|p| self.has_ready(p) && open.has(p))
    }

    fn make_ready(&mut self, now_ms: EpochMs) {
        while let Some(entry) = self.waiting.first_entry().filter(|e| *e.key() <= now_ms) {
            for attempt in entry.remove() {
                if let Some(queue) = self.ready.get_mut(attempt.job.priority().index()) {
                    queue.push_back(attempt);
                }
            }
        }
    }

    /// The job could not be handed over (the sink's queue is full): it is next again.
    pub fn put_back(&mut self, id: JobId) {
        if let Some(attempt) = self.remove(id)
            && let Some(queue) = self.ready.get_mut(attempt.job.priority().index())
        {
            queue.push_front(attempt);
        }
    }

    /// The job has ended; it is forgotten here.
    pub fn finish(&mut self, id: JobId) -> Option<Job<T>> {
        self.remove(id).map(|attempt| attempt.job)
    }

    /// The broker refused or did not answer. `retry_ms`: when to try again.
    pub fn fail(&mut self, id: JobId, error: &PortError, retry_ms: EpochMs) -> Failure {
        let Some(mut attempt) = self.remove(id) else {
            return Failure::Unknown;
        };
        let records_fault = error.class == ErrorClass::Invalid;
        let outcome = match (&attempt.job.work, records_fault) {
            (_, false) => Failure::RetryBroker,
            // A dead letter that cannot be written keeps the record undone, whatever the reason.
            (Work::DeadLetter(_), true) => {
                attempt.failures = attempt.failures.saturating_add(1);
                Failure::RetryRecord
            }
            (Work::Publish(record), true) => {
                attempt.failures += 1;
                if attempt.failures < self.attempts {
                    Failure::RetryRecord
                } else {
                    let detail = format!(
                        "topic {:?}, {} tries: {error}",
                        record.output_topic, attempt.failures
                    );
                    let refusal = Refusal::new("publish-failed", detail);
                    attempt.job.work =
                        Work::DeadLetter(Arc::new(DeadLetter::unpublishable(record, refusal)));
                    Failure::DeadLettered
                }
            }
        };
        let at_ms = if outcome == Failure::DeadLettered {
            EpochMs::MIN
        } else {
            // By a clock that was set back meanwhile it may not be due yet.
            retry_ms.max(attempt.job.due_ms())
        };
        self.wait_until(at_ms, attempt);
        outcome
    }

    /// Failures so far that were the fault of a record under way.
    #[must_use]
    pub fn failures(&self, id: JobId) -> u32 {
        self.get(id).map_or(0, |attempt| attempt.failures)
    }

    /// A dead letter under way that its topic has just refused for the last time that counts, and that may be too large
    /// for it. It is under way no more.
    pub fn take_refused_letter(&mut self, id: JobId) -> Option<(Job<T>, Arc<DeadLetter>)> {
        let attempt = self.get(id)?;
        let Work::DeadLetter(letter) = &attempt.job.work else {
            return None;
        };
        if attempt.failures + 1 < self.attempts || !letter.has_payload() {
            return None;
        }
        let letter = letter.clone();
        self.remove(id).map(|attempt| (attempt.job, letter))
    }

    /// Gives back everything that is due after `after_ms` and not under way.
    pub fn recall(&mut self, after_ms: EpochMs) -> Vec<Job<T>> {
        let mut later = Vec::new();
        for attempts in self.waiting.values_mut() {
            let due_later = |a: &mut Attempt<T>| a.job.due_ms() > after_ms;
            later.extend(attempts.extract_if(.., due_later).map(|a| a.job));
        }
        self.waiting.retain(|_, attempts| !attempts.is_empty());
        later
    }

    /// When [`Emission::pop`] may have something new; `None` when nothing waits.
    #[must_use]
    pub fn next_ms(&self) -> Option<EpochMs> {
        if self.ready.iter().any(|q| !q.is_empty()) {
            return Some(EpochMs::MIN);
        }
        self.waits_until_ms()
    }

    /// When the first of those that are not ready is.
    #[must_use]
    pub fn waits_until_ms(&self) -> Option<EpochMs> {
        self.waiting.first_key_value().map(|(at_ms, _)| *at_ms)
    }

    /// When the oldest record was due that is due at `now_ms` and has not ended; what waits for another try, up to
    /// `retry_max_ms` ahead, included. Walks through all of these.
    #[must_use]
    pub fn oldest_due_ms(&self, now_ms: EpochMs, retry_max_ms: i64) -> Option<EpochMs> {
        let until_ms = now_ms.saturating_add(retry_max_ms);
        let waiting = self.waiting.range(..=until_ms);
        let ready = self.ready.iter().flatten();
        waiting
            .flat_map(|(_, attempts)| attempts)
            .chain(ready)
            .chain(self.under_way.iter().map(|(_, one)| &one.attempt))
            .filter(|attempt| matches!(attempt.job.work, Work::Publish(_)))
            .map(|attempt| attempt.job.due_ms())
            .filter(|due_ms| *due_ms <= now_ms)
            .min()
    }

    /// Whether something of this priority is ready to be published at once.
    #[must_use]
    pub fn has_ready(&self, priority: Priority) -> bool {
        self.ready
            .get(priority.index())
            .is_some_and(|q| !q.is_empty())
    }

    /// Jobs under way.
    #[must_use]
    pub fn under_way(&self) -> usize {
        self.under_way.len()
    }

    /// Jobs held in all.
    #[must_use]
    pub fn held(&self) -> usize {
        self.waiting.values().map(Vec::len).sum::<usize>()
            + self.ready.iter().map(VecDeque::len).sum::<usize>()
            + self.under_way.len()
    }

    fn wait_until(&mut self, at_ms: EpochMs, attempt: Attempt<T>) {
        self.waiting.entry(at_ms).or_default().push(attempt);
    }

    fn get(&self, id: JobId) -> Option<&Attempt<T>> {
        let there = self.under_way.get(id.place);
        there
            .filter(|one| one.turn == id.turn)
            .map(|one| &one.attempt)
    }

    fn remove(&mut self, id: JobId) -> Option<Attempt<T>> {
        self.get(id)?;
        self.under_way.try_remove(id.place).map(|one| one.attempt)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicBool;

    use super::*;
    use delayq_core::record::{Path, Record, Scheduled, Source, TopicPartition};
    use proptest::prelude::*;

    fn job(due_ms: EpochMs, priority: Priority, ticket: u32) -> Job<u32> {
        let record = Scheduled {
            source: Source {
                at: TopicPartition::new("d", 0),
                offset: i64::from(ticket),
            },
            output_topic: "t".into(),
            priority,
            due_ms,
            timestamp_ms: 0,
            id: None,
            path: Path::Direct,
            record: Record::default(),
            payload: None,
            limit: None,
        };
        let alive = Arc::new(AtomicBool::new(true));
        Job::new(Work::Publish(Arc::new(record)), ticket, alive)
    }

    fn error(class: ErrorClass) -> PortError {
        PortError::new(class, "test", "no")
    }

    #[test]
    fn poison_becomes_a_dead_letter_after_its_tries_and_an_outage_never_does() {
        let mut emission = Emission::new(3, 10);
        emission.hold(job(5, Priority::High, 1));
        let mut failures = Vec::new();
        for outcome in [Failure::RetryBroker; 1].into_iter().chain([
            Failure::RetryRecord,
            Failure::RetryRecord,
            Failure::DeadLettered,
        ]) {
            let (id, _) = emission.pop(10, Open::ALL).unwrap();
            failures.push(emission.failures(id));
            let class = if outcome == Failure::RetryBroker {
                ErrorClass::Transient
            } else {
                ErrorClass::Invalid
            };
            assert_eq!(emission.fail(id, &error(class), 10), outcome);
        }
        assert_eq!(
            failures,
            [0, 0, 1, 2],
            "an outage is no failure of the record; the waits grow with these"
        );
        let (id, attempt) = emission.pop(10, Open::ALL).unwrap();
        assert!(
            matches!(&attempt.job.work, Work::DeadLetter(d) if d.refusal.code == "publish-failed")
        );
        assert_eq!(
            emission.fail(id, &error(ErrorClass::Invalid), 10),
            Failure::RetryRecord,
            "kept undone"
        );
        let (id, _) = emission.pop(10, Open::ALL).unwrap();
        assert_eq!(emission.finish(id).unwrap().ticket, 1);
        assert_eq!(emission.held(), 0);
    }

    #[test]
    fn a_clock_that_is_set_back_makes_nothing_early() {
        let mut emission = Emission::new(3, 10);
        for ticket in [1, 2] {
            emission.hold(job(100, Priority::High, ticket));
        }
        let (first, _) = emission.pop(100, Open::ALL).unwrap();
        assert!(emission.pop(50, Open::ALL).is_none(), "the other was ready");
        assert_eq!(emission.next_ms(), Some(100));
        emission.fail(first, &error(ErrorClass::Transient), 60);
        assert!(
            emission.pop(99, Open::ALL).is_none(),
            "tried again when it is due"
        );
        assert!(emission.pop(100, Open::ALL).is_some() && emission.pop(100, Open::ALL).is_some());
    }

    #[test]
    fn the_oldest_that_is_due_counts_wherever_it_is() {
        let mut emission = Emission::new(3, 10);
        assert_eq!(emission.oldest_due_ms(100, 50), None);
        for due in [20, 40, 500] {
            emission.hold(job(due, Priority::Low, u32::try_from(due).unwrap()));
        }
        assert_eq!(emission.oldest_due_ms(19, 500), None, "none is due");
        assert_eq!(emission.oldest_due_ms(100, 50), Some(20), "waiting");
        let (first, _) = emission.pop(100, Open::ALL).unwrap();
        assert_eq!(emission.oldest_due_ms(100, 50), Some(20), "under way");
        emission.fail(first, &error(ErrorClass::Transient), 140);
        assert_eq!(
            emission.oldest_due_ms(100, 50),
            Some(20),
            "to be tried again"
        );
        let (second, _) = emission.pop(100, Open::ALL).unwrap();
        emission.finish(second);
        let (again, _) = emission.pop(140, Open::ALL).unwrap();
        emission.finish(again);
        assert_eq!(emission.oldest_due_ms(140, 50), None);
        assert_eq!(emission.oldest_due_ms(500, 50), Some(500));
    }

    #[test]
    fn a_late_answer_is_not_taken_for_another_jobs() {
        let mut emission = Emission::new(3, 10);
        emission.hold(job(1, Priority::Low, 1));
        emission.hold(job(1, Priority::Low, 2));
        let (first, _) = emission.pop(1, Open::ALL).unwrap();
        assert_eq!(emission.finish(first).unwrap().ticket, 1);
        let (second, _) = emission.pop(1, Open::ALL).unwrap();
        assert_eq!(second.place, first.place, "it has the first one's place");
        assert!(emission.finish(first).is_none());
        let late = emission.fail(first, &error(ErrorClass::Invalid), 1);
        assert_eq!(late, Failure::Unknown);
        assert_eq!(emission.finish(second).unwrap().ticket, 2);
    }

    #[test]
    fn what_is_not_open_stays_ready() {
        let mut emission = Emission::new(3, 10);
        emission.hold(job(1, Priority::High, 1));
        emission.hold(job(1, Priority::Low, 2));
        let low_only = Open::of(|p| p == Priority::Low);
        let (_, low) = emission.pop(1, low_only).unwrap();
        assert_eq!(low.job.ticket, 2);
        assert!(!emission.has(1, low_only) && emission.pop(1, low_only).is_none());
        assert!(emission.has_ready(Priority::High) && !emission.has_ready(Priority::Low));
        let (_, high) = emission.pop(1, Open::ALL).unwrap();
        assert_eq!(high.job.ticket, 1);
    }

    #[test]
    fn recall_gives_back_what_is_not_due_soon() {
        let mut emission = Emission::new(3, 10);
        for due in [5, 50, 500] {
            emission.hold(job(due, Priority::Low, u32::try_from(due).unwrap()));
        }
        assert!(emission.pop(5, Open::ALL).is_some());
        let back: Vec<_> = emission.recall(50).into_iter().map(|j| j.ticket).collect();
        assert_eq!(back, [500]);
        assert_eq!(emission.next_ms(), Some(50));
    }

    proptest! {
        #[test]
        fn never_early_nothing_lost_high_first(jobs in prop::collection::vec((0i64..100, 0usize..3), 1..200), steps in prop::collection::vec(0i64..20, 1..50)) {
            let mut emission = Emission::new(3, u32::MAX);
            for (ticket, (due, p)) in jobs.iter().enumerate() {
                emission.hold(job(*due, Priority::ALL[*p], ticket as u32));
            }
            let (mut now, mut seen) = (0, Vec::new());
            for step in steps.into_iter().chain([100]) {
                now += step;
                let mut last = Priority::High;
                while let Some((id, attempt)) = emission.pop(now, Open::ALL) {
                    let (due, p) = jobs[attempt.job.ticket as usize];
                    prop_assert!(due <= now, "early");
                    prop_assert!(Priority::ALL[p] >= last, "lower priority first");
                    last = Priority::ALL[p];
                    seen.push(emission.finish(id).unwrap().ticket);
                }
                prop_assert!(emission.next_ms().is_none_or(|at| at > now));
            }
            seen.sort_unstable();
            prop_assert_eq!(seen, (0..jobs.len() as u32).collect::<Vec<_>>());
        }
    }
}
