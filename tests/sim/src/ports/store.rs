//! The table of batches.

use std::sync::Arc;

use async_trait::async_trait;
use delayq_core::bucket::BucketKey;
use delayq_core::error::PortError;
use delayq_core::ports::{BatchStore, Outcomes, Page, StoredBatch};
use delayq_embedded::MemoryBatchStore;

use super::{all_fail, listed, merge, sift, sources_of};
use crate::ledger::Cause;
use crate::node::Node;
use crate::weather::Target;

/// As one process reaches it.
pub struct SimStore {
    /// The process.
    pub node: Arc<Node>,
    /// The table.
    pub inner: Arc<MemoryBatchStore>,
}

#[async_trait]
impl BatchStore for SimStore {
    async fn put(&self, batches: Vec<StoredBatch>) -> Outcomes {
        const CALL: &str = "store put";
        let count = batches.len();
        for batch in &batches {
            let sources = sources_of(&batch.body);
            self.node.note(format_args!(
                "puts {} to {} {}",
                listed(&sources),
                batch.key,
                batch.sort
            ));
            self.node
                .hands()
                .wrote(batch.key.shard, batch.key.bucket, sources);
        }
        let effect = async {
            let sifted = sift(&self.node, CALL, batches);
            merge(sifted.failures, self.inner.put(sifted.passed).await)
        };
        // A batch that is written again is the same batch: nothing is doubled by it.
        self.node
            .call(Target::Store, CALL, Vec::new, effect, |error| {
                all_fail(count, &error)
            })
            .await
    }

    async fn page(&self, key: &BucketKey, after: Option<&str>) -> Result<Page, PortError> {
        let effect = async {
            let page = self.inner.page(key, after).await?;
            if !page.batches.is_empty() {
                let sources: Vec<_> = page
                    .batches
                    .iter()
                    .flat_map(|b| sources_of(&b.body))
                    .collect();
                self.node
                    .note(format_args!("reads {} of {key}", listed(&sources)));
                if self.node.hands().lease_may_be_over(key.shard) {
                    self.node.ledger.blame(Cause::LeaseLapsed, sources.clone());
                }
                self.node.hands().sent_page(key.shard, sources);
            }
            Ok(page)
        };
        self.node
            .call(Target::Store, "store page", Vec::new, effect, Err)
            .await
    }
}
