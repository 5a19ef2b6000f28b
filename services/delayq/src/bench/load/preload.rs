//! A topic filled as fast as this machine can, before what reads it starts: the fair start for a limit and for what is
//! compared with it.

use std::time::Duration;

use anyhow::Context as _;
use delayq_core::priority::Priority;
use rdkafka::error::KafkaError;
use rdkafka::producer::{BaseRecord, DefaultProducerContext, Producer as _, ThreadedProducer};
use rdkafka::types::RDKafkaErrorCode;
use tokio::time::Instant;

use super::{body, headers, producer_config, turn_of};
use crate::sequence::Sequence;

const THREADS: u32 = 2;
const LINGER_MS: u32 = 20;
const FLUSH: Duration = Duration::from_secs(120);
/// While the producer's queue is full.
const WAIT: Duration = Duration::from_millis(1);

/// What to fill in.
#[derive(Debug, Clone)]
pub(in crate::bench) struct Preload {
    pub(in crate::bench) topic: String,
    pub(in crate::bench) target: String,
    pub(in crate::bench) records: u32,
    pub(in crate::bench) record_bytes: usize,
    /// The moment of record 0, milliseconds since the epoch.
    pub(in crate::bench) first_ms: i64,
    /// Records whose moments fall in one second; 0: all in the same moment.
    pub(in crate::bench) rate_per_s: u32,
    /// They take turns.
    pub(in crate::bench) priorities: Vec<Priority>,
    /// A record is due this long after its moment, uniformly.
    pub(in crate::bench) delay_ms: std::ops::RangeInclusive<i64>,
}

impl Preload {
    fn due_ms(&self, n: u32, random: &mut Sequence) -> i64 {
        let moment_ms = match self.rate_per_s {
            0 => 0,
            rate => i64::from(n) * 1000 / i64::from(rate),
        };
        let spread_ms = self.delay_ms.end() - self.delay_ms.start() + 1;
        let random = i64::try_from(random.next()).unwrap_or(0);
        self.first_ms + moment_ms + self.delay_ms.start() + random % spread_ms.max(1)
    }
}

/// Fills; returns how long it took, once the broker has confirmed everything.
pub(in crate::bench) async fn preload(
    bootstrap_servers: &str,
    load: &Preload,
) -> anyhow::Result<Duration> {
    let started = Instant::now();
    let mut threads = Vec::new();
    for thread in 0..THREADS {
        let (load, servers) = (load.clone(), bootstrap_servers.to_owned());
        threads.push(tokio::task::spawn_blocking(move || {
            fill(&servers, &load, thread)
        }));
    }
    for thread in threads {
        thread.await??;
    }
    Ok(started.elapsed())
}

/// The records of one thread: every `THREADS`th.
fn fill(bootstrap_servers: &str, load: &Preload, thread: u32) -> anyhow::Result<()> {
    let producer: ThreadedProducer<DefaultProducerContext> =
        producer_config(bootstrap_servers, LINGER_MS)
            .create()
            .context("a producer for the load")?;
    let mut random = Sequence::of(u64::from(thread));
    let mut text = String::with_capacity(load.record_bytes * 2);
    for n in (thread..load.records).step_by(THREADS as usize) {
        body::write(&mut text, n, load.record_bytes, &mut random);
        let number = n.to_string();
        let due = load.due_ms(n, &mut random).to_string();
        let headers = headers(&number, &due, &load.target, turn_of(n, &load.priorities));
        let mut record = BaseRecord::to(&load.topic)
            .key(&number)
            .payload(&text)
            .headers(headers);
        loop {
            match producer.send(record) {
                Ok(()) => break,
                Err((KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), back)) => {
                    record = back;
                    std::thread::sleep(WAIT);
                }
                Err((error, _)) => return Err(error).context("the load's producer"),
            }
        }
    }
    producer.flush(FLUSH).context("the load's last records")
}
