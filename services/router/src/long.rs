//! The router's side of the long tier: write the batch, read the shard's state, send too where the bucket closes.

use std::collections::{BTreeMap, HashSet};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use delayq_core::bucket::{Bucket, BucketKey, ShardId, sort_key};
use delayq_core::clock::Clock;
use delayq_core::error::{Backoff, ErrorClass, PortError};
use delayq_core::handover::{HandoverTimes, ShardRow, may_skip_state_read, shard_time_ms};
use delayq_core::packer::{EncodedBatch, PackingRatio, SizeLimits};
use delayq_core::ports::{BatchStore, HealthReport, ShardState, StoredBatch, paired};
use delayq_core::record::{QueueGroup, Scheduled};
use delayq_delivery::pacer::Pacer;
use delayq_delivery::payloads::Payloads;
use delayq_delivery::queue::{QueueSender, Sent, unsendable};
use tokio::time::Instant;

use crate::compression::{Compression, Encoded};
use crate::hot_keys::HotKeys;
use crate::metrics as names;
use crate::partitions::Ticket;

/// What the records of a group share.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct LongKey {
    /// Bucket.
    pub bucket: Bucket,
    /// Shard.
    pub shard: ShardId,
}

/// Settings of the writer.
#[derive(Debug, Clone)]
pub struct LongSettings {
    /// Times of the handover.
    pub times: HandoverTimes,
    /// Names this process; unique for each start.
    pub writer: String,
    /// TTL beyond the due time.
    pub expire_after_ms: i64,
    /// Sizes, and the zstd level that is always affordable.
    pub limits: SizeLimits,
    /// The zstd level while there is time.
    pub zstd_level_max: i32,
    /// Writes at once.
    pub concurrency: usize,
    /// First wait before another try.
    pub retry_first: Duration,
    /// Longest wait before another try.
    pub retry_max: Duration,
}

/// Writes groups to the long tier.
pub struct LongWriter {
    /// Settings.
    pub settings: LongSettings,
    store: Arc<dyn BatchStore>,
    shards: Arc<dyn ShardState>,
    payloads: Arc<Payloads>,
    sender: Arc<QueueSender>,
    clock: Arc<dyn Clock>,
    health: Arc<dyn HealthReport>,
    pacer: Pacer,
    ratio: Arc<PackingRatio>,
    compression: Compression,
    sequence: AtomicU64,
    ensured: Mutex<HashSet<ShardId>>,
    hot_keys: Mutex<HotKeys>,
}

const COMPONENT: &str = "long tier (router)";

impl LongWriter {
    /// A writer.
    #[must_use]
    pub fn new(
        settings: LongSettings,
        store: Arc<dyn BatchStore>,
        shards: Arc<dyn ShardState>,
        payloads: Arc<Payloads>,
        sender: Arc<QueueSender>,
        clock: Arc<dyn Clock>,
        health: Arc<dyn HealthReport>,
    ) -> Self {
        Self {
            pacer: Pacer::new(settings.concurrency),
            ratio: Arc::default(),
            compression: Compression::new(settings.zstd_level_max, Instant::now()),
            settings,
            store,
            shards,
            payloads,
            sender,
            clock,
            health,
            sequence: AtomicU64::new(0),
            ensured: Mutex::default(),
            hot_keys: Mutex::default(),
        }
    }

    /// Memory of the records that fill a batch, as far as the last ones tell.
    pub fn full_batch_bytes(&self) -> usize {
        self.memory_of(self.settings.limits.wanted_bytes)
    }

    /// Memory of the records that make a batch of so many encoded bytes, as far as the last ones tell.
    pub fn memory_of(&self, encoded_bytes: usize) -> usize {
        self.ratio.memory_bytes(encoded_bytes)
    }

