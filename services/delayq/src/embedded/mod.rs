//! delayq without anything around it: a Kafka broker of librdkafka's in this process, both tiers in memory.
//!
//! For the demo, and for teams that test what happens days later (`delayq embedded`). Nothing survives the process.

mod clock_http;
mod cluster;
mod source;

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use delayq_core::clock::{Clock, ShiftedClock, SystemClock};
use delayq_core::ports::{ShardState, TickQueue};
use delayq_embedded::{
    MemoryBatchStore, MemoryDelayQueue, MemoryPayloadStore, MemoryShardState, MemoryTickQueue,
};

pub use clock_http::routes as clock_routes;
pub use cluster::EmbeddedKafka;

use crate::app::Backends;

/// The clock of the embedded mode: the machine's, and what it was advanced by.
pub type TestClock = ShiftedClock<SystemClock>;

/// Partitions of a topic that is made at the start.
pub const PARTITIONS: i32 = 3;
/// How soon who waits for a due time notices that the clock was advanced.
const CLOCK_CHECK: Duration = Duration::from_millis(5);

/// Both tiers in memory, and the clock that moves them.
#[derive(Clone)]
pub struct EmbeddedTiers {
    clock: Arc<TestClock>,
    queue: Arc<MemoryDelayQueue>,
    ticks: Arc<MemoryTickQueue>,
    store: Arc<MemoryBatchStore>,
    shards: Arc<MemoryShardState>,
    payloads: Arc<MemoryPayloadStore>,
}

impl Default for EmbeddedTiers {
    fn default() -> Self {
        let clock = Arc::new(TestClock::new(SystemClock));
        let port: Arc<dyn Clock> = clock.clone();
        Self {
            queue: Arc::new(MemoryDelayQueue::new(port.clone())),
            ticks: Arc::new(MemoryTickQueue::default()),
            store: Arc::new(MemoryBatchStore::new(port.clone())),
            shards: Arc::new(MemoryShardState::new()),
            payloads: Arc::new(MemoryPayloadStore::new(port)),
            clock,
        }
    }
}

impl EmbeddedTiers {
    /// As the roles want them.
    #[must_use]
    pub fn backends(&self) -> Backends {
        Backends {
            clock: self.clock.clone(),
            queue: self.queue.clone(),
            ticks: self.ticks.clone(),
            store: self.store.clone(),
            shards: self.shards.clone(),
            payloads: self.payloads.clone(),
            source: source::layer(self.clock.clone()),
            create_topics: true,
            clock_check: CLOCK_CHECK,
        }
    }

    /// What time it is here.
    #[must_use]
    pub fn now_ms(&self) -> i64 {
        self.clock.now_ms()
    }

    /// Lets `by` pass at once: what is due by then is published in the order of its tiers, not of its due times.
    ///
    /// # Errors
    /// A tier that cannot be told; none does today.
    pub async fn advance(&self, by: Duration) -> anyhow::Result<()> {
        self.clock.advance(by);
        self.queue.advance(by);
        // The scheduler need not wait for its next tick.
        let now_ms = self.clock.now_ms();
        for row in self.shards.list().await.context("the shards")? {
            let ticked = self.ticks.send(row.shard, now_ms).await;
            ticked.context("a tick of the scheduler")?;
        }
        Ok(())
    }
}
