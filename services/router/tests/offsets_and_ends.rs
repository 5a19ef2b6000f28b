//! What the router commits, and when: a consumer, queue and store that do as the test says.

#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "helpers of tests"
)]

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use delayq_core::batch;
use delayq_core::bucket::{BucketKey, ShardId};
use delayq_core::clock::Clock;
use delayq_core::error::{ErrorClass, PortError};
use delayq_core::handover::{HandoverTimes, ShardRow};
use delayq_core::headers::HeaderNames;
use delayq_core::ports::{
    Assigned, BatchStore, Commit, DelayQueue, Lane, Outcomes, Page, QueueMessage, Receipt,
    RecordSource, RevokeReply, ShardState, SourceEvent, StoredBatch,
};
use delayq_core::priority::Priority;
use delayq_core::record::{Header, Incoming, Record, Source, TopicPartition};
use delayq_core::route::{KnownOutputs, Policy};
use delayq_delivery::payloads::PayloadSettings;
use delayq_delivery::publish::PublishSettings;
use delayq_delivery::queue::QueueSettings;
use delayq_delivery::registry::RegistrySettings;
use delayq_embedded::{
    MemoryBatchStore, MemoryBroker, MemoryDelayQueue, MemoryHealth, MemoryMessageRegistry,
    MemoryPayloadStore, MemoryShardState, MemorySink, RuntimeClock,
};
use delayq_router::{RouterPorts, RouterSettings};
use globset::{Glob, GlobSet};
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

const NOW_MS: i64 = 1_800_000_000_000;
const LANE: Lane = Lane::Main(Priority::Standard);
const RETRY_FIRST: Duration = Duration::from_millis(10);
const RETRY_MAX: Duration = Duration::from_secs(1);
const REVOKE_TIMEOUT: Duration = Duration::from_secs(9);
const TIMES: HandoverTimes = HandoverTimes {
    bucket_ms: 300_000,
    lead_ms: 420_000,
    skip_read_ms: 900_000,
    max_skew_ms: 60_000,
};
/// Goes to the queue: beyond what the router publishes itself, below what the store keeps.
const SHORT_MS: i64 = 600_000;
/// Goes to the store, into a bucket whose closing is so near that the shard's state is read.
const LONG_MS: i64 = 1_200_000;

/// A consumer that tells what the test tells it.
struct Script {
    events: mpsc::UnboundedReceiver<SourceEvent>,
    commits: Arc<Mutex<Vec<Commit>>>,
    group: Arc<Group>,
}

/// What the group does, and what it was told.
#[derive(Default)]
struct Group {
    /// It refuses commits until it is done.
    rebalances: AtomicBool,
    paused: AtomicBool,
    left: AtomicBool,
}

#[async_trait]
impl RecordSource for Script {
    async fn next(&mut self) -> Option<SourceEvent> {
        self.events.recv().await
    }

    fn pause(&self, _partitions: &[TopicPartition]) {
        self.group.paused.store(true, Ordering::SeqCst);
    }

    fn resume(&self, _partitions: &[TopicPartition]) {}

    async fn commit(&self, commits: Vec<Commit>) -> Outcomes {
        if self.group.rebalances.load(Ordering::SeqCst) {
            let error = PortError::new(ErrorClass::Transient, "test", "rebalance in progress");
            return commits.iter().map(|_| Err(error.clone())).collect();
        }
        let outcomes = commits.iter().map(|_| Ok(())).collect();
        self.commits.lock().expect("unpoisoned").extend(commits);
        outcomes
    }

    fn close(&self) {
        self.group.left.store(true, Ordering::SeqCst);
    }
}

/// The queue, which answers nothing while its gate is shut.
struct Gated {
    inner: Arc<MemoryDelayQueue>,
    open: watch::Receiver<bool>,
}

#[async_trait]
impl DelayQueue for Gated {
    async fn send(&self, priority: Priority, messages: Vec<QueueMessage>) -> Outcomes {
        let mut open = self.open.clone();
        open.wait_for(|open| *open).await.expect("the test goes on");
        self.inner.send(priority, messages).await
    }

    async fn receive(
        &self,
        lane: Lane,
        max: usize,
        wait: Duration,
        visibility: Duration,
    ) -> Result<Vec<Receipt>, PortError> {
        self.inner.receive(lane, max, wait, visibility).await
    }

    async fn delete(&self, lane: Lane, handles: Vec<String>) -> Outcomes {
        self.inner.delete(lane, handles).await
    }

    async fn extend(&self, lane: Lane, handles: Vec<String>, visibility: Duration) -> Outcomes {
        self.inner.extend(lane, handles, visibility).await
    }
}

