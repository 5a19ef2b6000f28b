//! The consumer side of the memory broker: a member of a consumer group.

use std::collections::BTreeSet;
use std::fmt;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use delayq_core::error::{ErrorClass, PortError};
use delayq_core::ports::{Commit, Outcomes, RecordSource, RevokeReply, SourceEvent};
use delayq_core::record::TopicPartition;
use tokio::time::Instant;

use crate::broker::{MemoryBroker, Shared, State};
use crate::group::{MemberId, Notice};
use crate::lock::locked;
use crate::wait::changed_or;

/// How a member behaves.
#[derive(Debug, Clone, Copy)]
pub struct SourceOptions {
    /// Most records in one [`SourceEvent::Records`], at least 1.
    pub max_records: usize,
    /// How long revoked partitions wait for the last commits before they are let go without.
    pub revoke_timeout: Duration,
}

impl Default for SourceOptions {
    fn default() -> Self {
        Self {
            max_records: 500,
            revoke_timeout: Duration::from_secs(10),
        }
    }
}

/// A member of a consumer group. Dropped without [`RecordSource::close`] it is a crash: nothing is
/// committed, and its partitions go to the others at once.
pub struct MemorySource {
    seat: Seat,
    options: SourceOptions,
    told_down: bool,
}

/// A member's place in its group.
#[derive(Clone)]
struct Seat {
    shared: Arc<Shared>,
    group: Arc<str>,
    member: MemberId,
}

impl fmt::Debug for MemorySource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemorySource")
            .field("group", &self.seat.group)
            .field("member", &self.seat.member)
            .finish_non_exhaustive()
    }
}

impl MemorySource {
    /// Joins `group` for `topics`, which may be created later.
    pub fn join<T: Into<Arc<str>>>(
        broker: &MemoryBroker,
        group: impl Into<Arc<str>>,
        topics: impl IntoIterator<Item = T>,
        options: SourceOptions,
    ) -> Self {
        let group = group.into();
        let topics: BTreeSet<Arc<str>> = topics.into_iter().map(Into::into).collect();
        let shared = broker.shared.clone();
        let member = shared.change(|state| state.join(&group, topics));
        Self {
            seat: Seat {
                shared,
                group,
                member,
            },
            options,
            told_down: false,
        }
    }

    /// The next event, if there is one now, and whether the source has ended.
    fn poll(&mut self, state: &mut State, now: Instant) -> Polled {
        let Seat { group, member, .. } = &self.seat;
        if let Some(members) = state.group_mut(group)
            && members.expire_revocations(now)
        {
            state.rebalance_all();
            self.seat.shared.changed.notify_waiters();
        }
        let deadline = now + self.options.revoke_timeout;
        match state.notice(group, *member, deadline) {
            Some(Notice::Gone) => return Polled::Ended,
            Some(notice) => {
                // Others may have been given what this member lost.
                self.seat.shared.changed.notify_waiters();
                return self.event(notice);
            }
            None => {}
        }
        if state.is_down() != self.told_down {
            self.told_down = state.is_down();
            let error = state.check_up("memory fetch").err();
            return Polled::Event(error.map_or(SourceEvent::Healthy, SourceEvent::Unhealthy));
        }
        if self.told_down {
            return Polled::Nothing;
        }
        let records = state.fetch(group, *member, self.options.max_records.max(1));
        if records.is_empty() {
            return Polled::Nothing;
        }
        Polled::Event(SourceEvent::Records(records))
    }

    fn event(&self, notice: Notice) -> Polled {
        Polled::Event(match notice {
            Notice::Gone => return Polled::Ended,
            Notice::Lost(partitions) => SourceEvent::Lost(partitions),
            Notice::Assigned(assigned) => SourceEvent::Assigned(assigned),
            Notice::Revoke { id, partitions } => {
                let giving_up = GivingUp {
                    seat: self.seat.clone(),
                    revocation: id,
                };
                SourceEvent::Revoked {
                    partitions,
                    reply: RevokeReply::new(move |commits| giving_up.answer(commits)),
                }
            }
        })
    }
}

enum Polled {
    Event(SourceEvent),
    Nothing,
    Ended,
}

/// Frees the revoked partitions when dropped: answered or not, they are let go.
struct GivingUp {
    seat: Seat,
    revocation: u64,
}

impl GivingUp {
    fn answer(self, commits: Vec<Commit>) {
        let mut state = locked(&self.seat.shared.state);
        if !state.is_down()
            && let Some(group) = state.group_mut(&self.seat.group)
        {
            group.commit_revoked(self.seat.member, self.revocation, commits);
        }
    }
}

impl Drop for GivingUp {
    fn drop(&mut self) {
        self.seat.shared.change(|state| {
            if let Some(group) = state.group_mut(&self.seat.group) {
                group.release(self.seat.member, self.revocation);
            }
            state.rebalance_all();
        });
    }
}

impl Drop for MemorySource {
    fn drop(&mut self) {
        self.seat.shared.change(|state| {
            if let Some(group) = state.group_mut(&self.seat.group) {
                group.remove(self.seat.member);
            }
            state.rebalance_all();
        });
    }
}

#[async_trait]
impl RecordSource for MemorySource {
    async fn next(&mut self) -> Option<SourceEvent> {
        let shared = self.seat.shared.clone();
        loop {
            // Enabled before looking, so that a change between looking and waiting is not missed.
            let mut changed = pin!(shared.changed.notified());
            changed.as_mut().enable();
            let (polled, until) = {
                let mut state = locked(&shared.state);
                let polled = self.poll(&mut state, Instant::now());
                (polled, state.next_deadline(&self.seat.group))
            };
            match polled {
                Polled::Event(event) => return Some(event),
                Polled::Ended => return None,
                Polled::Nothing => changed_or(changed, until).await,
            }
        }
    }

    fn pause(&self, partitions: &[TopicPartition]) {
        self.set_paused(partitions, true);
    }

    fn resume(&self, partitions: &[TopicPartition]) {
        self.set_paused(partitions, false);
    }

    async fn commit(&self, commits: Vec<Commit>) -> Outcomes {
        let mut state = locked(&self.seat.shared.state);
        commits
            .into_iter()
            .map(|commit| {
                const CALL: &str = "memory commit";
                state.check_up(CALL)?;
                let group = state.group_mut(&self.seat.group).ok_or_else(|| {
                    PortError::new(ErrorClass::Conflict, CALL, "there is no such group")
                })?;
                group.commit(self.seat.member, commit)
            })
            .collect()
    }

    fn close(&self) {
        self.seat.shared.change(|state| {
            if let Some(group) = state.group_mut(&self.seat.group) {
                group.leave(self.seat.member);
            }
            state.rebalance_all();
        });
    }
}

impl MemorySource {
    fn set_paused(&self, partitions: &[TopicPartition], paused: bool) {
        self.seat.shared.change(|state| {
            if let Some(group) = state.group_mut(&self.seat.group) {
                group.set_paused(self.seat.member, partitions, paused);
            }
        });
    }
}
