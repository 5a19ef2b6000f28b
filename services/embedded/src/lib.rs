//! Every port in memory: for the demo, and for simulation that repeats exactly from a seed.
//!
//! Time that passes is tokio's, so `tokio::time::pause` moves it; the time of day comes from a
//! [`delayq_core::clock::Clock`]. No threads and no randomness of its own. What is not kept by a service
//! (messages, batches, rows, logs, committed offsets) is forgotten, so memory grows only with what is stored.

pub mod batch_store;
pub mod broker;
pub mod clock;
pub mod delay_queue;
mod group;
pub mod health;
mod lock;
mod log;
pub mod message_feed;
pub mod message_registry;
pub mod murmur2;
pub mod payload_store;
pub mod shard_state;
pub mod sink;
pub mod source;
pub mod tally_store;
pub mod ticks;
mod wait;

pub use batch_store::MemoryBatchStore;
pub use broker::MemoryBroker;
pub use clock::RuntimeClock;
pub use delay_queue::MemoryDelayQueue;
pub use health::MemoryHealth;
pub use message_feed::MemoryMessageFeed;
pub use message_registry::MemoryMessageRegistry;
pub use payload_store::MemoryPayloadStore;
pub use shard_state::MemoryShardState;
pub use sink::{Fault, MemorySink};
pub use source::{MemorySource, SourceOptions};
pub use tally_store::MemoryTallyStore;
pub use ticks::MemoryTickQueue;
