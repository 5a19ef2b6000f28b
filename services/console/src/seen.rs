//! What the live changes say of the last minutes: how late records were, how many of each kind changed. Bounded.

use std::collections::{BTreeMap, VecDeque};

use delayq_core::clock::EpochMs;
use delayq_core::ports::MessageChange;
use delayq_core::priority::Priority;
use delayq_core::tracked::State;
use serde::Serialize;
use utoipa::ToSchema;

/// How far it looks back.
pub const WINDOW_MS: i64 = 300_000;
/// Changes kept at most.
const KEPT: usize = 50_000;

/// How late tracked records of a priority were.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct Lateness {
    /// Priority.
    pub priority: &'static str,
    /// Half were at most so late, in ms.
    pub p50_ms: i64,
    /// 99 of 100 were at most so late, in ms.
    pub p99_ms: i64,
    /// The latest of all, in ms.
    pub max_ms: i64,
    /// How many were published.
    pub count: u64,
}

/// How many records changed into a state.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct Count {
    /// State.
    pub state: &'static str,
    /// Priority.
    pub priority: &'static str,
    /// Records.
    pub count: u64,
}

#[derive(Debug, Clone, Copy)]
struct One {
    at_ms: EpochMs,
    state: &'static str,
    priority: Priority,
    late_ms: Option<i64>,
}

/// The changes of the last minutes.
#[derive(Debug, Default)]
pub struct Seen(VecDeque<One>);

impl Seen {
    /// A change was seen.
    pub fn note(&mut self, change: &MessageChange) {
        let Some(details) = &change.row.details else {
            return;
        };
        let late_ms = match &change.row.state {
            State::Published(publication) => Some(publication.at_ms - details.due_ms),
            _ => None,
        };
        if self.0.len() >= KEPT {
            self.0.pop_front();
        }
        self.0.push_back(One {
            at_ms: change.at_ms,
            state: change.row.state.as_str(),
            priority: details.priority,
            late_ms,
        });
    }

    fn recent(&self, now_ms: EpochMs) -> impl Iterator<Item = &One> {
        self.0
            .iter()
            .filter(move |one| one.at_ms > now_ms - WINDOW_MS)
    }

    /// Changes by state and priority.
    #[must_use]
    pub fn counts(&self, now_ms: EpochMs) -> Vec<Count> {
        let mut counts: BTreeMap<(&'static str, usize), Count> = BTreeMap::new();
        for one in self.recent(now_ms) {
            let first = Count {
                state: one.state,
                priority: one.priority.as_str(),
                count: 0,
            };
            let key = (one.state, one.priority.index());
            counts.entry(key).or_insert(first).count += 1;
        }
        counts.into_values().collect()
    }

    /// Lateness by priority.
    #[must_use]
    pub fn lateness(&self, now_ms: EpochMs) -> Vec<Lateness> {
        let of = |priority: Priority| {
            let of_it = self.recent(now_ms).filter(|one| one.priority == priority);
            let mut late: Vec<i64> = of_it.filter_map(|one| one.late_ms).collect();
            late.sort_unstable();
            let at = |percent: usize| late.get((late.len() * percent).div_ceil(100).max(1) - 1);
            Some(Lateness {
                priority: priority.as_str(),
                p50_ms: *at(50)?,
                p99_ms: *at(99)?,
                max_ms: *late.last()?,
                count: late.len() as u64,
            })
        };
        Priority::ALL.into_iter().filter_map(of).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use delayq_core::record::Path;
    use delayq_core::tracked::{Details, MessageKey, MessageRow, Publication, Version};

    const NOW: EpochMs = 1_800_000_000_000;

    fn change(at_ms: EpochMs, late_ms: Option<i64>) -> MessageChange {
        let state = late_ms.map_or(State::Scheduled, |late_ms| {
            State::Published(Publication {
                at_ms: NOW + late_ms,
                partition: 0,
                offset: 0,
            })
        });
        MessageChange {
            row: MessageRow {
                key: MessageKey {
                    topic: "d".into(),
                    id: "o".into(),
                },
                version: Version {
                    partition: 0,
                    offset: 0,
                    appended_ms: 0,
                },
                revision: 1,
                details: Some(Details {
                    due_ms: NOW,
                    output_topic: "out".into(),
                    priority: Priority::High,
                    path: Path::Short,
                }),
                state,
                overlaps: false,
                expires_s: 0,
            },
            at_ms,
        }
    }

    #[test]
    fn the_last_minutes_are_counted_and_what_was_before_is_not() {
        let mut seen = Seen::default();
        seen.note(&change(NOW - WINDOW_MS, Some(5_000)));
        for late_ms in 1..=100 {
            seen.note(&change(NOW, Some(late_ms)));
        }
        seen.note(&change(NOW, None));
        let [late] = &seen.lateness(NOW)[..] else {
            panic!("one priority")
        };
        assert_eq!(
            (late.p50_ms, late.p99_ms, late.max_ms, late.count),
            (50, 99, 100, 100)
        );
        let counts: Vec<_> = seen
            .counts(NOW)
            .iter()
            .map(|c| (c.state, c.count))
            .collect();
        assert_eq!(counts, [("published", 100), ("scheduled", 1)]);
        assert!(Seen::default().lateness(NOW).is_empty());
    }
}
