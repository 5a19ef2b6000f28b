//! [`KafkaAdmin`]: creates topics, and tells what is there. For `init`, `check` and the start of services.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use delayq_core::error::{ErrorClass, PortError};
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, ResourceSpecifier, TopicReplication};
use rdkafka::client::ClientContext;
use rdkafka::config::{FromClientConfigAndContext, RDKafkaLogLevel};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};

use crate::settings::KafkaSettings;
use crate::{client_log, errors};

/// How long one administrative request may take.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(15);

struct AdminContext;

impl ClientContext for AdminContext {
    fn log(&self, level: RDKafkaLogLevel, fac: &str, log_message: &str) {
        client_log::forward("admin", level, fac, log_message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        tracing::debug!(%error, reason, "kafka admin");
    }
}

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
}

/// An administrative client of the cluster.
pub struct KafkaAdmin {
    client: Arc<AdminClient<AdminContext>>,
}

impl std::fmt::Debug for KafkaAdmin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("KafkaAdmin")
    }
}

impl KafkaAdmin {
    /// Builds the client. Needs no broker.
    ///
    /// # Errors
    /// `Misconfigured` when the settings have faults or librdkafka refuses them.
    pub fn new(kafka: &KafkaSettings) -> Result<Self, PortError> {
        let faults = kafka.faults();
        if !faults.is_empty() {
            return Err(errors::faulty_settings("kafka admin", &faults));
        }
        AdminClient::from_config_and_context(&kafka.admin_config(), AdminContext)
            .map(|client| Self {
                client: Arc::new(client),
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
        let options = AdminOptions::new()
            .request_timeout(Some(REQUEST_TIMEOUT))
            .operation_timeout(Some(REQUEST_TIMEOUT));
        let results = self
            .client
            .create_topics(&new, &options)
            .await
            .map_err(|error| errors::admin(OPERATION, &error))?;
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

    /// The topic as it is; `None` when there is none. Never creates it.
    ///
    /// # Errors
    /// `Transient` when no broker answers, `Misconfigured` without permission.
    pub async fn describe(&self, topic: &str) -> Result<Option<TopicDescription>, PortError> {
        let Some((partitions, replication)) = self.layout(topic).await? else {
            return Ok(None);
        };
        Ok(Some(TopicDescription {
            name: topic.to_owned(),
            partitions,
            replication,
            config: self.topic_config(topic).await?,
        }))
    }

    /// Partitions and replicas, without the configuration (which needs DESCRIBE_CONFIGS).
    ///
    /// # Errors
    /// As [`KafkaAdmin::describe`].
    pub async fn layout(&self, topic: &str) -> Result<Option<(usize, usize)>, PortError> {
        const OPERATION: &str = "kafka Metadata";
        let client = Arc::clone(&self.client);
        let name = topic.to_owned();
        let fetched = tokio::task::spawn_blocking(move || {
            let metadata = client
                .inner()
                .fetch_metadata(Some(&name), REQUEST_TIMEOUT)?;
            Ok(metadata.topics().iter().find(|t| t.name() == name).map(
                // The partitions of a topic in error are a null slice: ask for the error first.
                |found| match found.error() {
                    Some(code) => Err(RDKafkaErrorCode::from(code)),
                    None => {
                        let partitions = found.partitions();
                        let replicas = partitions.iter().map(|p| p.replicas().len()).min();
                        Ok((partitions.len(), replicas.unwrap_or(0)))
                    }
                },
            ))
        })
        .await
        .map_err(|error| PortError::new(ErrorClass::Transient, OPERATION, error.to_string()))?;
        let found: Option<Result<(usize, usize), RDKafkaErrorCode>> =
            fetched.map_err(|error: KafkaError| errors::admin(OPERATION, &error))?;
        match found {
            None
            | Some(Err(
                RDKafkaErrorCode::UnknownTopic
                | RDKafkaErrorCode::UnknownTopicOrPartition
                | RDKafkaErrorCode::UnknownPartition,
            )) => Ok(None),
            Some(Ok(layout)) => Ok(Some(layout)),
            Some(Err(code)) => Err(errors::admin_code(
                OPERATION,
                code,
                &format!("{topic}: {code}"),
            )),
        }
    }

    async fn topic_config(&self, topic: &str) -> Result<BTreeMap<String, String>, PortError> {
        const OPERATION: &str = "kafka DescribeConfigs";
        let options = AdminOptions::new().request_timeout(Some(REQUEST_TIMEOUT));
        let answer = self
            .client
            .describe_configs(&[ResourceSpecifier::Topic(topic)], &options)
            .await
            .map_err(|error| errors::admin(OPERATION, &error))?;
        let mut config = BTreeMap::new();
        for resource in answer {
            let resource = resource
                .map_err(|code| errors::admin_code(OPERATION, code, &format!("{topic}: {code}")))?;
            for entry in resource.entries {
                if let Some(value) = entry.value {
                    config.insert(entry.name, value);
                }
            }
        }
        Ok(config)
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
