//! `delayq bench sustained`: how many records a second go the whole way on the short path, beside a plain copy of the same
//! records on the same machine.
//!
//! The delay topic is filled first, then the roles start and have all processors: nothing else runs but the brokers. Due
//! times come at the rate of the copy, faster than delayq can be: as fast as it takes records in, earlier ones become
//! due, so that it takes in and publishes at once, and what it does per second is what it can do.

use std::collections::BTreeMap;
use std::time::Duration;

use delayq_core::clock::{Clock, SystemClock};
use delayq_core::priority::Priority;
use delayq_stack::{Stack, Usage};
use serde_json::{Value, json};
use tokio::time::Instant;

use super::copy::copy;
use super::load::{Preload, preload};
use super::reader::{self, Seen};
use super::report::{median, print, quantiles, rounded};
use super::stage::{Roles, Stage, Tiers, create_outputs, stack_usage};

/// From the start of the roles until they read.
const ROLES_START: Duration = Duration::from_millis(1_500);
/// Filling may take so much longer than it did for the copy.
const FILL_MARGIN: f64 = 1.3;
/// How long nothing may be published before the rest counts as lost.
const PATIENCE: Duration = Duration::from_secs(45);
/// Later than the last due time by this: delayq, not the due times, was the limit.
const BEHIND_MS: i64 = 500;
/// Copies before the runs; one more follows each run.
const COPIES: u32 = 2;

/// Arguments.
#[derive(Debug, Clone, clap::Args)]
pub struct SustainedArgs {
    /// Which stores lie behind the ports.
    #[arg(long, value_enum, default_value = "stack")]
    pub tiers: Tiers,
    /// Records of a run.
    #[arg(long, default_value_t = 4_000_000, value_parser = clap::value_parser!(u32).range(1_000..=100_000_000))]
    pub records: u32,
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
    /// Under a minute: one run of fewer records with delays of 3 to 5 s.
    #[arg(long)]
    pub quick: bool,
    /// Another setting of the roles, such as `--set packing.zstd_level=3`. May be repeated.
    #[arg(long = "set", value_name = "SECTION.FIELD=VALUE")]
    pub settings: Vec<String>,
    /// Print one JSON object on one line.
    #[arg(long)]
    pub json: bool,
}

impl SustainedArgs {
    fn effective(&self) -> Self {
        let mut args = self.clone();
        if args.quick {
            (args.runs, args.delay_min, args.delay_max) = (1, 3, 5);
            args.records = match args.tiers {
                Tiers::Stack => 1_000_000,
                Tiers::Embedded => 2_000_000,
            };
        }
        args
    }
}

/// Runs; `Ok(false)` when a record was lost or early.
///
/// # Errors
/// A stack that does not start, or settings that do not fit it.
pub async fn run(args: &SustainedArgs) -> anyhow::Result<bool> {
    let args = args.effective();
    let stack = args.tiers.stack().await?;
    let limit = Limit::fill(&stack, &args).await?;
    let mut copies = Vec::new();
    for _ in 0..COPIES {
        copies.push(limit.copy(&stack).await?);
    }
    let mut runs = Vec::new();
    for _ in 0..args.runs {
        runs.push(one_run(&stack, &args, &limit, &copies).await?);
        copies.push(limit.copy(&stack).await?);
    }
    let result = result(&args, &copies, &runs)?;
    print(&result, args.json)?;
    Ok(runs
        .iter()
        .all(|run| run.seen.lost() == 0 && run.seen.early == 0))
}

/// The records that are copied.
struct Limit {
    stage: Stage,
    topic: String,
    records: u32,
    /// Records a second that the load's producers write.
    fill_per_s: f64,
}

impl Limit {
    async fn fill(stack: &Stack, args: &SustainedArgs) -> anyhow::Result<Self> {
        let stage = Stage::create(stack.endpoints(), args.tiers, &args.settings).await?;
        let records = args.records.min(500_000);
        let load = Preload {
            topic: stage.delay_topic.clone(),
            target: stage.target.clone(),
            records,
            record_bytes: args.record_bytes as usize,
            first_ms: SystemClock.now_ms(),
            rate_per_s: 0,
            delay_ms: 0..=0,
        };
        let took = preload(&stack.endpoints().kafka, &load).await?;
        Ok(Self {
            fill_per_s: f64::from(records) / took.as_secs_f64(),
            topic: load.topic,
            stage,
            records,
        })
    }

