//! `[emitter]`.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::check::{count_between, duration_between, stop_timeout, whole_seconds};
use super::fault::ConfigErrors;
use super::values::ByteSize;

/// `[emitter]`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EmitterConfig {
    /// Most bytes of batches held at once; above it nothing is received. Default 96 MiB.
    pub memory: ByteSize,
    /// Share of `memory` kept for each of the three priorities, in percent (1 to 33). Default 20.
    pub reserve_percent: u32,
    /// Share of the publishing that lower priorities get under backlog, in percent (1 to 50). Default 10.
    pub floor_percent: u32,
    /// How long before its due time a batch is received. Default 1.5 s.
    #[serde(with = "humantime_serde")]
    pub early: Duration,
    /// Batches due later than this are put back instead of held. Default 30 s.
    #[serde(with = "humantime_serde")]
    pub hold_max: Duration,
    /// Visibility of what is held, extended before half of it has passed; whole seconds, at least twice `aws.call_timeout`. Default 60 s.
    #[serde(with = "humantime_serde")]
    pub visibility: Duration,
    /// Receive calls at once for each queue. Default 4.
    pub receive_concurrency: u32,
    /// Long poll of a receive call (SQS: 20 s at most); whole seconds. Default 20 s.
    #[serde(with = "humantime_serde")]
    pub wait: Duration,
    /// How long a batch may be held beyond the due time of its last record before `/readyz` says that the emitter is stalled. Default 3 min.
    #[serde(with = "humantime_serde")]
    pub stall_after: Duration,
    /// Longest drain and put-back at SIGTERM. Default 90 s.
    #[serde(with = "humantime_serde")]
    pub stop_timeout: Duration,
    /// At SIGTERM, records due within this are still published; the rest is put back. Default 3 s.
    #[serde(with = "humantime_serde")]
    pub stop_publish_within: Duration,
    /// Most records produced and not yet acknowledged (fewer than a few thousand cost speed). Default 20,000.
    pub in_flight: u32,
    /// How many published sources are remembered, to drop SQS's own duplicates. Default 200,000.
    pub recent_sources: u32,
}

impl Default for EmitterConfig {
    fn default() -> Self {
        Self {
            memory: ByteSize::mib(96),
            reserve_percent: 20,
            floor_percent: 10,
            early: Duration::from_millis(1500),
            hold_max: Duration::from_secs(30),
            visibility: Duration::from_secs(60),
            receive_concurrency: 4,
            wait: Duration::from_secs(20),
            stall_after: Duration::from_secs(180),
            stop_timeout: Duration::from_secs(90),
            stop_publish_within: Duration::from_secs(3),
            in_flight: 20_000,
            recent_sources: 200_000,
        }
    }
}

impl EmitterConfig {
    /// Under backlog, one turn in this many goes to a lower priority: 10 for `floor_percent = 10`; at least 2.
    #[must_use]
    pub fn floor_every(&self) -> u32 {
        (100 / self.floor_percent.max(1)).max(2)
    }

    /// The share of `memory` that each priority has for itself.
    #[must_use]
    pub fn reserve(&self) -> ByteSize {
        ByteSize::bytes(self.memory.as_u64() / 100 * u64::from(self.reserve_percent))
    }

    pub(super) fn check(&self, faults: &mut ConfigErrors) {
        // Three shares of 33 % leave something that all may use.
        count_between(
            faults,
            "emitter.reserve_percent",
            self.reserve_percent.into(),
            1,
            33,
        );
        count_between(
            faults,
            "emitter.floor_percent",
            self.floor_percent.into(),
            1,
            50,
        );
        // Below a tenth of a second SQS's own delivery (p50 25 ms, FACTS §2) is lateness.
        duration_between(
            faults,
            "emitter.early",
            self.early,
            Duration::from_millis(100),
            Duration::from_secs(60),
        );
        duration_between(
            faults,
            "emitter.visibility",
            self.visibility,
            Duration::from_secs(3),
            Duration::from_secs(12 * 3600),
        );
        whole_seconds(faults, "emitter.visibility", self.visibility);
        duration_between(
            faults,
            "emitter.wait",
            self.wait,
            Duration::ZERO,
            Duration::from_secs(20),
        );
        whole_seconds(faults, "emitter.wait", self.wait);
        count_between(
            faults,
            "emitter.receive_concurrency",
            self.receive_concurrency.into(),
            1,
            256,
        );
        count_between(
            faults,
            "emitter.in_flight",
            self.in_flight.into(),
            1,
            1_000_000,
        );
        // About 100 bytes each: ten million are a gigabyte.
        count_between(
            faults,
            "emitter.recent_sources",
            self.recent_sources.into(),
            1,
            10_000_000,
        );
        duration_between(
            faults,
            "emitter.stall_after",
            self.stall_after,
            Duration::from_secs(1),
            Duration::from_secs(3600),
        );
        stop_timeout(faults, "emitter.stop_timeout", self.stop_timeout);
    }
}
