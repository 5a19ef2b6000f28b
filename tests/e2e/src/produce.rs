//! Records with delay headers, written by a plain librdkafka producer.

use bytes::Bytes;
use delayq_core::record::{Header, Record};
use rdkafka::ClientConfig;
use rdkafka::message::OwnedHeaders;
use rdkafka::producer::{FutureProducer, FutureRecord, Producer as _};
use rdkafka::util::Timeout;
use tokio::task::JoinSet;

/// A record and where it should come out.
#[derive(Debug, Clone)]
pub struct Sample {
    /// The record, control headers included.
    pub record: Record,
    /// Topic in which it is expected.
    pub output: String,
}

/// Writes to the delay topic.
pub struct Producer {
    producer: FutureProducer,
    topic: String,
}

impl Producer {
    /// For `topic`.
    pub fn new(bootstrap_servers: &str, topic: &str) -> Self {
        let producer = ClientConfig::new()
            .set("bootstrap.servers", bootstrap_servers)
            .set("acks", "all")
            .set("linger.ms", "5")
            .set("message.max.bytes", "2000000")
            .create()
            .expect("a producer");
        Self {
            producer,
            topic: topic.to_owned(),
        }
    }

    /// Writes a record; answers with its partition and offset once confirmed.
    pub async fn send(&self, record: Record) -> (i32, i64) {
        let mut headers = OwnedHeaders::new();
        for Header { name, value } in &record.headers {
            headers = headers.insert(rdkafka::message::Header {
                key: name,
                value: value.as_deref(),
            });
        }
        let mut message: FutureRecord<'_, [u8], [u8]> =
            FutureRecord::to(&self.topic).headers(headers);
        message.key = record.key.as_deref();
        message.payload = record.value.as_deref();
        let delivery = self
            .producer
            .send(message, Timeout::Never)
            .await
            .expect("produced");
        (delivery.partition, delivery.offset)
    }

    /// Writes many, a few thousand at a time.
    pub async fn send_all(self: &std::sync::Arc<Self>, records: Vec<Record>) {
        let mut sends = JoinSet::new();
        for record in records {
            while sends.len() >= 2_000 {
                sends.join_next().await.expect("a send").expect("no panic");
            }
            let producer = self.clone();
            sends.spawn(async move { producer.send(record).await });
        }
        while let Some(sent) = sends.join_next().await {
            sent.expect("no panic");
        }
        self.producer.flush(Timeout::Never).expect("flushed");
    }
}

/// A record with text headers.
pub fn record(key: Option<&str>, value: Option<&str>, headers: &[(&str, &str)]) -> Record {
    Record {
        key: key.map(|k| Bytes::from(k.to_owned())),
        value: value.map(|v| Bytes::from(v.to_owned())),
        headers: headers
            .iter()
            .map(|(name, value)| Header::text(*name, *value))
            .collect(),
    }
}

/// What no compression makes small; the same for the same seed.
pub fn noise(bytes: usize, mut seed: u64) -> Bytes {
    let next = || {
        seed = seed
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (seed >> 56) as u8
    };
    std::iter::repeat_with(next)
        .take(bytes)
        .collect::<Vec<_>>()
        .into()
}
