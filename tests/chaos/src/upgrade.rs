//! A rolling upgrade under load, and back: old and new binaries side by side, one process after the other, in the order of the runbook.
//! Every stop is a clean one, so that nothing may be lost, early or repeated.

use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;
use delayq::role::Role;
use serde_json::{Value, json};
use tokio::time::sleep;

use crate::campaign::settle;
use crate::inject::Done;
use crate::load::{Confirmed, send};
use crate::oracle::Verdict;
use crate::plan::Slot;
use crate::roles::Stopped;
use crate::stand::{PARTITIONS, Stand, StandOptions};

/// Arguments.
#[derive(Debug, Args)]
pub(crate) struct UpgradeArgs {
    /// The binary `delayq` that runs before, and again after the way back.
    #[arg(long, value_name = "FILE")]
    old: PathBuf,
    /// The binary that it is upgraded to. Default: this one.
    #[arg(long, value_name = "FILE")]
    new: Option<PathBuf>,
    /// Records per second.
    #[arg(long, default_value_t = 200, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=5_000))]
    rate: u32,
    /// Of the records and their delays.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Print one JSON object.
    #[arg(long)]
    pub(crate) json: bool,
}

/// Who reads must know what is written.
const ORDER: [Role; 3] = [Role::Emitter, Role::Scheduler, Role::Router];
/// Between two processes, and how long all are of one version.
const APART: Duration = Duration::from_secs(2);
const TOGETHER: Duration = Duration::from_secs(12);
/// A clean stop takes at most what the roles' settings say, and a little.
const STOPPED_WITHIN: Duration = Duration::from_secs(30);
/// Longer than the twelve processes take, there and back; what is still due then comes out of the old version.
const LOAD: Duration = Duration::from_secs(90);

/// Runs it; whether all held. An error: the stand itself failed.
pub(crate) async fn run(args: &UpgradeArgs) -> anyhow::Result<(Value, bool)> {
    let stand = Stand::start(&StandOptions {
        seed: args.seed,
        compressed: true,
        slots: Slot::all(),
        keep_messages: false,
        delay_partitions: PARTITIONS,
        delayq: Some(args.old.clone()),
        settings: Vec::new(),
    })
    .await?;
    let ran = run_on(&stand, args).await;
    if !ran.as_ref().is_ok_and(|(_, passed)| *passed) {
        stand.stack.keep();
    }
    ran
}

async fn run_on(stand: &Stand, args: &UpgradeArgs) -> anyhow::Result<(Value, bool)> {
    let offsets = stand.offsets(PARTITIONS)?;
    offsets.watch();
    for slot in stand.fleet.slots() {
        stand.fleet.start(slot).await?;
    }
    let confirmed = Confirmed::default();
    let load = stand.load(args.seed, args.rate, LOAD)?;
    let (sent, unclean) = tokio::join!(send(&load, confirmed.clone()), there_and_back(stand, args));
    let (sent, unclean) = (sent?, unclean?);
    let confirmed = confirmed.all();
    let (tally, uncommitted) = settle(stand, args.seed, &confirmed, &offsets).await?;
    let ended = stand.fleet.ended().await?;
    let verdict = tally.judge(&confirmed, &offsets.last(), &stand.ledger, &Done::default());
    let passed = held(&verdict) && unclean.is_empty() && uncommitted == 0 && ended.is_empty();
    let result = json!({
        "sent": sent,
        "published": verdict.published,
        "dead_lettered": verdict.dead_lettered,
        "lost": verdict.lost,
        "waiting": verdict.waiting,
        "early": verdict.early,
        "altered": verdict.wrong,
        "duplicates": verdict.duplicates,
        "uncommitted": uncommitted,
        "not_stopped_cleanly": unclean,
        "ended_by_themselves": ended.iter().map(|(slot, _)| slot.to_string()).collect::<Vec<_>>(),
        "told": verdict.told,
        "logs": (!passed).then(|| stand.dir.display().to_string()),
    });
    Ok((result, passed))
}

fn held(verdict: &Verdict) -> bool {
    let broken = [
        verdict.lost,
        verdict.waiting,
        verdict.early,
        verdict.wrong,
        verdict.duplicates,
    ];
    broken.iter().all(|count| *count == 0)
}

/// The slots that did not stop cleanly.
async fn there_and_back(stand: &Stand, args: &UpgradeArgs) -> anyhow::Result<Vec<String>> {
    sleep(TOGETHER).await;
    let mut unclean = replace(stand, ORDER, args.new.as_deref()).await?;
    sleep(TOGETHER).await;
    let [first, second, third] = ORDER;
    unclean.extend(replace(stand, [third, second, first], Some(&args.old)).await?);
    Ok(unclean)
}

async fn replace(
    stand: &Stand,
    order: [Role; 3],
    binary: Option<&Path>,
) -> anyhow::Result<Vec<String>> {
    let mut unclean = Vec::new();
    for role in order {
        for slot in stand.fleet.slots().filter(|slot| slot.role == role) {
            let stopped = stand.fleet.replace(slot, binary, STOPPED_WITHIN).await?;
            if stopped == Stopped::Not {
                unclean.push(slot.to_string());
            }
            sleep(APART).await;
        }
    }
    Ok(unclean)
}