/// What happens at the first write to the store.
#[derive(Clone, Copy, PartialEq, Eq)]
enum FirstWrite {
    Succeeds,
    /// Nothing is written.
    Fails,
    /// Before it takes effect, a scheduler closes its bucket and hands it over.
    IsOvertaken,
}

struct Store {
    inner: MemoryBatchStore,
    shards: Arc<MemoryShardState>,
    first: FirstWrite,
    writes: AtomicUsize,
}

#[async_trait]
impl BatchStore for Store {
    async fn put(&self, batches: Vec<StoredBatch>) -> Outcomes {
        if self.writes.fetch_add(1, Ordering::SeqCst) == 0 {
            match self.first {
                FirstWrite::Succeeds => {}
                FirstWrite::Fails => {
                    let error = PortError::new(ErrorClass::Transient, "test", "busy");
                    return batches.iter().map(|_| Err(error.clone())).collect();
                }
                FirstWrite::IsOvertaken => {
                    let bucket = batches[0].key.bucket;
                    let row = self.shards.take(ShardId(0), "a scheduler").await;
                    let closed = ShardRow {
                        watermark: bucket,
                        closing: bucket,
                        ..row.expect("a row, made before the first write")
                    };
                    self.shards.update(closed).await.expect("its own row");
                }
            }
        }
        self.inner.put(batches).await
    }

    async fn page(&self, key: &BucketKey, after: Option<&str>) -> Result<Page, PortError> {
        self.inner.page(key, after).await
    }
}

/// A router at work on partition 0 of `d`.
struct Bench {
    events: mpsc::UnboundedSender<SourceEvent>,
    commits: Arc<Mutex<Vec<Commit>>>,
    gate: watch::Sender<bool>,
    queue: Arc<MemoryDelayQueue>,
    store: Arc<Store>,
    broker: MemoryBroker,
    group: Arc<Group>,
    stop: CancellationToken,
}

fn partition() -> TopicPartition {
    TopicPartition::new("d", 0)
}

impl Bench {
    fn new(max_wait_ms: i64, first: FirstWrite) -> Self {
        let clock: Arc<dyn Clock> = Arc::new(RuntimeClock::starting_at(NOW_MS));
        let (events, event_rx) = mpsc::unbounded_channel();
        let (gate, open) = watch::channel(true);
        let commits = Arc::default();
        let group = Arc::<Group>::default();
        let stop = CancellationToken::new();
        let queue = Arc::new(MemoryDelayQueue::new(clock.clone()));
        let broker = MemoryBroker::new(clock.clone());
        broker.create_topic("out", 1);
        let shards = Arc::new(MemoryShardState::new());
        let store = Arc::new(Store {
            inner: MemoryBatchStore::new(clock.clone()),
            shards: shards.clone(),
            first,
            writes: AtomicUsize::new(0),
        });
        let ports = RouterPorts {
            source: Box::new(Script {
                events: event_rx,
                commits: Arc::clone(&commits),
                group: Arc::clone(&group),
            }),
            sink: Arc::new(MemorySink::new(&broker)),
            queue: Arc::new(Gated {
                inner: queue.clone(),
                open,
            }),
            store: store.clone(),
            shards,
            payloads: Arc::new(MemoryPayloadStore::new(clock.clone())),
            registry: Arc::new(MemoryMessageRegistry::new(clock.clone())),
            upcoming: Arc::default(),
            clock,
            health: Arc::new(MemoryHealth::default()),
        };
        tokio::spawn(delayq_router::run(
            settings(max_wait_ms),
            ports,
            stop.clone(),
        ));
        let bench = Self {
            events,
            commits,
            gate,
            queue,
            store,
            broker,
            group,
            stop,
        };
        bench.assign();
        bench
    }

    fn assign(&self) {
        self.tell(SourceEvent::Assigned(vec![Assigned {
            partition: partition(),
            committed: Some(0),
            metadata: None,
        }]));
    }

    fn tell(&self, event: SourceEvent) {
        self.events.send(event).expect("the router lives");
    }

    /// Records due `delay_ms` after the start of the test.
    fn deliver(&self, offsets: &[i64], delay_ms: i64) {
        let records = offsets.iter().map(|offset| incoming(*offset, delay_ms));
        self.tell(SourceEvent::Records(records.collect()));
    }

    fn last_commit(&self) -> Option<i64> {
        let commits = self.commits.lock().expect("unpoisoned");
        commits.last().map(|commit| commit.offset)
    }

    /// Offsets of the records in the queue.
    fn sent(&self) -> Vec<i64> {
        let bodies = self.queue.bodies(LANE);
        let batches = bodies
            .iter()
            .map(|body| batch::from_text(body).expect("a batch"));
        batches.flatten().map(|one| one.source.offset).collect()
    }

