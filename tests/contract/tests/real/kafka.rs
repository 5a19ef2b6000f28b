//! A real Kafka for the checks of source and sink: topics made by delayq, written and read by plain librdkafka.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use delayq_contract::kafka::Kafka;
use delayq_core::clock::EpochMs;
use delayq_core::ports::{RecordSink, RecordSource};
use delayq_core::record::{Header, Incoming, Record, Source, TopicPartition};
use delayq_kafka::{
    KafkaAdmin, KafkaSettings, KafkaSink, KafkaSource, SinkSettings, SourceSettings, TopicSpec,
};
use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::message::{BorrowedMessage, Header as Written, Headers, Message, OwnedHeaders};
use rdkafka::producer::{FutureProducer, FutureRecord};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use tokio::time::Instant;

use super::random_name;

const TIMEOUT: Duration = Duration::from_secs(30);

pub(super) struct Real {
    settings: KafkaSettings,
    producer: FutureProducer,
}

impl Real {
    pub(super) fn new(bootstrap_servers: &str) -> Self {
        Self {
            settings: KafkaSettings {
                bootstrap_servers: bootstrap_servers.to_owned(),
                ..KafkaSettings::default()
            },
            producer: ClientConfig::new()
                .set("bootstrap.servers", bootstrap_servers)
                .set("enable.idempotence", "true")
                .create()
                .unwrap(),
        }
    }
}

#[async_trait]
impl Kafka for Real {
    async fn topic(&self, partitions: u32) -> Arc<str> {
        let admin = KafkaAdmin::new(&self.settings).unwrap();
        let spec = TopicSpec {
            name: random_name(),
            partitions: i32::try_from(partitions).unwrap(),
            replication: 1,
            config: BTreeMap::new(),
        };
        let made = admin.ensure_topics(std::slice::from_ref(&spec)).await;
        made.unwrap().remove(0).unwrap();
        spec.name.into()
    }

    async fn write(
        &self,
        partition: &TopicPartition,
        records: Vec<Record>,
        timestamp_ms: Option<EpochMs>,
    ) {
        let mut deliveries = Vec::new();
        for record in &records {
            let mut future = FutureRecord::to(&partition.topic).partition(partition.partition);
            future.key = record.key.as_deref();
            future.payload = record.value.as_deref();
            future.timestamp = timestamp_ms;
            let headers = OwnedHeaders::new_with_capacity(record.headers.len());
            future.headers = Some(record.headers.iter().fold(headers, |all, header| {
                all.insert(Written {
                    key: &header.name,
                    value: header.value.as_deref(),
                })
            }));
            let sent = self.producer.send_result(future);
            deliveries.push(sent.map_err(|(error, _)| error).unwrap());
        }
        for delivery in deliveries {
            delivery.await.unwrap().unwrap();
        }
    }

    async fn read(&self, topic: &str) -> Vec<Incoming> {
        let bootstrap_servers = self.settings.bootstrap_servers.clone();
        let topic = topic.to_owned();
        tokio::task::spawn_blocking(move || read_all(&bootstrap_servers, &topic))
            .await
            .unwrap()
    }

    fn join(&self, group: &str, topic: &str) -> Box<dyn RecordSource> {
        let settings = SourceSettings {
            // Each check has topics of its own, and so are its groups.
            group_id: format!("{topic}-{group}"),
            topics: vec![topic.to_owned()],
            ..SourceSettings::default()
        };
        Box::new(KafkaSource::start(&self.settings, settings).unwrap())
    }

    fn sink(&self) -> Arc<dyn RecordSink> {
        Arc::new(KafkaSink::new(&self.settings, SinkSettings::default()).unwrap())
    }
}

/// Reads every partition up to its end.
fn read_all(bootstrap_servers: &str, topic: &str) -> Vec<Incoming> {
    let consumer: BaseConsumer = ClientConfig::new()
        .set("bootstrap.servers", bootstrap_servers)
        .set("group.id", "reader of the contract tests")
        .set("enable.auto.commit", "false")
        .create()
        .unwrap();
    let metadata = consumer.fetch_metadata(Some(topic), TIMEOUT).unwrap();
    let mut list = TopicPartitionList::new();
    let mut missing = 0;
    for partition in metadata.topics()[0].partitions() {
        let (low, high) = consumer
            .fetch_watermarks(topic, partition.id(), TIMEOUT)
            .unwrap();
        missing += high - low;
        list.add_partition_offset(topic, partition.id(), Offset::Beginning)
            .unwrap();
    }
    consumer.assign(&list).unwrap();
    let mut all = Vec::new();
    let end = Instant::now() + TIMEOUT;
    while missing > 0 {
        assert!(Instant::now() < end, "{missing} records of {topic} missing");
        if let Some(message) = consumer.poll(Duration::from_millis(100)) {
            all.push(incoming(&message.unwrap()));
            missing -= 1;
        }
    }
    all
}

fn incoming(message: &BorrowedMessage<'_>) -> Incoming {
    let header = |header: Written<'_, &[u8]>| Header {
        name: header.key.into(),
        value: header.value.map(Bytes::copy_from_slice),
    };
    Incoming {
        source: Source {
            at: TopicPartition::new(message.topic(), message.partition()),
            offset: message.offset(),
        },
        leader_epoch: None,
        timestamp_ms: message.timestamp().to_millis(),
        record: Record {
            key: message.key().map(Bytes::copy_from_slice),
            value: message.payload().map(Bytes::copy_from_slice),
            headers: message
                .headers()
                .map(|headers| headers.iter().map(header).collect())
                .unwrap_or_default(),
        },
        malformed: None,
    }
}
