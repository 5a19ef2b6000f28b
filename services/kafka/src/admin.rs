//! [`KafkaAdmin`]: creates topics and changes their settings; `inspect` tells what is there. For `init` and `check`.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use delayq_core::error::{ErrorClass, PortError};
use rdkafka::admin::{
    AdminClient, AdminOptions, AlterConfig, NewTopic, ResourceSpecifier, TopicReplication,
};
use rdkafka::config::FromClientConfigAndContext;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::{Offset, TopicPartitionList};

use crate::heard::{self, Heard};
use crate::settings::KafkaSettings;
use crate::{errors, login};

/// How long one administrative request may take, unless said otherwise.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(15);

/// How long a change may take to be seen, and how often to look.
const CHANGE_SEEN: Duration = Duration::from_secs(5);
const LOOK_AGAIN: Duration = Duration::from_millis(100);

/// A topic as it should be created.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TopicSpec {
    /// Name.
    pub name: String,
    /// Partitions, at least 1; −1 for the broker's default.
    pub partitions: i32,
    /// Replicas of each partition; −1 for the broker's default.
    pub replication: i32,
    /// Topic configuration, such as `message.timestamp.type`.
    pub config: BTreeMap<String, String>,
}

/// What [`KafkaAdmin::ensure_topics`] did about one topic.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TopicCreation {
    /// It was created as specified.
    Created,
    /// It was there, and was left as it is: its settings may differ (see [`KafkaAdmin::describe`]).
    Existed,
}

/// A topic as it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TopicDescription {
    /// Name.
    pub name: String,
    /// Partitions.
    pub partitions: usize,
    /// Replicas of the partition that has fewest.
    pub replication: usize,
    /// Effective configuration, the broker's defaults included.
    pub config: BTreeMap<String, String>,
    /// That part of it that was set on the topic itself.
    pub own_config: BTreeMap<String, String>,
}

/// An administrative client of the cluster.
pub struct KafkaAdmin {
    client: Arc<AdminClient<Heard>>,
    pub(crate) timeout: Duration,
    kafka: KafkaSettings,
}

impl std::fmt::Debug for KafkaAdmin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("KafkaAdmin")
    }
}

impl KafkaAdmin {
    /// Builds the client; each of its requests may take 15 s. Needs no broker.
    ///
    /// # Errors
    /// `Misconfigured` when the settings have faults or librdkafka refuses them.
    pub fn new(kafka: &KafkaSettings) -> Result<Self, PortError> {
        Self::with_timeout(kafka, REQUEST_TIMEOUT)
    }

    /// As [`KafkaAdmin::new`], with another limit for each request.
    ///
    /// # Errors
    /// As [`KafkaAdmin::new`].
    pub fn with_timeout(kafka: &KafkaSettings, timeout: Duration) -> Result<Self, PortError> {
        let faults = kafka.faults();
        if !faults.is_empty() {
            return Err(errors::faulty_settings("kafka admin", &faults));
        }
        AdminClient::from_config_and_context(&kafka.admin_config(), Heard::new(kafka))
            .map(|client| Self {
                client: Arc::new(client),
                timeout,
                kafka: kafka.clone(),
            })
            .map_err(|error| errors::configuration("kafka admin", &error))
    }

    /// Creates the topics that are missing; one outcome a topic, in order. Doing it again is harmless.
    ///
    /// # Errors
    /// When the request as a whole failed. Per topic: `Invalid` for a specification the broker refuses,
    /// `Misconfigured` without permission, else `Transient`.
    pub async fn ensure_topics(
        &self,
        topics: &[TopicSpec],
    ) -> Result<Vec<Result<TopicCreation, PortError>>, PortError> {
        const OPERATION: &str = "kafka CreateTopics";
        if topics.is_empty() {
            return Ok(Vec::new());
        }
        let new: Vec<NewTopic<'_>> = topics.iter().map(new_topic).collect();
        let results = match self.client()?.create_topics(&new, &self.options()).await {
            Ok(results) => results,
            Err(error) => return Err(self.failed(OPERATION, &error).await),
        };
        Ok(topics
            .iter()
            .map(|topic| {
                let result = results.iter().find(|result| match result {
                    Ok(name) | Err((name, _)) => *name == topic.name,
                });
                match result {
                    Some(Ok(_)) => Ok(TopicCreation::Created),
                    Some(Err((_, RDKafkaErrorCode::TopicAlreadyExists))) => {
                        Ok(TopicCreation::Existed)
                    }
                    Some(Err((name, code))) => Err(errors::admin_code(
                        OPERATION,
                        *code,
                        &format!("{name}: {code}"),
                    )),
                    None => Err(PortError::new(
                        ErrorClass::Transient,
                        OPERATION,
                        format!("{}: the broker gave no answer", topic.name),
                    )),
                }
            })
            .collect())
    }

