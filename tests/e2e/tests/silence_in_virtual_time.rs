//! What stands still is named, with the durations of production, over the embedded adapters in virtual time: canaries of
//! every path and priority, shards without a scheduler, partitions and messages that do not move.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use delayq::canary::{self, CanaryPorts, CanarySettings, Leader};
use delayq::health::HealthPort;
use delayq::settings;
use delayq_core::clock::Clock;
use delayq_core::error::PortError;
use delayq_core::ports::{DelayQueue, HealthReport, Lane, Outcomes, QueueMessage, Receipt};
use delayq_core::priority::Priority;
use delayq_core::record::TopicPartition;
use delayq_e2e::produce::record;
use delayq_embedded::{
    MemoryBatchStore, MemoryBroker, MemoryDelayQueue, MemoryMessageRegistry, MemoryPayloadStore,
    MemoryShardState, MemorySink, MemorySource, MemoryTickQueue, RuntimeClock, SourceOptions,
};
use delayq_emitter::EmitterPorts;
use delayq_kafka::TailEvent;
use delayq_router::RouterPorts;
use delayq_runtime::config::{Config, Sources, load};
use delayq_runtime::health::Health;
use delayq_scheduler::SchedulerPorts;
use delayq_scheduler::watch::ShardWatch;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

const START_MS: i64 = 1_800_000_000_000;
const CANARIES: &str = "delayq.canary";
const MINUTE: Duration = Duration::from_secs(60);

/// A queue that answers no call to send as long as it is blocked.
struct Blockable {
    inner: Arc<MemoryDelayQueue>,
    blocked: watch::Receiver<bool>,
}

#[async_trait]
impl DelayQueue for Blockable {
    async fn send(&self, priority: Priority, messages: Vec<QueueMessage>) -> Outcomes {
        let mut blocked = self.blocked.clone();
        blocked.wait_for(|blocked| !blocked).await.expect("a test");
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

/// A role that runs until it is stopped.
struct Running {
    stop: CancellationToken,
    task: JoinHandle<()>,
}

impl Running {
    fn start<F: Future<Output = ()> + Send + 'static>(
        run: impl FnOnce(CancellationToken) -> F,
    ) -> Self {
        let stop = CancellationToken::new();
        let task = tokio::spawn(run(stop.clone()));
        Self { stop, task }
    }

    async fn stop(self) {
        self.stop.cancel();
        self.task.await.expect("a clean stop");
    }
}

/// One installation; every role has its own health, as in a process of its own.
struct World {
    config: Config,
    clock: Arc<dyn Clock>,
    broker: MemoryBroker,
    queue: Arc<Blockable>,
    block: watch::Sender<bool>,
    store: Arc<MemoryBatchStore>,
    payloads: Arc<MemoryPayloadStore>,
    registry: Arc<MemoryMessageRegistry>,
    shards: Arc<MemoryShardState>,
    ticks: Arc<MemoryTickQueue>,
    /// What the router's process says.
    router_health: Health,
    /// What the emitter's process says.
    emitter_health: Health,
}

impl World {
    fn new() -> Self {
        let set = ["topics.allow=out*", "kafka.bootstrap_servers=embedded:1"];
        let config = load(&Sources {
            set: set.map(str::to_owned).into(),
            ..Sources::default()
        })
        .expect("a valid configuration");
        let clock: Arc<dyn Clock> = Arc::new(RuntimeClock::starting_at(START_MS));
        let broker = MemoryBroker::new(clock.clone());
        broker.create_topic("delayq.delay", 3);
        broker.create_topic("delayq.dead-letters", 1);
        broker.create_topic(CANARIES, 1);
        for priority in Priority::ALL {
            broker.create_topic(&format!("out.{priority}"), 1);
        }
        let (block, blocked) = watch::channel(false);
        let inner = Arc::new(MemoryDelayQueue::new(clock.clone()));
        Self {
            config,
            queue: Arc::new(Blockable { inner, blocked }),
            block,
            store: Arc::new(MemoryBatchStore::new(clock.clone())),
            payloads: Arc::new(MemoryPayloadStore::new(clock.clone())),
            registry: Arc::new(MemoryMessageRegistry::new(clock.clone())),
            shards: Arc::new(MemoryShardState::new()),
            ticks: Arc::new(MemoryTickQueue::new()),
            broker,
            clock,
            router_health: Health::new(),
            emitter_health: Health::new(),
        }
    }

