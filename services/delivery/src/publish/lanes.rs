//! Which priorities may be handed to the sink now. Each has a producer of its own behind it, and so a pace and a queue of its own:
//! records of high priority wait for no backlog of the others.

use std::time::Duration;

use delayq_core::priority::Priority;
use tokio::time::Instant;

use super::pace::{Handed, Pace};

/// Wait after a producer's queue was full.
const FULL_WAIT: Duration = Duration::from_millis(2);
/// Wait of a backlog that has used up its room.
const YIELDS: Duration = Duration::from_millis(5);

/// The priorities that may be handed over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Open([bool; Priority::ALL.len()]);

impl Open {
    /// All of them.
    pub const ALL: Self = Self([true; Priority::ALL.len()]);
    /// None of them.
    pub const NONE: Self = Self([false; Priority::ALL.len()]);

    /// Those for which it holds.
    #[must_use]
    pub fn of(is_open: impl Fn(Priority) -> bool) -> Self {
        Self(Priority::ALL.map(is_open))
    }

    /// Whether it is one of them.
    #[must_use]
    pub fn has(self, priority: Priority) -> bool {
        self.0.get(priority.index()).is_some_and(|open| *open)
    }
}

/// By priority.
#[derive(Debug)]
pub struct Lanes([Lane; Priority::ALL.len()]);

#[derive(Debug)]
struct Lane {
    pace: Pace,
    full: bool,
    /// Its backlog waits until then.
    yields_until: Instant,
}

impl Lanes {
    /// All open: nothing was handed over yet.
    #[must_use]
    pub fn new(now: Instant) -> Self {
        Self(Priority::ALL.map(|_| Lane {
            pace: Pace::new(now),
            full: false,
            yields_until: now,
        }))
    }

    /// The priorities that may be handed over: whose last pass is long enough ago, and neither whose queue nor that of a higher one
    /// is full, which goes first once it has room again.
    #[must_use]
    pub fn open(&self, now: Instant) -> Open {
        Open::of(|priority| self.next(priority, now) <= now)
    }

    /// When this priority may be handed over next.
    #[must_use]
    pub fn next(&self, priority: Priority, now: Instant) -> Instant {
        let mut up_to_it = self.0.iter().take(priority.index() + 1);
        let room = match up_to_it.clone().any(|lane| lane.full) {
            true => now + FULL_WAIT,
            false => now,
        };
        up_to_it.next_back().map_or(room, |lane| {
            lane.pace.next().max(lane.yields_until).max(room)
        })
    }

    /// The backlog of this priority waits a little for a higher one.
    pub fn yields(&mut self, priority: Priority, now: Instant) {
        if let Some(lane) = self.0.get_mut(priority.index()) {
            lane.yields_until = now + YIELDS;
        }
    }

    /// A record was refused, since the queue of this priority is full.
    pub fn refused(&mut self, priority: Priority) {
        if let Some(lane) = self.0.get_mut(priority.index()) {
            lane.full = true;
        }
    }

    /// Records have left the queues, or may have.
    pub fn answered(&mut self) {
        for lane in &mut self.0 {
            lane.full = false;
        }
    }

    /// What a pass at `now` handed over of each priority. Answers with how far passes of those are apart now whose
    /// distance has changed.
    pub fn passed(
        &mut self,
        handed: [Handed; Priority::ALL.len()],
        now: Instant,
    ) -> impl Iterator<Item = (Priority, Duration)> {
        let changed = self.0.iter_mut().zip(handed).map(move |(lane, handed)| {
            let before = lane.pace.distance();
            lane.pace.passed(handed, now);
            Some(lane.pace.distance()).filter(|distance| *distance != before)
        });
        let of_priority = Priority::ALL.into_iter().zip(changed);
        of_priority.filter_map(|(priority, distance)| Some((priority, distance?)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn open(lanes: &Lanes, now: Instant) -> [bool; 3] {
        let open = lanes.open(now);
        Priority::ALL.map(|priority| open.has(priority))
    }

    #[test]
    fn a_full_queue_holds_back_its_own_priority_and_those_below() {
        let now = Instant::now();
        let mut lanes = Lanes::new(now);
        assert_eq!(open(&lanes, now), [true, true, true]);
        lanes.refused(Priority::Standard);
        assert_eq!(open(&lanes, now), [true, false, false]);
        assert_eq!(lanes.next(Priority::Low, now), now + FULL_WAIT);
        lanes.refused(Priority::High);
        assert_eq!(open(&lanes, now), [false, false, false]);
        lanes.answered();
        assert_eq!(open(&lanes, now), [true, true, true]);
    }

    #[test]
    fn a_backlog_that_yields_waits_alone_and_not_for_long() {
        let now = Instant::now();
        let mut lanes = Lanes::new(now);
        lanes.yields(Priority::Standard, now);
        assert_eq!(open(&lanes, now), [true, false, true]);
        assert_eq!(lanes.next(Priority::Standard, now), now + YIELDS);
        assert_eq!(open(&lanes, now + YIELDS), [true, true, true]);
    }

    #[test]
    fn a_flood_of_one_priority_sets_no_pace_for_another() {
        let started = Instant::now();
        let mut lanes = Lanes::new(started);
        let mut changed = Vec::new();
        for ms in 0..=100 {
            let now = started + Duration::from_millis(ms);
            let mut handed = [Handed::NONE; Priority::ALL.len()];
            (0..50).for_each(|_| handed[1].add(0));
            changed.extend(lanes.passed(handed, now));
        }
        let now = started + Duration::from_millis(101);
        assert_eq!(open(&lanes, now), [true, false, true]);
        assert!(lanes.next(Priority::Standard, now) > now);
        let priorities: Vec<_> = changed.iter().map(|(priority, _)| *priority).collect();
        assert_eq!(priorities, [Priority::Standard]);
    }
}
