//! `[delays]`: how long a delay may be, and which tier takes it.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::check::{DAY, duration_between};
use super::fault::ConfigErrors;

/// `[delays]`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DelaysConfig {
    /// Longest delay accepted; longer ones are refused, never capped (up to 10 years). Default 7 days.
    #[serde(with = "humantime_serde")]
    pub max: Duration,
    /// Due within this: held and published by the router itself. Default 2 s.
    #[serde(with = "humantime_serde")]
    pub direct: Duration,
    /// Due within this: to SQS; later: to the long tier. At most SQS's 15 min. Default 15 min.
    #[serde(with = "humantime_serde")]
    pub short: Duration,
    /// How far in the future a record's own timestamp may be before it is refused as skew. Default 1 min.
    #[serde(with = "humantime_serde")]
    pub max_timestamp_skew: Duration,
}

impl Default for DelaysConfig {
    fn default() -> Self {
        Self {
            max: DAY * 7,
            direct: Duration::from_secs(2),
            short: Duration::from_secs(900),
            max_timestamp_skew: Duration::from_secs(60),
        }
    }
}

impl DelaysConfig {
    pub(super) fn check(&self, faults: &mut ConfigErrors) {
        duration_between(
            faults,
            "delays.max",
            self.max,
            Duration::from_millis(1),
            DAY * 3660,
        );
        duration_between(
            faults,
            "delays.max_timestamp_skew",
            self.max_timestamp_skew,
            Duration::ZERO,
            DAY,
        );
    }
}
