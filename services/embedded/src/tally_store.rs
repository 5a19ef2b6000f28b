//! Counts of what comes due, in memory.

use std::collections::BTreeMap;
use std::sync::Mutex;

use async_trait::async_trait;
use bytes::Bytes;
use delayq_core::clock::EpochMs;
use delayq_core::error::PortError;
use delayq_core::ports::TallyStore;
use delayq_core::upcoming::Part;

use crate::lock::locked;

/// Parts by writer and number.
#[derive(Debug, Default)]
pub struct MemoryTallyStore {
    parts: Mutex<BTreeMap<(u32, u32), Part>>,
}

#[async_trait]
impl TallyStore for MemoryTallyStore {
    async fn put(&self, writer: u32, part: Part) -> Result<(), PortError> {
        locked(&self.parts).insert((writer, part.number), part);
        Ok(())
    }

    async fn list(&self, now_ms: EpochMs) -> Result<Vec<Bytes>, PortError> {
        let mut parts = locked(&self.parts);
        parts.retain(|_, part| part.until_ms > now_ms);
        Ok(parts.values().map(|part| part.body.clone()).collect())
    }
}
