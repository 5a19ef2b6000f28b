//! The state rows of the shards.

use std::sync::Arc;

use async_trait::async_trait;
use delayq_core::bucket::ShardId;
use delayq_core::error::PortError;
use delayq_core::handover::ShardRow;
use delayq_core::ports::ShardState;
use delayq_embedded::MemoryShardState;

use crate::ledger::Cause;
use crate::node::Node;
use crate::weather::Target;

/// As one process reaches them.
pub struct SimShards {
    /// The process.
    pub node: Arc<Node>,
    /// The rows.
    pub inner: Arc<MemoryShardState>,
}

#[async_trait]
impl ShardState for SimShards {
    async fn create_if_absent(&self, row: ShardRow) -> Result<(), PortError> {
        let effect = self.inner.create_if_absent(row);
        self.node
            .call(Target::Shards, "shards create", Vec::new, effect, Err)
            .await
    }

    async fn read(&self, shard: ShardId) -> Result<Option<ShardRow>, PortError> {
        let effect = async {
            let row = self.inner.read(shard).await?;
            if let Some(row) = &row {
                // Whoever reads this after a write sends the records too.
                let sent_too = self.node.hands().sent_too(shard, row.closing);
                self.node.ledger.blame(Cause::ClosingBucket, sent_too);
            }
            Ok(row)
        };
        self.node
            .call(Target::Shards, "shards read", Vec::new, effect, Err)
            .await
    }

    async fn list(&self) -> Result<Vec<ShardRow>, PortError> {
        let effect = self.inner.list();
        self.node
            .call(Target::Shards, "shards list", Vec::new, effect, Err)
            .await
    }

    async fn take(&self, shard: ShardId, owner: &str) -> Result<ShardRow, PortError> {
        let effect = async {
            let row = self.inner.take(shard, owner).await?;
            self.node
                .note(format_args!("takes shard {shard}, epoch {}", row.epoch));
            self.node.hands().saved(shard);
            self.node.ledger.taken(shard);
            Ok(row)
        };
        self.node
            .call(Target::Shards, "shards take", Vec::new, effect, Err)
            .await
    }

    async fn update(&self, row: ShardRow) -> Result<(), PortError> {
        let shard = row.shard;
        let touched = || self.node.hands().of_shard(shard);
        let effect = async {
            let (watermark, closing, sub) = (row.watermark.0, row.closing.0, row.cursor.sub);
            let updated = self.inner.update(row).await;
            self.node.note(format_args!(
                "updates shard {shard}: watermark {watermark}, closing {closing}, sub {sub}: {}",
                updated.is_ok()
            ));
            if updated.is_ok() {
                self.node.hands().saved(shard);
                self.node.ledger.settled(shard);
            }
            updated
        };
        let updated = self
            .node
            .call(Target::Shards, "shards update", touched, effect, Err)
            .await;
        if updated.is_err() {
            let page = self.node.hands().of_shard(shard);
            self.node.ledger.unsettled(vec![(shard, page)]);
        }
        updated
    }

    fn clock_skew_ms(&self) -> Option<i64> {
        Some(self.node.skew_ms())
    }
}