    /// Hands a group over; tries until every record is confirmed, unsendable, or no longer ours.
    pub async fn write(
        &self,
        key: LongKey,
        items: Vec<(Scheduled, Ticket)>,
        report: impl Fn(Sent<Ticket>) + Send + Sync,
    ) {
        let (batches, too_large) = self.encode(items).await;
        self.write_batches(key, batches, &report).await;
        // After the others, which need not wait for the payload table.
        let references = self
            .payloads
            .store_all(too_large, &Ticket::is_alive, &mut |sent| report(sent))
            .await;
        let (batches, too_large) = self.encode(references).await;
        self.write_batches(key, batches, &report).await;
        if !too_large.is_empty() {
            let detail = format!(
                "does not fit a stored batch of {} bytes",
                self.settings.limits.largest_bytes
            );
            report(Sent::Unsendable(unsendable(
                too_large,
                "record-too-large",
                &detail,
            )));
        }
    }

    async fn encode(&self, items: Vec<(Scheduled, Ticket)>) -> Encoded<Ticket> {
        let limits = self.settings.limits;
        self.compression.encode(items, limits, &self.ratio).await
    }

    async fn write_batches(
        &self,
        key: LongKey,
        mut pending: Vec<EncodedBatch<Ticket>>,
        report: &(impl Fn(Sent<Ticket>) + Send + Sync),
    ) {
        if pending.is_empty() {
            return;
        }
        let mut written = Vec::new();
        // The row must exist before the first write: the scheduler never invents a watermark.
        if !self.retrying(&pending, || self.ensure_row(key.shard)).await {
            return;
        }
        let mut stored: Vec<StoredBatch> = pending
            .iter()
            .map(|batch| self.stored(key, batch))
            .collect();
        let mut backoff = self.backoff();
        while !stored.is_empty() {
            // What is written must still be settled.
            if !any_alive(&pending) {
                break;
            }
            let turn = self.pacer.turn().await;
            let outcomes = self.store.put(stored.clone()).await;
            drop(turn);
            let (mut retry, mut retry_stored, mut last) = (Vec::new(), Vec::new(), None);
            let entries = pending.drain(..).zip(stored.drain(..));
            for ((batch, entry), outcome) in paired(entries, outcomes, "store put") {
                match outcome {
                    Ok(()) => {
                        metrics::counter!(names::STORED).increment(1);
                        written.push(batch);
                    }
                    Err(error) if error.class == ErrorClass::Invalid => {
                        tracing::error!(%error, records = batch.items.len(), "the store refuses a batch");
                        report(Sent::Unsendable(unsendable(
                            batch.items,
                            "store-refused",
                            &error.to_string(),
                        )));
                    }
                    Err(error) => {
                        retry.push(batch);
                        retry_stored.push(entry);
                        last = Some(error);
                    }
                }
            }
            (pending, stored) = (retry, retry_stored);
            match last {
                None => self.succeeded(),
                Some(error) => self.failed(error, &mut backoff).await,
            }
        }
        self.settle(key, written, report).await;
    }

    /// Steps 2 to 4, after the writes are acknowledged.
    async fn settle(
        &self,
        key: LongKey,
        written: Vec<EncodedBatch<Ticket>>,
        report: &(impl Fn(Sent<Ticket>) + Send + Sync),
    ) {
        let mut closing = false;
        let skew_ms = self.shards.clock_skew_ms();
        if may_skip_state_read(
            key.bucket,
            self.clock.now_ms(),
            skew_ms,
            self.settings.times,
        ) {
            metrics::counter!(names::STATE_READS, "outcome" => "skipped").increment(1);
        } else {
            metrics::counter!(names::STATE_READS, "outcome" => "read").increment(1);
            let mut backoff = self.backoff();
            loop {
                if !any_alive(&written) {
                    return;
                }
                match self.shards.read(key.shard).await {
                    Ok(Some(row)) => {
                        closing = row.must_send_too(key.bucket);
                        self.succeeded();
                        break;
                    }
                    // The row vanished (a restored or emptied table): make it anew, then read it.
                    Ok(None) => {
                        self.forget_row(key.shard);
                        if !self.retrying(&written, || self.ensure_row(key.shard)).await {
                            return;
                        }
                    }
                    Err(error) => self.failed(error, &mut backoff).await,
                }
            }
        }
        let records = written.into_iter().flat_map(|batch| batch.items);
        if !closing {
            report(Sent::Confirmed(records.map(|(_, ticket)| ticket).collect()));
            return;
        }
        let mut groups: BTreeMap<QueueGroup, Vec<_>> = BTreeMap::new();
        for (record, ticket) in records {
            groups
                .entry(record.queue_group())
                .or_default()
                .push((record, ticket));
        }
        for (QueueGroup { priority, .. }, group) in groups {
            metrics::counter!(names::SENT_TOO).increment(group.len() as u64);
            tracing::info!(
                bucket = key.bucket.0,
                shard = key.shard.0,
                records = group.len(),
                "bucket is closing: records sent to the queue as well"
            );
            self.sender
                .send(priority, vec![group], Ticket::is_alive, report)
                .await;
        }
    }

