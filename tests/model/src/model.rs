//! The model: which actions are possible, and what must hold.

use delayq_core::bucket::Bucket;
use delayq_core::handover::HandoverAction;
use stateright::{Model, Property};

use crate::bounds::{Batch, Bounds, Place, Time, Variant};
use crate::state::{Action, Answer, CreatedIn, Router, Scheduler, State};

/// The property that counts: a finished batch whose bucket is handed over was sent, or somebody is about to send it.
pub const NOTHING_LOST: &str = "no batch is lost";
/// What the protocol promises beyond that: nobody needs to survive for it.
pub const SENT_BEFORE: &str = "a batch is sent before it is finished and its bucket handed over";
/// Nothing waits for ever.
pub const ALL_DONE: &str = "where nothing can happen any more, every batch was sent";

/// Writes under way that nobody waits for, at most.
const LATE_MAX: usize = 2;

/// The protocol over one shard.
#[derive(Debug, Clone)]
pub struct Handover {
    pub(crate) bounds: Bounds,
    /// Batch and place, by number of the place.
    places: Vec<(u8, Place)>,
    /// Stop at the first loss: nothing else is looked for.
    only_loss: bool,
}

impl Handover {
    /// The model of these bounds.
    ///
    /// # Panics
    /// Over 8 batches, over 16 places, or a batch without a place: the state has no room for them.
    #[must_use]
    pub fn new(bounds: Bounds) -> Self {
        let mut places = Vec::new();
        for (number, batch) in (0u8..).zip(&bounds.batches) {
            assert!(!batch.places.is_empty(), "batch {number} has no place");
            places.extend(batch.places.iter().map(|place| (number, *place)));
        }
        assert!(
            bounds.batches.len() <= 8 && places.len() <= 16,
            "the state has room for 8 batches and 16 places"
        );
        Self {
            bounds,
            places,
            only_loss: false,
        }
    }

    /// As [`Handover::new`], with [`NOTHING_LOST`] as the only property, so that a search ends with the first loss.
    ///
    /// # Panics
    /// As [`Handover::new`].
    #[must_use]
    pub fn only_for_loss(bounds: Bounds) -> Self {
        Self {
            only_loss: true,
            ..Self::new(bounds)
        }
    }

    fn batch(&self, batch: u8) -> Option<&Batch> {
        self.bounds.batches.get(usize::from(batch))
    }

    pub(crate) fn bucket(&self, batch: u8) -> Bucket {
        self.batch(batch).map_or(self.bounds.first, |b| b.bucket)
    }

    pub(crate) fn batch_at(&self, place: u32) -> Option<u8> {
        let place = usize::try_from(place).ok()?;
        self.places.get(place).map(|(batch, _)| *batch)
    }

    pub(crate) fn place_bit(&self, batch: u8, attempt: u8) -> u16 {
        let first = self.places.iter().take_while(|(b, _)| *b < batch).count();
        1 << (first + usize::from(attempt))
    }

    pub(crate) fn next_attempt(&self, batch: u8, attempt: u8) -> u8 {
        let places = self.batch(batch).map_or(0, |b| b.places.len());
        if usize::from(attempt) + 1 < places {
            attempt + 1
        } else {
            attempt
        }
    }

    pub(crate) fn places_of(&self, bucket: Bucket) -> impl Iterator<Item = (u32, Place)> {
        (0u32..)
            .zip(&self.places)
            .filter(move |(_, (batch, _))| self.bucket(*batch) == bucket)
            .map(|(at, (_, place))| (at, *place))
    }

    pub(crate) fn in_use(&self, bucket: i16, sub: u8) -> bool {
        self.places_of(Bucket(bucket.into()))
            .any(|(_, place)| place.sub == sub)
    }

    pub(crate) fn stored_in(&self, state: &State, bucket: i16) -> u16 {
        self.places_of(Bucket(bucket.into()))
            .fold(0, |bits, (at, _)| bits | 1 << at)
            & state.stored
    }

    /// What a router does after `batch`.
    pub(crate) fn next_of(&self, router: usize, batch: Option<u8>) -> Router {
        (0u8..)
            .zip(&self.bounds.batches)
            .find(|(number, b)| b.router == router && batch.is_none_or(|done| *number > done))
            .map_or(Router::Done, |(batch, _)| Router::Fresh {
                batch,
                attempt: 0,
            })
    }

