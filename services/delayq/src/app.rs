//! Runs roles: adapters made, services started, watched and stopped together.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, bail};
use delayq_aws::{
    Clients, DynamoBatchStore, DynamoMessageFeed, DynamoMessageRegistry, DynamoPayloadStore,
    DynamoShardState, DynamoTallyStore, Names, QueueNames, SqsDelayQueue, SqsTickQueue,
    queue_depth,
};
use delayq_console::operations::Queue;
use delayq_core::clock::{Clock, SystemClock};
use delayq_core::error::PortError;
use delayq_core::ports::{
    BatchStore, DelayQueue, HealthReport, Lane, MessageFeed, MessageIndex, MessageRegistry,
    PayloadStore, RecordSink, RecordSource, ShardState, TallyStore, TickQueue,
};
use delayq_core::priority::Priority;
use delayq_delivery::upcoming::{UpcomingCounts, UpcomingWriter};
use delayq_emitter::EmitterPorts;
use delayq_kafka::{KafkaSink, KafkaSource, SinkSettings, tail_topic};
use delayq_router::RouterPorts;
use delayq_runtime::config::Config;
use delayq_runtime::health::Health;
use delayq_scheduler::SchedulerPorts;
use delayq_scheduler::watch::ShardWatch;
use futures::FutureExt as _;
use futures::future::BoxFuture;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::canary::{self, CanaryPorts, CanarySettings, Leader};
use crate::cluster;
use crate::health::HealthPort;
pub use crate::init::init;
use crate::role::Role;
use crate::settings;
use crate::traces::Traces;

/// What the roles work with besides Kafka.
#[derive(Clone)]
pub struct Backends {
    /// Wall clock.
    pub clock: Arc<dyn Clock>,
    /// Queues.
    pub queue: Arc<dyn DelayQueue>,
    /// Tick queue.
    pub ticks: Arc<dyn TickQueue>,
    /// Table of batches.
    pub store: Arc<dyn BatchStore>,
    /// State rows.
    pub shards: Arc<dyn ShardState>,
    /// Records too large for a batch.
    pub payloads: Arc<dyn PayloadStore>,
    /// Tracked records.
    pub registry: Arc<dyn MessageRegistry>,
    /// The same, listed.
    pub index: Arc<dyn MessageIndex>,
    /// Opens a feed of their changes.
    pub feed: Feeds,
    /// Counts of what comes due.
    pub tallies: Arc<dyn TallyStore>,
    /// How much the queues hold.
    pub depths: QueueDepths,
    /// Put around the consumer of the delay topics.
    pub source: SourceLayer,
    /// Whether output topics that are missing are made by publishing to them.
    pub create_topics: bool,
    /// How soon a jump of the clock is noticed by who waits for a due time.
    pub clock_check: Duration,
}

/// Opens a feed.
pub type Feeds =
    Arc<dyn Fn() -> BoxFuture<'static, Result<Box<dyn MessageFeed>, PortError>> + Send + Sync>;

/// Looks how much the queues hold.
pub type QueueDepths =
    Arc<dyn Fn() -> BoxFuture<'static, Result<Vec<Queue>, PortError>> + Send + Sync>;

/// Changes what a consumer delivers.
pub type SourceLayer = Arc<dyn Fn(Box<dyn RecordSource>) -> Box<dyn RecordSource> + Send + Sync>;

