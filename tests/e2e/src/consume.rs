//! Reads topics with a consumer that knows nothing of delayq.

use std::collections::HashSet;
use std::time::Duration;

use bytes::Bytes;
use delayq_core::record::{Header, Record};
use rdkafka::consumer::{Consumer, StreamConsumer};
use rdkafka::error::{KafkaError, KafkaResult, RDKafkaErrorCode};
use rdkafka::message::{Headers, Message};
use rdkafka::{ClientConfig, Offset, TopicPartitionList};
use tokio::time::Instant;

/// A record as it arrived.
#[derive(Debug, Clone)]
pub struct Arrived {
    /// Topic.
    pub topic: String,
    /// Partition.
    pub partition: i32,
    /// When it was produced, by the producing clock, ms.
    pub timestamp_ms: i64,
    /// Key, value, headers.
    pub record: Record,
}

impl Arrived {
    /// Text of a header.
    pub fn text(&self, name: &str) -> Option<&str> {
        self.record.header_text(name)
    }

    /// A header that is a number.
    pub fn number(&self, name: &str) -> Option<i64> {
        self.text(name)?.parse().ok()
    }

    /// The headers that delayq did not add.
    pub fn original_headers(&self) -> Vec<Header> {
        self.record
            .headers
            .iter()
            .filter(|h| !h.name.starts_with("delayed-"))
            .cloned()
            .collect()
    }
}

/// Reads from the beginning until `enough` says so, or `limit` is over.
pub async fn read_until(
    bootstrap_servers: &str,
    topics: &[String],
    limit: Duration,
    mut enough: impl FnMut(&[Arrived]) -> bool,
) -> Vec<Arrived> {
    // From when it reads: finding the topics takes its own time.
    let mut until = None;
    read_while(bootstrap_servers, topics, |arrived| {
        let until = *until.get_or_insert_with(|| Instant::now() + limit);
        (!enough(arrived)).then_some(until)
    })
    .await
}

/// Reads from the beginning, for the next record until the time that `next_by` gives; none is the end.
async fn read_while(
    bootstrap_servers: &str,
    topics: &[String],
    mut next_by: impl FnMut(&[Arrived]) -> Option<Instant>,
) -> Vec<Arrived> {
    /// After this a new consumer goes on: librdkafka can lose all its brokers for good when the only one is fenced
    /// (<https://github.com/confluentinc/librdkafka/issues/5301>), as it is after the machine stood still.
    const SILENCE: Duration = Duration::from_secs(10);
    let mut next = TopicPartitionList::new();
    let mut reads = consumer(bootstrap_servers);
    for topic in topics {
        for partition in partitions_of(&reads, topic).await {
            next.add_partition_offset(topic, partition, Offset::Beginning)
                .expect("an offset");
        }
    }
    reads.assign(&next).expect("assigned");
    let mut arrived = Vec::new();
    while let Some(until) = next_by(&arrived) {
        let silence = Instant::now() + SILENCE;
        let message = match tokio::time::timeout_at(until.min(silence), reads.recv()).await {
            Ok(Ok(message)) => message,
            // The client goes on by itself.
            Ok(Err(KafkaError::MessageConsumption(
                RDKafkaErrorCode::AllBrokersDown | RDKafkaErrorCode::BrokerTransportFailure,
            ))) => continue,
            Ok(Err(error)) => panic!("a record: {error}"),
            Err(_) if Instant::now() >= until => break,
            Err(_) => {
                reads = consumer(bootstrap_servers);
                reads.assign(&next).expect("assigned");
                continue;
            }
        };
        next.find_partition(message.topic(), message.partition())
            .expect("an assigned partition")
            .set_offset(Offset::Offset(message.offset() + 1))
            .expect("an offset");
        let headers = message.headers().map(|headers| {
            headers
                .iter()
                .map(|h| Header {
                    name: h.key.into(),
                    value: h.value.map(Bytes::copy_from_slice),
                })
                .collect()
        });
        arrived.push(Arrived {
            topic: message.topic().to_owned(),
            partition: message.partition(),
            timestamp_ms: message.timestamp().to_millis().expect("a timestamp"),
            record: Record {
                key: message.key().map(Bytes::copy_from_slice),
                value: message.payload().map(Bytes::copy_from_slice),
                headers: headers.unwrap_or_default(),
            },
        });
    }
    arrived
}

