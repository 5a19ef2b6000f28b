//! Reads the output topics with a consumer of its own: what is published is what a consumer sees.

use std::collections::HashMap;
use std::time::Duration;

use anyhow::Context as _;
use hdrhistogram::Histogram;
use rdkafka::consumer::{Consumer, StreamConsumer};
use rdkafka::message::{Headers as _, Message as _};
use rdkafka::{ClientConfig, Offset, TopicPartitionList};
use tokio::time::Instant;

/// What arrived.
pub(super) struct Seen {
    /// How often each record came.
    pub(super) times: HashMap<u32, u32>,
    pub(super) early: usize,
    /// Milliseconds, by output topic; the time is the broker's, at which it appended the record.
    pub(super) lateness_ms: HashMap<String, Histogram<u64>>,
}

impl Seen {
    /// Lateness over all topics.
    pub(super) fn all(&self) -> anyhow::Result<Histogram<u64>> {
        let mut all = Histogram::new(3)?;
        for one in self.lateness_ms.values() {
            all.add(one)?;
        }
        Ok(all)
    }
}

/// Reads until `records` different ones came, or none for `patience`; then a moment longer, for duplicates.
pub(super) async fn read(
    bootstrap_servers: &str,
    topics: &[String],
    records: usize,
    patience: Duration,
) -> anyhow::Result<Seen> {
    let consumer: StreamConsumer = ClientConfig::new()
        .set("bootstrap.servers", bootstrap_servers)
        .set("group.id", "delayq-bench-reader")
        .set("enable.auto.commit", "false")
        .set("fetch.queue.backoff.ms", "5")
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
    let mut seen = Seen {
        times: HashMap::new(),
        early: 0,
        lateness_ms: HashMap::new(),
    };
    let mut until = Instant::now() + patience;
    while let Ok(message) = tokio::time::timeout_at(until, consumer.recv()).await {
        let message = message.context("an output topic")?;
        let number = |name: &str| -> Option<i64> {
            let headers = message.headers()?;
            let value = headers.iter().find(|h| h.key == name)?.value?;
            std::str::from_utf8(value).ok()?.parse().ok()
        };
        let (Some(n), Some(due_ms), Some(at_ms)) = (
            number("bench-n"),
            number("delayed-due-ms"),
            message.timestamp().to_millis(),
        ) else {
            anyhow::bail!(
                "a record without the headers of the bench in {}",
                message.topic()
            );
        };
        *seen.times.entry(u32::try_from(n)?).or_default() += 1;
        seen.early += usize::from(at_ms < due_ms);
        if !seen.lateness_ms.contains_key(message.topic()) {
            seen.lateness_ms
                .insert(message.topic().to_owned(), Histogram::new(3)?);
        }
        if let Some(histogram) = seen.lateness_ms.get_mut(message.topic()) {
            histogram.record(u64::try_from(at_ms - due_ms).unwrap_or(0))?;
        }
        let quiet = if seen.times.len() >= records {
            Duration::from_secs(2)
        } else {
            patience
        };
        until = Instant::now() + quiet;
    }
    Ok(seen)
}
