//! Gathers records into groups that travel together, each for as long as its delay allows.

use std::collections::BTreeSet;
use std::hash::Hash;
use std::sync::atomic::{AtomicU32, Ordering};

use bytes::Bytes;
use rustc_hash::FxHashMap;

use crate::batch;
use crate::clock::EpochMs;
use crate::record::Scheduled;

/// How long a record may wait to be packed: half of the time that is left after `reserve_ms`
/// (arrival ahead of time, and the call itself), at most `max_wait_ms`. The other half is for tries that fail.
#[must_use]
pub fn pack_by_ms(due_ms: EpochMs, now_ms: EpochMs, reserve_ms: i64, max_wait_ms: i64) -> EpochMs {
    let spare_ms = due_ms
        .saturating_sub(now_ms)
        .saturating_sub(reserve_ms)
        .max(0);
    now_ms.saturating_add((spare_ms / 2).min(max_wait_ms))
}

/// A group that is full, or whose time has come.
#[derive(Debug)]
pub struct Packed<K, T> {
    /// What its records share.
    pub key: K,
    /// The records, each with its ticket, in order of arrival.
    pub items: Vec<(Scheduled, T)>,
}

impl<K, T> Packed<K, T> {
    /// Memory of the records, in bytes.
    #[must_use]
    pub fn memory_bytes(&self) -> usize {
        memory_of(&self.items)
    }
}

fn memory_of<T>(items: &[(Scheduled, T)]) -> usize {
    items.iter().map(|(r, _)| r.memory_bytes()).sum()
}

#[derive(Debug)]
struct Group<T> {
    items: Vec<(Scheduled, T)>,
    raw_bytes: usize,
    pack_by_ms: EpochMs,
}

