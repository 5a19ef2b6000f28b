//! The same roles over the embedded adapters in virtual time, with the real durations: buckets of 5 minutes, a lead
//! of 7, an hour of delays in seconds of the test.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use delayq::health::HealthPort;
use delayq::settings;
use delayq_core::clock::Clock;
use delayq_core::record::{Header, TopicPartition};
use delayq_e2e::produce::record;
use delayq_embedded::{
    MemoryBatchStore, MemoryBroker, MemoryDelayQueue, MemoryMessageRegistry, MemoryPayloadStore,
    MemoryShardState, MemorySink, MemorySource, MemoryTickQueue, RuntimeClock, SourceOptions,
};
use delayq_emitter::EmitterPorts;
use delayq_router::RouterPorts;
use delayq_runtime::config::{Sources, load};
use delayq_runtime::health::Health;
use delayq_scheduler::SchedulerPorts;
use tokio_util::sync::CancellationToken;

const START_MS: i64 = 1_800_000_000_000;
const COUNT: usize = 3_000;

#[tokio::test(start_paused = true)]
async fn an_hour_of_delays_is_on_time_to_the_millisecond_through_all_tiers() {
    let set = vec![
        "topics.allow=out*".to_owned(),
        "kafka.bootstrap_servers=embedded:1".to_owned(),
    ];
    let config = load(&Sources {
        set,
        ..Sources::default()
    })
    .expect("a valid configuration");
    let clock: Arc<dyn Clock> = Arc::new(RuntimeClock::starting_at(START_MS));
    let broker = MemoryBroker::new(clock.clone());
    broker.create_topic("delayq.delay", 4);
    broker.create_topic("delayq.dead-letters", 1);
    for p in ["high", "standard", "low"] {
        broker.create_topic(&format!("out.{p}"), 2);
    }
    let health = Arc::new(HealthPort::expecting(&Health::new(), &[]));
    let queue = Arc::new(MemoryDelayQueue::new(clock.clone()));
    let store = Arc::new(MemoryBatchStore::new(clock.clone()));
    let payloads = Arc::new(MemoryPayloadStore::new(clock.clone()));
    let registry = Arc::new(MemoryMessageRegistry::new(clock.clone()));
    let shards = Arc::new(MemoryShardState::new());
    let ticks = Arc::new(MemoryTickQueue::new());
    let stop = CancellationToken::new();
    let mut roles = tokio::task::JoinSet::new();
    // Two of each: they share the work and the locks as in production.
    for _ in 0..2 {
        let source = MemorySource::join(
            &broker,
            "router",
            ["delayq.delay"],
            SourceOptions::default(),
        );
        let router = RouterPorts {
            source: Box::new(source),
            sink: Arc::new(MemorySink::new(&broker)),
            queue: queue.clone(),
            store: store.clone(),
            shards: shards.clone(),
            payloads: payloads.clone(),
            registry: registry.clone(),
            upcoming: Arc::default(),
            clock: clock.clone(),
            health: health.clone(),
        };
        roles.spawn(delayq_router::run(
            settings::router(&config).expect("settings"),
            router,
            stop.clone(),
        ));
        let scheduler = SchedulerPorts {
            store: store.clone(),
            shards: shards.clone(),
            ticks: ticks.clone(),
            queue: queue.clone(),
            clock: clock.clone(),
            health: health.clone(),
        };
        roles.spawn(delayq_scheduler::run(
            settings::scheduler(&config),
            scheduler,
            stop.clone(),
        ));
        let emitter = EmitterPorts {
            sink: Arc::new(MemorySink::new(&broker)),
            queue: queue.clone(),
            payloads: payloads.clone(),
            registry: registry.clone(),
            clock: clock.clone(),
            health: health.clone(),
        };
        roles.spawn(delayq_emitter::run(
            settings::emitter(&config).expect("settings"),
            emitter,
            stop.clone(),
        ));
    }
    for n in 0..COUNT {
        let delay_ms = (n as u64 * 7_919 % 3_600_000).to_string();
        let number = n.to_string();
        let priority = ["high", "standard", "low"][n % 3];
        let headers = [
            ("n", number.as_str()),
            ("delay-ms", &delay_ms),
            ("delay-target", "out"),
            ("delay-priority", priority),
        ];
        let partition = TopicPartition::new("delayq.delay", (n % 4) as i32);
        broker
            .produce(&partition, record(Some(&number), Some("v"), &headers), None)
            .expect("a partition");
    }
    let topics = ["out.high", "out.standard", "out.low"];
    let arrived = || {
        topics
            .iter()
            .flat_map(|t| broker.read(t))
            .collect::<Vec<_>>()
    };
    tokio::time::sleep(Duration::from_secs(3_700)).await;
    stop.cancel();
    while let Some(ended) = roles.join_next().await {
        ended.expect("a clean stop");
    }
    let mut paths: HashMap<String, usize> = HashMap::new();
    let mut numbers = Vec::new();
    for one in arrived() {
        let text = |name: &str| one.record.header_text(name).expect("a header").to_owned();
        let due_ms: i64 = text("delayed-due-ms").parse().expect("a number");
        let lateness_ms = one.timestamp_ms.expect("a timestamp") - due_ms;
        assert!(
            (0..=5).contains(&lateness_ms),
            "{} ms late on the {} path",
            lateness_ms,
            text("delayed-path")
        );
        *paths.entry(text("delayed-path")).or_default() += 1;
        numbers.push(text("n").parse::<usize>().expect("a number"));
        assert!(
            !one.record
                .headers
                .contains(&Header::text("delay-target", "out"))
        );
    }
    numbers.sort_unstable();
    assert_eq!(numbers, (0..COUNT).collect::<Vec<_>>(), "each once");
    assert!(broker.read("delayq.dead-letters").is_empty());
    assert!(
        paths["short"] > 500 && paths["long"] > 2_000 && paths["direct"] >= 1,
        "{paths:?}"
    );
}
