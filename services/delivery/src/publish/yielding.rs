//! How fast a backlog of standard and low records is handed over while high ones are on time: as fast as goes, until answers for
//! high records grow slow.
//!
//! Producers of all priorities share brokers, processors and network. A backlog that is handed over as fast as they take it makes
//! high records wait in each of them, and no order kept here helps against that. So a backlog is to transfers "less than
//! best effort" as in LEDBAT (RFC 6817): its rate is cut when the time from handing a high record over to its answer grows beyond
//! what is usual without a backlog, and rises again while it does not. Records on time are no backlog, whatever their priority.

use std::time::Duration;

use delayq_core::clock::EpochMs;
use delayq_core::priority::Priority;
use tokio::time::Instant;

use super::emission::JobId;

/// A record handed over later than this is one of a backlog, unless it is high.
const BACKLOG_AFTER_MS: i64 = 1_000;
/// A high record handed over later than this is late for other reasons: its answer says nothing about a backlog of others.
const ON_TIME_MS: i64 = 100;
/// Answers within this are never too slow. Beyond it: twice what is usual without a backlog.
const GOOD: Duration = Duration::from_millis(10);
/// Answers are judged this often.
const WINDOW: Duration = Duration::from_millis(100);
/// What was handed over before a cut still has its effect for so long.
const SETTLES: Duration = Duration::from_millis(500);
/// The first cut.
const HALVED: f64 = 0.5;
/// Each further cut.
const CUT: f64 = 0.8;
/// Rise in a window whose answers were good.
const RISE: f64 = 1.015;
/// Rise in a window without any answer.
const RELEASE: f64 = 1.25;
/// A backlog is never held back below this rate (records/s), and one of such a rate is not to blame for slow answers: what they
/// take is usual then.
const FLOOR_PER_S: f64 = 5_000.0;
/// Unused room is kept for so long: longer than passes are apart.
const KEPT: Duration = Duration::from_millis(30);
/// A slower answer than is usual moves what is usual by this share of the difference, a faster one by the other: so that it follows
/// the slowest few of a hundred.
const SLOWER: f64 = 0.5;
const FASTER: f64 = 0.01;

/// Watches answers and sets the rate.
#[derive(Debug)]
pub struct Yielding {
    /// Records/s of a backlog; `None`: as fast as goes.
    limit_per_s: Option<f64>,
    /// Records that may be handed over now, under a limit.
    room: f64,
    filled: Instant,
    /// The high record whose answer is awaited.
    watched: Option<(JobId, Instant)>,
    window: Window,
    /// No further cut before this.
    settled: Instant,
    /// From here on there is no backlog.
    calm_from: Instant,
    /// A slow answer without a backlog, in seconds.
    usual_s: f64,
}

#[derive(Debug)]
struct Window {
    began: Instant,
    /// Records of a backlog handed over.
    handed: usize,
    answers: usize,
    slow: bool,
}

impl Window {
    const fn new(began: Instant) -> Self {
        Self {
            began,
            handed: 0,
            answers: 0,
            slow: false,
        }
    }
}

impl Yielding {
    /// No backlog was seen yet.
    #[must_use]
    pub const fn new(now: Instant) -> Self {
        Self {
            limit_per_s: None,
            room: 0.0,
            filled: now,
            watched: None,
            window: Window::new(now),
            settled: now,
            calm_from: now,
            usual_s: 0.0,
        }
    }

    /// Records/s of a backlog that are handed over at most; `None`: as many as goes.
    #[must_use]
    pub const fn limit_per_s(&self) -> Option<f64> {
        self.limit_per_s
    }

    /// Whether a record that is so late has to wait: it is one of a backlog that has used up its room.
    #[must_use]
    pub fn waits(&self, priority: Priority, late_ms: EpochMs) -> bool {
        is_backlog(priority, late_ms) && self.limit_per_s.is_some() && self.room < 1.0
    }

    /// A record was handed over, so late.
    pub fn handed(
        &mut self,
        id: JobId,
        priority: Priority,
        late_ms: EpochMs,
        now: impl FnOnce() -> Instant,
    ) {
        if is_backlog(priority, late_ms) {
            self.window.handed += 1;
            if self.limit_per_s.is_some() {
                self.room -= 1.0;
            }
        } else if priority == Priority::High && late_ms <= ON_TIME_MS && self.watched.is_none() {
            self.watched = Some((id, now()));
        }
    }