    fn canary_settings(&self) -> CanarySettings {
        let names = settings::policy(&self.config).expect("a policy").names;
        CanarySettings::new(&self.config, names).expect("enabled by default")
    }

    /// Reads the canary topic as the Kafka adapter does.
    fn tail(&self) -> mpsc::Receiver<TailEvent> {
        let (events, tail) = mpsc::channel(256);
        let broker = self.broker.clone();
        tokio::spawn(async move {
            let mut told = 0;
            loop {
                for one in broker.read(CANARIES).into_iter().skip(told) {
                    told += 1;
                    if events.send(TailEvent::Record(one.record)).await.is_err() {
                        return;
                    }
                }
                if events.send(TailEvent::CaughtUp).await.is_err() {
                    return;
                }
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
        });
        tail
    }

    /// A router's process: the role, the canaries, the watch over the shards.
    fn router(&self) -> Running {
        let health: Arc<dyn HealthReport> =
            Arc::new(HealthPort::expecting(&self.router_health, &[]));
        let source = MemorySource::join(
            &self.broker,
            "router",
            ["delayq.delay"],
            SourceOptions::default(),
        );
        let (source, leads) = Leader::watch(Box::new(source), "delayq.delay");
        let sink = Arc::new(MemorySink::new(&self.broker));
        let canaries = CanaryPorts {
            tail: self.tail(),
            sink: sink.clone(),
            clock: self.clock.clone(),
            health: health.clone(),
            leads: Some(leads),
        };
        let ports = RouterPorts {
            source,
            sink,
            queue: self.queue.clone(),
            store: self.store.clone(),
            shards: self.shards.clone(),
            payloads: self.payloads.clone(),
            registry: self.registry.clone(),
            upcoming: Arc::default(),
            clock: self.clock.clone(),
            health: health.clone(),
        };
        let router = settings::router(&self.config).expect("settings");
        let canary_settings = self.canary_settings();
        let shards = self.shards.clone();
        let shard_watch = ShardWatch::new(router.times, self.clock.clone(), health);
        let (count, every) = (self.config.long.shards, self.config.scheduler.tick);
        Running::start(|stop| async move {
            tokio::join!(
                delayq_router::run(router, ports, stop.clone()),
                canary::run(canary_settings, canaries, stop.clone()),
                shard_watch.run(shards.as_ref(), count, every, stop.clone()),
            );
        })
    }

    /// An emitter's process: the role, and an observer of the canaries.
    fn emitter(&self, sink: MemorySink) -> Running {
        let health: Arc<dyn HealthReport> =
            Arc::new(HealthPort::expecting(&self.emitter_health, &[]));
        let canaries = CanaryPorts {
            tail: self.tail(),
            sink: Arc::new(sink.clone()),
            clock: self.clock.clone(),
            health: health.clone(),
            leads: None,
        };
        let ports = EmitterPorts {
            sink: Arc::new(sink),
            queue: self.queue.clone(),
            payloads: self.payloads.clone(),
            registry: self.registry.clone(),
            clock: self.clock.clone(),
            health,
        };
        let emitter = settings::emitter(&self.config).expect("settings");
        let canary_settings = self.canary_settings();
        Running::start(|stop| async move {
            tokio::join!(
                delayq_emitter::run(emitter, ports, stop.clone()),
                canary::run(canary_settings, canaries, stop.clone()),
            );
        })
    }

    fn sink(&self) -> MemorySink {
        MemorySink::new(&self.broker)
    }

    fn scheduler(&self) -> Running {
        let ports = SchedulerPorts {
            store: self.store.clone(),
            shards: self.shards.clone(),
            ticks: self.ticks.clone(),
            queue: self.queue.clone(),
            clock: self.clock.clone(),
            health: Arc::new(HealthPort::expecting(&Health::new(), &[])),
        };
        let scheduler = settings::scheduler(&self.config);
        Running::start(|stop| delayq_scheduler::run(scheduler, ports, stop))
    }

    fn send(&self, partition: i32, headers: &[(&str, &str)]) {
        let partition = TopicPartition::new("delayq.delay", partition);
        let sent = self
            .broker
            .produce(&partition, record(None, Some("v"), headers), None);
        sent.expect("a partition");
    }

    /// Lets the time pass, and looks every second what the process with this health complains of. Answers with each
    /// complaint's first second, and those that stand at the end.
    async fn complaints(&self, health: &Health, lasts: Duration) -> Complaints {
        let mut first = BTreeMap::new();
        let mut last = Vec::new();
        for second in 0..lasts.as_secs() {
            tokio::time::sleep(Duration::from_secs(1)).await;
            last = complaints(health);
            for (name, reason) in &last {
                first
                    .entry(name.clone())
                    .or_insert_with(|| (second, reason.clone()));
            }
        }
        Complaints { first, last }
    }
}

struct Complaints {
    first: BTreeMap<String, (u64, String)>,
    last: Vec<(String, String)>,
}

impl Complaints {
    /// The first complaint of a component: the second it came in, and its words.
    #[track_caller]
    fn of(&self, component: &str) -> (u64, &str) {
        let found = self.first.get(component);
        let (second, reason) = found.unwrap_or_else(|| panic!("{component}: {:?}", self.first));
        (*second, reason)
    }
}

fn complaints(health: &Health) -> Vec<(String, String)> {
    let components = health.readiness().components;
    let unready = components.into_iter().filter(|one| !one.ready);
    unready
        .map(|one| (one.name, one.reason.unwrap_or_default()))
        .filter(|(_, reason)| reason != "starting")
        .collect()
}

#[tokio::test(start_paused = true)]
async fn canaries_travel_every_path_at_every_priority_and_nobody_complains() {
    let world = World::new();
    let running = [
        world.router(),
        world.scheduler(),
        world.emitter(world.sink()),
    ];
    let seen = world.complaints(&world.router_health, MINUTE * 30).await;
    assert_eq!(seen.first, BTreeMap::new());
    assert!(world.router_health.readiness().ready);
    let mut counts: BTreeMap<(String, String), usize> = BTreeMap::new();
    for one in world.broker.read(CANARIES) {
        let text = |name: &str| one.record.header_text(name).expect("a header").to_owned();
        assert_eq!(text("canary-path"), text("delayed-path"));
        let due_ms: i64 = text("delayed-due-ms").parse().expect("a number");
        let late_ms = one.timestamp_ms.expect("a timestamp") - due_ms;
        assert!((0..=5).contains(&late_ms), "{late_ms} ms late");
        *counts
            .entry((text("canary-path"), text("canary-priority")))
            .or_default() += 1;
    }
    assert_eq!(counts.len(), 9, "{counts:?}");
    for ((path, _), count) in &counts {
        // One a minute; the last of each are still under way.
        let expected = if path == "long" { 13..=15 } else { 28..=31 };
        assert!(expected.contains(count), "{counts:?}");
    }
    assert!(world.broker.read("delayq.dead-letters").is_empty());
    for one in running {
        one.stop().await;
    }
}

#[tokio::test(start_paused = true)]
async fn two_routers_send_the_canaries_of_one_and_the_second_goes_on_when_the_first_is_gone() {
    let world = World::new();
    let (first, second) = (world.router(), world.router());
    let others = [world.scheduler(), world.emitter(world.sink())];
    let seen = world.complaints(&world.router_health, MINUTE * 10).await;
    assert_eq!(seen.first, BTreeMap::new());
    let direct = |world: &World| {
        let canaries = world.broker.read(CANARIES).into_iter();
        canaries
            .filter(|one| one.record.header_text("canary-path") == Some("direct"))
            .count()
    };
    let sent = direct(&world);
    assert!(
        (27..=39).contains(&sent),
        "{sent} in ten minutes, three a minute"
    );
    first.stop().await;
    let seen = world.complaints(&world.emitter_health, MINUTE * 10).await;
    assert_eq!(seen.first, BTreeMap::new());
    let sent = direct(&world) - sent;
    assert!((27..=39).contains(&sent), "{sent} in the next ten");
    // Nobody is left to send them: those who observe say so.
    second.stop().await;
    let seen = world.complaints(&world.emitter_health, MINUTE * 5).await;
    let (second, reason) = seen.of("canary direct");
    assert!((120..=190).contains(&second), "after {second} s");
    assert!(
        reason.contains("high for 12")
            && reason.contains(", standard for 12")
            && reason.contains("a router"),
        "{reason}"
    );
    let others_named: Vec<_> = seen.first.keys().collect();
    assert_eq!(others_named, ["canary direct"], "what was sent did come");
    for one in others {
        one.stop().await;
    }
}

#[tokio::test(start_paused = true)]
async fn without_an_emitter_the_short_canaries_are_missed_and_recover() {
    let world = World::new();
    let running = [world.router(), world.scheduler()];
    let emitter = world.emitter(world.sink());
    world.complaints(&world.router_health, MINUTE * 5).await;
    emitter.stop().await;
    let seen = world.complaints(&world.router_health, MINUTE * 6).await;
    let (second, reason) = seen.of("canary short");
    assert!((120..=190).contains(&second), "after {second} s");
    assert!(reason.contains("emitters"), "{reason}");
    assert!(!seen.first.contains_key("canary direct"));
    let emitter = world.emitter(world.sink());
    let seen = world.complaints(&world.router_health, MINUTE * 2).await;
    assert_eq!(seen.last, []);
    emitter.stop().await;
    for one in running {
        one.stop().await;
    }
}

#[tokio::test(start_paused = true)]
async fn without_a_scheduler_shards_and_long_canaries_are_missed_by_others_and_recover() {
    let world = World::new();
    let running = [world.router(), world.emitter(world.sink())];
    let scheduler = world.scheduler();
    let seen = world.complaints(&world.router_health, MINUTE * 30).await;
    assert_eq!(seen.first, BTreeMap::new());
    scheduler.stop().await;
    let seen = world.complaints(&world.router_health, MINUTE * 25).await;
    let shard = seen.first.keys().find(|name| name.starts_with("shard "));
    let shard = shard.expect("a shard is named").clone();
    let (second, reason) = seen.of(&shard);
    // Three quarters of the lead of 7 min, and up to a bucket and a look.
    assert!((15..=660).contains(&second), "after {second} s");
    assert!(reason.contains("schedulers must run"), "{reason}");
    // Its bucket was handed over up to 12 minutes ahead.
    let (long, reason) = seen.of("canary long");
    assert!((300..=1_000).contains(&long), "after {long} s");
    assert!(reason.contains("schedulers"), "{reason}");
    assert!(second < long, "the shard is named before anything is late");
    assert!(!seen.first.contains_key("canary short"));
    let scheduler = world.scheduler();
    let seen = world.complaints(&world.router_health, MINUTE * 5).await;
    assert_eq!(seen.last, []);
    scheduler.stop().await;
    for one in running {
        one.stop().await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_partition_whose_records_no_tier_takes_is_named_until_it_moves() {
    let world = World::new();
    let running = [world.router(), world.emitter(world.sink())];
    tokio::time::sleep(MINUTE).await;
    world.block.send_replace(true);
    let target = [("delay-target", "out"), ("delay-ms", "600000")];
    world.send(2, &target);
    let seen = world.complaints(&world.router_health, MINUTE * 6).await;
    let (second, reason) = seen.of("partition delayq.delay/2");
    // Up to a minute to be packed is no stall: three minutes are counted from the delivery.
    assert!((180..=183).contains(&second), "after {second} s");
    assert!(
        reason.contains("offset ") && reason.contains("has been in hand for 18"),
        "{reason}"
    );
    world.block.send_replace(false);
    let seen = world.complaints(&world.router_health, MINUTE * 2).await;
    assert!(
        seen.last
            .iter()
            .all(|(name, _)| !name.starts_with("partition")),
        "{:?}",
        seen.last
    );
    let components = world.router_health.readiness().components;
    assert!(
        components
            .iter()
            .all(|one| !one.name.starts_with("partition")),
        "forgotten"
    );
    for one in running {
        one.stop().await;
    }
}

#[tokio::test(start_paused = true)]
async fn an_emitter_that_holds_messages_beyond_their_time_says_so_until_they_end() {
    let world = World::new();
    // It takes records and says nothing of them for ten minutes: no error that would open the breaker.
    let answered = Arc::new(AtomicBool::new(false));
    let told = answered.clone();
    let faults = Box::new(move |_: &delayq_core::record::Outgoing| {
        told.store(true, Ordering::Release);
        None
    });
    let mute = MemorySink::with_faults(
        &world.broker,
        MINUTE * 10,
        MemorySink::CAPACITY,
        Some(faults),
    );
    let running = [world.router(), world.emitter(mute)];
    tokio::time::sleep(MINUTE).await;
    world.send(0, &[("delay-target", "out"), ("delay-ms", "5000")]);
    let seen = world.complaints(&world.emitter_health, MINUTE * 6).await;
    let (second, reason) = seen.of("held messages");
    assert!(second <= 190, "after {second} s");
    assert!(reason.contains("held 18"), "{reason}");
    assert!(!answered.load(Ordering::Acquire));
    for one in running {
        one.stop().await;
    }
}
