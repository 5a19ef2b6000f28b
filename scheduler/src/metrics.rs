//! What the scheduler counts.

/// Counter: ticks by outcome. Label: outcome (`up-to-date`, `limit`, `lost`, `stopped`, `no-row`, `stale`).
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
/// Gauge, milliseconds: now minus the end of the last bucket that a shard has handed over. Buckets are handed over ahead
/// of time, so it is below zero while all is well. Label: shard.
pub const WATERMARK_AGE_MS: &str = "delayq_scheduler_watermark_age_ms";
/// Gauge: a shard's epoch, which rises whenever a scheduler takes the shard. Label: shard.
pub const EPOCH: &str = "delayq_scheduler_epoch";
/// Gauge: the epoch under which this process took a shard last; the process with the highest is its last holder. Label:
/// shard.
pub const HELD_EPOCH: &str = "delayq_scheduler_held_epoch";
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
    describe_gauge!(
        WATERMARK_AGE_MS,
        ::metrics::Unit::Milliseconds,
        "Now minus the end of the last bucket handed over; below zero while all is well"
    );
    describe_gauge!(EPOCH, "A shard's epoch: rises whenever it is taken");
    describe_gauge!(
        HELD_EPOCH,
        "The epoch under which this process took a shard last"
    );
    describe_counter!(LEASES_LOST, "Leases lost while working");
}

/// A counter that alarms are about is there before its first event: the first is an increase, too.
pub(crate) fn start_at_zero() {
    for counter in [LEASES_LOST, UNREADABLE] {
        ::metrics::counter!(counter).increment(0);
    }
}
