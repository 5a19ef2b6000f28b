//! Sends records to the delay queues: packed, every entry confirmed, failed entries again one by one.

use std::sync::Arc;
use std::time::Duration;

use delayq_core::batch;
use delayq_core::clock::{Clock, EpochMs};
use delayq_core::delay::{QUEUE_MESSAGE_MAX_BYTES, delay_seconds};
use delayq_core::error::{Backoff, ErrorClass, PortError};
use delayq_core::headers::Refusal;
use delayq_core::packer::{EncodedBatch, PackingRatio, SizeLimits, encode_within};
use delayq_core::ports::{DelayQueue, HealthReport, QueueMessage, paired};
use delayq_core::priority::Priority;
use delayq_core::record::Scheduled;

use crate::pacer::Pacer;
use crate::payloads::Payloads;

/// Counter: messages sent to the queues and confirmed. Label: priority.
pub const SENT: &str = "delayq_queue_messages_sent_total";
/// Counter: records in them. Label: priority.
pub const SENT_RECORDS: &str = "delayq_queue_records_sent_total";
/// Counter: entries sent again. Label: class of the error.
pub const SEND_RETRIES: &str = "delayq_queue_send_retries_total";

/// Settings.
#[derive(Debug, Clone, Copy)]
pub struct QueueSettings {
    /// Where batches are split, as text, in bytes.
    pub message_bytes: usize,
    /// What the records of a message may take in memory once it is opened, in bytes.
    pub memory_bytes: usize,
    /// zstd level.
    pub zstd_level: i32,
    /// How long before the due time a message should be visible.
    pub early_ms: i64,
    /// First wait before another try.
    pub retry_first: Duration,
    /// Longest wait before another try.
    pub retry_max: Duration,
    /// Calls at once.
    pub concurrency: usize,
}

/// A record that no queue message can hold.
#[derive(Debug)]
pub struct Unsendable<T> {
    /// The record.
    pub record: Scheduled,
    /// Its ticket.
    pub ticket: T,
    /// Why.
    pub refusal: Refusal,
}

/// What became of the records of a call to [`QueueSender::send`].
#[derive(Debug)]
pub enum Sent<T> {
    /// Confirmed by the queue.
    Confirmed(Vec<T>),
    /// Cannot be sent, ever.
    Unsendable(Vec<Unsendable<T>>),
    /// No longer the caller's: not confirmed, and not tried again.
    Abandoned(Vec<T>),
}

/// Sends to the queues of all priorities.
pub struct QueueSender {
    queue: Arc<dyn DelayQueue>,
    clock: Arc<dyn Clock>,
    health: Arc<dyn HealthReport>,
    settings: QueueSettings,
    payloads: Option<Arc<Payloads>>,
    pacer: Pacer,
    ratio: PackingRatio,
}

impl QueueSender {
    /// A sender. Records that no message can hold go to `payloads`; without it they are unsendable.
    #[must_use]
    pub fn new(
        queue: Arc<dyn DelayQueue>,
        payloads: Option<Arc<Payloads>>,
        clock: Arc<dyn Clock>,
        health: Arc<dyn HealthReport>,
        settings: QueueSettings,
    ) -> Self {
        Self {
            queue,
            clock,
            health,
            settings,
            payloads,
            pacer: Pacer::new(settings.concurrency),
            ratio: PackingRatio::default(),
        }
    }

    /// Sends each group as a message of its own (or more, where the size asks for it) and tries until all are
    /// confirmed, unsendable, or no longer `alive`. `report` is called as ends become known.
    pub async fn send<T: Send + Sync>(
        &self,
        priority: Priority,
        groups: Vec<Vec<(Scheduled, T)>>,
        alive: impl Fn(&T) -> bool + Send + Sync,
        report: impl FnMut(Sent<T>) + Send,
    ) {
        self.send_not_before(EpochMs::MIN, priority, groups, alive, report)
            .await;
    }

    /// As [`QueueSender::send`], the messages visible at `not_before_ms` at the earliest, or 15 minutes from now.
    pub async fn send_not_before<T: Send + Sync>(
        &self,
        not_before_ms: EpochMs,
        priority: Priority,
        groups: Vec<Vec<(Scheduled, T)>>,
        alive: impl Fn(&T) -> bool + Send + Sync,
        mut report: impl FnMut(Sent<T>) + Send,
    ) {
        let limits = SizeLimits {
            wanted_bytes: self.wanted_bytes(),
            // Base64 takes four characters for three bytes.
            largest_bytes: QUEUE_MESSAGE_MAX_BYTES / 4 * 3,
            memory_bytes: self.settings.memory_bytes,
            zstd_level: self.settings.zstd_level,
        };
        let (mut pending, mut large) = (Vec::new(), Vec::new());
        for group in groups {
            let (encoded, too_large) = encode_within(group, limits, &self.ratio);
            pending.extend(encoded);
            large.extend(too_large);
        }
        self.send_batches(not_before_ms, priority, pending, &alive, &mut report)
            .await;
        if large.is_empty() {
            return;
        }
        // After the others, which need not wait for the payload table.
        let references = match &self.payloads {
            Some(payloads) => payloads.store_all(large, &alive, &mut report).await,
            None => large,
        };
        let (pending, too_large) = encode_within(references, limits, &self.ratio);
        self.send_batches(not_before_ms, priority, pending, &alive, &mut report)
            .await;
        if !too_large.is_empty() {
            let detail = format!("does not fit a queue message of {QUEUE_MESSAGE_MAX_BYTES} bytes");
            let refused = unsendable(too_large, "record-too-large", &detail);
            report(Sent::Unsendable(refused));
        }
    }

