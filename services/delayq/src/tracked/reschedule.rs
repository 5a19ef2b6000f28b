//! `delayq reschedule`: another due time for a record that waits.

use std::time::Duration;

use anyhow::{Context as _, bail};
use chrono::DateTime;
use delayq_console::operations::Rescheduled;
use delayq_core::clock::{Clock as _, EpochMs, SystemClock};
use delayq_core::record::Record;
use delayq_core::tracked::{MessageRow, State, Version};
use delayq_kafka::{SinkSettings, send_one};
use delayq_runtime::config::Config;
use serde_json::json;

use super::replace::{again, decided};
use super::{Desk, Ended, view};
use crate::cluster;
use crate::operator::Output;
use crate::send::local;
use crate::settings;

/// How long the broker may take to confirm the record.
const CONFIRM: Duration = Duration::from_secs(10);

/// Arguments.
#[derive(Debug, Clone, clap::Args)]
#[command(group = clap::ArgGroup::new("due").required(true))]
pub struct RescheduleArgs {
    /// The id (delay-id).
    #[arg(value_name = "ID")]
    pub id: String,
    /// Due this long from now: 5s, 30m, 2d.
    #[arg(long, value_name = "DURATION", value_parser = humantime::parse_duration, group = "due")]
    pub delay: Option<Duration>,
    /// Due at this time: RFC 3339 with offset, 2026-01-31T08:00:00+01:00.
    #[arg(long, value_name = "TIME", group = "due")]
    pub at: Option<String>,
    /// Due at this time: milliseconds since 1970.
    #[arg(long, value_name = "MS", group = "due")]
    pub at_ms: Option<i64>,
    /// The delay topic. Default: the first of topics.delay.
    #[arg(long, value_name = "TOPIC")]
    pub topic: Option<String>,
    /// How long a router may take to read it.
    #[arg(long, value_name = "DURATION", value_parser = humantime::parse_duration, default_value = "10s")]
    pub wait: Duration,
    /// A JSON object.
    #[arg(long)]
    pub json: bool,
}

impl RescheduleArgs {
    fn due_ms(&self, now_ms: EpochMs) -> anyhow::Result<EpochMs> {
        if let Some(at) = &self.at {
            let time = DateTime::parse_from_rfc3339(at);
            let time = time.with_context(|| {
                format!("--at {at:?} is no time in RFC 3339 with offset, such as 2026-01-31T08:00:00+01:00")
            })?;
            return Ok(time.timestamp_millis());
        }
        let delay_ms = self
            .delay
            .map(|delay| i64::try_from(delay.as_millis()).unwrap_or(i64::MAX));
        Ok(self
            .at_ms
            .unwrap_or_else(|| now_ms.saturating_add(delay_ms.unwrap_or(0))))
    }
}

/// Reschedules a record and waits for the router's word on it.
///
/// # Errors
/// A time that is none, a topic that is not configured, a record that would be refused or is gone from the delay topic, Kafka or
/// DynamoDB do not answer, or no router has read it in time: then it will be rescheduled once one does, if it still waits then.
pub async fn reschedule(
    config: &Config,
    args: &RescheduleArgs,
    output: &mut Output<'_>,
) -> anyhow::Result<Ended> {
    let due_ms = args.due_ms(SystemClock.now_ms())?;
    let desk = Desk::open(config, args.topic.as_deref()).await?;
    let key = desk.key(&args.id);
    let Some(row) = desk.registry.read(&key).await? else {
        output.result(
            &format!(
                "{}  unknown: no record with this id has been read from {}",
                args.id, desk.topic
            ),
            &json!({"id": args.id, "topic": *desk.topic, "answer": "unknown"}),
        )?;
        return Ok(Ended::Unknown);
    };
    if row.state != State::Scheduled {
        return tell(&row, Rescheduled::TooLate, output);
    }
    let policy = settings::policy(config)?;
    let record = again(config, &policy, &row, due_ms).await?;
    let version = write(config, &row, &record).await?;
    match decided(desk.registry.as_ref(), &row, &version, args.wait).await? {
        Some((outcome, row)) => tell(&row, outcome, output),
        None => bail!(
            "written as {}, but no router has read it within {:?}: it is rescheduled to {} once one does, if it still waits then (delayq status {} tells)",
            version.source(&key.topic),
            args.wait,
            local(due_ms),
            args.id
        ),
    }
}

/// Writes the record where the one was that it replaces.
async fn write(config: &Config, row: &MessageRow, record: &Record) -> anyhow::Result<Version> {
    let sink = SinkSettings {
        linger_ms: 0,
        message_timeout: CONFIRM,
        ..settings::sink(config)
    };
    let partition = Some(row.version.partition);
    let kafka = cluster::kafka(config).await?;
    let sent = send_one(&kafka, &sink, &row.key.topic, partition, record).await?;
    Ok(Version {
        partition: sent.partition,
        offset: sent.offset,
        appended_ms: sent.timestamp_ms.unwrap_or_else(|| SystemClock.now_ms()),
    })
}

fn tell(row: &MessageRow, outcome: Rescheduled, output: &mut Output<'_>) -> anyhow::Result<Ended> {
    let object = view::answer(outcome.as_str(), row);
    let what = match outcome {
        Rescheduled::Rescheduled => "rescheduled",
        Rescheduled::TooLate => "not rescheduled",
        Rescheduled::Superseded => "not rescheduled, a later record has its id",
    };
    let line = format!("{what}: {}", view::line(row, SystemClock.now_ms()));
    output.result(&line, &object)?;
    Ok(match outcome {
        Rescheduled::Rescheduled => Ended::Done,
        Rescheduled::TooLate | Rescheduled::Superseded => Ended::TooLate,
    })
}