    /// Whether this is the answer that is awaited.
    #[must_use]
    pub fn awaits(&self, id: JobId) -> bool {
        self.watched.is_some_and(|(watched, _)| watched == id)
    }

    /// The awaited answer has come; `confirmed`: it was not an error, which says nothing of the time that answers take.
    pub fn answered(&mut self, confirmed: bool, now: Instant) {
        let Some((_, handed)) = self.watched.take().filter(|_| confirmed) else {
            return;
        };
        let took = now.saturating_duration_since(handed);
        self.window.answers += 1;
        self.window.slow |= self.is_slow(took);
        if now >= self.calm_from && self.rate_per_s(now) <= FLOOR_PER_S {
            let difference = took.as_secs_f64() - self.usual_s;
            let share = if difference > 0.0 { SLOWER } else { FASTER };
            self.usual_s += difference * share;
        }
    }

    /// To be called at the beginning of a pass: makes room, and judges the answers of late. Whether the limit has changed.
    pub fn look(&mut self, now: Instant) -> bool {
        let limit_before = self.limit_per_s;
        let took = now.saturating_duration_since(self.window.began);
        if took >= WINDOW {
            let overdue = self
                .watched
                .is_some_and(|(_, handed)| self.is_slow(now.saturating_duration_since(handed)));
            self.judge(self.window.slow || overdue, now);
            self.window = Window::new(now);
        }
        if let Some(limit) = self.limit_per_s {
            let since = now.saturating_duration_since(self.filled);
            let most = limit * KEPT.as_secs_f64();
            self.room = (self.room + limit * since.as_secs_f64()).min(most);
        }
        self.filled = now;
        self.limit_per_s != limit_before
    }

    fn judge(&mut self, slow: bool, now: Instant) {
        let rate = self.rate_per_s(now);
        if rate > FLOOR_PER_S {
            self.calm_from = now + SETTLES;
        }
        match self.limit_per_s {
            _ if slow && rate > FLOOR_PER_S && now >= self.settled => {
                let cut = self.limit_per_s.map_or(HALVED, |_| CUT);
                self.limit_per_s = Some((rate * cut).max(FLOOR_PER_S));
                self.room = 0.0;
                self.settled = now + SETTLES;
            }
            // The limit is none any more.
            Some(limit) if rate < limit / 2.0 && now >= self.settled => self.limit_per_s = None,
            Some(limit) if !slow => {
                let rise = if self.window.answers == 0 {
                    RELEASE
                } else {
                    RISE
                };
                self.limit_per_s = Some(limit * rise);
            }
            _ => {}
        }
    }

    fn is_slow(&self, took: Duration) -> bool {
        took > GOOD && took.as_secs_f64() > 2.0 * self.usual_s
    }

    /// Of the backlog, in this window.
    fn rate_per_s(&self, now: Instant) -> f64 {
        let took = now.saturating_duration_since(self.window.began);
        self.window.handed as f64 / took.max(WINDOW).as_secs_f64()
    }
}

fn is_backlog(priority: Priority, late_ms: EpochMs) -> bool {
    priority != Priority::High && late_ms > BACKLOG_AFTER_MS
}

#[cfg(test)]
mod tests {
    use super::*;

    const LATE_MS: EpochMs = BACKLOG_AFTER_MS + 1;

    /// Passes 5 ms apart, a high record in each; a backlog of standard records without end.
    struct Passes {
        yielding: Yielding,
        now: Instant,
        turn: usize,
        answer_at: Option<Instant>,
    }

    impl Passes {
        fn new() -> Self {
            let now = Instant::now();
            Self {
                yielding: Yielding::new(now),
                now,
                turn: 0,
                answer_at: None,
            }
        }

        /// Records/s of a backlog that are handed over, at most so many, while answers take what `takes` says for such a rate.
        fn go(
            &mut self,
            seconds: usize,
            most_per_s: usize,
            high: bool,
            takes: impl Fn(usize) -> Duration,
        ) -> usize {
            let mut handed = 0;
            for _ in 0..seconds * 200 {
                self.now += Duration::from_millis(5);
                if self.answer_at.is_some_and(|at| at <= self.now) {
                    let at = self.answer_at.take().unwrap_or(self.now);
                    self.yielding.answered(true, at);
                }
                self.yielding.look(self.now);
                let mut in_pass = 0;
                while in_pass < most_per_s / 200
                    && !self.yielding.waits(Priority::Standard, LATE_MS)
                {
                    self.hand(Priority::Standard, LATE_MS);
                    in_pass += 1;
                }
                handed += in_pass;
                if high && self.answer_at.is_none() {
                    self.hand(Priority::High, 0);
                    self.answer_at = Some(self.now + takes(in_pass * 200));
                }
            }
            handed / seconds.max(1)
        }

