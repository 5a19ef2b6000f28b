//! `delayq bench sustained`: how many records a second go the whole way on the short path, beside a plain copy of the same
//! records on the same machine.
//!
//! The delay topic is filled first, then the roles start and have all processors: nothing else runs but the brokers. Due
//! times come at the rate of the copy, faster than delayq can be: as fast as it takes records in, earlier ones become
//! due, so that it takes in and publishes at once, and what it does per second is what it can do.

use std::time::Duration;

use delayq_core::clock::{Clock, SystemClock};
use delayq_core::priority::Priority;
use delayq_stack::Stack;
use serde_json::{Value, json};
use tokio::time::Instant;

use super::limit::Limit;
use super::load::{Preload, preload};
use super::reader;
use super::report::{Drawn, Output, median, print, published, rounded, together};
use super::stage::{PARTITIONS, Stage, Tiers};
use super::taken::{Taken, usd_per_million};
use super::timeline::Timeline;

/// From the start of the roles until they read.
const ROLES_START: Duration = Duration::from_millis(1_500);
/// Filling may take so much longer than it did for the copy.
const FILL_MARGIN: f64 = 1.3;
/// Delays, in seconds, where a run is to be short.
const SOON_S: (u32, u32) = (3, 5);
/// How long nothing may be published before the rest counts as lost.
const PATIENCE: Duration = Duration::from_secs(45);
/// Later than the last due time by this: delayq, not the due times, was the limit.
const BEHIND_MS: i64 = 500;

/// Arguments.
#[derive(Debug, Clone, clap::Args)]
pub struct SustainedArgs {
    /// Which stores lie behind the ports.
    #[arg(long, value_enum, default_value = "stack")]
    pub tiers: Tiers,
    /// Records of a run.
    #[arg(long, default_value_t = 10_000_000, value_parser = clap::value_parser!(u32).range(1_000..=100_000_000))]
    pub records: u32,
    /// Records of a run before the first that counts, with delays of 3 to 5 s: the broker's compiler is at work then. 0: none.
    #[arg(long, default_value_t = 2_000_000, value_parser = clap::value_parser!(u32).range(0..=100_000_000))]
    pub warm_up: u32,
    /// Runs; the median counts.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=100))]
    pub runs: u32,
    /// Size of a record's value, in bytes.
    #[arg(long, default_value_t = 1024, value_parser = clap::value_parser!(u32).range(50..=1_000_000))]
    pub record_bytes: u32,
    /// Shortest delay, in seconds.
    #[arg(long, default_value_t = 3)]
    pub delay_min: u32,
    /// Longest delay, in seconds.
    #[arg(long, default_value_t = 60)]
    pub delay_max: u32,
    /// Processes of each role; over embedded tiers always one with all.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=16))]
    pub replicas: u32,
    /// Partitions of the delay topic and of each output topic.
    #[arg(long, default_value_t = PARTITIONS, value_parser = clap::value_parser!(u32).range(1..=1_000))]
    pub partitions: u32,
    /// Under a minute: one run of fewer records with delays of 3 to 5 s, and no other before it.
    #[arg(long)]
    pub quick: bool,
    /// Another setting of the roles, such as `--set packing.zstd_level=3`. May be repeated.
    #[arg(long = "set", value_name = "SECTION.FIELD=VALUE")]
    pub settings: Vec<String>,
    /// How it is told.
    #[command(flatten)]
    pub output: Output,
}

impl SustainedArgs {
    fn effective(&self) -> Self {
        let mut args = self.clone();
        if args.quick {
            (args.runs, args.warm_up) = (1, 0);
            (args.delay_min, args.delay_max) = SOON_S;
            args.records = match args.tiers {
                Tiers::Stack => 1_000_000,
                Tiers::Embedded => 2_000_000,
            };
        }
        args
    }

    /// The run before those that count.
    fn warming(&self) -> Option<Self> {
        let (delay_min, delay_max) = SOON_S;
        (self.warm_up > 0).then(|| Self {
            records: self.warm_up,
            delay_min,
            delay_max,
            ..self.clone()
        })
    }
}

/// Runs; `Ok(false)` when a record was lost or early.
///
/// # Errors
/// A stack that does not start, or settings that do not fit it.
pub async fn run(args: &SustainedArgs) -> anyhow::Result<bool> {
    let args = args.effective();
    let stack = args.tiers.stack().await?;
    let (figures, kept) = measure(&stack, &args).await?;
    print(&figures, args.output.json);
    Ok(kept)
}

/// The figures, and whether no record was lost or early.
pub(super) async fn measure(stack: &Stack, args: &SustainedArgs) -> anyhow::Result<(Value, bool)> {
    let (tiers, settings) = (args.tiers, &args.settings);
    let record_bytes = usize::try_from(args.record_bytes)?;
    let mut limit = Limit::measure(
        stack,
        tiers,
        settings,
        args.records,
        record_bytes,
        args.partitions,
    )
    .await?;
    if let Some(warming) = args.warming() {
        one_run(stack, &warming, &limit).await?;
    }
    let mut runs = Vec::new();
    for _ in 0..args.runs {
        runs.push(one_run(stack, args, &limit).await?);
        limit.copy_again(stack).await?;
    }
    let figures = result(args, &limit, &runs);
    if let Some(run) = middle(&runs) {
        let name = format!("sustained-{}", tiers.name());
        let caption = format!("sustained, {} tiers", tiers.name());
        args.output.draw(&name, &caption, &run.drawn)?;
    }
    Ok((figures, runs.iter().all(|run| run.kept)))
}

