//! The publisher over a sink that answers when the test says so: nothing ends before the broker's word, nothing goes
//! out before the wall clock says so.

#![allow(clippy::expect_used, reason = "helpers of tests")]

use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use delayq_core::clock::ManualClock;
use delayq_core::error::{ErrorClass, PortError};
use delayq_core::headers::Refusal;
use delayq_core::ports::{Acknowledge, Published, RecordSink};
use delayq_core::priority::Priority;
use delayq_core::record::{Outgoing, Path, Record, Scheduled, Source, TopicPartition};
use delayq_delivery::payloads::{PayloadSettings, Payloads};
use delayq_delivery::publish::{
    DeadLetter, End, EndKind, Job, PublishSettings, Publisher, Work, always_alive, start,
};
use delayq_delivery::registry::{Registry, RegistrySettings};
use delayq_embedded::{MemoryHealth, MemoryMessageRegistry, MemoryPayloadStore};
use tokio::sync::mpsc::UnboundedReceiver;

const NOW_MS: i64 = 1_800_000_000_000;
const MINUTE: Duration = Duration::from_secs(60);

/// Takes everything but what it is full of, and keeps the acknowledgements.
#[derive(Default)]
struct Withholding {
    taken: Mutex<Vec<(Priority, Acknowledge)>>,
    full: Mutex<Option<Priority>>,
}

impl Withholding {
    fn handed_over(&self) -> usize {
        self.taken.lock().expect("unpoisoned").len()
    }

    fn priorities(&self) -> Vec<Priority> {
        let taken = self.taken.lock().expect("unpoisoned");
        taken.iter().map(|(priority, _)| *priority).collect()
    }

    fn full_of(&self, priority: Option<Priority>) {
        *self.full.lock().expect("unpoisoned") = priority;
    }

    fn fail_all(&self) {
        for (_, acknowledge) in self.taken.lock().expect("unpoisoned").drain(..) {
            let detail = "not enough replicas";
            acknowledge(Err(PortError::new(ErrorClass::Transient, "test", detail)));
        }
    }

    fn confirm_all(&self) {
        self.confirm(|_| true);
    }

    fn confirm(&self, chosen: impl Fn(Priority) -> bool) {
        let mut taken = self.taken.lock().expect("unpoisoned");
        for (_, acknowledge) in taken.extract_if(.., |(priority, _)| chosen(*priority)) {
            acknowledge(Ok(Published {
                partition: 0,
                offset: 0,
            }));
        }
    }
}

impl RecordSink for Withholding {
    fn publish(&self, record: &Outgoing, acknowledge: Acknowledge) -> Result<(), Acknowledge> {
        if *self.full.lock().expect("unpoisoned") == Some(record.priority) {
            return Err(acknowledge);
        }
        let one = (record.priority, acknowledge);
        self.taken.lock().expect("unpoisoned").push(one);
        Ok(())
    }

    fn health(&self) -> Result<(), PortError> {
        Ok(())
    }
}

struct Bench {
    clock: Arc<ManualClock>,
    sink: Arc<Withholding>,
    publisher: Publisher<u32>,
    ends: UnboundedReceiver<End<u32>>,
}

