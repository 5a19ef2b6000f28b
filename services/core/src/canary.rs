//! Canaries: records of delayq's own that travel every path at every priority, so that silence is noticed.
//!
//! A sender writes nine records at once: those for the short and the long path first, and once they are confirmed those
//! for the direct one. Whoever reads them come out knows by a direct one that the others are under way, and when each is
//! due. So nothing is expected that was never sent, and who starts to look needs no history.

use std::collections::BTreeSet;

use crate::clock::EpochMs;
use crate::headers::{HeaderNames, OUT_DUE_MS, OUT_PATH, OUT_SOURCE};
use crate::priority::Priority;
use crate::record::{Header, Path, Record, Source};

/// When it was sent, by the sender's clock, in ms; all nine have the same.
pub const SENT_MS: &str = "canary-sent-ms";
/// The path that it was sent to travel.
pub const PATH: &str = "canary-path";
/// Its priority.
pub const PRIORITY: &str = "canary-priority";

/// Canaries of one path and priority that are waited for, at most: with one a minute, three days of them.
const EXPECTED_MAX: usize = 4096;

/// All paths.
pub const PATHS: [Path; 3] = [Path::Direct, Path::Short, Path::Long];

/// The rhythm of the canaries, in milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CanaryTimes {
    /// Between two of a path and priority.
    pub interval_ms: i64,
    /// How long after its due time one may come.
    pub overdue_after_ms: i64,
    /// From sending to the due time, by path in the order of [`PATHS`]; `None`: no record may wait that long, so nothing
    /// travels this path.
    pub delays_ms: [Option<i64>; 3],
}

impl CanaryTimes {
    /// The delay of a path.
    #[must_use]
    pub fn delay_ms(&self, path: Path) -> Option<i64> {
        self.delays_ms.get(index(path)).copied().flatten()
    }

    /// How far back canaries are worth looking at: what was sent before has come by now, or is not waited for.
    #[must_use]
    pub fn memory_ms(&self) -> i64 {
        let longest_ms = self.delays_ms.iter().flatten().max().copied().unwrap_or(0);
        longest_ms
            .saturating_add(self.overdue_after_ms)
            .saturating_add(self.interval_ms)
    }
}

/// A canary.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Canary {
    /// The path that it is to travel.
    pub path: Path,
    /// Priority.
    pub priority: Priority,
    /// When it was sent.
    pub sent_ms: EpochMs,
}

impl Canary {
    /// The record that is written to the delay topic. Without a key: the producer spreads canaries over the partitions.
    #[must_use]
    pub fn record(&self, due_ms: EpochMs, target: &str, names: &HeaderNames) -> Record {
        Record {
            key: None,
            value: None,
            headers: vec![
                Header::text(names.target.as_str(), target),
                Header::text(names.deliver_at_ms.as_str(), due_ms.to_string()),
                Header::text(names.priority.as_str(), self.priority.as_str()),
                Header::text(SENT_MS, self.sent_ms.to_string()),
                Header::text(PATH, self.path.as_str()),
                Header::text(PRIORITY, self.priority.as_str()),
            ],
        }
    }
}

/// A canary that came out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Arrival {
    /// Which.
    pub canary: Canary,
    /// When it was due.
    pub due_ms: EpochMs,
    /// The path that it did travel: another one when the router was behind.
    pub travelled: Path,
}

impl Arrival {
    /// Reads a record of the canary topic. `None` for one that is no canary, or not of these delay topics.
    #[must_use]
    pub fn read(record: &Record, delay_topics: &[String]) -> Option<Self> {
        let source: Source = record.header_text(OUT_SOURCE)?.parse().ok()?;
        if !delay_topics.iter().any(|own| **own == *source.at.topic) {
            return None;
        }
        let number = |name| record.header_text(name)?.parse().ok();
        Some(Self {
            canary: Canary {
                path: path_named(record.header_text(PATH)?)?,
                priority: Priority::parse(record.header_text(PRIORITY)?)?,
                sent_ms: number(SENT_MS)?,
            },
            due_ms: number(OUT_DUE_MS)?,
            travelled: path_named(record.header_text(OUT_PATH)?)?,
        })
    }
}