struct Run {
    records_per_s: f64,
    kept: bool,
    figures: Value,
    drawn: Drawn,
}

/// The run that has the median rate.
fn middle(runs: &[Run]) -> Option<&Run> {
    let rate = median(runs.iter().map(|run| run.records_per_s).collect());
    runs.iter().find(|run| run.records_per_s == rate)
}

async fn one_run(stack: &Stack, args: &SustainedArgs, limit: &Limit) -> anyhow::Result<Run> {
    let servers = &stack.endpoints().kafka;
    let stage = Stage::with_partitions(
        stack.endpoints(),
        args.tiers,
        &args.settings,
        args.partitions,
    )
    .await?;
    let copy_per_s = limit.records_per_s();
    let fill_s = f64::from(args.records) / limit.fill_per_s * FILL_MARGIN;
    let start_roles = Instant::now() + Duration::from_secs_f64(fill_s);
    let first = Duration::from_secs_f64(fill_s) + ROLES_START;
    let first_ms = SystemClock.now_ms() + i64::try_from(first.as_millis())?;
    let load = Preload {
        topic: stage.delay_topic.clone(),
        target: stage.target.clone(),
        records: args.records,
        record_bytes: usize::try_from(args.record_bytes)?,
        first_ms,
        rate_per_s: copy_per_s as u32,
        priorities: Priority::ALL.into(),
        delay_ms: i64::from(args.delay_min) * 1000..=i64::from(args.delay_max) * 1000,
    };
    preload(servers, &load).await?;
    tokio::time::sleep_until(start_roles).await;
    let roles = stage.start_roles(args.replicas).await?;
    let started_ms = SystemClock.now_ms();
    let timeline = Timeline::of(roles.pids());
    let before = Taken::now(&roles, stack).await?;
    reader::until_holding(servers, &stage.outputs, args.records, PATIENCE).await?;
    let after = Taken::now(&roles, stack).await?;
    let usd = usd_per_million(&roles, args.records).await?;
    let routed = roles.metrics().await?;
    let short = routed.sum("delayq_router_routed_total", &["path=\"short\""]);
    // What is left to do is to commit: nobody goes on from there.
    drop(roles);
    let again = Duration::from_secs(5);
    let seen = reader::read(servers, &stage.outputs, args.records, again).await?;
    stage.delete_topics().await?;
    let took_s = (seen.last_ms - started_ms) as f64 / 1000.0;
    let due_for_s = f64::from(args.records) / copy_per_s + f64::from(args.delay_max);
    let last_due_ms = first_ms + (due_for_s * 1000.0) as i64;
    let of_run = json!({
        "saturated": seen.last_ms > last_due_ms + BEHIND_MS,
        "short_path_share": rounded(short / f64::from(args.records)),
        "cpu_us_per_record": after.cpu_us_since(&before, args.records),
        "cpu_us_per_record_roles": after.roles_cpu_us_since(&before, args.records),
        "memory_mib": after.memory_mib(),
        "usd_per_million": usd,
    });
    Ok(Run {
        records_per_s: f64::from(seen.published) / took_s,
        kept: seen.kept(),
        figures: together([published(&seen, &stage.outputs)?, of_run]),
        drawn: Drawn {
            seen,
            outputs: stage.outputs.clone(),
            from_ms: started_ms,
            memory: timeline.memory(),
        },
    })
}

fn result(args: &SustainedArgs, limit: &Limit, runs: &[Run]) -> Value {
    let rates: Vec<f64> = runs.iter().map(|run| run.records_per_s.round()).collect();
    let rate = median(rates.clone());
    // The figures beside the rate are those of the run that had it; what must be none is counted over all.
    let figures = middle(runs).map_or(Value::Null, |run| run.figures.clone());
    let sum = |name: &str| -> u64 {
        let each = runs
            .iter()
            .filter_map(|run| run.figures.get(name)?.as_u64());
        each.sum()
    };
    let summary = json!({
        "scenario": "sustained", "tiers": args.tiers.name(), "records": args.records, "runs": args.runs,
        "warm_up": args.warm_up, "replicas": args.replicas, "partitions": args.partitions, "record_bytes": args.record_bytes, "delay_s": [args.delay_min, args.delay_max],
        "records_per_s": rate, "records_per_s_runs": rates,
        "ratio_to_copy": rounded(rate / limit.records_per_s()),
        "lost": sum("lost"), "early": sum("early"), "duplicates": sum("duplicates"),
    });
    together([figures, limit.figures(), summary])
}
