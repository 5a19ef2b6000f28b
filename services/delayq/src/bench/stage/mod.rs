//! What a scenario runs on: topics, queues and tables of its own, and each role as a process of its own, as in
//! production. Over tiers in memory all roles share one process.

mod metrics;
mod processes;

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::Context as _;
use delayq_core::priority::Priority;
use delayq_kafka::{KafkaAdmin, TopicSpec};
use delayq_runtime::config::{Config, Sources, load};
use delayq_stack::{Component, Endpoints, Stack, StackOptions, Usage};
use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions};
use rdkafka::client::DefaultClientContext;

use crate::init::{InitArgs, init_with};
use crate::{cluster, topology};
pub(super) use processes::{COUNT_AGAIN, Roles};

const ROLES: [&str; 3] = ["router", "scheduler", "emitter"];
/// Partitions of the delay topics and of each output topic.
pub(super) const PARTITIONS: u32 = 6;
/// Records a second, at least, that warm brokers up for a measurement of lateness: at tens a second their compiler would still be
/// at work in the run that counts.
pub(super) const WARM_PER_S: u32 = 8_000;
/// Seconds of it.
pub(super) const WARM_S: u32 = 15;

/// Which stores lie behind the ports. Kafka is Apache Kafka in both.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Tiers {
    /// ElasticMQ and DynamoDB Local, started from their jars (or those named by DELAYQ_STACK_…).
    Stack,
    /// Queues and tables in the memory of one process that has all roles: what delayq costs without its stores.
    Embedded,
}

impl Tiers {
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Stack => "stack",
            Self::Embedded => "embedded",
        }
    }

    /// Starts what they need, for a load that fills the machine.
    pub(super) async fn stack(self) -> anyhow::Result<Stack> {
        self.start(StackOptions::for_throughput()).await
    }

    /// The same for a load that leaves room.
    pub(super) async fn calm_stack(self) -> anyhow::Result<Stack> {
        self.start(StackOptions::for_latency()).await
    }

    async fn start(self, mut options: StackOptions) -> anyhow::Result<Stack> {
        if self == Self::Embedded {
            options.components = vec![Component::Kafka];
        }
        Ok(Stack::from_env_or_start(options).await?)
    }
}

/// Topics, queues and tables.
pub(super) struct Stage {
    pub(super) config: Config,
    pub(super) tiers: Tiers,
    /// Of each topic.
    pub(super) partitions: i32,
    /// Of all names.
    pub(super) prefix: String,
    pub(super) target: String,
    pub(super) delay_topic: String,
    /// The output topics of `target`, by priority.
    pub(super) outputs: Vec<String>,
    /// `section.field=value`, for the roles.
    set: Vec<String>,
}

impl Stage {
    /// Creates what is needed. Targets that begin with the stage's own are allowed.
    pub(super) async fn create(
        endpoints: &Endpoints,
        tiers: Tiers,
        settings: &[String],
    ) -> anyhow::Result<Self> {
        Self::with_partitions(endpoints, tiers, settings, PARTITIONS).await
    }

    /// The same with so many partitions of each topic.
    pub(super) async fn with_partitions(
        endpoints: &Endpoints,
        tiers: Tiers,
        settings: &[String],
        partitions: u32,
    ) -> anyhow::Result<Self> {
        let partitions = i32::try_from(partitions)?;
        let prefix = format!("bench-{}", uuid::Uuid::new_v4().simple());
        let target = format!("{prefix}.out");
        let delay_topic = format!("{prefix}.delay");
        let mut set = vec![
            format!("kafka.bootstrap_servers={}", endpoints.kafka),
            format!("kafka.group_id={prefix}"),
            format!("topics.delay={delay_topic}"),
            format!("topics.dead_letter={prefix}.dead"),
            format!("topics.allow={target}*"),
            // Only what the bench itself sends is measured.
            "canary.enabled=false".to_owned(),
            format!("aws.prefix={prefix}"),
        ];
        if tiers == Tiers::Stack {
            set.push(format!("aws.sqs_endpoint={}", endpoints.sqs));
            set.push(format!("aws.dynamodb_endpoint={}", endpoints.dynamodb));
        }
        set.extend(settings.iter().cloned());
        let config = load(&Sources {
            set: set.clone(),
            ..Sources::default()
        })?;
        match tiers {
            Tiers::Stack => {
                let args = InitArgs {
                    partitions,
                    ..InitArgs::default()
                };
                init_with(&config, &args, &mut |line| tracing::info!(line)).await?;
            }
            Tiers::Embedded => {
                let topics: Vec<TopicSpec> = topology::topics(&config, &[])
                    .iter()
                    .map(|topic| topic.spec(&config, partitions, -1))
                    .collect();
                create_topics(&config, &topics).await?;
            }
        }
        let outputs: Vec<_> = Priority::ALL.map(|p| format!("{target}.{p}")).into();
        // The broker's clock says when a record was published, not the emitter's.
        let setting = ("message.timestamp.type", "LogAppendTime");
        create_outputs(&config, &outputs, partitions, setting).await?;
        Ok(Self {
            config,
            partitions,
            tiers,
            prefix,
            target,
            delay_topic,
            outputs,
            set,
        })
    }

