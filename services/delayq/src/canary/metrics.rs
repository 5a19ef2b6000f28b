//! What is counted of canaries.

/// Gauge, milliseconds: how long ago the newest canary that came was due. Absent before the first. Labels: path, priority.
pub const AGE_MS: &str = "delayq_canary_age_ms";
/// Gauge: 1 while a canary is missing beyond its patience. Labels: path, priority.
pub const OVERDUE: &str = "delayq_canary_overdue";
/// Histogram, milliseconds: from the due time until the canary was read from its topic. Labels: path, priority.
pub const LATENESS_MS: &str = "delayq_canary_lateness_ms";
/// Counter: canaries written to the delay topic. Label: outcome (`confirmed`, `failed`).
pub const SENT: &str = "delayq_canary_sent_total";

/// Describes the metrics for the exporter.
pub fn describe() {
    use ::metrics::{describe_counter, describe_gauge, describe_histogram};
    describe_gauge!(
        AGE_MS,
        ::metrics::Unit::Milliseconds,
        "How long ago the newest canary that came was due"
    );
    describe_gauge!(OVERDUE, "1 while a canary is missing beyond its patience");
    describe_histogram!(
        LATENESS_MS,
        ::metrics::Unit::Milliseconds,
        "From a canary's due time until it was read from its topic"
    );
    describe_counter!(SENT, "Canaries written to the delay topic");
}
