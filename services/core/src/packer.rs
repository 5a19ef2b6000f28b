//! Gathers records into groups that travel together, each for as long as its delay allows.

use std::collections::{BTreeSet, HashMap};
use std::hash::Hash;

use bytes::Bytes;

use crate::batch;
use crate::clock::EpochMs;
use crate::record::Scheduled;

/// How long a record may wait to be packed: a quarter of the time that is left after `reserve_ms`
/// (arrival ahead of time, and the call itself), at most `max_wait_ms`.
#[must_use]
pub fn pack_by_ms(due_ms: EpochMs, now_ms: EpochMs, reserve_ms: i64, max_wait_ms: i64) -> EpochMs {
    let spare_ms = due_ms
        .saturating_sub(now_ms)
        .saturating_sub(reserve_ms)
        .max(0);
    now_ms.saturating_add((spare_ms / 4).min(max_wait_ms))
}

/// A group that is full, or whose time has come.
#[derive(Debug)]
pub struct Packed<K, T> {
    /// What its records share.
    pub key: K,
    /// The records, each with its ticket, in order of arrival.
    pub items: Vec<(Scheduled, T)>,
}

#[derive(Debug)]
struct Group<T> {
    items: Vec<(Scheduled, T)>,
    raw_bytes: usize,
    pack_by_ms: EpochMs,
}

/// Open groups. Bounded by whoever calls [`Packer::take_oldest`] when [`Packer::held_bytes`] is too much.
#[derive(Debug)]
pub struct Packer<K, T> {
    groups: HashMap<K, Group<T>>,
    deadlines: BTreeSet<(EpochMs, K)>,
    held_bytes: usize,
    max_raw_bytes: usize,
    max_records: usize,
}

impl<K: Clone + Eq + Hash + Ord, T> Packer<K, T> {
    /// Groups close at `max_raw_bytes` (memory of the records) or `max_records`.
    #[must_use]
    pub fn new(max_raw_bytes: usize, max_records: usize) -> Self {
        Self {
            groups: HashMap::new(),
            deadlines: BTreeSet::new(),
            held_bytes: 0,
            max_raw_bytes,
            max_records: max_records.max(1),
        }
    }

    /// Adds a record; answers with its group once that is full.
    pub fn push(
        &mut self,
        key: K,
        record: Scheduled,
        ticket: T,
        pack_by_ms: EpochMs,
    ) -> Option<Packed<K, T>> {
        let bytes = record.memory_bytes();
        self.held_bytes += bytes;
        let group = self.groups.entry(key.clone()).or_insert_with(|| Group {
            items: Vec::new(),
            raw_bytes: 0,
            pack_by_ms: EpochMs::MAX,
        });
        if pack_by_ms < group.pack_by_ms {
            self.deadlines.remove(&(group.pack_by_ms, key.clone()));
            self.deadlines.insert((pack_by_ms, key.clone()));
            group.pack_by_ms = pack_by_ms;
        }
        group.items.push((record, ticket));
        group.raw_bytes += bytes;
        if group.raw_bytes >= self.max_raw_bytes || group.items.len() >= self.max_records {
            return self.take(&key);
        }
        None
    }

    /// Groups whose time has come.
    pub fn take_due(&mut self, now_ms: EpochMs) -> Vec<Packed<K, T>> {
        let mut out = Vec::new();
        while self.next_deadline_ms().is_some_and(|at| at <= now_ms) {
            out.extend(self.take_oldest());
        }
        out
    }

    /// The group with the earliest deadline.
    pub fn take_oldest(&mut self) -> Option<Packed<K, T>> {
        let (_, key) = self.deadlines.first().cloned()?;
        self.take(&key)
    }

    /// When the next group must be packed.
    #[must_use]
    pub fn next_deadline_ms(&self) -> Option<EpochMs> {
        self.deadlines.first().map(|(at, _)| *at)
    }

    /// Drops the records whose ticket is not to be kept; answers with their memory.
    pub fn retain(&mut self, mut keep: impl FnMut(&T) -> bool) -> usize {
        let before = self.held_bytes;
        for group in self.groups.values_mut() {
            group.items.retain(|(_, ticket)| keep(ticket));
            let bytes: usize = group.items.iter().map(|(r, _)| r.memory_bytes()).sum();
            self.held_bytes -= group.raw_bytes - bytes;
            group.raw_bytes = bytes;
        }
        self.groups.retain(|key, group| {
            let kept = !group.items.is_empty();
            if !kept {
                self.deadlines.remove(&(group.pack_by_ms, key.clone()));
            }
            kept
        });
        before - self.held_bytes
    }

    /// Memory of the records held, in bytes.
    #[must_use]
    pub const fn held_bytes(&self) -> usize {
        self.held_bytes
    }

