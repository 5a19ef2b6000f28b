//! `delayq send`: writes one record to a delay topic, after looking at it as the router will.

use std::io::{IsTerminal as _, Read as _};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, bail};
use bytes::Bytes;
use chrono::{Local, SecondsFormat, TimeZone as _};
use delayq_core::clock::{Clock, EpochMs, SystemClock};
use delayq_core::headers::{HeaderNames, Refusal};
use delayq_core::record::{Header, Incoming, Record, Scheduled, Source, TopicPartition};
use delayq_core::route::{Decision, Policy, is_topic_name, route};
use delayq_kafka::{KafkaAdmin, Sent, SinkSettings, send_one};
use delayq_runtime::config::Config;

use crate::cluster;
use crate::settings;

/// How long the broker may take to answer at all, and then to confirm the record.
const ANSWER: Duration = Duration::from_secs(4);
const CONFIRM: Duration = Duration::from_secs(10);
/// A topic was seen to exist: no need to wait for it to appear.
const TOPIC_APPEARS: Duration = Duration::from_secs(2);

/// Arguments.
#[derive(Debug, Clone, Default, clap::Args)]
pub struct SendArgs {
    /// Target topic; without it, the target that the configuration has.
    #[arg(long, value_name = "TARGET")]
    pub target: Option<String>,
    /// Due this long after the broker has the record: 5s, 30m, 2d.
    #[arg(long, value_name = "DURATION", value_parser = humantime::parse_duration)]
    pub delay: Option<Duration>,
    /// Due at this time: RFC 3339 with offset, 2026-01-31T08:00:00+01:00.
    #[arg(long, value_name = "TIME", conflicts_with_all = ["delay", "at_ms"])]
    pub at: Option<String>,
    /// Due at this time: milliseconds since 1970.
    #[arg(long, value_name = "MS", conflicts_with = "delay")]
    pub at_ms: Option<i64>,
    /// high, standard, low, or 0 to 9.
    #[arg(long, value_name = "PRIORITY")]
    pub priority: Option<String>,
    /// The record's key. Default: the id, so that all records of an id are in one partition; else none.
    #[arg(long, value_name = "KEY")]
    pub key: Option<String>,
    /// A header, as name=value; may be repeated. Control headers may be given so, too.
    #[arg(long = "header", value_name = "NAME=VALUE", value_parser = header)]
    pub headers: Vec<(String, String)>,
    /// An id of your own (the header delay-id): the record can be looked up, cancelled and rescheduled.
    #[arg(long, value_name = "ID")]
    pub id: Option<String>,
    /// The delay topic. Default: the first of topics.delay.
    #[arg(long, value_name = "TOPIC")]
    pub topic: Option<String>,
    /// The value. Without --value and --file it is read from standard input, as it is.
    #[arg(
        long,
        value_name = "TEXT",
        conflicts_with = "file",
        allow_hyphen_values = true
    )]
    pub value: Option<String>,
    /// Take the value from this file.
    #[arg(long, value_name = "FILE")]
    pub file: Option<PathBuf>,
    /// Send it even though the router would refuse it.
    #[arg(long)]
    pub force: bool,
}

pub(crate) fn header(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.to_owned(), value.to_owned())),
        _ => Err("write it as name=value".to_owned()),
    }
}

/// What became of the record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// The broker has it; where, and what will happen to it.
    Sent(String),
    /// It was not sent, because the router would refuse it: why.
    Refused(String),
}

/// Sends one record and waits for the broker to confirm it.
///
/// # Errors
/// A value that cannot be read, a topic that is not configured or does not exist, a broker that does not answer (within
/// 10 s or so) or does not take the record.
pub async fn send(config: &Config, args: &SendArgs) -> anyhow::Result<Outcome> {
    let policy = settings::policy(config)?;
    let topic = topic(config, args)?;
    let record = Record {
        key: args
            .key
            .as_ref()
            .or(args.id.as_ref())
            .cloned()
            .map(Bytes::from),
        value: Some(value(args).await?),
        headers: headers(args, &policy.names),
    };
    let expected = describe(&policy, &record, topic, None);
    if let (Err(refusal), false) = (&expected, args.force) {
        return Ok(Outcome::Refused(refusal.clone()));
    }
    let kafka = cluster::kafka(config).await?;
    if KafkaAdmin::with_timeout(&kafka, ANSWER)?
        .layout(topic)
        .await?
        .is_none()
    {
        bail!("delay topic {topic} does not exist: run `delayq init`");
    }
    let sink = SinkSettings {
        linger_ms: 0,
        message_timeout: CONFIRM,
        unknown_topic_timeout: TOPIC_APPEARS,
        ..settings::sink(config)
    };
    let sent = send_one(&kafka, &sink, topic, None, &record).await?;
    let outlook = match describe(&policy, &record, topic, Some(sent)) {
        Ok(outlook) => outlook,
        Err(refusal) => format!(
            "will be refused ({refusal}) and appear in {}",
            config.topics.dead_letter
        ),
    };
    Ok(Outcome::Sent(format!(
        "{topic}/{}/{}, {outlook}",
        sent.partition, sent.offset
    )))
}

fn topic<'a>(config: &'a Config, args: &'a SendArgs) -> anyhow::Result<&'a str> {
    let known = &config.topics.delay;
    let topic = match &args.topic {
        Some(topic) => topic,
        None => known.first().context("topics.delay names no topic")?,
    };
    if !is_topic_name(topic) {
        bail!("{topic:?} is no topic name");
    }
    // Written elsewhere it would be a record like any other, for whoever reads there.
    if !known.contains(topic) && !args.force {
        bail!(
            "{topic} is no delay topic: topics.delay has {}; --force writes to it all the same",
            known.join(", ")
        );
    }
    Ok(topic)
}

