//! `delayq reschedule`: the record again, with another due time, in the place of the one that waits.
//!
//! The record itself is where its producer wrote it, in the delay topic: it is read there and written once more, on the condition
//! (`delay-replaces`) that the one whose place it takes still waits. So exactly one of them comes out, and which is the answer.

use std::time::Duration;

use anyhow::{Context as _, bail};
use chrono::DateTime;
use delayq_core::clock::{Clock as _, EpochMs, SystemClock};
use delayq_core::headers::HeaderNames;
use delayq_core::record::{Header, Record};
use delayq_core::tracked::{MessageRow, State, Version};
use delayq_kafka::{SinkSettings, TopicLog, send_one};
use delayq_runtime::config::Config;
use serde_json::{Map, Value, json};
use tokio::time::Instant;

use super::{Desk, Ended, view};
use crate::operator::Output;
use crate::send::{describe, local};
use crate::settings;

/// How long the broker may take to answer at all, and then to confirm the record.
const ANSWER: Duration = Duration::from_secs(4);
const CONFIRM: Duration = Duration::from_secs(10);
/// How often it is looked whether a router has read the record.
const LOOK_EVERY: Duration = Duration::from_millis(50);

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

/// What became of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Outcome {
    /// It comes out at its new time, and not at the old one.
    Rescheduled,
    /// The earlier one is what holds.
    TooLate,
    /// A later record has the id.
    Superseded,
}

impl Outcome {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Rescheduled => "rescheduled",
            Self::TooLate => "too_late",
            Self::Superseded => "superseded",
        }
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
        return tell(&row, Outcome::TooLate, output);
    }
    let version = send_again(config, &desk, &row, due_ms).await?;
    let until = Instant::now() + args.wait;
    loop {
        // A row does not go away so soon.
        let row = desk
            .registry
            .read(&key)
            .await?
            .unwrap_or_else(|| row.clone());
        if let Some(outcome) = outcome(&row, &version) {
            return tell(&row, outcome, output);
        }
        if Instant::now() >= until {
            bail!(
                "written as {}, but no router has read it within {:?}: it is rescheduled to {} once one does, if it still waits then (delayq status {} tells)",
                version.source(&key.topic),
                args.wait,
                local(due_ms),
                args.id
            );
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

/// What the row says of the record that was written as `version`; `None` while no router has read it.
fn outcome(row: &MessageRow, version: &Version) -> Option<Outcome> {
    if row.version.is_same(version) {
        return Some(Outcome::Rescheduled);
    }
    match (row.version.order(version), &row.state) {
        (std::cmp::Ordering::Greater, _) => Some(Outcome::Superseded),
        (_, State::Scheduled) => None,
        _ => Some(Outcome::TooLate),
    }
}

fn tell(row: &MessageRow, outcome: Outcome, output: &mut Output<'_>) -> anyhow::Result<Ended> {
    let mut object: Map<String, Value> = view::json(row);
    object.insert("answer".to_owned(), json!(outcome.as_str()));
    let what = match outcome {
        Outcome::Rescheduled => "rescheduled",
        Outcome::TooLate => "not rescheduled",
        Outcome::Superseded => "not rescheduled, a later record has its id",
    };
    let line = format!("{what}: {}", view::line(row, SystemClock.now_ms()));
    output.result(&line, &Value::Object(object))?;
    Ok(match outcome {
        Outcome::Rescheduled => Ended::Done,
        Outcome::TooLate | Outcome::Superseded => Ended::TooLate,
    })
}

/// Writes the record again, where it was.
async fn send_again(
    config: &Config,
    desk: &Desk,
    row: &MessageRow,
    due_ms: EpochMs,
) -> anyhow::Result<Version> {
    let policy = settings::policy(config)?;
    let kafka = settings::kafka(config);
    let mut log = TopicLog::open(&kafka, &config.kafka.group_id, &desk.topic, ANSWER)
        .await?
        .with_context(|| format!("delay topic {} does not exist", desk.topic))?;
    let source = row.version.source(&desk.topic);
    log.seek(row.version.partition, row.version.offset)?;
    let found = log
        .read()
        .await?
        .into_iter()
        .find(|one| one.source.offset == row.version.offset);
    let Some(incoming) = found else {
        bail!(
            "{source} is gone from the delay topic (retention.ms), so that it cannot be written again: send a new record with the id {}, which takes its place",
            row.key.id
        );
    };
    let record = with_due_time(incoming.record, &policy.names, due_ms, &row.version);
    if let Err(refusal) = describe(&policy, &record, &desk.topic, None) {
        bail!("not rescheduled, it would be refused: {refusal}");
    }
    let sink = SinkSettings {
        linger_ms: 0,
        message_timeout: CONFIRM,
        ..settings::sink(config)
    };
    let partition = Some(row.version.partition);
    let sent = send_one(&kafka, &sink, &desk.topic, partition, &record).await?;
    Ok(Version {
        partition: sent.partition,
        offset: sent.offset,
        appended_ms: sent.timestamp_ms.unwrap_or_else(|| SystemClock.now_ms()),
    })
}

/// The record with another due time, in the place of `replaced`.
fn with_due_time(
    mut record: Record,
    names: &HeaderNames,
    due_ms: EpochMs,
    replaced: &Version,
) -> Record {
    let gone = [
        Some(&names.delay_ms),
        Some(&names.deliver_at),
        Some(&names.deliver_at_ms),
        names.deliver_at_s.as_ref(),
        Some(&names.replaces),
    ];
    record
        .headers
        .retain(|header| !gone.iter().flatten().any(|name| header.name == **name));
    record.headers.extend([
        Header::text(names.deliver_at_ms.as_str(), due_ms.to_string()),
        Header::text(
            names.replaces.as_str(),
            format!("{}/{}", replaced.partition, replaced.offset),
        ),
    ]);
    record
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_record_stays_as_it_was_but_for_its_due_time() {
        let before = Record {
            headers: vec![
                Header::text("delay-target", "orders"),
                Header::text("delay-ms", "5000"),
                Header::text("delay-id", "o-1"),
                Header::text("trace", "1"),
                Header::text("delay-replaces", "0/1"),
            ],
            ..Record::default()
        };
        let replaced = Version {
            partition: 2,
            offset: 7,
            appended_ms: 0,
        };
        let after = with_due_time(
            before,
            &HeaderNames::default(),
            1_800_000_000_000,
            &replaced,
        );
        let expected = [
            Header::text("delay-target", "orders"),
            Header::text("delay-id", "o-1"),
            Header::text("trace", "1"),
            Header::text("deliver-at-ms", "1800000000000"),
            Header::text("delay-replaces", "2/7"),
        ];
        assert_eq!(after.headers, expected);
    }
}
