//! `delayq bench tracked`: what it costs that records can be cancelled and looked up. The lateness of tracked records beside
//! the same load without ids, pages of a full registry, and live changes to many clients.

mod live;
mod pages;

use std::time::Duration;

use anyhow::bail;
use delayq_core::priority::Priority;
use delayq_stack::{Endpoints, Stack};
use hdrhistogram::Histogram;
use serde_json::{Value, json};

use super::load::{self, Load};
use super::reader::{self, Seen};
use super::report::{print, quantiles};
use super::stage::{PARTITIONS, Stage, Tiers, create_outputs};
use crate::app::Backends;
use crate::embedded::EmbeddedTiers;
use live::Live;
use pages::Filled;

/// How long both loads are sent first and not counted, and how long they are delayed then, seconds.
const WARM_UP_S: u32 = 5;
const WARM_UP_DELAY_S: (u64, u64) = (1, 3);
/// Rows of the quick form over DynamoDB Local, which is slow to write.
const QUICK_STACK_ROWS: u32 = 20_000;

/// Arguments.
#[derive(Debug, Clone, clap::Args)]
pub struct TrackedArgs {
    /// Which stores lie behind the ports. The registry is a table of DynamoDB Local, or in memory.
    #[arg(long, value_enum, default_value = "stack")]
    pub tiers: Tiers,
    /// Records per second: so many untracked, and at the same moments as many tracked.
    #[arg(long, default_value_t = 500, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub rate: u32,
    /// How long to send, in seconds.
    #[arg(long = "for", default_value_t = 60, value_name = "SECONDS", value_parser = clap::value_parser!(u32).range(1..=3_600))]
    pub seconds: u32,
    /// Send the untracked alone, then the tracked alone: what both cost the machine, and how it changed between them, is in
    /// the difference then.
    #[arg(long)]
    pub apart: bool,
    /// Size of a record's value, in bytes.
    #[arg(long, default_value_t = 1024)]
    pub record_bytes: usize,
    /// Shortest delay, in seconds.
    #[arg(long, default_value_t = 3)]
    pub delay_min: u64,
    /// Longest delay, in seconds.
    #[arg(long, default_value_t = 8)]
    pub delay_max: u64,
    /// Rows of the registry that is listed.
    #[arg(long, default_value_t = 100_000, value_parser = clap::value_parser!(u32).range(1_000..=10_000_000))]
    pub rows: u32,
    /// WebSocket clients that are connected at once. Each takes two open files of this process.
    #[arg(long, default_value_t = 1_000, value_parser = clap::value_parser!(u32).range(1..=20_000))]
    pub clients: u32,
    /// Changes per second of which each client is told, for 5 s. No more, all together, than the feed and the console keep
    /// for who lags behind.
    #[arg(long, default_value_t = 500, value_parser = clap::value_parser!(u32).range(1..=800))]
    pub changes: u32,
    /// Under a minute: 10 s of records; over DynamoDB Local 20,000 rows.
    #[arg(long)]
    pub quick: bool,
    /// Another setting of the roles, such as `--set tracked.claim_lead=1s`. May be repeated.
    #[arg(long = "set", value_name = "SECTION.FIELD=VALUE")]
    pub settings: Vec<String>,
    /// Print one JSON object on one line instead of a table.
    #[arg(long)]
    pub json: bool,
}

/// Runs; `Ok(false)` when a record was lost or early, a tracked one came twice, a list was wrong, or a change was not told.
///
/// # Errors
/// A stack that does not start, settings that do not fit it, or a limit on open files that is too low for the clients.
pub async fn run(args: &TrackedArgs) -> anyhow::Result<bool> {
    let mut args = args.clone();
    if args.quick {
        args.seconds = 10;
        if args.tiers == Tiers::Stack {
            args.rows = args.rows.min(QUICK_STACK_ROWS);
        }
    }
    if args.delay_min > args.delay_max {
        bail!("--delay-min must not be above --delay-max");
    }
    live::check_open_files(args.clients)?;
    let stack = args.tiers.calm_stack().await?;
    let stage = Stage::create(stack.endpoints(), args.tiers, &args.settings).await?;
    let tiers = match args.tiers {
        Tiers::Stack => Backends::aws(&stage.config).await?,
        Tiers::Embedded => EmbeddedTiers::default().backends(),
    };
    let (lateness, kept, filled) = lateness(&stack, &stage, &args, &tiers).await?;
    let listed = filled.list(tiers.index.as_ref()).await?;
    let told = Live {
        clients: args.clients,
        per_s: args.changes,
    };
    let told = told.measure(&stage.config).await?;
    let result = json!({
        "scenario": "tracked", "tiers": args.tiers.name(), "record_bytes": args.record_bytes,
        "delay_s": [args.delay_min, args.delay_max], "rate_per_s": args.rate, "at_once": !args.apart,
        "untracked": lateness.untracked, "tracked": lateness.tracked, "claim_adds_p99_ms": lateness.claim_adds_p99_ms,
        "list_rows": filled.rows(), "list_rows_written_per_s": filled.written_per_s(),
        "list_ms": listed.ms, "lists_wrong": listed.wrong,
        "live": told.figures,
    });
    print(&result, args.json);
    Ok(kept && listed.wrong == 0 && told.missed == 0)
}

