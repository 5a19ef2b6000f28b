//! `delayq bench lateness`: how late records are published at a steady rate, sent by an open-loop load at their moments; at
//! rates given, or at shares of the rate at which this machine is full.

use std::time::Duration;

use anyhow::bail;
use delayq_core::clock::{Clock, SystemClock};
use delayq_core::priority::Priority;
use delayq_stack::Stack;
use serde_json::{Map, Value, json};

use super::floor;
use super::load::{self, Load};
use super::reader;
use super::report::{Drawn, Output, print, published, together};
use super::stage::{PARTITIONS, Stage, Tiers, WARM_PER_S};
use super::taken::{Taken, usd_per_million};
use super::timeline::Timeline;

/// The search for the rate at which the machine is full: where it begins, its steps, and how long each is tried.
const FIRST_PER_S: u32 = 8_000;
const STEP: f64 = 1.3;
const TRY_S: u32 = 8;
const TRY_DELAY_S: (u64, u64) = (3, 5);
/// A backlog that grows makes records later and later: beyond this the rate is too high.
const FLAT_P99_MS: f64 = 500.0;

/// Arguments.
#[derive(Debug, Clone, clap::Args)]
pub struct LatenessArgs {
    /// Which stores lie behind the ports.
    #[arg(long, value_enum, default_value = "stack")]
    pub tiers: Tiers,
    /// Records per second.
    #[arg(long, default_value_t = 200, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub rate: u32,
    /// Instead of a rate: percent of the highest rate that this machine keeps up with (delayq, brokers, load and reader
    /// together), which is searched for first, in a minute or two. Several run one after the other: --shares 1,50,90.
    #[arg(long, value_delimiter = ',', value_name = "PERCENT", conflicts_with = "rate", value_parser = clap::value_parser!(u32).range(1..=100))]
    pub shares: Vec<u32>,
    /// How long to send, in seconds.
    #[arg(long = "for", default_value_t = 60, value_name = "SECONDS", value_parser = clap::value_parser!(u32).range(1..=86_400))]
    pub seconds: u32,
    /// How long the same load, but at least 8,000 records a second, is sent first and not counted, in seconds: brokers on a JVM are
    /// slow until they have had work.
    #[arg(long, default_value_t = 30, value_name = "SECONDS", value_parser = clap::value_parser!(u32).range(0..=3_600))]
    pub warm_up: u32,
    /// Size of a record's value, in bytes.
    #[arg(long, default_value_t = 1024)]
    pub record_bytes: usize,
    /// Of the delay topic and of each output topic.
    #[arg(long, default_value_t = PARTITIONS, value_parser = clap::value_parser!(u32).range(1..=1_000))]
    pub partitions: u32,
    /// Shortest delay, in seconds.
    #[arg(long, default_value_t = 3)]
    pub delay_min: u64,
    /// Longest delay, in seconds.
    #[arg(long, default_value_t = 30)]
    pub delay_max: u64,
    /// Under a minute for each rate: 12 s to warm up, 15 s of records, due 3 to 6 s later.
    #[arg(long)]
    pub quick: bool,
    /// Another setting of the roles, such as `--set emitter.early=1s`. May be repeated.
    #[arg(long = "set", value_name = "SECTION.FIELD=VALUE")]
    pub settings: Vec<String>,
    /// How it is told.
    #[command(flatten)]
    pub output: Output,
}

/// Runs; `Ok(false)` when a record was lost or early.
///
/// # Errors
/// A stack that does not start, or settings that do not fit it.
pub async fn run(args: &LatenessArgs) -> anyhow::Result<bool> {
    let mut args = args.clone();
    if args.quick {
        (args.warm_up, args.seconds) = (12, 15);
        (args.delay_min, args.delay_max) = (3, 6);
    }
    if args.delay_min > args.delay_max {
        bail!("--delay-min must not be above --delay-max");
    }
    let stack = args.tiers.calm_stack().await?;
    if args.shares.is_empty() {
        let name = format!("lateness-{}", args.tiers.name());
        warm_up(&stack, &args, args.rate).await?;
        let (result, kept) = at_rate(&stack, &args, args.rate, Some(&name)).await?;
        print(&together([result, scenario(&args)]), args.output.json);
        return Ok(kept);
    }
    let full_per_s = full_rate(&stack, &args).await?;
    let (mut by_share, mut all_kept) = (Map::new(), true);
    for share in args.shares.clone() {
        let rate = (full_per_s / 100 * share).max(1);
        let name = format!("lateness-{}-{share}", args.tiers.name());
        warm_up(&stack, &args, rate).await?;
        let (result, kept) = at_rate(&stack, &args, rate, Some(&name)).await?;
        by_share.insert(format!("{share}%"), result);
        all_kept &= kept;
    }
    let result = json!({"full_records_per_s": full_per_s, "by_share": by_share});
    print(&together([result, scenario(&args)]), args.output.json);
    Ok(all_kept)
}

