//! Who had which record in hand when it was hurt: what explains a duplicate, and nothing else does.
//!
//! The proxies tell it of every conversation with SQS and of every save of a shard's cursor, so that for SQS the answer
//! is exact, record by record. For Kafka it is by offsets: what a router had not committed when it was hurt.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::{Mutex, MutexGuard, PoisonError};

use delayq::role::Role;
use delayq_core::clock::{Clock as _, EpochMs, SystemClock};
use delayq_core::record::Source;

use crate::plan::Slot;

/// A record: its partition and offset in the delay topic, of which there is one.
pub(crate) type Id = (i32, i64);

/// Shards of the long tier: delayq's default, which the runs keep.
pub(crate) const SHARDS: u32 = 4;

/// Offsets that the router's group had committed, by partition.
pub(crate) type Committed = HashMap<i32, i64>;

/// Something that made a router repeat what it had not committed.
#[derive(Debug, Clone)]
pub(crate) struct Interruption {
    pub(crate) cause: &'static str,
    pub(crate) committed: Committed,
    /// Records appended later were not in hand.
    pub(crate) until_ms: EpochMs,
}

/// What is known; shared by all proxies and the injector.
#[derive(Debug, Default)]
pub(crate) struct Ledger(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    /// Where routers have stored a record: in one shard, but for copies.
    shards: HashMap<Id, BTreeSet<u32>>,
    /// Received by an emitter and not deleted yet, by receipt handle.
    held: HashMap<String, (Slot, Vec<Id>)>,
    /// Sent by a scheduler since the shard's cursor was saved.
    unsaved: HashMap<(Slot, u32), Vec<Id>>,
    /// Schedulers that were hurt, by shard, until their next save: what they send may be sent by another as well.
    suspect: HashSet<(Slot, u32)>,
    by_router: HashSet<Id>,
    by_scheduler: HashSet<Id>,
    causes: HashMap<Id, &'static str>,
    interruptions: Vec<Interruption>,
    /// When SQS was last away: it may have given a shard to two holders since.
    leases_lost_ms: EpochMs,
}

/// How long after SQS is back two schedulers may find that they hold one shard: a lease (6 s), and the work on a tick.
const TWO_HOLDERS_MS: i64 = 15_000;

impl State {
    fn explain(&mut self, ids: impl IntoIterator<Item = Id>, cause: &'static str) {
        for id in ids {
            self.causes.entry(id).or_insert(cause);
        }
    }
}

/// The record that a source names.
pub(crate) fn id(source: &Source) -> Id {
    (source.at.partition, source.offset)
}

impl Ledger {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A batch with these records was written to a shard, or may have been.
    pub(crate) fn stored(&self, shard: u32, sources: &[Source]) {
        let mut state = self.state();
        for id in sources.iter().map(id) {
            state.shards.entry(id).or_default().insert(shard);
        }
    }

    /// A message with these records was sent, and its sender told so.
    pub(crate) fn sent(&self, slot: Slot, sources: &[Source]) {
        let mut state = self.state();
        match slot.role {
            Role::Router => state.by_router.extend(sources.iter().map(id)),
            Role::Scheduler => {
                for id in sources.iter().map(id) {
                    state.by_scheduler.insert(id);
                    for shard in state.shards.get(&id).cloned().unwrap_or_default() {
                        if state.suspect.contains(&(slot, shard)) {
                            state.explain([id], "scheduler hurt while handing over");
                        }
                        state.unsaved.entry((slot, shard)).or_default().push(id);
                    }
                }
            }
            Role::Emitter => {}
        }
    }

    /// A message with these records was, or may have been, sent, and its sender does not know.
    pub(crate) fn unsure(&self, slot: Slot, sources: &[Source]) {
        self.sent(slot, sources);
        self.state()
            .explain(sources.iter().map(id), "send not answered");
    }

    /// A message with these records was given to an emitter.
    pub(crate) fn received(&self, slot: Slot, handle: String, ids: Vec<Id>) {
        self.state().held.insert(handle, (slot, ids));
    }

    /// It was deleted.
    pub(crate) fn deleted(&self, handle: &str) {
        self.state().held.remove(handle);
    }

    /// A call about it failed or was not answered: it may come again.
    pub(crate) fn not_kept(&self, handle: &str, cause: &'static str) {
        let mut state = self.state();
        if let Some((_, ids)) = state.held.get(handle) {
            let ids = ids.clone();
            state.explain(ids, cause);
        }
    }

    /// A scheduler saved its cursor in this shard.
    pub(crate) fn saved(&self, slot: Slot, shard: u32) {
        let mut state = self.state();
        state.unsaved.remove(&(slot, shard));
        state.suspect.remove(&(slot, shard));
    }

    /// A call of a scheduler failed, so that its lease or its cursor may be lost; also when it is stopped, and after that.
    pub(crate) fn suspect(&self, slot: Slot, cause: &'static str) {
        if slot.role != Role::Scheduler {
            return;
        }
        let mut state = self.state();
        for shard in 0..SHARDS {
            state.suspect.insert((slot, shard));
            if let Some(ids) = state.unsaved.get(&(slot, shard)) {
                let ids = ids.clone();
                state.explain(ids, cause);
            }
        }
    }

