//! The loop: messages in, records into the timer, confirmed ends out, messages deleted.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use delayq_core::batch;
use delayq_core::clock::{Clock, EpochMs};
use delayq_core::headers::Refusal;
use delayq_core::ports::{DelayQueue, HealthReport, Lane, PayloadStore, Receipt, RecordSink};
use delayq_core::priority::Priority;
use delayq_core::record::{QueueGroup, Scheduled};
use delayq_delivery::payloads::{Loaded, Payloads};
use delayq_delivery::publish::{DeadLetter, End, EndKind, Job, Publisher, Work, start};
use delayq_delivery::queue::{QueueSender, Sent};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior};
use tokio_util::sync::CancellationToken;

use crate::budget::Budget;
use crate::calls::{CallDone, delete, extended, lane_name};
use crate::config::EmitterSettings;
use crate::held::{Held, HeldMessages, MessageId, Ticket, priority_of};
use crate::intake::{Intake, Received};
use crate::limits::{Limits, Turn};
use crate::metrics as names;
use crate::recent::Recent;

/// What the emitter needs.
pub struct EmitterPorts {
    /// Output and dead-letter topics.
    pub sink: Arc<dyn RecordSink>,
    /// Queues.
    pub queue: Arc<dyn DelayQueue>,
    /// Records too large for a batch.
    pub payloads: Arc<dyn PayloadStore>,
    /// Wall clock.
    pub clock: Arc<dyn Clock>,
    /// Health.
    pub health: Arc<dyn HealthReport>,
}

/// Longest wait of a finished message for others to be deleted in the same call.
const DELETE_EVERY: Duration = Duration::from_millis(100);
/// Entries of a delete or heartbeat call.
const ENTRIES_PER_CALL: usize = 10;
/// First estimate of what ten messages take in memory.
const FIRST_EXPECTED_BYTES: usize = 1 << 20;
/// A loop silent for longer is stalled.
const STALLED_AFTER: Duration = Duration::from_secs(30);

/// Runs until `stop`, then until what is held is published or put back, or the stop's time is over.
pub async fn run(settings: EmitterSettings, ports: EmitterPorts, stop: CancellationToken) {
    let payloads = Arc::new(Payloads::new(
        ports.payloads.clone(),
        ports.clock.clone(),
        ports.health.clone(),
        settings.payloads,
    ));
    let (publisher, ends) = start(
        settings.publish.clone(),
        ports.sink.clone(),
        ports.clock.clone(),
        payloads.clone(),
    );
    let sender = Arc::new(QueueSender::new(
        ports.queue.clone(),
        Some(payloads.clone()),
        ports.clock.clone(),
        ports.health.clone(),
        settings.queue,
    ));
    let budget = Arc::new(Budget::new(settings.memory_bytes, settings.reserve_percent));
    let (received_tx, received) = mpsc::channel(64);
    let mut intakes = JoinSet::new();
    let mut expected = HashMap::new();
    for lane in Priority::ALL
        .into_iter()
        .flat_map(|p| [Lane::Main(p), Lane::DeadLetter(p)])
    {
        let lane_expected = Arc::new(AtomicUsize::new(FIRST_EXPECTED_BYTES));
        expected.insert(lane, lane_expected.clone());
        let calls = match lane {
            Lane::Main(_) => settings.receive_concurrency.max(1),
            Lane::DeadLetter(_) => 1,
        };
        for _ in 0..calls {
            let intake = Intake {
                lane,
                queue: ports.queue.clone(),
                budget: budget.clone(),
                expected_bytes: lane_expected.clone(),
                health: ports.health.clone(),
                held_back: publisher.watch_held_back(),
                wait: settings.wait,
                visibility: settings.visibility,
            };
            intakes.spawn(intake.run(received_tx.clone(), stop.clone()));
        }
    }
    drop(received_tx);
    let (reports, report_rx) = mpsc::unbounded_channel();
    let mut emitter = Emitter {
        held: HeldMessages::default(),
        recent: Recent::new(settings.recent_sources),
        to_delete: HashMap::new(),
        calls: JoinSet::new(),
        put_backs: JoinSet::new(),
        payloads,
        loads: JoinSet::new(),
        limits: Limits::new(&settings.rates, settings.reserve_bytes()),
        settings,
        publisher,
        sender,
        queue: ports.queue,
        clock: ports.clock,
        health: ports.health,
        budget,
        expected,
        reports,
    };
    emitter.run(ends, received, report_rx, stop).await;
    intakes.abort_all();
}

