//! Closing a bucket over the embedded adapters: fence, takeover, copies, unreadable batches.

#![allow(clippy::expect_used, reason = "helpers of tests")]

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use delayq_core::batch;
use delayq_core::bucket::{Bucket, BucketKey, ShardId, sort_key};
use delayq_core::clock::{Clock, ManualClock};
use delayq_core::error::{ErrorClass, PortError};
use delayq_core::handover::{HandoverTimes, ShardRow};
use delayq_core::ports::{
    BatchStore, DelayQueue, HealthReport, Lane, Outcomes, Page, QueueMessage, Receipt, ShardState,
    StoredBatch,
};
use delayq_core::priority::Priority;
use delayq_core::record::{Path, Record, Scheduled, Source, TopicPartition};
use delayq_delivery::queue::{QueueSender, QueueSettings};
use delayq_embedded::{MemoryBatchStore, MemoryDelayQueue, MemoryShardState};
use delayq_scheduler::SchedulerSettings;
use delayq_scheduler::closing::{Closer, Outcome};
use tokio_util::sync::CancellationToken;

const TIMES: HandoverTimes = HandoverTimes {
    bucket_ms: 300_000,
    lead_ms: 420_000,
    skip_read_ms: 900_000,
    max_skew_ms: 60_000,
};
const SHARD: ShardId = ShardId(0);
const NOW_MS: i64 = 1_800_000_000_000;

struct Silent;

impl HealthReport for Silent {
    fn report(&self, _component: &str, _state: Result<(), String>) {}
    fn beat(&self, _task: &'static str, _limit: Duration) {}
    fn forget(&self, _component: &str) {}
}

/// The store, where something happens at the `n`th page that is read.
struct Interrupted {
    store: MemoryBatchStore,
    shards: Arc<MemoryShardState>,
    at_page: usize,
    pages: AtomicUsize,
    what: Interruption,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Interruption {
    Nothing,
    /// Another scheduler takes the shard.
    Takeover,
    /// The store does not answer, once.
    Failure,
    /// The queue does not answer, once, when an unreadable batch is passed on.
    QueueFailure,
}

/// The queue, of which the first send fails when asked to.
struct Unreliable {
    queue: Arc<MemoryDelayQueue>,
    failures: AtomicUsize,
}

#[async_trait]
impl DelayQueue for Unreliable {
    async fn send(&self, priority: Priority, messages: Vec<QueueMessage>) -> Outcomes {
        let failing = self
            .failures
            .fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| {
                left.checked_sub(1)
            });
        if failing.is_ok() {
            let error = PortError::new(ErrorClass::Transient, "test", "no answer");
            return messages.iter().map(|_| Err(error.clone())).collect();
        }
        self.queue.send(priority, messages).await
    }

    async fn receive(
        &self,
        lane: Lane,
        max: usize,
        wait: Duration,
        visibility: Duration,
    ) -> Result<Vec<Receipt>, PortError> {
        self.queue.receive(lane, max, wait, visibility).await
    }

    async fn delete(&self, lane: Lane, handles: Vec<String>) -> Outcomes {
        self.queue.delete(lane, handles).await
    }

    async fn extend(&self, lane: Lane, handles: Vec<String>, visibility: Duration) -> Outcomes {
        self.queue.extend(lane, handles, visibility).await
    }
}

#[async_trait]
impl BatchStore for Interrupted {
    async fn put(&self, batches: Vec<StoredBatch>) -> Outcomes {
        self.store.put(batches).await
    }

