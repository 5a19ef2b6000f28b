//! The topics of an installation: which there must be, how `init` makes them, and what is wrong with one that exists.

use std::collections::BTreeMap;

use delayq_core::priority::Priority;
use delayq_core::route::ADDED_HEADERS_MAX_BYTES;
use delayq_kafka::{TopicDescription, TopicSpec};
use delayq_runtime::config::Config;

use crate::canary;
use crate::settings::DEAD_LETTER_ROOM_BYTES;

/// How long a delay topic that `init` creates keeps records: 14 days of standing still lose nothing.
const RETENTION_MS: i64 = 14 * DAY_MS;
/// A delay topic that keeps records for less than this may lose some in an outage over a long weekend.
const RETENTION_MIN_MS: i64 = 3 * DAY_MS;
const DAY_MS: i64 = 24 * 3600 * 1000;
/// One partition holds the refusals of years.
const DEAD_LETTER_PARTITIONS: i32 = 1;
/// Who starts to observe reads the canary topic from its beginning: it is kept small.
const CANARY_PARTITIONS: i32 = 1;
const CANARY_RETENTION_MIN_MS: i64 = 3600 * 1000;
/// Retention deletes whole segments, never the one that is written to.
const CANARY_SEGMENT_MS: i64 = 10 * 60 * 1000;

const MAX_MESSAGE_BYTES: &str = "max.message.bytes";
const TIMESTAMP_TYPE: &str = "message.timestamp.type";
const LOG_APPEND_TIME: &str = "LogAppendTime";
const RETENTION: &str = "retention.ms";
const SEGMENT: &str = "segment.ms";
const RETENTION_BYTES: &str = "retention.bytes";
const CLEANUP_POLICY: &str = "cleanup.policy";

/// What a topic is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// Producers write to it, the router reads.
    Delay,
    /// Refused records.
    DeadLetter,
    /// Records appear in it when they are due.
    Output,
    /// Canaries come out of it.
    Canary,
}

/// A topic that must be there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Topic {
    /// Name.
    pub name: String,
    /// What it is for.
    pub purpose: Purpose,
}

impl Topic {
    /// Such as `delay topic delayq.delay`.
    #[must_use]
    pub fn label(&self) -> String {
        let purpose = match self.purpose {
            Purpose::Delay => "delay topic",
            Purpose::DeadLetter => "dead-letter topic",
            Purpose::Output => "output topic",
            Purpose::Canary => "canary topic",
        };
        format!("{purpose} {}", self.name)
    }

    /// As `init` creates it. `replication` −1: the broker's default.
    #[must_use]
    pub fn spec(&self, config: &Config, partitions: i32, replication: i32) -> TopicSpec {
        let message_max = config.kafka.message_max.as_u64();
        let text = |(name, value): (&str, String)| (name.to_owned(), value);
        let (partitions, settings) = match self.purpose {
            Purpose::Delay => {
                let kept = (RETENTION, RETENTION_MS.to_string());
                let stamped = (TIMESTAMP_TYPE, LOG_APPEND_TIME.to_owned());
                (partitions, [kept, stamped].map(text).into())
            }
            Purpose::DeadLetter => {
                // The largest record and 64 KiB for the reason: no refusal may stall a partition.
                let room = message_max + DEAD_LETTER_ROOM_BYTES;
                let setting = text((MAX_MESSAGE_BYTES, room.to_string()));
                (DEAD_LETTER_PARTITIONS, BTreeMap::from([setting]))
            }
            Purpose::Output => {
                let setting = text((MAX_MESSAGE_BYTES, message_max.to_string()));
                (partitions, BTreeMap::from([setting]))
            }
            Purpose::Canary => {
                let kept_ms = canary::times(config).memory_ms().saturating_mul(2);
                let kept = (RETENTION, kept_ms.max(CANARY_RETENTION_MIN_MS).to_string());
                let segment = (SEGMENT, CANARY_SEGMENT_MS.to_string());
                (CANARY_PARTITIONS, [kept, segment].map(text).into())
            }
        };
        TopicSpec {
            name: self.name.clone(),
            partitions,
            replication,
            config: settings,
        }
    }
}

