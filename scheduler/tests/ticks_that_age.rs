//! A tick that expires in its queue while it is worked on would free its shard for a second holder.

#![allow(clippy::expect_used, reason = "helpers of tests")]

use std::sync::Arc;
use std::time::Duration;

use delayq_core::bucket::{Bucket, BucketKey, ShardId, sort_key};
use delayq_core::clock::Clock;
use delayq_core::error::{ErrorClass, PortError};
use delayq_core::handover::{HandoverTimes, ShardRow};
use delayq_core::ports::{
    BatchStore, DelayQueue, HealthReport, Lane, Outcomes, QueueMessage, Receipt, ShardState,
    StoredBatch, TickQueue,
};
use delayq_core::priority::Priority;
use delayq_core::record::{Path, Record, Scheduled, Source, TopicPartition};
use delayq_core::{batch, clock::EpochMs};
use delayq_delivery::queue::QueueSettings;
use delayq_embedded::{MemoryBatchStore, MemoryShardState, MemoryTickQueue, RuntimeClock};
use delayq_scheduler::{SchedulerPorts, SchedulerSettings};
use tokio_util::sync::CancellationToken;

const START_MS: EpochMs = 1_800_000_000_000;
const SHARD: ShardId = ShardId(0);
const TIMES: HandoverTimes = HandoverTimes {
    bucket_ms: 300_000,
    lead_ms: 420_000,
    skip_read_ms: 900_000,
    max_skew_ms: 60_000,
};

struct Silent;

impl HealthReport for Silent {
    fn report(&self, _component: &str, _state: Result<(), String>) {}
    fn beat(&self, _task: &'static str, _limit: Duration) {}
    fn forget(&self, _component: &str) {}
}

/// The queues are away: a page that is read stays in the hands of its holder.
struct Away;

#[async_trait::async_trait]
impl DelayQueue for Away {
    async fn send(&self, _priority: Priority, messages: Vec<QueueMessage>) -> Outcomes {
        let error = PortError::new(ErrorClass::Transient, "test", "away");
        messages.iter().map(|_| Err(error.clone())).collect()
    }

    async fn receive(
        &self,
        _lane: Lane,
        _max: usize,
        _wait: Duration,
        _visibility: Duration,
    ) -> Result<Vec<Receipt>, PortError> {
        Ok(Vec::new())
    }

    async fn delete(&self, _lane: Lane, _handles: Vec<String>) -> Outcomes {
        Vec::new()
    }

    async fn extend(&self, _lane: Lane, _handles: Vec<String>, _by: Duration) -> Outcomes {
        Vec::new()
    }
}

fn settings() -> SchedulerSettings {
    SchedulerSettings {
        owner: "me".into(),
        times: TIMES,
        queue: QueueSettings {
            message_bytes: 262_144,
            memory_bytes: 4 << 20,
            zstd_level: 1,
            early_ms: 1_500,
            retry_first: Duration::from_millis(10),
            retry_max: Duration::from_secs(1),
            concurrency: 4,
        },
        tick: Duration::from_secs(30),
        work_limit: Duration::from_secs(60),
        lease: Duration::from_secs(60),
        wait: Duration::from_secs(10),
        workers: 1,
        remembered_sources: 1_000,
        stop_timeout: Duration::from_secs(1),
    }
}

struct Bench {
    clock: Arc<dyn Clock>,
    shards: Arc<MemoryShardState>,
    ticks: Arc<MemoryTickQueue>,
    store: Arc<MemoryBatchStore>,
}

impl Bench {
    /// A shard whose next bucket's lead has begun, with a batch in it, and no scheduler yet.
    async fn new() -> Self {
        let clock: Arc<dyn Clock> = Arc::new(RuntimeClock::starting_at(START_MS));
        let store = Arc::new(MemoryBatchStore::new(clock.clone()));
        let shards = Arc::new(MemoryShardState::new());
        let bucket = Bucket::of(START_MS + TIMES.lead_ms, TIMES.bucket_ms);
        let row = ShardRow::initial(SHARD, bucket.start_ms(TIMES.bucket_ms), TIMES.bucket_ms);
        shards.create_if_absent(row).await.expect("a row");
        let due_ms = bucket.start_ms(TIMES.bucket_ms);
        let record = Scheduled {
            source: Source {
                at: TopicPartition::new("d", 0),
                offset: 0,
            },
            output_topic: "out".into(),
            priority: Priority::Standard,
            due_ms,
            timestamp_ms: START_MS,
            id: None,
            path: Path::Long,
            record: Record::default(),
            payload: None,
            limit: None,
        };
        let stored = StoredBatch {
            key: BucketKey {
                bucket,
                shard: SHARD,
                sub: 0,
            },
            sort: sort_key(due_ms, "w", 1),
            body: batch::encode(&[record], 1).expect("a batch"),
            expires_s: START_MS,
        };
        for put in store.put(vec![stored]).await {
            put.expect("stored");
        }
        Self {
            clock,
            shards,
            ticks: Arc::new(MemoryTickQueue::new()),
            store,
        }
    }

    fn start(&self) {
        let ports = SchedulerPorts {
            store: self.store.clone(),
            shards: self.shards.clone(),
            ticks: self.ticks.clone(),
            queue: Arc::new(Away),
            clock: self.clock.clone(),
            health: Arc::new(Silent),
        };
        tokio::spawn(delayq_scheduler::run(
            settings(),
            ports,
            CancellationToken::new(),
        ));
    }

    async fn epoch(&self) -> u64 {
        let row = self.shards.read(SHARD).await.expect("read");
        row.expect("a row").epoch
    }
}

async fn seconds(seconds: u64) {
    tokio::time::sleep(Duration::from_secs(seconds)).await;
}

#[tokio::test(start_paused = true)]
async fn a_tick_that_is_old_when_it_is_received_is_not_worked_on() {
    let bench = Bench::new().await;
    // Nobody receives for four minutes: the oldest tick has one minute left.
    for minute in 0..8 {
        let tick_ms = START_MS + minute * 30_000;
        bench.ticks.send(SHARD, tick_ms).await.expect("sent");
        seconds(30).await;
    }
    bench.start();
    seconds(1).await;
    assert_eq!(
        bench.epoch().await,
        1,
        "one tick is worked on, and it holds the shard"
    );
    seconds(90).await;
    assert_eq!(
        bench.epoch().await,
        1,
        "the shard was free for another under its holder"
    );
}

#[tokio::test(start_paused = true)]
async fn a_holder_that_is_stuck_gives_the_shard_up_before_its_tick_expires() {
    let bench = Bench::new().await;
    bench.start();
    seconds(200).await;
    assert_eq!(bench.epoch().await, 1, "stuck with the page, and alone");
    // The tick would be gone after 300 s; by then the next one has its holder, here or elsewhere.
    seconds(39).await;
    let next = bench.ticks.receive(Duration::ZERO, Duration::from_secs(60));
    assert_eq!(
        next.await.expect("received"),
        None,
        "held until shortly before"
    );
    seconds(120).await;
    assert!(bench.epoch().await >= 2, "taken by the next tick");
}
