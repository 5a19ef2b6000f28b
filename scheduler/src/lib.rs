//! The scheduler: moves each bucket of the long tier to the queues before its records are due.
//!
//! [`ticks`] asks for every shard to be brought up to date; [`pipeline`] receives the ticks, one holder a shard;
//! [`closing`] walks one shard by the protocol in `delayq_core::handover`. See `DESIGN.md` beside this crate.

pub mod closing;
pub mod config;
pub mod metrics;
pub mod pipeline;
pub mod ticks;
pub mod watch;

pub use config::SchedulerSettings;
pub use pipeline::{SchedulerPorts, run};
