//! What is counted here.

/// Histogram, milliseconds: published (broker's acknowledgement) minus due, or minus the turn that a rate limit gave the
/// record. Labels: priority, path.
pub const LATENESS_MS: &str = "delayq_lateness_ms";
/// Counter: records whose publication the broker confirmed. Labels: priority, path.
pub const PUBLISHED: &str = "delayq_published_total";
/// Counter: dead letters that the broker confirmed. Label: reason.
pub const DEAD_LETTERS: &str = "delayq_dead_letters_total";
/// Counter: publications tried again. Label: cause (`record`, `broker`).
pub const RETRIES: &str = "delayq_publish_retries_total";
/// Counter: held records given up because their partition belongs to somebody else now.
pub const ABANDONED: &str = "delayq_publish_abandoned_total";
/// Gauge: 1 while publishing is held back because Kafka is away. Label: service.
pub const BREAKER_OPEN: &str = "delayq_breaker_open";
/// Gauge, milliseconds: how late the record is right now that is the latest of those held, due and not confirmed; 0 when
/// none is. Label: service.
pub const OLDEST_OVERDUE_MS: &str = "delayq_publish_oldest_overdue_ms";

/// Describes the metrics for the exporter.
pub fn describe() {
    ::metrics::describe_histogram!(
        LATENESS_MS,
        ::metrics::Unit::Milliseconds,
        "Published minus due"
    );
    ::metrics::describe_counter!(PUBLISHED, "Records published and confirmed");
    ::metrics::describe_counter!(DEAD_LETTERS, "Dead letters written and confirmed");
    ::metrics::describe_counter!(RETRIES, "Publications tried again");
    ::metrics::describe_counter!(
        ABANDONED,
        "Held records given up because their partition was lost"
    );
    ::metrics::describe_gauge!(
        BREAKER_OPEN,
        "1 while publishing is held back because Kafka is away"
    );
    ::metrics::describe_gauge!(
        OLDEST_OVERDUE_MS,
        ::metrics::Unit::Milliseconds,
        "How late the latest of the records is that are held, due and not confirmed"
    );
}