    /// Revokes the partition; the last commits arrive at the receiver.
    fn revoke(&self) -> mpsc::UnboundedReceiver<Vec<Commit>> {
        let (answer, answered) = mpsc::unbounded_channel();
        self.tell(SourceEvent::Revoked {
            partitions: vec![partition()],
            reply: RevokeReply::new(move |commits| {
                answer.send(commits).expect("the test waits");
            }),
        });
        answered
    }
}

fn incoming(offset: i64, delay_ms: i64) -> Incoming {
    let due_ms = (NOW_MS + delay_ms).to_string();
    let headers = [("delay-target", "out"), ("deliver-at-ms", due_ms.as_str())];
    Incoming {
        source: Source {
            at: partition(),
            offset,
        },
        leader_epoch: Some(1),
        timestamp_ms: Some(NOW_MS),
        record: Record {
            headers: headers
                .map(|(name, value)| Header::text(name, value))
                .into(),
            ..Record::default()
        },
        malformed: None,
    }
}

fn settings(max_wait_ms: i64) -> RouterSettings {
    RouterSettings {
        policy: Policy {
            names: HeaderNames::default(),
            allowed: GlobSet::builder()
                .add(Glob::new("out").expect("a glob"))
                .build()
                .expect("globs"),
            allowed_patterns: vec!["out".to_owned()],
            default_target: None,
            routes: Vec::new(),
            message_type_header: "message-type".to_owned(),
            own_topics: BTreeSet::new(),
            canary_topic: None,
            output_template: "{target}".to_owned(),
            known_outputs: KnownOutputs::default(),
            max_delay_ms: 86_400_000,
            direct_ms: 2_000,
            short_ms: 900_000,
            max_timestamp_skew_ms: 60_000,
            message_max_bytes: 1 << 20,
            bucket_ms: TIMES.bucket_ms,
            long_room_ms: 510_000,
        },
        publish: PublishSettings {
            service: "router",
            dead_letter_topic: "dead".into(),
            attempts: 3,
            retry_first: RETRY_FIRST,
            retry_max: RETRY_MAX,
            breaker_probe: Duration::from_secs(1),
            max_under_way: 100,
            floor_every: 10,
            clock_check: Duration::from_secs(1),
        },
        queue: QueueSettings {
            message_bytes: 262_144,
            memory_bytes: 4 << 20,
            zstd_level: 1,
            early_ms: 1_500,
            retry_first: RETRY_FIRST,
            retry_max: RETRY_MAX,
            concurrency: 4,
        },
        registry: RegistrySettings {
            claimant: "c".into(),
            claim_lead_ms: 300,
            lease_ms: 30_000,
            retry_first: RETRY_FIRST,
            retry_max: RETRY_MAX,
            concurrency: 4,
        },
        payloads: PayloadSettings {
            zstd_level: 1,
            expire_after_ms: 1,
            retry_first: RETRY_FIRST,
            retry_max: RETRY_MAX,
            concurrency: 1,
        },
        times: TIMES,
        shards: 1,
        writer: "w".to_owned(),
        expire_after_ms: 30 * 86_400_000,
        store_zstd_level_max: 1,
        store_batch_bytes: 350_000,
        store_concurrency: 4,
        memory_bytes: 64 << 20,
        group_raw_bytes: 1 << 20,
        group_records: 1_000,
        max_wait_ms,
        commit_interval: Duration::from_secs(1),
        metadata_max_bytes: 3_072,
        stall_after: Duration::from_secs(180),
        revoke_timeout: REVOKE_TIMEOUT,
        stop_timeout: Duration::from_secs(30),
    }
}

async fn seconds(seconds: u64) {
    tokio::time::sleep(Duration::from_secs(seconds)).await;
}

#[tokio::test(start_paused = true)]
async fn offsets_are_committed_when_the_queue_has_confirmed_their_records() {
    let bench = Bench::new(1_000, FirstWrite::Succeeds);
    bench.gate.send_replace(false);
    // A transaction's marker, or compaction, has left a gap.
    bench.deliver(&[0, 1, 5], SHORT_MS);
    seconds(60).await;
    assert!(bench.last_commit().is_none_or(|offset| offset == 0));
    bench.gate.send_replace(true);
    seconds(5).await;
    assert_eq!(bench.sent(), [0, 1, 5]);
    assert_eq!(bench.last_commit(), Some(6));
}

#[tokio::test(start_paused = true)]
async fn a_revoked_partition_is_given_back_when_its_records_are_confirmed() {
    let bench = Bench::new(1_000, FirstWrite::Succeeds);
    bench.gate.send_replace(false);
    bench.deliver(&[0, 1, 2], SHORT_MS);
    seconds(3).await;
    let mut answered = bench.revoke();
    seconds(5).await;
    assert!(answered.try_recv().is_err(), "they are on their way");
    bench.gate.send_replace(true);
    seconds(1).await;
    let commits = answered.try_recv().expect("the answer");
    assert_eq!(commits[0].offset, 3);
}

