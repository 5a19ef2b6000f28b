//! What Kafka itself makes late on this machine, as busy as it is meanwhile: a few records that a plain producer sends at their
//! moments, with the settings by which the roles publish, straight to a topic of their own.

use std::time::{Duration, Instant};

use anyhow::Context as _;
use delayq_core::clock::{Clock, SystemClock};
use delayq_core::headers::OUT_DUE_MS;
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::{BaseRecord, Producer as _};
use serde_json::Value;

use super::limit::plain_producer;
use super::load::NUMBER;
use super::reader;
use super::report::quantiles;
use super::stage::{Stage, create_outputs};

/// Enough for a 99.9th percentile within half a minute, too few to be felt.
const PER_S: u32 = 100;
const PATIENCE: Duration = Duration::from_secs(30);
const FLUSH: Duration = Duration::from_secs(60);

/// Sends and reads for so long; their lateness.
pub(super) async fn lateness(
    stage: &Stage,
    record_bytes: usize,
    length: Duration,
) -> anyhow::Result<Value> {
    let [topic, begun] = ["plain", "begun"].map(|name| format!("{}.{name}", stage.prefix));
    let setting = ("message.timestamp.type", "LogAppendTime");
    let topics = [topic.clone()];
    let both = [topic.clone(), begun.clone()];
    create_outputs(&stage.config, &both, stage.partitions, setting).await?;
    let producer = plain_producer(&stage.config)?;
    let records = PER_S * u32::try_from(length.as_secs())?.max(1);
    let sent = tokio::task::spawn_blocking(move || {
        // Connected, with an id, and told where the topic is: a producer's start is not what is measured.
        producer.client().fetch_metadata(Some(&topic), FLUSH)?;
        producer
            .send(BaseRecord::to(&begun).key("").payload(""))
            .map_err(|(error, _)| error)?;
        producer.flush(FLUSH)?;
        let value = vec![b'x'; record_bytes];
        let (started, started_ms) = (Instant::now(), SystemClock.now_ms());
        for n in 0..records {
            let moment = Duration::from_secs(1) / PER_S * n;
            std::thread::sleep(moment.saturating_sub(started.elapsed()));
            let due = (started_ms + i64::try_from(moment.as_millis())?).to_string();
            let number = n.to_string();
            let header = |key, value| Header {
                key,
                value: Some(value),
            };
            let headers = OwnedHeaders::new()
                .insert(header(OUT_DUE_MS, &due))
                .insert(header(NUMBER, &number));
            let record = BaseRecord::to(&topic).key(&number).payload(&value);
            producer
                .send(record.headers(headers))
                .map_err(|(error, _)| error)
                .context("the plain producer")?;
        }
        producer
            .flush(FLUSH)
            .context("the plain producer's last records")
    });
    let servers = &stage.config.kafka.bootstrap_servers;
    let (sent, seen) = tokio::join!(sent, reader::read(servers, &topics, records, PATIENCE));
    sent??;
    let seen = seen?;
    anyhow::ensure!(
        seen.kept(),
        "plain records were lost, or early by a clock of its own"
    );
    Ok(quantiles(&seen.all()?))
}
