//! The loop: messages in, records into the timer, confirmed ends out, messages deleted.

mod in_hand;
mod let_go;
mod take_on;

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::time::Duration;

use delayq_core::clock::Clock;
use delayq_core::ports::{
    DelayQueue, HealthReport, Lane, MessageRegistry, PayloadStore, RecordSink,
};
use delayq_core::priority::Priority;
use delayq_delivery::payloads::{Loaded, Payloads};
use delayq_delivery::publish::{End, EndKind, Job, Publisher, start};
use delayq_delivery::queue::{QueueSender, Sent};
use delayq_delivery::registry::Registry;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior};
use tokio_util::sync::CancellationToken;

use self::in_hand::InHand;
use self::let_go::Done;
use self::take_on::Undone;
use crate::budget::Budget;
use crate::calls::CallDone;
use crate::config::EmitterSettings;
use crate::held::{HeldMessages, Ticket};
use crate::intake::{Intake, Received};
use crate::limits::Limits;
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
    /// Tracked records.
    pub registry: Arc<dyn MessageRegistry>,
    /// Wall clock.
    pub clock: Arc<dyn Clock>,
    /// Health.
    pub health: Arc<dyn HealthReport>,
}

/// Longest wait of a finished message for others to be deleted in the same call.
const DELETE_EVERY: Duration = Duration::from_millis(100);
/// First estimate of what a message takes in memory: packed to take 1 MiB by default.
const FIRST_EXPECTED_BYTES: usize = 1 << 20;
/// A loop silent for longer is stalled.
const STALLED_AFTER: Duration = Duration::from_secs(30);

/// Runs until `stop`, then until what is held is published or put back, or the stop's time is over.
pub async fn run(settings: EmitterSettings, ports: EmitterPorts, stop: CancellationToken) {
    names::start_at_zero();
    let payloads = Arc::new(Payloads::new(
        ports.payloads.clone(),
        ports.clock.clone(),
        ports.health.clone(),
        settings.payloads,
    ));
    let registry = Arc::new(Registry::new(
        ports.registry.clone(),
        ports.clock.clone(),
        ports.health.clone(),
        settings.registry.clone(),
    ));
    let (publisher, ends) = start(
        settings.publish.clone(),
        ports.sink.clone(),
        ports.clock.clone(),
        payloads.clone(),
        registry,
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
                message_bytes: lane_expected.clone(),
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
        in_hand: InHand::default(),
        to_delete: HashMap::new(),
        calls: JoinSet::new(),
        put_backs: JoinSet::new(),
        payloads,
        loads: JoinSet::new(),
        limits: Limits::new(&settings.rates, settings.reserve_bytes()),
        stopping: false,
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
    in_hand: InHand,
    to_delete: HashMap<Lane, Vec<String>>,
    /// Deletes and heartbeats under way.
    calls: JoinSet<CallDone>,
    put_backs: JoinSet<()>,
    payloads: Arc<Payloads>,
    /// Records on their way from the payload store.
    loads: JoinSet<(Undone, Loaded)>,
    limits: Limits,
    /// What is not due at once goes back.
    stopping: bool,
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
                    Some(message) => self.on_received(message),
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
                Some(done) = self.put_backs.join_next(), if !self.put_backs.is_empty() => {
                    // A panicked task has lost track of its records: only a restart gives them back.
                    if let Err(error) = done && error.is_panic() {
                        std::panic::resume_unwind(error.into_panic());
                    }
                }
                Some(loaded) = self.loads.join_next(), if !self.loads.is_empty() => match loaded {
                    Ok((one, loaded)) => self.on_loaded(one, loaded),
                    Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
                    Err(_) => {}
                },
                _ = heartbeat.tick() => self.heartbeat(),
                _ = delete.tick() => {
                    self.health.beat("emitter", STALLED_AFTER);
                    self.watch_kafka();
                    self.watch_held();
                    self.flush_deletes();
                }
                () = stop.cancelled(), if stop_by.is_none() => {
                    tracing::info!(messages = self.held.len(), "emitter stops: what is due at once is published, the rest put back; receive calls under way are waited for");
                    self.stopping = true;
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
            self.recent.remember(source);
        }
        let how = match end.kind {
            EndKind::Published | EndKind::DeadLettered | EndKind::Dropped => Done::Ended,
            EndKind::Abandoned => Done::GivenUp,
        };
        self.done(&end.ticket, how);
    }

    /// What is held beyond its time waits for Kafka, a payload or the queue that it goes back to.
    fn watch_held(&self) {
        let overdue = self.held.overdue(Instant::now());
        metrics::gauge!(names::OVERDUE_MS).set(overdue.as_millis() as f64);
        let state = if overdue > self.settings.stall_after {
            Err(format!(
                "stalled: a message is held {} s beyond the due time of its last record; the output topic, payload table or queue that it waits for does not answer",
                overdue.as_secs()
            ))
        } else {
            Ok(())
        };
        self.health.report("held messages", state);
    }

    fn watch_kafka(&self) {
        let state = self
            .publisher
            .held_back()
            .map_or(Ok(()), |error| Err(error.to_string()));
        self.health.report("output topics (emitter)", state);
    }
}