    /// What a process's clock shows, and how far it is from the store's; where clocks play no part, unknown.
    pub(crate) fn clock(&self, state: &State, process: usize) -> (i64, Option<i64>) {
        let Time::Instants {
            at_ms,
            router_skews_ms,
            scheduler_skews_ms,
        } = &self.bounds.time
        else {
            return (0, None);
        };
        let skews = if process < self.bounds.routers {
            router_skews_ms
        } else {
            scheduler_skews_ms
        };
        let index = state.skews.get(process).copied().unwrap_or(0);
        let skew_ms = skews.get(usize::from(index)).copied().unwrap_or(0);
        let true_ms = at_ms.get(usize::from(state.instant)).copied().unwrap_or(0);
        (true_ms + skew_ms, Some(skew_ms))
    }

    /// Finished batches that nobody sent.
    fn unsent(state: &State) -> u8 {
        state.finished & !(state.sent_by_router | state.sent_by_scheduler)
    }

    /// Of these batches, whether any belongs to a bucket that is handed over.
    fn handed_over(&self, state: &State, batches: u8) -> bool {
        batches != 0
            && state.row.is_some_and(|row| {
                (0u8..)
                    .zip(&self.bounds.batches)
                    .filter(|(number, _)| batches & (1 << number) != 0)
                    .any(|(_, batch)| batch.bucket.0 <= i64::from(row.watermark))
            })
    }

    fn sent_before_handed_over(&self, state: &State) -> bool {
        !self.handed_over(state, Self::unsent(state))
    }

    fn nothing_lost(&self, state: &State) -> bool {
        let mut lost = Self::unsent(state);
        for router in &state.routers {
            if let Router::MustSend { batch, .. } = router {
                lost &= !(1 << batch);
            }
        }
        for scheduler in &state.schedulers {
            let held = match scheduler {
                Scheduler::Sending { pending, .. } => *pending,
                Scheduler::ReadEarly { pages, .. } => *pages,
                _ => 0,
            };
            for (place, (batch, _)) in self.places.iter().enumerate() {
                if held & (1 << place) != 0 {
                    lost &= !(1 << batch);
                }
            }
        }
        !self.handed_over(state, lost)
    }

    fn all_done(&self, state: &State) -> bool {
        let mut actions = Vec::new();
        // With clocks, the last instant may come before the last bucket's lead.
        if matches!(self.bounds.time, Time::Free) {
            self.actions(state, &mut actions);
        }
        let everything = (1u16 << self.bounds.batches.len()) - 1;
        !actions.is_empty()
            || matches!(self.bounds.time, Time::Instants { .. })
            || (u16::from(state.finished) == everything && Self::unsent(state) == 0)
    }

    fn router_actions(&self, state: &State, router: usize, actions: &mut Vec<Action>) {
        let faulty = state.faults > 0;
        let Some(at) = state.routers.get(router).copied() else {
            return;
        };
        match at {
            Router::Done => return,
            Router::Fresh { .. } if state.row.is_none() => {
                actions.push(Action::Ensure(router, CreatedIn::Now));
                if matches!(self.bounds.time, Time::Free) {
                    actions.push(Action::Ensure(router, CreatedIn::FirstBucket));
                }
                return;
            }
            Router::Fresh { .. } if self.bounds.variant == Variant::RouterReadsBeforeWriting => {
                actions.push(Action::Settle(router));
            }
            Router::Fresh { .. } | Router::Ready { .. } => {
                actions.push(Action::Put(router));
                if faulty {
                    actions.push(Action::PutUnanswered(router));
                }
            }
            Router::Written { .. } => actions.push(Action::Settle(router)),
            Router::MustSend { .. } => actions.push(Action::SendToo(router)),
        }
        if faulty {
            actions.push(Action::RouterDies(router));
        }
    }

