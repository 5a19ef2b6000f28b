//! Reads the output topics with a consumer of its own: what is published is what a consumer sees.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use delayq_core::headers::OUT_DUE_MS;
use hdrhistogram::Histogram;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::message::{BorrowedMessage, Headers as _, Message as _};
use rdkafka::{ClientConfig, Offset, TopicPartitionList};

use super::load::NUMBER;

const ANSWER: Duration = Duration::from_secs(10);
/// How long to wait for duplicates once everything has come.
const QUIET: Duration = Duration::from_secs(2);

/// What arrived.
pub(super) struct Seen {
    /// How often each record came, up to 255.
    times: Vec<u8>,
    pub(super) published: u32,
    pub(super) duplicates: u32,
    pub(super) early: u32,
    /// Milliseconds, by output topic; the time is the broker's, at which it appended the record.
    pub(super) lateness_ms: HashMap<Arc<str>, Histogram<u64>>,
    /// When the first and the last record were appended, milliseconds since the epoch.
    pub(super) first_ms: i64,
    pub(super) last_ms: i64,
    /// Records by the second of the epoch in which they were appended.
    pub(super) by_second: HashMap<i64, u32>,
}

impl Seen {
    fn nothing(records: u32) -> Self {
        Self {
            times: vec![0; usize::try_from(records).unwrap_or(usize::MAX)],
            published: 0,
            duplicates: 0,
            early: 0,
            lateness_ms: HashMap::new(),
            first_ms: i64::MAX,
            last_ms: i64::MIN,
            by_second: HashMap::new(),
        }
    }

    /// Lateness over all topics.
    pub(super) fn all(&self) -> anyhow::Result<Histogram<u64>> {
        let mut all = Histogram::new(3)?;
        for one in self.lateness_ms.values() {
            all.add(one)?;
        }
        Ok(all)
    }

    /// Records that never came.
    pub(super) fn lost(&self) -> usize {
        self.times.len() - usize::try_from(self.published).unwrap_or(0)
    }

    /// Whether each record came, and none before its due time.
    pub(super) fn kept(&self) -> bool {
        self.lost() == 0 && self.early == 0
    }

    fn take(&mut self, message: &BorrowedMessage<'_>) -> anyhow::Result<()> {
        let (mut number, mut due_ms) = (None, None);
        for header in message.headers().into_iter().flat_map(|h| h.iter()) {
            let value = || std::str::from_utf8(header.value?).ok()?.parse::<i64>().ok();
            if header.key == NUMBER {
                number = value().and_then(|n| usize::try_from(n).ok());
            } else if header.key == OUT_DUE_MS {
                due_ms = value();
            }
        }
        let at_ms = message.timestamp().to_millis();
        let times = number.and_then(|n| self.times.get_mut(n));
        let (Some(times), Some(due_ms), Some(at_ms)) = (times, due_ms, at_ms) else {
            anyhow::bail!(
                "a record without the headers of the bench in {}",
                message.topic()
            );
        };
        if *times == 0 {
            self.published += 1;
        } else {
            self.duplicates += 1;
        }
        *times = times.saturating_add(1);
        self.early += u32::from(at_ms < due_ms);
        self.first_ms = self.first_ms.min(at_ms);
        self.last_ms = self.last_ms.max(at_ms);
        *self.by_second.entry(at_ms.div_euclid(1000)).or_default() += 1;
        let late_ms = u64::try_from(at_ms - due_ms).unwrap_or(0);
        if let Some(histogram) = self.lateness_ms.get_mut(message.topic()) {
            histogram.record(late_ms)?;
        } else {
            let mut histogram = Histogram::new(3)?;
            histogram.record(late_ms)?;
            self.lateness_ms.insert(message.topic().into(), histogram);
        }
        Ok(())
    }
}

/// Reads until the records `0..records` have come, or none for `patience`; then a moment longer, for duplicates.
pub(super) async fn read(
    bootstrap_servers: &str,
    topics: &[String],
    records: u32,
    patience: Duration,
) -> anyhow::Result<Seen> {
    let (servers, topics) = (bootstrap_servers.to_owned(), topics.to_vec());
    tokio::task::spawn_blocking(move || {
        let consumer = consumer(&servers, &topics, Fetch::InBulk)?;
        let mut seen = Seen::nothing(records);
        let mut until = Instant::now() + patience;
        loop {
            let left = until.saturating_duration_since(Instant::now());
            let Some(message) = consumer.poll(left) else {
                if Instant::now() >= until {
                    return Ok(seen);
                }
                continue;
            };
            seen.take(&message.context("an output topic")?)?;
            until = Instant::now() + if seen.lost() == 0 { QUIET } else { patience };
        }
    })
    .await?
}

