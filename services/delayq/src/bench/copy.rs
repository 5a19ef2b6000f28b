//! The limit: the same records copied from topic to topic by librdkafka with the roles' own settings, nothing else done.

use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use delayq_runtime::config::Config;
use rdkafka::ClientConfig;
use rdkafka::error::KafkaError;
use rdkafka::message::{Headers as _, Message as _, OwnedHeaders};
use rdkafka::producer::{BaseRecord, DefaultProducerContext, Producer as _, ThreadedProducer};
use rdkafka::types::RDKafkaErrorCode;

use super::reader;
use crate::settings;

const NEXT: Duration = Duration::from_secs(10);
const WAIT: Duration = Duration::from_micros(200);
const FLUSH: Duration = Duration::from_secs(60);

/// Copies `records` records of `from`; returns how many a second.
pub(super) async fn copy(
    config: &Config,
    from: &str,
    to: &str,
    records: u32,
) -> anyhow::Result<f64> {
    let sink = settings::sink(config);
    let servers = config.kafka.bootstrap_servers.clone();
    let producer: ThreadedProducer<DefaultProducerContext> = ClientConfig::new()
        .set("bootstrap.servers", &servers)
        .set("acks", "all")
        .set("enable.idempotence", "true")
        .set("partitioner", "murmur2_random")
        .set("linger.ms", sink.linger_ms.to_string())
        .set("compression.type", sink.compression.as_str())
        .set("queue.buffering.max.kbytes", sink.queue_kbytes.to_string())
        .set(
            "queue.buffering.max.messages",
            sink.queue_records.to_string(),
        )
        .set("message.max.bytes", sink.message_max_bytes.to_string())
        .create()
        .context("the copy's producer")?;
    let (from, to) = (vec![from.to_owned()], to.to_owned());
    tokio::task::spawn_blocking(move || {
        let consumer = reader::consumer(&servers, &from)?;
        let mut started = None;
        for n in 0..records {
            let Some(message) = consumer.poll(NEXT) else {
                bail!("the copy got {n} of {records} records");
            };
            let message = message.context("the copy's source")?;
            started.get_or_insert_with(Instant::now);
            let mut headers = OwnedHeaders::new();
            for header in message.headers().into_iter().flat_map(|h| h.iter()) {
                headers = headers.insert(header);
            }
            let mut record = BaseRecord::to(&to).headers(headers);
            record.key = message.key();
            record.payload = message.payload();
            loop {
                match producer.send(record) {
                    Ok(()) => break,
                    Err((KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), back)) => {
                        record = back;
                        std::thread::sleep(WAIT);
                    }
                    Err((error, _)) => return Err(error).context("the copy's producer"),
                }
            }
        }
        producer.flush(FLUSH).context("the copy's last records")?;
        let took = started.map_or(Duration::ZERO, |at| at.elapsed());
        Ok(f64::from(records) / took.as_secs_f64())
    })
    .await?
}
