//! Buckets and shards of the long tier: which key a batch is written to.

use std::fmt;

use crate::clock::EpochMs;
use crate::record::TopicPartition;

/// Number of sub-partitions over which a hot bucket is spread; the handover reads them all.
pub const SUB_PARTITIONS: u8 = 16;

/// A span of due times, numbered from the Unix epoch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Bucket(pub i64);

impl Bucket {
    /// The bucket that holds `at_ms`.
    #[must_use]
    pub const fn of(at_ms: EpochMs, bucket_ms: i64) -> Self {
        Self(at_ms.div_euclid(bucket_ms))
    }

    /// Its first millisecond.
    #[must_use]
    pub const fn start_ms(self, bucket_ms: i64) -> EpochMs {
        self.0.saturating_mul(bucket_ms)
    }

    /// The bucket after this one.
    #[must_use]
    pub const fn next(self) -> Self {
        Self(self.0 + 1)
    }

    /// The bucket before this one.
    #[must_use]
    pub const fn previous(self) -> Self {
        Self(self.0 - 1)
    }
}

/// A slice of the long tier with its own watermark and holder.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ShardId(pub u32);

impl fmt::Display for ShardId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// The shard of a source's records in a bucket of many: `(hash(topic) + partition) mod shards`, so that neighbouring partitions land
/// on different shards.
#[must_use]
pub fn shard_of(source: &TopicPartition, shards: u32) -> ShardId {
    let hash = u64::from(crc32c::crc32c(source.topic.as_bytes()));
    let partition = u64::try_from(source.partition.max(0)).unwrap_or(0);
    let shard = (hash + partition) % u64::from(shards.max(1));
    ShardId(u32::try_from(shard).unwrap_or(0))
}

/// The shard of all records of a bucket while they are few: neighbouring buckets land on different shards.
#[must_use]
pub fn home_shard(bucket: Bucket, shards: u32) -> ShardId {
    let shard = bucket.0.rem_euclid(i64::from(shards.max(1)));
    ShardId(u32::try_from(shard).unwrap_or(0))
}

/// Key of a batch: `bucket#shard#sub`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct BucketKey {
    /// Bucket.
    pub bucket: Bucket,
    /// Shard.
    pub shard: ShardId,
    /// Sub-partition, 0 unless the bucket is hot.
    pub sub: u8,
}

impl fmt::Display for BucketKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}#{}#{}", self.bucket.0, self.shard, self.sub)
    }
}

/// Sort key of a batch: first due time, then who wrote it, then its sequence number.
#[must_use]
pub fn sort_key(first_due_ms: EpochMs, writer: &str, sequence: u64) -> String {
    format!("{:015}#{writer}#{sequence:012}", first_due_ms.max(0))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Routers and schedulers of all versions must agree on them: they name rows that are stored.
    #[test]
    fn keys_are_for_ever() {
        let source = TopicPartition::new("orders.delay", 2);
        let shard = shard_of(&source, 1_000);
        assert_eq!(shard, ShardId(271));
        let key = BucketKey {
            bucket: Bucket(5_666_666),
            shard,
            sub: 3,
        };
        assert_eq!(key.to_string(), "5666666#271#3");
        assert_eq!(
            sort_key(1_700_000_000_123, "router-1", 42),
            "001700000000123#router-1#000000000042"
        );
    }

    proptest! {
        #[test]
        fn a_bucket_holds_its_times(at in -1_000_000_000_000i64..10_000_000_000_000, len in 1i64..1_000_000_000) {
            let bucket = Bucket::of(at, len);
            prop_assert!(bucket.start_ms(len) <= at && at < bucket.next().start_ms(len));
            prop_assert_eq!(bucket.next().previous(), bucket);
        }

        #[test]
        fn shards_are_in_range_and_neighbours_differ(topic in "[a-z.]{1,20}", partition in 0i32..1000, shards in 2u32..64) {
            let here = shard_of(&TopicPartition::new(topic.as_str(), partition), shards);
            let next = shard_of(&TopicPartition::new(topic.as_str(), partition + 1), shards);
            prop_assert!(here.0 < shards);
            prop_assert_ne!(here, next);
        }

        #[test]
        fn sort_keys_sort_by_due(a in 0i64..100_000_000_000_000, b in 0i64..100_000_000_000_000) {
            prop_assert_eq!(a.cmp(&b), sort_key(a, "w", 9).cmp(&sort_key(b, "w", 9)));
        }
    }
}
