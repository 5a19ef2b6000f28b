//! What each action does. Decisions are `delayq_core::handover`'s.

use delayq_core::bucket::{Bucket, SUB_PARTITIONS, ShardId};
use delayq_core::handover::{
    HandoverAction, ShardRow, may_skip_state_read, next_action, page_done, shard_time_ms,
};

use crate::bounds::{TIMES, Time, Variant};
use crate::model::Handover;
use crate::row::{Row, sort_text};
use crate::state::{Action, Answer, CreatedIn, Router, Scheduler, State};

/// A write to the row, and what its writer is once it is accepted.
pub(crate) struct Write {
    row: Row,
    then: Scheduler,
}

impl Handover {
    pub(crate) fn apply(&self, state: &mut State, action: Action) {
        match action {
            Action::Ensure(router, created) => self.ensure(state, router, created),
            Action::Put(router) => self.put(state, router, true),
            Action::PutUnanswered(router) => self.put(state, router, false),
            Action::Settle(router) => self.settle(state, router),
            Action::SendToo(router) => {
                if let Some(Router::MustSend { batch, .. }) = state.routers.get(router).copied() {
                    state.sent_by_router |= 1 << batch;
                    self.finish(state, router, batch);
                }
            }
            Action::RouterDies(router) => self.router_dies(state, router),
            Action::Take(scheduler) => self.take(state, scheduler, true),
            Action::TakeUnanswered(scheduler) => self.take(state, scheduler, false),
            Action::Step(scheduler) => self.step(state, scheduler),
            Action::WriteUnanswered(scheduler, answer) => {
                self.write_unanswered(state, scheduler, answer);
            }
            Action::Confirm(scheduler) => self.confirm(state, scheduler),
            Action::Fail(scheduler) => self.fail(state, scheduler),
            Action::Reread(scheduler) => self.reread(state, scheduler),
            Action::SchedulerDies(scheduler) => set(state, scheduler, Scheduler::Idle),
            Action::Arrive(late) => {
                let row = state.late.remove(late);
                self.update(state, row);
            }
            Action::Pass => state.instant += 1,
        }
        only_the_current_epoch_counts(state);
    }

    // ------------------------------------------------------------ router

    fn ensure(&self, state: &mut State, router: usize, created: CreatedIn) {
        let now_ms = match &self.bounds.time {
            Time::Free => {
                let bucket = match created {
                    CreatedIn::Now => self.bounds.first,
                    CreatedIn::FirstBucket => self.bounds.first.next(),
                };
                bucket.start_ms(TIMES.bucket_ms)
            }
            Time::Instants { .. } => {
                let (now_ms, skew_ms) = self.clock(state, router);
                if self.bounds.variant == Variant::RowByOwnClock {
                    now_ms
                } else {
                    shard_time_ms(now_ms, skew_ms, TIMES)
                }
            }
        };
        let row = ShardRow::initial(ShardId(0), now_ms, TIMES.bucket_ms);
        state.row.get_or_insert(Row::of(&row));
    }

    fn put(&self, state: &mut State, router: usize, answered: bool) {
        let Some((batch, attempt, read)) = (match state.routers.get(router) {
            Some(&Router::Fresh { batch, attempt }) => Some((batch, attempt, None)),
            Some(&Router::Ready {
                batch,
                attempt,
                read,
            }) => Some((batch, attempt, Some(read))),
            _ => None,
        }) else {
            return;
        };
        state.stored |= self.place_bit(batch, attempt);
        if !answered {
            return;
        }
        match read {
            None => set_router(state, router, Router::Written { batch, attempt }),
            Some(must_send) => self.decide(state, router, batch, attempt, must_send),
        }
    }

    /// Steps 2 and 3 of the router: the state is read, or the clock says that it need not be.
    fn settle(&self, state: &mut State, router: usize) {
        let Some(row) = state.row else { return };
        match state.routers.get(router).copied() {
            Some(Router::Fresh { batch, attempt }) => {
                let read = row.real().must_send_too(self.bucket(batch));
                set_router(
                    state,
                    router,
                    Router::Ready {
                        batch,
                        attempt,
                        read,
                    },
                );
            }
            Some(Router::Written { batch, attempt }) => {
                let bucket = self.bucket(batch);
                let (now_ms, skew_ms) = self.clock(state, router);
                let skew_ms = match self.bounds.variant {
                    Variant::SkipsAtAnySkew => Some(0),
                    _ => skew_ms,
                };
                let skip = self.bounds.variant == Variant::RouterSkipsReading
                    || may_skip_state_read(bucket, now_ms, skew_ms, TIMES);
                let must_send = !skip && row.real().must_send_too(bucket);
                self.decide(state, router, batch, attempt, must_send);
            }
            _ => {}
        }
    }