/// The delay topics, the dead-letter topic, the canary topic, and the output topics of `targets`; each once.
#[must_use]
pub fn topics(config: &Config, targets: &[String]) -> Vec<Topic> {
    let mut topics: Vec<Topic> = Vec::new();
    let mut add = |name: &str, purpose| {
        if topics.iter().all(|known| known.name != name) {
            let name = name.to_owned();
            topics.push(Topic { name, purpose });
        }
    };
    for name in &config.topics.delay {
        add(name, Purpose::Delay);
    }
    add(&config.topics.dead_letter, Purpose::DeadLetter);
    if config.canary.enabled {
        add(&config.canary.topic, Purpose::Canary);
    }
    for target in targets {
        for template in templates(config, target) {
            for priority in Priority::ALL {
                let name = template.replace("{target}", target);
                add(
                    &name.replace("{priority}", priority.as_str()),
                    Purpose::Output,
                );
            }
        }
    }
    topics
}

/// The templates by which records for `target` may be published.
fn templates<'c>(config: &'c Config, target: &str) -> Vec<&'c str> {
    let mut templates = Vec::new();
    for route in &config.routes {
        // A glob that cannot be read was refused with the configuration.
        let Ok([_, globbed]) = route.matches.globs() else {
            continue;
        };
        if globbed.is_some_and(|glob| !glob.is_match(target)) {
            continue;
        }
        let template = route.output.as_deref();
        templates.push(template.unwrap_or(&config.topics.output));
        // It takes every record for this target: the routes after it, and the general template, get none.
        if route.matches.message_type.is_none() && route.matches.delay_topic.is_none() {
            return templates;
        }
    }
    templates.push(&config.topics.output);
    templates
}

/// What is wrong with a topic that exists.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shortcoming {
    /// What.
    pub what: String,
    /// What to do.
    pub remedy: String,
    /// The settings of the topic that mend it, where `init --fix` may set them.
    pub fix: Option<(&'static str, String)>,
    /// It works without, but less well.
    pub mild: bool,
}

/// The limit of a topic's record batches in bytes, as far as the broker says.
#[must_use]
pub fn limit_bytes(topic: &TopicDescription) -> Option<u64> {
    topic.config.get(MAX_MESSAGE_BYTES)?.parse().ok()
}

/// What is wrong with `found`. `largest_bytes`: the largest limit among the delay topics that exist.
#[must_use]
pub fn shortcomings(
    topic: &Topic,
    found: &TopicDescription,
    largest_bytes: Option<u64>,
    config: &Config,
) -> Vec<Shortcoming> {
    let look = Look {
        topic,
        found,
        message_max: config.kafka.message_max.as_u64(),
        largest_bytes,
    };
    match topic.purpose {
        Purpose::Delay => look.delay(),
        Purpose::DeadLetter => look.dead_letter(),
        Purpose::Output => look.output(),
        Purpose::Canary => look
            .compacted("canaries have no key and are refused")
            .into_iter()
            .collect(),
    }
}

struct Look<'a> {
    topic: &'a Topic,
    found: &'a TopicDescription,
    message_max: u64,
    largest_bytes: Option<u64>,
}

