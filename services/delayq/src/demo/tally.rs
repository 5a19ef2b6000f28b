//! The accounts of the demo: what was sent, what came, and what that says. Knows neither broker nor screen.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use delayq_core::clock::{Clock as _, EpochMs, SystemClock};
use delayq_core::priority::Priority;
use delayq_core::record::Path;
use hdrhistogram::Histogram;
use serde::Serialize;

/// What time it is.
pub(super) fn now_ms() -> EpochMs {
    SystemClock.now_ms()
}

/// A sample record on its way.
#[derive(Debug, Clone)]
pub(super) struct Sent {
    /// Where it must come out.
    pub(super) topic: String,
    pub(super) key: String,
    pub(super) value: String,
    pub(super) priority: Priority,
    pub(super) path: Path,
    /// Not published before this, by the producer's own reckoning.
    pub(super) due_ms: EpochMs,
    /// A record that must be refused.
    pub(super) poison: bool,
}

/// A record as the reader saw it.
#[derive(Debug, Clone)]
pub(super) struct Seen {
    /// Number of a sample record; none for somebody else's.
    pub(super) number: Option<u64>,
    pub(super) topic: String,
    pub(super) key: String,
    pub(super) value: String,
    /// `delayed-path`.
    pub(super) path: Option<String>,
    /// `delayed-due-ms`.
    pub(super) due_ms: Option<EpochMs>,
    /// `delay-error`: it is a dead letter.
    pub(super) error: Option<String>,
    /// When it was there to be read.
    pub(super) at_ms: EpochMs,
    /// When it was produced, by its own timestamp.
    pub(super) produced_ms: EpochMs,
}

/// All counts.
#[derive(Debug)]
pub(super) struct Tally {
    /// On their way.
    sent: HashMap<u64, Sent>,
    /// All below this have ended...
    ended_below: u64,
    /// ...and these above it.
    ended: BTreeSet<u64>,
    accepted: u64,
    published: BTreeMap<(Priority, &'static str), u64>,
    dead_letters: BTreeMap<String, u64>,
    early: u64,
    duplicates: u64,
    misplaced: u64,
    altered: u64,
    not_taken: u64,
    lateness_ms: Histogram<u64>,
    last_due_ms: EpochMs,
    own: u64,
    last_own: Option<String>,
}

impl Tally {
    /// Nothing sent yet.
    ///
    /// # Errors
    /// None that happens: three digits are a precision that the histogram allows.
    pub(super) fn new() -> anyhow::Result<Self> {
        Ok(Self {
            sent: HashMap::new(),
            ended_below: 0,
            ended: BTreeSet::new(),
            accepted: 0,
            published: BTreeMap::new(),
            dead_letters: BTreeMap::new(),
            early: 0,
            duplicates: 0,
            misplaced: 0,
            altered: 0,
            not_taken: 0,
            lateness_ms: Histogram::new(3)?,
            last_due_ms: 0,
            own: 0,
            last_own: None,
        })
    }

    /// A sample record is about to be produced.
    pub(super) fn sending(&mut self, number: u64, sent: Sent) {
        self.last_due_ms = self.last_due_ms.max(sent.due_ms);
        self.sent.insert(number, sent);
    }

    /// The broker has it.
    pub(super) fn accepted(&mut self) {
        self.accepted += 1;
    }

    /// The broker does not have it.
    pub(super) fn not_accepted(&mut self, number: u64) {
        self.not_taken += 1;
        self.sent.remove(&number);
        self.end(number);
    }

    fn end(&mut self, number: u64) {
        self.ended.insert(number);
        while self.ended.remove(&self.ended_below) {
            self.ended_below += 1;
        }
    }