async fn value(args: &SendArgs) -> anyhow::Result<Bytes> {
    if let Some(value) = &args.value {
        return Ok(Bytes::from(value.clone()));
    }
    if let Some(file) = &args.file {
        let read = tokio::fs::read(file).await;
        let bytes = read.with_context(|| format!("cannot read {}", file.display()))?;
        return Ok(Bytes::from(bytes));
    }
    if std::io::stdin().is_terminal() {
        eprintln!("the value is read from here; end it with Ctrl-D");
    }
    let read = tokio::task::spawn_blocking(|| {
        let mut bytes = Vec::new();
        std::io::stdin().lock().read_to_end(&mut bytes)?;
        Ok::<_, std::io::Error>(bytes)
    });
    let bytes = read.await?.context("cannot read standard input")?;
    Ok(Bytes::from(bytes))
}

fn headers(args: &SendArgs, names: &HeaderNames) -> Vec<Header> {
    let delay_ms = args.delay.map(|delay| delay.as_millis().to_string());
    let at_ms = args.at_ms.map(|ms| ms.to_string());
    let controls = [
        (&names.target, &args.target),
        (&names.delay_ms, &delay_ms),
        (&names.deliver_at, &args.at),
        (&names.deliver_at_ms, &at_ms),
        (&names.priority, &args.priority),
        (&names.id, &args.id),
    ];
    let given = controls
        .into_iter()
        .filter_map(|(name, value)| Some(Header::text(name.as_str(), value.as_ref()?)));
    let own = args
        .headers
        .iter()
        .map(|(name, value)| Header::text(name.as_str(), value));
    given.chain(own).collect()
}

/// What the router will do with the record: with `sent` as it stands in the topic, else as if it were written now.
/// `Err` holds why it would be refused.
pub(crate) fn describe(
    policy: &Policy,
    record: &Record,
    topic: &str,
    sent: Option<Sent>,
) -> Result<String, String> {
    match foresee(policy, record, topic, sent) {
        Ok(Foreseen::Published(scheduled)) => Ok(format!(
            "due {}, will appear in {}",
            local(scheduled.due_ms),
            scheduled.output_topic
        )),
        Ok(Foreseen::Cancel(id)) => Ok(format!("cancels {id}")),
        Err(refusal) => Err(refusal.to_string()),
    }
}

/// What the router will make of a record.
pub(crate) enum Foreseen {
    /// It will be published so.
    Published(Box<Scheduled>),
    /// It will cancel the record with this id.
    Cancel(Arc<str>),
}

/// As [`describe`], for programs.
pub(crate) fn foresee(
    policy: &Policy,
    record: &Record,
    topic: &str,
    sent: Option<Sent>,
) -> Result<Foreseen, Refusal> {
    let now_ms = SystemClock.now_ms();
    let incoming = Incoming {
        source: Source {
            at: TopicPartition::new(topic, sent.map_or(0, |sent| sent.partition)),
            offset: sent.map_or(0, |sent| sent.offset),
        },
        leader_epoch: None,
        timestamp_ms: Some(sent.and_then(|sent| sent.timestamp_ms).unwrap_or(now_ms)),
        record: record.clone(),
        malformed: None,
    };
    match route(incoming, now_ms, policy) {
        Decision::Schedule(record) | Decision::Replace { record, .. } => {
            Ok(Foreseen::Published(record))
        }
        Decision::Cancel { id, .. } => Ok(Foreseen::Cancel(id)),
        Decision::Refuse { refusal, .. } => Err(refusal),
    }
}

/// RFC 3339 in this machine's time zone.
pub(crate) fn local(ms: EpochMs) -> String {
    match Local.timestamp_millis_opt(ms).single() {
        Some(time) => time.to_rfc3339_opts(SecondsFormat::Millis, false),
        None => format!("{ms} ms since 1970"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments_become_the_configured_headers() {
        let names = HeaderNames {
            delay_ms: "x-delay".to_owned(),
            ..HeaderNames::default()
        };
        let args = SendArgs {
            target: Some("orders".to_owned()),
            delay: Some(Duration::from_secs(5)),
            priority: Some("high".to_owned()),
            headers: vec![("a".to_owned(), "b=c".to_owned())],
            ..SendArgs::default()
        };
        let expected = [
            Header::text("delay-target", "orders"),
            Header::text("x-delay", "5000"),
            Header::text("delay-priority", "high"),
            Header::text("a", "b=c"),
        ];
        assert_eq!(headers(&args, &names), expected);
    }

    #[test]
    fn a_header_has_a_name() {
        assert_eq!(header("a=b=c"), Ok(("a".to_owned(), "b=c".to_owned())));
        assert_eq!(header("a="), Ok(("a".to_owned(), String::new())));
        assert!(header("=b").is_err() && header("a").is_err());
    }

    #[test]
    fn the_local_time_says_the_same_instant() {
        let text = local(1_700_000_000_123);
        let read = chrono::DateTime::parse_from_rfc3339(&text).unwrap();
        assert_eq!(read.timestamp_millis(), 1_700_000_000_123);
        assert_eq!(local(i64::MAX), format!("{} ms since 1970", i64::MAX));
    }
}
