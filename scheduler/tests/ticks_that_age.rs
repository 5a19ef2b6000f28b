//! How a scheduler holds a shard by its tick: as long as it works and no longer, and never beyond the tick's life in its queue.

#![allow(clippy::expect_used, reason = "helpers of tests")]

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use delayq_core::bucket::{Bucket, BucketKey, ShardId, sort_key};
use delayq_core::clock::Clock;
use delayq_core::error::{ErrorClass, PortError};
use delayq_core::handover::{HandoverTimes, ShardRow};
use delayq_core::ports::{
    BatchStore, DelayQueue, Lane, Outcomes, QueueMessage, Receipt, ShardState, StoredBatch, Tick,
    TickQueue,
};
use delayq_core::priority::Priority;
use delayq_core::record::{Path, Record, Scheduled, Source, TopicPartition};
use delayq_core::{batch, clock::EpochMs};
use delayq_delivery::queue::QueueSettings;
use delayq_embedded::{
    MemoryBatchStore, MemoryDelayQueue, MemoryHealth, MemoryShardState, MemoryTickQueue,
    RuntimeClock,
};
use delayq_scheduler::{SchedulerPorts, SchedulerSettings};
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};
use tokio_util::sync::CancellationToken;

const START_MS: EpochMs = 1_800_000_000_000;
const SHARD: ShardId = ShardId(0);
const TIMES: HandoverTimes = HandoverTimes {
    bucket_ms: 300_000,
    lead_ms: 420_000,
    skip_read_ms: 900_000,
    max_skew_ms: 60_000,
};

/// The tick queue, whose first heartbeats fail.
struct Failing {
    ticks: Arc<MemoryTickQueue>,
    class: ErrorClass,
    failures: AtomicUsize,
}

/// The tick queue, whose first answer is on its way for long.
struct Slow {
    ticks: Arc<MemoryTickQueue>,
    answer: Duration,
    extended: AtomicUsize,
}

#[async_trait::async_trait]
impl TickQueue for Slow {
    async fn send(&self, shard: ShardId, tick_ms: EpochMs) -> Result<(), PortError> {
        self.ticks.send(shard, tick_ms).await
    }

    async fn receive(&self, wait: Duration, lease: Duration) -> Result<Option<Tick>, PortError> {
        let tick = self.ticks.receive(wait, lease).await?;
        if tick.is_some() {
            tokio::time::sleep(self.answer).await;
        }
        Ok(tick)
    }

    async fn extend(&self, tick: &Tick, lease: Duration) -> Result<(), PortError> {
        self.extended.fetch_add(1, Ordering::SeqCst);
        self.ticks.extend(tick, lease).await
    }

    async fn delete(&self, tick: &Tick) -> Result<(), PortError> {
        self.ticks.delete(tick).await
    }
}

#[async_trait::async_trait]
impl TickQueue for Failing {
    async fn send(&self, shard: ShardId, tick_ms: EpochMs) -> Result<(), PortError> {
        self.ticks.send(shard, tick_ms).await
    }

    async fn receive(&self, wait: Duration, lease: Duration) -> Result<Option<Tick>, PortError> {
        self.ticks.receive(wait, lease).await
    }

    async fn extend(&self, tick: &Tick, lease: Duration) -> Result<(), PortError> {
        let left = self.failures.load(Ordering::SeqCst);
        if left > 0 {
            self.failures.store(left - 1, Ordering::SeqCst);
            return Err(PortError::new(self.class, "test", "no heartbeat"));
        }
        self.ticks.extend(tick, lease).await
    }

