//! Which records of a partition are finished: only the contiguous head is committed.
//!
//! "Contiguous" means in order of delivery: control records, aborted transactions and compaction leave gaps
//! in the numbers that will never be delivered.

use std::collections::VecDeque;

/// Finished offsets beyond the committed one, as inclusive ranges in ascending order.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct FinishedMap {
    ranges: Vec<(i64, i64)>,
}

impl FinishedMap {
    /// From inclusive ranges; they must ascend and not touch the ones before.
    #[must_use]
    pub fn from_ranges(ranges: Vec<(i64, i64)>) -> Option<Self> {
        let valid = ranges.iter().all(|(from, to)| from <= to)
            && ranges
                .iter()
                .zip(ranges.iter().skip(1))
                .all(|(a, b)| a.1 < b.0);
        valid.then_some(Self { ranges })
    }

    /// The ranges.
    #[must_use]
    pub fn ranges(&self) -> &[(i64, i64)] {
        &self.ranges
    }

    /// Whether `offset` is finished.
    #[must_use]
    pub fn contains(&self, offset: i64) -> bool {
        let after = self.ranges.partition_point(|(from, _)| *from <= offset);
        after
            .checked_sub(1)
            .and_then(|i| self.ranges.get(i))
            .is_some_and(|(_, to)| offset <= *to)
    }

    /// Whether nothing is finished beyond the head.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.ranges.is_empty()
    }

    /// Its first `count` ranges.
    #[must_use]
    pub fn first(&self, count: usize) -> Self {
        Self {
            ranges: self.ranges.iter().take(count).copied().collect(),
        }
    }

    /// This map up to `last`, and what `earlier` says of the offsets behind it.
    #[must_use]
    pub fn continued_by(mut self, earlier: &Self, last: i64) -> Self {
        let behind = earlier.ranges.iter().filter(|(_, to)| *to > last);
        for (from, to) in behind.map(|(from, to)| ((*from).max(last + 1), *to)) {
            match self.ranges.last_mut() {
                Some(range) if range.1 + 1 == from => range.1 = to,
                _ => self.ranges.push((from, to)),
            }
        }
        self
    }
}

/// Names one delivery of one record within its tracker.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Token(u64);

#[derive(Debug, Clone, Copy)]
struct Entry {
    offset: i64,
    delivered_ms: i64,
    finished: bool,
}

/// The offsets of one partition from the head on, for the time of one assignment.
#[derive(Debug, Clone, Default)]
pub struct OffsetTracker {
    entries: VecDeque<Entry>,
    /// Token of the first entry.
    first: u64,
    /// Next offset to commit, once anything is finished or a committed offset is known.
    head: Option<i64>,
    unfinished: usize,
}

impl OffsetTracker {
    /// A tracker for a partition whose committed offset is `committed`.
    #[must_use]
    pub fn new(committed: Option<i64>) -> Self {
        Self {
            head: committed,
            ..Self::default()
        }
    }

    /// A record was delivered, at `delivered_ms` by a clock of the caller's. `None` when its offset does not ascend: it was
    /// delivered before in this assignment.
    pub fn deliver(&mut self, offset: i64, delivered_ms: i64) -> Option<Token> {
        if self.last().is_some_and(|last| offset <= last) {
            return None;
        }
        let token = Token(self.first + self.entries.len() as u64);
        self.entries.push_back(Entry {
            offset,
            delivered_ms,
            finished: false,
        });
        self.unfinished += 1;
        Some(token)
    }

    /// The record reached its end, confirmed. `false` when it had already.
    pub fn finish(&mut self, token: Token) -> bool {
        let Some(index) = token
            .0
            .checked_sub(self.first)
            .and_then(|i| usize::try_from(i).ok())
        else {
            return false;
        };
        let Some(entry) = self.entries.get_mut(index) else {
            return false;
        };
        if entry.finished {
            return false;
        }
        entry.finished = true;
        self.unfinished -= 1;
        while let Some(entry) = self.entries.front().filter(|e| e.finished) {
            self.head = Some(entry.offset + 1);
            self.first += 1;
            self.entries.pop_front();
        }
        true
    }

    /// Next offset to commit: everything delivered before it is finished.
    #[must_use]
    pub const fn head(&self) -> Option<i64> {
        self.head
    }

    /// The last offset that was delivered, or finished before this assignment.
    #[must_use]
    pub fn last(&self) -> Option<i64> {
        let delivered = self.entries.back().map(|e| e.offset);
        delivered.or(self.head.map(|head| head - 1))
    }

    /// Delivered and not finished.
    #[must_use]
    pub const fn unfinished(&self) -> usize {
        self.unfinished
    }

