//! How many calls at once: one more for each round of successes, half after a throttle (AIMD).
//! Throttling lowers the rate; it is never an error to the user.

use std::sync::Mutex;

use tokio::sync::{Semaphore, SemaphorePermit};

/// Limits calls to one vendor's one resource.
#[derive(Debug)]
pub struct Pacer {
    permits: Semaphore,
    state: Mutex<State>,
    max: usize,
}

#[derive(Debug)]
struct State {
    limit: usize,
    successes: usize,
    /// Permits to be withheld as soon as they come back.
    owed: usize,
}

impl Pacer {
    /// At most `max` calls at once, and that many to begin with.
    #[must_use]
    pub fn new(max: usize) -> Self {
        let max = max.max(1);
        Self {
            permits: Semaphore::new(max),
            state: Mutex::new(State {
                limit: max,
                successes: 0,
                owed: 0,
            }),
            max,
        }
    }

    /// Waits for a turn.
    pub async fn turn(&self) -> Option<SemaphorePermit<'_>> {
        self.settle();
        // The semaphore is never closed, so that `None` does not happen; a turn without a permit would be harmless.
        self.permits.acquire().await.ok()
    }

    /// The other side took a call.
    pub fn succeeded(&self) {
        let Ok(mut state) = self.state.lock() else {
            return;
        };
        state.successes += 1;
        if state.successes >= state.limit && state.limit < self.max {
            state.limit += 1;
            state.successes = 0;
            if state.owed > 0 {
                state.owed -= 1
            } else {
                self.permits.add_permits(1)
            }
        }
    }

    /// The other side asked for less.
    pub fn throttled(&self) {
        let Ok(mut state) = self.state.lock() else {
            return;
        };
        let lower = (state.limit / 2).max(1);
        state.owed += state.limit - lower;
        state.limit = lower;
        state.successes = 0;
        drop(state);
        self.settle();
    }

    /// Calls allowed at once.
    #[must_use]
    pub fn limit(&self) -> usize {
        self.state.lock().map_or(1, |state| state.limit)
    }

    fn settle(&self) {
        let Ok(mut state) = self.state.lock() else {
            return;
        };
        if state.owed > 0 {
            state.owed -= self.permits.forget_permits(state.owed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn halves_on_throttle_and_grows_back() {
        let pacer = Pacer::new(8);
        let held = pacer.turn().await;
        pacer.throttled();
        assert_eq!((pacer.limit(), pacer.permits.available_permits()), (4, 3));
        pacer.throttled();
        pacer.throttled();
        pacer.throttled();
        assert_eq!(pacer.limit(), 1);
        drop(held);
        pacer.settle();
        assert_eq!(pacer.permits.available_permits(), 1);
        for _ in 0..100 {
            pacer.succeeded();
        }
        assert_eq!((pacer.limit(), pacer.permits.available_permits()), (8, 8));
    }
}
