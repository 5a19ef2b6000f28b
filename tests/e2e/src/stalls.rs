//! Whether the machine stood still: a virtual machine that is not given its processors for seconds lets leases, locks and
//! sessions lapse all at once, as no fault of delayq's own does.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

const TICK: Duration = Duration::from_millis(50);

/// Watches from its making on.
pub struct Stalls {
    longest_ms: Arc<AtomicU64>,
}

impl Stalls {
    /// On a thread of its own, which ends with the watch.
    #[expect(
        clippy::disallowed_methods,
        reason = "a thread of its own and the time of the machine: a busy executor is no stall"
    )]
    pub fn watch() -> Self {
        let longest_ms = Arc::new(AtomicU64::new(0));
        let watched = Arc::downgrade(&longest_ms);
        std::thread::spawn(move || {
            let mut last = Instant::now();
            while let Some(longest_ms) = watched.upgrade() {
                let now = Instant::now();
                let ms = now.duration_since(last).saturating_sub(TICK).as_millis();
                longest_ms.fetch_max(ms as u64, Ordering::Relaxed);
                last = now;
                drop(longest_ms);
                std::thread::sleep(TICK);
            }
        });
        Self { longest_ms }
    }

    /// The longest time in which nothing ran.
    pub fn longest(&self) -> Duration {
        Duration::from_millis(self.longest_ms.load(Ordering::Relaxed))
    }
}
