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
    BatchStore, DelayQueue, Lane, Outcomes, Page, QueueMessage, Receipt, ShardState, StoredBatch,
};
use delayq_core::priority::Priority;
use delayq_core::record::{Path, Record, Scheduled, Source, TopicPartition};
use delayq_delivery::queue::{QueueSender, QueueSettings};
use delayq_embedded::{MemoryBatchStore, MemoryDelayQueue, MemoryHealth, MemoryShardState};
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
    /// Another scheduler takes the shard, and the store does not answer.
    TakeoverInAFailure,
    /// The store does not answer from then on.
    Outage,
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
        let page = self.pages.fetch_add(1, Ordering::SeqCst);
        if page == self.at_page || page > self.at_page && self.what == Interruption::Outage {
            match self.what {
                Interruption::Nothing | Interruption::QueueFailure => {}
                Interruption::Takeover => drop(self.shards.take(SHARD, "another").await?),
                Interruption::Failure | Interruption::Outage => {
                    return Err(PortError::new(ErrorClass::Transient, "test", "no answer"));
                }
                Interruption::TakeoverInAFailure => {
                    self.shards.take(SHARD, "another").await?;
                    return Err(PortError::new(ErrorClass::Transient, "test", "no answer"));
                }
            }
        }
        self.store.page(key, after).await
    }
}

/// The rows, of which one update fails, without effect or without an answer.
struct Refusing {
    shards: Arc<MemoryShardState>,
    at_update: usize,
    takes_effect: bool,
    updates: AtomicUsize,
}

#[async_trait]
impl ShardState for Refusing {
    async fn create_if_absent(&self, row: ShardRow) -> Result<(), PortError> {
        self.shards.create_if_absent(row).await
    }

    async fn read(&self, shard: ShardId) -> Result<Option<ShardRow>, PortError> {
        self.shards.read(shard).await
    }

    async fn list(&self) -> Result<Vec<ShardRow>, PortError> {
        self.shards.list().await
    }

    async fn take(&self, shard: ShardId, owner: &str) -> Result<ShardRow, PortError> {
        self.shards.take(shard, owner).await
    }

    async fn update(&self, row: ShardRow) -> Result<(), PortError> {
        if self.updates.fetch_add(1, Ordering::SeqCst) != self.at_update {
            return self.shards.update(row).await;
        }
        if self.takes_effect {
            self.shards.update(row).await?;
        }
        Err(PortError::new(ErrorClass::Throttled, "test", "slow down"))
    }

    fn clock_skew_ms(&self) -> Option<i64> {
        self.shards.clock_skew_ms()
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
                Arc::new(MemoryHealth::default()),
                settings,
            )),
            queue: Arc::new(Unreliable {
                queue: queue.clone(),
                failures: AtomicUsize::new(usize::from(what == Interruption::QueueFailure)),
            }),
            clock,
            health: Arc::new(MemoryHealth::default()),
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
async fn a_holder_that_was_overtaken_during_a_failure_does_not_take_the_shard_back() {
    let bench = Bench::new(Interruption::TakeoverInAFailure, 1).await;
    bench.store(0, 1, 0..10).await;
    assert_eq!(bench.close().await, Outcome::Lost);
    let row = bench.row().await;
    assert_eq!((row.owner.as_str(), row.epoch), ("another", 2));
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
async fn a_store_that_is_away_is_asked_ever_more_seldom_and_does_not_look_well_meanwhile() {
    let mut bench = Bench::new(Interruption::Outage, 0).await;
    let health = Arc::new(MemoryHealth::default());
    bench.closer.health = health.clone();
    bench.store(0, 1, 0..10).await;
    assert_eq!(bench.close().await, Outcome::Limit);
    // After 10, 20, 40 and 80 ms, then every 100 ms of the minute that a tick may take.
    let asked = bench.store.pages.load(Ordering::SeqCst);
    assert!((590..=605).contains(&asked), "{asked} times");
    let (well, ill) = health.reports();
    assert_eq!(ill, asked);
    assert_eq!(well, 2, "the shard was taken, its bucket closing");
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

/// The bucket's lead has begun by this machine's clock only; routers may believe it far away and not look at the row.
#[tokio::test(start_paused = true)]
async fn a_clock_that_is_ahead_of_the_stores_closes_nothing_too_soon() {
    let bench = Bench::new(Interruption::Nothing, 0).await;
    bench.store(0, 1, 0..10).await;
    bench.shards.set_clock_skew_ms(Some(20 * 60_000));
    assert_eq!(bench.close().await, Outcome::UpToDate);
    let row = bench.row().await;
    assert!(row.closing < bench.bucket, "closed 20 minutes too soon");
    assert_eq!(bench.sent(), (vec![], 0));
    bench.shards.set_clock_skew_ms(Some(0));
    assert_eq!(bench.close().await, Outcome::UpToDate);
    assert_eq!(bench.sent().0.len(), 10);
}

#[tokio::test(start_paused = true)]
async fn records_read_but_not_sent_are_no_copies_when_the_page_is_read_again() {
    let bench = Bench::new(Interruption::QueueFailure, 0).await;
    bench.store(0, 1, 0..10).await;
    bench.stored(0, 2, Bytes::from_static(b"damaged")).await;
    assert_eq!(bench.close().await, Outcome::UpToDate);
    assert_eq!(bench.sent(), ((0..10).collect(), 1));
}

#[tokio::test(start_paused = true)]
async fn a_page_is_not_sent_again_because_its_cursor_could_not_be_saved() {
    for takes_effect in [false, true] {
        // The first update opens the bucket, the second saves the first page.
        for at_update in [0, 1, 2, 3] {
            let mut bench = Bench::new(Interruption::Nothing, 0).await;
            bench.store(0, 1, 0..10).await;
            bench.store(3, 2, 10..20).await;
            bench.closer.shards = Arc::new(Refusing {
                shards: bench.shards.clone(),
                at_update,
                takes_effect,
                updates: AtomicUsize::new(0),
            });
            assert_eq!(bench.close().await, Outcome::UpToDate);
            let sent = bench.sent();
            assert_eq!(
                sent,
                ((0..20).collect(), 0),
                "update {at_update}, {takes_effect}"
            );
            assert_eq!(bench.row().await.watermark, bench.bucket);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_stop_waits_for_the_cursor_of_the_page_that_was_sent() {
    let mut bench = Bench::new(Interruption::Nothing, 0).await;
    bench.store(0, 1, 0..10).await;
    bench.closer.shards = Arc::new(Refusing {
        shards: bench.shards.clone(),
        at_update: 1,
        takes_effect: false,
        updates: AtomicUsize::new(0),
    });
    let stop = CancellationToken::new();
    let (queue, asked) = (bench.queue.clone(), stop.clone());
    tokio::spawn(async move {
        while queue.is_empty(Lane::Main(Priority::Standard)) {
            tokio::task::yield_now().await;
        }
        asked.cancel();
    });
    let outcome = bench.closer.bring_up_to_date(SHARD, &stop).await;
    assert_eq!(outcome, Outcome::Stopped);
    assert_eq!(bench.row().await.cursor.sub, 1, "saved before the stop");
}