    /// The reader saw a record.
    pub(super) fn seen(&mut self, seen: &Seen) {
        let number = seen.number.unwrap_or(u64::MAX);
        if number < self.ended_below || self.ended.contains(&number) {
            self.duplicates += 1;
            return;
        }
        let Some(sent) = self.sent.remove(&number) else {
            self.own += 1;
            self.last_own = Some(describe(seen));
            return;
        };
        self.end(number);
        self.altered += u64::from(seen.key != sent.key || seen.value != sent.value);
        if let Some(error) = &seen.error {
            *self.dead_letters.entry(error.clone()).or_default() += 1;
            self.misplaced += u64::from(!sent.poison);
            return;
        }
        self.misplaced += u64::from(sent.poison || seen.topic != sent.topic);
        let path = match seen.path.as_deref() {
            Some("direct") => "direct",
            Some("short") => "short",
            Some("long") => "long",
            _ => "unknown",
        };
        *self.published.entry((sent.priority, path)).or_default() += 1;
        let due_ms = seen.due_ms.unwrap_or(sent.due_ms);
        // Neither the header nor the producer may find it early.
        self.early += u64::from(seen.at_ms.min(seen.produced_ms) < due_ms.max(sent.due_ms));
        let late_ms = seen.at_ms.saturating_sub(due_ms).max(0).unsigned_abs();
        self.lateness_ms.saturating_record(late_ms);
    }

    /// Sample records that have not come yet.
    pub(super) fn missing(&self) -> usize {
        self.sent.len()
    }

    /// When the last of them is due.
    pub(super) const fn last_due_ms(&self) -> EpochMs {
        self.last_due_ms
    }

    /// Records that have not come yet, by path and priority.
    pub(super) fn waiting(&self) -> BTreeMap<(&'static str, Priority), u64> {
        let mut waiting = BTreeMap::new();
        for sent in self.sent.values() {
            *waiting
                .entry((sent.path.as_str(), sent.priority))
                .or_default() += 1;
        }
        waiting
    }

    /// The last record that was not a sample, in words, and how many there were.
    pub(super) fn own(&self) -> Option<(u64, &str)> {
        Some((self.own, self.last_own.as_deref()?))
    }

    /// Records published at a priority by a path.
    pub(super) fn published(&self, priority: Priority, path: &'static str) -> u64 {
        self.published.get(&(priority, path)).copied().unwrap_or(0)
    }

