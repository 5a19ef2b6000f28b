//! `delayq bench poison`: whether one record that cannot be published delays the others. The same load twice over the real
//! stack, without it and with it, figures side by side.

use std::time::Duration;

use anyhow::{Context as _, bail};
use delayq_core::headers::{ERROR_CODE, ERROR_DETAIL, OUT_DUE_MS};
use delayq_core::priority::Priority;
use delayq_core::record::Incoming;
use delayq_kafka::TopicLog;
use delayq_runtime::config::Config;
use delayq_stack::Endpoints;
use serde_json::{Value, json};
use tokio::time::Instant;

use super::load::{self, Load, Poison};
use super::reader;
use super::report::{print, quantiles};
use super::stage::{Stage, Tiers, WARM_PER_S, WARM_S, create_outputs};
use crate::cluster;

/// Largest record that the poison's topic takes, and the value of a poison that is larger.
const SMALL_TOPIC_BYTES: &str = "2000";
const LARGE_VALUE_BYTES: usize = 10_000;
/// How long the dead letter may take: each try on a missing topic waits for it for some seconds.
const DEAD_LETTER_PATIENCE: Duration = Duration::from_secs(90);
const LOOK_AGAIN: Duration = Duration::from_millis(500);
const ANSWER: Duration = Duration::from_secs(10);

/// Why the record cannot be published.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum PoisonKind {
    /// Its output topic does not exist.
    MissingTopic,
    /// Its output topic takes no record of its size.
    TooLarge,
}

/// Arguments.
#[derive(Debug, Clone, clap::Args)]
pub struct PoisonArgs {
    /// Records beside the poison, in each of the two runs.
    #[arg(long, default_value_t = 100_000)]
    pub records: u32,
    /// Records per second: below what this machine can do.
    #[arg(long, default_value_t = 5_000)]
    pub rate: u32,
    /// Size of a record's value, in bytes.
    #[arg(long, default_value_t = 256)]
    pub record_bytes: usize,
    /// Shortest delay, in seconds.
    #[arg(long, default_value_t = 3)]
    pub delay_min: u64,
    /// Longest delay, in seconds.
    #[arg(long, default_value_t = 5)]
    pub delay_max: u64,
    /// Why the one record cannot be published.
    #[arg(long, value_enum, default_value = "missing-topic")]
    pub poison: PoisonKind,
    /// Print one JSON object instead of a table.
    #[arg(long)]
    pub json: bool,
}

/// Runs; `Ok(false)` when a record was lost or early, or the poison did not end as it should.
///
/// # Errors
/// A stack that does not start, or settings that do not fit it.
pub async fn run(args: &PoisonArgs) -> anyhow::Result<bool> {
    if args.rate == 0 || args.records == 0 {
        bail!("--rate and --records must be above 0");
    }
    let stack = Tiers::Stack.calm_stack().await?;
    let endpoints = stack.endpoints();
    // Otherwise the round that comes first would be the slower one.
    let warm_up = PoisonArgs {
        rate: args.rate.max(WARM_PER_S),
        records: WARM_PER_S * WARM_S,
        ..args.clone()
    };
    round(&warm_up, endpoints, None).await?;
    let (without, good) = round(args, endpoints, None).await?;
    let (with, also_good) = round(args, endpoints, Some(args.poison)).await?;
    let kind = match args.poison {
        PoisonKind::MissingTopic => "missing-topic",
        PoisonKind::TooLarge => "too-large",
    };
    let p99 = |round: &Value| round.pointer("/lateness_ms/p99").cloned();
    let result = json!({
        "scenario": "poison", "tiers": "stack", "records": args.records, "rate_per_s": args.rate,
        "record_bytes": args.record_bytes, "poison": kind,
        "lateness_p99_ms": {"without": p99(&without), "with": p99(&with)},
        "without": without, "with": with,
    });
    print(&result, args.json);
    Ok(good && also_good)
}

