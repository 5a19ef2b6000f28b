//! `delayq bench priority`: whether high priority keeps its lateness while standard and low are backlogged. The same load of high
//! records twice: alone, and while the emitter works through a backlog of the others in SQS.

use std::time::Duration;

use anyhow::Context as _;
use delayq_core::clock::{Clock, SystemClock};
use delayq_core::priority::Priority;
use delayq_stack::Stack;
use serde_json::{Value, json};
use tokio::time::Instant;

use super::floor;
use super::load::{self, Load, Preload, preload};
use super::reader;
use super::report::{print, quantiles, rounded};
use super::stage::{Stage, Tiers, WARM_PER_S, WARM_S};

/// The backlog is due this long after it is sent: it goes to SQS, not straight to its topic.
const BACKLOG_DELAY: Duration = Duration::from_secs(5);
const PATIENCE: Duration = Duration::from_secs(90);
/// Delays of the high records.
const DELAY: (Duration, Duration) = (Duration::from_secs(3), Duration::from_secs(5));

/// Arguments.
#[derive(Debug, Clone, clap::Args)]
pub struct PriorityArgs {
    /// Standard and low records that wait in SQS, overdue, when the emitter starts.
    #[arg(long, default_value_t = 4_000_000, value_parser = clap::value_parser!(u32).range(1_000..=100_000_000))]
    pub backlog: u32,
    /// High records per second.
    #[arg(long, default_value_t = 500, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub rate: u32,
    /// How long high records are sent, in seconds.
    #[arg(long = "for", default_value_t = 30, value_name = "SECONDS", value_parser = clap::value_parser!(u32).range(1..=3_600))]
    pub seconds: u32,
    /// Size of a record's value, in bytes.
    #[arg(long, default_value_t = 1024, value_parser = clap::value_parser!(u32).range(50..=300_000))]
    pub record_bytes: u32,
    /// Under a minute and a half: a backlog of a million and a half, high records for 10 s.
    #[arg(long)]
    pub quick: bool,
    /// Another setting of the roles. May be repeated.
    #[arg(long = "set", value_name = "SECTION.FIELD=VALUE")]
    pub settings: Vec<String>,
    /// Print one JSON object on one line instead of a table.
    #[arg(long)]
    pub json: bool,
}

/// Runs; `Ok(false)` when a record was lost or early, or the backlog was gone before the high records were.
///
/// # Errors
/// A stack that does not start, or settings that do not fit it.
pub async fn run(args: &PriorityArgs) -> anyhow::Result<bool> {
    let mut args = args.clone();
    if args.quick {
        (args.backlog, args.seconds) = (1_500_000, 10);
    }
    let stack = Tiers::Stack.calm_stack().await?;
    warm_up(&stack, &args).await?;
    let idle = idle(&stack, &args).await?;
    let (busy, left) = backlogged(&stack, &args).await?;
    let ratio = busy.p99() / idle.p99();
    let summary = json!({
        "scenario": "priority", "tiers": "stack", "backlog": args.backlog, "rate_per_s": args.rate,
        "record_bytes": args.record_bytes, "backlog_left": left,
        "high_p99_ratio": rounded(ratio), "lost": idle.lost + busy.lost, "early": idle.early + busy.early,
        "idle": idle.figures(), "backlogged": busy.figures(),
    });
    print(&summary, args.json);
    Ok(idle.kept() && busy.kept() && left > 0)
}

/// The high records of one run.
struct High {
    lateness_ms: Value,
    /// Of Kafka alone, meanwhile.
    plain_lateness_ms: Value,
    lost: usize,
    early: u32,
    behind_max: Duration,
}

impl High {
    /// At least a millisecond, the resolution.
    fn p99(&self) -> f64 {
        let p99 = self.lateness_ms.pointer("/p99").and_then(Value::as_f64);
        p99.unwrap_or(f64::NAN).max(1.0)
    }

    const fn kept(&self) -> bool {
        self.lost == 0 && self.early == 0
    }

    fn figures(&self) -> Value {
        json!({
            "lateness_ms": self.lateness_ms, "plain_lateness_ms": self.plain_lateness_ms,
            "generator_behind_ms_max": self.behind_max.as_millis() as u64,
        })
    }
}

