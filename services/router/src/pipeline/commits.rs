//! Commits what is finished, and gives revoked and lost partitions up.

use std::time::Duration;

use delayq_core::ports::{RecordSource, RevokeReply, paired};
use delayq_core::record::TopicPartition;
use tokio::time::Instant;

use super::Router;
use crate::metrics as names;
use crate::partitions::{AssignmentId, Ticket, ToCommit};

/// Longest wait for the coordinator to confirm a commit.
const COMMIT_WAIT: Duration = Duration::from_secs(5);

/// Partitions that are to be given back.
pub(super) struct Revoke {
    pub(super) ids: Vec<AssignmentId>,
    pub(super) reply: RevokeReply,
    pub(super) deadline: Instant,
}

impl Router {
    pub(super) async fn commit(&mut self, source: &dyn RecordSource) {
        let limit_bytes = self.settings.metadata_max_bytes;
        let ToCommit { commits, crowded } = self.partitions.commits(None, limit_bytes);
        self.pause_crowded(crowded, source);
        if commits.is_empty() {
            return;
        }
        let Ok(outcomes) = tokio::time::timeout(COMMIT_WAIT, source.commit(commits.clone())).await
        else {
            metrics::counter!(names::COMMITS, "outcome" => "unanswered").increment(1);
            tracing::warn!("the group coordinator does not answer a commit; it is sent again");
            return;
        };
        for (commit, outcome) in paired(commits, outcomes, "commit") {
            match outcome {
                Ok(()) => {
                    metrics::counter!(names::COMMITS, "outcome" => "confirmed").increment(1);
                    self.partitions.confirmed(commit);
                }
                Err(error) => {
                    metrics::counter!(names::COMMITS, "outcome" => "failed").increment(1);
                    tracing::warn!(partition = %commit.partition, %error, "commit failed; it is sent again");
                }
            }
        }
    }

    /// A map too large for the broker: the commit goes with a part of it, the partition pauses, what is held is flushed.
    fn pause_crowded(&mut self, crowded: Vec<TopicPartition>, source: &dyn RecordSource) {
        let known = self.partitions.all();
        let free: Vec<_> = self
            .crowded
            .iter()
            .filter(|p| !crowded.contains(p) && known.contains(p))
            .cloned()
            .collect();
        if !free.is_empty() && !self.paused && !self.intake_ended {
            source.resume(&free);
        }
        if !crowded.is_empty() {
            source.pause(&crowded);
            self.pack_everything();
        }
        self.crowded = crowded;
    }

    /// Gives revoked partitions back once they are finished, or out of time.
    pub(super) fn answer_revokes(&mut self) {
        let now = Instant::now();
        let (ready, waiting): (Vec<_>, Vec<_>) = self
            .revokes
            .drain(..)
            .partition(|r| self.partitions.all_finished(&r.ids) || now >= r.deadline);
        self.revokes = waiting;
        for revoke in ready {
            let limit_bytes = self.settings.metadata_max_bytes;
            let last = self.partitions.commits(Some(&revoke.ids), limit_bytes);
            revoke.reply.send(last.commits);
            self.discard(&revoke.ids);
        }
    }

    pub(super) fn discard(&mut self, ids: &[AssignmentId]) {
        let discarded = self.partitions.discard(ids);
        self.held_bytes -= discarded.bytes;
        self.watch_no_more(&discarded.partitions);
        if discarded.records > 0 {
            metrics::counter!(names::DISCARDED).increment(discarded.records as u64);
            tracing::warn!(
                records = discarded.records,
                "records given up unfinished: the next owner of their partitions repeats them"
            );
        }
        self.short.retain(Ticket::is_alive);
        self.long_groups.retain(Ticket::is_alive);
        self.long_ready.retain_mut(|group| {
            group.items.retain(|(_, ticket)| ticket.is_alive());
            !group.items.is_empty()
        });
    }
}