/// One run of the load; answers with its figures and whether all held.
async fn round(
    args: &PoisonArgs,
    endpoints: &Endpoints,
    poison: Option<PoisonKind>,
) -> anyhow::Result<(Value, bool)> {
    let stage = Stage::create(endpoints, Tiers::Stack, &[]).await?;
    let roles = stage.start_roles(1).await?;
    let poison_target = format!("{}-poison", stage.target);
    if poison == Some(PoisonKind::TooLarge) {
        let topic = format!("{poison_target}.standard");
        create_outputs(
            &stage.config,
            &[topic],
            stage.partitions,
            ("max.message.bytes", SMALL_TOPIC_BYTES),
        )
        .await?;
    }
    let load = Load {
        topic: stage.delay_topic.clone(),
        target: stage.target.clone(),
        rate_per_s: args.rate,
        records: args.records,
        record_bytes: args.record_bytes,
        delay_min: Duration::from_secs(args.delay_min),
        delay_max: Duration::from_secs(args.delay_max),
        priorities: Priority::ALL.into(),
        ids: None,
        poison: poison.map(|kind| Poison {
            target: poison_target,
            value_bytes: if kind == PoisonKind::TooLarge {
                LARGE_VALUE_BYTES
            } else {
                10
            },
        }),
    };
    let patience = Duration::from_secs(args.delay_max + 30);
    let (sent, seen) = tokio::join!(
        load::send(&endpoints.kafka, &load),
        reader::read(&endpoints.kafka, &stage.outputs, args.records, patience)
    );
    let (sent, seen) = (sent?, seen?);
    let letters = match poison {
        Some(_) => dead_letters(&stage.config).await?,
        None => Vec::new(),
    };
    let lost = seen.lost();
    let mut figures = json!({
        "sent": sent.records, "published": seen.published, "lost": lost, "early": seen.early,
        "duplicates": seen.duplicates, "generator_behind_ms_max": sent.behind_max.as_millis() as u64,
        "lateness_ms": quantiles(&seen.all()?),
    });
    let mut good = seen.kept();
    if let (Some(_), Value::Object(fields)) = (poison, &mut figures) {
        let tries = format!("{} tries", stage.config.publish.attempts);
        let ended = letters.iter().all(|letter| {
            let text = |name| letter.record.header_text(name).unwrap_or_default();
            text(ERROR_CODE) == "publish-failed" && text(ERROR_DETAIL).contains(&tries)
        });
        good &= ended && letters.len() == 1;
        fields.insert("dead_letters".to_owned(), letters.len().into());
        fields.insert("dead_lettered_after_its_tries".to_owned(), ended.into());
        fields.insert(
            "dead_letter_after_ms".to_owned(),
            letters.first().and_then(after_ms).into(),
        );
    }
    roles.stop().await?;
    Ok((figures, good))
}

/// How long after its due time a record was dead-lettered.
fn after_ms(letter: &Incoming) -> Option<i64> {
    let due_ms: i64 = letter.record.header_text(OUT_DUE_MS)?.parse().ok()?;
    Some(letter.timestamp_ms? - due_ms)
}

/// All dead letters, once there is one.
async fn dead_letters(config: &Config) -> anyhow::Result<Vec<Incoming>> {
    let (kafka, topic) = (cluster::kafka(config).await?, &config.topics.dead_letter);
    let until = Instant::now() + DEAD_LETTER_PATIENCE;
    loop {
        let log = TopicLog::open(&kafka, "delayq-bench-reader", topic, ANSWER).await?;
        let mut log = log.with_context(|| format!("{topic} is gone"))?;
        let partitions: Vec<i32> = log.partitions().iter().map(|p| p.partition).collect();
        let mut letters = Vec::new();
        for partition in partitions {
            log.seek(partition, 0)?;
            loop {
                let read = log.read().await?;
                if read.is_empty() {
                    break;
                }
                letters.extend(read);
            }
        }
        if !letters.is_empty() || Instant::now() >= until {
            return Ok(letters);
        }
        tokio::time::sleep(LOOK_AGAIN).await;
    }
}
