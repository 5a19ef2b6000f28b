//! `[long]`: the tier for delays beyond SQS.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::check::{DAY, count_between, duration_between};
use super::fault::ConfigErrors;

/// `[long]`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LongConfig {
    /// Shards new records are spread over (1 to 1,024): buckets by turns, those with many records over all of them. Default 4.
    pub shards: u32,
    /// Length of a bucket. Never change it while batches are stored. Default 5 min.
    #[serde(with = "humantime_serde")]
    pub bucket: Duration,
    /// How long before its start a bucket is moved to SQS: what a scheduler may be down for. Default 7 min.
    #[serde(with = "humantime_serde")]
    pub lead: Duration,
    /// The router may skip reading a shard's state after a write when the bucket's lead begins later than this. Default 15 min.
    #[serde(with = "humantime_serde")]
    pub skip_state_read: Duration,
    /// Clock skew against AWS above which nothing is skipped. Default 1 min.
    #[serde(with = "humantime_serde")]
    pub max_skew: Duration,
    /// How long after the due time stored batches and payloads expire (at least 15 days). Default 30 days.
    #[serde(with = "humantime_serde")]
    pub expire_after: Duration,
}

impl Default for LongConfig {
    fn default() -> Self {
        Self {
            shards: 4,
            bucket: Duration::from_secs(300),
            lead: Duration::from_secs(420),
            skip_state_read: Duration::from_secs(900),
            max_skew: Duration::from_secs(60),
            expire_after: DAY * 30,
        }
    }
}

impl LongConfig {
    pub(super) fn check(&self, faults: &mut ConfigErrors) {
        count_between(faults, "long.shards", self.shards.into(), 1, 1024);
        duration_between(
            faults,
            "long.bucket",
            self.bucket,
            Duration::from_secs(1),
            Duration::from_secs(900),
        );
        duration_between(
            faults,
            "long.lead",
            self.lead,
            Duration::from_secs(1),
            Duration::from_secs(900),
        );
        // AWS's `Date` header has seconds, so less cannot be told.
        duration_between(
            faults,
            "long.max_skew",
            self.max_skew,
            Duration::from_secs(1),
            Duration::from_secs(600),
        );
        // A payload in the table is referred to from SQS, where a message (in its queue and its DLQ together) lives 14 days
        // from its first send. Were the payload gone first, the record would be lost (P2); a day of margin on top.
        duration_between(
            faults,
            "long.expire_after",
            self.expire_after,
            DAY * 15,
            DAY * 3660,
        );
        // Two clocks, each wrong by max_skew to its own side, disagree by twice that: the router's write must still be
        // done before the fastest scheduler closes the bucket. `Date` is cut to whole seconds: one more each.
        let apart = (self.max_skew + Duration::from_secs(1)) * 2;
        if self.skip_state_read < apart {
            faults.add(
                &["long.skip_state_read", "long.max_skew"],
                format!(
                    "{} is too short when two clocks may be {} apart: a closing bucket could be missed",
                    humantime::format_duration(self.skip_state_read),
                    humantime::format_duration(apart)
                ),
                "raise skip_state_read to twice max_skew and 2 s",
            );
        }
    }
}
