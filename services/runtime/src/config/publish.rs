//! `[publish]`: retries of a record that Kafka did not take.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::check::{count_between, duration_between, retry_times};
use super::fault::ConfigErrors;

/// `[publish]`: for router and emitter alike.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PublishConfig {
    /// Tries for a fault of the record itself, the first included; then it is a dead letter. Default 3.
    pub attempts: u32,
    /// Wait before the second try; doubles each time, with jitter. Default 100 ms.
    #[serde(with = "humantime_serde")]
    pub retry_first: Duration,
    /// Longest wait between two tries. Default 5 s.
    #[serde(with = "humantime_serde")]
    pub retry_max: Duration,
    /// While Kafka is down (no record's fault), how often it is tried. Default 1 s.
    #[serde(with = "humantime_serde")]
    pub breaker_probe: Duration,
}

impl Default for PublishConfig {
    fn default() -> Self {
        Self {
            attempts: 3,
            retry_first: Duration::from_millis(100),
            retry_max: Duration::from_secs(5),
            breaker_probe: Duration::from_secs(1),
        }
    }
}

impl PublishConfig {
    pub(super) fn check(&self, faults: &mut ConfigErrors) {
        count_between(faults, "publish.attempts", self.attempts.into(), 1, 100);
        retry_times(
            faults,
            ["publish.retry_first", "publish.retry_max"],
            self.retry_first,
            self.retry_max,
        );
        duration_between(
            faults,
            "publish.breaker_probe",
            self.breaker_probe,
            Duration::from_millis(10),
            Duration::from_secs(60),
        );
    }
}
