//! [`TopicLog`]: a topic read by hand, one partition after the other, up to where it ended when it was opened, and what a
//! group without members has committed on it. For commands; services consume through `KafkaSource`.

use std::sync::Arc;
use std::time::Duration;

use delayq_core::error::{ErrorClass, PortError};
use delayq_core::ports::Commit;
use delayq_core::record::Incoming;
use rdkafka::config::FromClientConfigAndContext;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::error::KafkaError;
use rdkafka::message::Message as _;
use rdkafka::{Offset, TopicPartitionList};
use tokio::time::Instant;

use crate::admin::KafkaAdmin;
use crate::committed::coordinator_moves;
use crate::heard::{self, Heard};
use crate::incoming::Decoder;
use crate::settings::KafkaSettings;
use crate::{committed, errors, login, raw_offsets};

/// What one [`TopicLog::read`] answers with at most; the last record may exceed the bytes.
const READ_MAX_RECORDS: usize = 256;
const READ_MAX_BYTES: usize = 4 << 20;
/// How often a silent broker is asked for what it waits for.
const POLL: Duration = Duration::from_millis(200);

/// A partition when the topic was opened, and what is committed on it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogPartition {
    /// Number.
    pub partition: i32,
    /// Offset of the first record that is still there.
    pub start: i64,
    /// Offset that the next record would get.
    pub end: i64,
    /// Committed offset of the group, if there is one.
    pub committed: Option<i64>,
    /// Its metadata, undecoded.
    pub metadata: Option<String>,
}

/// Reads a topic and commits on it, without being a member of the group.
pub struct TopicLog {
    kafka: KafkaSettings,
    consumer: Arc<BaseConsumer<Heard>>,
    heard: Heard,
    decoder: Decoder,
    topic: Arc<str>,
    group_id: String,
    partitions: Vec<LogPartition>,
    answer: Duration,
    /// The partition that is read, and where it ends.
    reading: Option<(i32, i64)>,
}

impl std::fmt::Debug for TopicLog {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TopicLog")
            .field("topic", &self.topic)
            .field("partitions", &self.partitions)
            .finish_non_exhaustive()
    }
}

/// What a read has found, and whether its partition is at its end.
type Chunk = (Vec<Incoming>, bool);

impl TopicLog {
    /// Opens a topic for reading, committed records only; `None` when it does not exist. `answer`: how long each request
    /// may take.
    ///
    /// # Errors
    /// `Misconfigured` for settings with faults, a refused login or a missing right; `Transient` when no broker answers.
    pub async fn open(
        kafka: &KafkaSettings,
        group_id: &str,
        topic: &str,
        answer: Duration,
    ) -> Result<Option<Self>, PortError> {
        let layout = KafkaAdmin::with_timeout(kafka, answer)?
            .layout(topic)
            .await?;
        let Some((count, _)) = layout else {
            return Ok(None);
        };
        let heard = Heard::new(kafka);
        let consumer: BaseConsumer<Heard> =
            BaseConsumer::from_config_and_context(&kafka.reader_config(group_id), heard.clone())
                .map_err(|error| errors::configuration("kafka consumer", &error))?;
        login::log_in(consumer.client(), kafka.tokens.as_ref())?;
        let mut log = Self {
            kafka: kafka.clone(),
            consumer: Arc::new(consumer),
            heard,
            decoder: Decoder::new(&[topic.to_owned()]),
            topic: Arc::from(topic),
            group_id: group_id.to_owned(),
            partitions: Vec::new(),
            answer,
            reading: None,
        };
        let count = i32::try_from(count).unwrap_or(i32::MAX);
        let name = log.topic.clone();
        let bounds = log.ask("kafka ListOffsets", move |consumer| {
            (0..count)
                .map(|partition| consumer.fetch_watermarks(&name, partition, answer))
                .collect::<Result<Vec<_>, _>>()
        });
        let bounds = bounds.await?;
        let partitions: Vec<i32> = (0..count).collect();
        let committed = log.committed(partitions.clone()).await?;
        log.partitions = partitions
            .into_iter()
            .zip(bounds)
            .zip(committed)
            .map(
                |((partition, (start, end)), (committed, metadata))| LogPartition {
                    partition,
                    start,
                    end,
                    committed,
                    metadata,
                },
            )
            .collect();
        Ok(Some(log))
    }