struct Emitter {
    settings: EmitterSettings,
    publisher: Publisher<Ticket>,
    sender: Arc<QueueSender>,
    queue: Arc<dyn DelayQueue>,
    clock: Arc<dyn Clock>,
    health: Arc<dyn HealthReport>,
    budget: Arc<Budget>,
    expected: HashMap<Lane, Arc<AtomicUsize>>,
    reports: mpsc::UnboundedSender<Sent<Ticket>>,
    held: HeldMessages,
    recent: Recent,
    to_delete: HashMap<Lane, Vec<String>>,
    /// Deletes and heartbeats under way.
    calls: JoinSet<CallDone>,
    put_backs: JoinSet<()>,
    payloads: Arc<Payloads>,
    /// Records on their way from the payload store.
    loads: JoinSet<(Undone, Loaded)>,
    limits: Limits,
}

/// A record that something must still be done about.
struct Undone {
    record: Scheduled,
    ticket: Ticket,
    /// Not published, or received again, before this.
    not_before_ms: EpochMs,
    /// Why it becomes a dead letter; else it is published.
    refusal: Option<Refusal>,
}

impl Undone {
    fn into_job(self) -> Job<Ticket> {
        let work = match self.refusal {
            Some(refusal) => {
                Work::DeadLetter(Arc::new(DeadLetter::unpublishable(&self.record, refusal)))
            }
            None => Work::Publish(Arc::new(self.record)),
        };
        let alive = self.ticket.alive.clone();
        Job {
            not_before_ms: self.not_before_ms,
            ..Job::new(work, self.ticket, alive)
        }
    }
}

impl Emitter {
    async fn run(
        &mut self,
        mut ends: mpsc::UnboundedReceiver<End<Ticket>>,
        mut received: mpsc::Receiver<Received>,
        mut reports: mpsc::UnboundedReceiver<Sent<Ticket>>,
        stop: CancellationToken,
    ) {
        let mut heartbeat = tokio::time::interval(self.settings.visibility / 6);
        heartbeat.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut delete = tokio::time::interval(DELETE_EVERY);
        delete.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut intake_open = true;
        let mut stop_by: Option<Instant> = None;
        let mut end_batch = Vec::with_capacity(1024);
        loop {
            tokio::select! {
                message = received.recv(), if intake_open => match message {
                    Some(message) => self.on_received(message, stop_by.is_some()),
                    None => intake_open = false,
                },
                count = ends.recv_many(&mut end_batch, 1024) => {
                    if count == 0 {
                        tracing::error!("the publisher ended before the emitter");
                        return;
                    }
                    for end in end_batch.drain(..) {
                        self.on_end(end);
                    }
                }
                Some(report) = reports.recv() => self.on_report(report),
                Some(done) = self.calls.join_next(), if !self.calls.is_empty() => match done {
                    Ok(CallDone::Extended(extended)) => extended.into_iter().for_each(|(id, at)| self.held.extended(id, at)),
                    Ok(CallDone::Nothing) => {}
                    Err(error) => tracing::error!(%error, "a call to the queue ended early"),
                },
                Some(_) = self.put_backs.join_next(), if !self.put_backs.is_empty() => {}
                Some(loaded) = self.loads.join_next(), if !self.loads.is_empty() => match loaded {
                    Ok((one, loaded)) => self.on_loaded(one, loaded),
                    Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
                    Err(_) => {}
                },
                _ = heartbeat.tick() => self.heartbeat(),
                _ = delete.tick() => {
                    self.health.beat("emitter", STALLED_AFTER);
                    self.watch_kafka();
                    self.flush_deletes();
                }
                () = stop.cancelled(), if stop_by.is_none() => {
                    tracing::info!(messages = self.held.len(), "emitter stops: what is due at once is published, the rest put back; receive calls under way are waited for");
                    stop_by = Some(Instant::now() + self.settings.stop_timeout);
                    self.put_back_later().await;
                }
            }
            if let Some(stop_by) = stop_by {
                let idle = !intake_open && self.held.is_empty() && self.to_delete.is_empty();
                if idle && self.calls.is_empty() && self.put_backs.is_empty() {
                    return;
                }
                if Instant::now() >= stop_by {
                    tracing::error!(
                        messages = self.held.len(),
                        "emitter stops with messages held: they come again when their visibility ends"
                    );
                    return;
                }
            }
        }
    }

