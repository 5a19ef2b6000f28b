//! `delayq bench lateness`: how late records are published on the real stack, idle otherwise.

use std::time::Duration;

use delayq_core::priority::Priority;
use delayq_stack::{Stack, StackOptions};
use hdrhistogram::Histogram;
use serde_json::{Value, json};

use super::load::{self, Load};
use super::reader;
use super::stage::Stage;

/// Which stores lie behind the ports.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum TiersArg {
    /// Apache Kafka, ElasticMQ and DynamoDB Local, started from their jars (or those named by DELAYQ_STACK_…).
    Stack,
}

/// Arguments.
#[derive(Debug, Clone, clap::Args)]
pub struct LatenessArgs {
    /// Which stores lie behind the ports.
    #[arg(long, value_enum, default_value = "stack")]
    pub tiers: TiersArg,
    /// Records per second.
    #[arg(long, default_value_t = 200)]
    pub rate: u32,
    /// How long to send, in seconds.
    #[arg(long = "for", default_value_t = 60, value_name = "SECONDS")]
    pub seconds: u64,
    /// Size of a record's value, in bytes.
    #[arg(long, default_value_t = 1024)]
    pub record_bytes: usize,
    /// Shortest delay, in seconds.
    #[arg(long, default_value_t = 3)]
    pub delay_min: u64,
    /// Longest delay, in seconds.
    #[arg(long, default_value_t = 30)]
    pub delay_max: u64,
    /// Print one JSON object instead of a table.
    #[arg(long)]
    pub json: bool,
}

/// Runs; `Ok(false)` when a record was lost or early.
///
/// # Errors
/// A stack that does not start, or settings that do not fit it.
pub async fn run(args: &LatenessArgs) -> anyhow::Result<bool> {
    let stack = Stack::from_env_or_start(StackOptions::default()).await?;
    let endpoints = stack.endpoints();
    let stage = Stage::start(endpoints, &[]).await?;
    let (prefix, target) = (&stage.prefix, stage.target.clone());
    let outputs = &stage.outputs;
    let load = Load {
        topic: format!("{prefix}.delay"),
        target,
        rate_per_s: args.rate,
        lasts: Duration::from_secs(args.seconds),
        record_bytes: args.record_bytes,
        delay_min: Duration::from_secs(args.delay_min),
        delay_max: Duration::from_secs(args.delay_max),
        poison: None,
    };
    let expected = usize::try_from(args.seconds.saturating_mul(u64::from(args.rate)))?;
    let patience = Duration::from_secs(args.delay_max + 30);
    let (sent, seen) = tokio::join!(
        load::send(&endpoints.kafka, &load),
        reader::read(&endpoints.kafka, outputs, expected, patience)
    );
    let (sent, seen) = (sent?, seen?);
    let lost = sent.records.saturating_sub(seen.times.len());
    let duplicates: u32 = seen.times.values().map(|times| times - 1).sum();
    let by_priority: serde_json::Map<String, Value> = Priority::ALL
        .into_iter()
        .zip(outputs)
        .filter_map(|(p, topic)| Some((p.to_string(), quantiles(seen.lateness_ms.get(topic)?))))
        .collect();
    let result = json!({
        "scenario": "lateness", "tiers": "stack", "rate_per_s": args.rate, "record_bytes": args.record_bytes,
        "sent": sent.records, "published": seen.times.len(), "lost": lost, "early": seen.early, "duplicates": duplicates,
        "generator_behind_ms_max": sent.behind_max.as_millis() as u64,
        "lateness_ms": quantiles(&seen.all()?), "lateness_ms_by_priority": by_priority,
    });
    stage.stop().await?;
    print(&result, args.json)?;
    Ok(lost == 0 && seen.early == 0)
}

pub(super) fn quantiles(histogram: &Histogram<u64>) -> Value {
    json!({
        "p50": histogram.value_at_quantile(0.5),
        "p99": histogram.value_at_quantile(0.99),
        "p999": histogram.value_at_quantile(0.999),
        "max": histogram.max(),
    })
}

#[allow(clippy::print_stdout, reason = "the result of the command")]
pub(super) fn print(result: &Value, json: bool) -> anyhow::Result<()> {
    if json {
        println!("{result}");
    } else {
        println!("{}", serde_json::to_string_pretty(result)?);
    }
    Ok(())
}