    fn decide(&self, state: &mut State, router: usize, batch: u8, attempt: u8, must_send: bool) {
        if !must_send {
            self.finish(state, router, batch);
            return;
        }
        if self.bounds.variant == Variant::RouterFinishesBeforeSending {
            state.finished |= 1 << batch;
        }
        set_router(state, router, Router::MustSend { batch, attempt });
    }

    fn finish(&self, state: &mut State, router: usize, batch: u8) {
        state.finished |= 1 << batch;
        set_router(state, router, self.next_of(router, Some(batch)));
    }

    fn router_dies(&self, state: &mut State, router: usize) {
        let (batch, attempt) = match state.routers.get(router) {
            Some(
                &(Router::Fresh { batch, attempt }
                | Router::Ready { batch, attempt, .. }
                | Router::Written { batch, attempt }
                | Router::MustSend { batch, attempt }),
            ) => (batch, attempt),
            Some(Router::Done) | None => return,
        };
        let again = if state.finished & (1 << batch) == 0 {
            let attempt = self.next_attempt(batch, attempt);
            Router::Fresh { batch, attempt }
        } else {
            self.next_of(router, Some(batch))
        };
        set_router(state, router, again);
    }

    // ------------------------------------------------------------ scheduler

    /// What the holder of `row` does next.
    pub(crate) fn next_action(&self, state: &State, scheduler: usize, row: Row) -> HandoverAction {
        let now_ms = match &self.bounds.time {
            // The last bucket's lead has begun, and no other's after it.
            Time::Free => self.bounds.last().start_ms(TIMES.bucket_ms) - TIMES.lead_ms,
            Time::Instants { .. } => {
                let (now_ms, skew_ms) = self.clock(state, self.bounds.routers + scheduler);
                if self.bounds.variant == Variant::SchedulerByOwnClock {
                    now_ms
                } else {
                    shard_time_ms(now_ms, skew_ms, TIMES)
                }
            }
        };
        next_action(&row.real(), now_ms, TIMES)
    }

    fn take(&self, state: &mut State, scheduler: usize, answered: bool) {
        let Some(row) = &mut state.row else { return };
        row.epoch += 1;
        let row = *row;
        if answered {
            set(state, scheduler, self.at(row));
        }
    }

    /// Works with this row, past what cannot hold anything: reading such a page has no effect, so it is no step of its own.
    fn at(&self, mut row: Row) -> Scheduler {
        while row.closing > row.watermark
            && row.sub < SUB_PARTITIONS
            && !self.in_use(row.closing, row.sub)
        {
            row = Row::of(&page_done(&row.real(), None));
        }
        Scheduler::Working(row)
    }

    /// The write that the scheduler is about to make, if that is what it does next.
    pub(crate) fn write_ahead(&self, state: &State, scheduler: usize) -> Option<Write> {
        match *state.schedulers.get(scheduler)? {
            Scheduler::Working(row) => match self.next_action(state, scheduler, row) {
                HandoverAction::Write(next) => {
                    let next = Row::of(&next);
                    let early = self.bounds.variant == Variant::PagesBeforeClosing
                        && next.closing > row.closing;
                    (!early).then(|| Write {
                        row: next,
                        then: self.at(next),
                    })
                }
                HandoverAction::Send { .. } | HandoverAction::UpToDate { .. } => None,
            },
            Scheduler::Sending {
                pending: 0,
                then,
                save: true,
                ..
            } => Some(Write {
                row: then,
                then: self.at(then),
            }),
            Scheduler::ReadEarly { row, pages } => {
                let read = Row {
                    sub: SUB_PARTITIONS,
                    ..row
                };
                let then = Scheduler::Sending {
                    row,
                    pending: pages,
                    then: read,
                    save: false,
                };
                Some(Write { row, then })
            }
            _ => None,
        }
    }

    fn step(&self, state: &mut State, scheduler: usize) {
        if let Some(Write { row, then }) = self.write_ahead(state, scheduler) {
            let next = if self.update(state, row) {
                then
            } else {
                Scheduler::Idle
            };
            set(state, scheduler, next);
            return;
        }
        match state.schedulers.get(scheduler).copied() {
            Some(Scheduler::Working(row)) => match self.next_action(state, scheduler, row) {
                HandoverAction::UpToDate { .. } => set(state, scheduler, Scheduler::Idle),
                HandoverAction::Write(next) => {
                    let row = Row::of(&next);
                    let pages = self.stored_in(state, row.closing);
                    set(state, scheduler, Scheduler::ReadEarly { row, pages });
                }
                HandoverAction::Send { key, after } => {
                    let (pending, next) = self.page(state, key.bucket, key.sub, after.as_deref());
                    let then = Row::of(&page_done(&row.real(), next.map(sort_text)));
                    self.page_read(state, scheduler, row, pending, then);
                }
            },
            Some(Scheduler::Sending {
                pending: 0, then, ..
            }) => {
                set(state, scheduler, self.at(then));
            }
            _ => {}
        }
    }

