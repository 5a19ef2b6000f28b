//! `[[routes]]`: what the operator decides for a kind of record. The first route that matches a record decides for it;
//! where it is silent, `[topics]` and `[delays]` do.

use std::collections::BTreeSet;
use std::time::Duration;

use globset::{Glob, GlobMatcher};
use humantime::format_duration;
use serde::{Deserialize, Deserializer, Serialize};

use super::check::{DAY, count_between, duration_between};
use super::fault::ConfigErrors;
use super::topics::{template, topic_name};
use super::{Config, TopicsConfig};

/// Longest window over which a burst is spread.
const SPREAD_MAX: Duration = Duration::from_secs(24 * 3600);

/// A route.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RouteConfig {
    /// Name, unique: 1 to 64 letters, digits, `_`, `-`, `.`. It stands in errors, and batches of a limited route carry it.
    pub name: String,
    /// Target of records that name none. Default `topics.default_target`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target: Option<String>,
    /// Priority of records that name none: `high`, `standard` or `low`. Default `standard`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub priority: Option<RoutePriority>,
    /// What high priority leaves aside: `bypass` the delays of this route, `bypass-all` also those that a producer asks
    /// for. Default `bypass`.
    #[serde(default)]
    pub high: HighRule,
    /// Longest delay accepted, up to 10 years. Default `delays.max`.
    #[serde(
        default,
        with = "humantime_serde::option",
        skip_serializing_if = "Option::is_none"
    )]
    pub max_delay: Option<Duration>,
    /// Output topic; `{target}` (once) and `{priority}` are replaced. Default `topics.output`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub output: Option<String>,
    /// Standard and low records are published spread over this time after they are due, up to 24 h: for bursts with one due
    /// time. Default 0 s, not at all.
    #[serde(default, with = "humantime_serde")]
    pub spread: Duration,
    /// Most records a second that each emitter publishes of this route. Default without a limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_rate: Option<u32>,
    /// Which records it is for: all that is named must hold. Default every record.
    #[serde(default, rename = "match")]
    pub matches: RouteMatchConfig,
    /// Delay of standard and low records that ask for none: a time for both (`"15m"`), or `{ standard = …, low = … }`. High
    /// bypasses it. Default none: they are due at once.
    #[serde(default, deserialize_with = "delays")]
    pub delay: RouteDelays,
}

/// `match` of a route.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RouteMatchConfig {
    /// Delay topic, as a glob: with one delay topic a priority, priority holds from the delay topic on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub delay_topic: Option<String>,
    /// Target, as a glob; of records that name none, the route's or the default one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target: Option<String>,
    /// Value of the header `headers.message_type`, exactly.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message_type: Option<String>,
}

/// `delay` of a route.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RouteDelays {
    /// Of standard records. Default none.
    #[serde(
        default,
        with = "humantime_serde::option",
        skip_serializing_if = "Option::is_none"
    )]
    pub standard: Option<Duration>,
    /// Of low records. Default none.
    #[serde(
        default,
        with = "humantime_serde::option",
        skip_serializing_if = "Option::is_none"
    )]
    pub low: Option<Duration>,
}

/// A priority, by name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RoutePriority {
    /// Before all others.
    High,
    /// In between.
    Standard,
    /// After all others.
    Low,
}

/// What high priority leaves aside.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum HighRule {
    /// The delays of the route.
    #[default]
    Bypass,
    /// All delays.
    BypassAll,
}

/// One time for both priorities, or one for each.
fn delays<'de, D: Deserializer<'de>>(deserializer: D) -> Result<RouteDelays, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged, expecting = "a duration, or a table of standard and low")]
    enum Written {
        Both(#[serde(with = "humantime_serde")] Duration),
        Each(RouteDelays),
    }
    Ok(match Written::deserialize(deserializer)? {
        Written::Both(delay) => RouteDelays {
            standard: Some(delay),
            low: Some(delay),
        },
        Written::Each(each) => each,
    })
}

impl RouteMatchConfig {
    /// Whether it is for every record.
    #[must_use]
    pub fn is_everything(&self) -> bool {
        *self == Self::default()
    }

    /// The globs for delay topic and target, compiled.
    ///
    /// # Errors
    /// One that cannot be read; never after [`Config::validate`].
    pub fn globs(&self) -> Result<[Option<GlobMatcher>; 2], globset::Error> {
        let compile = |pattern: &Option<String>| {
            let glob = pattern.as_deref().map(Glob::new).transpose()?;
            Ok(glob.map(|glob| glob.compile_matcher()))
        };
        Ok([compile(&self.delay_topic)?, compile(&self.target)?])
    }
}

