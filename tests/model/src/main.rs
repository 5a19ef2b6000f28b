//! Explores the closing protocol, and prints how many states there are and what was found. Exit code 1 if a batch is lost.

use std::io::Write as _;
use std::process::ExitCode;

use clap::{Parser, ValueEnum};
use delayq_model::{Bounds, explore};

#[derive(Clone, Copy, ValueEnum)]
enum Size {
    /// What CI explores: two routers, two schedulers, three batches, two buckets.
    Standard,
    /// Four batches: each router writes to both buckets.
    Large,
    /// One scheduler, clocks that are off by a minute, 25 minutes in steps of 30 s.
    Clocks,
}

/// Explores every order of the steps of routers and schedulers while buckets are closed.
#[derive(Parser)]
struct Args {
    /// How many batches.
    #[arg(value_enum, default_value = "standard")]
    size: Size,
    /// Crashes, lapsed leases, failed and unanswered calls, in all.
    #[arg(long, default_value_t = 2)]
    faults: u8,
    /// Schedulers.
    #[arg(long)]
    schedulers: Option<usize>,
    /// Threads.
    #[arg(long, default_value_t = 2)]
    threads: usize,
}

fn main() -> anyhow::Result<ExitCode> {
    let args = Args::parse();
    let mut bounds = match args.size {
        Size::Standard => Bounds::standard(),
        Size::Large => Bounds::large(),
        Size::Clocks => Bounds::clocks(60_000, 30_000),
    }
    .with_faults(args.faults);
    if let Some(schedulers) = args.schedulers {
        bounds.schedulers = schedulers;
    }
    let found = explore(bounds, args.threads);
    let mut out = std::io::stdout().lock();
    writeln!(
        out,
        "{} states, {} transitions, depth {}",
        found.unique_states, found.transitions, found.depth
    )?;
    for (moment, steps) in &found.reached {
        writeln!(out, "reached: {moment} (after {steps} steps)")?;
    }
    if found.failed.is_empty() {
        writeln!(out, "no batch is lost, and every batch is sent in the end")?;
        return Ok(ExitCode::SUCCESS);
    }
    for (property, steps) in &found.failed {
        writeln!(out, "FAILED: {property}")?;
        for (number, action) in (1..).zip(steps) {
            writeln!(out, "{number:4} {action:?}")?;
        }
    }
    Ok(ExitCode::FAILURE)
}
