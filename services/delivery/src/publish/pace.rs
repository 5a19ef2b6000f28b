//! How often the records of a priority are handed to its producer: at once while few are due, in passes some milliseconds apart
//! while many are.
//!
//! A producer sends a request for each partition as often as it is given something for it. At 2,000 records/s over 6
//! partitions that is nearly a request a record, which costs client and broker more than the record in it. A pass each
//! [`LONGEST`] makes records travel together; at a low rate nothing waits. Records that are late anyway wait longer for others, so
//! that a backlog goes in large requests: a tenth of how late they are, at most [`LONGEST_LATE`].

use std::time::Duration;

use delayq_core::clock::EpochMs;
use tokio::time::Instant;

/// Up to this rate (records/s) nothing waits.
const FREE_PER_S: f64 = 250.0;
/// From this rate on passes are [`LONGEST`] apart; in between in proportion.
const FULL_PER_S: f64 = 2_000.0;
/// Most that a record waits for others, a fifth of the lateness that is promised of 99 %.
const LONGEST: Duration = Duration::from_millis(5);
/// Most that a record waits for others that is late by ten times as much.
const LONGEST_LATE: Duration = Duration::from_millis(25);
/// The rate is looked at this often.
const WINDOW: Duration = Duration::from_millis(50);

/// Records that were handed over together.
#[derive(Debug, Clone, Copy)]
pub struct Handed {
    records: usize,
    least_late_ms: EpochMs,
}

impl Handed {
    /// None yet.
    pub const NONE: Self = Self {
        records: 0,
        least_late_ms: 0,
    };

    /// One more, so late.
    pub fn add(&mut self, late_ms: EpochMs) {
        self.join(Self {
            records: 1,
            least_late_ms: late_ms,
        });
    }

    fn join(&mut self, other: Self) {
        self.least_late_ms = match (self.records, other.records) {
            (_, 0) => self.least_late_ms,
            (0, _) => other.least_late_ms,
            _ => self.least_late_ms.min(other.least_late_ms),
        };
        self.records += other.records;
    }

    /// None of them is less late.
    fn late(self) -> Duration {
        Duration::from_millis(self.least_late_ms.max(0).unsigned_abs())
    }
}

/// When the next pass may be.
#[derive(Debug)]
pub struct Pace {
    began: Instant,
    handed: Handed,
    distance: Duration,
    next: Instant,
}

impl Pace {
    /// Nothing was handed over yet.
    #[must_use]
    pub const fn new(now: Instant) -> Self {
        Self {
            began: now,
            handed: Handed::NONE,
            distance: Duration::ZERO,
            next: now,
        }
    }

    /// No pass before this.
    #[must_use]
    pub const fn next(&self) -> Instant {
        self.next
    }

    /// How far passes are apart at the rate of late.
    #[must_use]
    pub const fn distance(&self) -> Duration {
        self.distance
    }

    /// What a pass at `now` handed over.
    pub fn passed(&mut self, handed: Handed, now: Instant) {
        self.handed.join(handed);
        let took = now.saturating_duration_since(self.began);
        if took >= WINDOW {
            let per_s = self.handed.records as f64 / took.as_secs_f64();
            let share = (per_s - FREE_PER_S) / (FULL_PER_S - FREE_PER_S);
            let longest = LONGEST.max(LONGEST_LATE.min(self.handed.late() / 10));
            self.distance = longest.mul_f64(share.clamp(0.0, 1.0));
            self.began = now;
            self.handed = Handed::NONE;
        }
        if handed.records > 0 {
            self.next = now + self.distance;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn records(count: usize, late_ms: EpochMs) -> Handed {
        let mut handed = Handed::NONE;
        (0..count).for_each(|_| handed.add(late_ms));
        handed
    }

    /// A second of passes as close as they may be, at this rate.
    fn a_second(pace: &mut Pace, started: Instant, per_s: usize, late_ms: EpochMs) -> usize {
        let (mut passes, mut handed) = (0, 0);
        for ms in 0..1_000 {
            let due = per_s * ms / 1_000;
            let now = started + Duration::from_millis(u64::try_from(ms).unwrap());
            if due > handed && now >= pace.next() {
                pace.passed(records(due - handed, late_ms), now);
                handed = due;
                passes += 1;
            }
        }
        passes
    }

    #[test]
    fn few_records_do_not_wait_and_many_travel_together() {
        let started = Instant::now();
        let pace_at = |per_s| {
            let mut pace = Pace::new(started);
            (a_second(&mut pace, started, per_s, 0), pace.distance())
        };
        let (passes, distance) = pace_at(200);
        assert_eq!(distance, Duration::ZERO);
        assert!(passes > 190, "{passes}");
        let (passes, distance) = pace_at(100_000);
        assert_eq!(distance, LONGEST);
        assert!((200..300).contains(&passes), "{passes}");
        let (_, half) = pace_at(1_125);
        assert!(
            (LONGEST * 2 / 5..LONGEST * 3 / 5).contains(&half),
            "{half:?}"
        );
    }

    #[test]
    fn after_a_flood_nothing_waits_again() {
        let started = Instant::now();
        let mut pace = Pace::new(started);
        a_second(&mut pace, started, 100_000, 0);
        pace.passed(records(1, 0), started + Duration::from_secs(5));
        let later = started + Duration::from_secs(10);
        pace.passed(records(1, 0), later);
        assert_eq!((pace.distance(), pace.next()), (Duration::ZERO, later));
    }

    #[test]
    fn what_is_late_anyway_travels_in_larger_company() {
        let started = Instant::now();
        let distance = |late_ms| {
            let mut pace = Pace::new(started);
            a_second(&mut pace, started, 100_000, late_ms);
            pace.distance()
        };
        assert_eq!(distance(50), LONGEST);
        assert_eq!(distance(100), Duration::from_millis(10));
        assert_eq!(distance(10_000), LONGEST_LATE);
    }

    #[test]
    fn one_record_on_time_is_enough_for_none_to_wait_longer() {
        let mut handed = records(10, 60_000);
        handed.add(3);
        handed.join(Handed::NONE);
        handed.join(records(10, 60_000));
        assert_eq!((handed.records, handed.late().as_millis()), (21, 3));
    }
}