/// Open groups. Bounded by whoever calls [`Packer::take_fullest`] when [`Packer::held_bytes`] is too much.
#[derive(Debug)]
pub struct Packer<K, T> {
    groups: FxHashMap<K, Group<T>>,
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
            groups: FxHashMap::default(),
            deadlines: BTreeSet::new(),
            held_bytes: 0,
            max_raw_bytes,
            max_records: max_records.max(1),
        }
    }

    /// Groups that grow from now on close at `max_raw_bytes`.
    pub const fn close_at(&mut self, max_raw_bytes: usize) {
        self.max_raw_bytes = max_raw_bytes;
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

    /// The fullest groups, until they hold `bytes` together: what has to go to make room costs least in large batches. Looks at
    /// every group, so ask for many at once.
    pub fn take_fullest(&mut self, bytes: usize) -> Vec<Packed<K, T>> {
        let mut sizes: Vec<(usize, K)> = self
            .groups
            .iter()
            .map(|(key, group)| (group.raw_bytes, key.clone()))
            .collect();
        sizes.sort_unstable_by(|a, b| b.cmp(a));
        let mut freed = 0;
        let mut out = Vec::new();
        for (raw_bytes, key) in sizes {
            if freed >= bytes {
                break;
            }
            freed += raw_bytes;
            out.extend(self.take(&key));
        }
        out
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
            let bytes = memory_of(&group.items);
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

/// How large batches turn out, learnt from the last ones: encoded bytes for each byte of memory. What is too large is
/// encoded again in parts, so that a good guess saves most of the work.
#[derive(Debug)]
pub struct PackingRatio(AtomicU32);

/// JSON events of about 1 KiB.
const RATIO_FIRST: f32 = 0.25;
/// How fast it follows.
const RATIO_WEIGHT: f32 = 0.2;

impl Default for PackingRatio {
    fn default() -> Self {
        Self(AtomicU32::new(RATIO_FIRST.to_bits()))
    }
}

impl PackingRatio {
    /// Encoded bytes for a byte of memory.
    #[must_use]
    pub fn get(&self) -> f32 {
        f32::from_bits(self.0.load(Ordering::Relaxed))
    }

    /// What a batch turned out to be. Two at once may lose one: it is a guess.
    fn learn(&self, memory_bytes: usize, encoded_bytes: usize) {
        let seen = encoded_bytes as f32 / memory_bytes.max(1) as f32;
        let known = self.get();
        let next = known + (seen - known) * RATIO_WEIGHT;
        self.0.store(next.to_bits(), Ordering::Relaxed);
    }

    /// What `memory_bytes` are expected to be, encoded.
    fn encoded_bytes(&self, memory_bytes: usize) -> usize {
        (memory_bytes as f32 * self.get()) as usize
    }

    /// The memory of records that are expected to fill `encoded_bytes`, with a little to spare.
    #[must_use]
    pub fn memory_bytes(&self, encoded_bytes: usize) -> usize {
        (encoded_bytes as f32 * SPARE / self.get().max(0.001)) as usize
    }
}

/// Of the room, what is aimed at: batches vary.
const SPARE: f32 = 0.92;

/// Encodes a group as batches within the limits, in as many parts as they are expected to take; records that do not fit
/// alone are given back.
pub fn encode_within<T>(
    items: Vec<(Scheduled, T)>,
    limits: SizeLimits,
    ratio: &PackingRatio,
) -> (Vec<EncodedBatch<T>>, Vec<(Scheduled, T)>) {
    let (mut done, mut too_large) = (Vec::new(), Vec::new());
    let mut todo = vec![items];
    while let Some(mut items) = todo.pop() {
        if items.is_empty() {
            continue;
        }
        let memory_bytes = memory_of(&items);
        if items.len() > 1 {
            let room = limits
                .memory_bytes
                .min(ratio.memory_bytes(limits.wanted_bytes));
            if memory_bytes > limits.memory_bytes
                || ratio.encoded_bytes(memory_bytes) > limits.wanted_bytes
            {
                split(items, memory_bytes.div_ceil(room.max(1)), &mut todo);
                continue;
            }
        }
        let limit = match items.len() {
            1 => limits.largest_bytes,
            _ => limits.wanted_bytes,
        };
        match batch::encode(&items, limits.zstd_level) {
            Ok(bytes) if bytes.len() <= limit => {
                ratio.learn(memory_bytes, bytes.len());
                done.push(EncodedBatch { bytes, items });
            }
            _ if items.len() == 1 => too_large.append(&mut items),
            Ok(bytes) => {
                ratio.learn(memory_bytes, bytes.len());
                let room = (limits.wanted_bytes as f32 * SPARE) as usize;
                split(items, bytes.len().div_ceil(room.max(1)), &mut todo);
            }
            Err(_) => split(items, 2, &mut todo),
        }
    }
    (done, too_large)
}

/// In at least two parts of about as many records; the first comes off `todo` first.
fn split<T>(items: Vec<T>, parts: usize, todo: &mut Vec<Vec<T>>) {
    let size = items.len().div_ceil(parts.max(2)).max(1);
    let mut items = items.into_iter();
    let at = todo.len();
    loop {
        let part: Vec<T> = items.by_ref().take(size).collect();
        if part.is_empty() {
            break;
        }
        todo.push(part);
    }
    if let Some(parts) = todo.get_mut(at..) {
        parts.reverse();
    }
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
    fn a_group_takes_the_memory_of_its_records_along() {
        let mut packer = Packer::new(usize::MAX, 100);
        for _ in 0..3 {
            packer.push("a", scheduled(1), (), 10);
        }
        packer.push("b", scheduled(1), (), 20);
        let held_bytes = packer.held_bytes();
        let [group] = &packer.take_due(10)[..] else {
            panic!("one group is due")
        };
        assert_eq!(group.memory_bytes(), 3 * scheduled(1).memory_bytes());
        assert_eq!(packer.held_bytes() + group.memory_bytes(), held_bytes);
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
            &PackingRatio::default(),
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
        let (done, too_large) = encode_within(
            (0..40).map(reference).collect(),
            limits,
            &PackingRatio::default(),
        );
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
            encode_within(pair(), limits, &PackingRatio::default())
                .0
                .len()
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
    fn a_record_waits_for_half_of_its_time_at_most_so_long() {
        let by_ms = |ahead_ms: i64| pack_by_ms(1_000_000 + ahead_ms, 1_000_000, 2_000, 60_000);
        assert_eq!(by_ms(102_000), 1_050_000);
        assert_eq!(by_ms(122_000), 1_060_000);
        assert_eq!(by_ms(900_000), 1_060_000);
        for soon_ms in [2_001, 2_000, 0, -5_000] {
            assert_eq!(by_ms(soon_ms), 1_000_000, "{soon_ms}");
        }
    }

    #[test]
    fn a_group_closes_where_it_is_told_to() {
        let one_bytes = scheduled(1).memory_bytes();
        let mut packer = Packer::new(10 * one_bytes, usize::MAX);
        assert!(packer.push("a", scheduled(1), 0, 100).is_none());
        packer.close_at(2 * one_bytes);
        let full = packer.push("a", scheduled(1), 1, 100).unwrap();
        assert_eq!(full.items.len(), 2);
    }

    #[test]
    fn a_fifth_of_what_is_new_is_learnt() {
        let ratio = PackingRatio::default();
        assert_eq!(ratio.get(), 0.25);
        ratio.learn(1000, 500);
        assert!((ratio.get() - 0.3).abs() < 1e-6, "{}", ratio.get());
        ratio.learn(0, 0);
        assert!((ratio.get() - 0.24).abs() < 1e-6, "{}", ratio.get());
        assert_eq!(ratio.encoded_bytes(1000), 240);
        assert_eq!(ratio.memory_bytes(240), 920);
    }

    #[test]
    fn a_ratio_that_was_learnt_spares_second_tries() {
        let noisy = |n: i64| {
            let mut record = scheduled(n);
            record.record.value = Some(noise(1000).into());
            (record, n)
        };
        let limits = SizeLimits {
            wanted_bytes: 10_000,
            largest_bytes: 10_000,
            memory_bytes: usize::MAX,
            zstd_level: 1,
        };
        let ratio = PackingRatio::default();
        let fill = |ratio: &PackingRatio| {
            // Each value is other noise: nothing compresses.
            let items: Vec<_> = (0..400)
                .map(|n| {
                    let (mut record, n) = noisy(n);
                    let value: Vec<u8> = noise(1400).split_off(usize::try_from(n).unwrap());
                    record.record.value = Some(value.into());
                    (record, n)
                })
                .collect();
            encode_within(items, limits, ratio).0
        };
        let first = ratio.get();
        let batches = fill(&ratio);
        assert!(batches.iter().all(|batch| batch.bytes.len() <= 10_000));
        assert!(ratio.get() != first, "learnt");
        let memory = ratio.memory_bytes(10_000);
        assert!(ratio.encoded_bytes(memory) <= 10_000);
        assert!(ratio.encoded_bytes(memory) > 8_500, "well filled");
    }

    #[test]
    fn room_is_made_by_the_fullest_groups() {
        let mut packer = Packer::new(1_000_000, 100);
        // Groups of 1 to 5 records, the small ones due first.
        for key in 1..=5_u8 {
            for _ in 0..key {
                packer.push(key, scheduled(0), (), i64::from(key));
            }
        }
        let one_bytes = scheduled(0).memory_bytes();
        let keys = |groups: Vec<Packed<u8, ()>>| groups.iter().map(|g| g.key).collect::<Vec<_>>();
        assert_eq!(keys(packer.take_fullest(0)), []);
        assert_eq!(keys(packer.take_fullest(one_bytes * 6)), [5, 4]);
        assert_eq!(packer.held_bytes(), one_bytes * 6);
        assert_eq!(keys(packer.take_due(1)), [1]);
        assert_eq!(keys(packer.take_fullest(usize::MAX)), [3, 2]);
        assert_eq!((packer.held_bytes(), packer.next_deadline_ms()), (0, None));
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
            let (done, too_large) = encode_within(items, limits, &PackingRatio::default());
            prop_assert!(too_large.is_empty());
            for batch in &done { prop_assert!(batch.bytes.len() <= wanted || batch.items.len() == 1); }
            let order: Vec<_> = done.iter().flat_map(|b| b.items.iter().map(|i| i.1)).collect();
            prop_assert_eq!(order, (0..sizes.len()).collect::<Vec<_>>());
        }
    }
}
