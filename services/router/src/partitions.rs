//! What of each assigned partition is finished, and what is to be committed.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use delayq_core::commit_metadata::{self, CommitMap};
use delayq_core::offsets::{FinishedMap, OffsetTracker, Token};
use delayq_core::ports::{Assigned, Commit};
use delayq_core::record::TopicPartition;
use rustc_hash::FxHashMap;

use crate::metrics;

/// Names one assignment of one partition: a later assignment of the same partition is another.
pub type AssignmentId = u64;

/// By what the router knows a record that is under way.
#[derive(Debug, Clone)]
pub struct Ticket {
    /// The assignment it was delivered in.
    pub assignment: AssignmentId,
    /// Its place in the tracker.
    pub token: Token,
    /// What it counts against the memory budget.
    pub memory_bytes: usize,
    /// Cleared when the partition is lost.
    pub alive: Arc<AtomicBool>,
}

impl Ticket {
    /// Whether the partition is still ours.
    #[must_use]
    pub fn is_alive(&self) -> bool {
        self.alive.load(Ordering::Acquire)
    }
}

#[derive(Debug)]
struct Assignment {
    partition: TopicPartition,
    tracker: OffsetTracker,
    restored: Option<CommitMap>,
    leader_epoch: Option<i32>,
    confirmed: Option<Commit>,
    alive: Arc<AtomicBool>,
    held: usize,
}

/// What a delivered record is.
#[derive(Debug)]
pub enum Delivered {
    /// To be routed.
    New(Ticket),
    /// Finished by an earlier owner: nothing to do.
    Restored,
    /// Delivered before in this assignment, or of no partition of ours.
    Ignored,
}

/// Commits that have not been confirmed.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct ToCommit {
    /// Each with as much of its map as fits.
    pub commits: Vec<Commit>,
    /// Partitions whose map does not fit, confirmed or not, and that have records in hand: it shrinks as these are finished.
    pub crowded: Vec<TopicPartition>,
}

/// What was forgotten.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Discarded {
    /// The partitions of the assignments.
    pub partitions: Vec<TopicPartition>,
    /// The memory that is free now.
    pub bytes: usize,
    /// Records left unfinished.
    pub records: usize,
}

/// The oldest unfinished record of a partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Head {
    /// Its offset.
    pub offset: i64,
    /// How long it has been in hand, in ms.
    pub age_ms: i64,
    /// How many records of the partition are unfinished, this one included.
    pub unfinished: usize,
}

/// All assigned partitions.
#[derive(Debug, Default)]
pub struct Partitions {
    assignments: FxHashMap<AssignmentId, Assignment>,
    by_partition: FxHashMap<TopicPartition, AssignmentId>,
    next_id: AssignmentId,
}

impl Partitions {
    /// Takes a partition on. One that is still held must have been discarded before.
    pub fn assign(&mut self, assigned: Assigned) {
        let restored = match (assigned.committed, assigned.metadata.as_deref()) {
            (Some(committed), Some(metadata)) => commit_metadata::decode(metadata, committed).unwrap_or_else(|fault| {
                ::metrics::counter!(metrics::MAPS_IGNORED, "fault" => fault.code()).increment(1);
                tracing::warn!(partition = %assigned.partition, %fault, "commit metadata ignored: records finished beyond the offset are repeated");
                None
            }),
            _ => None,
        };
        self.next_id += 1;
        self.by_partition
            .insert(assigned.partition.clone(), self.next_id);
        let leader_epoch = restored.as_ref().and_then(|map| map.leader_epoch);
        let confirmed = assigned.committed.map(|offset| Commit {
            partition: assigned.partition.clone(),
            offset,
            metadata: assigned.metadata.unwrap_or_default(),
        });
        self.assignments.insert(
            self.next_id,
            Assignment {
                partition: assigned.partition,
                tracker: OffsetTracker::new(assigned.committed),
                restored,
                leader_epoch,
                confirmed,
                alive: Arc::new(AtomicBool::new(true)),
                held: 0,
            },
        );
    }