    fn take(&mut self, key: &K) -> Option<Packed<K, T>> {
        let group = self.groups.remove(key)?;
        self.deadlines.remove(&(group.pack_by_ms, key.clone()));
        self.held_bytes -= group.raw_bytes;
        Some(Packed {
            key: key.clone(),
            items: group.items,
        })
    }
}

/// Size limits of encoded batches, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SizeLimits {
    /// Where batches of several records are split.
    pub wanted_bytes: usize,
    /// What a single record may take.
    pub largest_bytes: usize,
    /// What several records may take in memory together, unpacked and with what they refer to.
    pub memory_bytes: usize,
    /// zstd level.
    pub zstd_level: i32,
}

/// An encoded batch and what is in it.
#[derive(Debug)]
pub struct EncodedBatch<T> {
    /// The encoded batch.
    pub bytes: Bytes,
    /// Its records.
    pub items: Vec<(Scheduled, T)>,
}

/// Encodes a group as batches within the limits, halving where it is too large; records that do not fit
/// alone are given back.
pub fn encode_within<T>(
    items: Vec<(Scheduled, T)>,
    limits: SizeLimits,
) -> (Vec<EncodedBatch<T>>, Vec<(Scheduled, T)>) {
    let (mut done, mut too_large) = (Vec::new(), Vec::new());
    let mut todo = vec![items];
    while let Some(mut items) = todo.pop() {
        if items.is_empty() {
            continue;
        }
        let (records, tickets): (Vec<_>, Vec<_>) = items.into_iter().unzip();
        let encoded = batch::encode(&records, limits.zstd_level);
        items = records.into_iter().zip(tickets).collect();
        let memory_bytes: usize = items.iter().map(|(r, _)| r.memory_bytes()).sum();
        let limit = match items.len() {
            1 => limits.largest_bytes,
            _ if memory_bytes > limits.memory_bytes => 0,
            _ => limits.wanted_bytes,
        };
        match encoded {
            Ok(bytes) if bytes.len() <= limit => done.push(EncodedBatch { bytes, items }),
            _ if items.len() == 1 => too_large.append(&mut items),
            _ => {
                let second = items.split_off(items.len() / 2);
                todo.push(second);
                todo.push(items);
            }
        }
    }
    (done, too_large)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{noise, scheduled};
    use proptest::prelude::*;

    #[test]
    fn a_group_leaves_when_it_is_full_or_its_time_has_come() {
        let mut packer = Packer::new(usize::MAX, 3);
        assert!(packer.push("a", scheduled(1), 0, 100).is_none());
        assert!(packer.push("b", scheduled(2), 1, 50).is_none());
        assert!(packer.push("a", scheduled(3), 2, 40).is_none());
        assert_eq!(packer.next_deadline_ms(), Some(40));
        assert_eq!(
            packer.push("a", scheduled(4), 3, 90).unwrap().items.len(),
            3
        );
        assert_eq!(packer.next_deadline_ms(), Some(50));
        assert!(packer.take_due(49).is_empty());
        assert_eq!(packer.take_due(50)[0].key, "b");
        assert_eq!((packer.held_bytes(), packer.next_deadline_ms()), (0, None));
    }

    #[test]
    fn a_record_too_large_alone_is_given_back() {
        let mut large = scheduled(1);
        large.record.value = Some(noise(5000).into());
        let limits = SizeLimits {
            wanted_bytes: 500,
            largest_bytes: 2000,
            memory_bytes: usize::MAX,
            zstd_level: 1,
        };
        let (done, too_large) = encode_within(
            vec![(scheduled(1), 1), (large, 2), (scheduled(2), 3)],
            limits,
        );
        assert_eq!(too_large.iter().map(|i| i.1).collect::<Vec<_>>(), [2]);
        assert_eq!(done.iter().map(|b| b.items.len()).sum::<usize>(), 2);
    }

    #[test]
    fn references_are_split_by_what_they_refer_to() {
        let reference = |n: i64| {
            let mut record = scheduled(n);
            record.payload = Some(crate::payload::PayloadRef {
                id: "p".into(),
                chunks: 3,
                record_bytes: 1_000_000,
            });
            (record, n)
        };
        let limits = SizeLimits {
            wanted_bytes: 200_000,
            largest_bytes: 200_000,
            memory_bytes: 4_000_000,
            zstd_level: 1,
        };
        let (done, too_large) = encode_within((0..40).map(reference).collect(), limits);
        assert!(too_large.is_empty());
        assert!(done.iter().all(|batch| batch.items.len() <= 3));
        assert_eq!(done.iter().map(|b| b.items.len()).sum::<usize>(), 40);
    }

    #[test]
    fn records_travel_together_as_far_as_memory_allows() {
        let pair = || vec![(scheduled(1), 0), (scheduled(2), 1)];
        let memory_bytes = pair().iter().map(|(r, _)| r.memory_bytes()).sum();
        let batches = |memory_bytes| {
            let limits = SizeLimits {
                wanted_bytes: 10_000,
                largest_bytes: 10_000,
                memory_bytes,
                zstd_level: 1,
            };
            encode_within(pair(), limits).0.len()
        };
        assert_eq!([batches(memory_bytes), batches(memory_bytes - 1)], [1, 2]);
    }

    #[test]
    fn what_is_left_of_a_group_is_not_full() {
        let one_bytes = scheduled(1).memory_bytes();
        let mut packer = Packer::new(3 * one_bytes, usize::MAX);
        for ticket in 0..2 {
            assert!(packer.push("a", scheduled(1), ticket, 100).is_none());
        }
        assert_eq!(packer.held_bytes(), 2 * one_bytes);
        assert_eq!(packer.retain(|ticket| *ticket == 1), one_bytes);
        assert_eq!(packer.held_bytes(), one_bytes);
        assert!(packer.push("a", scheduled(1), 2, 100).is_none());
        let full = packer.push("a", scheduled(1), 3, 100).unwrap();
        let tickets: Vec<_> = full.items.iter().map(|(_, ticket)| *ticket).collect();
        assert_eq!(tickets, [1, 2, 3]);
    }

    #[test]
    fn a_record_waits_for_a_quarter_of_its_time_at_most_so_long() {
        let by_ms = |ahead_ms: i64| pack_by_ms(1_000_000 + ahead_ms, 1_000_000, 2_000, 60_000);
        assert_eq!(by_ms(102_000), 1_025_000);
        assert_eq!(by_ms(242_000), 1_060_000);
        assert_eq!(by_ms(900_000), 1_060_000);
        for soon_ms in [2_003, 2_000, 0, -5_000] {
            assert_eq!(by_ms(soon_ms), 1_000_000, "{soon_ms}");
        }
    }

    proptest! {
        #[test]
        fn never_packed_so_late_that_it_costs_accuracy(due in 0i64..2_000_000, now in 0i64..2_000_000, reserve in 0i64..5_000, max in 0i64..60_000) {
            let by = pack_by_ms(due, now, reserve, max);
            prop_assert!(by >= now && by <= now + max);
            prop_assert!(by == now || by <= due - reserve);
        }

        #[test]
        fn everything_pushed_comes_out_once(pushes in prop::collection::vec((0u8..5, 0i64..1000, any::<bool>()), 0..300), drop_every in 2usize..7) {
            let mut packer = Packer::new(3_000, 8);
            let mut out = Vec::new();
            for (ticket, (key, by, take)) in pushes.iter().enumerate() {
                out.extend(packer.push(*key, scheduled(i64::from(*key)), ticket, *by));
                if *take { out.extend(packer.take_due(*by)); }
                prop_assert!(packer.next_deadline_ms().is_none_or(|at| !*take || at > *by));
            }
            let mut seen: Vec<usize> = out.iter().flat_map(|p| p.items.iter().map(|i| i.1)).collect();
            packer.retain(|ticket| ticket % drop_every != 0);
            out.clear();
            while let Some(group) = packer.take_oldest() { out.push(group); }
            let rest: Vec<usize> = out.iter().flat_map(|p| p.items.iter().map(|i| i.1)).collect();
            prop_assert!(rest.iter().all(|t| t % drop_every != 0));
            seen.extend(rest);
            seen.sort_unstable();
            let expected: Vec<usize> = (0..pushes.len()).filter(|t| t % drop_every != 0 || seen.contains(t)).collect();
            prop_assert_eq!(seen, expected);
            prop_assert_eq!(packer.held_bytes(), 0);
        }

        #[test]
        fn encoding_keeps_every_record_within_the_limit(sizes in prop::collection::vec(0usize..3000, 0..30), wanted in 400usize..4000) {
            let items: Vec<_> = sizes.iter().enumerate().map(|(i, size)| {
                let mut r = scheduled(i as i64);
                r.record.value = Some((0..*size).map(|b| ((b * 2_654_435_761usize) >> 7) as u8).collect());
                (r, i)
            }).collect();
            let limits = SizeLimits { wanted_bytes: wanted, largest_bytes: 5000, memory_bytes: usize::MAX, zstd_level: 1 };
            let (done, too_large) = encode_within(items, limits);
            prop_assert!(too_large.is_empty());
            for batch in &done { prop_assert!(batch.bytes.len() <= wanted || batch.items.len() == 1); }
            let order: Vec<_> = done.iter().flat_map(|b| b.items.iter().map(|i| i.1)).collect();
            prop_assert_eq!(order, (0..sizes.len()).collect::<Vec<_>>());
        }
    }
}
