//! Fills a delay topic as fast as the broker takes it.

use std::time::Duration;

use anyhow::Context as _;
use bytes::Bytes;
use rdkafka::ClientConfig;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::{BaseRecord, DefaultProducerContext, Producer as _, ThreadedProducer};

use crate::load::order;
use crate::random::Random;

/// Different bodies; more would cost more than they teach.
const BODIES: u32 = 1_000;

/// Producer of records of about 1 KiB of JSON, lz4.
pub(crate) struct Filler {
    producer: ThreadedProducer<DefaultProducerContext>,
    bodies: Vec<Bytes>,
    target: String,
    topic: String,
}

/// A body of at least 1 KiB, of which about half compresses away.
fn body(n: u32, random: &mut Random) -> Bytes {
    let mut body = Vec::new();
    while body.len() < 1_024 {
        body.extend(order(n, random));
    }
    body.truncate(1_024);
    body.into()
}

impl Filler {
    pub(crate) fn new(bootstrap_servers: &str, topic: &str, target: &str) -> anyhow::Result<Self> {
        let producer = ClientConfig::new()
            .set("bootstrap.servers", bootstrap_servers)
            .set("acks", "all")
            .set("enable.idempotence", "true")
            .set("linger.ms", "20")
            .set("compression.type", "lz4")
            .set("queue.buffering.max.kbytes", "65536")
            .create()
            .context("the producer of the backlog")?;
        let mut random = Random::new(1);
        Ok(Self {
            producer,
            bodies: (0..BODIES).map(|n| body(n, &mut random)).collect(),
            target: target.to_owned(),
            topic: topic.to_owned(),
        })
    }

    /// Writes one record that is due after `delay_ms`, waiting for room in the queue.
    pub(crate) fn send(&self, n: u64, delay_ms: u64) -> anyhow::Result<()> {
        let at = usize::try_from(n).unwrap_or(0) % self.bodies.len().max(1);
        let (key, delay) = (n.to_string(), delay_ms.to_string());
        let header = |key, value| Header {
            key,
            value: Some(value),
        };
        let headers = OwnedHeaders::new_with_capacity(2)
            .insert(header("delay-target", self.target.as_str()))
            .insert(header("delay-ms", delay.as_str()));
        let mut record: BaseRecord<'_, str, [u8]> = BaseRecord::to(&self.topic)
            .key(key.as_str())
            .headers(headers);
        record.payload = self.bodies.get(at).map(AsRef::as_ref);
        loop {
            match self.producer.send(record) {
                Ok(()) => return Ok(()),
                Err((KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), again)) => {
                    record = again;
                    self.producer.poll(Duration::from_millis(5));
                }
                Err((error, _)) => return Err(error).context("filling the delay topic"),
            }
        }
    }

    /// Returns when the broker has confirmed everything.
    pub(crate) fn flush(&self) -> anyhow::Result<()> {
        let flushed = self.producer.flush(Duration::from_secs(300));
        flushed.context("the last records of the backlog")
    }
}
