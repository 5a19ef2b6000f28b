//! The wall clock as a port. Timers use the runtime's monotonic clock; this says only what time it is.

use std::sync::atomic::{AtomicI64, Ordering};

/// Milliseconds since the Unix epoch, rounded down: a due time that is `<= now` has been reached.
pub type EpochMs = i64;

/// Where the services read the wall clock.
pub trait Clock: Send + Sync + 'static {
    /// Milliseconds since the Unix epoch, rounded down.
    fn now_ms(&self) -> EpochMs;
}

/// The machine's clock. The only place in the project that reads it.
#[derive(Debug, Default, Clone, Copy)]
pub struct SystemClock;

impl Clock for SystemClock {
    #[allow(
        clippy::disallowed_methods,
        reason = "this is the adapter behind the Clock port"
    )]
    fn now_ms(&self) -> EpochMs {
        match std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH) {
            Ok(since) => i64::try_from(since.as_millis()).unwrap_or(i64::MAX),
            Err(before) => i64::try_from(before.duration().as_millis()).map_or(i64::MIN, |ms| -ms),
        }
    }
}

/// A clock that stands still until it is moved: for tests and simulation.
#[derive(Debug)]
pub struct ManualClock(AtomicI64);

impl ManualClock {
    /// A clock that shows `now_ms`.
    #[must_use]
    pub const fn at(now_ms: EpochMs) -> Self {
        Self(AtomicI64::new(now_ms))
    }

    /// Moves the clock by `ms` (backwards when negative).
    pub fn advance(&self, ms: i64) {
        self.0.fetch_add(ms, Ordering::SeqCst);
    }
}

impl Clock for ManualClock {
    fn now_ms(&self) -> EpochMs {
        self.0.load(Ordering::SeqCst)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_system_clock_counts_milliseconds_since_1970() {
        let years_2023_to_2100_ms = 1_700_000_000_000..4_102_444_800_000;
        assert!(years_2023_to_2100_ms.contains(&SystemClock.now_ms()));
    }

    #[test]
    fn a_manual_clock_moves_when_told() {
        let clock = ManualClock::at(5);
        clock.advance(3);
        clock.advance(-7);
        assert_eq!(clock.now_ms(), 1);
    }
}
