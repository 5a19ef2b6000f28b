//! Which letters of a partition are done (redriven or purged). Kafka deletes no single record, so this is remembered as the
//! router remembers what it has finished: a committed offset, and the map of what is done beyond it in the commit metadata.
//!
//! In doubt a letter is open: redriving twice costs a duplicate, forgetting it would lose a record.

use delayq_core::commit_metadata::{BROKER_LIMIT_BYTES, CommitMap, decode, encode};
use delayq_core::offsets::{FinishedMap, OffsetTracker, Token};
use delayq_core::ports::Commit;
use delayq_core::record::{Incoming, TopicPartition};
use delayq_kafka::LogPartition;

/// Letters between the first open one and the last that one command looks at: 16 bytes each.
const BEYOND_HEAD_MAX: usize = 2_000_000;

/// Nobody asks how long a letter has been looked at.
const NO_TIME_MS: i64 = 0;

/// Why the marks cannot be kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum MarksFault {
    /// The map has outgrown its place.
    #[error(
        "what is done between open letters no longer fits into Kafka's commit metadata ({BROKER_LIMIT_BYTES} bytes): redrive or \
         purge the oldest letters first (those at the top of `delayq dead-letters list`), then go on"
    )]
    MapTooLarge,
    /// Too much is open.
    #[error(
        "more than {BEYOND_HEAD_MAX} letters lie behind the first open one: redrive or purge the oldest letters first \
         (`--until`), then go on"
    )]
    TooFar,
}

/// The marks of one partition.
#[derive(Debug, Clone)]
pub(super) struct Marks {
    at: TopicPartition,
    /// Where the letters start of which anything must be known.
    start: i64,
    known: Option<CommitMap>,
    tracker: OffsetTracker,
    /// The last letter that was looked at.
    last: i64,
    leader_epoch: Option<i32>,
    delivered: usize,
}

impl Marks {
    pub(super) fn new(topic: &str, partition: &LogPartition) -> Self {
        let at = TopicPartition::new(topic, partition.partition);
        // Beyond the end: the topic was deleted and made anew.
        let committed = partition.committed.filter(|at| *at <= partition.end);
        let metadata = partition.metadata.as_deref().unwrap_or_default();
        let known = committed.and_then(|committed| match decode(metadata, committed) {
            Ok(map) => map,
            Err(fault) => {
                tracing::warn!(partition = %at, %fault, "the marks beyond the first open letter are ignored");
                None
            }
        });
        let start = committed.unwrap_or(0).max(partition.start);
        Self {
            at,
            start,
            known,
            tracker: OffsetTracker::new(Some(start)),
            last: start - 1,
            leader_epoch: None,
            delivered: 0,
        }
    }

    /// Every letter before it is done.
    pub(super) const fn start(&self) -> i64 {
        self.start
    }

    pub(super) const fn partition(&self) -> i32 {
        self.at.partition
    }

    pub(super) fn is_done(&self, letter: &Incoming) -> bool {
        letter.source.offset < self.start
            || self
                .known
                .as_ref()
                .is_some_and(|map| map.covers(letter.source.offset, letter.leader_epoch))
    }

    /// Looks at the next letter; answers with its token if it is open.
    pub(super) fn deliver(&mut self, letter: &Incoming) -> Result<Option<Token>, MarksFault> {
        if self.delivered >= BEYOND_HEAD_MAX {
            return Err(MarksFault::TooFar);
        }
        let Some(token) = self.tracker.deliver(letter.source.offset, NO_TIME_MS) else {
            return Ok(None);
        };
        self.delivered += 1;
        self.last = letter.source.offset;
        self.leader_epoch = self.leader_epoch.max(letter.leader_epoch);
        if self.is_done(letter) {
            self.tracker.finish(token);
            return Ok(None);
        }
        Ok(Some(token))
    }

    pub(super) fn finish(&mut self, tokens: &[Token]) {
        for token in tokens {
            self.tracker.finish(*token);
        }
    }

    /// Whether the marks can still be kept when these are done as well.
    pub(super) fn room_for(&self, tokens: &[Token]) -> Result<(), MarksFault> {
        let mut then = self.clone();
        then.finish(tokens);
        then.commit().map(drop)
    }

    /// The first letter that is open, or may be.
    pub(super) fn head(&self) -> i64 {
        self.state().0
    }

    /// The head, what is done beyond it, and the leader epoch up to which that is known.
    fn state(&self) -> (i64, Vec<(i64, i64)>, Option<i32>) {
        let mut head = self.tracker.head().unwrap_or(self.start);
        let mut ranges = self.tracker.finished_beyond_head().ranges().to_vec();
        let mut leader_epoch = self.leader_epoch;
        if let Some(known) = &self.known {
            // Not looked at this time, and still done. With a newer epoch in sight the map would claim letters that it
            // never knew: then those beyond are open again.
            if leader_epoch.is_none_or(|seen| known.leader_epoch == Some(seen)) {
                leader_epoch = known.leader_epoch;
                let beyond = known.finished.ranges().iter();
                ranges.extend(
                    beyond
                        .filter(|(_, to)| *to > self.last)
                        .map(|(from, to)| ((*from).max(self.last + 1), *to)),
                );
            }
        }
        ranges.retain(|(from, to)| {
            let joins = *from <= head;
            if joins {
                head = *to + 1;
            }
            !joins
        });
        (head, ranges, leader_epoch)
    }

