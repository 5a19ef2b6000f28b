//! Settings of the router.

use std::time::Duration;

use delayq_core::handover::HandoverTimes;
use delayq_core::route::Policy;
use delayq_delivery::payloads::PayloadSettings;
use delayq_delivery::publish::PublishSettings;
use delayq_delivery::queue::QueueSettings;
use delayq_delivery::registry::RegistrySettings;

/// Settings. Times in milliseconds unless they are a `Duration`; sizes in bytes.
#[derive(Debug, Clone)]
pub struct RouterSettings {
    /// Where records go.
    pub policy: Policy,
    /// Publishing what is due soon, and dead letters.
    pub publish: PublishSettings,
    /// Sending to the queues.
    pub queue: QueueSettings,
    /// Records too large for a batch.
    pub payloads: PayloadSettings,
    /// Tracked records.
    pub registry: RegistrySettings,
    /// The handover's times.
    pub times: HandoverTimes,
    /// Number of shards.
    pub shards: u32,
    /// Names this process in sort keys; unique for each start.
    pub writer: String,
    /// How long after its due time the store may forget a batch.
    pub expire_after_ms: i64,
    /// zstd level of batches in the store while there is time; else that of the queues' messages.
    pub store_zstd_level_max: i32,
    /// Largest encoded batch in the store.
    pub store_batch_bytes: usize,
    /// Writes to the store at once.
    pub store_concurrency: usize,
    /// Memory of records held, at most; partitions are paused above it and resumed at half of it.
    pub memory_bytes: usize,
    /// A group is packed when its records take this much memory...
    pub group_raw_bytes: usize,
    /// ...or are this many...
    pub group_records: usize,
    /// ...or have waited this long.
    pub max_wait_ms: i64,
    /// How often offsets are committed.
    pub commit_interval: Duration,
    /// Largest commit metadata; above it the partition pauses.
    pub metadata_max_bytes: usize,
    /// How long a revoked partition may take to finish; below the adapter's own limit.
    pub revoke_timeout: Duration,
    /// How long the oldest record of a partition may be in hand before the partition is named as stalled.
    pub stall_after: Duration,
    /// How long a stop may take.
    pub stop_timeout: Duration,
}
