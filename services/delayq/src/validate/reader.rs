//! Reads what comes out from now on, with a consumer that knows nothing of delayq.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::Context as _;
use delayq_core::clock::{Clock as _, SystemClock};
use delayq_kafka::KafkaSettings;
use delayq_kafka::outsider::{self, OutsideConsumer};
use delayq_runtime::config::Config;
use rdkafka::consumer::Consumer as _;
use rdkafka::message::{BorrowedMessage, Headers as _, Message as _};
use rdkafka::{Offset, TopicPartitionList};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::cluster;

/// Longest wait for the broker to tell a topic's partitions.
const METADATA_WAIT: Duration = Duration::from_secs(10);
const POLL: Duration = Duration::from_millis(50);

/// A record that came out.
#[derive(Debug, Clone)]
pub(super) struct Arrived {
    pub(super) topic: String,
    /// When it was read, by this machine's clock.
    pub(super) read_ms: i64,
    /// The earlier of when it was produced and read.
    pub(super) produced_ms: i64,
    pub(super) partition: i32,
    pub(super) offset: i64,
    pub(super) key: Vec<u8>,
    pub(super) value: Vec<u8>,
    /// Headers that are text; of those of one name the last.
    pub(super) headers: HashMap<String, String>,
}

impl Arrived {
    pub(super) fn number(&self, name: &str) -> Option<i64> {
        self.headers.get(name)?.parse().ok()
    }

    /// How long after it was due it was read, in ms.
    pub(super) fn late_ms(&self) -> i64 {
        self.number("delayed-due-ms")
            .map_or(i64::MAX, |due_ms| self.read_ms - due_ms)
    }
}

/// Everything that has come.
pub(super) struct Reader {
    arrived: Arc<Mutex<Vec<Arrived>>>,
    stop: CancellationToken,
    task: JoinHandle<()>,
}

impl Drop for Reader {
    fn drop(&mut self) {
        self.stop.cancel();
        self.task.abort();
    }
}

impl Reader {
    /// Starts at the ends of these topics.
    pub(super) async fn start(config: &Config, topics: Vec<String>) -> anyhow::Result<Self> {
        let kafka = cluster::kafka(config).await?;
        let (arrived, stop) = (
            Arc::<Mutex<Vec<Arrived>>>::default(),
            CancellationToken::new(),
        );
        let consumer = tokio::task::spawn_blocking(move || at_the_ends(&kafka, &topics)).await??;
        let (into, stopped) = (arrived.clone(), stop.clone());
        let task = tokio::task::spawn_blocking(move || {
            while !stopped.is_cancelled() {
                match consumer.poll(POLL) {
                    Some(Ok(message)) => locked(&into).push(taken(&message)),
                    Some(Err(error)) => tracing::warn!(%error, "reading what comes out"),
                    None => {}
                }
            }
        });
        Ok(Self {
            arrived,
            stop,
            task,
        })
    }

    /// What has come and is one of ours.
    pub(super) fn of(&self, ours: impl Fn(&Arrived) -> bool) -> Vec<Arrived> {
        locked(&self.arrived)
            .iter()
            .filter(|one| ours(one))
            .cloned()
            .collect()
    }
}

fn locked(arrived: &Mutex<Vec<Arrived>>) -> MutexGuard<'_, Vec<Arrived>> {
    arrived.lock().unwrap_or_else(PoisonError::into_inner)
}

fn at_the_ends(kafka: &KafkaSettings, topics: &[String]) -> anyhow::Result<OutsideConsumer> {
    let properties = [
        ("group.id", "delayq-validate"),
        ("enable.auto.commit", "false"),
        ("isolation.level", "read_committed"),
        ("fetch.wait.max.ms", "10"),
        ("fetch.queue.backoff.ms", "2"),
    ];
    let consumer =
        outsider::consumer(kafka, &properties).context("a consumer for the output topics")?;
    let mut assignment = TopicPartitionList::new();
    for topic in topics {
        let metadata = consumer.fetch_metadata(Some(topic), METADATA_WAIT)?;
        let partitions = metadata
            .topics()
            .iter()
            .flat_map(|found| found.partitions());
        let partitions: Vec<i32> = partitions.map(|partition| partition.id()).collect();
        anyhow::ensure!(
            !partitions.is_empty(),
            "topic {topic} does not exist: create it (delayq init --targets …)"
        );
        for partition in partitions {
            let (_, end) = consumer.fetch_watermarks(topic, partition, METADATA_WAIT)?;
            assignment.add_partition_offset(topic, partition, Offset::Offset(end))?;
        }
    }
    consumer.assign(&assignment)?;
    Ok(consumer)
}

fn taken(message: &BorrowedMessage<'_>) -> Arrived {
    let read_ms = SystemClock.now_ms();
    let headers = message
        .headers()
        .into_iter()
        .flat_map(|headers| headers.iter());
    let text = |value: Option<&[u8]>| Some(std::str::from_utf8(value?).ok()?.to_owned());
    Arrived {
        topic: message.topic().to_owned(),
        read_ms,
        produced_ms: message
            .timestamp()
            .to_millis()
            .map_or(read_ms, |at_ms| at_ms.min(read_ms)),
        partition: message.partition(),
        offset: message.offset(),
        key: message.key().unwrap_or_default().to_vec(),
        value: message.payload().unwrap_or_default().to_vec(),
        headers: headers
            .filter_map(|header| Some((header.key.to_owned(), text(header.value)?)))
            .collect(),
    }
}
