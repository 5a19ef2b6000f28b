//! The stand: the real stack, the proxies in front of it, and a place for each process of delayq.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use delayq::settings::{self, COMPRESSED};
use delayq_core::priority::Priority;
use delayq_kafka::{KafkaAdmin, TopicSpec};
use delayq_runtime::config::{Config, Sources, load};
use delayq_stack::{Component, Port, Stack, StackOptions};
use tokio::net::TcpListener;

use crate::ledger::Ledger;
use crate::load::Load;
use crate::offsets::Offsets;
use crate::plan::{Line, Slot};
use crate::proxy::http::HttpProxy;
use crate::proxy::{Switch, tcp};
use crate::roles::Fleet;

/// Partitions of the delay topic and of each output topic: more than one for each router.
pub(crate) const PARTITIONS: i32 = 4;

/// Beside the compressed times: what is away is noticed, and found again, within seconds; leases are short enough to lapse.
const HASTE: [&str; 7] = [
    "kafka.session_timeout=10s",
    "kafka.revoke_timeout=6s",
    "publish.breaker_probe=200ms",
    "emitter.visibility=12s",
    "router.stop_timeout=20s",
    "emitter.stop_timeout=20s",
    "scheduler.stop_timeout=10s",
];

/// What a stand may differ in.
pub(crate) struct StandOptions {
    pub(crate) seed: u64,
    /// Long delays take seconds.
    pub(crate) compressed: bool,
    pub(crate) slots: Vec<Slot>,
    /// SQS outlives its process.
    pub(crate) keep_messages: bool,
    pub(crate) delay_partitions: i32,
    /// The binary whose roles are run; default: this one.
    pub(crate) delayq: Option<PathBuf>,
    /// `section.field=value`, after all others.
    pub(crate) settings: Vec<String>,
}

/// Everything that runs.
pub(crate) struct Stand {
    /// Before the stack, which it needs to stop in order.
    pub(crate) fleet: Fleet,
    pub(crate) stack: Stack,
    pub(crate) lines: BTreeMap<Line, Arc<Switch>>,
    pub(crate) ledger: Arc<Ledger>,
    pub(crate) config: Config,
    pub(crate) target: String,
    pub(crate) outputs: Vec<String>,
    pub(crate) dir: PathBuf,
    /// Held so that no other stack takes it while Kafka is down.
    _kafka_port: Port,
}

impl Stand {
    /// Starts the stack and the proxies, and makes topics, queues and tables; no role yet.
    pub(crate) async fn start(options: &StandOptions) -> anyhow::Result<Self> {
        let kafka_port = Port::free()?;
        // Clients that come through the proxy are sent back to it by the broker: a listener of its own says so.
        let kafka_proxy = TcpListener::bind("127.0.0.1:0")
            .await
            .context("a port for Kafka's proxy")?;
        let proxied = kafka_proxy.local_addr()?;
        let listen = format!(
            "PLAINTEXT://127.0.0.1:{{kafka_port}},CONTROLLER://127.0.0.1:{{controller_port}},PROXIED://127.0.0.1:{}",
            kafka_port.number()
        );
        let stack_options = StackOptions {
            keep_messages: options.keep_messages,
            kafka_properties: [
                ("listeners", listen),
                (
                    "advertised.listeners",
                    format!("PLAINTEXT://127.0.0.1:{{kafka_port}},PROXIED://{proxied}"),
                ),
                (
                    "listener.security.protocol.map",
                    "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT,PROXIED:PLAINTEXT".to_owned(),
                ),
            ]
            .map(|(name, value)| (name.to_owned(), value))
            .into(),
            ..StackOptions::default()
        };
        let stack = Stack::start(stack_options).await?;
        let dir = stack
            .logs(Component::Kafka)?
            .parent()
            .context("the stack's directory")?
            .to_owned();
        let lines: BTreeMap<Line, Arc<Switch>> = [Line::Kafka, Line::Sqs, Line::DynamoDb]
            .into_iter()
            .map(|line| (line, Arc::new(Switch::new(line, options.seed))))
            .collect();
        let line = |line| lines.get(&line).cloned().context("a line");
        let upstream = format!("127.0.0.1:{}", kafka_port.number()).parse()?;
        tcp::start(kafka_proxy, upstream, line(Line::Kafka)?);
        let ledger = Arc::new(Ledger::default());
        let common = common_settings(options);
        let mut places = BTreeMap::new();
        for slot in &options.slots {
            let sqs = HttpProxy::start(
                *slot,
                &stack.endpoints().sqs,
                line(Line::Sqs)?,
                ledger.clone(),
            );
            let dynamodb = HttpProxy::start(
                *slot,
                &stack.endpoints().dynamodb,
                line(Line::DynamoDb)?,
                ledger.clone(),
            );
            let addresses = [
                format!("kafka.bootstrap_servers={proxied}"),
                format!("aws.sqs_endpoint=http://{}", sqs.await?),
                format!("aws.dynamodb_endpoint=http://{}", dynamodb.await?),
                "http.listen=127.0.0.1:0".to_owned(),
                "console.listen=127.0.0.1:0".to_owned(),
            ];
            places.insert(*slot, common.iter().cloned().chain(addresses).collect());
        }
        let direct = [
            format!("kafka.bootstrap_servers={}", stack.endpoints().kafka),
            format!("aws.sqs_endpoint={}", stack.endpoints().sqs),
            format!("aws.dynamodb_endpoint={}", stack.endpoints().dynamodb),
        ];
        let config = load(&Sources {
            set: common.iter().cloned().chain(direct).collect(),
            ..Sources::default()
        })?;
        let target = "out".to_owned();
        let outputs: Vec<_> = Priority::ALL.map(|p| format!("{target}.{p}")).into();
        make_topics(&config, &outputs, options.delay_partitions).await?;
        delayq::app::init(&config, &[]).await?;
        Ok(Self {
            fleet: Fleet::new(&dir, options.delayq.as_deref(), places)?,
            stack,
            lines,
            ledger,
            config,
            target,
            outputs,
            dir,
            _kafka_port: kafka_port,
        })
    }