pub(super) fn check(config: &Config, faults: &mut ConfigErrors) {
    let mut names = BTreeSet::new();
    let mut everything: Option<&str> = None;
    for (index, route) in config.routes.iter().enumerate() {
        let at = Places(index);
        let name = &route.name;
        let fits = (1..=64).contains(&name.len())
            && name
                .chars()
                .all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-'));
        if !fits {
            faults.add(
                &[&at.key("name")],
                format!("\"{name}\" cannot be the name of a route"),
                "use 1 to 64 letters, digits and . _ -",
            );
        }
        if !names.insert(name) {
            faults.add(
                &[&at.key("name")],
                format!("a second route is called \"{name}\""),
                "give each route a name of its own",
            );
        }
        if let Some(first) = everything {
            faults.add(
                &[&at.key("match")],
                format!("is never asked: route \"{first}\" before it takes every record"),
                "move the route that takes every record to the end",
            );
        }
        if route.matches.is_everything() {
            everything = everything.or(Some(name));
        }
        check_times(route, &at, config, faults);
        check_topics(route, &at, &config.topics, faults);
        if let Some(rate) = route.max_rate {
            count_between(faults, &at.key("max_rate"), rate.into(), 1, 1_000_000);
        }
    }
}

/// Names the keys of the route at an index.
struct Places(usize);

impl Places {
    fn key(&self, field: &str) -> String {
        format!("routes[{}].{field}", self.0)
    }
}

fn check_times(route: &RouteConfig, at: &Places, config: &Config, faults: &mut ConfigErrors) {
    if let Some(max) = route.max_delay {
        let least = Duration::from_millis(1);
        duration_between(faults, &at.key("max_delay"), max, least, DAY * 3660);
    }
    let max = route.max_delay.unwrap_or(config.delays.max);
    for (field, delay) in [
        ("delay.standard", route.delay.standard),
        ("delay.low", route.delay.low),
    ] {
        let Some(delay) = delay.filter(|delay| *delay > max) else {
            continue;
        };
        faults.add(
            &[&at.key(field)],
            format!(
                "{} is beyond the longest delay accepted ({}): every such record would be refused",
                format_duration(delay),
                format_duration(max)
            ),
            "lower it, or set max_delay on the route",
        );
    }
    let spread = at.key("spread");
    duration_between(faults, &spread, route.spread, Duration::ZERO, SPREAD_MAX);
}

fn check_topics(
    route: &RouteConfig,
    at: &Places,
    topics: &TopicsConfig,
    faults: &mut ConfigErrors,
) {
    for (field, pattern) in [
        ("match.delay_topic", &route.matches.delay_topic),
        ("match.target", &route.matches.target),
    ] {
        if let Some(Err(error)) = pattern.as_deref().map(Glob::new) {
            faults.add(
                &[&at.key(field)],
                format!("is not a glob: {}", error.kind()),
                "mend it; * stands for any text, ? for one character, {a,b} for either",
            );
        }
    }
    let Ok([delay_topic, target]) = route.matches.globs() else {
        return;
    };
    if delay_topic.is_some_and(|glob| !topics.delay.iter().any(|topic| glob.is_match(topic))) {
        faults.add(
            &[&at.key("match.delay_topic"), "topics.delay"],
            "matches none of the delay topics",
            "mend the glob, or add the topic to topics.delay",
        );
    }
    if let Some(output) = &route.output {
        template(faults, &at.key("output"), output);
    }
    let Some(own_target) = &route.target else {
        return;
    };
    let key = at.key("target");
    topic_name(faults, &key, own_target);
    if topics.own().contains(own_target) {
        faults.add(
            &[&key],
            format!("\"{own_target}\" is one of delayq's own topics"),
            "name another topic",
        );
    } else if topics
        .allowed()
        .is_ok_and(|allowed| !allowed.is_match(own_target))
    {
        faults.add(
            &[&key, "topics.allow"],
            format!("\"{own_target}\" is not allowed as a target"),
            "add it to topics.allow",
        );
    }
    if target.is_some_and(|glob| !glob.is_match(own_target)) {
        faults.add(
            &[&key, &at.key("match.target")],
            format!("the route does not match its own target \"{own_target}\""),
            "mend the glob, or leave match.target out",
        );
    }
}