    /// Deletes what it holds: several runs may not fit on the disk at once.
    pub(super) async fn delete_topics(&self) -> anyhow::Result<()> {
        let outputs = self.outputs.iter().map(String::as_str);
        let topics: Vec<&str> = outputs.chain([self.delay_topic.as_str()]).collect();
        delete_topics(&self.config, &topics).await
    }

    /// Starts so many processes of each role; returns when all are ready.
    pub(super) async fn start_roles(&self, replicas: u32) -> anyhow::Result<Roles> {
        Roles::start(self.tiers, &ROLES, &self.set, replicas).await
    }

    /// Starts one process of each of these roles, over the stack; returns when all are ready.
    pub(super) async fn start_some(&self, which: &[&str]) -> anyhow::Result<Roles> {
        Roles::start(Tiers::Stack, which, &self.set, 1).await
    }
}

/// What the stack's own processes have taken so far, by component. Empty if the stack is not ours.
pub(super) async fn stack_usage(stack: &Stack) -> anyhow::Result<BTreeMap<&'static str, Usage>> {
    let mut usages = BTreeMap::new();
    if !stack.is_ours() {
        return Ok(usages);
    }
    for component in Component::ALL {
        // One that this stack was started without is no fault.
        if let Ok(Some(pid)) = stack.pid(component).await {
            usages.insert(component.name(), Usage::of(pid)?);
        }
    }
    Ok(usages)
}

/// Creates output topics with this setting, of records of every size.
pub(super) async fn create_outputs(
    config: &Config,
    names: &[String],
    partitions: i32,
    setting: (&str, &str),
) -> anyhow::Result<()> {
    let message_max = config.kafka.message_max.as_u64();
    let specs: Vec<_> = names
        .iter()
        .map(|name| TopicSpec {
            name: name.clone(),
            partitions,
            replication: -1,
            config: [
                ("max.message.bytes".to_owned(), message_max.to_string()),
                (setting.0.to_owned(), setting.1.to_owned()),
            ]
            .into(),
        })
        .collect();
    create_topics(config, &specs).await
}

pub(super) async fn delete_topics(config: &Config, topics: &[&str]) -> anyhow::Result<()> {
    let admin: AdminClient<DefaultClientContext> = ClientConfig::new()
        .set("bootstrap.servers", &config.kafka.bootstrap_servers)
        .create()
        .context("a client to delete topics of the bench")?;
    for deleted in admin.delete_topics(topics, &AdminOptions::new()).await? {
        deleted.map_err(|(topic, code)| anyhow::anyhow!("topic {topic} is not deleted: {code}"))?;
    }
    Ok(())
}

pub(super) async fn create_topics(config: &Config, topics: &[TopicSpec]) -> anyhow::Result<()> {
    let admin = KafkaAdmin::with_timeout(&cluster::kafka(config).await?, Duration::from_secs(30))?;
    for (created, topic) in admin.ensure_topics(topics).await?.into_iter().zip(topics) {
        created.with_context(|| format!("topic {}", topic.name))?;
    }
    Ok(())
}