impl Bench {
    fn new() -> Self {
        let clock = Arc::new(ManualClock::at(NOW_MS));
        let sink = Arc::new(Withholding::default());
        let settings = PublishSettings {
            service: "test",
            dead_letter_topic: "dead".into(),
            attempts: 3,
            retry_first: Duration::from_millis(10),
            retry_max: Duration::from_secs(1),
            breaker_probe: Duration::from_secs(1),
            max_under_way: 10_000,
            floor_every: 10,
            clock_check: Duration::from_secs(1),
        };
        let payload_settings = PayloadSettings {
            zstd_level: 1,
            expire_after_ms: 1,
            retry_first: Duration::from_millis(10),
            retry_max: Duration::from_secs(1),
            concurrency: 1,
        };
        let store = Arc::new(MemoryPayloadStore::new(clock.clone()));
        let payloads = Payloads::new(
            store,
            clock.clone(),
            Arc::new(MemoryHealth::default()),
            payload_settings,
        );
        let registry = Registry::new(
            Arc::new(MemoryMessageRegistry::new(clock.clone())),
            clock.clone(),
            Arc::new(MemoryHealth::default()),
            RegistrySettings {
                claimant: "me".into(),
                claim_lead_ms: 300,
                lease_ms: 10_000,
                retry_first: Duration::from_millis(10),
                retry_max: Duration::from_secs(1),
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
            publisher,
            ends,
        }
    }

    fn hold(&self, work: Work, ticket: u32) {
        let job = Job::new(work, ticket, always_alive());
        assert!(self.publisher.hold(vec![job]));
    }
}

fn scheduled(due_ms: i64) -> Scheduled {
    Scheduled {
        source: Source {
            at: TopicPartition::new("d", 0),
            offset: 1,
        },
        output_topic: "out".into(),
        priority: Priority::Standard,
        due_ms,
        timestamp_ms: NOW_MS,
        id: None,
        path: Path::Direct,
        record: Record::default(),
        payload: None,
        limit: None,
    }
}

fn job(priority: Priority, due_ms: i64, ticket: u32) -> Job<u32> {
    let record = Scheduled {
        priority,
        ..scheduled(due_ms)
    };
    Job::new(Work::Publish(Arc::new(record)), ticket, always_alive())
}

#[tokio::test(start_paused = true)]
async fn the_wall_clock_is_read_again_before_a_record_goes_out() {
    let bench = Bench::new();
    let due_ms = NOW_MS + 1_000;
    bench.hold(Work::Publish(Arc::new(scheduled(due_ms))), 1);
    // The timer fires, and the wall clock was set back meanwhile: it is not due.
    tokio::time::sleep(MINUTE).await;
    assert_eq!(bench.sink.handed_over(), 0, "early");
    bench.clock.advance(999);
    tokio::time::sleep(MINUTE).await;
    assert_eq!(bench.sink.handed_over(), 0, "a millisecond early");
    bench.clock.advance(1);
    tokio::time::sleep(MINUTE).await;
    assert_eq!(bench.sink.handed_over(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_record_and_a_dead_letter_end_with_the_brokers_word_and_not_before() {
    let mut bench = Bench::new();
    let record = scheduled(NOW_MS);
    let letter = DeadLetter::unpublishable(&record, Refusal::new("test", "test"));
    bench.hold(Work::Publish(Arc::new(record)), 1);
    bench.hold(Work::DeadLetter(Arc::new(letter)), 2);
    tokio::time::sleep(MINUTE).await;
    assert_eq!(bench.sink.handed_over(), 2);
    assert!(bench.ends.try_recv().is_err(), "nothing is confirmed yet");
    bench.sink.confirm_all();
    let mut ended = Vec::new();
    for _ in 0..2 {
        let end = bench.ends.recv().await.expect("an end");
        ended.push((end.ticket, end.kind));
    }
    ended.sort_by_key(|(ticket, _)| *ticket);
    assert_eq!(ended, [(1, EndKind::Published), (2, EndKind::DeadLettered)]);
}

#[tokio::test(start_paused = true)]
async fn a_full_producer_holds_back_no_higher_priority_and_drops_nothing() {
    let bench = Bench::new();
    bench.sink.full_of(Some(Priority::Standard));
    let of = |priority, ticket| job(priority, NOW_MS, ticket);
    let both = vec![of(Priority::Standard, 1), of(Priority::High, 2)];
    assert!(bench.publisher.hold(both));
    tokio::time::sleep(MINUTE).await;
    assert_eq!(bench.sink.priorities(), [Priority::High]);
    assert!(bench.publisher.hold(vec![of(Priority::High, 3)]));
    tokio::time::sleep(MINUTE).await;
    assert_eq!(bench.sink.priorities(), [Priority::High, Priority::High]);
    bench.sink.full_of(None);
    tokio::time::sleep(MINUTE).await;
    let rest = bench.sink.priorities().split_off(2);
    assert_eq!(rest, [Priority::Standard]);
}

/// Standard records handed over in 3 s, out of a backlog that is confirmed every 5 ms; beside a high record each 5 ms, if `high`, whose
/// confirmation takes 50 ms.
async fn backlog_handed_over(high: bool) -> usize {
    let bench = Bench::new();
    let mut handed_over = 0;
    for turn in 0..600 {
        let backlog = (0..80).map(|_| job(Priority::Standard, NOW_MS - 5_000, 0));
        let on_time = high.then(|| job(Priority::High, NOW_MS, 0));
        assert!(bench.publisher.hold(backlog.chain(on_time).collect()));
        tokio::time::sleep(Duration::from_millis(5)).await;
        let standard = |priority: &Priority| *priority == Priority::Standard;
        handed_over += bench.sink.priorities().into_iter().filter(standard).count();
        bench
            .sink
            .confirm(|priority| standard(&priority) || turn % 10 == 0);
    }
    handed_over
}

#[tokio::test(start_paused = true)]
async fn a_backlog_yields_to_high_records_whose_confirmation_grows_slow() {
    let (alone, beside_high) = (
        backlog_handed_over(false).await,
        backlog_handed_over(true).await,
    );
    assert!(alone > 40_000, "{alone}");
    assert!(
        beside_high < alone * 3 / 4 && beside_high > 15_000,
        "{beside_high} of {alone}"
    );
}

/// The emitter receives nothing while publishing is held back: a record to probe with never came, and it stood still for ever.
#[tokio::test(start_paused = true)]
async fn publishing_goes_on_when_all_that_failed_was_given_up() {
    let mut bench = Bench::new();
    let job = Job::new(
        Work::Publish(Arc::new(scheduled(NOW_MS))),
        7,
        always_alive(),
    );
    let alive = job.alive.clone();
    assert!(bench.publisher.hold(vec![job]));
    let mut held_back = bench.publisher.watch_held_back();
    tokio::time::sleep(MINUTE).await;
    assert_eq!(bench.sink.handed_over(), 1);
    bench.sink.fail_all();
    held_back.wait_for(Option::is_some).await.expect("a word");
    // Its message's visibility lapsed: somebody else's now.
    alive.store(false, Ordering::Release);
    bench.clock.advance(5_000);
    let end = bench.ends.recv().await.expect("an end");
    assert_eq!((end.ticket, end.kind), (7, EndKind::Abandoned));
    let goes_on = tokio::time::timeout(MINUTE, held_back.wait_for(Option::is_none));
    goes_on.await.expect("held back for ever").expect("a word");
}
