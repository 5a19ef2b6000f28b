//! Settings of the emitter.

use std::time::Duration;

use delayq_delivery::publish::PublishSettings;
use delayq_delivery::queue::QueueSettings;

/// Settings.
#[derive(Debug, Clone)]
pub struct EmitterSettings {
    /// Publishing.
    pub publish: PublishSettings,
    /// Putting back.
    pub queue: QueueSettings,
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
    /// At a stop, records due within this are still published; the others are put back.
    pub stop_publish_within_ms: i64,
    /// How long a stop may take.
    pub stop_timeout: Duration,
}
