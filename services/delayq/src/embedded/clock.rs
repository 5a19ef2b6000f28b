//! The clock of the embedded mode: the machine's, moved ahead as often as a test asks for it.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use delayq_core::clock::{Clock, EpochMs, SystemClock};

/// A clock that can be moved ahead, and knows when it was.
#[derive(Debug, Default)]
pub struct TestClock {
    moves: Mutex<Vec<Move>>,
}

#[derive(Debug, Clone, Copy)]
struct Move {
    /// When, by the machine's clock.
    at_ms: EpochMs,
    /// How far ahead it is from then on, all earlier moves included.
    shift_ms: i64,
}

impl TestClock {
    /// Moves it ahead.
    pub fn advance(&self, by: Duration) {
        let by_ms = i64::try_from(by.as_millis()).unwrap_or(i64::MAX);
        let mut moves = self.moves.lock().unwrap_or_else(PoisonError::into_inner);
        let before_ms = moves.last().map_or(0, |last| last.shift_ms);
        moves.push(Move {
            at_ms: SystemClock.now_ms(),
            shift_ms: before_ms.saturating_add(by_ms),
        });
    }

    /// What it showed when the machine's clock showed `machine_ms`: a record keeps the time at which it was produced, even
    /// if the clock was moved before it was read.
    #[must_use]
    pub fn at(&self, machine_ms: EpochMs) -> EpochMs {
        let moves = self.moves.lock().unwrap_or_else(PoisonError::into_inner);
        // What happened in the same millisecond happened before the move: whoever moves the clock waits that long.
        let earlier = moves.iter().rev().find(|m| m.at_ms < machine_ms);
        machine_ms.saturating_add(earlier.map_or(0, |m| m.shift_ms))
    }
}

impl Clock for TestClock {
    fn now_ms(&self) -> EpochMs {
        let moves = self.moves.lock().unwrap_or_else(PoisonError::into_inner);
        let shift_ms = moves.last().map_or(0, |last| last.shift_ms);
        SystemClock.now_ms().saturating_add(shift_ms)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_keeps_the_time_at_which_it_was_produced() {
        let clock = TestClock::default();
        let before_ms = SystemClock.now_ms();
        clock.advance(Duration::from_secs(60));
        clock.advance(Duration::from_secs(60));
        assert_eq!(clock.at(before_ms), before_ms, "before the first move");
        let later_ms = SystemClock.now_ms() + 10;
        assert_eq!(clock.at(later_ms), later_ms + 120_000);
        assert!(clock.now_ms() >= before_ms + 120_000);
    }
}
