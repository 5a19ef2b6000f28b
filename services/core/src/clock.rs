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

/// Another clock, shifted by a time that only grows: for tests that let days pass in a moment.
#[derive(Debug)]
pub struct ShiftedClock<C> {
    inner: C,
    shift_ms: AtomicI64,
}

impl<C: Clock> ShiftedClock<C> {
    /// Shows what `inner` shows until it is advanced.
    #[must_use]
    pub const fn new(inner: C) -> Self {
        Self {
            inner,
            shift_ms: AtomicI64::new(0),
        }
    }

    /// Moves it ahead, for good; answers with the whole shift.
    pub fn advance(&self, by: std::time::Duration) -> i64 {
        let ms = i64::try_from(by.as_millis()).unwrap_or(i64::MAX);
        self.shift_ms
            .fetch_add(ms, Ordering::SeqCst)
            .saturating_add(ms)
    }

    /// How far ahead of `inner` it is, in ms.
    #[must_use]
    pub fn shift_ms(&self) -> i64 {
        self.shift_ms.load(Ordering::SeqCst)
    }
}

impl<C: Clock> Clock for ShiftedClock<C> {
    fn now_ms(&self) -> EpochMs {
        self.inner.now_ms().saturating_add(self.shift_ms())
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
