//! Reads topics from their beginning with a consumer that knows nothing of delayq.

use std::time::Duration;

use anyhow::Context as _;
use bytes::Bytes;
use delayq_core::clock::EpochMs;
use delayq_core::record::{Header, Record};
use rdkafka::consumer::{Consumer as _, StreamConsumer};
use rdkafka::message::{BorrowedMessage, Headers as _, Message as _};
use rdkafka::{ClientConfig, Offset, TopicPartitionList};
use tokio::time::Instant;

/// A record as it arrived.
#[derive(Debug, Clone)]
pub(crate) struct Arrived {
    pub(crate) topic: String,
    /// When the broker appended it.
    pub(crate) at_ms: EpochMs,
    pub(crate) record: Record,
}

/// Everything in these topics, in `read_committed`.
pub(crate) struct Reader(StreamConsumer);

impl Reader {
    pub(crate) fn new(bootstrap_servers: &str, topics: &[String]) -> anyhow::Result<Self> {
        let consumer: StreamConsumer = ClientConfig::new()
            .set("bootstrap.servers", bootstrap_servers)
            .set("group.id", format!("reader-{}", uuid::Uuid::new_v4()))
            .set("enable.auto.commit", "false")
            .set("isolation.level", "read_committed")
            .set("fetch.queue.backoff.ms", "5")
            .set("queued.max.messages.kbytes", "16384")
            .create()
            .context("a consumer for the output topics")?;
        let mut assignment = TopicPartitionList::new();
        for topic in topics {
            let metadata = consumer
                .fetch_metadata(Some(topic), Duration::from_secs(10))
                .context("output topics")?;
            for partition in metadata.topics().iter().flat_map(|t| t.partitions()) {
                assignment.add_partition_offset(topic, partition.id(), Offset::Beginning)?;
            }
        }
        consumer.assign(&assignment)?;
        Ok(Self(consumer))
    }

    /// The next record; `None` when none comes until then.
    pub(crate) async fn next(&self, until: Instant) -> Option<Arrived> {
        loop {
            match tokio::time::timeout_at(until, self.0.recv()).await {
                Ok(Ok(message)) => return Some(owned(&message)),
                Ok(Err(error)) => tracing::warn!(%error, "reading the output topics"),
                Err(_) => return None,
            }
        }
    }
}

fn owned(message: &BorrowedMessage<'_>) -> Arrived {
    let header = |h: rdkafka::message::Header<'_, &[u8]>| Header {
        name: h.key.into(),
        value: h.value.map(Bytes::copy_from_slice),
    };
    let headers = message.headers();
    Arrived {
        topic: message.topic().to_owned(),
        at_ms: message.timestamp().to_millis().unwrap_or(0),
        record: Record {
            key: message.key().map(Bytes::copy_from_slice),
            value: message.payload().map(Bytes::copy_from_slice),
            headers: headers
                .map(|all| all.iter().map(header).collect())
                .unwrap_or_default(),
        },
    }
}
