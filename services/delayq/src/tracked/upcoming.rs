//! `delayq upcoming`: what comes due within the hour.

use delayq_console::upcoming::count;
use delayq_core::clock::{Clock as _, SystemClock};
use delayq_runtime::config::Config;
use serde_json::json;

use super::{Desk, Ended};
use crate::operator::Output;
use crate::send::local;

/// Arguments.
#[derive(Debug, Clone, clap::Args)]
pub struct UpcomingArgs {
    /// The delay topic. Default: the first of topics.delay.
    #[arg(long, value_name = "TOPIC")]
    pub topic: Option<String>,
    /// A JSON object.
    #[arg(long)]
    pub json: bool,
}

/// Counts tracked records by minute, output topic and priority.
///
/// # Errors
/// A topic that is not configured; DynamoDB does not answer or refuses; standard output is closed.
pub async fn upcoming(
    config: &Config,
    args: &UpcomingArgs,
    output: &mut Output<'_>,
) -> anyhow::Result<Ended> {
    let desk = Desk::open(config, args.topic.as_deref()).await?;
    let now_ms = SystemClock.now_ms();
    let upcoming = count(desk.index.as_ref(), desk.topic.clone(), now_ms).await?;
    if output.json {
        (output.out)(&json!(upcoming).to_string())?;
        return Ok(Ended::Done);
    }
    for bucket in &upcoming.buckets {
        for one in &bucket.counts {
            (output.out)(&format!(
                "{}  {:>6}  {}",
                local(bucket.from_ms),
                one.count,
                one.output_topic
            ))?;
        }
    }
    if upcoming.buckets.is_empty() {
        (output.note)("no tracked record comes due within the hour")?;
    }
    if !upcoming.exact {
        (output.note)("more come due than were counted: the first 5,000")?;
    }
    Ok(Ended::Done)
}