        fn hand(&mut self, priority: Priority, late_ms: EpochMs) {
            self.turn += 1;
            let now = self.now;
            let id = JobId::of(self.turn);
            self.yielding.handed(id, priority, late_ms, || now);
        }
    }

    /// Slow from 40,000/s on.
    fn slow_beside_many(per_s: usize) -> Duration {
        Duration::from_millis(if per_s > 40_000 { 30 } else { 2 })
    }

    #[test]
    fn a_backlog_goes_as_fast_as_leaves_answers_for_high_records_good() {
        let mut passes = Passes::new();
        passes.go(5, 100_000, true, slow_beside_many);
        let per_s = passes.go(10, 100_000, true, slow_beside_many);
        assert!((30_000..=41_000).contains(&per_s), "{per_s}");
    }

    #[test]
    fn without_high_records_it_goes_as_fast_as_it_can_and_does_so_again() {
        let mut passes = Passes::new();
        assert_eq!(passes.go(2, 100_000, false, slow_beside_many), 100_000);
        passes.go(5, 100_000, true, slow_beside_many);
        assert!(passes.yielding.limit_per_s().is_some());
        passes.go(3, 100_000, false, slow_beside_many);
        assert_eq!(passes.go(1, 100_000, false, slow_beside_many), 100_000);
        assert_eq!(passes.yielding.limit_per_s(), None);
    }

    #[test]
    fn answers_that_are_slow_whatever_its_rate_do_not_hold_it_back_for_long() {
        let mut passes = Passes::new();
        let always_slow = |_| Duration::from_millis(200);
        let per_s = passes.go(5, 100_000, true, always_slow);
        assert!(per_s < 90_000, "{per_s}");
        passes.go(60, 100_000, true, always_slow);
        let per_s = passes.go(10, 100_000, true, always_slow);
        assert_eq!(per_s, 100_000);
    }

    #[test]
    fn what_is_slow_is_measured_by_what_is_usual_without_it() {
        let mut passes = Passes::new();
        // Brokers that keep three copies, far away.
        passes.go(5, 0, true, |_| Duration::from_millis(40));
        let per_s = passes.go(10, 100_000, true, |_| Duration::from_millis(60));
        assert_eq!(per_s, 100_000);
        passes.go(5, 100_000, true, |_| Duration::from_millis(100));
        assert!(passes.yielding.limit_per_s().is_some());
    }

    #[test]
    fn an_answer_that_does_not_come_is_slow_and_an_error_says_nothing() {
        let mut passes = Passes::new();
        passes.go(1, 100_000, true, |_| Duration::from_secs(60));
        assert!(passes.yielding.limit_per_s().is_some());
        let mut passes = Passes::new();
        passes.hand(Priority::High, 0);
        assert!(passes.yielding.awaits(JobId::of(1)) && !passes.yielding.awaits(JobId::of(2)));
        passes.now += Duration::from_millis(60);
        passes.yielding.answered(false, passes.now);
        assert!(!passes.yielding.awaits(JobId::of(1)));
        assert_eq!(passes.go(1, 100_000, false, slow_beside_many), 100_000);
    }

    #[test]
    fn only_late_records_of_standard_and_low_priority_are_a_backlog() {
        let mut passes = Passes::new();
        passes.go(5, 100_000, true, slow_beside_many);
        passes.yielding.room = 0.0;
        let waits = |priority, late_ms| passes.yielding.waits(priority, late_ms);
        assert!(waits(Priority::Standard, LATE_MS) && waits(Priority::Low, LATE_MS));
        assert!(!waits(Priority::Standard, BACKLOG_AFTER_MS) && !waits(Priority::Low, 0));
        assert!(!waits(Priority::High, LATE_MS));
    }

    #[test]
    fn a_high_record_that_came_late_is_not_watched() {
        let mut passes = Passes::new();
        passes.hand(Priority::High, ON_TIME_MS + 1);
        assert!(!passes.yielding.awaits(JobId::of(1)));
        passes.hand(Priority::High, ON_TIME_MS);
        assert!(passes.yielding.awaits(JobId::of(2)));
    }
}
