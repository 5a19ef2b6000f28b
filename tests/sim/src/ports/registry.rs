//! The registry of tracked records.

use std::sync::Arc;

use async_trait::async_trait;
use delayq_core::error::PortError;
use delayq_core::ports::{MessageRegistry, Written};
use delayq_core::tracked::{MessageKey, MessageRow, RowStamp};
use delayq_embedded::MemoryMessageRegistry;

use crate::node::Node;
use crate::weather::Target;

/// As one process reaches it.
pub struct SimRegistry {
    /// The process.
    pub node: Arc<Node>,
    /// The rows.
    pub inner: Arc<MemoryMessageRegistry>,
}

#[async_trait]
impl MessageRegistry for SimRegistry {
    async fn write(
        &self,
        row: MessageRow,
        expected: Option<RowStamp>,
    ) -> Result<Written, PortError> {
        let effect = async {
            let written = self.inner.write(row.clone(), expected).await;
            if matches!(written, Ok(Written::Done)) {
                self.node.note(format_args!(
                    "writes {}: {} is {}",
                    row.key,
                    row.version.source(&row.key.topic),
                    row.state.as_str()
                ));
                self.node.ledger.tracked(&row);
            }
            written
        };
        self.node
            .call(Target::Registry, "registry write", Vec::new, effect, Err)
            .await
    }

    async fn read(&self, key: &MessageKey) -> Result<Option<MessageRow>, PortError> {
        let effect = self.inner.read(key);
        self.node
            .call(Target::Registry, "registry read", Vec::new, effect, Err)
            .await
    }
}