    /// A record was delivered, at `delivered_ms` by the clock that [`Partitions::heads`] is asked by.
    pub fn deliver(
        &mut self,
        partition: &TopicPartition,
        offset: i64,
        leader_epoch: Option<i32>,
        memory_bytes: usize,
        delivered_ms: i64,
    ) -> Delivered {
        let Some(id) = self.by_partition.get(partition).copied() else {
            return Delivered::Ignored;
        };
        let Some(assignment) = self.assignments.get_mut(&id) else {
            return Delivered::Ignored;
        };
        let Some(token) = assignment.tracker.deliver(offset, delivered_ms) else {
            return Delivered::Ignored;
        };
        assignment.leader_epoch = assignment.leader_epoch.max(leader_epoch);
        if assignment
            .restored
            .as_ref()
            .is_some_and(|map| map.covers(offset, leader_epoch))
        {
            assignment.tracker.finish(token);
            return Delivered::Restored;
        }
        assignment.held += memory_bytes;
        Delivered::New(Ticket {
            assignment: id,
            token,
            memory_bytes,
            alive: assignment.alive.clone(),
        })
    }

    /// A record reached its end, confirmed. Answers with the memory it frees.
    pub fn finish(&mut self, ticket: &Ticket) -> usize {
        let Some(assignment) = self.assignments.get_mut(&ticket.assignment) else {
            return 0;
        };
        if !assignment.tracker.finish(ticket.token) {
            return 0;
        }
        assignment.held -= ticket.memory_bytes;
        ticket.memory_bytes
    }

    /// The assignments of these partitions.
    #[must_use]
    pub fn ids(&self, partitions: &[TopicPartition]) -> Vec<AssignmentId> {
        partitions
            .iter()
            .filter_map(|p| self.by_partition.get(p).copied())
            .collect()
    }

    /// Whether everything delivered in these assignments is finished.
    #[must_use]
    pub fn all_finished(&self, ids: &[AssignmentId]) -> bool {
        ids.iter().all(|id| {
            self.assignments
                .get(id)
                .is_none_or(|a| a.tracker.unfinished() == 0)
        })
    }

    /// Forgets assignments: their records are not published any more. A later assignment of the same partition stays.
    pub fn discard(&mut self, ids: &[AssignmentId]) -> Discarded {
        let mut discarded = Discarded::default();
        for id in ids {
            let Some(assignment) = self.assignments.remove(id) else {
                continue;
            };
            assignment.alive.store(false, Ordering::Release);
            discarded.bytes += assignment.held;
            discarded.records += assignment.tracker.unfinished();
            if self.by_partition.get(&assignment.partition) == Some(id) {
                self.by_partition.remove(&assignment.partition);
            }
            discarded.partitions.push(assignment.partition);
        }
        discarded
    }

    /// What there is to commit for `ids`, or for all, with maps of at most `map_max_bytes`.
    #[must_use]
    pub fn commits(&self, ids: Option<&[AssignmentId]>, map_max_bytes: usize) -> ToCommit {
        let mut all = ToCommit::default();
        let asked = |id: &AssignmentId| ids.is_none_or(|ids| ids.contains(id));
        for (_, assignment) in self.assignments.iter().filter(|(id, _)| asked(id)) {
            let Some((commit, whole)) = assignment.commit(map_max_bytes) else {
                continue;
            };
            // With nothing in hand a pause would only keep away what makes the map smaller.
            if !whole && assignment.tracker.unfinished() > 0 {
                all.crowded.push(assignment.partition.clone());
            }
            if assignment.confirmed.as_ref() != Some(&commit) {
                all.commits.push(commit);
            }
        }
        all
    }

    /// A commit was confirmed.
    pub fn confirmed(&mut self, commit: Commit) {
        let assignment = self
            .by_partition
            .get(&commit.partition)
            .and_then(|id| self.assignments.get_mut(id));
        if let Some(assignment) = assignment {
            assignment.confirmed = Some(commit);
        }
    }

    /// What holds up the commits of each partition at `now_ms`.
    #[must_use]
    pub fn heads(&self, now_ms: i64) -> Vec<(TopicPartition, Option<Head>)> {
        let head = |assignment: &Assignment| {
            let (offset, delivered_ms) = assignment.tracker.oldest_unfinished()?;
            Some(Head {
                offset,
                age_ms: now_ms.saturating_sub(delivered_ms),
                unfinished: assignment.tracker.unfinished(),
            })
        };
        let assignments = self.assignments.values();
        assignments
            .map(|assignment| (assignment.partition.clone(), head(assignment)))
            .collect()
    }

