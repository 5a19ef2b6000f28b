//! A steady load of every kind of record, and what of it the broker confirmed. The `n`th record is a function of seed and
//! `n`, so that what arrives can be compared without having been kept.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::Context as _;
use bytes::Bytes;
use delayq_core::record::{Header, Record};
use rdkafka::message::{DeliveryResult, Message as _, OwnedHeaders};
use rdkafka::producer::{BaseRecord, Producer as _, ProducerContext, ThreadedProducer};
use rdkafka::{ClientConfig, ClientContext};
use tokio::time::Instant;

use crate::ledger::Id;
use crate::random::Random;

/// The header by which a record is known again.
pub(crate) const NUMBER: &str = "n";
/// No queue message can hold it: it goes through the payload table.
const LARGE_BYTES: usize = 900_000;
/// One record in this many is large.
const LARGE_EVERY: u32 = 1_500;

/// Where a record must end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum End {
    /// In this topic, by this delay.
    Output { topic: String, delay_ms: i64 },
    /// In the dead-letter topic, with this code.
    DeadLetter(&'static str),
}

/// A record and what must become of it.
#[derive(Debug, Clone)]
pub(crate) struct Sample {
    pub(crate) record: Record,
    pub(crate) end: End,
}

/// The `n`th record of a seed.
pub(crate) fn sample(seed: u64, n: u32, target: &str) -> Sample {
    let mut random = Random::new(seed.wrapping_mul(1_000_003).wrapping_add(n.into()));
    let priority = random.pick("high", &["standard", "low"]);
    // A third each: direct (at once), short (up to 14 s), long.
    let delay_ms = match n % 3 {
        0 => random.between(0, 400),
        1 => random.between(500, 12_000),
        _ => random.between(18_000, 30_000),
    };
    let value = match n {
        _ if n % LARGE_EVERY == 7 => Some(noise(LARGE_BYTES, &mut random)),
        _ if n.is_multiple_of(101) => None,
        _ if n.is_multiple_of(103) => Some(noise(20_000, &mut random)),
        _ => Some(order(n, &mut random)),
    };
    let key = match n % 4 {
        0 => None,
        _ => Some(Bytes::from(format!("customer-{}", random.between(0, 999)))),
    };
    let mut headers = vec![
        Header::text(NUMBER, n.to_string()),
        Header::text("delay-priority", priority),
        Header::text("delay-target", target),
        Header::text("delay-ms", delay_ms.to_string()),
    ];
    if random.chance(10) {
        headers.extend([Header::text("twice", "1"), Header::text("twice", "2")]);
    }
    let topic = format!("{target}.{priority}");
    let delay_ms = i64::try_from(delay_ms).unwrap_or(0);
    let mut end = End::Output { topic, delay_ms };
    // Two in a hundred are to be refused.
    if n % 50 == 13 {
        let code = match random.between(0, 3) {
            0 => {
                headers.push(Header::text("delay-mss", "1"));
                "unknown-header"
            }
            1 => {
                headers.retain(|header| header.name != "delay-target");
                "missing-target"
            }
            2 => {
                headers.retain(|header| header.name != "delay-target");
                headers.push(Header::text("delay-target", "not-allowed"));
                "target-not-allowed"
            }
            _ => {
                headers.retain(|header| header.name != "delay-ms");
                headers.push(Header::text("delay-ms", "soon"));
                "invalid-delay"
            }
        };
        end = End::DeadLetter(code);
    }
    Sample {
        record: Record {
            key,
            value,
            headers,
        },
        end,
    }
}

fn noise(bytes: usize, random: &mut Random) -> Bytes {
    let mut noise = Vec::with_capacity(bytes + 8);
    while noise.len() < bytes {
        noise.extend(random.next().to_le_bytes());
    }
    noise.truncate(bytes);
    noise.into()
}

