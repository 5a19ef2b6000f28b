//! What the scheduler counts.

/// Counter: ticks by outcome. Label: outcome (`up-to-date`, `limit`, `lost`, `stopped`, `no-row`).
pub const TICKS: &str = "delayq_scheduler_ticks_total";
/// Counter: records handed over to the queues.
pub const HANDED_OVER: &str = "delayq_scheduler_records_total";
/// Counter: buckets closed.
pub const BUCKETS: &str = "delayq_scheduler_buckets_total";
/// Counter: copies of one source dropped within a bucket.
pub const COPIES: &str = "delayq_scheduler_copies_dropped_total";
/// Counter: stored batches that cannot be read, passed on whole for the emitter to dead-letter.
pub const UNREADABLE: &str = "delayq_scheduler_unreadable_batches_total";
/// Gauge, milliseconds: how far a shard's handover is behind its lead. Label: shard.
pub const BEHIND_MS: &str = "delayq_scheduler_behind_ms";
/// Counter: leases lost while working.
pub const LEASES_LOST: &str = "delayq_scheduler_leases_lost_total";

/// Describes the metrics for the exporter.
pub fn describe() {
    use ::metrics::{describe_counter, describe_gauge};
    describe_counter!(TICKS, "Ticks by outcome");
    describe_counter!(HANDED_OVER, "Records handed over to the queues");
    describe_counter!(BUCKETS, "Buckets closed");
    describe_counter!(COPIES, "Copies of one source dropped within a bucket");
    describe_counter!(UNREADABLE, "Stored batches that cannot be read");
    describe_gauge!(
        BEHIND_MS,
        ::metrics::Unit::Milliseconds,
        "How far a shard's handover is behind its lead"
    );
    describe_counter!(LEASES_LOST, "Leases lost while working");
}
