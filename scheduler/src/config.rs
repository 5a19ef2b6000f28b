//! Settings of the scheduler.

use std::time::Duration;

use delayq_core::handover::HandoverTimes;
use delayq_delivery::queue::QueueSettings;

/// Settings.
#[derive(Debug, Clone)]
pub struct SchedulerSettings {
    /// Names this process in the state rows.
    pub owner: String,
    /// The handover's times.
    pub times: HandoverTimes,
    /// Sending to the queues.
    pub queue: QueueSettings,
    /// How often every shard is asked to be brought up to date.
    pub tick: Duration,
    /// Longest work on one tick.
    pub work_limit: Duration,
    /// How long a shard is held without a heartbeat; a heartbeat goes out at a third of it.
    pub lease: Duration,
    /// Long poll for ticks, at most 20 s.
    pub wait: Duration,
    /// Shards worked on at once in this process.
    pub workers: usize,
    /// Sources remembered within a bucket to drop copies, at most.
    pub remembered_sources: usize,
    /// How long a stop may take.
    pub stop_timeout: Duration,
}
