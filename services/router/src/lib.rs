//! The router: consumes the delay topics, decides where each record goes, hands it over, then commits.
//!
//! [`pipeline`] is the loop; [`partitions`] knows what of each partition is finished; [`long`] writes to the
//! long tier by the closing protocol, to shards that [`sharding`] chooses; what is due soon is published through `delayq-delivery`.

pub mod compression;
pub mod config;
pub mod hot_keys;
pub mod long;
pub mod metrics;
pub mod partitions;
pub mod pipeline;
pub mod sharding;

pub use config::RouterSettings;
pub use pipeline::{RouterPorts, run};
