//! The sample producer: a mix of delays, priorities, message types, and records that must be refused.

use std::time::Duration;

use anyhow::Context as _;
use delayq_core::priority::Priority;
use delayq_core::route::{Policy, path};
use rdkafka::ClientConfig;
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::{FutureProducer, FutureRecord};
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::deployment::{Deployment, REMINDER, TARGETS, policy};
use super::tally::{Sent, now_ms};
use super::{DemoArgs, Shared, locked};
use crate::sequence::Sequence;

/// Header of a sample record: the demo's name and the record's number, as `name/number`.
pub(super) const NUMBER: &str = "demo-n";
/// Longest delay of a sample record.
const DELAY_MAX_MS: u64 = 30_000;
/// Longest wait for the broker to take a record.
const PRODUCE_WAIT: Duration = Duration::from_secs(30);

/// Produces at a steady rate.
pub(super) struct Sampler {
    producer: FutureProducer,
    topic: String,
    name: String,
    policy: std::sync::Arc<Policy>,
    tally: Shared,
    gap: Duration,
    /// When the demo is to end: nothing is due later.
    until: Option<Instant>,
    random: Sequence,
}

/// A producer as a user would have it.
pub(super) fn producer(deployment: &Deployment) -> anyhow::Result<FutureProducer> {
    ClientConfig::new()
        .set("bootstrap.servers", deployment.bootstrap())
        .set("acks", "all")
        .set("linger.ms", "0")
        .create()
        .context("the sample producer")
}

/// A record about to be sent.
struct Sample {
    sent: Sent,
    headers: Vec<(&'static str, String)>,
}

impl Sampler {
    pub(super) fn new(
        deployment: &Deployment,
        tally: Shared,
        args: &DemoArgs,
    ) -> anyhow::Result<Self> {
        Ok(Self {
            producer: producer(deployment)?,
            topic: deployment.delay_topic().to_owned(),
            name: deployment.name().to_owned(),
            policy: policy(&deployment.config)?,
            tally,
            gap: Duration::from_secs(1) / args.rate.max(1),
            until: args.lasts.map(|lasts| Instant::now() + lasts),
            random: Sequence::default(),
        })
    }

    /// Produces until `stop`; returns when the broker has answered for every record.
    pub(super) async fn run(mut self, stop: CancellationToken) -> anyhow::Result<()> {
        let mut pace = tokio::time::interval(self.gap);
        let mut sends = JoinSet::new();
        for number in 0.. {
            tokio::select! {
                _ = pace.tick() => {}
                () = stop.cancelled() => break,
            }
            while sends.try_join_next().is_some() {}
            let sample = self.next(number);
            locked(&self.tally).sending(number, sample.sent.clone());
            let (producer, topic, tally) = (
                self.producer.clone(),
                self.topic.clone(),
                self.tally.clone(),
            );
            sends.spawn(async move {
                let Sent { key, value, .. } = &sample.sent;
                let mut headers = OwnedHeaders::new();
                for (key, value) in &sample.headers {
                    let value = Some(value.as_str());
                    headers = headers.insert(Header { key, value });
                }
                let record = FutureRecord::to(&topic)
                    .key(key)
                    .payload(value)
                    .headers(headers);
                match producer.send(record, PRODUCE_WAIT).await {
                    Ok(_) => locked(&tally).accepted(),
                    Err((error, _)) => {
                        tracing::error!(%error, number, "a sample record was not taken by the delay topic");
                        locked(&tally).not_accepted(number);
                    }
                }
            });
        }
        while sends.join_next().await.is_some() {}
        Ok(())
    }

    fn next(&mut self, number: u64) -> Sample {
        let priority = *Priority::ALL
            .get(self.random.below(3))
            .unwrap_or(&Priority::Standard);
        let target = TARGETS
            .get(self.random.below(TARGETS.len()))
            .unwrap_or(&"orders");
        let mut headers = vec![
            (NUMBER, format!("{}/{number}", self.name)),
            ("delay-target", (*target).to_owned()),
            ("delay-priority", priority.as_str().to_owned()),
        ];
        let now_ms = now_ms();
        let mut poison = false;
        let delay_ms = match number % 20 {
            7 => {
                poison = true;
                headers.push(self.poison());
                0
            }
            13 => {
                // Its route sets the delay, which high priority bypasses.
                headers.push(("message-type", REMINDER.to_owned()));
                match priority {
                    Priority::High => 0,
                    Priority::Standard => 3_000,
                    Priority::Low => 6_000,
                }
            }
            _ => {
                let delay_ms = self.delay_ms();
                headers.push(if number.is_multiple_of(2) {
                    ("delay-ms", delay_ms.to_string())
                } else {
                    ("deliver-at-ms", (now_ms + delay_ms).to_string())
                });
                delay_ms
            }
        };
        let due_ms = now_ms + delay_ms;
        let path = path(due_ms, now_ms, &self.policy);
        Sample {
            sent: Sent {
                topic: self
                    .policy
                    .output_template
                    .replace("{target}", target)
                    .replace("{priority}", priority.as_str()),
                key: format!("sample-{number}"),
                value: format!(r#"{{"sample":{number}}}"#),
                priority,
                path,
                due_ms,
                poison,
            },
            headers,
        }
    }

    /// A quarter at once, a half within seconds, a quarter by the long way, all before the end.
    fn delay_ms(&mut self) -> i64 {
        let left_ms = self.until.map_or(DELAY_MAX_MS, |until| {
            let left = until.saturating_duration_since(Instant::now());
            u64::try_from(left.as_millis()).unwrap_or(DELAY_MAX_MS)
        });
        let (from_ms, to_ms) = match self.random.below(4) {
            0 => (0, 400),
            1 | 2 => (500, 14_000),
            _ => (17_000, DELAY_MAX_MS),
        };
        let to_ms = to_ms.min(left_ms);
        let from_ms = if from_ms < to_ms { from_ms } else { 0 };
        let spread_ms = usize::try_from(to_ms - from_ms).unwrap_or(0) + 1;
        i64::try_from(from_ms).unwrap_or(0)
            + i64::try_from(self.random.below(spread_ms)).unwrap_or(0)
    }

    /// A header that makes the record refused: what people really get wrong.
    fn poison(&mut self) -> (&'static str, String) {
        match self.random.below(5) {
            0 => ("delay-ms", "5s".to_owned()),
            1 => ("delay-mss", "5000".to_owned()),
            2 => ("deliver-at-ms", "1700000000".to_owned()),
            3 => ("deliver-at", "tomorrow".to_owned()),
            _ => ("delay-ms", "9999999999999".to_owned()),
        }
    }
}
