//! `[router]`.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::check::{count_between, duration_between, retry_times, size_between, stop_timeout};
use super::fault::ConfigErrors;
use super::values::ByteSize;

/// `[router]`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RouterConfig {
    /// Most bytes of records held at once; above it partitions are paused. What librdkafka prefetches, the
    /// encoded batches and the calls under way come on top, about 100 MiB under backlog. Default 64 MiB.
    pub memory: ByteSize,
    /// Time between two commits of offsets. Default 1 s.
    #[serde(with = "humantime_serde")]
    pub commit_interval: Duration,
    /// Most bytes of commit metadata a partition (the broker's `offset.metadata.max.bytes`: 4,096). Default 3,000.
    pub metadata_max_bytes: ByteSize,
    /// Most calls to SQS and DynamoDB at once; each may hold several MiB while it lasts. Default 8.
    pub send_concurrency: u32,
    /// How long the oldest unfinished record of a partition may be in hand before `/readyz` names the partition as stalled. Default 3 min.
    #[serde(with = "humantime_serde")]
    pub stall_after: Duration,
    /// Longest flush, confirm, commit and leave at SIGTERM. Default 90 s.
    #[serde(with = "humantime_serde")]
    pub stop_timeout: Duration,
    /// Wait before the first retry of a call that failed; doubles each time. Default 100 ms.
    #[serde(with = "humantime_serde")]
    pub retry_first: Duration,
    /// Longest wait between two retries. Default 10 s.
    #[serde(with = "humantime_serde")]
    pub retry_max: Duration,
}

impl Default for RouterConfig {
    fn default() -> Self {
        Self {
            memory: ByteSize::mib(64),
            commit_interval: Duration::from_secs(1),
            metadata_max_bytes: ByteSize::bytes(3000),
            send_concurrency: 8,
            stall_after: Duration::from_secs(180),
            stop_timeout: Duration::from_secs(90),
            retry_first: Duration::from_millis(100),
            retry_max: Duration::from_secs(10),
        }
    }
}

impl RouterConfig {
    pub(super) fn check(&self, faults: &mut ConfigErrors) {
        duration_between(
            faults,
            "router.commit_interval",
            self.commit_interval,
            Duration::from_millis(10),
            Duration::from_secs(60),
        );
        size_between(
            faults,
            "router.metadata_max_bytes",
            self.metadata_max_bytes,
            ByteSize::bytes(128),
            ByteSize::bytes(4096),
        );
        count_between(
            faults,
            "router.send_concurrency",
            self.send_concurrency.into(),
            1,
            1024,
        );
        duration_between(
            faults,
            "router.stall_after",
            self.stall_after,
            Duration::from_secs(1),
            Duration::from_secs(3600),
        );
        stop_timeout(faults, "router.stop_timeout", self.stop_timeout);
        retry_times(
            faults,
            ["router.retry_first", "router.retry_max"],
            self.retry_first,
            self.retry_max,
        );
    }
}
