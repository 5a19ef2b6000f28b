//! A wall clock that moves with tokio's time: paused and advanced with it, so delays and due times agree.

use delayq_core::clock::{Clock, EpochMs};
use tokio::time::Instant;

/// Shows a chosen time at its creation and advances with the runtime's clock.
#[derive(Debug, Clone, Copy)]
pub struct RuntimeClock {
    start: Instant,
    start_ms: EpochMs,
}

impl RuntimeClock {
    /// A clock that shows `start_ms` now. Call it within the runtime whose time it is to follow.
    #[must_use]
    pub fn starting_at(start_ms: EpochMs) -> Self {
        Self {
            start: Instant::now(),
            start_ms,
        }
    }
}

impl Clock for RuntimeClock {
    fn now_ms(&self) -> EpochMs {
        let elapsed_ms = i64::try_from(self.start.elapsed().as_millis()).unwrap_or(i64::MAX);
        self.start_ms.saturating_add(elapsed_ms)
    }
}
