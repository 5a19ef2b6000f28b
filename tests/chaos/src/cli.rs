//! The command line.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};
use serde_json::Value;

use crate::away::{self, AwayArgs};
use crate::backlog::{self, BacklogArgs};
use crate::campaign::{self, Campaign};
use crate::roles::AS_DELAYQ;
use crate::upgrade::{self, UpgradeArgs};

/// Hurts delayq: its roles as processes over the real stack, killed, stopped and cut off at random from a seed, under
/// load; then compares what came out with what went in. Exit code 1 if a promise broke.
#[derive(Debug, Parser)]
#[command(name = "delayq-chaos", version, args_conflicts_with_subcommands = true)]
struct Cli {
    #[command(subcommand)]
    command: Option<Scenario>,
    #[command(flatten)]
    campaign: CampaignArgs,
}

#[derive(Debug, Subcommand)]
enum Scenario {
    /// Resident memory of each role while millions of records wait in the delay topic and SQS is slow. Exit code 1 above
    /// the limit.
    Backlog(BacklogArgs),
    /// Lateness of short records with DynamoDB away and with it healthy, and how many pass before one partition stands.
    Away(AwayArgs),
    /// A rolling upgrade from another binary and back, under load, old and new side by side: nothing may be lost, early or repeated.
    Upgrade(UpgradeArgs),
}

#[derive(Debug, Args)]
struct CampaignArgs {
    /// How long load and faults last; the settling after it takes about a minute more.
    #[arg(long = "for", default_value = "180s", value_name = "DURATION", value_parser = lasts)]
    lasts: Duration,
    /// What happens to whom and when.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Records per second.
    #[arg(long, default_value_t = 300, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=5_000))]
    rate: u32,
    /// The binary whose roles are run. Default: this one.
    #[arg(long, value_name = "FILE")]
    delayq: Option<PathBuf>,
    /// Print one JSON object instead of a table.
    #[arg(long)]
    json: bool,
}

/// Less leaves no time for a fault after the calm start.
const SHORTEST: Duration = Duration::from_secs(20);

fn lasts(text: &str) -> Result<Duration, String> {
    let lasts = humantime::parse_duration(text)
        .map_err(|error| format!("{error}; write it as 180s or 10m"))?;
    if lasts < SHORTEST || lasts > Duration::from_secs(24 * 3600) {
        return Err("choose 20s to 24h".to_owned());
    }
    Ok(lasts)
}

/// Exit codes of the campaign: a promise broke; the run itself failed; Ctrl-C.
const BROKEN: u8 = 1;
const FAILED: u8 = 3;
const INTERRUPTED: u8 = 130;
/// How long Ctrl-C waits for processes to be gone and the work directory to be removed.
const LAST_CHANCE: Duration = Duration::from_secs(10);

/// What the binary does.
#[must_use]
pub fn main() -> ExitCode {
    // As a role: the very code of the binary `delayq`, with its arguments.
    if std::env::args().nth(1).as_deref() == Some(AS_DELAYQ) {
        let arguments = std::env::args().skip(1);
        return delayq::cli::run_to_end(delayq::cli::Cli::parse_from(arguments));
    }
    let cli = Cli::parse();
    let runtime = match tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
    {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("delayq-chaos: cannot start its threads: {error}");
            return ExitCode::from(FAILED);
        }
    };
    let code = runtime.block_on(async {
        // A task of its own: one that never waits must not keep the signal from being seen.
        let mut run = tokio::spawn(execute(cli));
        tokio::select! {
            code = &mut run => code.unwrap_or_else(|error| {
                eprintln!("delayq-chaos: {error}");
                FAILED
            }),
            signal = tokio::signal::ctrl_c() => {
                if let Err(error) = signal {
                    eprintln!("delayq-chaos: {error}");
                }
                // Everything started ends with what is dropped here, and at the latest with this process.
                run.abort();
                match tokio::time::timeout(LAST_CHANCE, run).await {
                    Ok(Ok(code)) => code,
                    Ok(Err(_)) | Err(_) => INTERRUPTED,
                }
            }
        }
    });
    runtime.shutdown_background();
    ExitCode::from(code)
}

async fn execute(cli: Cli) -> u8 {
    let filter = std::env::var("DELAYQ_TEST_LOG").unwrap_or_else(|_| "warn".to_owned());
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .init();
    let ran = match cli.command {
        None => run_campaign(&cli.campaign).await,
        Some(Scenario::Backlog(args)) => backlog::run(&args)
            .await
            .map(|(result, passed)| told(&result, args.json, passed)),
        Some(Scenario::Away(args)) => away::run(&args)
            .await
            .map(|(result, passed)| told(&result, args.json, passed)),
        Some(Scenario::Upgrade(args)) => upgrade::run(&args)
            .await
            .map(|(result, passed)| told(&result, args.json, passed)),
    };
    match ran {
        Ok(true) => 0,
        Ok(false) => BROKEN,
        Err(error) => {
            eprintln!("delayq-chaos: {error:#}");
            FAILED
        }
    }
}

async fn run_campaign(args: &CampaignArgs) -> anyhow::Result<bool> {
    let report = campaign::run(&Campaign {
        seed: args.seed,
        lasts: args.lasts,
        rate_per_s: args.rate,
        delayq: args.delayq.clone(),
    })
    .await?;
    print(&if args.json {
        report.json().to_string()
    } else {
        report.table()
    });
    Ok(report.passed())
}

fn told(result: &Value, json: bool, passed: bool) -> bool {
    print(&if json {
        result.to_string()
    } else {
        format!("{result:#}")
    });
    passed
}

#[allow(clippy::print_stdout, reason = "the result of the command")]
fn print(text: &str) {
    println!("{text}");
}
