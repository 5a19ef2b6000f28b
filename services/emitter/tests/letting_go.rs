//! When the emitter lets a message go, over a sink that answers when the test says so and a queue that fails on demand.

#![allow(clippy::expect_used, reason = "helpers of tests")]

use std::collections::{BTreeSet, HashMap};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use delayq_core::batch;
use delayq_core::clock::Clock;
use delayq_core::error::{ErrorClass, PortError};
use delayq_core::headers::HeaderNames;
use delayq_core::outputs::Outputs;
use delayq_core::ports::{
    Acknowledge, DelayQueue, Lane, Outcomes, Published, QueueMessage, Receipt, RecordSink,
};
use delayq_core::priority::Priority;
use delayq_core::record::{Outgoing, Path, Record, Scheduled, Source, TopicPartition};
use delayq_core::route::{KnownOutputs, Policy};
use delayq_delivery::payloads::PayloadSettings;
use delayq_delivery::publish::PublishSettings;
use delayq_delivery::queue::QueueSettings;
use delayq_delivery::registry::RegistrySettings;
use delayq_embedded::{
    MemoryDelayQueue, MemoryHealth, MemoryMessageRegistry, MemoryPayloadStore, RuntimeClock,
};
use delayq_emitter::{EmitterPorts, EmitterSettings};
use globset::{Glob, GlobSet};
use tokio_util::sync::CancellationToken;

const NOW_MS: i64 = 1_800_000_000_000;
const LANE: Lane = Lane::Main(Priority::Standard);
const VISIBILITY: Duration = Duration::from_secs(60);
const ANSWER: Duration = Duration::from_millis(300);
const RETRY_FIRST: Duration = Duration::from_millis(10);
const RETRY_MAX: Duration = Duration::from_secs(1);

/// Takes everything and keeps the acknowledgements.
#[derive(Default)]
struct Withholding(Mutex<Vec<Acknowledge>>);

impl Withholding {
    fn handed_over(&self) -> usize {
        self.0.lock().expect("unpoisoned").len()
    }

    /// Confirms the first that waits.
    fn confirm_one(&self) {
        let acknowledge = self.0.lock().expect("unpoisoned").remove(0);
        acknowledge(Ok(Published {
            partition: 0,
            offset: 0,
        }));
    }
}

impl RecordSink for Withholding {
    fn publish(&self, _record: &Outgoing, acknowledge: Acknowledge) -> Result<(), Acknowledge> {
        self.0.lock().expect("unpoisoned").push(acknowledge);
        Ok(())
    }

    fn health(&self) -> Result<(), PortError> {
        Ok(())
    }
}

/// The queue, which takes no messages from the emitter while `full`; one call that is `unanswered` takes effect all the same.
struct Queue {
    inner: Arc<MemoryDelayQueue>,
    full: AtomicBool,
    unanswered: AtomicBool,
}

