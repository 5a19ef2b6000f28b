//! `delayq bench long`: records due in days go to DynamoDB. How fast they are written, how well batches are filled, and what is
//! billed for it; then how fast a bucket of them is handed over to the queues.

use std::time::Duration;

use delayq_core::clock::{Clock, SystemClock};
use delayq_core::priority::Priority;
use delayq_stack::Stack;
use serde_json::{Value, json};

use super::limit::Limit;
use super::load::{Preload, preload};
use super::reader;
use super::report::{print, published, rounded, together};
use super::stage::{COUNT_AGAIN, PARTITIONS, Stage, Tiers};
use super::taken::{Taken, usd_per_million, usd_per_million_by_records};
use crate::settings::COMPRESSED;

/// Longer than a record waits for company.
pub(super) const PATIENCE: Duration = Duration::from_secs(90);
/// From now: later than the queues reach.
const FIRST_DUE: Duration = Duration::from_secs(30 * 60);
/// With the times of the demo a bucket lasts so long and is handed over 10 s ahead.
const COMPRESSED_BUCKET: Duration = Duration::from_secs(2);
/// By how much what is due must lie further ahead than a bucket lasts to go to the long tier.
const SHORT_BEYOND_BUCKET: Duration = Duration::from_secs(12);
/// From the first record that is sent to the start of the roles.
const ROUTING: Duration = Duration::from_secs(2);

