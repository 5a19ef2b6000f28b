//! Reads one small topic from its beginning and goes on reading, outside any consumer group: for the canaries.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use delayq_core::error::{ErrorClass, PortError};
use delayq_core::record::Record;
use rdkafka::config::FromClientConfigAndContext as _;
use rdkafka::consumer::{Consumer as _, StreamConsumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::{Offset, TopicPartitionList};
use tokio::sync::mpsc;

use crate::heard::Heard;
use crate::incoming::Decoder;
use crate::settings::KafkaSettings;
use crate::{errors, login};

/// How long the answer to where the topic is may take.
const METADATA: Duration = Duration::from_secs(5);
/// Wait before another try, and between two looks for a topic that is missing.
const RETRY: Duration = Duration::from_secs(2);
/// Events read ahead of whoever takes them.
const AHEAD: usize = 256;

/// What there is to tell of the topic.
#[derive(Debug)]
pub enum TailEvent {
    /// A record.
    Record(Record),
    /// All that there was has been told. Again after each later record.
    CaughtUp,
    /// The topic cannot be read for now; the reading goes on trying.
    Away(PortError),
}

/// Starts to read `topic`, until the receiver is dropped.
///
/// # Errors
/// `Misconfigured` for settings that no client can be made of.
pub fn tail_topic(
    kafka: &KafkaSettings,
    topic: &str,
) -> Result<mpsc::Receiver<TailEvent>, PortError> {
    const OPERATION: &str = "kafka tail";
    let faults = kafka.faults();
    if !faults.is_empty() {
        return Err(errors::faulty_settings(OPERATION, &faults));
    }
    let consumer: StreamConsumer<Heard> =
        StreamConsumer::from_config_and_context(&kafka.tail_config(), Heard::new(kafka))
            .map_err(|error| errors::configuration(OPERATION, &error))?;
    login::log_in(consumer.client(), kafka.tokens.as_ref())?;
    let (sender, events) = mpsc::channel(AHEAD);
    let reading = Reading {
        consumer: Arc::new(consumer),
        topic: topic.to_owned(),
        events: sender,
    };
    tokio::spawn(reading.run());
    Ok(events)
}

struct Reading {
    consumer: Arc<StreamConsumer<Heard>>,
    topic: String,
    events: mpsc::Sender<TailEvent>,
}

/// Whoever took the events is gone.
struct Unheard;

impl Reading {
    async fn run(self) {
        loop {
            let read = match self.partitions().await {
                Ok(partitions) => self.read(&partitions).await,
                Err(error) => self.tell(TailEvent::Away(error)).await,
            };
            if read.is_err() {
                return;
            }
            tokio::select! {
                () = tokio::time::sleep(RETRY) => {}
                () = self.events.closed() => return,
            }
        }
    }

    async fn tell(&self, event: TailEvent) -> Result<(), Unheard> {
        self.events.send(event).await.map_err(|_| Unheard)
    }

    async fn partitions(&self) -> Result<Vec<i32>, PortError> {
        const OPERATION: &str = "kafka metadata";
        let away = |detail: String| PortError::new(ErrorClass::Transient, OPERATION, detail);
        let (consumer, topic) = (self.consumer.clone(), self.topic.clone());
        let asked = tokio::task::spawn_blocking(move || {
            let metadata = consumer.fetch_metadata(Some(&topic), METADATA)?;
            let found = metadata.topics().iter().find(|one| one.name() == topic);
            let partitions = found.map(|one| one.partitions().iter().map(|p| p.id()).collect());
            Ok::<Vec<i32>, KafkaError>(partitions.unwrap_or_default())
        });
        let partitions = match asked.await {
            Ok(Ok(partitions)) => partitions,
            Ok(Err(error)) => return Err(away(format!("topic {}: {error}", self.topic))),
            Err(error) => return Err(away(error.to_string())),
        };
        if partitions.is_empty() {
            let detail = format!("topic {} does not exist; run `delayq init`", self.topic);
            return Err(PortError::new(ErrorClass::Misconfigured, OPERATION, detail));
        }
        Ok(partitions)
    }

    /// Reads until the topic must be looked for again.
    async fn read(&self, partitions: &[i32]) -> Result<(), Unheard> {
        let mut assignment = TopicPartitionList::new();
        for partition in partitions {
            let added = assignment.add_partition_offset(&self.topic, *partition, Offset::Beginning);
            if let Err(error) = added {
                return self.away(&error).await;
            }
        }
        if let Err(error) = self.consumer.assign(&assignment) {
            return self.away(&error).await;
        }
        let decoder = Decoder::new(std::slice::from_ref(&self.topic));
        let mut at_end = BTreeSet::new();
        loop {
            let message = tokio::select! {
                message = self.consumer.recv() => message,
                () = self.events.closed() => return Err(Unheard),
            };
            match message {
                Ok(message) => {
                    let record = decoder.decode(&message).record;
                    self.tell(TailEvent::Record(record)).await?;
                }
                Err(KafkaError::PartitionEOF(partition)) => {
                    at_end.insert(partition);
                    if at_end.len() >= partitions.len() {
                        self.tell(TailEvent::CaughtUp).await?;
                    }
                }
                Err(error) => {
                    self.away(&error).await?;
                    if is_missing(errors::code_of(&error)) {
                        return Ok(());
                    }
                }
            }
        }
    }

    async fn away(&self, error: &KafkaError) -> Result<(), Unheard> {
        let detail = format!("topic {}: {error}", self.topic);
        self.tell(TailEvent::Away(PortError::new(
            ErrorClass::Transient,
            "kafka fetch",
            detail,
        )))
        .await
    }
}

const fn is_missing(code: RDKafkaErrorCode) -> bool {
    matches!(
        code,
        RDKafkaErrorCode::UnknownTopic
            | RDKafkaErrorCode::UnknownTopicOrPartition
            | RDKafkaErrorCode::UnknownPartition
    )
}