    fn stored(&self, key: LongKey, batch: &EncodedBatch<Ticket>) -> StoredBatch {
        let dues = || batch.items.iter().map(|(record, _)| record.due_ms);
        let (first_ms, last_ms) = (dues().min().unwrap_or(0), dues().max().unwrap_or(0));
        let sequence = self.sequence.fetch_add(1, Ordering::Relaxed);
        let now_ms = self.clock.now_ms();
        let sub = self.hot_keys.lock().map_or(0, |mut keys| {
            keys.sub_partition(key.bucket, key.shard, batch.bytes.len(), now_ms)
        });
        StoredBatch {
            key: BucketKey {
                bucket: key.bucket,
                shard: key.shard,
                sub,
            },
            sort: sort_key(first_ms, &self.settings.writer, sequence),
            body: batch.bytes.clone(),
            expires_s: last_ms
                .saturating_add(self.settings.expire_after_ms)
                .div_euclid(1000),
        }
    }

    async fn ensure_row(&self, shard: ShardId) -> Result<(), PortError> {
        if self
            .ensured
            .lock()
            .is_ok_and(|known| known.contains(&shard))
        {
            return Ok(());
        }
        // Read first: the answer says what time it is for the store. A row begun by a clock that is far ahead would close
        // buckets that other routers believe far away.
        if self.shards.read(shard).await?.is_none() {
            let times = self.settings.times;
            let now_ms = shard_time_ms(self.clock.now_ms(), self.shards.clock_skew_ms(), times);
            let row = ShardRow::initial(shard, now_ms, times.bucket_ms);
            self.shards.create_if_absent(row).await?;
        }
        if let Ok(mut known) = self.ensured.lock() {
            known.insert(shard);
        }
        Ok(())
    }

    fn forget_row(&self, shard: ShardId) {
        if let Ok(mut known) = self.ensured.lock() {
            known.remove(&shard);
        }
    }

    /// Repeats a call until it succeeds; `false` when the records are no longer ours.
    async fn retrying<F: Future<Output = Result<(), PortError>>>(
        &self,
        batches: &[EncodedBatch<Ticket>],
        call: impl Fn() -> F,
    ) -> bool {
        let mut backoff = self.backoff();
        while any_alive(batches) {
            match call().await {
                Ok(()) => return true,
                Err(error) => self.failed(error, &mut backoff).await,
            }
        }
        false
    }

    fn backoff(&self) -> Backoff {
        Backoff::new(self.settings.retry_first, self.settings.retry_max)
    }

    fn succeeded(&self) {
        self.pacer.succeeded();
        self.health.report(COMPONENT, Ok(()));
    }

    async fn failed(&self, error: PortError, backoff: &mut Backoff) {
        if error.class == ErrorClass::Throttled {
            self.pacer.throttled();
        } else {
            self.health.report(COMPONENT, Err(error.to_string()));
        }
        tokio::time::sleep(backoff.wait_after(&error)).await;
    }
}

fn any_alive(batches: &[EncodedBatch<Ticket>]) -> bool {
    batches
        .iter()
        .any(|batch| batch.items.iter().any(|(_, ticket)| ticket.is_alive()))
}
