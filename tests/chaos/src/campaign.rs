//! One run: the stand under load and faults, then peace, then the reckoning.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use tokio::time::Instant;

use crate::inject::Injector;
use crate::load::{Confirmed, send};
use crate::offsets::Offsets;
use crate::oracle::Tally;
use crate::plan::{Slot, plan};
use crate::reader::Reader;
use crate::report::Report;
use crate::stand::{PARTITIONS, Stand, StandOptions};

/// What to run.
pub(crate) struct Campaign {
    pub(crate) seed: u64,
    pub(crate) lasts: Duration,
    pub(crate) rate_per_s: u32,
    pub(crate) delayq: Option<PathBuf>,
}

/// Something is still missing, and for this long nothing has come: the longest delay (30 s), each lease (12 s) more than
/// once, retries. Not a time in all: a machine that is busy with other things needs longer, and shows it by going on.
const STALLED: Duration = Duration::from_secs(90);
/// How long the last commits may take when all has come.
const COMMITTED_WITHIN: Duration = Duration::from_secs(60);
/// When everything has come, for this long no copy may come: what was not deleted is seen again after 12 s.
const QUIET: Duration = Duration::from_secs(18);

/// Runs it; the report says what held. An error: the stand itself failed.
pub(crate) async fn run(campaign: &Campaign) -> anyhow::Result<Report> {
    let stand = Arc::new(
        Stand::start(&StandOptions {
            seed: campaign.seed,
            compressed: true,
            slots: Slot::all(),
            keep_messages: true,
            delay_partitions: PARTITIONS,
            delayq: campaign.delayq.clone(),
            settings: Vec::new(),
        })
        .await?,
    );
    let ran = run_on(&stand, campaign).await;
    let passed = ran.as_ref().is_ok_and(Report::passed);
    if !passed {
        stand.stack.keep();
    }
    let dir = stand.dir.display().to_string();
    let mut report = ran.with_context(|| format!("logs and data: {dir}"))?;
    report.kept = (!passed).then_some(dir);
    Ok(report)
}

async fn run_on(stand: &Arc<Stand>, campaign: &Campaign) -> anyhow::Result<Report> {
    let offsets = stand.offsets(PARTITIONS)?;
    offsets.watch();
    for slot in stand.fleet.slots() {
        stand.fleet.start(slot).await?;
    }
    let confirmed = Confirmed::default();
    let load = stand.load(campaign.seed, campaign.rate_per_s, campaign.lasts)?;
    let injector = Arc::new(Injector::new(stand.clone(), offsets.clone()));
    let planned = plan(campaign.seed, campaign.lasts);
    let (sent, injected) = tokio::join!(send(&load, confirmed.clone()), injector.run(&planned));
    let sent = sent?;
    injected?;
    tracing::info!(sent, "the faults are over");
    let confirmed = confirmed.all();
    let (tally, uncommitted) = settle(stand, campaign.seed, &confirmed, &offsets).await?;
    // Who broke down in the settling is told too.
    injector.run(&[]).await?;
    let done = injector.done();
    let verdict = tally.judge(&confirmed, &offsets.last(), &stand.ledger, &done);
    Ok(Report {
        seed: campaign.seed,
        seconds: campaign.lasts.as_secs(),
        sent: sent.into(),
        confirmed: confirmed.iter().flatten().count() as u64,
        verdict,
        done,
        hits: stand.lines.values().flat_map(|line| line.hits()).collect(),
        uncommitted,
        kept: None,
    })
}

/// Reads until all is there and no more comes, or patience ends.
pub(crate) async fn settle<'a>(
    stand: &'a Stand,
    seed: u64,
    confirmed: &[Option<(i32, i64)>],
    offsets: &Offsets,
) -> anyhow::Result<(Tally<'a>, i64)> {
    let dead = &stand.config.topics.dead_letter;
    let topics: Vec<_> = stand.outputs.iter().chain([dead]).cloned().collect();
    let reader = Reader::new(&stand.stack.endpoints().kafka, &topics)?;
    let mut tally = Tally::new(seed, &stand.target, dead);
    let mut missing: std::collections::HashSet<u32> = (0..)
        .zip(confirmed)
        .filter_map(|(n, id)| id.map(|_| n))
        .collect();
    let mut quiet_from = Instant::now();
    loop {
        let all_here = missing.is_empty();
        let patience = if all_here { QUIET } else { STALLED };
        let Some(arrived) = reader.next(quiet_from + patience).await else {
            break;
        };
        quiet_from = Instant::now();
        if let Some(n) = tally.take(&arrived) {
            missing.remove(&n);
        }
    }
    let until = Instant::now() + COMMITTED_WITHIN;
    let mut uncommitted = offsets.behind().await?;
    while uncommitted != 0 && Instant::now() < until {
        tokio::time::sleep(Duration::from_millis(500)).await;
        uncommitted = offsets.behind().await?;
    }
    Ok((tally, uncommitted))
}
