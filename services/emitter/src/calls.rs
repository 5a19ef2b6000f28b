//! Calls to the queue that run beside the loop: deletes and heartbeats.

use std::time::Duration;

use delayq_core::error::ErrorClass;
use delayq_core::ports::{DelayQueue, Lane, Outcomes, paired};
use tokio::time::Instant;

use crate::held::MessageId;
use crate::metrics as names;

/// Tries of a delete; after them the message comes again, and its records are dropped as published.
const DELETE_TRIES: u32 = 5;

/// What a call has done.
pub enum CallDone {
    /// These messages are invisible for longer.
    Extended(Vec<(MessageId, Instant)>),
    /// Nothing that the loop must know.
    Nothing,
}

/// The messages whose heartbeat was confirmed.
pub fn extended(
    ids: &[MessageId],
    outcomes: Outcomes,
    visible_at: Instant,
) -> Vec<(MessageId, Instant)> {
    let mut done = Vec::new();
    for (id, outcome) in paired(ids, outcomes, "queue extend") {
        match outcome {
            Ok(()) => done.push((*id, visible_at)),
            Err(error) if error.class == ErrorClass::Conflict => {
                tracing::debug!(%error, "a message vanished before its heartbeat")
            }
            Err(error) => tracing::warn!(%error, "heartbeat failed; it is sent again"),
        }
    }
    done
}

/// Deletes finished messages; what fails is tried again.
pub async fn delete(queue: &dyn DelayQueue, lane: Lane, mut handles: Vec<String>) {
    for attempt in 0..DELETE_TRIES {
        let outcomes = queue.delete(lane, handles.clone()).await;
        let mut failed = Vec::new();
        let mut last = None;
        for (handle, outcome) in paired(handles, outcomes, "queue delete") {
            if let Err(error) = outcome {
                failed.push(handle);
                last = Some(error);
            }
        }
        let Some(error) = last else { return };
        handles = failed;
        tracing::warn!(%error, attempt, messages = handles.len(), "delete failed");
        tokio::time::sleep(Duration::from_millis(200 << attempt)).await;
    }
    metrics::counter!(names::DELETE_FAILED).increment(handles.len() as u64);
    tracing::error!(
        messages = handles.len(),
        "messages not deleted: they come again, and their records are dropped as published"
    );
}

/// Metric label of a lane.
#[must_use]
pub const fn lane_name(lane: Lane) -> &'static str {
    match lane {
        Lane::Main(_) => "main",
        Lane::DeadLetter(_) => "dead-letter",
    }
}