    fn on_received(&mut self, received: Received, stopping: bool) {
        let lane = received.lane;
        let mut real_bytes = 0;
        let labels = [
            ("lane", lane_name(lane)),
            ("priority", priority_of(lane).as_str()),
        ];
        metrics::counter!(names::RECEIVED, &labels).increment(received.receipts.len() as u64);
        for receipt in received.receipts {
            metrics::histogram!(names::RECEIVE_COUNT).record(f64::from(receipt.receive_count));
            real_bytes += match batch::from_text(&receipt.body) {
                Ok(records) => {
                    metrics::counter!(names::RECEIVED_RECORDS, &labels)
                        .increment(records.len() as u64);
                    self.on_batch(lane, receipt, records, received.visible_at, stopping)
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
            .settle(priority_of(lane), received.budgeted_bytes, real_bytes);
        if let Some(expected) = self.expected.get(&lane) {
            let before = expected.load(Ordering::Relaxed);
            expected.store((before * 3 + real_bytes) / 4, Ordering::Relaxed);
        }
    }

    /// Takes on a message's records; answers with the memory they hold.
    fn on_batch(
        &mut self,
        lane: Lane,
        receipt: Receipt,
        records: Vec<Scheduled>,
        visible_at: Instant,
        stopping: bool,
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
        let memory_bytes = records.iter().map(Scheduled::memory_bytes).sum();
        let (message, alive) = self.held.hold(
            lane,
            receipt.handle,
            records.len(),
            memory_bytes,
            visible_at,
        );
        let hold_ms = if stopping {
            self.settings.stop_publish_within_ms
        } else {
            self.settings.hold_max_ms
        };
        let now_ms = self.clock.now_ms();
        let until_ms = now_ms.saturating_add(hold_ms);
        let (mut now, mut later, mut limited) = (Vec::new(), Vec::new(), Vec::new());
        for record in records {
            let ticket = Ticket {
                message,
                source: Some(record.source.clone()),
                alive: alive.clone(),
                limit: None,
            };
            let mut one = Undone {
                record,
                ticket,
                not_before_ms: EpochMs::MIN,
                refusal: None,
            };
            match lane {
                Lane::DeadLetter(_) => {
                    let detail = format!(
                        "its message was received {} times without being finished",
                        receipt.receive_count
                    );
                    let refusal = Some(Refusal::new("redelivery-exhausted", detail));
                    now.push(Undone { refusal, ..one });
                }
                Lane::Main(_) if one.record.due_ms > until_ms => later.push(one),
                Lane::Main(_) if self.take_turn(&mut one, now_ms) => now.push(one),
                Lane::Main(_) => limited.push(one),
            }
        }
        self.take_on(now);
        self.put_back(later, if stopping { "stop" } else { "early" });
        self.put_back(limited, "rate");
        memory_bytes
    }

    fn on_unreadable(
        &mut self,
        lane: Lane,
        receipt: Receipt,
        refusal: Refusal,
        visible_at: Instant,
    ) -> usize {
        let memory_bytes = receipt.body.len();
        let (message, alive) = self
            .held
            .hold(lane, receipt.handle, 1, memory_bytes, visible_at);
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
    fn take_turn(&mut self, one: &mut Undone, now_ms: EpochMs) -> bool {
        let Some(route) = one.record.limit.clone() else {
            return true;
        };
        let bytes = one.record.memory_bytes();
        match self.limits.turn(&route, one.record.due_ms, now_ms, bytes) {
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
    fn take_on(&mut self, records: Vec<Undone>) {
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

    fn on_loaded(&mut self, mut one: Undone, loaded: Loaded) {
        match loaded {
            Loaded::Record(record) => one.record.record = record,
            Loaded::Fault(fault) => {
                one.refusal = Some(Refusal::new(fault.code(), fault.to_string()));
            }
            Loaded::Abandoned => return self.done(&one.ticket, true),
        }
        self.hold(vec![one.into_job()]);
    }

    fn hold(&self, jobs: Vec<Job<Ticket>>) {
        if !self.publisher.hold(jobs) {
            tracing::error!(
                "the publisher is gone: messages come again when their visibility ends"
            );
        }
    }

    fn on_end(&mut self, end: End<Ticket>) {
        if end.kind != EndKind::Abandoned
            && let Some(source) = &end.ticket.source
        {
            self.recent.remember(source.clone());
        }
        self.done(&end.ticket, end.kind == EndKind::Abandoned);
    }

    fn done(&mut self, ticket: &Ticket, abandoned: bool) {
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
        self.budget.free(priority_of(lane), memory_bytes);
        if deletable {
            self.to_delete.entry(lane).or_default().push(handle);
        }
    }

    /// Records put back are confirmed in their new message: they are done here.
    fn on_report(&mut self, report: Sent<Ticket>) {
        match report {
            Sent::Confirmed(tickets) => tickets.iter().for_each(|ticket| self.done(ticket, false)),
            Sent::Abandoned(tickets) => tickets.iter().for_each(|ticket| self.done(ticket, true)),
            Sent::Unsendable(records) => {
                let records = records.into_iter().map(|one| {
                    tracing::warn!(source = %one.record.source, refusal = %one.refusal, "cannot be put back: held until it is due");
                    Undone {
                        record: one.record,
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
    fn put_back(&mut self, records: Vec<Undone>, cause: &'static str) {
        let mut groups: HashMap<QueueGroup, (EpochMs, Vec<_>)> = HashMap::new();
        for one in records {
            let first = (EpochMs::MAX, Vec::new());
            let group = groups.entry(one.record.queue_group()).or_insert(first);
            group.0 = group.0.min(one.not_before_ms);
            group.1.push((one.record, one.ticket));
        }
        for (QueueGroup { priority, .. }, (not_before_ms, group)) in groups {
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

    async fn put_back_later(&mut self) {
        let after_ms = self
            .clock
            .now_ms()
            .saturating_add(self.settings.stop_publish_within_ms);
        let recalled = self.publisher.recall(after_ms).await;
        let mut later = Vec::new();
        for job in recalled {
            match job.work {
                Work::Publish(record) => later.push(Undone {
                    record: Arc::unwrap_or_clone(record),
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

    fn heartbeat(&mut self) {
        for priority in Priority::ALL {
            metrics::gauge!(names::HELD_BYTES, "priority" => priority.as_str())
                .set(self.budget.used(priority) as f64);
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

    fn watch_kafka(&self) {
        let state = self
            .publisher
            .held_back()
            .map_or(Ok(()), |error| Err(error.to_string()));
        self.health.report("output topics (emitter)", state);
    }

    fn flush_deletes(&mut self) {
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
