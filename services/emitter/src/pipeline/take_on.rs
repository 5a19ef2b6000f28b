//! Takes messages on: decides for each record whether it is held, loaded, put back or a dead letter.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use delayq_core::batch;
use delayq_core::clock::EpochMs;
use delayq_core::headers::Refusal;
use delayq_core::ports::{Lane, Receipt};
use delayq_core::record::Scheduled;
use delayq_delivery::payloads::Loaded;
use delayq_delivery::publish::{DeadLetter, Job, Tracking, Work};
use tokio::time::Instant;

use super::Emitter;
use super::let_go::Done;
use crate::calls::lane_name;
use crate::held::{Ticket, priority_of};
use crate::intake::Received;
use crate::limits::{Asking, Turn};
use crate::metrics as names;

/// What a record in hand takes beside itself: its ticket, its places in the timer and among the sources in hand, each with
/// room to grow.
const IN_HAND_OVERHEAD_BYTES: usize = 384;

/// A record that something must still be done about.
pub(super) struct Undone {
    pub(super) record: Arc<Scheduled>,
    pub(super) ticket: Ticket,
    /// Not published, or received again, before this.
    pub(super) not_before_ms: EpochMs,
    /// Why it becomes a dead letter; else it is published.
    pub(super) refusal: Option<Refusal>,
}

impl Undone {
    fn into_job(self) -> Job<Ticket> {
        let tracking = Tracking::of(&self.record);
        let work = match self.refusal {
            Some(refusal) => {
                Work::DeadLetter(Arc::new(DeadLetter::unpublishable(&self.record, refusal)))
            }
            None => Work::Publish(self.record),
        };
        let alive = self.ticket.alive.clone();
        // Without a source it may be forged: then it says nothing of the record whose id it carries.
        let tracking = tracking.filter(|_| self.ticket.source.is_some());
        Job {
            not_before_ms: self.not_before_ms,
            tracking,
            ..Job::new(work, self.ticket, alive)
        }
    }
}

impl Emitter {
    pub(super) fn on_received(&mut self, received: Received) {
        let lane = received.lane;
        let mut real_bytes = 0;
        let labels = [
            ("lane", lane_name(lane)),
            ("priority", priority_of(lane).as_str()),
        ];
        metrics::counter!(names::RECEIVED, &labels).increment(received.receipts.len() as u64);
        let messages = received.receipts.len().max(1);
        for receipt in received.receipts {
            metrics::histogram!(names::RECEIVE_COUNT).record(f64::from(receipt.receive_count));
            real_bytes += match batch::from_text(&receipt.body) {
                Ok(records) => {
                    metrics::counter!(names::RECEIVED_RECORDS, &labels)
                        .increment(records.len() as u64);
                    self.on_batch(lane, receipt, records, received.visible_at)
                }
                Err(fault) => {
                    metrics::counter!(names::UNREADABLE, "reason" => fault.code()).increment(1);
                    self.on_unreadable(
                        lane,
                        receipt,
                        Refusal::new(fault.code(), fault.to_string()),
                        received.visible_at,
                    )
                }
            };
        }
        self.budget
            .settle(lane, received.budgeted_bytes, real_bytes);
        if let Some(expected) = self.expected.get(&lane) {
            let before = expected.load(Ordering::Relaxed);
            let each = real_bytes / messages;
            // Up at once, down slowly: too little room is what costs memory.
            expected.store(each.max((before * 3 + each) / 4), Ordering::Relaxed);
        }
    }

    /// Takes on a message's records; answers with the memory they hold.
    pub(super) fn on_batch(
        &mut self,
        lane: Lane,
        receipt: Receipt,
        records: Vec<Scheduled>,
        visible_at: Instant,
    ) -> usize {
        let priority = priority_of(lane).as_str();
        let before = records.len();
        let records: Vec<_> = records
            .into_iter()
            .filter(|r| !self.recent.contains(&r.source))
            .collect();
        metrics::counter!(names::DUPLICATES_DROPPED, "priority" => priority)
            .increment((before - records.len()) as u64);
        if records.is_empty() {
            self.to_delete.entry(lane).or_default().push(receipt.handle);
            return 0;
        }
        let each = |one: &Scheduled| one.memory_bytes() + IN_HAND_OVERHEAD_BYTES;
        let memory_bytes = records.iter().map(each).sum();
        let last_due_ms = records.iter().map(|one| one.due_ms).max();
        let now_ms = self.clock.now_ms();
        // What is due later goes back at once.
        let held_ms = last_due_ms.map_or(0, |due_ms| {
            let wait_ms = due_ms.saturating_sub(now_ms);
            wait_ms.clamp(0, self.hold_ms())
        });
        let (message, alive) = self.held.hold(
            lane,
            receipt.handle,
            records.len(),
            memory_bytes,
            Instant::now() + Duration::from_millis(held_ms.unsigned_abs()),
            visible_at,
        );
        let refusal = match lane {
            Lane::DeadLetter(_) => {
                let detail = format!(
                    "its message was received {} times without being finished",
                    receipt.receive_count
                );
                Some(Refusal::new("redelivery-exhausted", detail))
            }
            Lane::Main(_) => None,
        };
        let (mut first, mut refused) = (Vec::new(), Vec::new());
        for record in records {
            let mut one = Undone {
                ticket: Ticket {
                    message,
                    source: Some(record.source.clone()),
                    alive: alive.clone(),
                    limit: None,
                },
                record: Arc::new(record),
                not_before_ms: EpochMs::MIN,
                refusal: refusal.clone(),
            };
            if one.refusal.is_none() && self.refuse(&mut one, now_ms) {
                // A reference is not loaded: whatever it names may be somebody else's.
                refused.push(one.into_job());
            } else {
                first.extend(self.in_hand.take(one));
            }
        }
        self.hold(refused);
        self.admit(first);
        memory_bytes
    }

