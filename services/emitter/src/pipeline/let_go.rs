//! Lets messages go: deleted when every record is confirmed, put back with the delay that is left, kept by heartbeats.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use delayq_core::clock::EpochMs;
use delayq_core::ports::Lane;
use delayq_core::priority::Priority;
use delayq_core::record::QueueGroup;
use delayq_delivery::publish::{Job, Work};
use delayq_delivery::queue::Sent;
use tokio::time::Instant;

use super::{Emitter, Undone};
use crate::calls::{CallDone, delete, extended};
use crate::held::{Held, MessageId, Ticket};
use crate::limits::HOLD_MAX_MS;
use crate::metrics as names;

/// Entries of a delete or heartbeat call.
const ENTRIES_PER_CALL: usize = 10;

/// Why a record is in hand no more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Done {
    /// In its output or dead-letter topic, confirmed.
    Ended,
    /// In another message of the queue, confirmed.
    Moved,
    /// Its message is not this process's any more.
    GivenUp,
}

impl Emitter {
    /// A record is in hand no more. Its copies have ended with it only if it was published: one that was put back may itself be
    /// among them already, so the next of them takes its place.
    pub(super) fn done(&mut self, ticket: &Ticket, how: Done) {
        self.settle(ticket, how == Done::GivenUp);
        let Some(source) = &ticket.source else { return };
        if how != Done::Ended {
            let next = self.in_hand.next(source);
            return self.admit(next.into_iter().collect());
        }
        for copy in self.in_hand.ended(source) {
            metrics::counter!(names::DUPLICATES_DROPPED, "priority" => copy.record.priority.as_str())
                .increment(1);
            self.settle(&copy.ticket, false);
        }
    }

    /// One record less is undone in its message.
    fn settle(&mut self, ticket: &Ticket, abandoned: bool) {
        if let Some((route, bytes)) = &ticket.limit {
            self.limits.done(route, *bytes);
        }
        let Some((held, deletable)) = self.held.done(ticket.message, abandoned) else {
            return;
        };
        let Held {
            lane,
            handle,
            memory_bytes,
            ..
        } = held;
        self.budget.free(lane, memory_bytes);
        if deletable {
            self.to_delete.entry(lane).or_default().push(handle);
        }
    }

    /// Records put back are confirmed in their new message: they are done here.
    pub(super) fn on_report(&mut self, report: Sent<Ticket>) {
        match report {
            Sent::Confirmed(tickets) => tickets
                .iter()
                .for_each(|ticket| self.done(ticket, Done::Moved)),
            Sent::Abandoned(tickets) => tickets
                .iter()
                .for_each(|ticket| self.done(ticket, Done::GivenUp)),
            Sent::Unsendable(records) => {
                let records = records.into_iter().map(|one| {
                    tracing::warn!(source = %one.record.source, refusal = %one.refusal, "cannot be put back: held until it is due");
                    Undone {
                        record: Arc::new(one.record),
                        ticket: one.ticket,
                        not_before_ms: EpochMs::MIN,
                        refusal: None,
                    }
                });
                self.take_on(records.collect());
            }
        }
    }

    /// Sends records anew with the delay that is left, then counts them as done in their old message.
    pub(super) fn put_back(&mut self, records: Vec<Undone>, cause: &'static str) {
        let mut groups: HashMap<(QueueGroup, i64), (EpochMs, Vec<_>)> = HashMap::new();
        for one in records {
            let first = (EpochMs::MAX, Vec::new());
            // A message comes back for the first of its records: no more travel in it than can then be given a turn.
            let place = one.not_before_ms.div_euclid(HOLD_MAX_MS);
            let key = (one.record.queue_group(), place);
            let group = groups.entry(key).or_insert(first);
            group.0 = group.0.min(one.not_before_ms);
            let record = Arc::unwrap_or_clone(one.record);
            group.1.push((record, one.ticket));
        }
        for ((QueueGroup { priority, .. }, _), (not_before_ms, group)) in groups {
            metrics::counter!(names::PUT_BACK, "cause" => cause).increment(group.len() as u64);
            let (sender, reports) = (self.sender.clone(), self.reports.clone());
            self.put_backs.spawn(async move {
                let alive = |ticket: &Ticket| ticket.alive.load(Ordering::Acquire);
                let report = |sent| {
                    if reports.send(sent).is_err() {
                        tracing::debug!("a record was put back after the emitter had ended");
                    }
                };
                sender
                    .send_not_before(not_before_ms, priority, vec![group], alive, report)
                    .await;
            });
        }
    }

    pub(super) async fn put_back_later(&mut self) {
        let after_ms = self
            .clock
            .now_ms()
            .saturating_add(self.settings.stop_publish_within_ms);
        let recalled = self.publisher.recall(after_ms).await;
        let mut later = Vec::new();
        for job in recalled {
            match job.work {
                Work::Publish(record) => later.push(Undone {
                    record,
                    ticket: job.ticket,
                    not_before_ms: job.not_before_ms,
                    refusal: None,
                }),
                letter @ Work::DeadLetter(_) => self.hold(vec![Job {
                    work: letter,
                    ..job
                }]),
            }
        }
        self.put_back(later, "stop");
    }

    pub(super) fn heartbeat(&mut self) {
        for priority in Priority::ALL {
            let lanes = [Lane::Main(priority), Lane::DeadLetter(priority)];
            let held_bytes: usize = lanes.into_iter().map(|lane| self.budget.used(lane)).sum();
            metrics::gauge!(names::HELD_BYTES, "priority" => priority.as_str())
                .set(held_bytes as f64);
        }
        let now = Instant::now();
        let visibility = self.settings.visibility;
        let (due, lapsed) = self.held.heartbeats(now, now + visibility * 2 / 3);
        if lapsed > 0 {
            metrics::counter!(names::LAPSED).increment(lapsed as u64);
            tracing::warn!(
                messages = lapsed,
                "visibility lapsed: another emitter may publish their records as well"
            );
        }
        let mut by_lane: HashMap<Lane, Vec<(MessageId, String)>> = HashMap::new();
        for (id, lane, handle) in due {
            by_lane.entry(lane).or_default().push((id, handle));
        }
        for (lane, messages) in by_lane {
            for call in messages.chunks(ENTRIES_PER_CALL) {
                let (ids, handles): (Vec<_>, Vec<_>) = call.iter().cloned().unzip();
                let queue = self.queue.clone();
                self.calls.spawn(async move {
                    let outcomes = queue.extend(lane, handles, visibility).await;
                    CallDone::Extended(extended(&ids, outcomes, now + visibility))
                });
            }
        }
    }

    pub(super) fn flush_deletes(&mut self) {
        for (lane, handles) in self.to_delete.drain() {
            for call in handles.chunks(ENTRIES_PER_CALL) {
                let (queue, handles) = (self.queue.clone(), call.to_vec());
                self.calls.spawn(async move {
                    delete(queue.as_ref(), lane, handles).await;
                    CallDone::Nothing
                });
            }
        }
    }
}
