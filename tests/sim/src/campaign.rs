//! Many seeds, each in a process of its own: it begins with the same entropy wherever it runs, and a hang or a crash of one is
//! only its own.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use anyhow::Context as _;
use tokio::process::Command;
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout};

use crate::report::{Report, SeedReport};

/// Longest time of one seed on this machine.
const SEED_WITHIN: Duration = Duration::from_secs(600);

/// Which seeds, and how.
#[derive(Debug, Clone, Copy)]
pub struct Campaign {
    /// The first.
    pub first_seed: u64,
    /// How many.
    pub seeds: u64,
    /// At once.
    pub workers: usize,
}

/// What became of one seed.
enum Ran {
    Report(Box<SeedReport>),
    Broken(String),
}

/// Runs all seeds with the program `exe`; `failed` is told of each that breaks a promise, as soon as it does.
///
/// # Errors
/// The program cannot be started.
pub async fn run(
    exe: &Path,
    campaign: Campaign,
    mut failed: impl FnMut(u64, &[String]),
) -> anyhow::Result<Report> {
    let started = Instant::now();
    let mut report = Report::default();
    let mut waiting = campaign.first_seed..campaign.first_seed.saturating_add(campaign.seeds);
    let mut running = JoinSet::new();
    // In order of seeds, whichever ends first.
    let mut ended = BTreeMap::new();
    let mut next = campaign.first_seed;
    loop {
        while running.len() < campaign.workers.max(1)
            && let Some(seed) = waiting.next()
        {
            let exe = exe.to_owned();
            running.spawn(async move { one(&exe, seed).await.map(|ran| (seed, ran)) });
        }
        let Some(done) = running.join_next().await else {
            break;
        };
        let (seed, ran) = done.context("a seed")??;
        ended.insert(seed, ran);
        while let Some(ran) = ended.remove(&next) {
            match ran {
                Ran::Report(one) => {
                    if one.failed() {
                        failed(next, &one.findings);
                    }
                    report.add(&one);
                }
                Ran::Broken(how) => {
                    failed(next, &[how]);
                    report.add_broken(next);
                }
            }
            next += 1;
        }
    }
    let seconds = started.elapsed().as_secs_f64();
    report.seeds_per_s = report.seeds as f64 / seconds;
    report.virtual_days_per_s = report.virtual_days / seconds;
    Ok(report)
}

async fn one(exe: &Path, seed: u64) -> anyhow::Result<Ran> {
    let mut command = Command::new(exe);
    command
        .args(["--seed", &seed.to_string(), "--json"])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true);
    let child = command
        .spawn()
        .with_context(|| format!("start {}", exe.display()))?;
    let Ok(output) = timeout(SEED_WITHIN, child.wait_with_output()).await else {
        return Ok(Ran::Broken(format!(
            "it hangs: no end within {SEED_WITHIN:?}"
        )));
    };
    let output = output.context("wait for a seed")?;
    Ok(match serde_json::from_slice(&output.stdout) {
        Ok(report) => Ran::Report(Box::new(report)),
        Err(_) => {
            let stderr = String::from_utf8_lossy(&output.stderr);
            Ran::Broken(format!("{}: {}", output.status, stderr.trim()))
        }
    })
}
