//! Spreads the writes of a hot bucket: a DynamoDB partition key takes 1 MB/s, so what exceeds that within a
//! second goes to the next sub-partition. The handover reads all 16.
//! <https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/bp-partition-key-design.html>

use std::collections::HashMap;

use delayq_core::bucket::{Bucket, SUB_PARTITIONS, ShardId};
use delayq_core::clock::EpochMs;

/// Three quarters of the limit: other routers write to the same keys.
const BYTES_PER_KEY_AND_SECOND: usize = 750_000;

/// Bytes written in the current second, by bucket and shard.
#[derive(Debug, Default)]
pub struct HotKeys {
    second: i64,
    written_bytes: HashMap<(Bucket, ShardId), usize>,
}

impl HotKeys {
    /// The sub-partition for a write of `bytes`.
    pub fn sub_partition(
        &mut self,
        bucket: Bucket,
        shard: ShardId,
        bytes: usize,
        now_ms: EpochMs,
    ) -> u8 {
        let second = now_ms.div_euclid(1000);
        if second != self.second {
            self.second = second;
            self.written_bytes.clear();
        }
        let written = self.written_bytes.entry((bucket, shard)).or_default();
        let sub = *written / BYTES_PER_KEY_AND_SECOND;
        *written += bytes;
        // Hotter than 16 keys can take: throttling slows the input, as it must.
        u8::try_from(sub).unwrap_or(u8::MAX) % SUB_PARTITIONS
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cool_bucket_stays_on_one_key_and_a_hot_one_spreads() {
        let mut keys = HotKeys::default();
        let mut sub = |now, bytes| keys.sub_partition(Bucket(1), ShardId(0), bytes, now);
        assert_eq!((0..10).map(|i| sub(i * 1000, 700_000)).max(), Some(0));
        let hot: Vec<_> = (0..40).map(|_| sub(20_000, 350_000)).collect();
        assert_eq!(hot.iter().max(), Some(&15));
        assert_eq!(sub(21_000, 1), 0);
    }
}
