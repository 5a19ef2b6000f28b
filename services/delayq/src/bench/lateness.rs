//! `delayq bench lateness`: how late records are published on the real stack, idle otherwise.

use std::time::Duration;

use delayq_core::priority::Priority;
use serde_json::{Value, json};

use super::load::{self, Load};
use super::reader;
use super::report::{print, quantiles};
use super::stage::{Stage, Tiers};

/// Arguments.
#[derive(Debug, Clone, clap::Args)]
pub struct LatenessArgs {
    /// Which stores lie behind the ports.
    #[arg(long, value_enum, default_value = "stack")]
    pub tiers: Tiers,
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
    let stack = args.tiers.stack().await?;
    let endpoints = stack.endpoints();
    let stage = Stage::create(endpoints, args.tiers, &[]).await?;
    let roles = stage.start_roles().await?;
    let records = u32::try_from(args.seconds.saturating_mul(u64::from(args.rate)))?;
    let load = Load {
        topic: stage.delay_topic.clone(),
        target: stage.target.clone(),
        rate_per_s: args.rate,
        records,
        record_bytes: args.record_bytes,
        delay_min: Duration::from_secs(args.delay_min),
        delay_max: Duration::from_secs(args.delay_max),
        poison: None,
    };
    let patience = Duration::from_secs(args.delay_max + 30);
    let (sent, seen) = tokio::join!(
        load::send(&endpoints.kafka, &load),
        reader::read(&endpoints.kafka, &stage.outputs, records, patience)
    );
    let (sent, seen) = (sent?, seen?);
    let lost = seen.lost();
    let by_priority: serde_json::Map<String, Value> = Priority::ALL
        .into_iter()
        .zip(&stage.outputs)
        .filter_map(|(p, topic)| {
            let histogram = seen.lateness_ms.get(topic.as_str())?;
            Some((p.to_string(), quantiles(histogram)))
        })
        .collect();
    let result = json!({
        "scenario": "lateness", "tiers": args.tiers.name(), "rate_per_s": args.rate, "record_bytes": args.record_bytes,
        "sent": sent.records, "published": seen.published, "lost": lost, "early": seen.early, "duplicates": seen.duplicates,
        "generator_behind_ms_max": sent.behind_max.as_millis() as u64,
        "lateness_ms": quantiles(&seen.all()?), "lateness_ms_by_priority": by_priority,
    });
    roles.stop().await?;
    print(&result, args.json)?;
    Ok(lost == 0 && seen.early == 0)
}