    /// All partitions.
    #[must_use]
    pub fn all(&self) -> Vec<TopicPartition> {
        self.by_partition.keys().cloned().collect()
    }
}

impl Assignment {
    /// The commit, and whether its map is whole.
    fn commit(&self, map_max_bytes: usize) -> Option<(Commit, bool)> {
        let offset = self.tracker.head()?;
        let map = CommitMap {
            committed: offset,
            leader_epoch: self.leader_epoch,
            finished: self.finished(),
        };
        let (metadata, whole) = commit_metadata::encode_within(&map, map_max_bytes);
        let commit = Commit {
            partition: self.partition.clone(),
            offset,
            metadata,
        };
        Some((commit, whole))
    }

    /// What is finished beyond the head, by this owner or by an earlier one: what it said of records that have not come yet
    /// must reach the next owner. Once a record of a later leader epoch has come, those behind it are not the ones it spoke of.
    fn finished(&self) -> FinishedMap {
        let mine = self.tracker.finished_beyond_head();
        match (&self.restored, self.tracker.last()) {
            (Some(earlier), Some(last)) if earlier.leader_epoch == self.leader_epoch => {
                mine.continued_by(&earlier.finished, last)
            }
            _ => mine,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAP_MAX: usize = 3_000;

    fn assigned(committed: Option<i64>, metadata: Option<String>) -> Assigned {
        Assigned {
            partition: TopicPartition::new("d", 0),
            committed,
            metadata,
        }
    }

    fn ticket(partitions: &mut Partitions, offset: i64) -> Ticket {
        match partitions.deliver(
            &TopicPartition::new("d", 0),
            offset,
            Some(1),
            10,
            offset * 100,
        ) {
            Delivered::New(ticket) => ticket,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn what_is_finished_beyond_the_head_survives_a_restart() {
        let mut before = Partitions::default();
        before.assign(assigned(Some(5), None));
        let tickets: Vec<_> = (5..10).map(|offset| ticket(&mut before, offset)).collect();
        for at in [0, 2, 3] {
            assert_eq!(before.finish(&tickets[at]), 10);
        }
        assert_eq!(before.finish(&tickets[0]), 0, "counted once");
        let commit = before.commits(None, MAP_MAX).commits.remove(0);
        assert_eq!(commit.offset, 6);
        before.confirmed(commit.clone());
        assert!(
            before.commits(None, MAP_MAX).commits.is_empty(),
            "nothing new to commit"
        );

        let mut after = Partitions::default();
        after.assign(assigned(Some(commit.offset), Some(commit.metadata)));
        let kinds: Vec<_> = (6..10)
            .map(|o| {
                matches!(
                    after.deliver(&TopicPartition::new("d", 0), o, Some(1), 10, 0),
                    Delivered::New(_)
                )
            })
            .collect();
        assert_eq!(kinds, [true, false, false, true]);
    }

    /// Several rebalances in a row: an owner under pressure may be given nothing before it must give the partition up.
    #[test]
    fn what_an_earlier_owner_finished_is_handed_on_by_one_that_has_not_seen_it() {
        let handed_on = |delivered: std::ops::Range<i64>, epoch| {
            let mut before = Partitions::default();
            before.assign(assigned(Some(5), None));
            let tickets: Vec<_> = (5..10).map(|offset| ticket(&mut before, offset)).collect();
            for at in [1, 2, 4] {
                before.finish(&tickets[at]);
            }
            let mut commit = before.commits(None, MAP_MAX).commits.remove(0);
            let mut between = Partitions::default();
            between.assign(assigned(Some(commit.offset), Some(commit.metadata.clone())));
            for offset in delivered {
                between.deliver(&commit.partition, offset, Some(epoch), 10, 0);
            }
            commit = between
                .commits(None, MAP_MAX)
                .commits
                .pop()
                .unwrap_or(commit);
            assert_eq!(commit.offset, 5);
            let map = commit_metadata::decode(&commit.metadata, 5).unwrap();
            map.map(|map| map.finished.ranges().to_vec())
        };
        let all = Some(vec![(6, 7), (9, 9)]);
        assert_eq!(handed_on(5..5, 1), all, "none has come");
        assert_eq!(handed_on(5..7, 1), all, "some have come");
        assert_eq!(handed_on(5..10, 1), all, "all have come");
        assert_eq!(handed_on(5..6, 2), None, "the log was cut: other records");
    }

    #[test]
    fn a_map_that_does_not_fit_is_committed_as_far_as_it_does() {
        let mut before = Partitions::default();
        before.assign(assigned(Some(0), None));
        let tickets: Vec<_> = (0..4_000)
            .map(|offset| ticket(&mut before, offset))
            .collect();
        let mut random = 7_u64;
        for finished in tickets.iter().skip(1) {
            random = random
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            if random >> 63 == 0 {
                before.finish(finished);
            }
        }
        let all = before.commits(None, usize::MAX).commits.remove(0);
        let ToCommit { commits, crowded } = before.commits(None, 400);
        assert_eq!(crowded, [TopicPartition::new("d", 0)]);
        assert!((300..=400).contains(&commits[0].metadata.len()));
        let ranges = |commit: &Commit| {
            let map = commit_metadata::decode(&commit.metadata, 0)
                .unwrap()
                .unwrap();
            map.finished.ranges().to_vec()
        };
        let (part, all) = (ranges(&commits[0]), ranges(&all));
        assert!(
            part.len() > 100 && part[..] == all[..part.len()],
            "its beginning"
        );
        before.confirmed(commits[0].clone());
        let still = before.commits(None, 400);
        assert_eq!((still.commits.len(), still.crowded.len()), (0, 1));

        let mut after = Partitions::default();
        after.assign(assigned(Some(0), Some(commits[0].metadata.clone())));
        let first = after.commits(None, 100);
        assert_eq!(
            first.crowded,
            [],
            "nothing in hand that could make it smaller"
        );
    }

    #[test]
    fn a_revoke_that_is_answered_late_leaves_the_next_assignment_alone() {
        let mut partitions = Partitions::default();
        let partition = TopicPartition::new("d", 0);
        partitions.assign(assigned(Some(0), None));
        let revoked = partitions.ids(std::slice::from_ref(&partition));
        ticket(&mut partitions, 0);
        let before = partitions.ids(std::slice::from_ref(&partition));
        partitions.discard(&before);
        partitions.assign(assigned(Some(0), None));
        assert!(partitions.all_finished(&revoked), "it is gone");
        assert_eq!(partitions.discard(&revoked), Discarded::default());
        ticket(&mut partitions, 0);
        assert_eq!(partitions.all(), [partition]);
    }

    #[test]
    fn the_head_is_the_oldest_that_is_unfinished() {
        let mut partitions = Partitions::default();
        partitions.assign(assigned(Some(5), None));
        let head = |partitions: &Partitions| partitions.heads(2_000)[0].1;
        assert_eq!(head(&partitions), None);
        let tickets: Vec<_> = (5..8).map(|o| ticket(&mut partitions, o)).collect();
        partitions.finish(&tickets[1]);
        let first = Head {
            offset: 5,
            age_ms: 1_500,
            unfinished: 2,
        };
        assert_eq!(head(&partitions), Some(first));
        partitions.finish(&tickets[0]);
        let last = Head {
            offset: 7,
            age_ms: 1_300,
            unfinished: 1,
        };
        assert_eq!(head(&partitions), Some(last));
        partitions.finish(&tickets[2]);
        assert_eq!(head(&partitions), None);
    }

    #[test]
    fn a_lost_partition_lets_go_of_its_records() {
        let mut partitions = Partitions::default();
        partitions.assign(assigned(Some(0), None));
        let old = ticket(&mut partitions, 0);
        let discarded = partitions.discard(&partitions.ids(&[TopicPartition::new("d", 0)]));
        assert_eq!((discarded.bytes, discarded.records), (10, 1));
        assert!(!old.is_alive());
        partitions.assign(assigned(Some(0), None));
        let new = ticket(&mut partitions, 0);
        assert_eq!(partitions.finish(&old), 0, "of another assignment");
        assert!(new.is_alive());
        assert!(!partitions.all_finished(&partitions.ids(&[TopicPartition::new("d", 0)])));
        assert!(
            partitions
                .commits(None, MAP_MAX)
                .commits
                .iter()
                .all(|c| c.offset == 0)
        );
    }
}