    /// Changes these settings of a topic and keeps its others. A setting that somebody else changes between
    /// [`KafkaAdmin::describe`] and this call is lost: the client has no call for single settings.
    ///
    /// # Errors
    /// `Invalid` for what the broker refuses, `Misconfigured` without permission, else `Transient`.
    pub async fn change(
        &self,
        topic: &TopicDescription,
        changes: &BTreeMap<String, String>,
    ) -> Result<(), PortError> {
        const OPERATION: &str = "kafka AlterConfigs";
        let mut wanted = topic.own_config.clone();
        wanted.extend(changes.clone());
        let alter = AlterConfig {
            specifier: ResourceSpecifier::Topic(&topic.name),
            entries: wanted
                .iter()
                .map(|(name, value)| (name.as_str(), value.as_str()))
                .collect(),
        };
        let results = match self
            .client()?
            .alter_configs(&[alter], &self.options())
            .await
        {
            Ok(results) => results,
            Err(error) => return Err(self.failed(OPERATION, &error).await),
        };
        for result in results {
            result.map_err(|(_, code)| {
                errors::admin_code(OPERATION, code, &format!("{}: {code}", topic.name))
            })?;
        }
        self.until_changed(topic, changes).await
    }

    /// The client drops the error of a single topic: only the topic itself says whether the change was taken. The broker
    /// that is asked may hear of it a little later than the one that took it.
    async fn until_changed(
        &self,
        topic: &TopicDescription,
        changes: &BTreeMap<String, String>,
    ) -> Result<(), PortError> {
        let taken = async {
            loop {
                let now = self.describe(&topic.name).await?;
                let has = |(name, value): (&String, &String)| {
                    now.as_ref()
                        .is_some_and(|now| now.config.get(name) == Some(value))
                };
                if changes.iter().all(has) {
                    return Ok(());
                }
                tokio::time::sleep(LOOK_AGAIN).await;
            }
        };
        tokio::time::timeout(CHANGE_SEEN, taken)
            .await
            .unwrap_or_else(|_| {
                let names: Vec<_> = changes.keys().map(String::as_str).collect();
                Err(PortError::new(
                    ErrorClass::Misconfigured,
                    "kafka AlterConfigs",
                    format!(
                        "{}: the broker did not set {}; grant ALTER_CONFIGS on the topic to the user that delayq connects as (kafka.properties), or set it yourself",
                        topic.name,
                        names.join(", ")
                    ),
                ))
            })
    }

    /// Deletes the records of a partition before `offset`, for everybody. The broker may keep what shares a segment with
    /// later ones on disk for a while; no consumer sees it again.
    ///
    /// # Errors
    /// `Misconfigured` without the right DELETE on the topic, `Invalid` where the topic's policy forbids it (a compacted
    /// topic), else `Transient`.
    pub async fn delete_before(
        &self,
        topic: &str,
        partition: i32,
        offset: i64,
    ) -> Result<(), PortError> {
        const OPERATION: &str = "kafka DeleteRecords";
        let mut before = TopicPartitionList::new();
        before
            .add_partition_offset(topic, partition, Offset::Offset(offset))
            .map_err(|error| errors::admin(OPERATION, &error))?;
        let deleted = match self
            .client()?
            .delete_records(&before, &self.options())
            .await
        {
            Ok(deleted) => deleted,
            Err(error) => return Err(self.failed(OPERATION, &error).await),
        };
        for element in deleted.elements() {
            element
                .error()
                .map_err(|error| errors::admin(OPERATION, &error))?;
        }
        Ok(())
    }

    /// The client, with the latest token: nobody polls it, so it would not hear of a later one.
    pub(crate) fn client(&self) -> Result<&Arc<AdminClient<Heard>>, PortError> {
        login::log_in(self.client.inner(), self.kafka.tokens.as_ref())?;
        Ok(&self.client)
    }

    /// The limit of a request as a whole.
    pub(crate) fn options(&self) -> AdminOptions {
        AdminOptions::new()
            .request_timeout(Some(self.timeout))
            .operation_timeout(Some(self.timeout))
    }

    /// A request that was not answered, or refused as a whole.
    pub(crate) async fn failed(&self, operation: &'static str, error: &KafkaError) -> PortError {
        if heard::is_silence(error) {
            heard::diagnose(operation, &self.kafka).await
        } else {
            errors::admin(operation, error)
        }
    }
}

fn new_topic(topic: &TopicSpec) -> NewTopic<'_> {
    NewTopic {
        name: &topic.name,
        num_partitions: topic.partitions,
        replication: TopicReplication::Fixed(topic.replication),
        config: topic
            .config
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_str()))
            .collect(),
    }
}
