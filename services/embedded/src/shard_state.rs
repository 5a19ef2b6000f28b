//! The state rows of the shards in memory, with the conditions of the real table.

use std::collections::BTreeMap;
use std::sync::Mutex;

use async_trait::async_trait;
use delayq_core::bucket::ShardId;
use delayq_core::error::{ErrorClass, PortError};
use delayq_core::handover::ShardRow;
use delayq_core::ports::ShardState;

use crate::lock::locked;

/// The rows, and the clock skew to report.
#[derive(Debug)]
pub struct MemoryShardState {
    rows: Mutex<BTreeMap<ShardId, ShardRow>>,
    skew_ms: Mutex<Option<i64>>,
}

impl Default for MemoryShardState {
    fn default() -> Self {
        Self {
            rows: Mutex::default(),
            skew_ms: Mutex::new(Some(0)),
        }
    }
}

impl MemoryShardState {
    /// No rows, no skew.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// What [`ShardState::clock_skew_ms`] answers from now on (0 at first).
    pub fn set_clock_skew_ms(&self, skew_ms: Option<i64>) {
        *locked(&self.skew_ms) = skew_ms;
    }
}

#[async_trait]
impl ShardState for MemoryShardState {
    async fn create_if_absent(&self, row: ShardRow) -> Result<(), PortError> {
        locked(&self.rows).entry(row.shard).or_insert(row);
        Ok(())
    }

    async fn read(&self, shard: ShardId) -> Result<Option<ShardRow>, PortError> {
        Ok(locked(&self.rows).get(&shard).cloned())
    }

    async fn list(&self) -> Result<Vec<ShardRow>, PortError> {
        Ok(locked(&self.rows).values().cloned().collect())
    }

    async fn take(&self, shard: ShardId, owner: &str) -> Result<ShardRow, PortError> {
        let mut rows = locked(&self.rows);
        let row = rows.get_mut(&shard).ok_or_else(|| {
            conflict(
                "memory take shard",
                format!("shard {shard} has no row; `init` creates it"),
            )
        })?;
        row.epoch += 1;
        owner.clone_into(&mut row.owner);
        Ok(row.clone())
    }

    async fn update(&self, row: ShardRow) -> Result<(), PortError> {
        const CALL: &str = "memory update shard";
        let mut rows = locked(&self.rows);
        let stored = rows
            .get_mut(&row.shard)
            .ok_or_else(|| conflict(CALL, format!("shard {} has no row", row.shard)))?;
        if !stored.may_become(&row) {
            let detail = format!(
                "shard {} is at epoch {} of {}, watermark {}, closing {}; not {}, {}, {}",
                row.shard,
                stored.epoch,
                stored.owner,
                stored.watermark.0,
                stored.closing.0,
                row.epoch,
                row.watermark.0,
                row.closing.0
            );
            return Err(conflict(CALL, detail));
        }
        stored.watermark = row.watermark;
        stored.closing = row.closing;
        stored.cursor = row.cursor;
        Ok(())
    }

    fn clock_skew_ms(&self) -> Option<i64> {
        *locked(&self.skew_ms)
    }
}

fn conflict(operation: &'static str, detail: String) -> PortError {
    PortError::new(ErrorClass::Conflict, operation, detail)
}