    /// Memory of the records that fill a message, as far as the last ones tell.
    pub fn full_message_bytes(&self) -> usize {
        self.ratio.memory_bytes(self.wanted_bytes())
    }

    /// Where batches are split: base64 takes four characters for three bytes.
    const fn wanted_bytes(&self) -> usize {
        self.settings.message_bytes / 4 * 3
    }

    async fn send_batches<T: Send>(
        &self,
        not_before_ms: EpochMs,
        priority: Priority,
        mut pending: Vec<EncodedBatch<T>>,
        alive: &(impl Fn(&T) -> bool + Send + Sync),
        report: &mut (impl FnMut(Sent<T>) + Send),
    ) {
        let mut backoff = Backoff::new(self.settings.retry_first, self.settings.retry_max);
        loop {
            let wanted =
                |batch: &EncodedBatch<T>| batch.items.iter().any(|(_, ticket)| alive(ticket));
            let (kept, given_up): (Vec<_>, Vec<_>) = pending.into_iter().partition(wanted);
            pending = kept;
            for batch in given_up {
                report(Sent::Abandoned(
                    batch.items.into_iter().map(|(_, ticket)| ticket).collect(),
                ));
            }
            if pending.is_empty() {
                return;
            }
            let tried = self.try_once(not_before_ms, priority, &mut pending, report);
            let Err(error) = tried.await else {
                continue;
            };
            tokio::time::sleep(backoff.wait_after(&error)).await;
        }
    }

    /// One call; what failed stays in `pending`. `Err`: one of the errors, to wait for.
    async fn try_once<T: Send>(
        &self,
        not_before_ms: EpochMs,
        priority: Priority,
        pending: &mut Vec<EncodedBatch<T>>,
        report: &mut (impl FnMut(Sent<T>) + Send),
    ) -> Result<(), PortError> {
        let component = format!("queue {priority}");
        let turn = self.pacer.turn().await;
        let now_ms = self.clock.now_ms();
        let messages = pending
            .iter()
            .map(|batch| self.message(batch, not_before_ms, now_ms))
            .collect();
        let outcomes = self.queue.send(priority, messages).await;
        drop(turn);
        let mut failed: Option<PortError> = None;
        let mut rest = Vec::new();
        for (batch, outcome) in paired(pending.drain(..), outcomes, "queue send") {
            match outcome {
                Ok(()) => {
                    metrics::counter!(SENT, "priority" => priority.as_str()).increment(1);
                    metrics::counter!(SENT_RECORDS, "priority" => priority.as_str())
                        .increment(batch.items.len() as u64);
                    report(Sent::Confirmed(
                        batch.items.into_iter().map(|(_, ticket)| ticket).collect(),
                    ));
                }
                Err(error) if error.class == ErrorClass::Invalid => {
                    tracing::error!(%error, records = batch.items.len(), "the queue refuses a message");
                    report(Sent::Unsendable(unsendable(
                        batch.items,
                        "queue-refused",
                        &error.to_string(),
                    )));
                }
                Err(error) => {
                    metrics::counter!(SEND_RETRIES, "class" => class_name(error.class))
                        .increment(1);
                    rest.push(batch);
                    failed = Some(error);
                }
            }
        }
        *pending = rest;
        match failed {
            None => {
                self.pacer.succeeded();
                self.health.report(&component, Ok(()));
                Ok(())
            }
            Some(error) => {
                if error.class == ErrorClass::Throttled {
                    self.pacer.throttled();
                } else {
                    self.health.report(&component, Err(error.to_string()));
                }
                Err(error)
            }
        }
    }

    fn message<T>(
        &self,
        batch: &EncodedBatch<T>,
        not_before_ms: EpochMs,
        now_ms: EpochMs,
    ) -> QueueMessage {
        let first_due_ms = batch
            .items
            .iter()
            .map(|(record, _)| record.due_ms)
            .min()
            .unwrap_or(now_ms)
            .max(not_before_ms);
        QueueMessage {
            body: batch::to_text(&batch.bytes).into(),
            // Computed anew for each attempt: a retry must not add its waiting to the delay.
            delay_s: delay_seconds(first_due_ms, now_ms, self.settings.early_ms),
        }
    }
}

/// Records that cannot be sent, all for the same reason.
#[must_use]
pub fn unsendable<T>(
    items: Vec<(Scheduled, T)>,
    code: &'static str,
    detail: &str,
) -> Vec<Unsendable<T>> {
    items
        .into_iter()
        .map(|(record, ticket)| Unsendable {
            record,
            ticket,
            refusal: Refusal::new(code, detail),
        })
        .collect()
}

/// Metric label of an error class.
#[must_use]
pub const fn class_name(class: ErrorClass) -> &'static str {
    match class {
        ErrorClass::Invalid => "invalid",
        ErrorClass::Transient => "transient",
        ErrorClass::Throttled => "throttled",
        ErrorClass::Conflict => "conflict",
        ErrorClass::Misconfigured => "misconfigured",
    }
}
