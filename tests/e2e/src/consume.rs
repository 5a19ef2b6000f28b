//! Reads topics with a consumer that knows nothing of delayq.

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
    let consumer: StreamConsumer = ClientConfig::new()
        .set("bootstrap.servers", bootstrap_servers)
        .set("group.id", format!("reader-{}", uuid::Uuid::new_v4()))
        .set("enable.auto.commit", "false")
        .set("isolation.level", "read_committed")
        .set("fetch.queue.backoff.ms", "5")
        .create()
        .expect("a consumer");
    let mut assignment = TopicPartitionList::new();
    for topic in topics {
        for partition in partitions_of(&consumer, topic).await {
            assignment
                .add_partition_offset(topic, partition, Offset::Beginning)
                .expect("an offset");
        }
    }
    consumer.assign(&assignment).expect("assigned");
    let until = Instant::now() + limit;
    let mut arrived = Vec::new();
    while !enough(&arrived) {
        let Ok(message) = tokio::time::timeout_at(until, consumer.recv()).await else {
            break;
        };
        let message = match message {
            Ok(message) => message,
            // The client goes on by itself.
            Err(KafkaError::MessageConsumption(
                RDKafkaErrorCode::AllBrokersDown | RDKafkaErrorCode::BrokerTransportFailure,
            )) => continue,
            Err(error) => panic!("a record: {error}"),
        };
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

/// Reads at least `count` records, then as long as `quiet` passes without another: for tests that look for duplicates.
pub async fn settled(
    bootstrap_servers: &str,
    topics: &[String],
    count: usize,
    limit: Duration,
    quiet: Duration,
) -> Vec<Arrived> {
    read_until(bootstrap_servers, topics, limit, |arrived| {
        arrived.len() >= count
    })
    .await;
    // Read once more from the start: what came twice has had `quiet` to come.
    read_until(bootstrap_servers, topics, quiet, |_| false).await
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
