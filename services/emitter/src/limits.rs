//! Rate limits: each limited route has turns, one record each; who would wait too long for a turn is put back.
//!
//! Turns are by this emitter's own clock: with n emitters a target sees up to n times the rate. Records that are put
//! back wait in line, a line for each priority, and come back when their place in it is reached.

use std::collections::HashMap;
use std::sync::Arc;

use delayq_core::clock::EpochMs;
use delayq_core::priority::Priority;

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
    /// The end of the line of each priority: those that are put back come again at the rate at which turns are free.
    line_us: [i64; 3],
    held_bytes: usize,
}

/// All limits of an emitter.
#[derive(Debug, Default)]
pub struct Limits {
    limits: HashMap<Arc<str>, Limit>,
    /// Memory that one route may hold.
    share_bytes: usize,
}

/// A record that asks for its turn.
#[derive(Debug, Clone, Copy)]
pub struct Asking {
    /// Its priority.
    pub priority: Priority,
    /// When it is due.
    pub due_ms: EpochMs,
    /// Memory that it takes until it is done.
    pub bytes: usize,
}

/// How far ahead a priority may take turns: high finds one though lower ones fill theirs.
const fn window_ms(priority: Priority) -> i64 {
    match priority {
        Priority::High => HOLD_MAX_MS,
        Priority::Standard => HOLD_MAX_MS - 1_000,
        Priority::Low => HOLD_MAX_MS - 2_000,
    }
}

impl Limits {
    /// The routes share `memory_bytes` equally: one whose target is slow takes nobody else's room.
    #[must_use]
    pub fn new(rates: &Rates, memory_bytes: usize) -> Self {
        let limits = rates.iter().map(|(route, rate)| {
            let limit = Limit {
                every_us: 1_000_000 / i64::from((*rate).clamp(1, 1_000_000)),
                next_us: i64::MIN,
                line_us: [i64::MIN; 3],
                held_bytes: 0,
            };
            (route.clone(), limit)
        });
        Self {
            limits: limits.collect(),
            share_bytes: memory_bytes / rates.len().max(1),
        }
    }

