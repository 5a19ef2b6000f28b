//! Commits what is finished, and gives revoked and lost partitions up.

use std::time::Duration;

use delayq_core::ports::{Commit, RecordSource, RevokeReply, paired};
use delayq_core::record::TopicPartition;
use tokio::time::Instant;

use super::Router;
use crate::metrics as names;
use crate::partitions::{AssignmentId, Ticket};

/// Longest wait for the coordinator to confirm a commit.
const COMMIT_WAIT: Duration = Duration::from_secs(5);

/// Partitions that are to be given back.
pub(super) struct Revoke {
    pub(super) partitions: Vec<TopicPartition>,
    pub(super) ids: Vec<AssignmentId>,
    pub(super) reply: RevokeReply,
    pub(super) deadline: Instant,
}

impl Router {
    pub(super) async fn commit(&mut self, source: &dyn RecordSource) {
        let mut commits = self.partitions.commits(None);
        self.pause_crowded(&mut commits, source);
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

    /// A map too large for the broker: the commit goes without it, the partition pauses, what is held is flushed.
    pub(super) fn pause_crowded(&mut self, commits: &mut [Commit], source: &dyn RecordSource) {
        let crowded = drop_large_maps(commits, self.settings.metadata_max_bytes);
        let known = self.partitions.all();
        let free: Vec<_> = self
            .crowded
            .iter()
            .filter(|p| !crowded.contains(p) && known.contains(p))
            .cloned()
            .collect();
        if !free.is_empty() && !self.paused {
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
            let mut commits = self.partitions.commits(Some(&revoke.ids));
            drop_large_maps(&mut commits, self.settings.metadata_max_bytes);
            revoke.reply.send(commits);
            self.discard(&revoke.partitions);
        }
    }

    pub(super) fn discard(&mut self, partitions: &[TopicPartition]) {
        let (bytes, records) = self.partitions.discard(partitions);
        self.held_bytes -= bytes;
        self.watch_no_more(partitions);
        if records > 0 {
            metrics::counter!(names::DISCARDED).increment(records as u64);
            tracing::warn!(
                records,
                "records given up unfinished: the next owner of their partitions repeats them"
            );
        }
        self.short.retain(Ticket::is_alive);
        self.long_groups.retain(Ticket::is_alive);
    }
}

/// Takes the maps away that the broker would refuse: without its map a commit stands. Answers with their partitions.
fn drop_large_maps(commits: &mut [Commit], limit_bytes: usize) -> Vec<TopicPartition> {
    let large = commits
        .iter_mut()
        .filter(|commit| commit.metadata.len() > limit_bytes);
    large
        .map(|commit| {
            commit.metadata = String::new();
            commit.partition.clone()
        })
        .collect()
}
