//! Tracked records in the publisher: claimed before they are due, published once, ended only when their end is noted.

#![allow(clippy::expect_used, reason = "helpers of tests")]

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use delayq_core::clock::Clock;
use delayq_core::error::{ErrorClass, PortError};
use delayq_core::ports::{Acknowledge, MessageRegistry, Published, RecordSink, Written};
use delayq_core::priority::Priority;
use delayq_core::record::{Outgoing, Path, Record, Scheduled, Source, TopicPartition};
use delayq_core::tracked::{
    CancelAnswer, MessageKey, MessageRow, Next, RowStamp, State, Version, cancel, claim,
};
use delayq_delivery::payloads::{PayloadSettings, Payloads};
use delayq_delivery::publish::{
    End, EndKind, Job, PublishSettings, Publisher, Work, always_alive, start,
};
use delayq_delivery::registry::{Registry, RegistrySettings};
use delayq_embedded::{MemoryHealth, MemoryMessageRegistry, MemoryPayloadStore, RuntimeClock};
use tokio::sync::mpsc::UnboundedReceiver;

const NOW_MS: i64 = 1_800_000_000_000;
const LEAD_MS: i64 = 300;
const LEASE_MS: i64 = 10_000;
const RETRY: Duration = Duration::from_millis(10);

/// Confirms at once, while it is not away.
#[derive(Default)]
struct Sink {
    published: Mutex<Vec<String>>,
    away: AtomicBool,
}

impl RecordSink for Sink {
    fn publish(&self, record: &Outgoing, acknowledge: Acknowledge) -> Result<(), Acknowledge> {
        if self.away.load(Ordering::SeqCst) {
            let detail = "no broker";
            acknowledge(Err(PortError::new(ErrorClass::Transient, "test", detail)));
            return Ok(());
        }
        let mut published = self.published.lock().expect("unpoisoned");
        published.push(record.topic.to_string());
        acknowledge(Ok(Published {
            partition: 3,
            offset: 33,
        }));
        Ok(())
    }

    fn health(&self) -> Result<(), PortError> {
        Ok(())
    }
}

/// The registry, which may be away.
struct Rows {
    inner: MemoryMessageRegistry,
    away: AtomicBool,
    calls: AtomicUsize,
}

#[async_trait]
impl MessageRegistry for Rows {
    async fn write(
        &self,
        row: MessageRow,
        expected: Option<RowStamp>,
    ) -> Result<Written, PortError> {
        self.calls.fetch_add(1, Ordering::SeqCst);
        if self.away.load(Ordering::SeqCst) {
            return Err(PortError::new(ErrorClass::Transient, "test", "away"));
        }
        self.inner.write(row, expected).await
    }

    async fn read(&self, key: &MessageKey) -> Result<Option<MessageRow>, PortError> {
        self.calls.fetch_add(1, Ordering::SeqCst);
        self.inner.read(key).await
    }
}

struct Bench {
    clock: Arc<dyn Clock>,
    sink: Arc<Sink>,
    rows: Arc<Rows>,
    publisher: Publisher<u32>,
    ends: UnboundedReceiver<End<u32>>,
}

fn scheduled(due_ms: i64) -> Scheduled {
    Scheduled {
        source: Source {
            at: TopicPartition::new("d", 0),
            offset: 7,
        },
        output_topic: "out".into(),
        priority: Priority::Standard,
        due_ms,
        timestamp_ms: NOW_MS,
        id: Some("o-1".into()),
        path: Path::Short,
        record: Record::default(),
        payload: None,
        limit: None,
    }
}

fn key() -> MessageKey {
    MessageKey {
        topic: "d".into(),
        id: "o-1".into(),
    }
}

impl Bench {
    fn new() -> Self {
        let clock: Arc<dyn Clock> = Arc::new(RuntimeClock::starting_at(NOW_MS));
        let sink = Arc::new(Sink::default());
        let health = Arc::new(MemoryHealth::default());
        let settings = PublishSettings {
            service: "test",
            dead_letter_topic: "dead".into(),
            attempts: 3,
            retry_first: RETRY,
            retry_max: Duration::from_secs(1),
            breaker_probe: Duration::from_secs(1),
            max_under_way: 100,
            floor_every: 10,
            clock_check: Duration::from_secs(1),
        };
        let payloads = Payloads::new(
            Arc::new(MemoryPayloadStore::new(clock.clone())),
            clock.clone(),
            health.clone(),
            PayloadSettings {
                zstd_level: 1,
                expire_after_ms: 1,
                retry_first: RETRY,
                retry_max: RETRY,
                concurrency: 1,
            },
        );
        let rows = Arc::new(Rows {
            inner: MemoryMessageRegistry::new(clock.clone()),
            away: AtomicBool::new(false),
            calls: AtomicUsize::new(0),
        });
        let registry = Registry::new(
            rows.clone(),
            clock.clone(),
            health,
            RegistrySettings {
                claimant: "me".into(),
                claim_lead_ms: LEAD_MS,
                lease_ms: LEASE_MS,
                retry_first: RETRY,
                retry_max: RETRY,
                concurrency: 4,
            },
        );
        let (publisher, ends) = start(
            settings,
            sink.clone(),
            clock.clone(),
            Arc::new(payloads),
            Arc::new(registry),
        );
        Self {
            clock,
            sink,
            rows,
            publisher,
            ends,
        }
    }