    async fn delete(&self, tick: &Tick) -> Result<(), PortError> {
        self.ticks.delete(tick).await
    }
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
    health: Arc<MemoryHealth>,
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
            health: Arc::default(),
        }
    }

    /// Starts a scheduler that gets stuck with its first page.
    fn start(&self) {
        self.start_with(self.ticks.clone(), Arc::new(Away));
    }

    fn start_with(&self, ticks: Arc<dyn TickQueue>, queue: Arc<dyn DelayQueue>) {
        let ports = SchedulerPorts {
            store: self.store.clone(),
            shards: self.shards.clone(),
            ticks,
            queue,
            clock: self.clock.clone(),
            health: self.health.clone(),
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

/// A counter of the metrics as they are shown.
fn count(metrics: &PrometheusHandle, series: &str) -> u64 {
    let shown = metrics.render();
    let line = shown.lines().find_map(|line| line.strip_prefix(series));
    line.map_or(0, |count| count.trim().parse().expect("a count"))
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

#[tokio::test(start_paused = true)]
async fn a_tick_is_worked_on_if_it_lives_for_as_long_as_the_work_may_take() {
    for (age_ms, stale) in [(120_000, 0), (120_001, 1)] {
        let recorder = PrometheusBuilder::new().build_recorder();
        let metrics = recorder.handle();
        let _here = metrics::set_default_local_recorder(&recorder);
        let bench = Bench::new().await;
        let sent = bench.ticks.send(SHARD, START_MS - age_ms).await;
        sent.expect("sent");
        bench.start();
        seconds(1).await;
        let outcome = "delayq_scheduler_ticks_total{outcome=\"stale\"}";
        assert_eq!(count(&metrics, outcome), stale, "{age_ms} ms old");
        let lost = metrics
            .render()
            .lines()
            .any(|line| line == "delayq_scheduler_leases_lost_total 0");
        assert!(lost, "there before its first event");
    }
}

#[tokio::test(start_paused = true)]
async fn a_shard_is_free_for_the_next_tick_as_soon_as_it_is_up_to_date() {
    let bench = Bench::new().await;
    let queue = Arc::new(MemoryDelayQueue::new(bench.clock.clone()));
    bench.start_with(bench.ticks.clone(), queue);
    seconds(1).await;
    assert_eq!(bench.epoch().await, 1);
    seconds(30).await;
    assert_eq!(bench.epoch().await, 2, "well before the lease would end");
    seconds(60).await;
    // Once when a tick is sent, and once when the next is waited for.
    let (beats, limit) = bench.health.beats("scheduler ticks").expect("it lives");
    assert!((4..=10).contains(&beats), "{beats} looks in 91 s");
    assert_eq!(limit, Duration::from_secs(120));
    let (_, limit) = bench.health.beats("scheduler worker").expect("it lives");
    assert_eq!(limit, Duration::from_secs(180));
}

#[tokio::test(start_paused = true)]
async fn a_heartbeat_that_fails_costs_the_shard_only_when_it_is_anothers() {
    for (class, lost) in [(ErrorClass::Transient, 0), (ErrorClass::Conflict, 1)] {
        let recorder = PrometheusBuilder::new().build_recorder();
        let metrics = recorder.handle();
        let _here = metrics::set_default_local_recorder(&recorder);
        let bench = Bench::new().await;
        let ticks = Failing {
            ticks: bench.ticks.clone(),
            class,
            failures: AtomicUsize::new(1),
        };
        bench.start_with(Arc::new(ticks), Arc::new(Away));
        // A heartbeat is due every 20 s.
        seconds(21).await;
        let series = "delayq_scheduler_leases_lost_total";
        assert_eq!(count(&metrics, series), lost, "{class:?}");
    }
}

/// A process that was stopped while it waited for an answer, or a slow network: most of the lease is over by then.
#[tokio::test(start_paused = true)]
async fn a_lease_counts_from_when_the_tick_was_asked_for() {
    let bench = Bench::new().await;
    let ticks = Arc::new(Slow {
        ticks: bench.ticks.clone(),
        answer: Duration::from_secs(55),
        extended: AtomicUsize::new(0),
    });
    bench.start_with(ticks.clone(), Arc::new(Away));
    seconds(56).await;
    assert_eq!(bench.epoch().await, 1, "it works on it");
    assert_eq!(
        ticks.extended.load(Ordering::SeqCst),
        1,
        "prolonged at once"
    );
    let other = bench
        .ticks
        .receive(Duration::from_secs(10), Duration::from_secs(60));
    assert_eq!(other.await.expect("received"), None, "and still holds it");
}
