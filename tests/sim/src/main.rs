//! `delayq-sim`: runs seeds of the simulation. Exit code 1 if a promise broke, 2 for wrong arguments.

use std::process::ExitCode;

use anyhow::Context as _;
use clap::Parser;
use delayq_sim::campaign::{self, Campaign};
use delayq_sim::plan::Plan;
use delayq_sim::report::{Report, SeedReport};
use delayq_sim::{entropy, world};
use tracing_subscriber::EnvFilter;

/// Simulates delayq: its real router, scheduler and emitter, on virtual time, under faults, repeatable by seed.
#[derive(Debug, Parser)]
#[command(name = "delayq-sim", version)]
struct Arguments {
    /// Number of seeds.
    #[arg(long, default_value_t = 200, value_parser = clap::value_parser!(u64).range(1..))]
    seeds: u64,
    /// The first seed.
    #[arg(long, default_value_t = 0)]
    first_seed: u64,
    /// Run this one seed alone, in this process.
    #[arg(long, conflicts_with_all = ["seeds", "first_seed", "workers"])]
    seed: Option<u64>,
    /// Seeds at once. Default: one for each processor.
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..))]
    workers: Option<u16>,
    /// End with one line of JSON, and nothing else on stdout.
    #[arg(long)]
    json: bool,
    /// What to log of one seed, such as `delayq_sim::history=debug` or `debug`; on stderr.
    #[arg(long, requires = "seed", value_name = "FILTER")]
    log: Option<String>,
}

fn main() -> anyhow::Result<ExitCode> {
    let arguments = Arguments::parse();
    match arguments.seed {
        Some(seed) => one(seed, &arguments),
        None => many(&arguments),
    }
}

#[allow(clippy::print_stdout, reason = "the result is this program's output")]
fn one(seed: u64, arguments: &Arguments) -> anyhow::Result<ExitCode> {
    if let Some(filter) = &arguments.log {
        tracing_subscriber::fmt()
            .with_env_filter(EnvFilter::try_new(filter).context("--log")?)
            .with_writer(std::io::stderr)
            .without_time()
            .init();
    }
    // In a thread of its own: hash maps are seeded once a thread, and what came before must not matter.
    let simulated = std::thread::spawn(move || simulate(seed)).join();
    let report = simulated.map_err(|_| anyhow::anyhow!("the simulation panicked"))??;
    if arguments.json {
        println!("{}", serde_json::to_string(&report)?);
    } else {
        print_seed(&report);
    }
    Ok(exit_code(report.failed()))
}

fn simulate(seed: u64) -> anyhow::Result<SeedReport> {
    entropy::start(seed);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()?;
    Ok(runtime.block_on(world::run(Plan::of(seed))))
}

fn exit_code(failed: bool) -> ExitCode {
    if failed {
        ExitCode::from(1)
    } else {
        ExitCode::SUCCESS
    }
}

fn many(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    let processors = std::thread::available_parallelism().map_or(1, usize::from);
    let campaign = Campaign {
        first_seed: arguments.first_seed,
        seeds: arguments.seeds,
        workers: arguments.workers.map_or(processors, usize::from),
    };
    let exe = std::env::current_exe().context("this program's own path")?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let report = runtime.block_on(campaign::run(&exe, campaign, |seed, findings| {
        tell(seed, findings);
    }))?;
    print_report(&report, arguments.json)?;
    Ok(exit_code(!report.failed_seeds.is_empty()))
}

/// Most findings shown of a seed.
const SHOWN: usize = 5;

#[allow(clippy::print_stderr, reason = "progress of a campaign")]
fn tell(seed: u64, findings: &[String]) {
    eprintln!(
        "seed {seed} breaks a promise; again: delayq-sim --seed {seed} --log delayq_sim::history=debug"
    );
    for finding in findings.iter().take(SHOWN) {
        eprintln!("  {finding}");
    }
    if findings.len() > SHOWN {
        eprintln!("  and {} more", findings.len() - SHOWN);
    }
}

#[allow(clippy::print_stdout, reason = "the result is this program's output")]
fn print_seed(report: &SeedReport) {
    println!(
        "seed {} ({:?}): {} records, {} published, {} dead-lettered, {} superseded, {} cancelled, {} cancels, {} lost, {} early, {} duplicates ({} unexplained), digest {:016x} of {} events",
        report.seed,
        report.profile,
        report.records,
        report.published,
        report.dead_lettered,
        report.superseded,
        report.cancelled,
        report.cancels,
        report.lost,
        report.early,
        report.duplicates,
        report.unexplained_duplicates,
        report.digest,
        report.events
    );
    for finding in &report.findings {
        println!("  {finding}");
    }
}

#[allow(clippy::print_stdout, reason = "the result is this program's output")]
fn print_report(report: &Report, json: bool) -> anyhow::Result<()> {
    if json {
        println!("{}", serde_json::to_string(report)?);
        return Ok(());
    }
    println!("{}", serde_json::to_string_pretty(report)?);
    Ok(())
}