    /// Registers the record as its router does, and holds it.
    async fn hold_registered(&self, due_ms: i64) {
        let row = MessageRow::first(key(), &scheduled(due_ms));
        assert_eq!(self.rows.inner.write(row, None).await, Ok(Written::Done));
        self.hold(due_ms);
    }

    fn hold(&self, due_ms: i64) {
        let work = Work::Publish(Arc::new(scheduled(due_ms)));
        assert!(self.publisher.hold(vec![Job::new(work, 1, always_alive())]));
    }

    async fn row(&self) -> MessageRow {
        let row = self.rows.inner.read(&key()).await.expect("an answer");
        row.expect("a row")
    }

    async fn cancel(&self) -> CancelAnswer {
        let row = self.row().await;
        match cancel(Some(&row), self.clock.now_ms()) {
            Next::Keep(answer) => answer,
            Next::Write(new, answer) => {
                let written = self.rows.inner.write(*new, Some(row.stamp())).await;
                assert_eq!(written, Ok(Written::Done));
                answer
            }
        }
    }

    /// Another process claims it.
    async fn claim_by_another(&self) {
        let row = self.row().await;
        let version = Version::of(&scheduled(0).source, NOW_MS);
        let now_ms = self.clock.now_ms();
        let Next::Write(new, _) = claim(Some(&row), &version, &"other".into(), LEASE_MS, now_ms)
        else {
            panic!("it was free")
        };
        let written = self.rows.inner.write(*new, Some(row.stamp())).await;
        assert_eq!(written, Ok(Written::Done));
    }

    fn published(&self) -> Vec<String> {
        self.sink.published.lock().expect("unpoisoned").clone()
    }

    fn end(&mut self) -> Option<EndKind> {
        self.ends.try_recv().ok().map(|end| end.kind)
    }
}

async fn until_ms(after_start_ms: i64, clock: &Arc<dyn Clock>) {
    let wait_ms = NOW_MS + after_start_ms - clock.now_ms();
    tokio::time::sleep(Duration::from_millis(wait_ms.max(0).unsigned_abs())).await;
}

#[tokio::test(start_paused = true)]
async fn it_is_claimed_ahead_published_on_time_and_its_end_is_noted() {
    let mut bench = Bench::new();
    bench.hold_registered(NOW_MS + 5_000).await;
    until_ms(5_000 - LEAD_MS - 1, &bench.clock).await;
    assert_eq!(bench.row().await.state, State::Scheduled);
    until_ms(5_000 - LEAD_MS + 1, &bench.clock).await;
    assert_eq!(bench.row().await.state.as_str(), "publishing");
    until_ms(4_999, &bench.clock).await;
    assert!(bench.published().is_empty(), "claimed, and not due");
    until_ms(5_002, &bench.clock).await;
    assert_eq!(bench.published(), ["out"]);
    let State::Published(publication) = bench.row().await.state else {
        panic!("its end is noted")
    };
    assert_eq!((publication.partition, publication.offset), (3, 33));
    assert!((5_000..=5_002).contains(&(publication.at_ms - NOW_MS)));
    assert_eq!(bench.end(), Some(EndKind::Published));
    assert_eq!(
        bench.rows.calls.load(Ordering::SeqCst),
        2,
        "a claim and an end, and nothing read"
    );
}

#[tokio::test(start_paused = true)]
async fn what_is_cancelled_before_its_claim_is_dropped_and_after_it_published() {
    let mut bench = Bench::new();
    bench.hold_registered(NOW_MS + 5_000).await;
    until_ms(5_000 - LEAD_MS - 1, &bench.clock).await;
    assert_eq!(bench.cancel().await, CancelAnswer::Cancelled);
    until_ms(10_000, &bench.clock).await;
    assert!(bench.published().is_empty());
    assert_eq!(bench.end(), Some(EndKind::Dropped));

    let mut bench = Bench::new();
    bench.hold_registered(NOW_MS + 5_000).await;
    until_ms(5_000 - LEAD_MS + 1, &bench.clock).await;
    assert_eq!(bench.cancel().await, CancelAnswer::TooLate);
    until_ms(10_000, &bench.clock).await;
    assert_eq!(bench.published(), ["out"]);
    assert_eq!(bench.end(), Some(EndKind::Published));
}