fn scenario(args: &LatenessArgs) -> Value {
    json!({
        "scenario": "lateness", "tiers": args.tiers.name(), "record_bytes": args.record_bytes,
        "partitions": args.partitions, "delay_s": [args.delay_min, args.delay_max],
    })
}

/// One run at this many records a second: its figures, and whether no record was lost or early. One that nobody sees has no name,
/// and no plain producer beside it.
async fn at_rate(
    stack: &Stack,
    args: &LatenessArgs,
    rate_per_s: u32,
    name: Option<&str>,
) -> anyhow::Result<(Value, bool)> {
    let Some(records) = args.seconds.checked_mul(rate_per_s) else {
        bail!("--rate and --for make more than {} records", u32::MAX);
    };
    let endpoints = stack.endpoints();
    let stage =
        Stage::with_partitions(endpoints, args.tiers, &args.settings, args.partitions).await?;
    let roles = stage.start_roles(1).await?;
    let timeline = Timeline::of(roles.pids());
    let before = Taken::now(&roles, stack).await?;
    let load = Load {
        topic: stage.delay_topic.clone(),
        target: stage.target.clone(),
        rate_per_s,
        records,
        record_bytes: args.record_bytes,
        delay_min: Duration::from_secs(args.delay_min),
        delay_max: Duration::from_secs(args.delay_max),
        priorities: Priority::ALL.into(),
        ids: None,
        poison: None,
    };
    let patience = Duration::from_secs(args.delay_max + 30);
    let from_ms = SystemClock.now_ms();
    // While records are published: from the first that is due to the last.
    let plain = async {
        if name.is_none() {
            return Ok(Value::Null);
        }
        tokio::time::sleep(Duration::from_secs(args.delay_min)).await;
        floor::lateness(
            &stage,
            args.record_bytes,
            Duration::from_secs(args.seconds.into()),
        )
        .await
    };
    let (sent, seen, plain) = tokio::join!(
        load::send(&endpoints.kafka, &load),
        reader::read(&endpoints.kafka, &stage.outputs, records, patience),
        plain
    );
    let (sent, seen) = (sent?, seen?);
    let after = Taken::now(&roles, stack).await?;
    let usd = usd_per_million(&roles, records).await?;
    roles.stop().await?;
    let summary = json!({
        "rate_per_s": rate_per_s, "sent": sent.records,
        "generator_behind_ms_max": sent.behind_max.as_millis() as u64,
        "cpu_us_per_record": after.cpu_us_since(&before, records), "memory_mib": after.memory_mib(),
        "usd_per_million": usd, "plain_lateness_ms": plain?,
    });
    let result = together([summary, published(&seen, &stage.outputs)?]);
    let kept = seen.kept();
    if let Some(name) = name {
        let run = Drawn {
            seen,
            outputs: stage.outputs,
            from_ms,
            memory: timeline.memory(),
        };
        let caption = format!("{rate_per_s} records/s, {} tiers", args.tiers.name());
        args.output.draw(name, &caption, &run)?;
    }
    Ok((result, kept))
}

/// The same load for so long, with short delays.
fn unseen(args: &LatenessArgs, seconds: u32) -> LatenessArgs {
    LatenessArgs {
        seconds,
        delay_min: TRY_DELAY_S.0,
        delay_max: TRY_DELAY_S.1,
        ..args.clone()
    }
}

async fn warm_up(stack: &Stack, args: &LatenessArgs, rate_per_s: u32) -> anyhow::Result<()> {
    if args.warm_up > 0 {
        let rate_per_s = rate_per_s.max(WARM_PER_S);
        at_rate(stack, &unseen(args, args.warm_up), rate_per_s, None).await?;
    }
    Ok(())
}

/// The highest rate at which nothing piles up: neither in the load's producer nor before the due times.
async fn full_rate(stack: &Stack, args: &LatenessArgs) -> anyhow::Result<u32> {
    let tried = unseen(args, TRY_S);
    let (mut full, mut rate) = (0, FIRST_PER_S);
    loop {
        let (figures, kept) = at_rate(stack, &tried, rate, None).await?;
        let figure = |path| figures.pointer(path).and_then(Value::as_f64);
        let flat = |ms: Option<f64>| ms.is_some_and(|ms| ms <= FLAT_P99_MS);
        if !kept || !flat(figure("/lateness_ms/p99")) || !flat(figure("/generator_behind_ms_max")) {
            break;
        }
        full = rate;
        rate = (f64::from(rate) * STEP) as u32;
    }
    if full == 0 {
        bail!("this machine does not keep up with {FIRST_PER_S} records/s: use --rate");
    }
    Ok(full)
}