/// Arguments.
#[derive(Debug, Clone, clap::Args)]
pub struct LongArgs {
    /// Records that are written.
    #[arg(long, default_value_t = 10_000_000, value_parser = clap::value_parser!(u32).range(1_000..=100_000_000))]
    pub records: u32,
    /// Records of the one bucket that is handed over.
    #[arg(long, default_value_t = 1_000_000, value_parser = clap::value_parser!(u32).range(1_000..=10_000_000))]
    pub bucket_records: u32,
    /// Days over which the due times are spread.
    #[arg(long, default_value_t = 7, value_parser = clap::value_parser!(u32).range(1..=7))]
    pub days: u32,
    /// Size of a record's value, in bytes.
    #[arg(long, default_value_t = 1024, value_parser = clap::value_parser!(u32).range(50..=300_000))]
    pub record_bytes: u32,
    /// Under a minute: 300,000 records, and a bucket of 200,000.
    #[arg(long)]
    pub quick: bool,
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
pub async fn run(args: &LongArgs) -> anyhow::Result<bool> {
    let mut args = args.clone();
    if args.quick {
        (args.records, args.bucket_records) = (300_000, 200_000);
        // Before the settings that are asked for, which win.
        args.settings.insert(0, "packing.max_wait=5s".to_owned());
    }
    let stack = Tiers::Stack.stack().await?;
    let record_bytes = usize::try_from(args.record_bytes)?;
    let settings = &args.settings;
    let limit = Limit::measure(
        &stack,
        Tiers::Stack,
        settings,
        args.records,
        record_bytes,
        PARTITIONS,
    )
    .await?;
    let written = written(&stack, &args).await?;
    let bucket = OneBucket {
        records: args.bucket_records,
        record_bytes,
        length: COMPRESSED_BUCKET,
    };
    let (handed_over, kept) = bucket.handed_over(&stack, &args.settings).await?;
    let summary = json!({
        "scenario": "long", "tiers": "stack", "records": args.records, "days": args.days,
        "record_bytes": args.record_bytes, "bucket_records": args.bucket_records,
    });
    let result = together([handed_over, limit.figures(), written, summary]);
    let rate = result
        .get("records_per_s")
        .and_then(Value::as_f64)
        .unwrap_or(f64::NAN);
    let ratio = json!({"ratio_to_copy": rounded(rate / limit.records_per_s())});
    print(&together([result, ratio]), args.json);
    Ok(kept)
}

/// The write side, with the times of production.
async fn written(stack: &Stack, args: &LongArgs) -> anyhow::Result<Value> {
    let stage = Stage::create(stack.endpoints(), Tiers::Stack, &args.settings).await?;
    let spread_ms = i64::from(args.days) * 24 * 3600 * 1000 - 2 * ms(FIRST_DUE)?;
    let load = Preload {
        topic: stage.delay_topic.clone(),
        target: stage.target.clone(),
        records: args.records,
        record_bytes: usize::try_from(args.record_bytes)?,
        first_ms: SystemClock.now_ms() + ms(FIRST_DUE)?,
        rate_per_s: 0,
        priorities: Priority::ALL.into(),
        delay_ms: 0..=spread_ms,
    };
    preload(&stack.endpoints().kafka, &load).await?;
    let roles = stage.start_roles(1).await?;
    let before = Taken::now(&roles, stack).await?;
    let records = f64::from(args.records);
    let took_s = roles.until_taken_in(records, PATIENCE).await?;
    let after = Taken::now(&roles, stack).await?;
    let metrics = roles.metrics().await?;
    let batches = metrics.sum("delayq_router_batches_stored_total", &[]);
    let write_units = metrics.sum(
        "delayq_aws_billed_units_total",
        &["unit=\"dynamodb-write-unit\""],
    );
    let usd = usd_per_million(&roles, args.records).await?;
    roles.stop().await?;
    Ok(json!({
        "records_per_s": (records / took_s).round(), "records_per_batch": rounded(records / batches),
        "write_units_per_record": rounded(write_units / records), "usd_per_million_written": usd,
        "cpu_us_per_record": after.cpu_us_since(&before, args.records), "memory_mib": after.memory_mib(),
    }))
}

/// The records of one bucket.
pub(super) struct OneBucket {
    pub(super) records: u32,
    pub(super) record_bytes: usize,
    /// Over which they are due evenly.
    pub(super) length: Duration,
}

impl OneBucket {
    /// Writes them and has them handed over and published, with the demo's times: production's would take a quarter of an hour.
    /// What is handed over is the same.
    pub(super) async fn handed_over(
        &self,
        stack: &Stack,
        settings: &[String],
    ) -> anyhow::Result<(Value, bool)> {
        let servers = &stack.endpoints().kafka;
        let mut set: Vec<String> = COMPRESSED.map(str::to_owned).into();
        set.push(format!("long.bucket={}ms", self.length.as_millis()));
        let short = self.length + SHORT_BEYOND_BUCKET;
        set.push(format!("delays.short={}ms", short.as_millis()));
        set.extend(settings.iter().cloned());
        // It must be written before its bucket closes, which takes longer than a demo's delays.
        let writing = Duration::from_secs_f64(f64::from(self.records) / 8_000.0);
        let stage = Stage::create(stack.endpoints(), Tiers::Stack, &set).await?;
        let until_due = short + ROUTING + writing;
        let due_ms = SystemClock.now_ms() + ms(until_due)?;
        let bucket_ms = ms(self.length)?;
        let load = Preload {
            topic: stage.delay_topic.clone(),
            target: stage.target.clone(),
            records: self.records,
            record_bytes: self.record_bytes,
            first_ms: (due_ms / bucket_ms + 1) * bucket_ms,
            rate_per_s: 0,
            priorities: Priority::ALL.into(),
            delay_ms: 0..=bucket_ms - 1,
        };
        preload(servers, &load).await?;
        let roles = stage.start_roles(1).await?;
        let before = Taken::now(&roles, stack).await?;
        let records = f64::from(self.records);
        let routed = "delayq_router_routed_total";
        roles.until_counted(routed, records, None, PATIENCE).await?;
        // From the first record that is handed over to the last.
        let long = roles.metrics().await?;
        let long = long.sum("delayq_router_routed_total", &["path=\"long\""]);
        let name = "delayq_scheduler_records_total";
        // The bucket may have been written long before it closes.
        let patience = PATIENCE + until_due;
        roles.until_counted(name, 1.0, None, patience).await?;
        let took_s = roles.until_counted(name, long, None, PATIENCE).await?;
        reader::until_holding(servers, &stage.outputs, self.records, PATIENCE).await?;
        let after = Taken::now(&roles, stack).await?;
        let usd = usd_per_million(&roles, self.records).await?;
        let of = |role| usd_per_million_by_records(&roles, role, self.records);
        let handed_over_usd = of("scheduler").await? + of("emitter").await?;
        drop(roles);
        let again = Duration::from_secs(5);
        let seen = reader::read(servers, &stage.outputs, self.records, again).await?;
        let kept = seen.kept();
        let figures = json!({
            "bucket_long_path_share": rounded(long / records),
            "handover_records_per_s": (long / took_s.max(COUNT_AGAIN.as_secs_f64())).round(),
            "bucket_cpu_us_per_record": after.cpu_us_since(&before, self.records),
            "bucket_usd_per_million": usd,
            "handed_over_usd_per_million": handed_over_usd,
        });
        Ok((together([published(&seen, &stage.outputs)?, figures]), kept))
    }
}

fn ms(duration: Duration) -> anyhow::Result<i64> {
    Ok(i64::try_from(duration.as_millis())?)
}
