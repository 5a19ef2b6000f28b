//! `delayq upcoming`: what comes due.

use std::time::Duration;

use delayq_aws::{DynamoTallyStore, Names};
use delayq_console::upcoming::{Span, count};
use delayq_core::clock::{Clock as _, SystemClock};
use delayq_runtime::config::Config;
use humantime::format_duration;
use serde_json::json;

use super::Ended;
use crate::operator::{Output, clients};
use crate::send::local;

/// Arguments.
#[derive(Debug, Clone, clap::Args)]
pub struct UpcomingArgs {
    /// How far ahead, such as 1h, 24h, 7d.
    #[arg(long = "for", value_name = "TIME", default_value = "1h", value_parser = humantime::parse_duration)]
    pub ahead: Duration,
    /// Length of a bucket, such as 1m, 1h; at least a minute. Default: as fits.
    #[arg(long, value_name = "TIME", value_parser = humantime::parse_duration)]
    pub bucket: Option<Duration>,
    /// A JSON object.
    #[arg(long)]
    pub json: bool,
}

/// Counts all records that wait, by time, output topic and priority.
///
/// # Errors
/// Times that make no sense; DynamoDB does not answer or refuses; standard output is closed.
pub async fn upcoming(
    config: &Config,
    args: &UpcomingArgs,
    output: &mut Output<'_>,
) -> anyhow::Result<Ended> {
    let ms = |time: Duration| i64::try_from(time.as_millis()).unwrap_or(i64::MAX);
    let span = Span::new(Some(ms(args.ahead)), args.bucket.map(ms)).map_err(anyhow::Error::msg)?;
    let clients = clients(config).await?;
    let store = DynamoTallyStore::new(&clients, &Names::with_prefix(&config.aws.prefix).tables);
    let upcoming = count(&store, span, SystemClock.now_ms()).await?;
    if output.json {
        (output.out)(&json!(upcoming).to_string())?;
        return Ok(Ended::Done);
    }
    for bucket in &upcoming.buckets {
        for one in &bucket.counts {
            (output.out)(&format!(
                "{}  {:>10}  {:<8}  {}",
                local(bucket.from_ms),
                one.count,
                one.priority,
                one.output_topic
            ))?;
        }
    }
    if upcoming.buckets.is_empty() {
        let ahead = format_duration(span.ahead());
        (output.note)(&format!("nothing comes due within {ahead}"))?;
    } else if !upcoming.exact {
        (output.note)(
            "some due times are not known as finely as that: their counts are spread evenly",
        )?;
    }
    if upcoming.unreadable > 0 {
        (output.note)(&format!(
            "{} parts of the counts could not be read: what they hold is missing",
            upcoming.unreadable
        ))?;
    }
    Ok(Ended::Done)
}