    /// The oldest unfinished record: its offset, and when it was delivered.
    #[must_use]
    pub fn oldest_unfinished(&self) -> Option<(i64, i64)> {
        self.entries.front().map(|e| (e.offset, e.delivered_ms))
    }

    /// What is finished beyond the head. A range spans gaps in the numbers: nothing in them will be delivered.
    #[must_use]
    pub fn finished_beyond_head(&self) -> FinishedMap {
        let mut ranges: Vec<(i64, i64)> = Vec::new();
        let mut open = false;
        for entry in &self.entries {
            match (entry.finished, open, ranges.last_mut()) {
                (true, true, Some(range)) => range.1 = entry.offset,
                (true, _, _) => ranges.push((entry.offset, entry.offset)),
                (false, _, _) => {}
            }
            open = entry.finished;
        }
        FinishedMap { ranges }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    #[test]
    fn ranges_that_descend_or_touch_are_no_map() {
        let map = |ranges: &[(i64, i64)]| FinishedMap::from_ranges(ranges.to_vec());
        assert!(map(&[(1, 1), (3, 5)]).is_some() && map(&[]).is_some());
        for bad in [
            &[(2, 1)][..],
            &[(1, 3), (3, 5)],
            &[(4, 5), (1, 2)],
            &[(1, 2), (5, 4)],
        ] {
            assert_eq!(map(bad), None, "{bad:?}");
        }
    }

    #[test]
    fn head_passes_gaps_in_order_of_delivery() {
        let mut tracker = OffsetTracker::new(Some(5));
        let tokens: Vec<_> = [5, 6, 9, 12]
            .iter()
            .map(|o| tracker.deliver(*o, *o * 10).unwrap())
            .collect();
        tracker.finish(tokens[1]);
        tracker.finish(tokens[2]);
        assert_eq!(tracker.head(), Some(5));
        assert_eq!(tracker.finished_beyond_head().ranges(), [(6, 9)]);
        tracker.finish(tokens[0]);
        assert_eq!(
            tracker.head(),
            Some(10),
            "nothing between 9 and 12 will come"
        );
        assert!(tracker.finished_beyond_head().is_empty());
        assert_eq!(
            tracker.deliver(12, 0),
            None,
            "redelivered within the assignment"
        );
        assert_eq!(tracker.deliver(3, 0), None, "before the head");
        assert!(!tracker.finish(tokens[0]), "finished twice");
    }

    #[test]
    fn what_an_earlier_map_says_of_later_offsets_is_kept() {
        let map = |ranges: &[(i64, i64)]| FinishedMap::from_ranges(ranges.to_vec()).unwrap();
        let earlier = map(&[(6, 9), (12, 12), (15, 20)]);
        let kept = |mine: &[(i64, i64)], last| map(mine).continued_by(&earlier, last);
        assert_eq!(kept(&[], 5), earlier);
        assert_eq!(kept(&[(6, 7)], 7), earlier, "joined where it was cut");
        assert_eq!(kept(&[], 7).ranges(), [(8, 9), (12, 12), (15, 20)]);
        assert_eq!(kept(&[(10, 11)], 13).ranges(), [(10, 11), (15, 20)]);
        assert_eq!(kept(&[(7, 7)], 20).ranges(), [(7, 7)]);
    }

    proptest! {
        #[test]
        fn nothing_unfinished_is_ever_passed(
            gaps in prop::collection::vec(1i64..4, 1..200),
            order in prop::collection::vec(any::<prop::sample::Index>(), 0..300),
        ) {
            let mut tracker = OffsetTracker::new(None);
            let mut offset = 0;
            let mut delivered = Vec::new();
            for gap in gaps { offset += gap; delivered.push((offset, tracker.deliver(offset, offset + 7).unwrap())); }
            let mut done = BTreeSet::new();
            for index in order {
                let (offset, token) = delivered[index.index(delivered.len())];
                prop_assert_eq!(tracker.finish(token), done.insert(offset));
                let first_open = delivered.iter().map(|d| d.0).find(|o| !done.contains(o));
                if let Some(head) = tracker.head() {
                    prop_assert!(first_open.is_none_or(|open| head <= open));
                    prop_assert!(done.range(..head).count() == delivered.iter().filter(|d| d.0 < head).count());
                }
                let map = tracker.finished_beyond_head();
                prop_assert!(FinishedMap::from_ranges(map.ranges().to_vec()).is_some());
                for (offset, _) in &delivered {
                    let finished = tracker.head().is_some_and(|h| *offset < h) || map.contains(*offset);
                    prop_assert_eq!(finished, done.contains(offset));
                }
                prop_assert_eq!(tracker.unfinished(), delivered.len() - done.len());
                prop_assert_eq!(tracker.oldest_unfinished(), first_open.map(|open| (open, open + 7)));
            }
        }
    }
}