    pub(super) fn summary(&self) -> Summary {
        let sum = |by: &dyn Fn(&(Priority, &'static str)) -> bool| -> u64 {
            let matching = self.published.iter().filter(|(key, _)| by(key));
            matching.map(|(_, count)| count).sum()
        };
        let late = |quantile| self.lateness_ms.value_at_quantile(quantile);
        Summary {
            accepted: self.accepted,
            published: Published {
                total: sum(&|_| true),
                by_priority: Priority::ALL
                    .map(|p| (p.as_str(), sum(&|key| key.0 == p)))
                    .into(),
                by_path: ["direct", "short", "long"]
                    .map(|path| (path, sum(&|key| key.1 == path)))
                    .into(),
            },
            dead_lettered: self.dead_letters.values().sum(),
            dead_letters_by_reason: self.dead_letters.clone(),
            lost: self.missing(),
            early: self.early,
            duplicates: self.duplicates,
            misplaced: self.misplaced,
            altered: self.altered,
            not_taken: self.not_taken,
            lateness_ms: Lateness {
                p50: late(0.5),
                p99: late(0.99),
                p999: late(0.999),
                max: self.lateness_ms.max(),
            },
        }
    }
}

fn describe(seen: &Seen) -> String {
    let outcome = match (&seen.error, seen.due_ms) {
        (Some(error), _) => format!("refused: {error}"),
        (None, Some(due_ms)) => format!("{} ms after its due time", seen.at_ms - due_ms),
        (None, None) => "not by delayq".to_owned(),
    };
    format!("key {:?} in {}, {outcome}", seen.key, seen.topic)
}

/// Published records.
#[derive(Debug, Serialize)]
pub(super) struct Published {
    pub(super) total: u64,
    pub(super) by_priority: BTreeMap<&'static str, u64>,
    pub(super) by_path: BTreeMap<&'static str, u64>,
}

/// Milliseconds from due to seen.
#[derive(Debug, Serialize)]
pub(super) struct Lateness {
    pub(super) p50: u64,
    pub(super) p99: u64,
    pub(super) p999: u64,
    pub(super) max: u64,
}

/// What `--json` prints. All counts are of sample records.
#[derive(Debug, Serialize)]
pub(super) struct Summary {
    /// Confirmed by the delay topic.
    pub(super) accepted: u64,
    pub(super) published: Published,
    pub(super) dead_lettered: u64,
    pub(super) dead_letters_by_reason: BTreeMap<String, u64>,
    /// Neither published nor in the dead-letter topic.
    pub(super) lost: usize,
    pub(super) early: u64,
    pub(super) duplicates: u64,
    /// In another topic than they belong to.
    pub(super) misplaced: u64,
    /// With another key or value than was sent.
    pub(super) altered: u64,
    /// The delay topic did not take them.
    pub(super) not_taken: u64,
    pub(super) lateness_ms: Lateness,
}

impl Summary {
    pub(super) const fn is_good(&self) -> bool {
        self.accepted > 0
            && self.lost == 0
            && self.early == 0
            && self.misplaced == 0
            && self.altered == 0
            && self.not_taken == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sent(due_ms: EpochMs, poison: bool) -> Sent {
        Sent {
            topic: "orders.high".into(),
            key: "k".into(),
            value: "v".into(),
            priority: Priority::High,
            path: Path::Short,
            due_ms,
            poison,
        }
    }

    fn seen(number: u64, at_ms: EpochMs) -> Seen {
        Seen {
            number: Some(number),
            topic: "orders.high".into(),
            key: "k".into(),
            value: "v".into(),
            path: Some("short".into()),
            due_ms: Some(1_000),
            error: None,
            at_ms,
            produced_ms: at_ms,
        }
    }

    #[test]
    fn lost_early_doubled_and_misplaced_are_found() {
        let mut tally = Tally::new().unwrap();
        for number in 0..5 {
            tally.sending(number, sent(1_000, number == 4));
            tally.accepted();
        }
        tally.seen(&seen(0, 1_007));
        tally.seen(&seen(0, 1_008));
        tally.seen(&seen(1, 999));
        tally.seen(&Seen {
            topic: "orders.low".into(),
            ..seen(2, 1_001)
        });
        tally.seen(&Seen {
            error: Some("invalid-delay".into()),
            ..seen(4, 5)
        });
        assert_eq!(tally.waiting()[&("short", Priority::High)], 1);
        let summary = tally.summary();
        assert_eq!((summary.accepted, summary.published.total), (5, 3));
        assert_eq!((summary.lost, summary.early, summary.duplicates), (1, 1, 1));
        assert_eq!((summary.misplaced, summary.dead_lettered), (1, 1));
        assert!(!summary.is_good());
    }

    #[test]
    fn another_target_and_another_value_are_found_and_so_is_a_broker_that_takes_nothing() {
        let mut tally = Tally::new().unwrap();
        tally.sending(0, sent(1_000, false));
        assert!(!tally.summary().is_good(), "nothing accepted");
        tally.accepted();
        tally.seen(&Seen {
            topic: "payments.high".into(),
            value: String::new(),
            ..seen(0, 1_003)
        });
        let summary = tally.summary();
        assert_eq!((summary.misplaced, summary.altered), (1, 1));
        assert!(!summary.is_good());
    }

    #[test]
    fn a_header_that_lies_about_the_due_time_is_found_by_the_producers_reckoning() {
        let mut tally = Tally::new().unwrap();
        tally.sending(0, sent(2_000, false));
        tally.seen(&seen(0, 1_500));
        assert_eq!(tally.summary().early, 1);
    }

    #[test]
    fn somebody_elses_records_are_shown_and_not_counted() {
        let mut tally = Tally::new().unwrap();
        tally.sending(0, sent(1_000, false));
        tally.accepted();
        tally.seen(&seen(0, 1_003));
        tally.seen(&Seen {
            number: None,
            ..seen(0, 1_003)
        });
        let (count, words) = tally.own().unwrap();
        assert_eq!(count, 1);
        assert!(words.contains("3 ms after"), "{words}");
        assert!(tally.summary().is_good());
    }
}
