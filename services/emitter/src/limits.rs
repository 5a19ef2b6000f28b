//! Rate limits: each limited route has turns, one record each; who would wait too long for a turn is put back.
//!
//! Turns are by this emitter's own clock: with n emitters a target sees up to n times the rate.

use std::collections::HashMap;
use std::sync::Arc;

use delayq_core::clock::EpochMs;

/// Rates by route, records a second.
pub type Rates = HashMap<Arc<str>, u32>;

/// Longest that a record is held for its turn; longer waits are spent in the queue.
pub const HOLD_MAX_MS: i64 = 5_000;
/// Longest delay that a record is put back with: a queue takes 15 minutes.
const PUT_BACK_MAX_MS: i64 = 890_000;

/// What a record of a limited route has to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Turn {
    /// Publish at this time.
    At(EpochMs),
    /// Go back to the queue, to be received at this time.
    PutBack(EpochMs),
}

#[derive(Debug)]
struct Limit {
    every_us: i64,
    /// The next free turn.
    next_us: i64,
    /// Where those that are put back queue up: they come again at the rate at which turns are free.
    put_back_us: i64,
    held_bytes: usize,
}

/// All limits of an emitter.
#[derive(Debug, Default)]
pub struct Limits {
    limits: HashMap<Arc<str>, Limit>,
    /// Memory that one route may hold.
    share_bytes: usize,
}

impl Limits {
    /// The routes share `memory_bytes` equally: one whose target is slow takes nobody else's room.
    #[must_use]
    pub fn new(rates: &Rates, memory_bytes: usize) -> Self {
        let limits = rates.iter().map(|(route, rate)| {
            let limit = Limit {
                every_us: 1_000_000 / i64::from((*rate).clamp(1, 1_000_000)),
                next_us: i64::MIN,
                put_back_us: i64::MIN,
                held_bytes: 0,
            };
            (route.clone(), limit)
        });
        Self {
            limits: limits.collect(),
            share_bytes: memory_bytes / rates.len().max(1),
        }
    }

    /// The turn of a record that takes `bytes` of memory until it is done; a record that is given one at once or
    /// later is counted as held. A route without a limit here has no turns to wait for.
    pub fn turn(&mut self, route: &str, due_ms: EpochMs, now_ms: EpochMs, bytes: usize) -> Turn {
        let share_bytes = self.share_bytes;
        let Some(limit) = self.limits.get_mut(route) else {
            return Turn::At(due_ms);
        };
        let from_us = due_ms.max(now_ms).saturating_mul(1000);
        let slot_us = limit.next_us.max(from_us);
        let fits = limit.held_bytes == 0 || limit.held_bytes + bytes <= share_bytes;
        if fits && slot_us - from_us <= HOLD_MAX_MS * 1000 {
            limit.next_us = slot_us + limit.every_us;
            limit.held_bytes += bytes;
            // Rounded up: never faster than the rate.
            return Turn::At(slot_us.div_euclid(1000) + i64::from(slot_us % 1000 != 0));
        }
        let latest_us = (now_ms + PUT_BACK_MAX_MS).saturating_mul(1000);
        let back_us = limit
            .put_back_us
            .max(from_us + HOLD_MAX_MS * 1000)
            .min(latest_us);
        limit.put_back_us = back_us + limit.every_us;
        Turn::PutBack(back_us.div_euclid(1000))
    }

    /// A record that was held is done.
    pub fn done(&mut self, route: &str, bytes: usize) {
        if let Some(limit) = self.limits.get_mut(route) {
            limit.held_bytes = limit.held_bytes.saturating_sub(bytes);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const NOW: i64 = 1_700_000_000_000;

    fn limits(rates: &[(&str, u32)], memory_bytes: usize) -> Limits {
        let rates = rates.iter().map(|(r, n)| (Arc::from(*r), *n)).collect();
        Limits::new(&rates, memory_bytes)
    }

    #[test]
    fn turns_come_at_the_rate_and_the_rest_goes_back_at_the_rate() {
        let mut limits = limits(&[("slow", 10)], usize::MAX);
        let turns: Vec<_> = (0..60).map(|_| limits.turn("slow", NOW, NOW, 1)).collect();
        for (at, turn) in (0..=50).zip(&turns) {
            assert_eq!(*turn, Turn::At(NOW + at * 100));
        }
        assert_eq!(turns[51], Turn::PutBack(NOW + 5_000));
        assert_eq!(turns[52], Turn::PutBack(NOW + 5_100));
    }

    #[test]
    fn one_slow_target_takes_no_room_of_another() {
        let mut limits = limits(&[("slow", 1000), ("other", 1000)], 1000);
        assert_eq!(limits.turn("slow", NOW, NOW, 400), Turn::At(NOW));
        assert!(matches!(
            limits.turn("slow", NOW, NOW, 400),
            Turn::PutBack(_)
        ));
        assert_eq!(limits.turn("other", NOW, NOW, 400), Turn::At(NOW));
        limits.done("slow", 400);
        assert!(matches!(limits.turn("slow", NOW, NOW, 400), Turn::At(_)));
        limits.done("slow", 400);
        let alone = limits.turn("slow", NOW, NOW, 5000);
        assert!(
            matches!(alone, Turn::At(_)),
            "larger than the share, but alone"
        );
    }

    #[test]
    fn a_route_that_is_limited_no_more_waits_for_nothing() {
        assert_eq!(
            limits(&[], 1).turn("gone", NOW + 7, NOW, 1),
            Turn::At(NOW + 7)
        );
    }

    proptest! {
        #[test]
        fn never_early_never_too_fast_never_beyond_the_queue(
            rate in 1u32..5_000,
            records in prop::collection::vec((0i64..2_000, 0i64..300), 1..400),
        ) {
            let mut limits = limits(&[("r", rate)], usize::MAX);
            let (mut now, mut turns) = (NOW, Vec::new());
            for (ahead, step) in records {
                now += step;
                match limits.turn("r", now + ahead, now, 1) {
                    Turn::At(at) => {
                        prop_assert!(at >= now + ahead, "early");
                        prop_assert!(at <= now + ahead + HOLD_MAX_MS + 1);
                        turns.push(at);
                    }
                    Turn::PutBack(at) => {
                        prop_assert!(at > now && at <= now + 900_000);
                    }
                }
            }
            turns.sort_unstable();
            let per_second = usize::try_from(rate).unwrap();
            for window in turns.windows(per_second + 2) {
                prop_assert!(window[per_second + 1] - window[0] >= 999, "too fast");
            }
        }
    }
}
