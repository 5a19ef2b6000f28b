//! The metrics of this crate.

use delayq_core::error::{ErrorClass, PortError};

/// Calls to AWS, by `operation` and `outcome` (`ok` or the class of the error).
pub const REQUESTS_TOTAL: &str = "delayq_aws_requests_total";
/// Entries that failed inside a batch call that AWS answered with success, by `operation` and `outcome`.
pub const FAILED_ENTRIES_TOTAL: &str = "delayq_aws_failed_entries_total";
/// Messages and rows that delayq has not written or cannot read, by `kind` (`tick`, `batch`, `payload`, `message`, `tracked`).
pub const UNREADABLE_TOTAL: &str = "delayq_aws_unreadable_total";
/// This machine's clock minus AWS's, in milliseconds, accurate to about half a second.
pub const CLOCK_SKEW_MS: &str = "delayq_aws_clock_skew_ms";
/// What AWS bills, by `tier` (`queues`, `ticks`, `batches`, `shards`, `payloads`, `tracked`) and `unit` (`sqs-request`,
/// `sqs-fifo-request`, `dynamodb-write-unit`, `dynamodb-read-unit`).
pub const BILLED_UNITS_TOTAL: &str = "delayq_aws_billed_units_total";
/// Their cost at list prices ([`delayq_core::billing::LIST_PRICES`]) in billionths of a US dollar, by `tier`.
pub const COST_NANODOLLARS_TOTAL: &str = "delayq_aws_cost_nanodollars_total";

/// Tells the recorder what the metrics mean; call once, after the recorder is installed.
pub fn describe() {
    metrics::describe_counter!(
        REQUESTS_TOTAL,
        metrics::Unit::Count,
        "Calls to AWS by operation and outcome"
    );
    metrics::describe_counter!(
        FAILED_ENTRIES_TOTAL,
        metrics::Unit::Count,
        "Entries that failed inside an answered batch call, by operation and outcome"
    );
    metrics::describe_counter!(
        UNREADABLE_TOTAL,
        metrics::Unit::Count,
        "Messages and rows in our queues and tables that cannot be read, by kind"
    );
    metrics::describe_counter!(
        BILLED_UNITS_TOTAL,
        metrics::Unit::Count,
        "What AWS bills for the calls, by tier and unit"
    );
    metrics::describe_counter!(
        COST_NANODOLLARS_TOTAL,
        metrics::Unit::Count,
        "Cost of the calls at list prices, in billionths of a US dollar, by tier"
    );
    crate::meter::start_at_zero();
    metrics::describe_gauge!(
        CLOCK_SKEW_MS,
        metrics::Unit::Milliseconds,
        "This machine's clock minus AWS's, from the Date header of its answers"
    );
}

/// Counts a call.
pub(crate) fn count_call<T>(operation: &'static str, result: &Result<T, PortError>) {
    let outcome = result.as_ref().map_or_else(|e| label(e.class), |_| "ok");
    metrics::counter!(REQUESTS_TOTAL, "operation" => operation, "outcome" => outcome).increment(1);
}

/// Counts an entry that failed in a call that was answered.
pub(crate) fn count_failed_entry(operation: &'static str, class: ErrorClass) {
    metrics::counter!(FAILED_ENTRIES_TOTAL, "operation" => operation, "outcome" => label(class))
        .increment(1);
}

/// Counts something found that cannot be read.
pub(crate) fn count_unreadable(kind: &'static str) {
    metrics::counter!(UNREADABLE_TOTAL, "kind" => kind).increment(1);
}

const fn label(class: ErrorClass) -> &'static str {
    match class {
        ErrorClass::Invalid => "invalid",
        ErrorClass::Transient => "transient",
        ErrorClass::Throttled => "throttled",
        ErrorClass::Conflict => "conflict",
        ErrorClass::Misconfigured => "misconfigured",
    }
}