    /// Records further away than this are put back.
    const fn hold_ms(&self) -> i64 {
        if self.stopping {
            self.settings.stop_publish_within_ms
        } else {
            self.settings.hold_max_ms
        }
    }

    /// Decides for each record whether it is held until it is due, or put back.
    pub(super) fn admit(&mut self, records: Vec<Undone>) {
        let now_ms = self.clock.now_ms();
        let until_ms = now_ms.saturating_add(self.hold_ms());
        let (mut now, mut later, mut limited) = (Vec::new(), Vec::new(), Vec::new());
        for mut one in records {
            if one.refusal.is_some() {
                now.push(one);
            } else if one.record.due_ms > until_ms {
                later.push(one);
            } else if self.take_turn(&mut one, now_ms) {
                now.push(one);
            } else {
                limited.push(one);
            }
        }
        self.take_on(now);
        self.put_back(later, if self.stopping { "stop" } else { "early" });
        self.put_back(limited, "rate");
    }

    /// Whether a record may not be published at all; then it is a dead letter, and its source is not remembered, so that a
    /// forged one does not make the true one of that source a duplicate.
    fn refuse(&self, one: &mut Undone, now_ms: EpochMs) -> bool {
        let Err(refusal) = self.settings.outputs.check(&one.record, now_ms) else {
            return false;
        };
        metrics::counter!(names::REFUSED, "reason" => refusal.code).increment(1);
        tracing::error!(source = %one.record.source, %refusal, "a record in a queue that no router could have put there");
        one.ticket.source = None;
        one.refusal = Some(refusal);
        true
    }

    pub(super) fn on_unreadable(
        &mut self,
        lane: Lane,
        receipt: Receipt,
        refusal: Refusal,
        visible_at: Instant,
    ) -> usize {
        let memory_bytes = receipt.body.len();
        let (message, alive) = self.held.hold(
            lane,
            receipt.handle,
            1,
            memory_bytes,
            Instant::now(),
            visible_at,
        );
        let letter = DeadLetter::unreadable(receipt.body, refusal);
        let ticket = Ticket {
            message,
            source: None,
            alive: alive.clone(),
            limit: None,
        };
        let work = Work::DeadLetter(Arc::new(letter));
        self.hold(vec![Job::new(work, ticket, alive)]);
        memory_bytes
    }

    /// Gives a record its turn, if its route is limited. `false`: it must go back.
    pub(super) fn take_turn(&mut self, one: &mut Undone, now_ms: EpochMs) -> bool {
        let Some(route) = one.record.limit.clone() else {
            return true;
        };
        let bytes = one.record.memory_bytes();
        let asking = Asking {
            priority: one.record.priority,
            due_ms: one.record.due_ms,
            bytes,
        };
        match self.limits.turn(&route, asking, now_ms) {
            Turn::At(at_ms) => {
                one.not_before_ms = at_ms;
                one.ticket.limit = Some((route, bytes));
                true
            }
            Turn::PutBack(at_ms) => {
                one.not_before_ms = at_ms;
                false
            }
        }
    }

    /// Holds records until they are due; those that are references are loaded first.
    pub(super) fn take_on(&mut self, records: Vec<Undone>) {
        let mut jobs = Vec::with_capacity(records.len());
        for one in records {
            if one.record.payload.is_none() {
                jobs.push(one.into_job());
                continue;
            }
            let payloads = self.payloads.clone();
            self.loads.spawn(async move {
                let alive = || one.ticket.alive.load(Ordering::Acquire);
                let loaded = payloads.load(&one.record, alive).await;
                (one, loaded)
            });
        }
        self.hold(jobs);
    }

    pub(super) fn on_loaded(&mut self, mut one: Undone, loaded: Loaded) {
        match loaded {
            Loaded::Record(record) => Arc::make_mut(&mut one.record).record = record,
            Loaded::Fault(fault) => {
                one.refusal = Some(Refusal::new(fault.code(), fault.to_string()));
            }
            Loaded::Abandoned => return self.done(&one.ticket, Done::GivenUp),
        }
        let publish_until_ms = self
            .clock
            .now_ms()
            .saturating_add(self.settings.stop_publish_within_ms);
        if self.stopping && one.refusal.is_none() && one.record.due_ms > publish_until_ms {
            return self.put_back(vec![one], "stop");
        }
        self.hold(vec![one.into_job()]);
    }
}