/// A path and priority whose canary is missing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Overdue {
    /// Path.
    pub path: Path,
    /// Priority.
    pub priority: Priority,
    /// When the oldest that is missing was due.
    pub due_ms: EpochMs,
}

/// What has come out and what is missing.
#[derive(Debug)]
pub struct CanaryWatch {
    times: CanaryTimes,
    since_ms: EpochMs,
    lanes: [[Lane; 3]; 3],
}

#[derive(Debug, Default)]
struct Lane {
    /// When the newest that came was sent, and was due.
    newest: Option<(EpochMs, EpochMs)>,
    /// When those were sent that are waited for.
    expected: BTreeSet<EpochMs>,
}

impl CanaryWatch {
    /// Waits for the first canary from now on.
    #[must_use]
    pub fn new(times: CanaryTimes, now_ms: EpochMs) -> Self {
        Self {
            times,
            since_ms: now_ms,
            lanes: Default::default(),
        }
    }

    /// All that had come before is known: from here on something must come.
    pub fn caught_up(&mut self, now_ms: EpochMs) {
        self.since_ms = now_ms;
    }

    /// One came out. `false` when it tells nothing: it is too old, or travelled another path than it should have.
    pub fn seen(&mut self, arrival: &Arrival) -> bool {
        let Canary {
            path,
            priority,
            sent_ms,
        } = arrival.canary;
        let oldest_ms = self.since_ms.saturating_sub(self.times.memory_ms());
        if arrival.travelled != path || sent_ms < oldest_ms {
            return false;
        }
        if let Some(lane) = self.lane_mut(path, priority) {
            let newest = lane
                .newest
                .map_or(sent_ms, |(newest, _)| newest.max(sent_ms));
            if newest == sent_ms {
                lane.newest = Some((sent_ms, arrival.due_ms));
            }
            // One that is lost is not waited for beyond the next.
            lane.expected = lane.expected.split_off(&sent_ms.saturating_add(1));
        }
        if path == Path::Direct {
            self.expect(sent_ms);
        }
        true
    }

    /// Those of the other paths are under way.
    fn expect(&mut self, sent_ms: EpochMs) {
        for path in [Path::Short, Path::Long] {
            if self.times.delay_ms(path).is_none() {
                continue;
            }
            for priority in Priority::ALL {
                if let Some(lane) = self.lane_mut(path, priority)
                    && lane.newest.is_none_or(|(newest, _)| newest < sent_ms)
                    && lane.expected.len() < EXPECTED_MAX
                {
                    lane.expected.insert(sent_ms);
                }
            }
        }
    }

    /// What should have come by now.
    #[must_use]
    pub fn overdue(&self, now_ms: EpochMs) -> Vec<Overdue> {
        let mut all = Vec::new();
        for path in PATHS {
            for priority in Priority::ALL {
                if let Some(due_ms) = self.waits_for(path, priority)
                    && now_ms > due_ms.saturating_add(self.times.overdue_after_ms)
                {
                    all.push(Overdue {
                        path,
                        priority,
                        due_ms,
                    });
                }
            }
        }
        all
    }

    /// When the oldest is, or was, due that has not come.
    fn waits_for(&self, path: Path, priority: Priority) -> Option<EpochMs> {
        let delay_ms = self.times.delay_ms(path)?;
        let lane = self.lane(path, priority)?;
        let sent_ms = match path {
            Path::Direct => {
                let last_ms = lane.newest.map_or(self.since_ms, |(sent, _)| sent);
                // What came before this began to look says nothing of what should have come since.
                last_ms
                    .max(self.since_ms)
                    .saturating_add(self.times.interval_ms)
            }
            Path::Short | Path::Long => *lane.expected.first()?,
        };
        Some(sent_ms.saturating_add(delay_ms))
    }

    /// How long ago the newest that came was due; `None` before the first.
    #[must_use]
    pub fn age_ms(&self, path: Path, priority: Priority, now_ms: EpochMs) -> Option<i64> {
        let (_, due_ms) = self.lane(path, priority)?.newest?;
        Some(now_ms.saturating_sub(due_ms))
    }

    fn lane(&self, path: Path, priority: Priority) -> Option<&Lane> {
        self.lanes.get(index(path))?.get(priority.index())
    }

