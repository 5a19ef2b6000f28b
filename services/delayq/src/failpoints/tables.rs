//! Failpoints around the tables: batches, payloads, state rows, tracked records.

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use delayq_core::bucket::{BucketKey, ShardId};
use delayq_core::error::PortError;
use delayq_core::handover::{Cursor, ShardRow};
use delayq_core::ports::{
    BatchStore, MessageRegistry, Outcomes, Page, PayloadStore, ShardState, StoredBatch, Written,
};
use delayq_core::tracked::{MessageKey, MessageRow, RowStamp, State};

use super::Points;

pub(super) struct Store {
    inner: Arc<dyn BatchStore>,
    points: Points,
}

impl Store {
    pub(super) fn around(inner: Arc<dyn BatchStore>, points: Points) -> Self {
        Self { inner, points }
    }
}

#[async_trait]
impl BatchStore for Store {
    async fn put(&self, batches: Vec<StoredBatch>) -> Outcomes {
        self.points.before("store_put");
        let outcomes = self.inner.put(batches).await;
        self.points.after_any("store_put", &outcomes);
        outcomes
    }

    async fn page(&self, key: &BucketKey, after: Option<&str>) -> Result<Page, PortError> {
        self.points.before("page_read");
        let page = self.inner.page(key, after).await?;
        if !page.batches.is_empty() {
            self.points.after("page_read");
        }
        Ok(page)
    }
}

pub(super) struct Payloads {
    inner: Arc<dyn PayloadStore>,
    points: Points,
}

impl Payloads {
    pub(super) fn around(inner: Arc<dyn PayloadStore>, points: Points) -> Self {
        Self { inner, points }
    }
}

#[async_trait]
impl PayloadStore for Payloads {
    async fn put(&self, id: &str, mut chunks: Vec<Bytes>, expires_s: i64) -> Outcomes {
        self.points.before("payload_put");
        if let Some(midst) = self.points.during("payload_put", chunks.len()) {
            chunks.truncate(midst.first);
            midst.end(&self.inner.put(id, chunks, expires_s).await);
        }
        let outcomes = self.inner.put(id, chunks, expires_s).await;
        self.points.after_any("payload_put", &outcomes);
        outcomes
    }

    async fn get(&self, id: &str, chunks: u32) -> Result<Vec<Option<Bytes>>, PortError> {
        self.points.before("payload_get");
        let found = self.inner.get(id, chunks).await?;
        self.points.after("payload_get");
        Ok(found)
    }
}

pub(super) struct Shards {
    inner: Arc<dyn ShardState>,
    points: Points,
}

impl Shards {
    pub(super) fn around(inner: Arc<dyn ShardState>, points: Points) -> Self {
        Self { inner, points }
    }
}

/// Which of the three writes of the handover this is.
fn write_of(row: &ShardRow) -> &'static str {
    if row.closing == row.watermark {
        "watermark_write"
    } else if row.cursor == Cursor::default() {
        "closing_write"
    } else {
        "cursor_write"
    }
}

#[async_trait]
impl ShardState for Shards {
    async fn create_if_absent(&self, row: ShardRow) -> Result<(), PortError> {
        self.points.before("state_create");
        self.inner.create_if_absent(row).await?;
        self.points.after("state_create");
        Ok(())
    }

    async fn read(&self, shard: ShardId) -> Result<Option<ShardRow>, PortError> {
        self.points.before("state_read");
        let row = self.inner.read(shard).await?;
        self.points.after("state_read");
        Ok(row)
    }

    async fn list(&self) -> Result<Vec<ShardRow>, PortError> {
        self.points.before("shard_list");
        let rows = self.inner.list().await?;
        self.points.after("shard_list");
        Ok(rows)
    }

    async fn take(&self, shard: ShardId, owner: &str) -> Result<ShardRow, PortError> {
        self.points.before("shard_take");
        let row = self.inner.take(shard, owner).await?;
        self.points.after("shard_take");
        Ok(row)
    }

    async fn update(&self, row: ShardRow) -> Result<(), PortError> {
        let effect = write_of(&row);
        self.points.before(effect);
        self.inner.update(row).await?;
        self.points.after_unless_unanswered(effect)
    }

    fn clock_skew_ms(&self) -> Option<i64> {
        self.inner.clock_skew_ms()
    }
}

pub(super) struct Registry {
    inner: Arc<dyn MessageRegistry>,
    points: Points,
}

impl Registry {
    pub(super) fn around(inner: Arc<dyn MessageRegistry>, points: Points) -> Self {
        Self { inner, points }
    }
}

/// Which change of a tracked record this is.
fn change_of(row: &MessageRow) -> &'static str {
    match row.state {
        State::Scheduled => "register",
        State::Cancelled { .. } => "cancel",
        State::Publishing(_) => "claim",
        State::Published(_) | State::Dead { .. } => "finish",
    }
}

#[async_trait]
impl MessageRegistry for Registry {
    async fn write(
        &self,
        row: MessageRow,
        expected: Option<RowStamp>,
    ) -> Result<Written, PortError> {
        let effect = change_of(&row);
        self.points.before(effect);
        let written = self.inner.write(row, expected).await?;
        if matches!(written, Written::Done) {
            self.points.after(effect);
        }
        Ok(written)
    }

    async fn read(&self, key: &MessageKey) -> Result<Option<MessageRow>, PortError> {
        self.inner.read(key).await
    }
}
