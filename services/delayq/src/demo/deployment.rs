//! What the demo runs on: the embedded broker and tiers, or the real stack from jars.

use std::sync::Arc;
use std::time::Duration;

use delayq_kafka::{KafkaAdmin, TopicSpec};
use delayq_runtime::config::{Config, RouteConfig, RouteDelays, RouteMatchConfig, Sources, load};
use delayq_stack::{Stack, StackOptions};

use super::DemoArgs;
use crate::app::{self, Backends};
use crate::cluster;
use crate::embedded::{EmbeddedKafka, EmbeddedTiers, PARTITIONS};
use crate::settings;
use crate::topology::{self, Purpose};

/// Targets that the sample producer, and whoever tries the demo, may use.
pub(super) const TARGETS: [&str; 3] = ["orders", "payments", "reminders"];
/// The message type for which a route sets the delay.
pub(super) const REMINDER: &str = "reminder";
/// Where the embedded broker listens, if it can.
const KAFKA_LISTEN: &str = "127.0.0.1:9092";

/// Beside the compressed times, for both stages: the mock broker is slow to give a member up, and wakes no fetch that waits.
const KAFKA_TIMES: [&str; 3] = [
    "kafka.session_timeout=6s",
    "kafka.revoke_timeout=5s",
    "kafka.properties.fetch.wait.max.ms=10",
];

enum Stage {
    Embedded {
        /// Runs until it is dropped.
        _kafka: EmbeddedKafka,
        tiers: EmbeddedTiers,
    },
    Real {
        /// Runs until it is dropped.
        _stack: Box<Stack>,
    },
}

/// Topics, tiers and the configuration for them.
pub(super) struct Deployment {
    pub(super) config: Config,
    stage: Stage,
}

impl Deployment {
    pub(super) async fn start(args: &DemoArgs) -> anyhow::Result<Self> {
        if args.real {
            Self::real().await
        } else {
            Self::embedded(args.kafka.as_deref()).await
        }
    }

    async fn embedded(listen: Option<&str>) -> anyhow::Result<Self> {
        let kafka = match listen {
            Some(listen) => EmbeddedKafka::start(listen).await?,
            None => match EmbeddedKafka::start(KAFKA_LISTEN).await {
                Ok(kafka) => kafka,
                Err(_) => EmbeddedKafka::start("127.0.0.1:0").await?,
            },
        };
        let config = config(&[format!("kafka.bootstrap_servers={}", kafka.address())])?;
        kafka.create_topics(&config, &TARGETS.map(str::to_owned))?;
        let tiers = EmbeddedTiers::default();
        Ok(Self {
            config,
            stage: Stage::Embedded {
                _kafka: kafka,
                tiers,
            },
        })
    }

    async fn real() -> anyhow::Result<Self> {
        let stack = Stack::from_env_or_start(StackOptions::default()).await?;
        let endpoints = stack.endpoints();
        let config = config(&[
            format!("kafka.bootstrap_servers={}", endpoints.kafka),
            format!("aws.sqs_endpoint={}", endpoints.sqs),
            format!("aws.dynamodb_endpoint={}", endpoints.dynamodb),
        ])?;
        // The broker's clock says when a record was published.
        let outputs: Vec<_> = outputs(&config)
            .into_iter()
            .map(|name| TopicSpec {
                name,
                partitions: PARTITIONS,
                replication: -1,
                config: [("message.timestamp.type".into(), "LogAppendTime".into())].into(),
            })
            .collect();
        let admin = KafkaAdmin::new(&cluster::kafka(&config).await?)?;
        for created in admin.ensure_topics(&outputs).await? {
            created?;
        }
        app::init(&config, &[]).await?;
        Ok(Self {
            config,
            stage: Stage::Real {
                _stack: Box::new(stack),
            },
        })
    }

    pub(super) async fn backends(&self) -> anyhow::Result<Backends> {
        match &self.stage {
            Stage::Embedded { tiers, .. } => Ok(tiers.backends()),
            Stage::Real { .. } => Backends::aws(&self.config).await,
        }
    }

    pub(super) fn bootstrap(&self) -> &str {
        &self.config.kafka.bootstrap_servers
    }

    /// Tells this run's sample records from those of an earlier one on the same broker.
    pub(super) fn name(&self) -> &str {
        &self.config.aws.prefix
    }

    pub(super) fn delay_topic(&self) -> &str {
        self.config.topics.delay.first().map_or("", String::as_str)
    }

    /// All topics that records come out of, the dead-letter topic included.
    pub(super) fn outputs(&self) -> Vec<String> {
        let mut topics = outputs(&self.config);
        topics.push(self.config.topics.dead_letter.clone());
        topics
    }

    /// Whether the timestamps of published records are the broker's.
    pub(super) const fn has_broker_time(&self) -> bool {
        matches!(self.stage, Stage::Real { .. })
    }

    /// What the stage is, and what it is not, in words.
    pub(super) const fn words(&self) -> &'static str {
        match self.stage {
            Stage::Embedded { .. } => {
                "Kafka is librdkafka's mock broker in this process. kcat, Confluent's clients (Python, Go, .NET, Node) and \
                 kafka-python 2 work with it;\nJava's client, kafkajs, franz-go and admin tools do not, and it keeps 5 MiB \
                 a partition. Both tiers are in memory: nothing survives.\nFor the real thing from jars: delayq demo --real"
            }
            Stage::Real { .. } => {
                "Apache Kafka, ElasticMQ (SQS) and DynamoDB Local, started from their jars; any Kafka client works."
            }
        }
    }
}

fn config(places: &[String]) -> anyhow::Result<Config> {
    // Random names: a stack that is given may have been used before.
    let run = uuid::Uuid::new_v4().simple().to_string();
    let prefix = format!("demo-{}", run.get(..8).unwrap_or(&run));
    let mut set: Vec<String> = settings::COMPRESSED.map(str::to_owned).into();
    set.extend(KAFKA_TIMES.map(str::to_owned));
    set.extend([
        format!("kafka.group_id={prefix}"),
        format!("topics.allow={}", TARGETS.join(",")),
        "canary.enabled=false".to_owned(),
        format!("aws.prefix={prefix}"),
        "aws.access_key_id=demo".to_owned(),
        "aws.secret_access_key=demo".to_owned(),
    ]);
    set.extend_from_slice(places);
    let mut config = load(&Sources {
        set,
        ..Sources::default()
    })?;
    config.routes = vec![RouteConfig {
        name: "reminders".to_owned(),
        target: None,
        priority: None,
        high: Default::default(),
        max_delay: None,
        output: None,
        spread: Duration::ZERO,
        max_rate: None,
        matches: RouteMatchConfig {
            message_type: Some(REMINDER.to_owned()),
            ..RouteMatchConfig::default()
        },
        delay: RouteDelays {
            standard: Some(Duration::from_secs(3)),
            low: Some(Duration::from_secs(6)),
        },
    }];
    config.validate()?;
    Ok(config)
}

fn outputs(config: &Config) -> Vec<String> {
    topology::topics(config, &TARGETS.map(str::to_owned))
        .into_iter()
        .filter(|topic| topic.purpose == Purpose::Output)
        .map(|topic| topic.name)
        .collect()
}

/// Everything that decides where a record of the demo goes.
pub(super) fn policy(config: &Config) -> anyhow::Result<Arc<delayq_core::route::Policy>> {
    Ok(Arc::new(settings::policy(config)?))
}