    fn lane_mut(&mut self, path: Path, priority: Priority) -> Option<&mut Lane> {
        self.lanes.get_mut(index(path))?.get_mut(priority.index())
    }
}

const fn index(path: Path) -> usize {
    match path {
        Path::Direct => 0,
        Path::Short => 1,
        Path::Long => 2,
    }
}

fn path_named(name: &str) -> Option<Path> {
    PATHS.into_iter().find(|path| path.as_str() == name)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: i64 = 60_000;
    const START: i64 = 1_800_000_000_000;
    const TIMES: CanaryTimes = CanaryTimes {
        interval_ms: MINUTE,
        overdue_after_ms: 2 * MINUTE,
        delays_ms: [Some(1_000), Some(MINUTE), Some(16 * MINUTE)],
    };

    fn arrival(path: Path, priority: Priority, sent_ms: i64) -> Arrival {
        Arrival {
            canary: Canary {
                path,
                priority,
                sent_ms,
            },
            due_ms: sent_ms + TIMES.delay_ms(path).unwrap(),
            travelled: path,
        }
    }

    /// Two hours of canaries, minute by minute; those that `comes` says come on time. Answers with what was overdue, and
    /// in which minutes.
    fn minutes(comes: impl Fn(Path, Priority, i64) -> bool) -> Vec<(i64, Path, Priority)> {
        let mut watch = CanaryWatch::new(TIMES, START);
        let mut overdue = Vec::new();
        let mut events = Vec::new();
        for minute in 0..120 {
            for path in PATHS {
                for priority in Priority::ALL {
                    let one = arrival(path, priority, START + minute * MINUTE);
                    if comes(path, priority, minute) {
                        events.push((one.due_ms, one));
                    }
                }
            }
        }
        events.sort_by_key(|(at, _)| *at);
        let mut events = events.into_iter().peekable();
        for minute in 0..120 {
            let now_ms = START + minute * MINUTE;
            while let Some((_, one)) = events.next_if(|(at, _)| *at <= now_ms) {
                assert!(watch.seen(&one));
            }
            let missing = watch.overdue(now_ms);
            overdue.extend(
                missing
                    .into_iter()
                    .map(|one| (minute, one.path, one.priority)),
            );
        }
        overdue
    }

    #[test]
    fn nothing_is_overdue_while_all_come_not_even_at_the_start() {
        assert_eq!(minutes(|_, _, _| true), []);
    }

    #[test]
    fn each_path_and_priority_is_missed_in_its_own_time_and_alone() {
        for path in PATHS {
            for priority in Priority::ALL {
                let missing = minutes(|p, q, minute| (p, q) != (path, priority) || minute < 30);
                assert!(missing.iter().all(|(_, p, q)| (*p, *q) == (path, priority)));
                // Sent in minute 30, due after the delay of the path, and two minutes of patience.
                let first = missing.first().map(|(minute, ..)| *minute);
                let expected = match path {
                    Path::Direct => 33,
                    Path::Short => 34,
                    Path::Long => 49,
                };
                assert_eq!(first, Some(expected), "{path} {priority}");
                assert_eq!(missing.last().map(|(minute, ..)| *minute), Some(119));
            }
        }
    }

    #[test]
    fn a_lost_one_is_not_waited_for_once_a_newer_has_come() {
        let missing = minutes(|path, _, minute| path != Path::Long || minute != 30);
        assert_eq!(missing, [], "the next one comes within the patience");
        let missing = minutes(|path, _, minute| path != Path::Long || !(30..40).contains(&minute));
        let when: Vec<_> = missing.iter().map(|(minute, ..)| *minute).collect();
        assert_eq!((when.first(), when.last()), (Some(&49), Some(&55)));
    }

    #[test]
    fn a_sender_that_is_silent_shows_on_the_direct_path_only() {
        let missing = minutes(|_, _, minute| !(30..40).contains(&minute));
        assert!(missing.iter().all(|(_, path, _)| *path == Path::Direct));
        assert!(!missing.is_empty());
    }

    #[test]
    fn what_never_begins_is_overdue_and_a_path_that_no_record_may_take_is_not() {
        assert!(
            minutes(|_, _, _| false)
                .iter()
                .all(|(minute, path, _)| *minute >= 4 && *path == Path::Direct)
        );
        let times = CanaryTimes {
            delays_ms: [Some(1_000), Some(MINUTE), None],
            ..TIMES
        };
        let mut watch = CanaryWatch::new(times, START);
        for priority in Priority::ALL {
            watch.seen(&arrival(Path::Direct, priority, START));
            watch.seen(&arrival(Path::Short, priority, START));
        }
        assert_eq!(watch.overdue(START + 3 * MINUTE), []);
        assert_eq!(watch.overdue(START + 60 * MINUTE).len(), 3, "direct");
    }

    #[test]
    fn another_path_than_it_was_sent_for_does_not_count() {
        let mut watch = CanaryWatch::new(TIMES, START);
        watch.seen(&arrival(Path::Direct, Priority::High, START));
        let detour = Arrival {
            travelled: Path::Short,
            ..arrival(Path::Long, Priority::High, START)
        };
        assert!(!watch.seen(&detour));
        let late = START + 30 * MINUTE;
        assert!(watch.overdue(late).iter().any(|one| one.path == Path::Long));
        assert_eq!(watch.age_ms(Path::Long, Priority::High, late), None);
        assert_eq!(
            watch.age_ms(Path::Direct, Priority::High, START + 1_500),
            Some(500)
        );
    }

    #[test]
    fn history_beyond_memory_raises_no_expectation() {
        let mut watch = CanaryWatch::new(TIMES, START);
        assert!(!watch.seen(&arrival(Path::Direct, Priority::High, START - 60 * MINUTE)));
        assert_eq!(watch.overdue(START), []);
        // Within it: what was sent before the start and has not come is missed at once.
        assert!(watch.seen(&arrival(Path::Direct, Priority::High, START - 10 * MINUTE)));
        let paths: Vec<_> = watch.overdue(START).iter().map(|one| one.path).collect();
        assert_eq!(paths, [Path::Short; 3]);
    }

    #[test]
    fn memory_ends_where_it_says() {
        let mut watch = CanaryWatch::new(TIMES, START);
        let oldest_ms = START - TIMES.memory_ms();
        assert!(!watch.seen(&arrival(Path::Direct, Priority::High, oldest_ms - 1)));
        assert!(watch.seen(&arrival(Path::Direct, Priority::High, oldest_ms)));
    }

    #[test]
    fn patience_begins_when_the_past_is_known() {
        let mut watch = CanaryWatch::new(TIMES, START);
        watch.caught_up(START + 10 * MINUTE);
        // Due a second after it is sent, a minute from then; two minutes of patience.
        let patient_until = START + 13 * MINUTE + 1_000;
        assert_eq!(watch.overdue(patient_until), []);
        assert_eq!(watch.overdue(patient_until + 1).len(), 3);
    }

    #[test]
    fn what_came_before_the_direct_one_of_its_minute_is_not_expected_again() {
        let mut watch = CanaryWatch::new(TIMES, START);
        assert!(watch.seen(&arrival(Path::Short, Priority::High, START)));
        assert!(watch.seen(&arrival(Path::Direct, Priority::High, START)));
        let missing = watch.overdue(START + 4 * MINUTE);
        let missing = missing.iter().map(|one| (one.path, one.priority));
        let short: Vec<_> = missing.filter(|(path, _)| *path == Path::Short).collect();
        assert_eq!(
            short,
            [
                (Path::Short, Priority::Standard),
                (Path::Short, Priority::Low)
            ]
        );
    }

    #[test]
    fn what_is_written_is_read_back_from_what_comes_out() {
        let canary = Canary {
            path: Path::Long,
            priority: Priority::Low,
            sent_ms: START,
        };
        let names = HeaderNames::default();
        let mut record = canary.record(START + 5, "c", &names);
        assert_eq!(record.header_text("delay-target"), Some("c"));
        record
            .headers
            .push(Header::text(OUT_DUE_MS, (START + 5).to_string()));
        record.headers.push(Header::text(OUT_PATH, "long"));
        record.headers.push(Header::text(OUT_SOURCE, "own/0/7"));
        let read = Arrival::read(&record, &["own".to_owned()]).unwrap();
        assert_eq!(read.canary, canary);
        assert_eq!((read.due_ms, read.travelled), (START + 5, Path::Long));
        assert_eq!(Arrival::read(&record, &["other".to_owned()]), None);
    }
}
