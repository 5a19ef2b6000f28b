//! A consumer group: who holds which partition, and the cooperative moves between members.
//!
//! A partition changes hands in two steps, as in Kafka's cooperative-sticky assignor: its holder is asked to
//! give it up, and only when it has (or its time is up) is it granted to another. What nobody has to give
//! up stays where it is. No time is read here and nothing waits: `source` does that.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use delayq_core::error::{ErrorClass, PortError};
use delayq_core::ports::{Assigned, Commit};
use delayq_core::record::TopicPartition;
use tokio::time::Instant;

/// Longest commit metadata a broker takes (`offset.metadata.max.bytes`).
const METADATA_MAX_BYTES: usize = 4096;

pub(crate) type MemberId = u64;

/// How many partitions each topic has.
pub(crate) type Topics = BTreeMap<Arc<str>, i32>;

#[derive(Debug, Default)]
pub(crate) struct Group {
    members: BTreeMap<MemberId, Member>,
    committed: BTreeMap<TopicPartition, (i64, String)>,
    last_member: MemberId,
    last_revocation: u64,
}

#[derive(Debug, Default)]
struct Member {
    topics: BTreeSet<Arc<str>>,
    leaving: bool,
    /// Given to it, but not yet told.
    granted: BTreeSet<TopicPartition>,
    held: BTreeMap<TopicPartition, Fetch>,
    /// To be given up, but not yet told; no longer fetched.
    to_revoke: BTreeSet<TopicPartition>,
    revoking: BTreeMap<u64, Revocation>,
    /// Belong to others already. While there are any, the member takes no part in the group.
    lost: BTreeSet<TopicPartition>,
    last_fetched: Option<TopicPartition>,
}

/// Where a held partition is read next.
#[derive(Debug, Clone, Copy)]
struct Fetch {
    position: i64,
    paused: bool,
}

#[derive(Debug)]
struct Revocation {
    partitions: Vec<TopicPartition>,
    deadline: Instant,
}

/// What a member is told next.
#[derive(Debug)]
pub(crate) enum Notice {
    Lost(Vec<TopicPartition>),
    Revoke {
        id: u64,
        partitions: Vec<TopicPartition>,
    },
    Assigned(Vec<Assigned>),
    /// It has left.
    Gone,
}

impl Member {
    fn takes_part(&self) -> bool {
        !self.leaving && self.lost.is_empty()
    }

    fn kept(&self) -> usize {
        self.granted.len() + self.held.len()
    }

    fn keeps(&self, partition: &TopicPartition) -> bool {
        self.granted.contains(partition) || self.held.contains_key(partition)
    }

    fn gives_up(&self) -> impl Iterator<Item = &TopicPartition> {
        let revoking = self.revoking.values().flat_map(|r| &r.partitions);
        self.to_revoke.iter().chain(revoking)
    }

    fn owns(&self, partition: &TopicPartition) -> bool {
        self.held.contains_key(partition) || self.gives_up().any(|p| p == partition)
    }

    fn is_empty(&self) -> bool {
        self.kept() == 0 && self.lost.is_empty() && self.gives_up().next().is_none()
    }
}

impl Group {
    pub(crate) fn join(&mut self, topics: BTreeSet<Arc<str>>) -> MemberId {
        self.last_member += 1;
        let member = Member {
            topics,
            ..Member::default()
        };
        self.members.insert(self.last_member, member);
        self.last_member
    }

    /// The member leaves in good order: what it holds is revoked first.
    pub(crate) fn leave(&mut self, id: MemberId) {
        if let Some(member) = self.members.get_mut(&id) {
            member.leaving = true;
            member.granted.clear();
            let held = std::mem::take(&mut member.held);
            member.to_revoke.extend(held.into_keys());
        }
    }

    /// The member is gone without a word.
    pub(crate) fn remove(&mut self, id: MemberId) {
        self.members.remove(&id);
    }

    /// The coordinator has given the member up; it learns so when it asks next, and joins anew then.
    pub(crate) fn expire(&mut self, id: MemberId) {
        if let Some(member) = self.members.get_mut(&id) {
            let held = std::mem::take(&mut member.held);
            member.lost.extend(held.into_keys());
            member.lost.append(&mut member.to_revoke);
            member.granted.clear();
            member.revoking.clear();
        }
    }

