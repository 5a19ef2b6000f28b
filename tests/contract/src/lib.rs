//! What every adapter of a port has to do: one suite a port, run over the embedded and the real adapters.
//!
//! A check takes a fresh adapter and panics when a sentence of [`delayq_core::ports`] does not hold. Time is
//! tokio's, so that adapters in memory run under paused time. Each file ends with the list of its checks, a
//! macro that hands the names on: `tests/embedded.rs` and `tests/real.rs` make a test of each.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "this crate is test code, of which other crates' tests are made"
)]

pub mod batch_store;
pub mod delay_queue;
pub mod kafka;
pub mod message_feed;
pub mod message_index;
pub mod message_registry;
pub mod payload_store;
pub mod record_sink;
pub mod record_source;
pub mod shard_state;
pub mod tally_store;
pub mod tick_queue;

#[cfg(test)]
mod complete;

use std::time::Duration;

use delayq_core::error::ErrorClass;
use delayq_core::ports::Outcomes;
use tokio::time::timeout;

/// Waits for what must happen, and says what did not.
async fn within<T>(seconds: u64, what: &str, future: impl Future<Output = T>) -> T {
    match timeout(Duration::from_secs(seconds), future).await {
        Ok(done) => done,
        Err(_) => panic!("not within {seconds} s: {what}"),
    }
}

/// The classes of the failures, `None` for a success.
fn classes(outcomes: &Outcomes) -> Vec<Option<ErrorClass>> {
    let class = |outcome: &Result<_, delayq_core::error::PortError>| {
        outcome.as_ref().err().map(|error| error.class)
    };
    outcomes.iter().map(class).collect()
}

/// Every outcome is a success, and there are so many.
fn assert_all_ok(outcomes: &Outcomes, count: usize) {
    assert_eq!(outcomes.len(), count, "one outcome an entry");
    for (index, outcome) in outcomes.iter().enumerate() {
        assert_eq!(*outcome, Ok(()), "entry {index}");
    }
}
