//! Settings of the emitter.

use std::time::Duration;

use delayq_core::outputs::Outputs;
use delayq_delivery::payloads::PayloadSettings;
use delayq_delivery::publish::PublishSettings;
use delayq_delivery::queue::QueueSettings;
use delayq_delivery::registry::RegistrySettings;

use crate::limits::Rates;

/// Settings.
#[derive(Debug, Clone)]
pub struct EmitterSettings {
    /// Publishing.
    pub publish: PublishSettings,
    /// Putting back.
    pub queue: QueueSettings,
    /// Records too large for a batch.
    pub payloads: PayloadSettings,
    /// Tracked records.
    pub registry: RegistrySettings,
    /// What may be published: a queue is no proof of who wrote to it.
    pub outputs: Outputs,
    /// Rate limits by route, in records a second of this emitter.
    pub rates: Rates,
    /// Memory of the records held, at most, in bytes.
    pub memory_bytes: usize,
    /// Share of the memory kept for each priority, in percent (0–33).
    pub reserve_percent: usize,
    /// Records further away than this are put back.
    pub hold_max_ms: i64,
    /// How long a message is invisible to others; prolonged at a third of it.
    pub visibility: Duration,
    /// Receive calls at once, for each priority.
    pub receive_concurrency: usize,
    /// Long poll, at most 20 s.
    pub wait: Duration,
    /// Sources remembered to drop the queue's own duplicates.
    pub recent_sources: usize,
    /// How long a message may be held beyond the due time of its last record before the emitter is named as stalled.
    pub stall_after: Duration,
    /// At a stop, records due within this are still published; the others are put back.
    pub stop_publish_within_ms: i64,
    /// How long a stop may take.
    pub stop_timeout: Duration,
}

impl EmitterSettings {
    /// One share of the memory, in bytes: each priority has one kept for it, and all limited routes together may take
    /// one.
    #[must_use]
    pub const fn reserve_bytes(&self) -> usize {
        self.memory_bytes / 100 * self.reserve_percent
    }
}