    /// The partitions, by number.
    #[must_use]
    pub fn partitions(&self) -> &[LogPartition] {
        &self.partitions
    }

    /// Reads on at `offset` of a partition, up to its end; one that is gone: at the first that is still there.
    ///
    /// # Errors
    /// `Invalid` for a partition that the topic does not have.
    pub fn seek(&mut self, partition: i32, offset: i64) -> Result<(), PortError> {
        const OPERATION: &str = "kafka Fetch";
        let found = self.partitions.iter().find(|p| p.partition == partition);
        let Some(LogPartition { start, end, .. }) = found else {
            let detail = format!("{} has no partition {partition}", self.topic);
            return Err(PortError::new(ErrorClass::Invalid, OPERATION, detail));
        };
        let from = offset.max(*start);
        if from >= *end {
            self.reading = None;
            return Ok(());
        }
        self.reading = Some((partition, *end));
        let mut at = TopicPartitionList::new();
        at.add_partition_offset(&self.topic, partition, Offset::Offset(from))
            .and_then(|()| self.consumer.assign(&at))
            .map_err(|error| errors::admin(OPERATION, &error))
    }

    /// The next records of the partition that was sought, in order, 256 or 4 MiB at a time; none at its end.
    ///
    /// # Errors
    /// `Transient` when the broker falls silent, `Misconfigured` without the right to read.
    pub async fn read(&mut self) -> Result<Vec<Incoming>, PortError> {
        let Some((partition, end)) = self.reading else {
            return Ok(Vec::new());
        };
        let (decoder, answer) = (self.decoder.clone(), self.answer);
        let read = self.ask("kafka Fetch", move |consumer| {
            chunk(consumer, &decoder, partition, end, answer)
        });
        let (records, ended) = read.await?;
        if ended {
            self.reading = None;
        }
        Ok(records)
    }

    /// Commits for the group and waits until it is confirmed.
    ///
    /// # Errors
    /// `Conflict` when somebody else has committed since this log was opened or last committed, or the group has members;
    /// `Misconfigured` without the right to commit; else `Transient`. Nothing is committed then.
    pub async fn commit(&mut self, commit: Commit) -> Result<(), PortError> {
        const OPERATION: &str = "kafka commit";
        let number = commit.partition.partition;
        let now = self.committed(vec![number]).await?;
        let held = self.partitions.iter().find(|p| p.partition == number);
        let (Some(held), Some(now)) = (held, now.into_iter().next()) else {
            let detail = format!("{} has no partition {number}", self.topic);
            return Err(PortError::new(ErrorClass::Invalid, OPERATION, detail));
        };
        if now != (held.committed, held.metadata.clone()) {
            let detail = format!(
                "group {} has committed on {} meanwhile: somebody else works on it; wait for them, then run it again",
                self.group_id, commit.partition
            );
            return Err(PortError::new(ErrorClass::Conflict, OPERATION, detail));
        }
        let list = offsets(&commit).map_err(|error| errors::admin(OPERATION, &error))?;
        let answer = self.answer;
        let answers = self.ask(OPERATION, move |consumer| {
            committed::until_answered(answer, || {
                let answers = raw_offsets::commit(consumer.client(), &list)
                    .map_err(KafkaError::ConsumerCommit)?;
                let mut errors = answers.iter().filter_map(|(_, _, error)| *error);
                match errors.find(|error| coordinator_moves(*error)) {
                    Some(code) => Err(KafkaError::ConsumerCommit(code)),
                    None => Ok(answers),
                }
            })
        });
        for (_, _, error) in answers.await? {
            if let Some(code) = error {
                let mut error = errors::commit(code, &commit.partition.to_string());
                error.detail.push_str(&format!(
                    "; group {} must have no members, and this user the right READ on it",
                    self.group_id
                ));
                return Err(error);
            }
        }
        if let Some(held) = self.partitions.iter_mut().find(|p| p.partition == number) {
            held.committed = Some(commit.offset);
            held.metadata = Some(commit.metadata).filter(|text| !text.is_empty());
        }
        Ok(())
    }

