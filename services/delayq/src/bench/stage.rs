//! What a scenario runs on: topics, queues and tables of its own, and all roles in this process.

use std::time::Duration;

use anyhow::{Context as _, bail};
use delayq_core::priority::Priority;
use delayq_kafka::{KafkaAdmin, TopicSpec};
use delayq_runtime::config::{Config, Sources, load};
use delayq_runtime::health::Health;
use delayq_stack::Endpoints;
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::app;
use crate::role::Role;
use crate::settings;

/// How long the roles may take to be ready.
const READY: Duration = Duration::from_secs(90);
const LOOK_AGAIN: Duration = Duration::from_millis(100);

/// Running roles.
pub(super) struct Stage {
    pub(super) config: Config,
    /// Of all names.
    pub(super) prefix: String,
    pub(super) target: String,
    /// The output topics of `target`, by priority.
    pub(super) outputs: Vec<String>,
    stop: CancellationToken,
    roles: JoinHandle<anyhow::Result<()>>,
}

impl Stage {
    /// Creates what is needed and starts the roles. Targets that begin with the stage's own are allowed.
    pub(super) async fn start(endpoints: &Endpoints, settings: &[&str]) -> anyhow::Result<Self> {
        let prefix = format!("bench-{}", uuid::Uuid::new_v4().simple());
        let target = format!("{prefix}.out");
        let mut set = vec![
            format!("kafka.bootstrap_servers={}", endpoints.kafka),
            format!("kafka.group_id={prefix}"),
            format!("topics.delay={prefix}.delay"),
            format!("topics.dead_letter={prefix}.dead"),
            format!("topics.allow={target}*"),
            // Only what the bench itself sends is measured.
            "canary.enabled=false".to_owned(),
            format!("aws.sqs_endpoint={}", endpoints.sqs),
            format!("aws.dynamodb_endpoint={}", endpoints.dynamodb),
            format!("aws.prefix={prefix}"),
        ];
        set.extend(settings.iter().map(|setting| (*setting).to_owned()));
        let config = load(&Sources {
            set,
            ..Sources::default()
        })?;
        app::init(&config, &[]).await?;
        let outputs: Vec<_> = Priority::ALL.map(|p| format!("{target}.{p}")).into();
        // The broker's clock says when a record was published, not the emitter's.
        create(
            &config,
            &outputs,
            ("message.timestamp.type", "LogAppendTime"),
        )
        .await?;
        let stop = CancellationToken::new();
        let (role_config, role_stop) = (config.clone(), stop.clone());
        let health = Health::new();
        let told = health.clone();
        let roles =
            tokio::spawn(async move { app::run(&role_config, &Role::ALL, told, role_stop).await });
        until_ready(&health).await?;
        Ok(Self {
            config,
            prefix,
            target,
            outputs,
            stop,
            roles,
        })
    }

    /// Stops the roles, cleanly.
    pub(super) async fn stop(self) -> anyhow::Result<()> {
        self.stop.cancel();
        self.roles.await?
    }
}

/// Creates output topics with this setting.
pub(super) async fn create(
    config: &Config,
    names: &[String],
    setting: (&str, &str),
) -> anyhow::Result<()> {
    let specs: Vec<_> = names
        .iter()
        .map(|name| TopicSpec {
            name: name.clone(),
            partitions: 3,
            replication: -1,
            config: [(setting.0.to_owned(), setting.1.to_owned())].into(),
        })
        .collect();
    let admin = KafkaAdmin::new(&settings::kafka(config))?;
    for created in admin.ensure_topics(&specs).await? {
        created.context("output topics")?;
    }
    Ok(())
}

/// A load on roles that are still starting would measure the start.
async fn until_ready(health: &Health) -> anyhow::Result<()> {
    let until = Instant::now() + READY;
    loop {
        let readiness = health.readiness();
        if readiness.ready {
            return Ok(());
        }
        if Instant::now() >= until {
            let reasons: Vec<String> = readiness
                .components
                .iter()
                .filter_map(|one| Some(format!("{}: {}", one.name, one.reason.as_ref()?)))
                .collect();
            bail!(
                "the roles were not ready within {} s: {}",
                READY.as_secs(),
                reasons.join("; ")
            );
        }
        tokio::time::sleep(LOOK_AGAIN).await;
    }
}
