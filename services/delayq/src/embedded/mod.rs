//! delayq without anything around it: a Kafka broker of librdkafka's in this process, both tiers in memory.
//!
//! For the demo, and for teams that test what happens days later (`delayq embedded`). Nothing survives the process.

mod clock;
mod clock_http;
mod cluster;
mod source;

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use delayq_console::operations::Queue;
use delayq_core::clock::{Clock, SystemClock};
use delayq_core::ports::{Lane, MessageFeed, ShardState, TickQueue};
use delayq_core::priority::Priority;
use delayq_embedded::{
    MemoryBatchStore, MemoryDelayQueue, MemoryMessageRegistry, MemoryPayloadStore,
    MemoryShardState, MemoryTallyStore, MemoryTickQueue,
};

use futures::FutureExt as _;

pub use clock::TestClock;
pub use clock_http::routes as clock_routes;
pub use cluster::EmbeddedKafka;

use crate::app::Backends;

/// Ticks after a move of the clock, and the time between two.
const TICKS: u32 = 50;
const TICK_EVERY: Duration = Duration::from_millis(20);
/// Longer than the millisecond in which records count as produced before a move.
const MOVED: Duration = Duration::from_millis(3);
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
    registry: Arc<MemoryMessageRegistry>,
    tallies: Arc<MemoryTallyStore>,
}

impl Default for EmbeddedTiers {
    fn default() -> Self {
        let clock = Arc::new(TestClock::default());
        let machine: Arc<dyn Clock> = Arc::new(SystemClock);
        Self {
            queue: Arc::new(MemoryDelayQueue::new(clock.clone())),
            ticks: Arc::new(MemoryTickQueue::default()),
            // These forget by the machine's clock: a move of the other must not expire what is still to be delivered.
            store: Arc::new(MemoryBatchStore::new(machine.clone())),
            shards: Arc::new(MemoryShardState::new()),
            payloads: Arc::new(MemoryPayloadStore::new(machine.clone())),
            registry: Arc::new(MemoryMessageRegistry::new(machine)),
            tallies: Arc::default(),
            clock,
        }
    }
}

/// How much the queues hold.
fn depths(queue: &MemoryDelayQueue) -> Vec<Queue> {
    let lanes = Priority::ALL.into_iter().flat_map(|priority| {
        [
            (Lane::Main(priority), priority.to_string()),
            (Lane::DeadLetter(priority), format!("{priority}-dead")),
        ]
    });
    let depth = |(lane, name)| {
        let [messages, in_flight, delayed] = queue.depth(lane);
        Queue {
            name,
            messages,
            in_flight,
            delayed,
        }
    };
    lanes.map(depth).collect()
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
            registry: self.registry.clone(),
            index: self.registry.clone(),
            tallies: self.tallies.clone(),
            feed: {
                let registry = self.registry.clone();
                Arc::new(move || {
                    let feed: Box<dyn MessageFeed> = Box::new(registry.feed());
                    std::future::ready(Ok(feed)).boxed()
                })
            },
            depths: {
                let queue = self.queue.clone();
                Arc::new(move || std::future::ready(Ok(depths(&queue))).boxed())
            },
            source: source::layer(self.clock.clone()),
            create_topics: true,
            clock_check: CLOCK_CHECK,
        }
    }

    /// Tells the scheduler to look at every shard, before its next tick.
    async fn tick(&self) -> anyhow::Result<()> {
        let now_ms = self.clock.now_ms();
        for row in self.shards.list().await.context("the shards")? {
            let ticked = self.ticks.send(row.shard, now_ms).await;
            ticked.context("a tick of the scheduler")?;
        }
        Ok(())
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
        self.tick().await?;
        // What the router holds just now reaches its shard, or makes it, a little later.
        let tiers = self.clone();
        tokio::spawn(async move {
            for _ in 0..TICKS {
                tokio::time::sleep(TICK_EVERY).await;
                if let Err(error) = tiers.tick().await {
                    tracing::warn!(
                        error = format!("{error:#}"),
                        "the scheduler was not told that the clock was moved"
                    );
                }
            }
        });
        // A record that is produced once this has answered belongs to the new time.
        tokio::time::sleep(MOVED).await;
        Ok(())
    }
}
