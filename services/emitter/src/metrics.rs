//! What the emitter counts.

/// Counter: messages received. Labels: lane (`main`, `dead-letter`), priority.
pub const RECEIVED: &str = "delayq_emitter_messages_received_total";
/// Counter: records in them. Labels: lane, priority.
pub const RECEIVED_RECORDS: &str = "delayq_emitter_records_received_total";
/// Histogram: how often a message had been received, this time included.
pub const RECEIVE_COUNT: &str = "delayq_emitter_receive_count";
/// Counter: records dropped because this process published their source recently. Label: priority.
pub const DUPLICATES_DROPPED: &str = "delayq_emitter_duplicates_dropped_total";
/// Counter: records put back into the queue. Label: cause (`early`, `stop`).
pub const PUT_BACK: &str = "delayq_emitter_put_back_total";
/// Counter: messages whose visibility lapsed while they were held: another emitter may repeat their records.
pub const LAPSED: &str = "delayq_emitter_leases_lapsed_total";
/// Counter: messages that are no readable batch. Label: reason.
pub const UNREADABLE: &str = "delayq_emitter_unreadable_total";
/// Counter: records in readable messages that no router of this configuration could have put there. Label: reason
/// (`output-not-allowed`, `output-too-far`).
pub const REFUSED: &str = "delayq_emitter_refused_total";
/// Gauge, bytes: memory of the records held, and what is set aside for receive calls under way. Label: priority.
pub const HELD_BYTES: &str = "delayq_emitter_held_bytes";
/// Counter: deletes that failed for good in this process: the message comes again and is dropped then.
pub const DELETE_FAILED: &str = "delayq_emitter_delete_failed_total";
/// Gauge, milliseconds: how far beyond the due time of its last record the message is held that is so the longest. 0 when
/// there is none.
pub const OVERDUE_MS: &str = "delayq_emitter_held_overdue_ms";

/// Describes the metrics for the exporter.
pub fn describe() {
    use ::metrics::{describe_counter, describe_gauge, describe_histogram};
    describe_counter!(RECEIVED, "Messages received");
    describe_counter!(RECEIVED_RECORDS, "Records received");
    describe_histogram!(RECEIVE_COUNT, "How often a message had been received");
    describe_counter!(
        DUPLICATES_DROPPED,
        "Records dropped because their source was published recently"
    );
    describe_counter!(PUT_BACK, "Records put back into the queue");
    describe_counter!(
        LAPSED,
        "Messages whose visibility lapsed while they were held"
    );
    describe_counter!(UNREADABLE, "Messages that are no readable batch");
    describe_counter!(
        REFUSED,
        "Records that no router of this configuration could have put into a queue"
    );
    describe_gauge!(
        HELD_BYTES,
        ::metrics::Unit::Bytes,
        "Memory of the records held, and set aside for receive calls under way"
    );
    describe_counter!(DELETE_FAILED, "Deletes that failed for good");
    describe_gauge!(
        OVERDUE_MS,
        ::metrics::Unit::Milliseconds,
        "How far beyond the due time of its last record a message is held"
    );
}

/// A counter that alarms are about is there before its first event: the first is an increase, too.
pub(crate) fn start_at_zero() {
    for counter in [LAPSED, DELETE_FAILED] {
        ::metrics::counter!(counter).increment(0);
    }
}
