//! `delayq bench cost`: what a million records of the long path cost at a steady rate, by the roles' own meters, beside what
//! `delayq plan` says.

use std::time::Duration;

use anyhow::bail;
use delayq_core::priority::Priority;
use delayq_stack::Stack;
use serde_json::{Value, json};

use super::load::{self, Load};
use super::long::{OneBucket, PATIENCE};
use super::report::{print, rounded, together};
use super::stage::{Stage, Tiers};
use super::taken::usd_per_million;
use crate::plan::{self, Delays, Rate, Size};

/// The bucket that is handed over: long beside what a closing costs, short beside a run.
const BUCKET: Duration = Duration::from_secs(30);

/// Arguments.
#[derive(Debug, Clone, clap::Args)]
pub struct CostArgs {
    /// Records per second.
    #[arg(long, default_value_t = 1000, value_parser = clap::value_parser!(u32).range(1..=20_000))]
    pub rate: u32,
    /// Their delays, spread evenly; the long path begins at 15 min.
    #[arg(long, default_value = "uniform:15m..24h")]
    pub delays: Delays,
    /// How long to send, in seconds: longer than the minute that records wait for company at most, which comes on top.
    #[arg(long = "for", default_value_t = 180, value_name = "SECONDS", value_parser = clap::value_parser!(u32).range(1..=86_400))]
    pub seconds: u32,
    /// Size of a record's value, in bytes.
    #[arg(long, default_value_t = 1024, value_parser = clap::value_parser!(u32).range(50..=300_000))]
    pub record_bytes: u32,
    /// Another setting of the roles. May be repeated.
    #[arg(long = "set", value_name = "SECTION.FIELD=VALUE")]
    pub settings: Vec<String>,
    /// Print one JSON object on one line instead of a table.
    #[arg(long)]
    pub json: bool,
}

/// Runs; `Ok(false)` when a record was lost or early.
///
/// # Errors
/// A stack that does not start, or settings that do not fit it.
pub async fn run(args: &CostArgs) -> anyhow::Result<bool> {
    let stack = Tiers::Stack.stack().await?;
    let stage = Stage::create(stack.endpoints(), Tiers::Stack, &args.settings).await?;
    let longest = stage.config.delays.max;
    if args.delays.to_s > longest.as_secs_f64() {
        bail!(
            "--delays are beyond `delays.max`, which is {} s",
            longest.as_secs()
        );
    }
    let size = Size(f64::from(args.record_bytes));
    let planned = plan::usd_per_million(Rate(args.rate.into()), size, args.delays, &stage.config);
    let (written, written_usd) = written(&stack, &stage, args).await?;
    // As many records a second as in production, where a bucket holds what came for it in all the time before.
    let bucket = OneBucket {
        records: args.rate * u32::try_from(BUCKET.as_secs())?,
        record_bytes: usize::try_from(args.record_bytes)?,
        length: BUCKET,
    };
    let (handed_over, kept) = bucket.handed_over(&stack, &args.settings).await?;
    let handed_over_usd = handed_over.get("handed_over_usd_per_million");
    let handed_over_usd = handed_over_usd.and_then(Value::as_f64).unwrap_or(f64::NAN);
    let summary = json!({
        "scenario": "cost", "tiers": "stack", "rate_per_s": args.rate, "record_bytes": args.record_bytes,
        "delay_s": [args.delays.from_s, args.delays.to_s],
        "usd_per_million": plan::cents4(written_usd + handed_over_usd), "planned_usd_per_million": planned,
    });
    print(&together([handed_over, written, summary]), args.json);
    Ok(kept)
}

/// The load with its delays and the times of production, until everything is in the tables or queues; and its cost.
async fn written(stack: &Stack, stage: &Stage, args: &CostArgs) -> anyhow::Result<(Value, f64)> {
    let load = Load {
        topic: stage.delay_topic.clone(),
        target: stage.target.clone(),
        rate_per_s: args.rate,
        records: args.rate * args.seconds,
        record_bytes: usize::try_from(args.record_bytes)?,
        delay_min: Duration::from_secs_f64(args.delays.from_s),
        delay_max: Duration::from_secs_f64(args.delays.to_s),
        priorities: Priority::ALL.into(),
        ids: None,
        poison: None,
    };
    let roles = stage.start_roles(1).await?;
    let sent = load::send(&stack.endpoints().kafka, &load).await?;
    let records = f64::from(sent.records);
    roles.until_taken_in(records, PATIENCE).await?;
    let metrics = roles.metrics().await?;
    let long = metrics.sum("delayq_router_routed_total", &["path=\"long\""]);
    let batches = metrics.sum("delayq_router_batches_stored_total", &[]);
    let unit = ["tier=\"batches\"", "unit=\"dynamodb-write-unit\""];
    let write_units = metrics.sum("delayq_aws_billed_units_total", &unit);
    let usd = usd_per_million(&roles, sent.records).await?;
    roles.stop().await?;
    let figures = json!({
        "records": sent.records, "generator_behind_ms_max": sent.behind_max.as_millis(), "long_path_share": rounded(long / records),
        "records_per_batch": rounded(long / batches), "write_units_per_record": rounded(write_units / long),
        "written_usd_per_million": usd,
    });
    Ok((figures, usd.unwrap_or(f64::NAN)))
}
