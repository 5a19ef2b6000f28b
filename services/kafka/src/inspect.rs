//! What is there: topics as they are. Reads only, and creates nothing by asking.

use std::collections::BTreeMap;
use std::sync::Arc;

use delayq_core::error::{ErrorClass, PortError};
use rdkafka::admin::{ConfigSource, ResourceSpecifier};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};

use crate::admin::{KafkaAdmin, TopicDescription};
use crate::errors;

impl KafkaAdmin {
    /// The topic as it is; `None` when there is none. Never creates it.
    ///
    /// # Errors
    /// `Transient` when no broker answers, `Misconfigured` without permission.
    pub async fn describe(&self, topic: &str) -> Result<Option<TopicDescription>, PortError> {
        let Some((partitions, replication)) = self.layout(topic).await? else {
            return Ok(None);
        };
        let mut described = TopicDescription {
            name: topic.to_owned(),
            partitions,
            replication,
            config: BTreeMap::new(),
            own_config: BTreeMap::new(),
        };
        self.read_config(&mut described).await?;
        Ok(Some(described))
    }

    /// Partitions and replicas, without the configuration (which needs DESCRIBE_CONFIGS).
    ///
    /// # Errors
    /// As [`KafkaAdmin::describe`].
    pub async fn layout(&self, topic: &str) -> Result<Option<(usize, usize)>, PortError> {
        const OPERATION: &str = "kafka Metadata";
        let (client, timeout) = (Arc::clone(self.client()?), self.timeout);
        let name = topic.to_owned();
        let fetched = tokio::task::spawn_blocking(move || {
            let metadata = client.inner().fetch_metadata(Some(&name), timeout)?;
            Ok::<_, KafkaError>(metadata.topics().iter().find(|t| t.name() == name).map(
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
        let found: Option<Result<(usize, usize), RDKafkaErrorCode>> = match fetched {
            Ok(found) => found,
            Err(error) => return Err(self.failed(OPERATION, &error).await),
        };
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

    async fn read_config(&self, topic: &mut TopicDescription) -> Result<(), PortError> {
        const OPERATION: &str = "kafka DescribeConfigs";
        let name = &topic.name;
        let topics = [ResourceSpecifier::Topic(name)];
        let answer = match self
            .client()?
            .describe_configs(&topics, &self.options())
            .await
        {
            Ok(answer) => answer,
            Err(error) => return Err(self.failed(OPERATION, &error).await),
        };
        for resource in answer {
            let resource = resource
                .map_err(|code| errors::admin_code(OPERATION, code, &format!("{name}: {code}")))?;
            for entry in resource.entries {
                let Some(value) = entry.value else { continue };
                if entry.source == ConfigSource::DynamicTopic {
                    topic.own_config.insert(entry.name.clone(), value.clone());
                }
                topic.config.insert(entry.name, value);
            }
        }
        if topic.config.is_empty() {
            // The client drops the error of a single topic, and no topic is without settings.
            let denied = RDKafkaErrorCode::TopicAuthorizationFailed;
            let detail = format!("{name}: the broker does not tell its settings");
            return Err(errors::admin_code(OPERATION, denied, &detail));
        }
        Ok(())
    }
}