    /// Records a second into a new topic, and what a record took of the broker and of this process, µs.
    async fn copy(&self, stack: &Stack) -> anyhow::Result<Copied> {
        let before = stack_usage(stack).await?;
        let own_before = Usage::of(std::process::id())?;
        let to = format!(
            "{}.copy-{}",
            self.stage.prefix,
            uuid::Uuid::new_v4().simple()
        );
        let setting = ("message.timestamp.type", "LogAppendTime");
        create_outputs(&self.stage.config, std::slice::from_ref(&to), setting).await?;
        let records_per_s = copy(&self.stage.config, &self.topic, &to, self.records).await?;
        let each_us = |now: &Usage, before: &Usage| {
            let took = now.cpu.saturating_sub(before.cpu);
            rounded(took.as_secs_f64() * 1e6 / f64::from(self.records))
        };
        let now = stack_usage(stack).await?;
        let kafka = now.get("kafka").zip(before.get("kafka"));
        Ok(Copied {
            records_per_s,
            kafka_us: kafka.map_or(f64::NAN, |(now, before)| each_us(now, before)),
            client_us: each_us(&Usage::of(std::process::id())?, &own_before),
        })
    }
}

/// One copy's figures.
#[derive(Debug, Clone, Copy)]
struct Copied {
    records_per_s: f64,
    kafka_us: f64,
    client_us: f64,
}

/// The median of one figure.
fn middle_of(copies: &[Copied], figure: impl Fn(&Copied) -> f64) -> f64 {
    median(copies.iter().map(figure).collect())
}

struct Run {
    seen: Seen,
    outputs: Vec<String>,
    records_per_s: f64,
    saturated: bool,
    cpu_us: BTreeMap<String, f64>,
    memory_mib: BTreeMap<String, f64>,
    usd_per_million: Option<f64>,
}

async fn one_run(
    stack: &Stack,
    args: &SustainedArgs,
    limit: &Limit,
    copies: &[Copied],
) -> anyhow::Result<Run> {
    let servers = &stack.endpoints().kafka;
    let stage = Stage::create(stack.endpoints(), args.tiers, &args.settings).await?;
    let copy_per_s = middle_of(copies, |copy| copy.records_per_s);
    let fill_s = f64::from(args.records) / limit.fill_per_s * FILL_MARGIN;
    let start_roles = Instant::now() + Duration::from_secs_f64(fill_s);
    let first = Duration::from_secs_f64(fill_s) + ROLES_START;
    let first_ms = SystemClock.now_ms() + i64::try_from(first.as_millis())?;
    let delay_ms = i64::from(args.delay_min) * 1000..=i64::from(args.delay_max) * 1000;
    let load = Preload {
        topic: stage.delay_topic.clone(),
        target: stage.target.clone(),
        records: args.records,
        record_bytes: args.record_bytes as usize,
        first_ms,
        rate_per_s: copy_per_s as u32,
        delay_ms,
    };
    preload(servers, &load).await?;
    tokio::time::sleep_until(start_roles).await;
    let roles = stage.start_roles().await?;
    let started_ms = SystemClock.now_ms();
    let before = Taken::now(&roles, stack).await?;
    reader::until_holding(servers, &stage.outputs, args.records, PATIENCE, |_| ()).await?;
    let after = Taken::now(&roles, stack).await?;
    let scraped = roles.metrics().await?;
    // What is left to do is to commit: nobody goes on from there.
    drop(roles);
    let seen = reader::read(
        servers,
        &stage.outputs,
        args.records,
        Duration::from_secs(5),
    )
    .await?;
    let took_s = (seen.last_ms - started_ms) as f64 / 1000.0;
    let last_due_ms = first_ms
        + (f64::from(args.records) * 1000.0 / copy_per_s) as i64
        + i64::from(args.delay_max) * 1000;
    let nanodollars = scraped.sum("delayq_aws_cost_nanodollars_total", &[]);
    Ok(Run {
        records_per_s: f64::from(seen.published) / took_s,
        saturated: seen.last_ms > last_due_ms + BEHIND_MS,
        cpu_us: after.cpu_us_since(&before, args.records),
        memory_mib: after.memory_mib(),
        usd_per_million: (args.tiers == Tiers::Stack)
            .then(|| nanodollars / 1000.0 / f64::from(args.records)),
        outputs: stage.outputs,
        seen,
    })
}

