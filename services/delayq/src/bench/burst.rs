//! `delayq bench burst`: all records due in the same millisecond. How fast they are taken in, whether memory stays bounded while
//! they wait, and how fast they are published once they are due; with `--restart`, by roles that were killed meanwhile.

use std::time::Duration;

use anyhow::bail;
use delayq_core::clock::{Clock, SystemClock};
use delayq_core::priority::Priority;
use serde_json::json;
use tokio::time::Instant;

use super::limit::Limit;
use super::load::{Preload, preload};
use super::reader::{self, Seen};
use super::report::{Drawn, Output, print, published, rounded, together};
use super::stage::{PARTITIONS, Stage, Tiers};
use super::taken::{Taken, usd_per_million};
use super::timeline::Timeline;

/// How long nothing may be published before the rest counts as lost.
const PATIENCE: Duration = Duration::from_secs(60);
/// How long nothing may be taken in.
const INTAKE_PATIENCE: Duration = Duration::from_secs(60);
/// Between the end of filling and the due time there is room for intake at a rate so much below the copy's.
const INTAKE_SHARE: f64 = 0.15;
/// How long before the due time the roles that were killed are started again.
const RESTART_BEFORE: Duration = Duration::from_secs(1);
/// The speed that counts as full, of the fastest second.
const FULL_SPEED: f64 = 0.8;

/// Arguments.
#[derive(Debug, Clone, clap::Args)]
pub struct BurstArgs {
    /// Which stores lie behind the ports.
    #[arg(long, value_enum, default_value = "stack")]
    pub tiers: Tiers,
    /// Records.
    #[arg(long, default_value_t = 10_000_000, value_parser = clap::value_parser!(u32).range(1_000..=100_000_000))]
    pub records: u32,
    /// Size of a record's value, in bytes.
    #[arg(long, default_value_t = 1024, value_parser = clap::value_parser!(u32).range(50..=1_000_000))]
    pub record_bytes: u32,
    /// Kill all roles when everything waits, and start them again a second before it is due.
    #[arg(long)]
    pub restart: bool,
    /// Under a minute: a million records.
    #[arg(long)]
    pub quick: bool,
    /// Another setting of the roles. May be repeated.
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
pub async fn run(args: &BurstArgs) -> anyhow::Result<bool> {
    let mut args = args.clone();
    if args.quick {
        args.records = 1_000_000;
    }
    if args.restart && args.tiers == Tiers::Embedded {
        bail!("--restart needs tiers that outlive the roles: --tiers stack");
    }
    let record_bytes = usize::try_from(args.record_bytes)?;
    let stack = args.tiers.stack().await?;
    let servers = &stack.endpoints().kafka;
    let limit = Limit::measure(
        &stack,
        args.tiers,
        &args.settings,
        args.records,
        record_bytes,
        PARTITIONS,
    )
    .await?;
    let stage = Stage::create(stack.endpoints(), args.tiers, &args.settings).await?;
    let records = f64::from(args.records);
    let room_s =
        records / limit.fill_per_s * 1.2 + records / (limit.records_per_s() * INTAKE_SHARE);
    let room = Duration::from_secs_f64(room_s + 8.0);
    let due = Instant::now() + room;
    let due_ms = SystemClock.now_ms() + i64::try_from(room.as_millis())?;
    let load = Preload {
        topic: stage.delay_topic.clone(),
        target: stage.target.clone(),
        records: args.records,
        record_bytes,
        first_ms: due_ms,
        rate_per_s: 0,
        priorities: Priority::ALL.into(),
        delay_ms: 0..=0,
    };
    preload(servers, &load).await?;
    let mut roles = stage.start_roles(1).await?;
    let roles_ms = SystemClock.now_ms();
    let mut timeline = Timeline::of(roles.pids());
    let mut before = Taken::now(&roles, &stack).await?;
    let intake_s = roles.until_taken_in(records, INTAKE_PATIENCE).await?;
    let in_time = Instant::now() < due;
    let waiting = Taken::now(&roles, &stack).await?;
    let memory_waiting = waiting.memory_mib();
    let mut restarted = None;
    if args.restart {
        drop(roles);
        tokio::time::sleep_until(due - RESTART_BEFORE).await;
        restarted = Some(SystemClock.now_ms());
        before = waiting.of_stack_alone();
        roles = stage.start_roles(1).await?;
        timeline = Timeline::of(roles.pids());
    }
    reader::until_holding(servers, &stage.outputs, args.records, PATIENCE + room).await?;
    let after = Taken::now(&roles, &stack).await?;
    let usd = usd_per_million(&roles, args.records).await?;
    drop(roles);
    let again = Duration::from_secs(5);
    let seen = reader::read(servers, &stage.outputs, args.records, again).await?;
    let drain_s = (seen.last_ms - due_ms) as f64 / 1000.0;
    let drain_per_s = f64::from(seen.published) / drain_s.max(0.001);
    let scenario = if args.restart { "restart" } else { "burst" };
    let summary = json!({
        "scenario": scenario,
        "tiers": args.tiers.name(), "records": args.records, "record_bytes": args.record_bytes,
        "intake_records_per_s": (records / intake_s).round(), "all_taken_in_before_due": in_time,
        "records_per_s": drain_per_s.round(), "drain_s": rounded(drain_s),
        "ratio_to_copy": rounded(drain_per_s / limit.records_per_s()),
        "memory_mib_waiting": memory_waiting, "memory_mib": after.memory_mib(),
        "cpu_us_per_record": after.cpu_us_since(&before, args.records), "usd_per_million": usd,
        "restarted_full_speed_after_ms": restarted.map(|at_ms| full_speed_ms(&seen) - at_ms),
    });
    let result = together([published(&seen, &stage.outputs)?, limit.figures(), summary]);
    print(&result, args.output.json);
    let kept = seen.kept();
    let run = Drawn {
        seen,
        outputs: stage.outputs,
        from_ms: restarted.unwrap_or(roles_ms),
        memory: timeline.memory(),
    };
    let tiers = args.tiers.name();
    let caption = format!("{} records due at once, {tiers} tiers", args.records);
    args.output
        .draw(&format!("{scenario}-{tiers}"), &caption, &run)?;
    Ok(kept)
}

/// The beginning of the first second in which the speed was full, ms since the epoch.
fn full_speed_ms(seen: &Seen) -> i64 {
    let most = seen.by_second.values().copied().max().unwrap_or(0);
    let full = |records: u32| f64::from(records) >= f64::from(most) * FULL_SPEED;
    let seconds = seen.by_second.iter().filter(|(_, records)| full(**records));
    seconds.map(|(second, _)| second * 1000).min().unwrap_or(0)
}
