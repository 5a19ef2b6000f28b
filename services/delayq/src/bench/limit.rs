//! The limit: the same records copied from topic to topic by librdkafka with the roles' own settings, nothing else done.

use std::time::{Duration, Instant};

use delayq_core::clock::{Clock, SystemClock};
use delayq_core::priority::Priority;
use delayq_stack::{Stack, Usage};
use serde_json::{Value, json};

use anyhow::{Context as _, bail};
use delayq_runtime::config::Config;
use rdkafka::ClientConfig;
use rdkafka::error::KafkaError;
use rdkafka::message::{Headers as _, Message as _, OwnedHeaders};
use rdkafka::producer::{BaseRecord, DefaultProducerContext, Producer as _, ThreadedProducer};
use rdkafka::types::RDKafkaErrorCode;

use super::load::{Preload, preload};
use super::reader::{self, Fetch};
use super::report::{median, rounded};
use super::stage::{Stage, Tiers, create_outputs, delete_topics, stack_usage};
use crate::settings;

/// Records of a copy, at most, and what they make together.
const RECORDS: u32 = 500_000;
const TOTAL_BYTES: usize = 512 << 20;
const NEXT: Duration = Duration::from_secs(10);
const WAIT: Duration = Duration::from_micros(200);
const FLUSH: Duration = Duration::from_secs(60);

/// The records that are copied, and the copies so far.
pub(super) struct Limit {
    stage: Stage,
    records: u32,
    /// Records a second that the load's producers write.
    pub(super) fill_per_s: f64,
    copies: Vec<Copied>,
}

/// One copy's figures.
#[derive(Debug, Clone, Copy)]
struct Copied {
    records_per_s: f64,
    kafka_us: f64,
    client_us: f64,
}

impl Limit {
    /// Fills a topic with up to `records` of a scenario's records, and copies it once to warm up and once to count.
    pub(super) async fn measure(
        stack: &Stack,
        tiers: Tiers,
        settings: &[String],
        records: u32,
        record_bytes: usize,
        partitions: u32,
    ) -> anyhow::Result<Self> {
        let endpoints = stack.endpoints();
        let stage = Stage::with_partitions(endpoints, tiers, settings, partitions).await?;
        let fitting = u32::try_from(TOTAL_BYTES / record_bytes.max(1)).unwrap_or(RECORDS);
        let records = records.min(RECORDS).min(fitting);
        let load = Preload {
            topic: stage.delay_topic.clone(),
            target: stage.target.clone(),
            records,
            record_bytes,
            first_ms: SystemClock.now_ms(),
            rate_per_s: 0,
            priorities: Priority::ALL.into(),
            delay_ms: 0..=0,
        };
        let took = preload(&stack.endpoints().kafka, &load).await?;
        let mut limit = Self {
            fill_per_s: f64::from(records) / took.as_secs_f64(),
            stage,
            records,
            copies: Vec::new(),
        };
        limit.copy_again(stack).await?;
        limit.copies.clear();
        limit.copy_again(stack).await?;
        Ok(limit)
    }

    /// One more copy, for the median: the machine is not the same all the time.
    pub(super) async fn copy_again(&mut self, stack: &Stack) -> anyhow::Result<()> {
        let before = stack_usage(stack).await?;
        let own_before = Usage::of(std::process::id())?;
        let to = format!(
            "{}.copy-{}",
            self.stage.prefix,
            uuid::Uuid::new_v4().simple()
        );
        let setting = ("message.timestamp.type", "LogAppendTime");
        create_outputs(
            &self.stage.config,
            std::slice::from_ref(&to),
            self.stage.partitions,
            setting,
        )
        .await?;
        let records_per_s = copy(
            &self.stage.config,
            &self.stage.delay_topic,
            &to,
            self.records,
        )
        .await?;
        let now = stack_usage(stack).await?;
        let own = Usage::of(std::process::id())?;
        delete_topics(&self.stage.config, &[&to]).await?;
        let each_us = |now: &Usage, before: &Usage| {
            let took = now.cpu.saturating_sub(before.cpu);
            rounded(took.as_secs_f64() * 1e6 / f64::from(self.records))
        };
        let kafka = now.get("kafka").zip(before.get("kafka"));
        self.copies.push(Copied {
            records_per_s,
            kafka_us: kafka.map_or(f64::NAN, |(now, before)| each_us(now, before)),
            client_us: each_us(&own, &own_before),
        });
        Ok(())
    }

    /// Records a second, the median.
    pub(super) fn records_per_s(&self) -> f64 {
        self.middle(|copy| copy.records_per_s)
    }

    fn middle(&self, figure: impl Fn(&Copied) -> f64) -> f64 {
        median(self.copies.iter().map(figure).collect())
    }

    /// How it is told.
    pub(super) fn figures(&self) -> Value {
        let runs: Vec<f64> = self
            .copies
            .iter()
            .map(|copy| copy.records_per_s.round())
            .collect();
        json!({
            "copy_records_per_s": self.records_per_s().round(),
            "copy_records_per_s_runs": runs,
            "copy_cpu_us_per_record": {
                "kafka": self.middle(|copy| copy.kafka_us), "client": self.middle(|copy| copy.client_us),
            },
        })
    }
}

/// A producer with the settings by which the roles publish, and nothing of theirs besides.
pub(super) fn plain_producer(
    config: &Config,
) -> anyhow::Result<ThreadedProducer<DefaultProducerContext>> {
    let sink = settings::sink(config);
    ClientConfig::new()
        .set("bootstrap.servers", &config.kafka.bootstrap_servers)
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
        .context("a plain producer")
}

/// Copies `records` records of `from`; returns how many a second.
async fn copy(config: &Config, from: &str, to: &str, records: u32) -> anyhow::Result<f64> {
    let servers = config.kafka.bootstrap_servers.clone();
    let producer = plain_producer(config)?;
    let (from, to) = (vec![from.to_owned()], to.to_owned());
    tokio::task::spawn_blocking(move || {
        let consumer = reader::consumer(&servers, &from, Fetch::AsTheyCome)?;
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
