//! Confirmed delivery, to Kafka at the millisecond and to the delay queues in batches.
//!
//! The router's direct path and the emitter publish through [`publish`]; router, scheduler and emitter
//! (when it puts back) send through [`queue`]; what no batch can hold goes through [`payloads`]. An end is reported only after the other side has confirmed it.

pub mod pacer;
pub mod payloads;
pub mod publish;
pub mod queue;
