//! The emitter: receives the queues a little ahead of time, publishes each record at its millisecond, deletes
//! a message only after every record in it is confirmed by Kafka.
//!
//! [`intake`] receives within the [`budget`]; [`held`] knows what of each message is undone; [`limits`] gives records of limited
//! routes their turn; [`pipeline`] is the loop.

pub mod budget;
pub mod calls;
pub mod config;
pub mod held;
pub mod intake;
pub mod limits;
pub mod metrics;
pub mod pipeline;
pub mod recent;
pub mod sources;

pub use config::EmitterSettings;
pub use pipeline::{EmitterPorts, run};
