//! The payload table.

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use delayq_core::error::PortError;
use delayq_core::ports::{Outcomes, PayloadStore};
use delayq_embedded::MemoryPayloadStore;

use super::{all_fail, merge, sift};
use crate::node::Node;
use crate::weather::Target;

/// As one process reaches it.
pub struct SimPayloads {
    /// The process.
    pub node: Arc<Node>,
    /// The table.
    pub inner: Arc<MemoryPayloadStore>,
}

#[async_trait]
impl PayloadStore for SimPayloads {
    async fn put(&self, id: &str, chunks: Vec<Bytes>, expires_s: i64) -> Outcomes {
        const CALL: &str = "payloads put";
        let count = chunks.len();
        let effect = async {
            let numbered = sift(&self.node, CALL, chunks.into_iter().enumerate().collect());
            // Chunks are numbered by their place: only those before the first that fails are written.
            let whole = numbered
                .passed
                .iter()
                .zip(0..)
                .take_while(|((at, _), n)| at == n);
            let written: Vec<_> = whole.map(|((_, chunk), _)| chunk.clone()).collect();
            let mut outcomes = self.inner.put(id, written, expires_s).await;
            outcomes.resize(numbered.passed.len(), Ok(()));
            let lost = numbered.failures.iter().position(Option::is_some);
            let mut merged = merge(numbered.failures, outcomes);
            if let Some(lost) = lost {
                let error = merged.get(lost).cloned().unwrap_or(Ok(()));
                merged
                    .iter_mut()
                    .skip(lost)
                    .for_each(|outcome| *outcome = error.clone());
            }
            merged
        };
        self.node
            .call(Target::Payloads, CALL, Vec::new, effect, |error| {
                all_fail(count, &error)
            })
            .await
    }

    async fn get(&self, id: &str, chunks: u32) -> Result<Vec<Option<Bytes>>, PortError> {
        let effect = self.inner.get(id, chunks);
        self.node
            .call(Target::Payloads, "payloads get", Vec::new, effect, Err)
            .await
    }
}
