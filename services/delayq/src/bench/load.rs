//! An open-loop load: each record has its moment, and a due time that counts from that moment, so that a
//! generator that falls behind shows as lateness instead of hiding it.

use std::time::Duration;

use anyhow::Context as _;
use delayq_core::clock::{Clock, SystemClock};
use delayq_core::priority::Priority;
use rdkafka::ClientConfig;
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::{BaseRecord, DefaultProducerContext, Producer as _, ThreadedProducer};
use tokio::time::Instant;

use crate::sequence::Sequence;

/// What to send.
#[derive(Debug, Clone)]
pub(super) struct Load {
    pub(super) topic: String,
    pub(super) target: String,
    pub(super) rate_per_s: u32,
    pub(super) lasts: Duration,
    pub(super) record_bytes: usize,
    pub(super) delay_min: Duration,
    pub(super) delay_max: Duration,
    /// One record more in the middle, which cannot be published.
    pub(super) poison: Option<Poison>,
}

/// A record that cannot be published.
#[derive(Debug, Clone)]
pub(super) struct Poison {
    pub(super) target: String,
    pub(super) value_bytes: usize,
}

/// What was sent.
#[derive(Debug, Clone, Copy)]
pub(super) struct Sent {
    pub(super) records: usize,
    /// Furthest that the generator was behind a record's moment.
    pub(super) behind_max: Duration,
}

/// Sends; returns when the broker has confirmed everything.
pub(super) async fn send(bootstrap_servers: &str, load: &Load) -> anyhow::Result<Sent> {
    let producer: ThreadedProducer<DefaultProducerContext> = ClientConfig::new()
        .set("bootstrap.servers", bootstrap_servers)
        .set("acks", "all")
        .set("enable.idempotence", "true")
        .set("linger.ms", "1")
        .create()
        .context("a producer for the load")?;
    let records = load.lasts.as_secs_f64() * f64::from(load.rate_per_s);
    let gap = Duration::from_secs_f64(1.0 / f64::from(load.rate_per_s.max(1)));
    let spread_ms =
        u64::try_from(load.delay_max.saturating_sub(load.delay_min).as_millis())?.max(1);
    let delay_min_ms = i64::try_from(load.delay_min.as_millis())?;
    let (started, started_ms) = (Instant::now(), SystemClock.now_ms());
    let mut random = Sequence::default();
    let mut sent = Sent {
        records: 0,
        behind_max: Duration::ZERO,
    };
    for n in 0..records as u32 {
        let moment = gap * n;
        tokio::time::sleep_until(started + moment).await;
        sent.behind_max = sent
            .behind_max
            .max(started.elapsed().saturating_sub(moment));
        let moment_ms = started_ms + i64::try_from(moment.as_millis())?;
        if let Some(poison) = load.poison.as_ref().filter(|_| n == records as u32 / 2) {
            let due = (moment_ms + delay_min_ms).to_string();
            let header = |key, value| Header {
                key,
                value: Some(value),
            };
            let headers = OwnedHeaders::new()
                .insert(header("deliver-at-ms", due.as_str()))
                .insert(header("delay-target", poison.target.as_str()));
            let value = vec![b'x'; poison.value_bytes];
            producer
                .send(
                    BaseRecord::to(&load.topic)
                        .key("poison")
                        .payload(&value)
                        .headers(headers),
                )
                .map_err(|(error, _)| error)
                .context("the poison's producer")?;
        }
        let delay_ms = delay_min_ms + i64::try_from(random.next() % spread_ms)?;
        let due = (moment_ms + delay_ms).to_string();
        let number = n.to_string();
        let priority = Priority::ALL
            .get(n as usize % 3)
            .copied()
            .unwrap_or(Priority::Standard);
        let header = |key, value| Header {
            key,
            value: Some(value),
        };
        let headers = OwnedHeaders::new()
            .insert(header("deliver-at-ms", due.as_str()))
            .insert(header("delay-target", load.target.as_str()))
            .insert(header("delay-priority", priority.as_str()))
            .insert(header("bench-n", number.as_str()));
        let body = body(n, load.record_bytes, &mut random);
        producer
            .send(
                BaseRecord::to(&load.topic)
                    .key(&number)
                    .payload(&body)
                    .headers(headers),
            )
            .map_err(|(error, _)| error)
            .context("the load's producer")?;
        sent.records += 1;
    }
    tokio::task::spawn_blocking(move || producer.flush(Duration::from_secs(60)))
        .await?
        .context("the load's last records")?;
    Ok(sent)
}

/// An order event of about `bytes` bytes of JSON, of which about half compresses away.
fn body(n: u32, bytes: usize, random: &mut Sequence) -> String {
    let mut text = format!(
        r#"{{"type":"order.payment-timeout","version":3,"order":"ord-{n:010}","customer":{},"items":["#,
        random.next() % 100_000
    );
    while text.len() + 80 < bytes {
        let (sku, count, cents) = (
            random.next(),
            random.next() % 9 + 1,
            random.next() % 100_000,
        );
        text.push_str(&format!(r#"{{"sku":"{sku:016x}","quantity":{count},"price":{{"cents":{cents},"currency":"EUR"}}}},"#));
    }
    text.push_str(r#"null],"state":"awaiting-payment"}"#);
    text
}