impl Look<'_> {
    fn setting(&self, name: &str) -> Option<&str> {
        self.found.config.get(name).map(String::as_str)
    }

    fn number(&self, name: &str) -> Option<i64> {
        self.setting(name)?.parse().ok()
    }

    fn fixable(&self, what: String, name: &'static str, value: String, mild: bool) -> Shortcoming {
        let targets = match self.topic.purpose {
            Purpose::Output => " with its target in --targets",
            _ => "",
        };
        Shortcoming {
            what,
            remedy: format!("run `delayq init --fix`{targets}, or set {name}={value} on the topic"),
            fix: Some((name, value)),
            mild,
        }
    }

    fn delay(&self) -> Vec<Shortcoming> {
        let mut all = Vec::new();
        all.extend(self.compacted("records with one key replace each other before they are due"));
        if let Some(limit) = limit_bytes(self.found) {
            let needed = limit + added_bytes();
            if needed > self.message_max {
                all.push(Shortcoming {
                    what: format!(
                        "takes records of up to {limit} bytes, which kafka.message_max ({} bytes) is too small for: larger ones end as dead letters",
                        self.message_max
                    ),
                    remedy: format!("set kafka.message_max to {needed} or more, or {MAX_MESSAGE_BYTES} of the topic to {} or less", self.message_max.saturating_sub(added_bytes())),
                    fix: None,
                    mild: false,
                });
            }
        }
        if let Some(kept_ms) = self.number(RETENTION)
            && (0..RETENTION_MIN_MS).contains(&kept_ms)
        {
            let what = format!(
                "keeps records for {}, and what is not read by then is lost: less than 3 days do not outlast a weekend",
                humantime::format_duration(std::time::Duration::from_millis(
                    kept_ms.unsigned_abs()
                ))
            );
            all.push(self.fixable(what, RETENTION, RETENTION_MS.to_string(), true));
        }
        if let Some(bytes) = self.number(RETENTION_BYTES).filter(|bytes| *bytes >= 0) {
            let what = format!(
                "keeps {bytes} bytes a partition, and what is not read before more are written is lost"
            );
            all.push(self.fixable(what, RETENTION_BYTES, "-1".to_owned(), true));
        }
        if let Some(kind) = self.setting(TIMESTAMP_TYPE)
            && kind != LOG_APPEND_TIME
        {
            let what = format!(
                "has {TIMESTAMP_TYPE}={kind}: delays count from the producers' clocks, however wrong"
            );
            all.push(self.fixable(what, TIMESTAMP_TYPE, LOG_APPEND_TIME.to_owned(), true));
        }
        all
    }

    fn dead_letter(&self) -> Vec<Shortcoming> {
        let compacted = self.compacted("dead letters without a key are refused");
        let needed = self.largest_bytes.unwrap_or(self.message_max) + DEAD_LETTER_ROOM_BYTES;
        let set = needed.max(self.message_max + DEAD_LETTER_ROOM_BYTES);
        let room = self.room(needed, set, "the largest refused record and its reason");
        compacted.into_iter().chain(room).collect()
    }

    fn output(&self) -> Vec<Shortcoming> {
        // Larger than message_max a record is refused before.
        let largest = self.largest_bytes.unwrap_or(self.message_max);
        let needed = (largest + added_bytes()).min(self.message_max);
        let what = "the largest record and the headers that delayq adds";
        self.room(needed, self.message_max, what)
            .into_iter()
            .collect()
    }

    fn room(&self, needed: u64, set: u64, largest: &str) -> Option<Shortcoming> {
        let limit = limit_bytes(self.found).filter(|limit| *limit < needed)?;
        let what = format!("takes records of up to {limit} bytes; {largest} may have {needed}");
        Some(self.fixable(what, MAX_MESSAGE_BYTES, set.to_string(), false))
    }

    fn compacted(&self, harm: &str) -> Option<Shortcoming> {
        let policy = self
            .setting(CLEANUP_POLICY)
            .filter(|policy| policy.contains("compact"))?;
        Some(Shortcoming {
            what: format!("is compacted ({CLEANUP_POLICY}={policy}): {harm}"),
            remedy: format!(
                "set {CLEANUP_POLICY}=delete on the topic, or configure a topic of delayq's own"
            ),
            // Whoever made it so may have had a reason.
            fix: None,
            mild: false,
        })
    }
}

/// The headers that delayq adds to a record, in bytes.
fn added_bytes() -> u64 {
    u64::try_from(ADDED_HEADERS_MAX_BYTES).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests;
