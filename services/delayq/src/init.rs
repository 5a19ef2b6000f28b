//! `delayq init`: creates what delayq needs (topics, queues, tables) and says of what exists how it differs.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use delayq_aws::{Names, ProvisionOptions, provision_with};
use delayq_core::clock::SystemClock;
use delayq_core::error::{ErrorClass, PortError};
use delayq_kafka::{KafkaAdmin, TopicCreation, TopicDescription};
use delayq_runtime::config::Config;

use crate::cluster;
use crate::settings;
use crate::topology::{self, Purpose, Topic};

/// How long one request to Kafka may take.
const ANSWER: Duration = Duration::from_secs(10);
/// How long `init` waits for a new table.
const TABLE_WAIT: Duration = Duration::from_secs(120);

/// Arguments.
#[derive(Debug, Clone, clap::Args)]
pub struct InitArgs {
    /// Create the output topics of these targets as well.
    #[arg(long, value_delimiter = ',', value_name = "TARGET,…")]
    pub targets: Vec<String>,
    /// Partitions of the delay and output topics that are created.
    #[arg(long, default_value_t = 6, value_name = "N", value_parser = clap::value_parser!(i32).range(1..))]
    pub partitions: i32,
    /// Replicas of each topic that is created. Default: the broker's.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(i32).range(1..))]
    pub replication: Option<i32>,
    /// Change nothing; say what would be created and changed.
    #[arg(long)]
    pub dry_run: bool,
    /// Set right what differs in existing topics: room for the largest record, retention, LogAppendTime.
    #[arg(long)]
    pub fix: bool,
}

impl Default for InitArgs {
    fn default() -> Self {
        Self {
            targets: Vec::new(),
            partitions: 6,
            replication: None,
            dry_run: false,
            fix: false,
        }
    }
}

/// Creates topics, queues and tables that are missing, and the output topics of `targets`; running it again changes
/// nothing. Answers with a line for each.
///
/// # Errors
/// The first thing that could not be made.
pub async fn init(config: &Config, targets: &[String]) -> anyhow::Result<Vec<String>> {
    let args = InitArgs {
        targets: targets.to_vec(),
        ..InitArgs::default()
    };
    let mut done = Vec::new();
    init_with(config, &args, &mut |line| done.push(line)).await?;
    Ok(done)
}

/// As [`init`], and gives each line to `report` as soon as its topic, queue or table is done: `created`, `exists`,
/// `would create`, `differs` (and how, and what to do) or `differed` (and what was set).
///
/// # Errors
/// The first thing that could not be made; what was done before has been reported, and running it again goes on from
/// there.
pub async fn init_with(
    config: &Config,
    args: &InitArgs,
    report: &mut (dyn FnMut(String) + Send),
) -> anyhow::Result<()> {
    let admin = KafkaAdmin::with_timeout(&cluster::kafka(config).await?, ANSWER)?;
    init_topics(&admin, config, args, report).await?;
    let clients = delayq_aws::connect(&settings::aws(config), Arc::new(SystemClock)).await?;
    let names = Names::with_prefix(&config.aws.prefix);
    let options = ProvisionOptions {
        dry_run: args.dry_run,
        wait: TABLE_WAIT,
    };
    provision_with(&clients, &names, options, report)
        .await
        .map_err(|mut error| {
            if error.class == ErrorClass::Transient {
                error.detail.push_str("; check aws.sqs_endpoint, aws.dynamodb_endpoint and the network, and run it again");
            }
            error
        })?;
    Ok(())
}

async fn init_topics(
    admin: &KafkaAdmin,
    config: &Config,
    args: &InitArgs,
    report: &mut (dyn FnMut(String) + Send),
) -> anyhow::Result<()> {
    let mut largest_bytes = None;
    // Delay topics come first: what the others need room for is known by then.
    for topic in topology::topics(config, &args.targets) {
        let label = topic.label();
        let spec = topic.spec(config, args.partitions, args.replication.unwrap_or(-1));
        let line = match look(admin, &topic).await? {
            Found::Nothing if args.dry_run => "would create".to_owned(),
            Found::Nothing => {
                let created = admin.ensure_topics(std::slice::from_ref(&spec)).await?;
                match created.into_iter().next() {
                    Some(created) => match created.with_context(|| label.clone())? {
                        TopicCreation::Created => "created".to_owned(),
                        TopicCreation::Existed => "exists".to_owned(),
                    },
                    None => anyhow::bail!("{label}: the broker gave no answer"),
                }
            }
            Found::Sealed(why) => format!("exists, but its settings cannot be read: {why}"),
            Found::Topic(found) => {
                if topic.purpose == Purpose::Delay {
                    largest_bytes = largest_bytes.max(topology::limit_bytes(&found));
                }
                existing(admin, &topic, &found, largest_bytes, config, args)
                    .await
                    .with_context(|| label.clone())?
            }
        };
        report(format!("{label}: {line}"));
    }
    Ok(())
}

/// What there is under a topic's name.
enum Found {
    Nothing,
    Topic(Box<TopicDescription>),
    /// It exists, and this user may not read its settings.
    Sealed(PortError),
}

async fn look(admin: &KafkaAdmin, topic: &Topic) -> Result<Found, PortError> {
    match admin.describe(&topic.name).await {
        Ok(Some(found)) => Ok(Found::Topic(Box::new(found))),
        Ok(None) => Ok(Found::Nothing),
        Err(denied) if denied.class == ErrorClass::Misconfigured => {
            match admin.layout(&topic.name).await? {
                Some(_) => Ok(Found::Sealed(denied)),
                None => Ok(Found::Nothing),
            }
        }
        Err(error) => Err(error),
    }
}

async fn existing(
    admin: &KafkaAdmin,
    topic: &Topic,
    found: &TopicDescription,
    largest_bytes: Option<u64>,
    config: &Config,
    args: &InitArgs,
) -> Result<String, PortError> {
    let faults = topology::shortcomings(topic, found, largest_bytes, config);
    if faults.is_empty() {
        return Ok("exists".to_owned());
    }
    let (fixable, left): (Vec<_>, Vec<_>) = faults
        .into_iter()
        .partition(|fault| args.fix && fault.fix.is_some());
    let changes: BTreeMap<String, String> = fixable
        .into_iter()
        .filter_map(|fault| fault.fix)
        .map(|(name, value)| (name.to_owned(), value))
        .collect();
    let mut parts = Vec::new();
    if !changes.is_empty() {
        let set: Vec<_> = changes.iter().map(|(k, v)| format!("{k}={v}")).collect();
        let set = set.join(", ");
        if args.dry_run {
            parts.push(format!("differs, would set {set}"));
        } else {
            admin.change(found, &changes).await?;
            parts.push(format!("differed, set {set}"));
        }
    }
    for fault in left {
        parts.push(format!("differs: {} -> {}", fault.what, fault.remedy));
    }
    Ok(parts.join("; "))
}