    /// Offset and metadata that the group has committed on each of these partitions.
    async fn committed(
        &self,
        partitions: Vec<i32>,
    ) -> Result<Vec<(Option<i64>, Option<String>)>, PortError> {
        const OPERATION: &str = "kafka OffsetFetch";
        let mut list = TopicPartitionList::new();
        for partition in partitions {
            list.add_partition(&self.topic, partition);
        }
        let answer = self.answer;
        let fetch = self.ask(OPERATION, move |consumer| {
            committed::read(consumer, &list, answer)
        });
        let list = fetch.await?;
        let metadata = raw_offsets::metadata(&list);
        let each = list.elements().into_iter().zip(metadata);
        let found = each.map(|(element, metadata)| match element.offset() {
            Offset::Offset(at) => (Some(at), metadata),
            _ => (None, None),
        });
        Ok(found.collect())
    }

    /// Asks the broker on a thread that may block.
    async fn ask<T: Send + 'static>(
        &self,
        operation: &'static str,
        question: impl FnOnce(&BaseConsumer<Heard>) -> Result<T, KafkaError> + Send + 'static,
    ) -> Result<T, PortError> {
        let consumer = self.consumer.clone();
        let asked = tokio::task::spawn_blocking(move || question(&consumer));
        match asked.await {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(error)) if heard::is_silence(&error) => {
                Err(heard::silence(operation, &self.kafka, self.heard.reason()))
            }
            Ok(Err(error)) => Err(errors::admin(operation, &error)),
            Err(error) => Err(PortError::new(
                ErrorClass::Transient,
                operation,
                error.to_string(),
            )),
        }
    }
}

fn offsets(commit: &Commit) -> Result<TopicPartitionList, KafkaError> {
    let mut list = TopicPartitionList::new();
    let at = &commit.partition;
    let mut element = list.add_partition(&at.topic, at.partition);
    element.set_offset(Offset::Offset(commit.offset))?;
    element.set_metadata(&commit.metadata);
    Ok(list)
}

fn chunk(
    consumer: &BaseConsumer<Heard>,
    decoder: &Decoder,
    partition: i32,
    end: i64,
    answer: Duration,
) -> Result<Chunk, KafkaError> {
    let (mut records, mut bytes) = (Vec::new(), 0usize);
    let until = Instant::now() + answer;
    loop {
        let wait = if records.is_empty() {
            POLL
        } else {
            Duration::ZERO
        };
        match consumer.poll(wait) {
            // What was fetched for a partition that was left may still be in the queue.
            Some(Ok(message)) if message.partition() != partition => {}
            Some(Ok(message)) if message.offset() >= end => return Ok((records, true)),
            Some(Ok(message)) => {
                let record = decoder.decode(&message);
                let last = record.source.offset + 1 >= end;
                bytes += record.record.payload_bytes();
                records.push(record);
                if last || records.len() >= READ_MAX_RECORDS || bytes >= READ_MAX_BYTES {
                    return Ok((records, last));
                }
            }
            Some(Err(KafkaError::PartitionEOF(ended))) if ended == partition => {
                return Ok((records, true));
            }
            Some(Err(KafkaError::PartitionEOF(_))) => {}
            // The client connects again by itself.
            Some(Err(error)) if heard::is_silence(&error) && Instant::now() < until => {}
            Some(Err(error)) => return Err(error),
            None if !records.is_empty() => return Ok((records, false)),
            None if Instant::now() < until => {}
            None => {
                return Err(KafkaError::MessageConsumption(
                    rdkafka::error::RDKafkaErrorCode::OperationTimedOut,
                ));
            }
        }
    }
}