    async fn page(&self, key: &BucketKey, after: Option<&str>) -> Result<Page, PortError> {
        if self.pages.fetch_add(1, Ordering::SeqCst) == self.at_page {
            match self.what {
                Interruption::Nothing | Interruption::QueueFailure => {}
                Interruption::Takeover => drop(self.shards.take(SHARD, "another").await?),
                Interruption::Failure => {
                    return Err(PortError::new(ErrorClass::Transient, "test", "no answer"));
                }
            }
        }
        self.store.page(key, after).await
    }
}

struct Bench {
    store: Arc<Interrupted>,
    shards: Arc<MemoryShardState>,
    queue: Arc<MemoryDelayQueue>,
    closer: Closer,
    bucket: Bucket,
}

fn record(offset: i64, due_ms: i64) -> Scheduled {
    Scheduled {
        source: Source {
            at: TopicPartition::new("d", 0),
            offset,
        },
        output_topic: "out".into(),
        priority: Priority::Standard,
        due_ms,
        timestamp_ms: NOW_MS,
        id: None,
        path: Path::Long,
        record: Record {
            value: Some(Bytes::from_static(b"v")),
            ..Record::default()
        },
        payload: None,
        limit: None,
    }
}

impl Bench {
    /// A shard whose next bucket's lead has begun.
    async fn new(what: Interruption, at_page: usize) -> Self {
        let clock: Arc<dyn Clock> = Arc::new(ManualClock::at(NOW_MS));
        let shards = Arc::new(MemoryShardState::new());
        let queue = Arc::new(MemoryDelayQueue::new(clock.clone()));
        let store = Interrupted {
            store: MemoryBatchStore::new(clock.clone()),
            shards: shards.clone(),
            at_page,
            pages: AtomicUsize::new(0),
            what,
        };
        let store = Arc::new(store);
        let bucket = Bucket::of(NOW_MS + TIMES.lead_ms, TIMES.bucket_ms);
        let row = ShardRow::initial(SHARD, bucket.start_ms(TIMES.bucket_ms), TIMES.bucket_ms);
        shards.create_if_absent(row).await.expect("a row");
        let settings = QueueSettings {
            message_bytes: 262_144,
            memory_bytes: 4 << 20,
            zstd_level: 1,
            early_ms: 1_500,
            retry_first: Duration::from_millis(10),
            retry_max: Duration::from_millis(100),
            concurrency: 4,
        };
        let closer = Closer {
            settings: SchedulerSettings {
                owner: "me".into(),
                times: TIMES,
                queue: settings,
                tick: Duration::from_secs(30),
                work_limit: Duration::from_secs(60),
                lease: Duration::from_secs(60),
                wait: Duration::from_secs(1),
                workers: 1,
                remembered_sources: 1_000,
                stop_timeout: Duration::from_secs(1),
            },
            store: store.clone(),
            shards: shards.clone(),
            sender: Arc::new(QueueSender::new(
                queue.clone(),
                None,
                clock.clone(),
                Arc::new(Silent),
                settings,
            )),
            queue: Arc::new(Unreliable {
                queue: queue.clone(),
                failures: AtomicUsize::new(usize::from(what == Interruption::QueueFailure)),
            }),
            clock,
            health: Arc::new(Silent),
        };
        Self {
            store,
            shards,
            queue,
            closer,
            bucket,
        }
    }

    async fn stored(&self, sub: u8, sequence: u64, body: Bytes) {
        let due_ms = self.bucket.start_ms(TIMES.bucket_ms);
        let key = BucketKey {
            bucket: self.bucket,
            shard: SHARD,
            sub,
        };
        let batch = StoredBatch {
            key,
            sort: sort_key(due_ms, "w", sequence),
            body,
            expires_s: NOW_MS,
        };
        for put in self.store.put(vec![batch]).await {
            put.expect("stored");
        }
    }

    async fn store(&self, sub: u8, sequence: u64, offsets: std::ops::Range<i64>) {
        let due_ms = self.bucket.start_ms(TIMES.bucket_ms);
        let records: Vec<_> = offsets.map(|o| record(o, due_ms + o)).collect();
        self.stored(sub, sequence, batch::encode(&records, 1).expect("a batch"))
            .await;
    }

    async fn close(&self) -> Outcome {
        self.closer
            .bring_up_to_date(SHARD, &CancellationToken::new())
            .await
    }

    async fn row(&self) -> ShardRow {
        self.shards.read(SHARD).await.expect("read").expect("a row")
    }