#[async_trait]
impl DelayQueue for Queue {
    async fn send(&self, priority: Priority, messages: Vec<QueueMessage>) -> Outcomes {
        let error = PortError::new(ErrorClass::Transient, "test", "busy");
        if self.unanswered.swap(false, Ordering::SeqCst) {
            let sent = self.inner.send(priority, messages).await;
            return sent.iter().map(|_| Err(error.clone())).collect();
        }
        if self.full.load(Ordering::SeqCst) {
            return messages.iter().map(|_| Err(error.clone())).collect();
        }
        let sent = self.inner.send(priority, messages).await;
        // On its way back the answer may be overtaken by the message itself.
        tokio::time::sleep(ANSWER).await;
        sent
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

struct Bench {
    sink: Arc<Withholding>,
    queue: Arc<Queue>,
}

impl Bench {
    /// With an emitter at work.
    fn new() -> Self {
        let clock: Arc<dyn Clock> = Arc::new(RuntimeClock::starting_at(NOW_MS));
        let sink = Arc::new(Withholding::default());
        let queue = Arc::new(Queue {
            inner: Arc::new(MemoryDelayQueue::new(clock.clone())),
            full: AtomicBool::new(false),
            unanswered: AtomicBool::new(false),
        });
        let ports = EmitterPorts {
            sink: sink.clone(),
            queue: queue.clone(),
            payloads: Arc::new(MemoryPayloadStore::new(clock.clone())),
            registry: Arc::new(MemoryMessageRegistry::new(clock.clone())),
            clock,
            health: Arc::new(MemoryHealth::default()),
        };
        tokio::spawn(delayq_emitter::run(
            settings(),
            ports,
            CancellationToken::new(),
        ));
        Self { sink, queue }
    }

    /// A message with two records that are due so long after the start of the test.
    async fn send(&self, due_after_ms: i64) {
        let records: Vec<_> = (0..2)
            .map(|offset| scheduled(offset, NOW_MS + due_after_ms))
            .collect();
        let bytes = batch::encode(&records, 1).expect("a batch");
        let message = QueueMessage {
            body: batch::to_text(&bytes).into(),
            delay_s: 0,
        };
        for sent in self
            .queue
            .inner
            .send(Priority::Standard, vec![message])
            .await
        {
            sent.expect("sent");
        }
    }

    fn messages(&self) -> usize {
        self.queue.inner.len(LANE)
    }
}

async fn seconds(seconds: u64) {
    tokio::time::sleep(Duration::from_secs(seconds)).await;
}

fn policy() -> Policy {
    let out = Glob::new("out").expect("a glob");
    Policy {
        names: HeaderNames::default(),
        allowed: GlobSet::builder().add(out).build().expect("globs"),
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
        bucket_ms: 300_000,
        long_room_ms: 510_000,
    }
}

fn settings() -> EmitterSettings {
    EmitterSettings {
        publish: PublishSettings {
            service: "emitter",
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
        outputs: Outputs::of(&policy()),
        rates: HashMap::new(),
        memory_bytes: 64 << 20,
        reserve_percent: 20,
        hold_max_ms: 30_000,
        visibility: VISIBILITY,
        stall_after: Duration::from_secs(60),
        receive_concurrency: 1,
        wait: Duration::from_secs(1),
        recent_sources: 1_000,
        stop_publish_within_ms: 0,
        stop_timeout: Duration::from_secs(5),
    }
}

fn scheduled(offset: i64, due_ms: i64) -> Scheduled {
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
        path: Path::Short,
        record: Record::default(),
        payload: None,
        limit: None,
    }
}

#[tokio::test(start_paused = true)]
async fn a_message_stays_until_kafka_has_confirmed_all_its_records() {
    let bench = Bench::new();
    bench.send(0).await;
    seconds(10).await;
    assert_eq!((bench.sink.handed_over(), bench.messages()), (2, 1));
    bench.sink.confirm_one();
    seconds(10).await;
    assert_eq!(bench.messages(), 1, "a record of it is not confirmed");
    bench.sink.confirm_one();
    seconds(10).await;
    assert_eq!(bench.messages(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_copy_is_no_duplicate_while_the_first_is_not_confirmed() {
    let bench = Bench::new();
    bench.send(0).await;
    seconds(10).await;
    bench.send(0).await;
    seconds(10).await;
    assert_eq!(
        (bench.sink.handed_over(), bench.messages()),
        (2, 2),
        "not published as well, nor deleted: the first may still fail"
    );
    while bench.sink.handed_over() > 0 {
        bench.sink.confirm_one();
    }
    seconds(10).await;
    bench.send(0).await;
    seconds(10).await;
    assert_eq!(
        (bench.sink.handed_over(), bench.messages()),
        (0, 0),
        "now it is one"
    );
}

#[tokio::test(start_paused = true)]
async fn a_message_that_is_held_for_long_is_shown_to_nobody_else() {
    let bench = Bench::new();
    bench.send(0).await;
    for _ in 0..10 {
        tokio::time::sleep(VISIBILITY / 2).await;
        let queue = &bench.queue.inner;
        let seen = queue.receive(LANE, 10, Duration::ZERO, VISIBILITY).await;
        assert_eq!(seen.expect("received"), [], "another emitter has it too");
    }
    assert_eq!(bench.sink.handed_over(), 2, "received once");
    assert_eq!(bench.messages(), 1);
}

#[tokio::test(start_paused = true)]
async fn what_is_put_back_leaves_its_old_message_when_the_new_one_is_confirmed() {
    let bench = Bench::new();
    bench.queue.full.store(true, Ordering::SeqCst);
    bench.send(600_000).await;
    seconds(30).await;
    assert_eq!(bench.messages(), 1, "the old one: there is no other");
    bench.queue.full.store(false, Ordering::SeqCst);
    seconds(30).await;
    let bodies = bench.queue.inner.bodies(LANE);
    assert_eq!(bodies.len(), 1, "the new one");
    let records = batch::from_text(&bodies[0]).expect("a batch");
    assert_eq!(records.len(), 2);
    seconds(500).await;
    assert_eq!(bench.sink.handed_over(), 0);
    seconds(60).await;
    seconds(60).await;
    assert_eq!(bench.sink.handed_over(), 2);
}

/// A put-back that was not answered is in the queue already, and comes while the old message is still held.
#[tokio::test(start_paused = true)]
async fn a_record_that_is_put_back_does_not_end_with_its_copies() {
    let bench = Bench::new();
    bench.queue.unanswered.store(true, Ordering::SeqCst);
    bench.queue.full.store(true, Ordering::SeqCst);
    bench.send(32_000).await;
    seconds(31).await;
    // The copy has been received; now the put-back is confirmed, and a third message comes.
    bench.queue.full.store(false, Ordering::SeqCst);
    seconds(60).await;
    assert_eq!(bench.sink.handed_over(), 2, "published, and once");
    while bench.sink.handed_over() > 0 {
        bench.sink.confirm_one();
    }
    seconds(60).await;
    assert_eq!((bench.sink.handed_over(), bench.messages()), (0, 0));
}