struct Lateness {
    untracked: Value,
    tracked: Value,
    claim_adds_p99_ms: i64,
}

/// Both loads; the registry is filled while they warm up.
async fn lateness(
    stack: &Stack,
    stage: &Stage,
    args: &TrackedArgs,
    tiers: &Backends,
) -> anyhow::Result<(Lateness, bool, Filled)> {
    let endpoints = stack.endpoints();
    let roles = stage.start_roles(1).await?;
    let warm = |name, tracked| Side {
        seconds: WARM_UP_S,
        delay_s: WARM_UP_DELAY_S,
        ..Side::of(args, name, tracked)
    };
    let first = (warm("warm-untracked", false), warm("warm-tracked", true));
    let (_, _, filled) = tokio::try_join!(
        first.0.run(endpoints, stage),
        first.1.run(endpoints, stage),
        Filled::write(tiers.registry.as_ref(), &stage.prefix, args.rows),
    )?;
    let (untracked, tracked) = (
        Side::of(args, "untracked", false),
        Side::of(args, "tracked", true),
    );
    let (untracked, tracked) = if args.apart {
        let alone = untracked.run(endpoints, stage).await?;
        (alone, tracked.run(endpoints, stage).await?)
    } else {
        tokio::try_join!(
            untracked.run(endpoints, stage),
            tracked.run(endpoints, stage)
        )?
    };
    roles.stop().await?;
    let kept = untracked.seen.kept() && tracked.seen.kept() && tracked.seen.duplicates == 0;
    let p99_ms = |one: &Ran| i64::try_from(one.lateness_ms.value_at_quantile(0.99));
    let lateness = Lateness {
        claim_adds_p99_ms: p99_ms(&tracked)? - p99_ms(&untracked)?,
        untracked: untracked.figures(),
        tracked: tracked.figures(),
    };
    Ok((lateness, kept, filled))
}

/// One of the loads that are compared.
struct Side<'a> {
    args: &'a TrackedArgs,
    /// Sets its topics and ids apart.
    name: &'static str,
    tracked: bool,
    seconds: u32,
    delay_s: (u64, u64),
}

struct Ran {
    seen: Seen,
    sent: load::Sent,
    lateness_ms: Histogram<u64>,
}

impl<'a> Side<'a> {
    fn of(args: &'a TrackedArgs, name: &'static str, tracked: bool) -> Self {
        Self {
            args,
            name,
            tracked,
            seconds: args.seconds,
            delay_s: (args.delay_min, args.delay_max),
        }
    }

    async fn run(&self, endpoints: &Endpoints, stage: &Stage) -> anyhow::Result<Ran> {
        let records = self.args.rate * self.seconds;
        let target = format!("{}-{}", stage.target, self.name);
        let outputs: Vec<_> = Priority::ALL.map(|p| format!("{target}.{p}")).into();
        let setting = ("message.timestamp.type", "LogAppendTime");
        create_outputs(&stage.config, &outputs, i32::try_from(PARTITIONS)?, setting).await?;
        let load = Load {
            topic: stage.delay_topic.clone(),
            target,
            rate_per_s: self.args.rate,
            records,
            record_bytes: self.args.record_bytes,
            delay_min: Duration::from_secs(self.delay_s.0),
            delay_max: Duration::from_secs(self.delay_s.1),
            priorities: Priority::ALL.into(),
            ids: self.tracked.then(|| self.name.to_owned()),
            poison: None,
        };
        let patience = Duration::from_secs(self.delay_s.1 + 30);
        let (sent, seen) = tokio::try_join!(
            load::send(&endpoints.kafka, &load),
            reader::read(&endpoints.kafka, &outputs, records, patience)
        )?;
        Ok(Ran {
            lateness_ms: seen.all()?,
            seen,
            sent,
        })
    }
}

impl Ran {
    fn figures(&self) -> Value {
        let Self { seen, sent, .. } = self;
        json!({
            "sent": sent.records, "generator_behind_ms_max": sent.behind_max.as_millis() as u64,
            "published": seen.published, "lost": seen.lost(), "early": seen.early, "duplicates": seen.duplicates,
            "lateness_ms": quantiles(&self.lateness_ms),
        })
    }
}
