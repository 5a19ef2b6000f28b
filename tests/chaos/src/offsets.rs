//! What the router's group has committed, looked at all the time: a router that is hurt repeats what lies beyond.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::Context as _;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::{ClientConfig, Offset, TopicPartitionList};

use crate::ledger::Committed;

const LOOK_EVERY: Duration = Duration::from_millis(150);
const ANSWER: Duration = Duration::from_secs(3);

/// Asks the broker; shared by whoever wants to know.
#[derive(Clone)]
pub(crate) struct Offsets {
    consumer: Arc<BaseConsumer>,
    topic: Arc<str>,
    partitions: i32,
    last: Arc<Mutex<Committed>>,
}

impl Offsets {
    pub(crate) fn new(
        bootstrap_servers: &str,
        group: &str,
        topic: &str,
        partitions: i32,
    ) -> anyhow::Result<Self> {
        let consumer = ClientConfig::new()
            .set("bootstrap.servers", bootstrap_servers)
            .set("group.id", group)
            .set("enable.auto.commit", "false")
            .set("reconnect.backoff.max.ms", "500")
            .set_log_level(rdkafka::config::RDKafkaLogLevel::Emerg)
            .create()
            .context("a consumer for the committed offsets")?;
        Ok(Self {
            consumer: Arc::new(consumer),
            topic: topic.into(),
            partitions,
            last: Arc::default(),
        })
    }

    /// Keeps [`Offsets::last`] up to date until the process ends; a broker that is away leaves it as it was.
    pub(crate) fn watch(&self) {
        let watcher = self.clone();
        tokio::spawn(async move {
            loop {
                if let Err(error) = watcher.committed().await {
                    tracing::debug!(%error, "committed offsets");
                }
                tokio::time::sleep(LOOK_EVERY).await;
            }
        });
    }

    /// As last seen: at least this much was committed.
    pub(crate) fn last(&self) -> Committed {
        self.last
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Asks now.
    pub(crate) async fn committed(&self) -> anyhow::Result<Committed> {
        let this = self.clone();
        tokio::task::spawn_blocking(move || {
            let mut asked = TopicPartitionList::new();
            for partition in 0..this.partitions {
                asked.add_partition(&this.topic, partition);
            }
            let answer = this.consumer.committed_offsets(asked, ANSWER)?;
            let committed: Committed = answer
                .elements()
                .iter()
                .map(|one| match one.offset() {
                    Offset::Offset(offset) => (one.partition(), offset),
                    _ => (one.partition(), 0),
                })
                .collect();
            this.last
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .clone_from(&committed);
            Ok(committed)
        })
        .await?
    }

    /// Records that are not committed.
    pub(crate) async fn behind(&self) -> anyhow::Result<i64> {
        let committed = self.committed().await?;
        let this = self.clone();
        tokio::task::spawn_blocking(move || {
            let mut behind = 0;
            for partition in 0..this.partitions {
                let (_, end) = this
                    .consumer
                    .fetch_watermarks(&this.topic, partition, ANSWER)?;
                behind += end - committed.get(&partition).copied().unwrap_or(0);
            }
            Ok(behind)
        })
        .await?
    }
}
