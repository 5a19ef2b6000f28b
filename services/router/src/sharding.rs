//! Which shard a record of the long tier goes to.
//!
//! Few records are cheap in company only: a bucket's records go to one shard, its home, while they would be small batches in each.
//! A bucket that fills batches, or would fill them well in every shard, is spread over all of them, so that several holders hand it over. Buckets take turns as to
//! where their home is. Either way copies of one record meet in one shard, where the handover drops them, unless the bucket became
//! wide or narrow between the two.

use delayq_core::bucket::{Bucket, home_shard, shard_of};
use delayq_core::clock::EpochMs;
use delayq_core::record::TopicPartition;
use rustc_hash::FxHashMap;

use crate::long::LongKey;

/// Encoded bytes of a batch that gains little by more company: `DynamoDB` bills whole KB, so half of one is lost, and zstd has
/// seen tens of records.
pub const WELL_FILLED_BYTES: usize = 8 * 1024;
/// How long a bucket stays wide after its last batch that was well filled: longer than records wait for company.
const WIDE_FOR_MS: EpochMs = 5 * 60_000;

/// Narrow and wide buckets. Knows the wide ones: those written to much in the last minutes.
#[derive(Debug)]
pub struct Sharding {
    shards: u32,
    wide_until_ms: FxHashMap<Bucket, EpochMs>,
}

impl Sharding {
    /// All buckets are narrow.
    #[must_use]
    pub fn new(shards: u32) -> Self {
        Self {
            shards,
            wide_until_ms: FxHashMap::default(),
        }
    }

    /// The key under which a record is packed.
    #[must_use]
    pub fn key(&self, bucket: Bucket, source: &TopicPartition, now_ms: EpochMs) -> LongKey {
        let shard = if self.is_wide(bucket, now_ms) {
            shard_of(source, self.shards)
        } else {
            home_shard(bucket, self.shards)
        };
        LongKey { bucket, shard }
    }

    /// A full group of the bucket leaves.
    pub fn filled(&mut self, bucket: Bucket, now_ms: EpochMs) {
        let until_ms = now_ms.saturating_add(WIDE_FOR_MS);
        if self.shards > 1 && self.wide_until_ms.insert(bucket, until_ms).is_none() {
            self.wide_until_ms.retain(|_, until_ms| *until_ms > now_ms);
        }
    }

    /// A group leaves with so many bytes of memory, where `well_filled_bytes` make a batch that needs no more company.
    pub fn left(&mut self, key: LongKey, bytes: usize, well_filled_bytes: usize, now_ms: EpochMs) {
        let parts = match self.is_wide(key.bucket, now_ms) {
            true => 1,
            false => usize::try_from(self.shards).unwrap_or(usize::MAX),
        };
        if bytes >= well_filled_bytes.saturating_mul(parts) {
            self.filled(key.bucket, now_ms);
        }
    }

    /// How many buckets are wide, or were a moment ago.
    #[must_use]
    pub fn wide(&self) -> usize {
        self.wide_until_ms.len()
    }

    fn is_wide(&self, bucket: Bucket, now_ms: EpochMs) -> bool {
        self.wide_until_ms
            .get(&bucket)
            .is_some_and(|until_ms| *until_ms > now_ms)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WELL_FILLED: usize = 1_000;

    fn source(partition: i32) -> TopicPartition {
        TopicPartition::new("orders.delay", partition)
    }

    fn shards_of(sharding: &Sharding, bucket: i64, now_ms: EpochMs) -> Vec<u32> {
        let mut shards: Vec<u32> = (0..8)
            .map(|partition| sharding.key(Bucket(bucket), &source(partition), now_ms))
            .map(|key| key.shard.0)
            .collect();
        shards.sort_unstable();
        shards.dedup();
        shards
    }

    #[test]
    fn few_records_of_a_bucket_share_a_shard_and_buckets_take_turns() {
        let sharding = Sharding::new(4);
        let homes: Vec<_> = (8..13).map(|b| shards_of(&sharding, b, 0)).collect();
        assert_eq!(homes, [[0], [1], [2], [3], [0]]);
    }

    #[test]
    fn a_bucket_that_fills_batches_in_each_shard_is_spread_until_it_no_longer_does() {
        let mut sharding = Sharding::new(4);
        let key = |sharding: &Sharding, now| sharding.key(Bucket(5), &source(0), now);
        let home = key(&sharding, 0);
        sharding.left(home, 4 * WELL_FILLED - 1, WELL_FILLED, 0);
        assert_eq!((shards_of(&sharding, 5, 0), sharding.wide()), (vec![1], 0));
        sharding.left(home, 4 * WELL_FILLED, WELL_FILLED, 0);
        assert_eq!(shards_of(&sharding, 5, 0), [0, 1, 2, 3]);
        assert_eq!(shards_of(&sharding, 6, 0), [2], "it alone");
        // A part that is well filled keeps it wide, a smaller one does not.
        let later_ms = WIDE_FOR_MS - 1;
        sharding.left(key(&sharding, later_ms), WELL_FILLED, WELL_FILLED, later_ms);
        let end_ms = later_ms + WIDE_FOR_MS;
        sharding.left(
            key(&sharding, end_ms - 1),
            WELL_FILLED - 1,
            WELL_FILLED,
            end_ms - 1,
        );
        assert_eq!(shards_of(&sharding, 5, end_ms - 1), [0, 1, 2, 3]);
        assert_eq!(shards_of(&sharding, 5, end_ms), [1]);
        // Forgotten with the next that becomes wide.
        sharding.left(key(&sharding, end_ms), 4 * WELL_FILLED, WELL_FILLED, end_ms);
        let other = sharding.key(Bucket(9), &source(0), 2 * end_ms);
        sharding.left(other, 4 * WELL_FILLED, WELL_FILLED, 2 * end_ms);
        assert_eq!(sharding.wide(), 1);
    }

    #[test]
    fn a_full_group_makes_its_bucket_wide_however_small() {
        let mut sharding = Sharding::new(1_000);
        sharding.filled(Bucket(5), 0);
        assert_eq!(shards_of(&sharding, 5, 0).len(), 8);
    }

    #[test]
    fn one_shard_is_never_wide() {
        let mut sharding = Sharding::new(1);
        sharding.filled(Bucket(5), 0);
        sharding.left(sharding.key(Bucket(5), &source(3), 0), usize::MAX, 1, 0);
        assert_eq!((shards_of(&sharding, 5, 0), sharding.wide()), (vec![0], 0));
    }

    #[test]
    fn a_shard_is_one_of_those_there_are() {
        for shards in 1..40 {
            let mut sharding = Sharding::new(shards);
            for bucket in [i64::MIN, -1, 0, 5_666_666, i64::MAX] {
                let of = |sharding: &Sharding| shards_of(sharding, bucket, 0);
                assert!(of(&sharding).into_iter().all(|shard| shard < shards));
                sharding.filled(Bucket(bucket), 0);
                assert!(of(&sharding).into_iter().all(|shard| shard < shards));
            }
        }
    }
}