    /// The turn of a record. One that is given one is counted as held until it is done. A route without a limit here
    /// has no turns to wait for.
    pub fn turn(&mut self, route: &str, asking: Asking, now_ms: EpochMs) -> Turn {
        let Asking {
            priority,
            due_ms,
            bytes,
        } = asking;
        let share_bytes = self.share_bytes;
        let Some(limit) = self.limits.get_mut(route) else {
            return Turn::At(due_ms);
        };
        // A turn that far ahead would bar those before it.
        if due_ms > now_ms.saturating_add(HOLD_MAX_MS) {
            return Turn::PutBack(due_ms);
        }
        let us = |ms: i64| ms.saturating_mul(1000);
        // A wall clock that was set back must not hold everything up for as long.
        let latest_next_us = us(now_ms.saturating_add(2 * HOLD_MAX_MS));
        limit.next_us = limit.next_us.min(latest_next_us);
        let from_us = us(due_ms.max(now_ms));
        let slot_us = limit.next_us.max(from_us);
        let window_us = us(window_ms(priority));
        let Some(line_us) = limit.line_us.get_mut(priority.index()) else {
            return Turn::At(due_ms);
        };
        // Who was due that long ago has stood in line; who has not goes to its end, if there is one.
        let stood_in_line = due_ms.saturating_add(HOLD_MAX_MS) <= now_ms;
        let line_waits = *line_us > us(now_ms) + window_us;
        let fits = limit.held_bytes == 0 || limit.held_bytes + bytes <= share_bytes;
        if fits && slot_us - from_us <= window_us && (stood_in_line || !line_waits) {
            limit.next_us = slot_us + limit.every_us;
            limit.held_bytes += bytes;
            // Rounded up: never faster than the rate.
            return Turn::At(slot_us.div_euclid(1000) + i64::from(slot_us % 1000 != 0));
        }
        let latest_us = us(now_ms.saturating_add(PUT_BACK_MAX_MS));
        let place_us = (*line_us).max(from_us + us(HOLD_MAX_MS)).min(latest_us);
        *line_us = place_us + limit.every_us;
        Turn::PutBack(place_us.div_euclid(1000))
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
    use std::collections::BTreeMap;

    use super::*;
    use proptest::prelude::*;

    const NOW: i64 = 1_700_000_000_000;

    fn limits(rates: &[(&str, u32)], memory_bytes: usize) -> Limits {
        let rates = rates.iter().map(|(r, n)| (Arc::from(*r), *n)).collect();
        Limits::new(&rates, memory_bytes)
    }

    fn asking(due_ms: i64) -> Asking {
        Asking {
            priority: Priority::High,
            due_ms,
            bytes: 400,
        }
    }

    #[test]
    fn turns_come_at_the_rate_and_the_rest_goes_back_at_the_rate() {
        let mut limits = limits(&[("slow", 10)], usize::MAX);
        let turns: Vec<_> = (0..60)
            .map(|_| limits.turn("slow", asking(NOW), NOW))
            .collect();
        for (at, turn) in (0..=50).zip(&turns) {
            assert_eq!(*turn, Turn::At(NOW + at * 100));
        }
        assert_eq!(turns[51], Turn::PutBack(NOW + 5_000));
        assert_eq!(turns[52], Turn::PutBack(NOW + 5_100));
    }

    #[test]
    fn one_slow_target_takes_no_room_of_another() {
        let mut limits = limits(&[("slow", 1000), ("other", 1000)], 1000);
        let now = |limits: &mut Limits, route| limits.turn(route, asking(NOW), NOW);
        assert_eq!(now(&mut limits, "slow"), Turn::At(NOW));
        assert!(matches!(now(&mut limits, "slow"), Turn::PutBack(_)));
        assert_eq!(now(&mut limits, "other"), Turn::At(NOW));
        limits.done("slow", 400);
        let later = limits.turn("slow", asking(NOW), NOW + HOLD_MAX_MS);
        assert!(matches!(later, Turn::At(_)));
        limits.done("slow", 400);
        let large = Asking {
            bytes: 5_000,
            ..asking(NOW)
        };
        let alone = limits.turn("slow", large, NOW + HOLD_MAX_MS);
        assert!(
            matches!(alone, Turn::At(_)),
            "larger than the share, but alone"
        );
    }

    #[test]
    fn high_finds_a_turn_behind_a_backlog_of_low() {
        let mut limits = limits(&[("slow", 10)], usize::MAX);
        let low = Asking {
            priority: Priority::Low,
            ..asking(NOW)
        };
        for _ in 0..1_000 {
            limits.turn("slow", low, NOW);
        }
        let Turn::At(at) = limits.turn("slow", asking(NOW), NOW) else {
            panic!("put back")
        };
        assert!(at <= NOW + 3_200, "{} ms", at - NOW);
    }

    #[test]
    fn a_route_that_is_limited_no_more_waits_for_nothing() {
        let turn = limits(&[], 1).turn("gone", asking(NOW + 7), NOW);
        assert_eq!(turn, Turn::At(NOW + 7));
    }

    /// A queue that gives each message back at its time; messages are of one place in line, as the emitter makes them.
    fn drained_after_ms(rate: u32, records: usize, batch: usize) -> (i64, usize) {
        let mut limits = limits(&[("r", rate)], usize::MAX);
        let mut queue: BTreeMap<i64, Vec<usize>> = BTreeMap::new();
        for _ in 0..records / batch {
            queue.entry(NOW).or_default().push(batch);
        }
        let (mut last_ms, mut put_backs) = (NOW, 0);
        while let Some((at_ms, messages)) = queue.pop_first() {
            for message in messages {
                let mut back: BTreeMap<i64, (i64, usize)> = BTreeMap::new();
                for _ in 0..message {
                    match limits.turn("r", asking(NOW), at_ms) {
                        Turn::At(turn_ms) => last_ms = last_ms.max(turn_ms),
                        Turn::PutBack(place_ms) => {
                            let group = back.entry(place_ms / HOLD_MAX_MS).or_insert((place_ms, 0));
                            group.1 += 1;
                        }
                    }
                }
                put_backs += back.len();
                for (place_ms, count) in back.into_values() {
                    queue.entry(place_ms).or_default().push(count);
                }
            }
        }
        (last_ms - NOW, put_backs)
    }

    #[test]
    fn a_backlog_drains_at_the_rate() {
        for (rate, records, batch) in [
            (10, 200, 200),
            (10, 1_000, 1_000),
            (10, 5_000, 5_000),
            (100, 5_000, 500),
            (1, 600, 50),
        ] {
            let (took_ms, put_backs) = drained_after_ms(rate, records, batch);
            let ideal_ms = i64::try_from(records).unwrap() * 1000 / i64::from(rate);
            assert!(
                took_ms <= ideal_ms * 12 / 10 + HOLD_MAX_MS,
                "{records} at {rate}/s took {took_ms} ms in place of {ideal_ms}"
            );
            assert!(
                put_backs <= records * 2 / batch.min(50) + 400,
                "{put_backs} put back"
            );
        }
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
                match limits.turn("r", asking(now + ahead), now) {
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
