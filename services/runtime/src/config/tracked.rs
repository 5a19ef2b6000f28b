//! `[tracked]`: records with a `delay-id`.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::check::{count_between, duration_between};
use super::fault::ConfigErrors;

/// `[tracked]`: for router and emitter alike. Other records pay nothing for it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TrackedConfig {
    /// How long before its due time a record is claimed, 100 ms to 10 s. From then on a cancel comes too late; below the time that
    /// DynamoDB takes to answer, records are late. Default 300 ms.
    #[serde(with = "humantime_serde")]
    pub claim_lead: Duration,
    /// How long a claim holds when its holder dies, 1 s to 10 min: for so long its records are late then. Default 30 s.
    #[serde(with = "humantime_serde")]
    pub lease: Duration,
    /// Calls to the table of tracked records at once, for each process, 1 to 1,000. Default 64.
    pub concurrency: u32,
}

impl Default for TrackedConfig {
    fn default() -> Self {
        Self {
            claim_lead: Duration::from_millis(300),
            lease: Duration::from_secs(30),
            concurrency: 64,
        }
    }
}

impl TrackedConfig {
    pub(super) fn check(&self, faults: &mut ConfigErrors) {
        duration_between(
            faults,
            "tracked.claim_lead",
            self.claim_lead,
            Duration::from_millis(100),
            Duration::from_secs(10),
        );
        duration_between(
            faults,
            "tracked.lease",
            self.lease,
            Duration::from_secs(1),
            Duration::from_secs(600),
        );
        count_between(
            faults,
            "tracked.concurrency",
            self.concurrency.into(),
            1,
            1_000,
        );
    }
}