#[tokio::test(start_paused = true)]
async fn what_waits_to_be_packed_is_flushed_when_its_partition_is_revoked() {
    let bench = Bench::new(60_000, FirstWrite::Succeeds);
    bench.deliver(&[0, 1, 2], SHORT_MS);
    seconds(1).await;
    assert_eq!(bench.sent(), [], "it still waits");
    let mut answered = bench.revoke();
    seconds(1).await;
    let commits = answered.try_recv().expect("the answer, at once");
    assert_eq!(commits[0].offset, 3);
    assert_eq!(bench.sent(), [0, 1, 2]);
}

/// The session expired while the partition was being given back, and the group gave it to the same router again.
#[tokio::test(start_paused = true)]
async fn a_partition_that_comes_back_before_its_revoke_is_answered_is_worked_on() {
    let bench = Bench::new(1_000, FirstWrite::Succeeds);
    bench.gate.send_replace(false);
    bench.deliver(&[0, 1], SHORT_MS);
    seconds(3).await;
    let _answered = bench.revoke();
    seconds(1).await;
    bench.assign();
    bench.gate.send_replace(true);
    bench.deliver(&[0, 1, 2], SHORT_MS);
    seconds(5).await;
    assert_eq!(bench.last_commit(), Some(3));
}

#[tokio::test(start_paused = true)]
async fn a_lost_partition_is_neither_published_nor_committed() {
    let bench = Bench::new(1_000, FirstWrite::Succeeds);
    bench.deliver(&[0, 1], 1_500);
    seconds(1).await;
    bench.tell(SourceEvent::Lost(vec![partition()]));
    seconds(30).await;
    assert_eq!(bench.broker.read("out").len(), 0, "another's to publish");
    assert!(bench.last_commit().is_none_or(|offset| offset == 0));
}

#[tokio::test(start_paused = true)]
async fn a_batch_that_was_not_written_is_written_again_before_its_offsets_are_committed() {
    let bench = Bench::new(1_000, FirstWrite::Fails);
    bench.deliver(&[0, 1], LONG_MS);
    seconds(10).await;
    assert_eq!(bench.last_commit(), Some(2));
    assert_eq!(bench.store.inner.len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_bucket_that_was_handed_over_during_the_write_is_sent_by_the_router_too() {
    let bench = Bench::new(1_000, FirstWrite::IsOvertaken);
    bench.deliver(&[0, 1], LONG_MS);
    seconds(10).await;
    assert_eq!(bench.last_commit(), Some(2));
    assert_eq!(bench.sent(), [0, 1], "no scheduler will look again");
}

/// While a group rebalances it refuses commits, and one that is left has no more to say to what was refused.
#[tokio::test(start_paused = true)]
async fn a_router_that_stops_leaves_the_group_when_its_last_commit_is_confirmed() {
    let bench = Bench::new(60_000, FirstWrite::Succeeds);
    bench.deliver(&[0, 1, 2], SHORT_MS);
    seconds(1).await;
    bench.group.rebalances.store(true, Ordering::SeqCst);
    bench.stop.cancel();
    seconds(3).await;
    assert!(
        bench.group.paused.load(Ordering::SeqCst),
        "nothing more comes in"
    );
    assert_eq!(bench.sent(), [0, 1, 2], "what waited for company goes");
    assert!(
        !bench.group.left.load(Ordering::SeqCst),
        "one commit is due"
    );
    bench.group.rebalances.store(false, Ordering::SeqCst);
    seconds(1).await;
    assert_eq!(bench.last_commit(), Some(3));
    assert!(bench.group.left.load(Ordering::SeqCst));
}

#[tokio::test(start_paused = true)]
async fn a_router_whose_commits_are_never_confirmed_leaves_all_the_same() {
    let bench = Bench::new(1_000, FirstWrite::Succeeds);
    bench.group.rebalances.store(true, Ordering::SeqCst);
    bench.deliver(&[0], SHORT_MS);
    seconds(3).await;
    bench.stop.cancel();
    seconds(7).await;
    assert!(bench.group.left.load(Ordering::SeqCst));
}

#[tokio::test(start_paused = true)]
async fn what_a_stopping_router_holds_has_half_of_its_time() {
    let bench = Bench::new(1_000, FirstWrite::Succeeds);
    bench.gate.send_replace(false);
    bench.deliver(&[0], SHORT_MS);
    seconds(3).await;
    bench.stop.cancel();
    seconds(14).await;
    assert!(!bench.group.left.load(Ordering::SeqCst));
    seconds(2).await;
    assert!(bench.group.left.load(Ordering::SeqCst));
}
