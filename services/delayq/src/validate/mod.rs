//! `delayq validate`: does a running deployment do what is promised? Records in, records out, point by point.

mod deployment;
mod points;
mod probe;
mod reader;
mod report;

use std::time::Duration;

use anyhow::Context as _;
use delayq_runtime::config::Config;
use tokio_util::sync::CancellationToken;

use deployment::Subject;
use points::Points;
pub use report::{Point, Report};

/// Arguments.
#[derive(Debug, Clone, clap::Args)]
pub struct ValidateArgs {
    /// The console of the deployment, such as http://127.0.0.1:8081. Without it a deployment of its own is made: an embedded broker,
    /// both tiers in memory, all roles and a console.
    #[arg(long, value_name = "URL")]
    pub console: Option<String>,
    /// The token of console.operator_token.
    #[arg(
        long,
        value_name = "TOKEN",
        env = "DELAYQ_CONSOLE__OPERATOR_TOKEN",
        requires = "console"
    )]
    pub token: Option<String>,
    /// The target that records are sent to; its output topics must exist, and nobody else's consumer should mind the records. Needed
    /// with --console.
    #[arg(long, value_name = "TARGET", requires = "console")]
    pub target: Option<String>,
    /// Longest delay that is tried: beyond delays.short it goes through the long tier.
    #[arg(long, value_name = "DURATION", value_parser = humantime::parse_duration, default_value = "20s")]
    pub longest: Duration,
    /// Print the report as one JSON object, the last line of stdout.
    #[arg(long)]
    pub json: bool,
}

/// Tries every point; `Ok` also when some fail: the report says so.
///
/// # Errors
/// The deployment cannot be reached, or none of its own can be started.
pub async fn validate(
    config: Option<Config>,
    args: &ValidateArgs,
    tell: &mut (dyn FnMut(&Point) + Send),
) -> anyhow::Result<Report> {
    let stop = CancellationToken::new();
    let subject = match (config, &args.console) {
        (Some(config), Some(url)) => {
            let target = args
                .target
                .clone()
                .context("--console needs --target: the target that records are sent to")?;
            Subject::running(config, url, args.token.clone(), target)
        }
        _ => Subject::of_its_own(stop.clone()).await?,
    };
    let points = Points::new(&subject, args.longest).await?;
    let report = points.run(tell).await;
    stop.cancel();
    subject.ended().await?;
    Ok(report)
}