    pub(crate) fn members(&self) -> impl Iterator<Item = MemberId> {
        self.members.keys().copied()
    }

    /// The first moment at which a member's time to give partitions up ends.
    pub(crate) fn next_deadline(&self) -> Option<Instant> {
        let all = self.members.values().flat_map(|m| m.revoking.values());
        all.map(|revocation| revocation.deadline).min()
    }

    /// Takes back what should have been given up by now. True if there was any.
    pub(crate) fn expire_revocations(&mut self, now: Instant) -> bool {
        let mut any = false;
        for member in self.members.values_mut() {
            let before = member.revoking.len();
            member.revoking.retain(|_, r| r.deadline > now);
            any |= member.revoking.len() < before;
        }
        any
    }

    /// The member's answer to a revocation; none after its deadline or its session.
    pub(crate) fn commit_revoked(&mut self, id: MemberId, revocation: u64, commits: Vec<Commit>) {
        let pending = self
            .members
            .get(&id)
            .and_then(|member| member.revoking.get(&revocation));
        let Some(pending) = pending else { return };
        for commit in commits {
            if pending.partitions.contains(&commit.partition)
                && commit.metadata.len() <= METADATA_MAX_BYTES
            {
                self.committed
                    .insert(commit.partition, (commit.offset, commit.metadata));
            }
        }
    }

    /// The revoked partitions are free.
    pub(crate) fn release(&mut self, id: MemberId, revocation: u64) {
        if let Some(member) = self.members.get_mut(&id) {
            member.revoking.remove(&revocation);
        }
    }

    pub(crate) fn commit(&mut self, id: MemberId, commit: Commit) -> Result<(), PortError> {
        const CALL: &str = "memory commit";
        if commit.metadata.len() > METADATA_MAX_BYTES {
            let detail = format!(
                "commit metadata of {} bytes is over the limit of {METADATA_MAX_BYTES}",
                commit.metadata.len()
            );
            return Err(PortError::new(ErrorClass::Invalid, CALL, detail));
        }
        let owns = |member: &Member| member.owns(&commit.partition);
        if !self.members.get(&id).is_some_and(owns) {
            let detail = format!("{} is not held by this member", commit.partition);
            return Err(PortError::new(ErrorClass::Conflict, CALL, detail));
        }
        self.committed
            .insert(commit.partition, (commit.offset, commit.metadata));
        Ok(())
    }

    pub(crate) fn committed(&self, partition: &TopicPartition) -> Option<&(i64, String)> {
        self.committed.get(partition)
    }

    /// What the member must hear before it gets records.
    pub(crate) fn notice(&mut self, id: MemberId, revoke_deadline: Instant) -> Option<Notice> {
        let Some(member) = self.members.get_mut(&id) else {
            return Some(Notice::Gone);
        };
        if !member.lost.is_empty() {
            let lost = std::mem::take(&mut member.lost);
            return Some(Notice::Lost(lost.into_iter().collect()));
        }
        if !member.to_revoke.is_empty() {
            let partitions: Vec<_> = std::mem::take(&mut member.to_revoke).into_iter().collect();
            self.last_revocation += 1;
            let id = self.last_revocation;
            let revocation = Revocation {
                partitions: partitions.clone(),
                deadline: revoke_deadline,
            };
            member.revoking.insert(id, revocation);
            return Some(Notice::Revoke { id, partitions });
        }
        if member.leaving {
            if !member.is_empty() {
                return None;
            }
            self.members.remove(&id);
            return Some(Notice::Gone);
        }
        if member.granted.is_empty() {
            return None;
        }
        let granted = std::mem::take(&mut member.granted);
        let mut assigned = Vec::with_capacity(granted.len());
        for partition in granted {
            let committed = self.committed.get(&partition);
            let fetch = Fetch {
                // Without a commit from the start (`auto.offset.reset=earliest`).
                position: committed.map_or(0, |(offset, _)| *offset),
                paused: false,
            };
            member.held.insert(partition.clone(), fetch);
            assigned.push(Assigned {
                partition,
                committed: committed.map(|(offset, _)| *offset),
                metadata: committed.map(|(_, metadata)| metadata.clone()),
            });
        }
        Some(Notice::Assigned(assigned))
    }