    fn scheduler_actions(&self, state: &State, scheduler: usize, actions: &mut Vec<Action>) {
        let faulty = state.faults > 0;
        let (Some(row), Some(at)) = (state.row, state.schedulers.get(scheduler).copied()) else {
            return;
        };
        match at {
            Scheduler::Idle => {
                let work = self.next_action(state, scheduler, row);
                let up_to_date = matches!(work, HandoverAction::UpToDate { .. });
                let held = state.schedulers.iter().any(|s| *s != Scheduler::Idle);
                // While another holds it, only a lapsed lease gives the tick to this one.
                if !up_to_date && (!held || faulty) {
                    actions.push(Action::Take(scheduler));
                }
                if !up_to_date && faulty {
                    actions.push(Action::TakeUnanswered(scheduler));
                }
                return;
            }
            Scheduler::Rereading { .. } => actions.push(Action::Reread(scheduler)),
            Scheduler::Sending { pending, .. } if pending != 0 => {
                actions.push(Action::Confirm(scheduler));
                if faulty {
                    actions.push(Action::Fail(scheduler));
                }
            }
            _ => {
                actions.push(Action::Step(scheduler));
                if faulty && self.write_ahead(state, scheduler).is_some() {
                    actions.push(Action::WriteUnanswered(scheduler, Answer::LostAfter));
                    actions.push(Action::WriteUnanswered(scheduler, Answer::LostBefore));
                    if state.late.len() < LATE_MAX {
                        actions.push(Action::WriteUnanswered(scheduler, Answer::Late));
                    }
                }
            }
        }
        if faulty {
            actions.push(Action::SchedulerDies(scheduler));
        }
    }

    /// Whether an action is one of the faults, of which there are only so many.
    fn is_fault(state: &State, action: Action) -> bool {
        match action {
            Action::PutUnanswered(_)
            | Action::RouterDies(_)
            | Action::TakeUnanswered(_)
            | Action::WriteUnanswered(..)
            | Action::Fail(_)
            | Action::SchedulerDies(_) => true,
            Action::Take(_) => state.schedulers.iter().any(|s| *s != Scheduler::Idle),
            _ => false,
        }
    }
}

impl Model for Handover {
    type State = State;
    type Action = Action;

    fn init_states(&self) -> Vec<State> {
        let state = State {
            row: None,
            stored: 0,
            finished: 0,
            sent_by_router: 0,
            sent_by_scheduler: 0,
            routers: (0..self.bounds.routers)
                .map(|r| self.next_of(r, None))
                .collect(),
            schedulers: vec![Scheduler::Idle; self.bounds.schedulers],
            late: Vec::new(),
            faults: self.bounds.faults,
            instant: 0,
            skews: Vec::new(),
        };
        let Time::Instants {
            router_skews_ms,
            scheduler_skews_ms,
            ..
        } = &self.bounds.time
        else {
            return vec![state];
        };
        let mut all = vec![state];
        for process in 0..self.bounds.routers + self.bounds.schedulers {
            let skews = if process < self.bounds.routers {
                router_skews_ms
            } else {
                scheduler_skews_ms
            };
            all = all
                .iter()
                .flat_map(|state| {
                    (0u8..).zip(skews).map(|(index, _)| {
                        let mut state = state.clone();
                        state.skews.push(index);
                        state
                    })
                })
                .collect();
        }
        all
    }

    fn actions(&self, state: &State, actions: &mut Vec<Action>) {
        for router in 0..self.bounds.routers {
            self.router_actions(state, router, actions);
        }
        for scheduler in 0..self.bounds.schedulers {
            self.scheduler_actions(state, scheduler, actions);
        }
        actions.extend((0..state.late.len()).map(Action::Arrive));
        if let Time::Instants { at_ms, .. } = &self.bounds.time
            && usize::from(state.instant) + 1 < at_ms.len()
        {
            actions.push(Action::Pass);
            // Somebody who has nothing to write may create the row: `init`, or the router of a batch that is none of ours.
            if state.row.is_none() {
                let idle = state.routers.iter().position(|r| *r == Router::Done);
                actions.extend(idle.map(|router| Action::Ensure(router, CreatedIn::Now)));
            }
        }
    }

    fn next_state(&self, last: &State, action: Action) -> Option<State> {
        let mut state = last.clone();
        if Self::is_fault(last, action) {
            state.faults = state.faults.checked_sub(1)?;
        }
        self.apply(&mut state, action);
        Some(state)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        let mut properties = vec![Property::always(NOTHING_LOST, Self::nothing_lost)];
        if self.only_loss {
            return properties;
        }
        properties.push(Property::always(SENT_BEFORE, Self::sent_before_handed_over));
        properties.push(Property::always(ALL_DONE, Self::all_done));
        if self.bounds.variant == Variant::AsBuilt {
            properties.extend(crate::reached::properties(&self.bounds));
        }
        properties
    }
}
