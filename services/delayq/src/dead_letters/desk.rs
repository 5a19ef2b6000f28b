//! What every command needs at hand: the dead-letter topic with its marks, the policy, and the payload table.

use std::time::Duration;

use anyhow::{Context as _, bail};
use delayq_aws::{DynamoPayloadStore, Names};
use delayq_core::record::Record;
use delayq_core::route::Policy;
use delayq_kafka::{KafkaAdmin, KafkaSettings, TopicLog};
use delayq_runtime::config::Config;

use super::content::content;
use super::letter::Letter;
use super::marks::Marks;
use crate::cluster;
use crate::operator::clients;
use crate::settings;

/// How long the broker may take to answer at all.
const ANSWER: Duration = Duration::from_secs(4);

/// The group by whose commits it is known what is done.
#[must_use]
pub fn group_id(config: &Config) -> String {
    format!("{}-dead-letters", config.kafka.group_id)
}

pub(super) struct Desk<'a> {
    pub(super) config: &'a Config,
    pub(super) kafka: KafkaSettings,
    pub(super) policy: Policy,
    pub(super) log: TopicLog,
    payloads: Option<DynamoPayloadStore>,
}

impl<'a> Desk<'a> {
    pub(super) async fn open(config: &'a Config) -> anyhow::Result<Self> {
        let kafka = cluster::kafka(config).await?;
        let topic = &config.topics.dead_letter;
        let log = TopicLog::open(&kafka, &group_id(config), topic, ANSWER).await?;
        let Some(log) = log else {
            bail!(
                "dead-letter topic {topic} does not exist: run `delayq init`, or set topics.dead_letter"
            );
        };
        Ok(Self {
            config,
            policy: settings::policy(config)?,
            kafka,
            log,
            payloads: None,
        })
    }

    /// The marks of each partition, as they were when the topic was opened.
    pub(super) fn marks(&self) -> Vec<Marks> {
        let topic = &self.config.topics.dead_letter;
        let partitions = self.log.partitions().iter();
        partitions.map(|one| Marks::new(topic, one)).collect()
    }

    pub(super) fn admin(&self) -> anyhow::Result<KafkaAdmin> {
        Ok(KafkaAdmin::with_timeout(&self.kafka, ANSWER)?)
    }

    /// The record that a letter is about, with what the letter says of it.
    pub(super) async fn content(&mut self, letter: &Letter) -> anyhow::Result<Record> {
        if letter.stored().is_none() {
            return Ok(letter.record.clone());
        }
        let store = match &self.payloads {
            Some(store) => store,
            None => {
                let clients = clients(self.config).await?;
                let names = Names::with_prefix(&self.config.aws.prefix);
                self.payloads
                    .insert(DynamoPayloadStore::new(&clients, &names.tables))
            }
        };
        content(letter, store)
            .await
            .with_context(|| format!("the content of dead letter {}", letter.at))
    }
}