    pub(crate) fn set_paused(&mut self, id: MemberId, partitions: &[TopicPartition], paused: bool) {
        if let Some(member) = self.members.get_mut(&id) {
            for partition in partitions {
                if let Some(fetch) = member.held.get_mut(partition) {
                    fetch.paused = paused;
                }
            }
        }
    }

    /// What the member may read, and from where; the partition after the last one read comes first.
    pub(crate) fn fetchable(&self, id: MemberId) -> Vec<(TopicPartition, i64)> {
        let Some(member) = self.members.get(&id) else {
            return Vec::new();
        };
        let mut open: Vec<_> = member
            .held
            .iter()
            .filter(|(_, fetch)| !fetch.paused)
            .map(|(partition, fetch)| (partition.clone(), fetch.position))
            .collect();
        if let Some(last) = &member.last_fetched {
            let next = open.partition_point(|(partition, _)| partition <= last);
            open.rotate_left(next);
        }
        open
    }

    /// The member has read up to `position` (exclusive).
    pub(crate) fn fetched(&mut self, id: MemberId, partition: &TopicPartition, position: i64) {
        if let Some(member) = self.members.get_mut(&id)
            && let Some(fetch) = member.held.get_mut(partition)
        {
            fetch.position = position;
            member.last_fetched = Some(partition.clone());
        }
    }

    /// Gives free partitions to the members with the fewest, and asks those with too many to give some up.
    pub(crate) fn rebalance(&mut self, topics: &Topics) {
        let mut load: BTreeMap<MemberId, usize> = self
            .members
            .iter()
            .filter(|(_, member)| member.takes_part())
            .map(|(id, member)| (*id, member.kept()))
            .collect();
        for (topic, partitions) in topics {
            for partition in 0..*partitions {
                let partition = TopicPartition::new(topic.clone(), partition);
                if self.members.values().any(|m| m.keeps(&partition)) {
                    continue;
                }
                let Some(next) = self.least_loaded(&load, topic) else {
                    continue;
                };
                // A partition still being given up is promised: counted, so that no other is moved for it.
                load.entry(next).and_modify(|n| *n += 1);
                if !self.members.values().any(|m| m.owns(&partition))
                    && let Some(member) = self.members.get_mut(&next)
                {
                    member.granted.insert(partition);
                }
            }
        }
        while let Some((from, to, partition)) = self.one_too_many(&load) {
            load.entry(from).and_modify(|n| *n -= 1);
            load.entry(to).and_modify(|n| *n += 1);
            self.start_move(from, to, partition);
        }
    }

    fn least_loaded(&self, load: &BTreeMap<MemberId, usize>, topic: &str) -> Option<MemberId> {
        load.iter()
            .filter(|(id, _)| self.subscribes(**id, topic))
            .min_by_key(|(_, load)| **load)
            .map(|(id, _)| *id)
    }

    fn subscribes(&self, id: MemberId, topic: &str) -> bool {
        self.members
            .get(&id)
            .is_some_and(|member| member.topics.contains(topic))
    }

    /// A partition whose move makes the loads more even.
    fn one_too_many(
        &self,
        load: &BTreeMap<MemberId, usize>,
    ) -> Option<(MemberId, MemberId, TopicPartition)> {
        for (from, from_load) in load {
            for (to, to_load) in load {
                if *from_load <= to_load + 1 {
                    continue;
                }
                let member = self.members.get(from)?;
                // From the back: what was only promised moves before what is already being worked on.
                let mut kept = member.held.keys().chain(&member.granted);
                let movable = kept.rfind(|p| self.subscribes(*to, &p.topic));
                if let Some(partition) = movable {
                    return Some((*from, *to, partition.clone()));
                }
            }
        }
        None
    }

    fn start_move(&mut self, from: MemberId, to: MemberId, partition: TopicPartition) {
        let Some(member) = self.members.get_mut(&from) else {
            return;
        };
        if member.held.remove(&partition).is_some() {
            member.to_revoke.insert(partition);
        } else if member.granted.remove(&partition)
            && let Some(member) = self.members.get_mut(&to)
        {
            member.granted.insert(partition);
        }
    }
}
