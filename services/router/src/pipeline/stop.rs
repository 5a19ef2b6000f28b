//! How a router stops: intake ends, what is held is finished and committed, and only then the group is left.
//!
//! A commit is refused while the group rebalances, and librdkafka gives a group up at once, whatever is still to be committed,
//! when it is closed in the middle of giving partitions back (`rd_kafka_cgrp_incr_unassign_done`, 2.12). So the router commits
//! while it is still a member, and leaves with nothing left to say.

use std::time::Duration;

use delayq_core::ports::RecordSource;
use tokio::time::{Instant, Interval, MissedTickBehavior, interval};

use super::Router;

/// How often a stopping router commits, at least.
const COMMIT_EVERY: Duration = Duration::from_millis(50);
/// How long commits are sent again once everything is finished: several rebalances of a group that is well.
const COMMITS_WAIT: Duration = Duration::from_secs(5);

/// A stop under way.
pub(super) struct Stop {
    /// When the router ends, finished or not.
    pub(super) by: Instant,
    /// When the group is left, finished or not: leaving takes time, too.
    leave_by: Instant,
    left: bool,
}

impl Router {
    /// Ends intake. The commits to come follow the interval's new beat.
    pub(super) fn begin_stop(&mut self, source: &dyn RecordSource, ticks: &mut Interval) -> Stop {
        tracing::info!(
            held_bytes = self.held_bytes,
            "router stops: intake ends, what is held is confirmed and committed"
        );
        self.intake_ended = true;
        source.pause(&self.partitions.all());
        let timeout = self.settings.stop_timeout;
        let now = Instant::now();
        *ticks = interval(self.settings.commit_interval.min(COMMIT_EVERY));
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Stop {
            by: now + timeout,
            leave_by: now + timeout / 2,
            left: false,
        }
    }

    /// Leaves the group once everything is finished and committed, or out of time. To be called after each commit.
    pub(super) fn leave(&mut self, stop: &mut Stop, source: &dyn RecordSource) {
        if stop.left {
            return;
        }
        // What had been fetched before the pause.
        self.pack_everything();
        let now = Instant::now();
        let finished = self.held_bytes == 0 && self.revokes.is_empty();
        if finished {
            stop.leave_by = stop.leave_by.min(now + COMMITS_WAIT);
        }
        let committed = finished
            && self
                .partitions
                .commits(None, self.settings.metadata_max_bytes)
                .commits
                .is_empty();
        if committed || now >= stop.leave_by {
            stop.left = true;
            source.close();
        }
    }
}