    /// What is to be committed.
    pub(super) fn commit(&self) -> Result<Commit, MarksFault> {
        let (committed, ranges, leader_epoch) = self.state();
        let finished = FinishedMap::from_ranges(ranges).unwrap_or_default();
        let metadata = encode(&CommitMap {
            committed,
            leader_epoch,
            finished,
        });
        if metadata.len() > BROKER_LIMIT_BYTES {
            return Err(MarksFault::MapTooLarge);
        }
        Ok(Commit {
            partition: self.at.clone(),
            offset: committed,
            metadata,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use delayq_core::record::{Record, Source};

    fn partition(committed: Option<i64>, metadata: Option<String>, end: i64) -> LogPartition {
        LogPartition {
            partition: 0,
            start: 0,
            end,
            committed,
            metadata,
        }
    }

    fn letter(offset: i64, epoch: i32) -> Incoming {
        Incoming {
            source: Source {
                at: TopicPartition::new("dead", 0),
                offset,
            },
            leader_epoch: Some(epoch),
            timestamp_ms: None,
            record: Record::default(),
            malformed: None,
        }
    }

    /// Finishes `done` among the open letters of `0..upto`; answers with the next state of the partition.
    fn pass(before: &LogPartition, upto: i64, done: &[i64]) -> LogPartition {
        let mut marks = Marks::new("dead", before);
        for offset in marks.start()..upto {
            if let Some(token) = marks.deliver(&letter(offset, 0)).unwrap()
                && done.contains(&offset)
            {
                marks.finish(&[token]);
            }
        }
        let commit = marks.commit().unwrap();
        partition(Some(commit.offset), Some(commit.metadata), before.end)
    }

    fn open(partition: &LogPartition) -> Vec<i64> {
        let marks = Marks::new("dead", partition);
        (0..partition.end)
            .filter(|offset| !marks.is_done(&letter(*offset, 0)))
            .collect()
    }

    #[test]
    fn what_is_done_stays_done_and_nothing_else() {
        let first = pass(&partition(None, None, 10), 10, &[2, 5, 6]);
        assert_eq!(open(&first), [0, 1, 3, 4, 7, 8, 9]);
        let second = pass(&first, 10, &[0, 1]);
        assert_eq!(second.committed, Some(3), "the head is contiguous");
        assert_eq!(open(&second), [3, 4, 7, 8, 9]);
    }

    #[test]
    fn marks_beyond_what_was_looked_at_are_kept() {
        let first = pass(&partition(None, None, 10), 10, &[6, 7, 9]);
        let second = pass(&first, 2, &[1]);
        assert_eq!(open(&second), [0, 2, 3, 4, 5, 8]);
        let joined = pass(&first, 6, &[0, 1, 2, 3, 4, 5]);
        assert_eq!(
            joined.committed,
            Some(8),
            "the head takes in what follows it"
        );
        assert_eq!(open(&joined), [8]);
        let cut = pass(&second, 7, &[4]);
        assert_eq!(open(&cut), [0, 2, 3, 5, 8], "a range that is cut in two");
    }

    #[test]
    fn in_doubt_a_letter_is_open() {
        let first = pass(&partition(None, None, 10), 10, &[2]);
        let marks = Marks::new("dead", &first);
        assert!(marks.is_done(&letter(2, 0)) && !marks.is_done(&letter(2, 1)));
        let foreign = LogPartition {
            metadata: Some("somebody's note".to_owned()),
            ..first.clone()
        };
        assert_eq!(open(&foreign).len(), 10);
        let anew = partition(Some(11), None, 10);
        assert_eq!(open(&anew).len(), 10, "a topic that was made anew");
        // A letter of a later leader was looked at: what lies beyond may have been rewritten, too.
        let first = pass(&partition(None, None, 10), 10, &[8]);
        let mut marks = Marks::new("dead", &first);
        marks.deliver(&letter(0, 1)).unwrap();
        let commit = marks.commit().unwrap();
        let after = partition(Some(commit.offset), Some(commit.metadata), 10);
        assert_eq!(open(&after).len(), 10);
    }

    #[test]
    fn a_map_that_would_not_fit_is_refused_before_anything_is_done() {
        let before = partition(None, None, 100_000);
        let mut marks = Marks::new("dead", &before);
        let mut state = 1u32;
        let mut tokens = Vec::new();
        for offset in 0..before.end {
            let token = marks.deliver(&letter(offset, 0)).unwrap();
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            tokens.extend(token.filter(|_| state >> 31 == 1));
        }
        assert_eq!(marks.room_for(&tokens[..10]), Ok(()));
        assert_eq!(marks.room_for(&tokens), Err(MarksFault::MapTooLarge));
        assert!(marks.commit().is_ok(), "asking changes nothing");
    }
}