    /// The switch of a line.
    pub(crate) fn line(&self, line: Line) -> anyhow::Result<&Switch> {
        let switch = self.lines.get(&line).map(AsRef::as_ref);
        switch.with_context(|| format!("no proxy for {}", line.name()))
    }

    pub(crate) fn delay_topic(&self) -> anyhow::Result<&str> {
        let topic = self.config.topics.delay.first().map(String::as_str);
        topic.context("no delay topic")
    }

    /// A load on the delay topic, past the proxy.
    pub(crate) fn load(&self, seed: u64, rate_per_s: u32, lasts: Duration) -> anyhow::Result<Load> {
        Ok(Load {
            bootstrap_servers: self.stack.endpoints().kafka.clone(),
            topic: self.delay_topic()?.to_owned(),
            target: self.target.clone(),
            seed,
            rate_per_s,
            lasts,
        })
    }

    /// Looks at the offsets of the router's group, past the proxy.
    pub(crate) fn offsets(&self, partitions: i32) -> anyhow::Result<Offsets> {
        Offsets::new(
            &self.stack.endpoints().kafka,
            &self.config.kafka.group_id,
            self.delay_topic()?,
            partitions,
        )
    }
}

fn common_settings(options: &StandOptions) -> Vec<String> {
    let mut settings: Vec<String> = Vec::new();
    if options.compressed {
        settings.extend(COMPRESSED.map(str::to_owned));
        settings.extend(HASTE.map(str::to_owned));
    }
    settings.extend(
        [
            "kafka.group_id=chaos-router",
            "topics.delay=delay",
            "topics.dead_letter=dead",
            "topics.allow=out*",
            "aws.prefix=chaos",
        ]
        .map(str::to_owned),
    );
    settings.extend(options.settings.iter().cloned());
    settings
}

/// The broker's clock says when a record was published, not the emitter's; and the delay topic has partitions for all.
async fn make_topics(
    config: &Config,
    outputs: &[String],
    delay_partitions: i32,
) -> anyhow::Result<()> {
    let stamped = |name: &str, partitions| TopicSpec {
        name: name.to_owned(),
        partitions,
        replication: -1,
        config: [
            ("message.timestamp.type", "LogAppendTime"),
            ("max.message.bytes", "1114112"),
        ]
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .into(),
    };
    let mut specs: Vec<_> = outputs
        .iter()
        .map(|name| stamped(name, PARTITIONS))
        .collect();
    specs.extend(
        config
            .topics
            .delay
            .iter()
            .map(|name| stamped(name, delay_partitions)),
    );
    let admin = KafkaAdmin::new(&settings::kafka(config))?;
    for made in admin.ensure_topics(&specs).await? {
        made.context("a topic")?;
    }
    Ok(())
}
