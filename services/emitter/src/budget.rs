//! The memory budget, with a share kept for each priority: a flood of low cannot keep high from being received.

use std::sync::Mutex;

use delayq_core::priority::Priority;
use tokio::sync::Notify;

/// Counts bytes held and expected, by priority.
#[derive(Debug)]
pub struct Budget {
    state: Mutex<State>,
    freed: Notify,
}

#[derive(Debug)]
struct State {
    total: usize,
    reserved: usize,
    used: [usize; 3],
}

impl State {
    fn used(&self, priority: Priority) -> usize {
        self.used.get(priority.index()).copied().unwrap_or(0)
    }

    fn may_take(&self, priority: Priority, bytes: usize) -> bool {
        let used = self.used(priority);
        // A single message larger than the budget must still get through.
        if used == 0 || used + bytes <= self.reserved {
            return true;
        }
        let kept: usize = Priority::ALL
            .into_iter()
            .filter(|p| *p != priority)
            .map(|p| self.reserved.saturating_sub(self.used(p)))
            .sum();
        self.used.iter().sum::<usize>() + bytes + kept <= self.total
    }
}

impl Budget {
    /// `reserve_percent` of `total` bytes is kept for each priority.
    #[must_use]
    pub fn new(total: usize, reserve_percent: usize) -> Self {
        let state = State {
            total,
            reserved: total / 100 * reserve_percent.min(33),
            used: [0; 3],
        };
        Self {
            state: Mutex::new(state),
            freed: Notify::new(),
        }
    }

    /// Waits until `bytes` may be taken, and takes them.
    pub async fn take(&self, priority: Priority, bytes: usize) {
        loop {
            let freed = self.freed.notified();
            tokio::pin!(freed);
            freed.as_mut().enable();
            if self.try_take(priority, bytes) {
                return;
            }
            freed.await;
        }
    }

    /// Waits until one piece of `each` bytes may be taken, and takes as many as may, up to `most`; how many.
    pub async fn take_some(&self, priority: Priority, each: usize, most: usize) -> usize {
        self.take(priority, each).await;
        let more = (1..most).take_while(|_| self.try_take(priority, each));
        1 + more.count()
    }

    fn try_take(&self, priority: Priority, bytes: usize) -> bool {
        let Ok(mut state) = self.state.lock() else {
            return true;
        };
        let may = state.may_take(priority, bytes);
        if may && let Some(used) = state.used.get_mut(priority.index()) {
            *used += bytes;
        }
        may
    }

    /// Replaces an estimate by what it turned out to be.
    pub fn settle(&self, priority: Priority, estimate: usize, real: usize) {
        if let Ok(mut state) = self.state.lock()
            && let Some(used) = state.used.get_mut(priority.index())
        {
            *used = (*used + real).saturating_sub(estimate);
        }
        if real < estimate {
            self.freed.notify_waiters();
        }
    }

    /// Gives bytes back.
    pub fn free(&self, priority: Priority, bytes: usize) {
        self.settle(priority, bytes, 0);
    }

    /// Bytes taken.
    #[must_use]
    pub fn used(&self, priority: Priority) -> usize {
        self.state.lock().map_or(0, |state| state.used(priority))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn low_cannot_take_what_is_kept_for_high() {
        let budget = Budget::new(1000, 20);
        assert!(budget.try_take(Priority::Low, 600));
        assert!(!budget.try_take(Priority::Low, 1), "400 are kept");
        assert!(budget.try_take(Priority::High, 200));
        assert!(budget.try_take(Priority::Standard, 200));
        assert!(!budget.try_take(Priority::High, 1));
        budget.free(Priority::Low, 600);
        assert!(budget.try_take(Priority::High, 400));
    }

    #[tokio::test]
    async fn whoever_waits_is_woken() {
        let budget = std::sync::Arc::new(Budget::new(100, 0));
        budget.take(Priority::High, 100).await;
        let waiter = tokio::spawn({
            let budget = budget.clone();
            async move { budget.take(Priority::High, 50).await }
        });
        tokio::task::yield_now().await;
        assert!(!waiter.is_finished());
        budget.settle(Priority::High, 100, 40);
        waiter.await.unwrap();
        assert_eq!(budget.used(Priority::High), 90);
    }

    #[tokio::test]
    async fn as_many_are_taken_as_there_is_room_for() {
        let budget = Budget::new(100, 0);
        assert_eq!(budget.take_some(Priority::High, 20, 3).await, 3);
        assert_eq!(budget.take_some(Priority::Low, 15, 10).await, 2);
        assert_eq!(budget.used(Priority::Low), 30);
        budget.free(Priority::Low, 30);
        assert_eq!(
            budget.take_some(Priority::Low, 1000, 10).await,
            1,
            "one larger than the budget must get through"
        );
    }

    proptest! {
        #[test]
        fn each_priority_always_gets_its_share(takes in prop::collection::vec((0usize..3, 1usize..300), 0..100)) {
            let budget = Budget::new(1000, 20);
            for (p, bytes) in takes {
                let _ = budget.try_take(Priority::ALL[p], bytes);
                for q in Priority::ALL {
                    let used = budget.used(q);
                    if used < 200 { prop_assert!(budget.state.lock().unwrap().may_take(q, 200 - used)); }
                }
            }
        }
    }
}