    /// SQS was away, and the leases that it keeps with it.
    pub(crate) fn leases_lost(&self) {
        self.state().leases_lost_ms = SystemClock.now_ms();
    }

    /// A scheduler was refused by the fence: the page that it was sending is another's, which sends it too. That needs a
    /// reason to be told of; the fence alone is none.
    pub(crate) fn fenced(&self, slot: Slot) {
        let lost_ms = self.state().leases_lost_ms;
        if SystemClock.now_ms() - lost_ms <= TWO_HOLDERS_MS {
            self.suspect(slot, "shard held twice after sqs was away");
        }
    }

    /// A process is gone, with all that it had in hand from SQS.
    pub(crate) fn killed(&self, slot: Slot) {
        self.frozen(slot, "killed with it in hand");
        let mut state = self.state();
        state.held.retain(|_, (holder, _)| *holder != slot);
        // The next process of this slot starts afresh.
        state.suspect.retain(|(hurt, _)| *hurt != slot);
        state.unsaved.retain(|(hurt, _), _| *hurt != slot);
    }

    /// A process stands still, or goes on after it did.
    pub(crate) fn frozen(&self, slot: Slot, cause: &'static str) {
        self.suspect(slot, cause);
        let mut state = self.state();
        let ids: Vec<Id> = state
            .held
            .values()
            .filter(|(holder, _)| *holder == slot)
            .flat_map(|(_, ids)| ids.iter().copied())
            .collect();
        state.explain(ids, cause);
    }

    /// Routers repeat what lies beyond these offsets.
    pub(crate) fn interrupted(&self, interruption: Interruption) {
        self.state().interruptions.push(interruption);
    }

    /// Why a record may have come more than once; `appended_ms`: when it was written to the delay topic.
    pub(crate) fn cause(&self, id: Id, appended_ms: EpochMs) -> Option<&'static str> {
        let state = self.state();
        if let Some(cause) = state.causes.get(&id) {
            return Some(cause);
        }
        let (partition, offset) = id;
        let repeated = |one: &&Interruption| {
            let committed = one.committed.get(&partition).copied().unwrap_or(0);
            offset >= committed && appended_ms <= one.until_ms
        };
        state
            .interruptions
            .iter()
            .find(repeated)
            .map(|one| one.cause)
    }

    /// Sent by a router and by a scheduler: a write that the closing of its bucket overtook.
    pub(crate) fn sent_by_both(&self, id: Id) -> bool {
        let state = self.state();
        state.by_router.contains(&id) && state.by_scheduler.contains(&id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use delayq_core::record::TopicPartition;

    const EMITTER: Slot = Slot {
        role: Role::Emitter,
        replica: 1,
    };
    const SCHEDULER: Slot = Slot {
        role: Role::Scheduler,
        replica: 2,
    };

    fn source(offset: i64) -> Source {
        Source {
            at: TopicPartition::new("t", 0),
            offset,
        }
    }

    #[test]
    fn what_an_emitter_had_deleted_is_not_explained_by_its_end() {
        let ledger = Ledger::default();
        ledger.received(EMITTER, "a".to_owned(), vec![(0, 1)]);
        ledger.received(EMITTER, "b".to_owned(), vec![(0, 2)]);
        ledger.deleted("a");
        ledger.killed(EMITTER);
        assert_eq!(ledger.cause((0, 1), 0), None);
        assert!(ledger.cause((0, 2), 0).is_some());
    }

    #[test]
    fn only_what_a_scheduler_had_not_saved_is_repeated() {
        const HERE: u32 = 2;
        let ledger = Ledger::default();
        ledger.stored(HERE, &[1, 2, 3, 4].map(source));
        ledger.stored(HERE + 1, &[source(5)]);
        ledger.sent(SCHEDULER, &[source(1), source(5)]);
        ledger.saved(SCHEDULER, HERE);
        ledger.sent(SCHEDULER, &[source(2)]);
        ledger.frozen(SCHEDULER, "stopped");
        ledger.sent(SCHEDULER, &[source(3)]);
        ledger.saved(SCHEDULER, HERE);
        ledger.sent(SCHEDULER, &[source(4)]);
        let explained = [1, 2, 3, 4, 5].map(|offset| ledger.cause((0, offset), 0).is_some());
        assert_eq!(explained, [false, true, true, false, true]);
    }

    #[test]
    fn the_fence_explains_a_page_only_if_sqs_was_away() {
        let ledger = Ledger::default();
        ledger.stored(0, &[source(1)]);
        ledger.sent(SCHEDULER, &[source(1)]);
        ledger.fenced(SCHEDULER);
        assert_eq!(ledger.cause((0, 1), 0), None);
        ledger.leases_lost();
        ledger.fenced(SCHEDULER);
        assert!(ledger.cause((0, 1), 0).is_some());
    }

    #[test]
    fn a_router_repeats_from_its_commit_to_the_moment_it_was_hurt() {
        let ledger = Ledger::default();
        ledger.interrupted(Interruption {
            cause: "killed",
            committed: Committed::from([(0, 10)]),
            until_ms: 1_000,
        });
        assert_eq!(ledger.cause((0, 9), 500), None);
        assert_eq!(ledger.cause((0, 10), 500), Some("killed"));
        assert_eq!(ledger.cause((0, 10), 1_001), None);
    }
}
