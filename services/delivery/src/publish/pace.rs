//! How often the records of a priority are handed to its producer: at once while few are due, in passes some milliseconds apart
//! while many are.
//!
//! A producer sends a request for each partition as often as it is given something for it. At 2,000 records/s over 6
//! partitions that is nearly a request a record, which costs client and broker more than the record in it. A pass each
//! [`LONGEST`] makes records travel together; at a low rate nothing waits.

use std::time::Duration;

use tokio::time::Instant;

/// Up to this rate (records/s) nothing waits.
const FREE_PER_S: f64 = 250.0;
/// From this rate on passes are [`LONGEST`] apart; in between in proportion.
const FULL_PER_S: f64 = 2_000.0;
/// Most that a record waits for others, a fifth of the lateness that is promised of 99 %.
const LONGEST: Duration = Duration::from_millis(5);
/// The rate is looked at this often.
const WINDOW: Duration = Duration::from_millis(50);

/// When the next pass may be.
#[derive(Debug)]
pub struct Pace {
    began: Instant,
    handed: usize,
    distance: Duration,
    next: Instant,
}

impl Pace {
    /// Nothing was handed over yet.
    #[must_use]
    pub const fn new(now: Instant) -> Self {
        Self {
            began: now,
            handed: 0,
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

    /// A pass at `now` handed over so many records.
    pub fn passed(&mut self, records: usize, now: Instant) {
        self.handed += records;
        let took = now.saturating_duration_since(self.began);
        if took >= WINDOW {
            let per_s = self.handed as f64 / took.as_secs_f64();
            let share = (per_s - FREE_PER_S) / (FULL_PER_S - FREE_PER_S);
            self.distance = LONGEST.mul_f64(share.clamp(0.0, 1.0));
            self.began = now;
            self.handed = 0;
        }
        if records > 0 {
            self.next = now + self.distance;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A second of passes as close as they may be, at this rate.
    fn a_second(pace: &mut Pace, started: Instant, per_s: usize) -> usize {
        let (mut passes, mut handed) = (0, 0);
        for ms in 0..1_000 {
            let due = per_s * ms / 1_000;
            let now = started + Duration::from_millis(u64::try_from(ms).unwrap());
            if due > handed && now >= pace.next() {
                pace.passed(due - handed, now);
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
            (a_second(&mut pace, started, per_s), pace.distance())
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
        a_second(&mut pace, started, 100_000);
        pace.passed(1, started + Duration::from_secs(5));
        let later = started + Duration::from_secs(10);
        pace.passed(1, later);
        assert_eq!((pace.distance(), pace.next()), (Duration::ZERO, later));
    }
}