impl Backends {
    /// SQS and DynamoDB.
    ///
    /// # Errors
    /// Settings that no client can be made of.
    pub async fn aws(config: &Config) -> anyhow::Result<Self> {
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        let clients = delayq_aws::connect(&settings::aws(config), clock.clone()).await?;
        let names = Names::with_prefix(&config.aws.prefix);
        let registry = Arc::new(DynamoMessageRegistry::new(&clients, &names.tables));
        Ok(Self {
            index: registry.clone(),
            feed: {
                let (clients, tables) = (clients.clone(), names.tables.clone());
                Arc::new(move || {
                    let (clients, tables) = (clients.clone(), tables.clone());
                    async move {
                        let feed = DynamoMessageFeed::open(&clients, &tables).await?;
                        Ok(Box::new(feed) as Box<dyn MessageFeed>)
                    }
                    .boxed()
                })
            },
            depths: {
                let (clients, queues) = (clients.clone(), names.queues.clone());
                Arc::new(move || sqs_depths(clients.clone(), queues.clone()).boxed())
            },
            queue: Arc::new(SqsDelayQueue::new(&clients, &names.queues)),
            ticks: Arc::new(SqsTickQueue::new(&clients, &names.queues)),
            store: Arc::new(DynamoBatchStore::new(&clients, &names.tables)),
            shards: Arc::new(DynamoShardState::new(&clients, &names.tables)),
            payloads: Arc::new(DynamoPayloadStore::new(&clients, &names.tables)),
            registry,
            tallies: Arc::new(DynamoTallyStore::new(&clients, &names.tables)),
            clock,
            source: Arc::new(|source| source),
            create_topics: false,
            clock_check: settings::CLOCK_CHECK,
        })
    }
}

impl Backends {
    /// Stores what a process counts of what comes due.
    pub(crate) fn upcoming_writer(&self, counts: Arc<UpcomingCounts>) -> UpcomingWriter {
        let (writer, ..) = uuid::Uuid::new_v4().as_fields();
        UpcomingWriter::new(counts, self.tallies.clone(), self.clock.clone(), writer)
    }
}

/// How much the queues of all priorities hold, and their dead-letter queues.
async fn sqs_depths(clients: Clients, names: QueueNames) -> Result<Vec<Queue>, PortError> {
    let lanes = Priority::ALL
        .into_iter()
        .flat_map(|priority| [Lane::Main(priority), Lane::DeadLetter(priority)]);
    let mut queues = Vec::new();
    for lane in lanes {
        let name = names.lane(lane);
        if let Some(depth) = queue_depth(&clients, &name).await? {
            queues.push(Queue {
                name: name.clone(),
                messages: depth.visible,
                in_flight: depth.in_flight,
                delayed: depth.delayed,
            });
        }
    }
    Ok(queues)
}

/// Runs the roles in this process until `stop`, over SQS and DynamoDB.
///
/// # Errors
/// As [`run_on`], and those of [`Backends::aws`].
pub async fn run(
    config: &Config,
    roles: &[Role],
    health: Health,
    stop: CancellationToken,
) -> anyhow::Result<()> {
    run_on(config, roles, Backends::aws(config).await?, health, stop).await
}

