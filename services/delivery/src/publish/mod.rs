//! Emission on time: holds records in a timer, publishes each at its millisecond, tries again, writes dead letters.
//!
//! [`emission`] decides (pure) which [`job`] is next and [`yielding`] how fast a backlog goes, [`driver`] does, for the owner of a
//! [`publisher`]; [`tracked`] sees to claims.

pub mod breaker;
pub mod by_output;
pub mod dead_letter;
pub mod driver;
pub mod emission;
pub mod job;
pub mod lanes;
pub mod metrics;
pub mod pace;
pub mod publisher;
pub mod tracked;
pub mod yielding;

pub use dead_letter::DeadLetter;
pub use driver::start;
pub use job::{Job, Work};
pub use publisher::{End, EndKind, PublishSettings, Publisher, always_alive};
pub use tracked::Tracking;