#[tokio::test(start_paused = true)]
async fn what_the_registry_does_not_know_is_a_dead_letter() {
    let mut bench = Bench::new();
    bench.hold(NOW_MS + 1_000);
    until_ms(5_000, &bench.clock).await;
    assert_eq!(bench.published(), ["dead"]);
    assert_eq!(bench.end(), Some(EndKind::DeadLettered));
}

#[tokio::test(start_paused = true)]
async fn another_claimant_is_waited_for_until_its_lease_is_over() {
    let mut bench = Bench::new();
    bench.hold_registered(NOW_MS + 1_000).await;
    bench.claim_by_another().await;
    until_ms(LEASE_MS - 1, &bench.clock).await;
    assert!(bench.published().is_empty());
    until_ms(LEASE_MS + 10, &bench.clock).await;
    assert_eq!(bench.published(), ["out"]);
    assert_eq!(bench.end(), Some(EndKind::Published));
}

#[tokio::test(start_paused = true)]
async fn it_has_not_ended_while_its_end_is_not_noted() {
    let mut bench = Bench::new();
    bench.hold_registered(NOW_MS + 1_000).await;
    until_ms(900, &bench.clock).await;
    bench.rows.away.store(true, Ordering::SeqCst);
    until_ms(60_000, &bench.clock).await;
    assert_eq!(bench.published(), ["out"], "published on time, once");
    assert_eq!(bench.end(), None);
    bench.rows.away.store(false, Ordering::SeqCst);
    until_ms(61_000, &bench.clock).await;
    assert_eq!(bench.end(), Some(EndKind::Published));
    assert_eq!(bench.row().await.state.as_str(), "published");
}

/// While Kafka is away nothing more is claimed, so that cancels are still in time; what was claimed is claimed again.
#[tokio::test(start_paused = true)]
async fn kafka_away_costs_nobody_the_right_to_cancel() {
    let mut bench = Bench::new();
    bench.sink.away.store(true, Ordering::SeqCst);
    let mut other = scheduled(NOW_MS + 1_000);
    other.id = None;
    other.source.offset = 8;
    let work = Work::Publish(Arc::new(other));
    assert!(
        bench
            .publisher
            .hold(vec![Job::new(work, 2, always_alive())])
    );
    bench.hold_registered(NOW_MS + 5_000).await;
    until_ms(60_000, &bench.clock).await;
    assert_eq!(bench.row().await.state, State::Scheduled);
    assert_eq!(bench.cancel().await, CancelAnswer::Cancelled);
    bench.sink.away.store(false, Ordering::SeqCst);
    until_ms(70_000, &bench.clock).await;
    assert_eq!(bench.published(), ["out"], "the other one");
    let ends = [bench.end(), bench.end()];
    assert!(ends.contains(&Some(EndKind::Dropped)) && ends.contains(&Some(EndKind::Published)));
}

#[tokio::test(start_paused = true)]
async fn a_claim_that_is_over_is_made_again_before_it_is_published() {
    let mut bench = Bench::new();
    bench.sink.away.store(true, Ordering::SeqCst);
    bench.hold_registered(NOW_MS + 1_000).await;
    until_ms(LEASE_MS * 5, &bench.clock).await;
    let State::Publishing(held) = bench.row().await.state else {
        panic!("the only one there is to see whether Kafka is back")
    };
    assert!(held.until_ms > bench.clock.now_ms(), "{held:?}");
    bench.sink.away.store(false, Ordering::SeqCst);
    until_ms(LEASE_MS * 6, &bench.clock).await;
    assert_eq!(bench.published(), ["out"]);
    assert_eq!(bench.end(), Some(EndKind::Published));
}

#[tokio::test(start_paused = true)]
async fn what_is_claimed_is_not_given_back_and_what_is_not_claimed_is() {
    let bench = Bench::new();
    bench.hold_registered(NOW_MS + 5_000).await;
    until_ms(1_000, &bench.clock).await;
    assert_eq!(bench.publisher.recall(NOW_MS + 4_000).await.len(), 1);
    bench.hold(NOW_MS + 5_000);
    until_ms(5_000 - LEAD_MS + 1, &bench.clock).await;
    assert_eq!(bench.publisher.recall(NOW_MS + 4_000).await.len(), 0);
    until_ms(6_000, &bench.clock).await;
    assert_eq!(bench.published(), ["out"]);
}
