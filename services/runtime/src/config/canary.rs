//! `[canary]`: records of delayq's own that travel every path, so that one that is blocked is noticed.

use std::time::Duration;

use humantime::format_duration;
use serde::{Deserialize, Serialize};

use super::Config;
use super::check::duration_between;
use super::fault::ConfigErrors;
use super::topics::topic_name;

/// Lag of the router that makes no canary take another path than the one it is for, at most.
const SLACK_MAX: Duration = Duration::from_secs(60);

/// `[canary]`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CanaryConfig {
    /// Whether canaries are sent and missed. All replicas of all roles must agree. Default `true`.
    pub enabled: bool,
    /// Time between two canaries of a path and priority (1 s to 1 h). Default 1 min.
    #[serde(with = "humantime_serde")]
    pub interval: Duration,
    /// How long after its due time a canary may come before `/readyz` names its path; longer than `kafka.session_timeout`. Default 2 min.
    #[serde(with = "humantime_serde")]
    pub overdue_after: Duration,
    /// Topic in which canaries come out. Give each installation on a broker its own. Default `delayq.canary`.
    pub topic: String,
}

impl Default for CanaryConfig {
    fn default() -> Self {
        Self {
            enabled: true,
            interval: Duration::from_secs(60),
            overdue_after: Duration::from_secs(120),
            topic: "delayq.canary".to_owned(),
        }
    }
}

/// How far ahead of its sending a canary is due, by path. `None`: no record may wait that long (`delays.max`), so no
/// record travels this path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CanaryDelays {
    /// Direct.
    pub direct: Duration,
    /// Through SQS.
    pub short: Option<Duration>,
    /// Through the long tier.
    pub long: Option<Duration>,
}

impl Config {
    /// The shortest delays that surely take each path, though the router may lag a little.
    #[must_use]
    pub fn canary_delays(&self) -> CanaryDelays {
        let delays = &self.delays;
        let slack = SLACK_MAX.min(self.canary.overdue_after / 2);
        let short = delays.direct + slack.min(delays.short.saturating_sub(delays.direct) / 2);
        // The bucket that holds a due time may start a whole bucket before it.
        let long = delays.short.max(self.long_room() + self.long.bucket) + slack;
        let possible = |delay| (delay <= delays.max).then_some(delay);
        CanaryDelays {
            direct: delays.direct / 2,
            short: possible(short),
            long: possible(long),
        }
    }
}

pub(super) fn check(config: &Config, faults: &mut ConfigErrors) {
    let canary = &config.canary;
    if !canary.enabled {
        return;
    }
    duration_between(
        faults,
        "canary.interval",
        canary.interval,
        Duration::from_secs(1),
        Duration::from_secs(3600),
    );
    duration_between(
        faults,
        "canary.overdue_after",
        canary.overdue_after,
        Duration::from_secs(1),
        Duration::from_secs(3600),
    );
    // The router that sends them dies: another takes its partition when the session has ended, and sends the next.
    if canary.overdue_after <= config.kafka.session_timeout {
        faults.add(
            &["canary.overdue_after", "kafka.session_timeout"],
            format!(
                "a router that dies stops the canaries for {}, which would pass for a path that is blocked",
                format_duration(config.kafka.session_timeout)
            ),
            "make overdue_after longer than session_timeout",
        );
    }
    topic_name(faults, "canary.topic", &canary.topic);
    if config.topics.own().contains(&canary.topic) {
        faults.add(
            &["canary.topic", "topics.delay", "topics.dead_letter"],
            format!(
                "\"{}\" is a delay topic or the dead-letter topic",
                canary.topic
            ),
            "give the canaries a topic of their own",
        );
    }
}