    fn page_read(&self, state: &mut State, scheduler: usize, row: Row, pending: u16, then: Row) {
        let next = if pending == 0 {
            // An empty page needs no saving.
            self.at(then)
        } else if self.bounds.variant == Variant::CursorBeforeSending {
            if self.update(state, then) {
                Scheduler::Sending {
                    row: then,
                    pending,
                    then,
                    save: false,
                }
            } else {
                Scheduler::Idle
            }
        } else {
            Scheduler::Sending {
                row,
                pending,
                then,
                save: true,
            }
        };
        set(state, scheduler, next);
    }

    fn write_unanswered(&self, state: &mut State, scheduler: usize, answer: Answer) {
        let Some(write) = self.write_ahead(state, scheduler) else {
            return;
        };
        match answer {
            Answer::LostAfter => drop(self.update(state, write.row)),
            Answer::LostBefore => {}
            Answer::Late => state.late.push(write.row),
        }
        let next = if self.bounds.variant == Variant::UnansweredCountsAsDone {
            write.then
        } else {
            Scheduler::Rereading {
                epoch: write.row.epoch,
            }
        };
        set(state, scheduler, next);
    }

    fn confirm(&self, state: &mut State, scheduler: usize) {
        let Some(Scheduler::Sending { pending, .. }) = state.schedulers.get_mut(scheduler) else {
            return;
        };
        let place = pending.trailing_zeros();
        *pending &= !(1 << place);
        if let Some(batch) = self.batch_at(place) {
            state.sent_by_scheduler |= 1 << batch;
        }
    }

    fn fail(&self, state: &mut State, scheduler: usize) {
        if let Some(Scheduler::Working(row) | Scheduler::Sending { row, .. }) =
            state.schedulers.get(scheduler).copied()
        {
            set(state, scheduler, Scheduler::Rereading { epoch: row.epoch });
        }
    }

    fn reread(&self, state: &mut State, scheduler: usize) {
        let (Some(row), Some(Scheduler::Rereading { epoch })) =
            (state.row, state.schedulers.get(scheduler).copied())
        else {
            return;
        };
        let next = if row.epoch == epoch {
            self.at(row)
        } else {
            Scheduler::Idle
        };
        set(state, scheduler, next);
    }

    // ------------------------------------------------------------ the store

    /// The conditional write of the store; `false` when it refuses.
    fn update(&self, state: &mut State, update: Row) -> bool {
        let Some(stored) = &mut state.row else {
            return false;
        };
        let (old, new) = (stored.real(), update.real());
        let accepted = match self.bounds.variant {
            Variant::UpdatesWithoutCondition => true,
            Variant::UpdatesByEpochOnly => old.epoch == new.epoch,
            Variant::UpdatesForwardOnly => old.may_become(&ShardRow {
                epoch: old.epoch,
                ..new
            }),
            _ => old.may_become(&new),
        };
        if accepted {
            *stored = Row {
                epoch: stored.epoch,
                ..update
            };
        }
        accepted
    }

    /// Up to a page of what is stored under a key, and where the next page starts, if more is there.
    fn page(
        &self,
        state: &State,
        bucket: Bucket,
        sub: u8,
        after: Option<&str>,
    ) -> (u16, Option<u8>) {
        let mut found: Vec<(u8, u32)> = self
            .places_of(bucket)
            .filter(|(at, place)| state.stored & (1 << at) != 0 && place.sub == sub)
            .filter(|(_, place)| after.is_none_or(|after| sort_text(place.sort).as_str() > after))
            .map(|(at, place)| (place.sort, at))
            .collect();
        found.sort_unstable();
        let more = found.len() > self.bounds.page_batches;
        found.truncate(self.bounds.page_batches);
        let next = found.last().filter(|_| more).map(|(sort, _)| *sort);
        (found.iter().fold(0, |bits, (_, at)| bits | 1 << at), next)
    }
}

fn set(state: &mut State, scheduler: usize, to: Scheduler) {
    if let Some(at) = state.schedulers.get_mut(scheduler) {
        *at = to;
    }
}

fn set_router(state: &mut State, router: usize, to: Router) {
    if let Some(at) = state.routers.get_mut(router) {
        *at = to;
    }
}

/// An epoch only rises, so one that is not the row's will never be again: all such are the same.
fn only_the_current_epoch_counts(state: &mut State) {
    let Some(row) = &mut state.row else { return };
    let current = std::mem::replace(&mut row.epoch, 1);
    let renamed = |epoch: &mut u8| *epoch = u8::from(*epoch == current);
    for scheduler in &mut state.schedulers {
        match scheduler {
            Scheduler::Idle => {}
            Scheduler::Working(row) | Scheduler::ReadEarly { row, .. } => renamed(&mut row.epoch),
            Scheduler::Sending { row, then, .. } => {
                renamed(&mut row.epoch);
                renamed(&mut then.epoch);
            }
            Scheduler::Rereading { epoch } => renamed(epoch),
        }
    }
    state
        .late
        .iter_mut()
        .for_each(|late| renamed(&mut late.epoch));
}
