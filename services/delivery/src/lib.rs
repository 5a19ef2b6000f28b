//! Confirmed delivery, to Kafka at the millisecond and to the delay queues in batches.
//!
//! The router's direct path and the emitter publish through [`publish`]; router, scheduler and emitter
//! (when it puts back) send through [`queue`]; what no batch can hold goes through [`payloads`]; what
//! is known of tracked records, through [`registry`]. An end is reported
//! only after the other side has confirmed it. What comes due is counted by [`upcoming`].

mod guard;
pub mod pacer;
pub mod payloads;
pub mod publish;
pub mod queue;
pub mod registry;
pub mod upcoming;

/// Describes all metrics of this crate for the exporter.
pub fn describe() {
    publish::metrics::describe();
    metrics::describe_counter!(queue::SENT, "Messages sent to the queues and confirmed");
    metrics::describe_counter!(queue::SENT_RECORDS, "Records in them");
    metrics::describe_counter!(queue::SEND_RETRIES, "Entries sent again");
    metrics::describe_counter!(
        payloads::STORED,
        "Large records stored in the payload table, all chunks confirmed"
    );
    metrics::describe_counter!(payloads::LOADED, "Large records read back");
    metrics::describe_counter!(registry::CHANGES, "Changes to tracked records, by answer");
    metrics::describe_counter!(
        registry::RACES,
        "Conditional writes to the registry that another was ahead of"
    );
    metrics::describe_counter!(
        upcoming::FAILURES,
        "Counts of what comes due that could not be stored: they are written at the next turn"
    );
}