/// How a consumer asks for records.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fetch {
    /// For what there is.
    AsTheyCome,
    /// For many at once, a quarter of a second later at most: it takes little of the broker, and its time does not count,
    /// since the broker says when each was published.
    InBulk,
}

/// Assigned all partitions, from their beginning.
pub(super) fn consumer(
    bootstrap_servers: &str,
    topics: &[String],
    fetch: Fetch,
) -> anyhow::Result<BaseConsumer> {
    let (min_bytes, wait_ms) = match fetch {
        Fetch::AsTheyCome => ("1", "100"),
        Fetch::InBulk => ("1048576", "250"),
    };
    let consumer: BaseConsumer = ClientConfig::new()
        .set("fetch.min.bytes", min_bytes)
        .set("fetch.wait.max.ms", wait_ms)
        .set("bootstrap.servers", bootstrap_servers)
        .set("group.id", "delayq-bench-reader")
        .set("enable.auto.commit", "false")
        .set("enable.auto.offset.store", "false")
        .set("fetch.queue.backoff.ms", "5")
        .set("queued.max.messages.kbytes", "16384")
        .create()
        .context("a consumer for topics of the bench")?;
    let mut assignment = TopicPartitionList::new();
    for (topic, partition) in partitions(&consumer, topics)? {
        assignment.add_partition_offset(&topic, partition, Offset::Beginning)?;
    }
    consumer.assign(&assignment)?;
    Ok(consumer)
}

fn partitions(consumer: &BaseConsumer, topics: &[String]) -> anyhow::Result<Vec<(String, i32)>> {
    let mut partitions = Vec::new();
    for topic in topics {
        let metadata = consumer
            .fetch_metadata(Some(topic), ANSWER)
            .with_context(|| format!("topic {topic}"))?;
        for partition in metadata.topics().iter().flat_map(|t| t.partitions()) {
            partitions.push((topic.clone(), partition.id()));
        }
    }
    Ok(partitions)
}

/// How many records the topics hold between them.
pub(super) async fn held(bootstrap_servers: &str, topics: &[String]) -> anyhow::Result<i64> {
    let (servers, topics) = (bootstrap_servers.to_owned(), topics.to_vec());
    tokio::task::spawn_blocking(move || {
        let consumer = watcher(&servers)?;
        count(&consumer, &partitions(&consumer, &topics)?)
    })
    .await?
}

/// Waits until the topics hold `records` records between them, or got none for `patience`; true if they do.
pub(super) async fn until_holding(
    bootstrap_servers: &str,
    topics: &[String],
    records: u32,
    patience: Duration,
) -> anyhow::Result<bool> {
    const LOOK_AGAIN: Duration = Duration::from_millis(200);
    let (servers, topics) = (bootstrap_servers.to_owned(), topics.to_vec());
    tokio::task::spawn_blocking(move || {
        let consumer = watcher(&servers)?;
        let partitions = partitions(&consumer, &topics)?;
        let (mut held, mut grew) = (0, Instant::now());
        loop {
            let now = count(&consumer, &partitions)?;
            if now >= i64::from(records) {
                return Ok(true);
            }
            if now > held {
                (held, grew) = (now, Instant::now());
            } else if grew.elapsed() >= patience {
                return Ok(false);
            }
            std::thread::sleep(LOOK_AGAIN);
        }
    })
    .await?
}

fn watcher(bootstrap_servers: &str) -> anyhow::Result<BaseConsumer> {
    ClientConfig::new()
        .set("bootstrap.servers", bootstrap_servers)
        .set("group.id", "delayq-bench-watch")
        .create()
        .context("a consumer for topics of the bench")
}

fn count(consumer: &BaseConsumer, partitions: &[(String, i32)]) -> anyhow::Result<i64> {
    let mut held = 0;
    for (topic, partition) in partitions {
        let (low, high) = consumer
            .fetch_watermarks(topic, *partition, ANSWER)
            .with_context(|| format!("topic {topic}"))?;
        held += high - low;
    }
    Ok(held)
}
