//! An open-loop load: each record has its moment, and a due time that counts from that moment, so that a
//! generator that falls behind shows as lateness instead of hiding it.

use std::time::Duration;

use anyhow::Context as _;
use delayq_core::clock::{Clock, SystemClock};
use delayq_core::priority::Priority;
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::{BaseRecord, DefaultProducerContext, Producer as _, ThreadedProducer};
use std::time::Instant;

use super::{body, headers, producer_config, turn_of};
use crate::sequence::Sequence;

/// Shorter waits are not worth a sleep: records of the next millisecond are sent together, each with its own moment.
const SLEEP_MIN: Duration = Duration::from_millis(1);
/// A producer sends a request for each partition: at 5 ms those would take more of the broker than what is measured. A due time counts
/// from its record's moment, whatever the wait; delays are seconds.
const LINGER_MS: u32 = 100;
const FLUSH: Duration = Duration::from_secs(60);

/// What to send.
#[derive(Debug, Clone)]
pub(in crate::bench) struct Load {
    pub(in crate::bench) topic: String,
    pub(in crate::bench) target: String,
    pub(in crate::bench) rate_per_s: u32,
    pub(in crate::bench) records: u32,
    pub(in crate::bench) record_bytes: usize,
    pub(in crate::bench) delay_min: Duration,
    pub(in crate::bench) delay_max: Duration,
    /// They take turns.
    pub(in crate::bench) priorities: Vec<Priority>,
    /// What their ids begin with, if they are tracked; each is keyed by its id.
    pub(in crate::bench) ids: Option<String>,
    /// One record more in the middle, which cannot be published.
    pub(in crate::bench) poison: Option<Poison>,
}

/// A record that cannot be published.
#[derive(Debug, Clone)]
pub(in crate::bench) struct Poison {
    pub(in crate::bench) target: String,
    pub(in crate::bench) value_bytes: usize,
}

/// What was sent.
#[derive(Debug, Clone, Copy)]
pub(in crate::bench) struct Sent {
    pub(in crate::bench) records: u32,
    /// Furthest that the generator was behind a record's moment.
    pub(in crate::bench) behind_max: Duration,
}

/// Sends; returns when the broker has confirmed everything.
pub(in crate::bench) async fn send(bootstrap_servers: &str, load: &Load) -> anyhow::Result<Sent> {
    let (load, servers) = (load.clone(), bootstrap_servers.to_owned());
    tokio::task::spawn_blocking(move || send_paced(&servers, &load)).await?
}

fn send_paced(bootstrap_servers: &str, load: &Load) -> anyhow::Result<Sent> {
    let producer: ThreadedProducer<DefaultProducerContext> =
        producer_config(bootstrap_servers, LINGER_MS)
            .create()
            .context("a producer for the load")?;
    let gap = Duration::from_secs_f64(1.0 / f64::from(load.rate_per_s.max(1)));
    let spread_ms =
        u64::try_from(load.delay_max.saturating_sub(load.delay_min).as_millis())?.max(1);
    let delay_min_ms = i64::try_from(load.delay_min.as_millis())?;
    let (started, started_ms) = (Instant::now(), SystemClock.now_ms());
    let mut random = Sequence::default();
    let mut text = String::with_capacity(load.record_bytes * 2);
    let mut behind_max = Duration::ZERO;
    for n in 0..load.records {
        let moment = gap * n;
        let ahead = moment.saturating_sub(started.elapsed());
        if ahead >= SLEEP_MIN {
            std::thread::sleep(ahead);
        }
        behind_max = behind_max.max(started.elapsed().saturating_sub(moment));
        let moment_ms = started_ms + i64::try_from(moment.as_millis())?;
        if let Some(poison) = load.poison.as_ref().filter(|_| n == load.records / 2) {
            send_poison(&producer, load, poison, moment_ms + delay_min_ms)?;
        }
        let delay_ms = delay_min_ms + i64::try_from(random.next() % spread_ms)?;
        let due = (moment_ms + delay_ms).to_string();
        let number = n.to_string();
        let id = load.ids.as_ref().map(|ids| format!("{ids}-{n}"));
        let mut headers = headers(&number, &due, &load.target, turn_of(n, &load.priorities));
        if let Some(id) = &id {
            headers = headers.insert(Header {
                key: "delay-id",
                value: Some(id),
            });
        }
        body::write(&mut text, n, load.record_bytes, &mut random);
        producer
            .send(
                BaseRecord::to(&load.topic)
                    .key(id.as_ref().unwrap_or(&number))
                    .payload(&text)
                    .headers(headers),
            )
            .map_err(|(error, _)| error)
            .context("the load's producer: the rate is beyond what the broker takes")?;
    }
    producer.flush(FLUSH).context("the load's last records")?;
    Ok(Sent {
        records: load.records,
        behind_max,
    })
}

fn send_poison(
    producer: &ThreadedProducer<DefaultProducerContext>,
    load: &Load,
    poison: &Poison,
    due_ms: i64,
) -> anyhow::Result<()> {
    let due = due_ms.to_string();
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
        .context("the poison's producer")
}
