//! Runs roles: adapters made, services started, watched and stopped together.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, bail};
use delayq_aws::{Clients, DynamoBatchStore, DynamoShardState, Names, SqsDelayQueue, SqsTickQueue};
use delayq_core::clock::{Clock, SystemClock};
use delayq_core::ports::{HealthReport, RecordSink};
use delayq_core::priority::Priority;
use delayq_emitter::EmitterPorts;
use delayq_kafka::{KafkaAdmin, KafkaSink, KafkaSource, TopicCreation, TopicSpec};
use delayq_router::RouterPorts;
use delayq_runtime::config::Config;
use delayq_runtime::health::Health;
use delayq_scheduler::SchedulerPorts;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::health::HealthPort;
use crate::role::Role;
use crate::settings;

/// Runs the roles in this process until `stop`, then until each has stopped in its own time.
///
/// # Errors
/// Settings that no adapter can be made of. What is away at start or lost later is no error: it is reported to
/// `health` and tried again.
pub async fn run(
    config: &Config,
    roles: &[Role],
    health: Health,
    stop: CancellationToken,
) -> anyhow::Result<()> {
    let health: Arc<dyn HealthReport> = Arc::new(HealthPort::expecting(&health, roles));
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let clients = delayq_aws::connect(&settings::aws(config), clock.clone()).await?;
    let names = Names::with_prefix(&config.aws.prefix);
    let tiers = Tiers::new(&clients, &names);
    let kafka = settings::kafka(config);
    let mut tasks = JoinSet::new();
    if roles.contains(&Role::Scheduler) {
        let ports = SchedulerPorts {
            store: tiers.store.clone(),
            shards: tiers.shards.clone(),
            ticks: Arc::new(SqsTickQueue::new(&clients, &names.queues)),
            queue: tiers.queue.clone(),
            clock: clock.clone(),
            health: health.clone(),
        };
        let (settings, stop) = (settings::scheduler(config), stop.clone());
        tasks.spawn(async move {
            delayq_scheduler::run(settings, ports, stop).await;
            Role::Scheduler
        });
    }
    if roles.iter().any(|role| *role != Role::Scheduler) {
        // One producer for both: librdkafka's queues and connections are the larger part of a role's memory.
        let sink: Arc<dyn RecordSink> = Arc::new(KafkaSink::new(&kafka, settings::sink(config))?);
        if roles.contains(&Role::Emitter) {
            let ports = EmitterPorts {
                sink: sink.clone(),
                queue: tiers.queue.clone(),
                clock: clock.clone(),
                health: health.clone(),
            };
            let (settings, stop) = (settings::emitter(config), stop.clone());
            tasks.spawn(async move {
                delayq_emitter::run(settings, ports, stop).await;
                Role::Emitter
            });
        }
        if roles.contains(&Role::Router) {
            let ports = RouterPorts {
                source: Box::new(KafkaSource::start(&kafka, settings::source(config))?),
                sink,
                queue: tiers.queue.clone(),
                store: tiers.store.clone(),
                shards: tiers.shards.clone(),
                clock,
                health,
            };
            let (settings, stop) = (settings::router(config)?, stop.clone());
            tasks.spawn(async move {
                delayq_router::run(settings, ports, stop).await;
                Role::Router
            });
        }
    }
    while let Some(ended) = tasks.join_next().await {
        match ended {
            Ok(role) if stop.is_cancelled() => tracing::info!(?role, "stopped"),
            Ok(role) => bail!("{role:?} ended without being asked to"),
            Err(error) => return Err(error).context("a role panicked"),
        }
    }
    Ok(())
}

struct Tiers {
    queue: Arc<SqsDelayQueue>,
    store: Arc<DynamoBatchStore>,
    shards: Arc<DynamoShardState>,
}

impl Tiers {
    fn new(clients: &Clients, names: &Names) -> Self {
        Self {
            queue: Arc::new(SqsDelayQueue::new(clients, &names.queues)),
            store: Arc::new(DynamoBatchStore::new(clients, &names.tables)),
            shards: Arc::new(DynamoShardState::new(clients, &names.tables)),
        }
    }
}

/// How long `init` waits for a new table.
const TABLE_WAIT: Duration = Duration::from_secs(120);
/// Partitions of a delay topic that `init` creates, and of the dead-letter topic.
const DELAY_PARTITIONS: i32 = 6;
const DEAD_LETTER_PARTITIONS: i32 = 1;
/// Partitions of an output topic that `init` creates.
const OUTPUT_PARTITIONS: i32 = 6;

/// Creates topics, queues and tables that are missing, and the output topics of `targets`; running it again changes
/// nothing. Answers with what was done.
///
/// # Errors
/// The first thing that could not be made.
pub async fn init(config: &Config, targets: &[String]) -> anyhow::Result<Vec<String>> {
    let message_max = config.kafka.message_max.as_u64();
    let delay = config.topics.delay.iter().map(|name| TopicSpec {
        name: name.clone(),
        partitions: DELAY_PARTITIONS,
        replication: -1,
        config: [
            ("message.timestamp.type", "LogAppendTime"),
            ("retention.ms", "1209600000"),
        ]
        .map(|(k, v)| (k.to_owned(), v.to_owned()))
        .into(),
    });
    let dead_letter = TopicSpec {
        name: config.topics.dead_letter.clone(),
        partitions: DEAD_LETTER_PARTITIONS,
        replication: -1,
        // The delay topic's limit and 64 KiB for the reason: no refusal may stall a partition.
        config: [(
            "max.message.bytes".to_owned(),
            (message_max + settings::DEAD_LETTER_ROOM_BYTES).to_string(),
        )]
        .into(),
    };
    let outputs = targets.iter().flat_map(|target| {
        let mut names: Vec<_> = Priority::ALL
            .map(|p| {
                config
                    .topics
                    .output
                    .replace("{target}", target)
                    .replace("{priority}", p.as_str())
            })
            .into();
        names.dedup();
        names.into_iter().map(|name| TopicSpec {
            name,
            partitions: OUTPUT_PARTITIONS,
            replication: -1,
            config: [("max.message.bytes".to_owned(), message_max.to_string())].into(),
        })
    });
    let topics: Vec<_> = delay.chain([dead_letter]).chain(outputs).collect();
    let created = KafkaAdmin::new(&settings::kafka(config))?
        .ensure_topics(&topics)
        .await?;
    let mut done = Vec::new();
    for (topic, created) in topics.iter().zip(created) {
        done.push(
            match created.with_context(|| format!("topic {}", topic.name))? {
                TopicCreation::Created => format!("topic {}: created", topic.name),
                TopicCreation::Existed => format!("topic {}: exists, left as it is", topic.name),
            },
        );
    }
    let clients = delayq_aws::connect(&settings::aws(config), Arc::new(SystemClock)).await?;
    done.extend(
        delayq_aws::provision(
            &clients,
            &Names::with_prefix(&config.aws.prefix),
            TABLE_WAIT,
        )
        .await?,
    );
    Ok(done)
}