fn consumer(bootstrap_servers: &str) -> StreamConsumer {
    ClientConfig::new()
        .set("bootstrap.servers", bootstrap_servers)
        .set("group.id", format!("reader-{}", uuid::Uuid::new_v4()))
        .set("enable.auto.commit", "false")
        .set("isolation.level", "read_committed")
        .set("fetch.queue.backoff.ms", "5")
        .create()
        .expect("a consumer")
}

/// Asks until there is an answer: a coordinator that moves or still loads its group says so, and is asked again.
async fn answered<T>(until: Instant, mut ask: impl FnMut() -> KafkaResult<T>) -> T {
    loop {
        match ask() {
            Ok(answer) => return answer,
            Err(error) => assert!(Instant::now() < until, "{error}"),
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// The partitions of a topic. A topic that was just made is known to the controller before every broker knows it.
async fn partitions_of(consumer: &StreamConsumer, topic: &str) -> Vec<i32> {
    const KNOWN_WITHIN: Duration = Duration::from_secs(30);
    let until = Instant::now() + KNOWN_WITHIN;
    loop {
        let metadata = answered(until, || {
            consumer.fetch_metadata(Some(topic), Duration::from_secs(10))
        })
        .await;
        let partitions = metadata.topics().iter().flat_map(|t| t.partitions());
        let partitions: Vec<_> = partitions.map(|partition| partition.id()).collect();
        if !partitions.is_empty() {
            return partitions;
        }
        assert!(Instant::now() < until, "{topic} is no topic");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// Reads at least `count` different records, then as long as `quiet` passes without another: for tests that look for duplicates.
pub async fn settled(
    bootstrap_servers: &str,
    topics: &[String],
    count: usize,
    limit: Duration,
    quiet: Duration,
) -> Vec<Arrived> {
    let mut until = Instant::now() + limit;
    let (mut seen, mut different) = (0, HashSet::new());
    read_while(bootstrap_servers, topics, |arrived| {
        for one in &arrived[seen..] {
            // What comes twice is not counted twice: the others are still waited for.
            different.insert(one.text("delayed-source").map(str::to_owned));
            if different.len() >= count {
                until = Instant::now() + quiet;
            }
        }
        seen = arrived.len();
        Some(until)
    })
    .await
}

/// Waits until `group` has committed everything in `topic`: every record of it has been handed over, confirmed.
pub async fn until_committed(bootstrap_servers: &str, group: &str, topic: &str, limit: Duration) {
    const ANSWER: Duration = Duration::from_secs(10);
    let consumer: StreamConsumer = ClientConfig::new()
        .set("bootstrap.servers", bootstrap_servers)
        .set("group.id", group)
        .create()
        .expect("a consumer");
    let mut partitions = TopicPartitionList::new();
    for partition in partitions_of(&consumer, topic).await {
        partitions.add_partition(topic, partition);
    }
    let until = Instant::now() + limit;
    loop {
        let committed = answered(until, || {
            consumer.committed_offsets(partitions.clone(), ANSWER)
        })
        .await;
        let mut open = false;
        for partition in committed.elements() {
            let (_, end) = answered(until, || {
                consumer.fetch_watermarks(topic, partition.partition(), ANSWER)
            })
            .await;
            open |= end > 0 && partition.offset() != Offset::Offset(end);
        }
        if !open {
            return;
        }
        assert!(Instant::now() < until, "not committed: {committed:?}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}
