//! `delayq bench lateness`: how late records are published at a steady rate, sent by an open-loop load at their moments.

use std::time::Duration;

use anyhow::bail;
use serde_json::json;

use super::load::{self, Load};
use super::reader;
use super::report::{print, published, together};
use super::stage::{Stage, Tiers};
use super::taken::{Taken, usd_per_million};

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
    pub seconds: u32,
    /// Size of a record's value, in bytes.
    #[arg(long, default_value_t = 1024)]
    pub record_bytes: usize,
    /// Shortest delay, in seconds.
    #[arg(long, default_value_t = 3)]
    pub delay_min: u64,
    /// Longest delay, in seconds.
    #[arg(long, default_value_t = 30)]
    pub delay_max: u64,
    /// Under a minute: 20 s of records, due 3 to 10 s later.
    #[arg(long)]
    pub quick: bool,
    /// Another setting of the roles, such as `--set emitter.early=1s`. May be repeated.
    #[arg(long = "set", value_name = "SECTION.FIELD=VALUE")]
    pub settings: Vec<String>,
    /// Print one JSON object instead of a table.
    #[arg(long)]
    pub json: bool,
}

/// Runs; `Ok(false)` when a record was lost or early.
///
/// # Errors
/// A stack that does not start, or settings that do not fit it.
pub async fn run(args: &LatenessArgs) -> anyhow::Result<bool> {
    let mut args = args.clone();
    if args.quick {
        (args.seconds, args.delay_min, args.delay_max) = (20, 3, 10);
    }
    let Some(records) = args.seconds.checked_mul(args.rate).filter(|n| *n > 0) else {
        bail!(
            "--rate and --for must be above 0, and make at most {} records",
            u32::MAX
        );
    };
    if args.delay_min > args.delay_max {
        bail!("--delay-min must not be above --delay-max");
    }
    let stack = args.tiers.calm_stack().await?;
    let endpoints = stack.endpoints();
    let stage = Stage::create(endpoints, args.tiers, &args.settings).await?;
    let roles = stage.start_roles(1).await?;
    let before = Taken::now(&roles, &stack).await?;
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
    let after = Taken::now(&roles, &stack).await?;
    let usd = usd_per_million(&roles, records).await?;
    roles.stop().await?;
    let summary = json!({
        "scenario": "lateness", "tiers": args.tiers.name(), "rate_per_s": args.rate, "record_bytes": args.record_bytes,
        "delay_s": [args.delay_min, args.delay_max], "sent": sent.records,
        "generator_behind_ms_max": sent.behind_max.as_millis() as u64,
        "cpu_us_per_record": after.cpu_us_since(&before, records), "memory_mib": after.memory_mib(),
        "usd_per_million": usd,
    });
    let result = together([summary, published(&seen, &stage.outputs)?]);
    print(&result, args.json)?;
    Ok(seen.lost() == 0 && seen.early == 0)
}