/// An order event of 200 bytes to 1 KiB of JSON.
pub(crate) fn order(n: u32, random: &mut Random) -> Bytes {
    use std::fmt::Write as _;
    let mut text = format!(
        r#"{{"type":"order.payment-timeout","version":3,"order":"ord-{n:010}","customer":{},"items":["#,
        random.between(0, 99_999)
    );
    for _ in 0..random.between(1, 9) {
        let (sku, count, cents) = (
            random.next(),
            random.between(1, 9),
            random.between(1, 99_999),
        );
        // Writing to a string does not fail.
        if write!(text, r#"{{"sku":"{sku:016x}","quantity":{count},"price":{{"cents":{cents},"currency":"EUR"}}}},"#).is_err() {
            break;
        }
    }
    text.push_str(r#"null],"state":"awaiting-payment"}"#);
    text.into()
}

/// What the broker said of each record, by number.
#[derive(Debug, Clone, Default)]
pub(crate) struct Confirmed(Arc<Mutex<Vec<Option<Id>>>>);

impl Confirmed {
    fn set(&self, n: u32, id: Id) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let at = n as usize;
        if all.len() <= at {
            all.resize(at + 1, None);
        }
        if let Some(slot) = all.get_mut(at) {
            *slot = Some(id);
        }
    }

    /// Where each record is; `None`: its producer was never told.
    pub(crate) fn all(&self) -> Vec<Option<Id>> {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }
}

struct Answers(Confirmed);

impl ClientContext for Answers {
    // Brokers go and come here; that is no news.
    fn error(&self, error: rdkafka::error::KafkaError, reason: &str) {
        tracing::debug!(%error, reason, "the load's producer");
    }
}

impl ProducerContext for Answers {
    type DeliveryOpaque = Box<u32>;

    fn delivery(&self, result: &DeliveryResult<'_>, n: Box<u32>) {
        match result {
            Ok(message) => self.0.set(*n, (message.partition(), message.offset())),
            Err((error, _)) => tracing::warn!(n, %error, "a record was not confirmed"),
        }
    }
}

/// What to send.
pub(crate) struct Load {
    pub(crate) bootstrap_servers: String,
    pub(crate) topic: String,
    pub(crate) target: String,
    pub(crate) seed: u64,
    pub(crate) rate_per_s: u32,
    pub(crate) lasts: Duration,
}

/// Sends at a steady rate, and returns when each record is confirmed or given up; answers with how many were sent.
pub(crate) async fn send(load: &Load, confirmed: Confirmed) -> anyhow::Result<u32> {
    let producer: ThreadedProducer<Answers> = ClientConfig::new()
        .set("bootstrap.servers", &load.bootstrap_servers)
        .set("acks", "all")
        .set("enable.idempotence", "true")
        .set("linger.ms", "1")
        .set("message.max.bytes", "1100000")
        .set("reconnect.backoff.max.ms", "500")
        .create_with_context(Answers(confirmed))
        .context("the load's producer")?;
    let gap = Duration::from_secs(1) / load.rate_per_s.max(1);
    let started = Instant::now();
    let mut n = 0;
    while started.elapsed() < load.lasts {
        tokio::time::sleep_until(started + gap * n).await;
        let sample = sample(load.seed, n, &load.target);
        let mut headers = OwnedHeaders::new();
        for header in &sample.record.headers {
            headers = headers.insert(rdkafka::message::Header {
                key: &header.name,
                value: header.value.as_deref(),
            });
        }
        let mut record: BaseRecord<'_, [u8], [u8], Box<u32>> =
            BaseRecord::with_opaque_to(&load.topic, Box::new(n)).headers(headers);
        record.key = sample.record.key.as_deref();
        record.payload = sample.record.value.as_deref();
        producer
            .send(record)
            .map_err(|(error, _)| error)
            .context("the load's queue")?;
        n += 1;
    }
    tokio::task::spawn_blocking(move || producer.flush(Duration::from_secs(120)))
        .await?
        .context("the load's last records")?;
    Ok(n)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_is_always_the_same_record_and_all_kinds_occur() {
        let (mut dead, mut large) = (0, 0);
        for n in 0..3_000 {
            let one = sample(1, n, "t");
            assert_eq!(one.record, sample(1, n, "t").record);
            dead += usize::from(matches!(one.end, End::DeadLetter(_)));
            large += usize::from(
                one.record
                    .value
                    .is_some_and(|value| value.len() == LARGE_BYTES),
            );
        }
        assert_eq!((dead, large), (60, 2));
    }
}