    /// Offsets of the records in the queue, and how many messages are no batch.
    fn sent(&self) -> (Vec<i64>, usize) {
        let (mut offsets, mut unreadable) = (Vec::new(), 0);
        for body in self.queue.bodies(Lane::Main(Priority::Standard)) {
            match batch::from_text(&body) {
                Ok(records) => offsets.extend(records.iter().map(|r| r.source.offset)),
                Err(_) => unreadable += 1,
            }
        }
        offsets.sort_unstable();
        (offsets, unreadable)
    }
}

#[tokio::test(start_paused = true)]
async fn a_bucket_is_closed_with_all_its_sub_partitions() {
    let bench = Bench::new(Interruption::Nothing, 0).await;
    bench.store(0, 1, 0..10).await;
    bench.store(15, 2, 10..20).await;
    assert_eq!(bench.close().await, Outcome::UpToDate);
    assert_eq!(bench.sent(), ((0..20).collect(), 0));
    let row = bench.row().await;
    assert_eq!((row.watermark, row.closing), (bench.bucket, bench.bucket));
    assert_eq!(bench.close().await, Outcome::UpToDate, "nothing more to do");
    assert_eq!(bench.sent().0.len(), 20, "sent once");
}

#[tokio::test(start_paused = true)]
async fn a_holder_that_was_overtaken_stops_and_the_next_one_finishes() {
    // Sub-partition 0 has a page, then 1 is read when another takes the shard: the save after 2's page must fail.
    let bench = Bench::new(Interruption::Takeover, 1).await;
    bench.store(0, 1, 0..10).await;
    bench.store(2, 2, 10..20).await;
    bench.store(3, 3, 20..30).await;
    assert_eq!(bench.close().await, Outcome::Lost);
    let row = bench.row().await;
    assert!(
        row.watermark < bench.bucket && row.closing == bench.bucket,
        "not closed by one who lost it"
    );
    assert_eq!(
        (row.cursor.sub, row.owner.as_str()),
        (1, "another"),
        "saved up to the takeover"
    );
    assert_eq!(bench.sent().0, (0..20).collect::<Vec<_>>());
    assert_eq!(bench.close().await, Outcome::UpToDate);
    assert_eq!(bench.row().await.watermark, bench.bucket);
    let expected: Vec<_> = (0..10)
        .chain((10..20).flat_map(|o| [o, o]))
        .chain(20..30)
        .collect();
    assert_eq!(
        bench.sent().0,
        expected,
        "the page that was not saved is repeated, no other"
    );
}

#[tokio::test(start_paused = true)]
async fn a_store_that_fails_once_costs_nothing() {
    let bench = Bench::new(Interruption::Failure, 3).await;
    bench.store(0, 1, 0..10).await;
    bench.store(7, 2, 10..20).await;
    assert_eq!(bench.close().await, Outcome::UpToDate);
    assert_eq!(bench.sent(), ((0..20).collect(), 0));
}

#[tokio::test(start_paused = true)]
async fn copies_are_dropped_and_the_unreadable_is_passed_on() {
    let bench = Bench::new(Interruption::Nothing, 0).await;
    bench.store(0, 1, 0..10).await;
    bench.store(1, 2, 5..15).await;
    bench
        .stored(2, 3, Bytes::from_static(b"DQ\x09 from the future"))
        .await;
    assert_eq!(bench.close().await, Outcome::UpToDate);
    assert_eq!(bench.sent(), ((0..15).collect(), 1));
}

#[tokio::test(start_paused = true)]
async fn a_tick_for_a_shard_without_a_row_invents_none() {
    let bench = Bench::new(Interruption::Nothing, 0).await;
    let outcome = bench
        .closer
        .bring_up_to_date(ShardId(9), &CancellationToken::new())
        .await;
    assert_eq!(outcome, Outcome::NoRow);
    assert_eq!(bench.shards.list().await.expect("rows").len(), 1);
}

#[tokio::test(start_paused = true)]
async fn records_read_but_not_sent_are_no_copies_when_the_page_is_read_again() {
    let bench = Bench::new(Interruption::QueueFailure, 0).await;
    bench.store(0, 1, 0..10).await;
    bench.stored(0, 2, Bytes::from_static(b"damaged")).await;
    assert_eq!(bench.close().await, Outcome::UpToDate);
    assert_eq!(bench.sent(), ((0..10).collect(), 1));
}
