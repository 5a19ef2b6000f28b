//! The memory budget, with a share kept for each priority: a flood of low cannot keep high from being received.

use std::sync::Mutex;

use delayq_core::ports::Lane;
use delayq_core::priority::Priority;
use tokio::sync::Notify;

const LANES: usize = 2 * Priority::ALL.len();

/// Counts bytes held and expected, by lane.
#[derive(Debug)]
pub struct Budget {
    state: Mutex<State>,
    freed: Notify,
    /// One waits for room in each lane; the others of the lane stand in line behind it, so that none is overtaken for ever.
    lines: [tokio::sync::Mutex<()>; LANES],
}

#[derive(Debug)]
struct State {
    total: usize,
    reserved: usize,
    used: [usize; LANES],
}

const fn index(lane: Lane) -> usize {
    match lane {
        Lane::Main(priority) => priority.index(),
        Lane::DeadLetter(priority) => Priority::ALL.len() + priority.index(),
    }
}

impl State {
    /// What is kept for a lane alone. A dead-letter queue has nothing of its own: it must not take from its priority's share.
    const fn reserved(&self, lane: Lane) -> usize {
        match lane {
            Lane::Main(_) => self.reserved,
            Lane::DeadLetter(_) => 0,
        }
    }

    fn used(&self, lane: Lane) -> usize {
        self.used.get(index(lane)).copied().unwrap_or(0)
    }

    fn used_mut(&mut self, lane: Lane) -> Option<&mut usize> {
        self.used.get_mut(index(lane))
    }

    fn may_take(&self, lane: Lane, bytes: usize) -> bool {
        let used = self.used(lane);
        // A single message larger than the budget must still get through.
        if used == 0 || used + bytes <= self.reserved(lane) {
            return true;
        }
        let kept: usize = Priority::ALL
            .into_iter()
            .map(Lane::Main)
            .filter(|other| *other != lane)
            .map(|other| self.reserved.saturating_sub(self.used(other)))
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
            used: [0; LANES],
        };
        Self {
            state: Mutex::new(state),
            freed: Notify::new(),
            lines: Default::default(),
        }
    }

    async fn take(&self, lane: Lane, bytes: usize) {
        loop {
            let freed = self.freed.notified();
            tokio::pin!(freed);
            freed.as_mut().enable();
            if self.try_take(lane, bytes) {
                return;
            }
            freed.await;
        }
    }

    /// Waits until one piece of `each` bytes may be taken, and takes as many as may, up to `most`; how many.
    pub async fn take_some(&self, lane: Lane, each: usize, most: usize) -> usize {
        let _first_in_line = match self.lines.get(index(lane)) {
            Some(line) => Some(line.lock().await),
            None => None,
        };
        self.take(lane, each).await;
        let more = (1..most).take_while(|_| self.try_take(lane, each));
        1 + more.count()
    }

    fn try_take(&self, lane: Lane, bytes: usize) -> bool {
        let Ok(mut state) = self.state.lock() else {
            return true;
        };
        let may = state.may_take(lane, bytes);
        if may && let Some(used) = state.used_mut(lane) {
            *used += bytes;
        }
        may
    }

    /// Replaces an estimate by what it turned out to be.
    pub fn settle(&self, lane: Lane, estimate: usize, real: usize) {
        if let Ok(mut state) = self.state.lock()
            && let Some(used) = state.used_mut(lane)
        {
            *used = (*used + real).saturating_sub(estimate);
        }
        if real < estimate {
            self.freed.notify_waiters();
        }
    }

    /// Gives bytes back.
    pub fn free(&self, lane: Lane, bytes: usize) {
        self.settle(lane, bytes, 0);
    }

    /// Bytes taken.
    #[must_use]
    pub fn used(&self, lane: Lane) -> usize {
        self.state.lock().map_or(0, |state| state.used(lane))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const HIGH: Lane = Lane::Main(Priority::High);
    const STANDARD: Lane = Lane::Main(Priority::Standard);
    const LOW: Lane = Lane::Main(Priority::Low);

    #[test]
    fn low_cannot_take_what_is_kept_for_high() {
        let budget = Budget::new(1000, 20);
        assert!(budget.try_take(LOW, 600));
        assert!(!budget.try_take(LOW, 1), "400 are kept");
        assert!(budget.try_take(HIGH, 200));
        assert!(budget.try_take(STANDARD, 200));
        assert!(!budget.try_take(HIGH, 1));
        budget.free(LOW, 600);
        assert!(budget.try_take(HIGH, 400));
    }

    #[tokio::test]
    async fn whoever_waits_is_woken() {
        let budget = std::sync::Arc::new(Budget::new(100, 0));
        budget.take(HIGH, 100).await;
        let waiter = tokio::spawn({
            let budget = budget.clone();
            async move { budget.take(HIGH, 50).await }
        });
        tokio::task::yield_now().await;
        assert!(!waiter.is_finished());
        budget.settle(HIGH, 100, 40);
        waiter.await.unwrap();
        assert_eq!(budget.used(HIGH), 90);
    }

    /// Each polls its queue for as long as it holds its piece: one that takes again at once would keep the others out for ever.
    #[tokio::test]
    async fn whoever_waits_is_not_overtaken() {
        let budget = std::sync::Arc::new(Budget::new(100, 0));
        budget.take_some(HIGH, 1000, 1).await;
        let waiter = tokio::spawn({
            let budget = budget.clone();
            async move { budget.take_some(HIGH, 1000, 1).await }
        });
        tokio::task::yield_now().await;
        budget.free(HIGH, 1000);
        let mut again = std::pin::pin!(budget.take_some(HIGH, 1000, 1));
        tokio::select! {
            biased;
            _ = again.as_mut() => panic!("it has overtaken the one who waited"),
            () = std::future::ready(()) => {}
        }
        assert_eq!(waiter.await.unwrap(), 1);
        budget.free(HIGH, 1000);
        assert_eq!(again.await, 1);
    }

    #[tokio::test]
    async fn a_dead_letter_queue_takes_nothing_from_its_priority() {
        let budget = Budget::new(100, 0);
        let dead = Lane::DeadLetter(Priority::High);
        assert_eq!(budget.take_some(dead, 1000, 10).await, 1);
        assert_eq!(budget.take_some(HIGH, 1000, 10).await, 1);
    }

    #[tokio::test]
    async fn as_many_are_taken_as_there_is_room_for() {
        let budget = Budget::new(100, 0);
        assert_eq!(budget.take_some(HIGH, 20, 3).await, 3);
        assert_eq!(budget.take_some(LOW, 15, 10).await, 2);
        assert_eq!(budget.used(LOW), 30);
        budget.free(LOW, 30);
        assert_eq!(
            budget.take_some(LOW, 1000, 10).await,
            1,
            "one larger than the budget must get through"
        );
    }

    proptest! {
        #[test]
        fn each_priority_always_gets_its_share(takes in prop::collection::vec((0usize..4, 1usize..300), 0..100)) {
            let budget = Budget::new(1000, 20);
            let lanes = [HIGH, STANDARD, LOW, Lane::DeadLetter(Priority::High)];
            for (p, bytes) in takes {
                let _ = budget.try_take(lanes[p], bytes);
                for q in [HIGH, STANDARD, LOW] {
                    let used = budget.used(q);
                    if used < 200 { prop_assert!(budget.state.lock().unwrap().may_take(q, 200 - used)); }
                }
            }
        }
    }
}
