//! `[scheduler]`.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::check::{count_between, duration_between, stop_timeout, whole_seconds};
use super::fault::ConfigErrors;

/// `[scheduler]`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SchedulerConfig {
    /// Time between two ticks of a shard; whole seconds. All replicas must agree. Default 30 s.
    #[serde(with = "humantime_serde")]
    pub tick: Duration,
    /// Longest work on one tick; the next one goes on from the cursor. Default 60 s.
    #[serde(with = "humantime_serde")]
    pub work_limit: Duration,
    /// Visibility of a tick that is worked on, extended every third of it; whole seconds. Default 60 s.
    #[serde(with = "humantime_serde")]
    pub lease: Duration,
    /// Most calls to SQS at once. Default 16.
    pub send_concurrency: u32,
    /// Longest wait for the page in hand at SIGTERM. Default 30 s.
    #[serde(with = "humantime_serde")]
    pub stop_timeout: Duration,
}

impl Default for SchedulerConfig {
    fn default() -> Self {
        Self {
            tick: Duration::from_secs(30),
            work_limit: Duration::from_secs(60),
            lease: Duration::from_secs(60),
            send_concurrency: 16,
            stop_timeout: Duration::from_secs(30),
        }
    }
}

impl SchedulerConfig {
    pub(super) fn check(&self, faults: &mut ConfigErrors) {
        duration_between(
            faults,
            "scheduler.tick",
            self.tick,
            Duration::from_secs(1),
            Duration::from_secs(120),
        );
        whole_seconds(faults, "scheduler.tick", self.tick);
        duration_between(
            faults,
            "scheduler.work_limit",
            self.work_limit,
            Duration::from_secs(1),
            Duration::from_secs(240),
        );
        duration_between(
            faults,
            "scheduler.lease",
            self.lease,
            Duration::from_secs(3),
            Duration::from_secs(240),
        );
        whole_seconds(faults, "scheduler.lease", self.lease);
        count_between(
            faults,
            "scheduler.send_concurrency",
            self.send_concurrency.into(),
            1,
            1024,
        );
        stop_timeout(faults, "scheduler.stop_timeout", self.stop_timeout);
    }
}