/// Brokers that are still being compiled would make the idle run the slower one.
async fn warm_up(stack: &Stack, args: &PriorityArgs) -> anyhow::Result<()> {
    let servers = &stack.endpoints().kafka;
    let stage = Stage::create(stack.endpoints(), Tiers::Stack, &args.settings).await?;
    let roles = stage.start_roles(1).await?;
    let all = load(&stage, args, WARM_PER_S, WARM_S, Priority::ALL.into())?;
    let (sent, seen) = tokio::join!(
        load::send(servers, &all),
        reader::read(servers, &stage.outputs, all.records, PATIENCE)
    );
    sent?;
    seen?;
    roles.stop().await
}

async fn idle(stack: &Stack, args: &PriorityArgs) -> anyhow::Result<High> {
    let stage = Stage::create(stack.endpoints(), Tiers::Stack, &args.settings).await?;
    let roles = stage.start_roles(1).await?;
    let high = high_records(stack, &stage, args).await?;
    roles.stop().await?;
    Ok(high)
}

/// The high records, and how many of the backlog were left when the last of them was published.
async fn backlogged(stack: &Stack, args: &PriorityArgs) -> anyhow::Result<(High, i64)> {
    let servers = &stack.endpoints().kafka;
    let stage = Stage::create(stack.endpoints(), Tiers::Stack, &args.settings).await?;
    let room = intake(args.backlog);
    let due = Instant::now() + room;
    let backlog = Preload {
        topic: stage.delay_topic.clone(),
        target: stage.target.clone(),
        records: args.backlog,
        record_bytes: usize::try_from(args.record_bytes)?,
        // By then the router must have it in SQS: what it takes in later it publishes itself.
        first_ms: SystemClock.now_ms() + i64::try_from(room.as_millis())?,
        rate_per_s: 0,
        priorities: vec![Priority::Standard, Priority::Low],
        delay_ms: 0..=0,
    };
    preload(servers, &backlog).await?;
    let router = stage.start_some(&["router", "scheduler"]).await?;
    let taken_in = router.until_taken_in(f64::from(args.backlog), PATIENCE);
    tokio::time::timeout(PATIENCE, taken_in)
        .await
        .context("the router has not taken the backlog in")??;
    tokio::time::sleep_until(due).await;
    let emitter = stage.start_some(&["emitter"]).await?;
    let high = high_records(stack, &stage, args).await?;
    let others: Vec<_> = stage.outputs.iter().skip(1).cloned().collect();
    let left = i64::from(args.backlog) - reader::held(servers, &others).await?;
    reader::until_holding(servers, &others, args.backlog, PATIENCE).await?;
    emitter.stop().await?;
    router.stop().await?;
    Ok((high, left))
}

/// Sends them at their moments and reads them.
async fn high_records(stack: &Stack, stage: &Stage, args: &PriorityArgs) -> anyhow::Result<High> {
    let servers = &stack.endpoints().kafka;
    let high = vec![Priority::High];
    let load = load(stage, args, args.rate, args.seconds, high)?;
    let topic: Vec<_> = stage.outputs.iter().take(1).cloned().collect();
    let plain = async {
        tokio::time::sleep(DELAY.0).await;
        let length = Duration::from_secs(args.seconds.into());
        floor::lateness(stage, load.record_bytes, length).await
    };
    let (sent, seen, plain) = tokio::join!(
        load::send(servers, &load),
        reader::read(servers, &topic, load.records, PATIENCE),
        plain
    );
    let (sent, seen) = (sent?, seen?);
    Ok(High {
        lateness_ms: quantiles(&seen.all()?),
        plain_lateness_ms: plain?,
        lost: seen.lost(),
        early: seen.early,
        behind_max: sent.behind_max,
    })
}

fn load(
    stage: &Stage,
    args: &PriorityArgs,
    rate_per_s: u32,
    seconds: u32,
    priorities: Vec<Priority>,
) -> anyhow::Result<Load> {
    Ok(Load {
        topic: stage.delay_topic.clone(),
        target: stage.target.clone(),
        rate_per_s,
        records: rate_per_s.saturating_mul(seconds),
        record_bytes: usize::try_from(args.record_bytes)?,
        delay_min: DELAY.0,
        delay_max: DELAY.1,
        priorities,
        ids: None,
        poison: None,
    })
}

/// Room for filling the topic and for the router.
fn intake(records: u32) -> Duration {
    BACKLOG_DELAY + Duration::from_secs_f64(f64::from(records) / 40_000.0)
}