/// What roles and brokers have taken of the machine.
struct Taken {
    roles: BTreeMap<String, Usage>,
    stack: BTreeMap<&'static str, Usage>,
}

impl Taken {
    async fn now(roles: &Roles, stack: &Stack) -> anyhow::Result<Self> {
        Ok(Self {
            roles: roles.usage()?,
            stack: stack_usage(stack).await?,
        })
    }

    fn all(&self) -> impl Iterator<Item = (&str, &Usage)> {
        let roles = self
            .roles
            .iter()
            .map(|(name, usage)| (name.as_str(), usage));
        roles.chain(self.stack.iter().map(|(name, usage)| (*name, usage)))
    }

    fn cpu_us_since(&self, before: &Self, records: u32) -> BTreeMap<String, f64> {
        let earlier: BTreeMap<&str, &Usage> = before.all().collect();
        self.all()
            .filter_map(|(name, now)| {
                let took = now.cpu.saturating_sub(earlier.get(name)?.cpu);
                let each = took.as_secs_f64() * 1e6 / f64::from(records);
                Some((name.to_owned(), rounded(each)))
            })
            .collect()
    }

    fn memory_mib(&self) -> BTreeMap<String, f64> {
        self.all()
            .map(|(name, usage)| (name.to_owned(), usage.resident_most_mib.round()))
            .collect()
    }
}

fn result(args: &SustainedArgs, copies: &[Copied], runs: &[Run]) -> anyhow::Result<Value> {
    let copy_per_s = middle_of(copies, |copy| copy.records_per_s);
    let rates: Vec<f64> = runs.iter().map(|run| run.records_per_s).collect();
    let rate = median(rates.clone());
    // The figures beside the rate are those of the run that had it.
    let middle = runs.iter().find(|run| run.records_per_s == rate);
    let by_priority: serde_json::Map<String, Value> = middle
        .into_iter()
        .flat_map(|run| {
            Priority::ALL
                .into_iter()
                .zip(&run.outputs)
                .map(move |(p, t)| (run, p, t))
        })
        .filter_map(|(run, p, topic)| {
            let histogram = run.seen.lateness_ms.get(topic.as_str())?;
            Some((p.to_string(), quantiles(histogram)))
        })
        .collect();
    let mut result = json!({
        "scenario": "sustained", "tiers": args.tiers.name(), "records": args.records, "runs": args.runs,
        "record_bytes": args.record_bytes, "delay_s": [args.delay_min, args.delay_max],
        "records_per_s": rate.round(), "records_per_s_runs": rates.iter().map(|r| r.round()).collect::<Vec<_>>(),
        "copy_records_per_s": copy_per_s.round(),
        "copy_records_per_s_runs": copies.iter().map(|copy| copy.records_per_s.round()).collect::<Vec<_>>(),
        "copy_cpu_us_per_record": {
            "kafka": middle_of(copies, |copy| copy.kafka_us), "client": middle_of(copies, |copy| copy.client_us),
        },
        "ratio_to_copy": rounded(rate / copy_per_s),
        "lost": runs.iter().map(|run| run.seen.lost()).sum::<usize>(),
        "early": runs.iter().map(|run| run.seen.early).sum::<u32>(),
        "duplicates": runs.iter().map(|run| run.seen.duplicates).sum::<u32>(),
        "saturated": runs.iter().all(|run| run.saturated),
        "lateness_ms_by_priority": by_priority,
    });
    if let (Some(run), Value::Object(fields)) = (middle, &mut result) {
        let cpu_us = run.cpu_us.clone();
        let of_roles = cpu_us
            .iter()
            .filter(|(name, _)| ["all", "router", "scheduler", "emitter"].contains(&name.as_str()));
        let total: f64 = of_roles.map(|(_, each)| each).sum();
        fields.insert("lateness_ms".to_owned(), quantiles(&run.seen.all()?));
        fields.insert("memory_mib".to_owned(), json!(run.memory_mib));
        fields.insert("cpu_us_per_record".to_owned(), json!(cpu_us));
        fields.insert("cpu_us_per_record_roles".to_owned(), rounded(total).into());
        fields.insert(
            "usd_per_million".to_owned(),
            json!(run.usd_per_million.map(rounded4)),
        );
    }
    Ok(result)
}

fn rounded4(value: f64) -> f64 {
    (value * 10_000.0).round() / 10_000.0
}
