//! The tick queue.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use delayq_core::bucket::ShardId;
use delayq_core::clock::EpochMs;
use delayq_core::error::PortError;
use delayq_core::ports::{Tick, TickQueue};
use delayq_embedded::MemoryTickQueue;

use crate::ledger::Cause;
use crate::node::Node;
use crate::weather::Target;

/// As one process reaches it.
pub struct SimTicks {
    /// The process.
    pub node: Arc<Node>,
    /// The queue.
    pub inner: Arc<MemoryTickQueue>,
}

impl SimTicks {
    /// The lease may be over before the holder knows.
    fn blame(&self, shard: ShardId, failed: bool) {
        if failed {
            let in_hand = self.node.hands().of_shard(shard);
            self.node.ledger.blame(Cause::QueueFailed, in_hand);
        }
    }
}

#[async_trait]
impl TickQueue for SimTicks {
    async fn send(&self, shard: ShardId, tick_ms: EpochMs) -> Result<(), PortError> {
        let effect = self.inner.send(shard, tick_ms);
        self.node
            .call(Target::Ticks, "ticks send", Vec::new, effect, Err)
            .await
    }

    async fn receive(&self, wait: Duration, lease: Duration) -> Result<Option<Tick>, PortError> {
        let effect = async {
            let tick = self.inner.receive(wait, lease).await?;
            if let Some(tick) = &tick {
                let stopped = self.node.is_frozen();
                self.node.hands().holds_tick(tick.shard, stopped);
            }
            Ok(tick)
        };
        self.node
            .call(Target::Ticks, "ticks receive", Vec::new, effect, Err)
            .await
    }

    async fn extend(&self, tick: &Tick, lease: Duration) -> Result<(), PortError> {
        let effect = async {
            let extended = self.inner.extend(tick, lease).await;
            if extended.is_ok() {
                self.node.hands().holds_tick(tick.shard, false);
            }
            extended
        };
        let extended = self
            .node
            .call(Target::Ticks, "ticks extend", Vec::new, effect, Err)
            .await;
        self.blame(tick.shard, extended.is_err());
        extended
    }

    async fn delete(&self, tick: &Tick) -> Result<(), PortError> {
        let effect = self.inner.delete(tick);
        self.node
            .call(Target::Ticks, "ticks delete", Vec::new, effect, Err)
            .await
    }
}