/// Runs the roles in this process until `stop`, then until each has stopped in its own time.
///
/// # Errors
/// Settings that no adapter can be made of. What is away at start or lost later is no error: it is reported to
/// `health` and tried again.
pub async fn run_on(
    config: &Config,
    roles: &[Role],
    backends: Backends,
    health: Health,
    stop: CancellationToken,
) -> anyhow::Result<()> {
    #[cfg(feature = "failpoints")]
    crate::failpoints::arm();
    let health: Arc<dyn HealthReport> = Arc::new(HealthPort::expecting(&health, roles));
    let upcoming = Arc::new(UpcomingCounts::default());
    let roles_ended = CancellationToken::new();
    let counting = roles.contains(&Role::Router).then(|| {
        let writer = backends.upcoming_writer(upcoming.clone());
        tokio::spawn(writer.run(roles_ended.clone()))
    });
    let clock = backends.clock;
    let kafka = cluster::kafka(config).await?;
    let traces = Traces::start(config, clock.clone())?;
    let mut tasks = JoinSet::new();
    if roles.contains(&Role::Router) && !roles.contains(&Role::Scheduler) {
        // Shards whose schedulers are all gone are named by somebody.
        let watch = ShardWatch::new(settings::times(config), clock.clone(), health.clone());
        let (shards, every) = (backends.shards.clone(), config.scheduler.tick);
        let (count, stop) = (config.long.shards, stop.clone());
        tasks.spawn(async move {
            watch.run(shards.as_ref(), count, every, stop).await;
            "shard watch"
        });
    }
    if roles.contains(&Role::Scheduler) {
        let ports = SchedulerPorts {
            store: backends.store.clone(),
            shards: backends.shards.clone(),
            ticks: backends.ticks,
            queue: backends.queue.clone(),
            clock: clock.clone(),
            health: health.clone(),
        };
        #[cfg(feature = "failpoints")]
        let ports = crate::failpoints::scheduler(ports);
        let (settings, stop) = (settings::scheduler(config), stop.clone());
        tasks.spawn(async move {
            delayq_scheduler::run(settings, ports, stop).await;
            "scheduler"
        });
    }
    if roles.iter().any(|role| *role != Role::Scheduler) {
        // One sink for both: librdkafka's queues and connections are the larger part of a role's memory.
        let sink = SinkSettings {
            create_topics: backends.create_topics,
            ..settings::sink(config)
        };
        let sink = KafkaSink::new(&kafka, sink)?;
        sink.begin()?;
        let sink: Arc<dyn RecordSink> = Arc::new(sink);
        let sink = match &traces {
            Some(traces) => traces.sink(sink),
            None => sink,
        };
        if roles.contains(&Role::Emitter) {
            let ports = EmitterPorts {
                sink: sink.clone(),
                queue: backends.queue.clone(),
                payloads: backends.payloads.clone(),
                registry: backends.registry.clone(),
                clock: clock.clone(),
                health: health.clone(),
            };
            #[cfg(feature = "failpoints")]
            let ports = crate::failpoints::emitter(ports, &config.topics.dead_letter);
            let (mut settings, stop) = (settings::emitter(config)?, stop.clone());
            settings.publish.clock_check = backends.clock_check;
            tasks.spawn(async move {
                delayq_emitter::run(settings, ports, stop).await;
                "emitter"
            });
        }
        let canaries = CanarySettings::new(config, settings::policy(config)?.names);
        let mut leads = None;
        if roles.contains(&Role::Router) {
            let source = KafkaSource::start(&kafka, settings::source(config))?;
            let mut source = (backends.source)(Box::new(source));
            if let Some(traces) = &traces {
                source = traces.source(source);
            }
            if let Some(canaries) = &canaries {
                let (watched, told) = Leader::watch(source, &canaries.delay_topic);
                source = watched;
                leads = Some(told);
            }
            let ports = RouterPorts {
                source,
                sink: sink.clone(),
                queue: backends.queue.clone(),
                store: backends.store.clone(),
                shards: backends.shards.clone(),
                payloads: backends.payloads.clone(),
                registry: backends.registry.clone(),
                upcoming,
                clock: clock.clone(),
                health: health.clone(),
            };
            #[cfg(feature = "failpoints")]
            let ports = crate::failpoints::router(ports, &config.topics.dead_letter);
            let (mut settings, stop) = (settings::router(config)?, stop.clone());
            settings.publish.clock_check = backends.clock_check;
            tasks.spawn(async move {
                delayq_router::run(settings, ports, stop).await;
                "router"
            });
        }
        if let Some(canaries) = canaries {
            let ports = CanaryPorts {
                tail: tail_topic(&kafka, &canaries.topic)?,
                sink,
                clock,
                health,
                leads,
            };
            let stop = stop.clone();
            tasks.spawn(async move {
                canary::run(canaries, ports, stop).await;
                "canaries"
            });
        }
    }
    while let Some(ended) = tasks.join_next().await {
        match ended {
            Ok(part) if stop.is_cancelled() => tracing::info!(part, "stopped"),
            Ok(part) => bail!("{part} ended without being asked to"),
            Err(error) => return Err(error).context("a role panicked"),
        }
    }
    if let Some(traces) = traces {
        traces.stop().await;
    }
    // What the roles took in while they stopped is counted too.
    roles_ended.cancel();
    if let Some(counting) = counting {
        counting.await.context("counting what comes due")?;
    }
    Ok(())
}
