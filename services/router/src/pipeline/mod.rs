//! The loop: source events in, records routed, groups packed and handed over, finished offsets committed.
//!
//! One task owns all state; the calls to queues and store run as tasks of their own and report what is
//! confirmed. The poll of the consumer never waits for them.

mod commits;
mod hand_over;
mod stalls;
mod stop;
mod tracked;

use std::collections::{HashSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use delayq_core::bucket::Bucket;
use delayq_core::clock::Clock;
use delayq_core::headers::Refusal;
use delayq_core::packer::{Packed, Packer, SizeLimits, pack_by_ms};
use delayq_core::ports::{
    BatchStore, DelayQueue, HealthReport, MessageRegistry, PayloadStore, RecordSink, RecordSource,
    ShardState, SourceEvent,
};
use delayq_core::record::{
    Incoming, Path, QueueGroup, SCHEDULED_OVERHEAD_BYTES, Scheduled, TopicPartition,
};
use delayq_core::route::{Decision, route};
use delayq_delivery::payloads::Payloads;
use delayq_delivery::publish::{DeadLetter, End, EndKind, Job, Publisher, Tracking, Work, start};
use delayq_delivery::queue::{QueueSender, Sent};
use delayq_delivery::registry::Registry;
use delayq_delivery::upcoming::UpcomingCounts;
use tokio::sync::{Semaphore, mpsc};
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior};
use tokio_util::sync::CancellationToken;

use self::commits::Revoke;
use self::stop::Stop;
use self::tracked::Registered;
use crate::config::RouterSettings;
use crate::long::{LongKey, LongSettings, LongWriter};
use crate::metrics as names;
use crate::partitions::{Delivered, Partitions, Ticket};
use crate::sharding::Sharding;

/// What the router needs.
pub struct RouterPorts {
    /// Delay topics.
    pub source: Box<dyn RecordSource>,
    /// Output and dead-letter topics.
    pub sink: Arc<dyn RecordSink>,
    /// Queues.
    pub queue: Arc<dyn DelayQueue>,
    /// Table of batches.
    pub store: Arc<dyn BatchStore>,
    /// State rows.
    pub shards: Arc<dyn ShardState>,
    /// Records too large for a batch.
    pub payloads: Arc<dyn PayloadStore>,
    /// Tracked records.
    pub registry: Arc<dyn MessageRegistry>,
    /// Where what comes due is counted.
    pub upcoming: Arc<UpcomingCounts>,
    /// Wall clock.
    pub clock: Arc<dyn Clock>,
    /// Health.
    pub health: Arc<dyn HealthReport>,
}

/// Time kept for arrival ahead of the due second and for the call itself.
const PACK_RESERVE_MS: i64 = 1_000;
/// Groups on their way to the long tier for each call that it takes at once: the next is ready when one ends.
const LONG_SLOTS_A_CALL: usize = 2;
/// The loop beats at least this often.
const HEARTBEAT: Duration = Duration::from_millis(500);
/// A loop silent for longer is stalled.
const STALLED_AFTER: Duration = Duration::from_secs(30);

/// Runs until `stop`, then until everything held is confirmed and committed, or the stop's time is over.
pub async fn run(settings: RouterSettings, ports: RouterPorts, stop: CancellationToken) {
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
        registry.clone(),
    );
    let sender = Arc::new(QueueSender::new(
        ports.queue.clone(),
        Some(payloads.clone()),
        ports.clock.clone(),
        ports.health.clone(),
        settings.queue,
    ));
    let long_settings = LongSettings {
        times: settings.times,
        writer: settings.writer.clone(),
        expire_after_ms: settings.expire_after_ms,
        limits: SizeLimits {
            wanted_bytes: settings.store_batch_bytes,
            largest_bytes: settings.store_batch_bytes,
            memory_bytes: settings.queue.memory_bytes,
            zstd_level: settings.queue.zstd_level,
        },
        zstd_level_max: settings.store_zstd_level_max,
        concurrency: settings.store_concurrency,
        retry_first: settings.queue.retry_first,
        retry_max: settings.queue.retry_max,
    };
    let long = Arc::new(LongWriter::new(
        long_settings,
        ports.store.clone(),
        ports.shards.clone(),
        payloads,
        sender.clone(),
        ports.clock.clone(),
        ports.health.clone(),
    ));
    let (reports, report_rx) = mpsc::unbounded_channel();
    let mut router = Router {
        short: Packer::new(settings.group_raw_bytes, settings.group_records),
        long_groups: Packer::new(settings.group_raw_bytes, settings.group_records),
        short_ready: Default::default(),
        long_ready: VecDeque::new(),
        sharding: Sharding::new(settings.shards),
        tasks: JoinSet::new(),
        long_slots: Arc::new(Semaphore::new(
            settings.store_concurrency * LONG_SLOTS_A_CALL,
        )),
        registering: JoinSet::new(),
        partitions: Partitions::default(),
        revokes: Vec::new(),
        held_bytes: 0,
        over_since: None,
        paused: false,
        newly_assigned: false,
        intake_ended: false,
        source_unhealthy: false,
        crowded: Vec::new(),
        started: Instant::now(),
        stalled: HashSet::new(),
        settings,
        publisher,
        sender,
        long,
        registry,
        upcoming: ports.upcoming,
        reports,
        clock: ports.clock,
        health: ports.health,
    };
    router.run(ports.source, ends, report_rx, stop).await;
}

struct Router {
    settings: RouterSettings,
    publisher: Publisher<Ticket>,
    sender: Arc<QueueSender>,
    long: Arc<LongWriter>,
    registry: Arc<Registry>,
    upcoming: Arc<UpcomingCounts>,
    reports: mpsc::UnboundedSender<Sent<Ticket>>,
    clock: Arc<dyn Clock>,
    health: Arc<dyn HealthReport>,
    partitions: Partitions,
    short: Packer<QueueGroup, Ticket>,
    long_groups: Packer<LongKey, Ticket>,
    short_ready: [VecDeque<Packed<QueueGroup, Ticket>>; 3],
    long_ready: VecDeque<Packed<LongKey, Ticket>>,
    sharding: Sharding,
    tasks: JoinSet<()>,
    /// Groups on their way to the long tier.
    long_slots: Arc<Semaphore>,
    /// Tracked records and cancels on their way to the registry.
    registering: JoinSet<Registered>,
    revokes: Vec<Revoke>,
    held_bytes: usize,
    /// Since when more is held than memory allows.
    over_since: Option<Instant>,
    /// Paused for memory.
    paused: bool,
    /// New partitions start unpaused.
    newly_assigned: bool,
    /// Paused for good: the router stops.
    intake_ended: bool,
    /// The source has said what is wrong, and not yet that it is over.
    source_unhealthy: bool,
    /// Partitions paused because their map of finished offsets is too large.
    crowded: Vec<TopicPartition>,
    /// Zero of the clock by which records are in hand.
    started: Instant,
    /// Partitions that are named as stalled.
    stalled: HashSet<TopicPartition>,
}

impl Router {
    async fn run(
        &mut self,
        mut source: Box<dyn RecordSource>,
        mut ends: mpsc::UnboundedReceiver<End<Ticket>>,
        mut reports: mpsc::UnboundedReceiver<Sent<Ticket>>,
        stop: CancellationToken,
    ) {
        let mut commit_tick = tokio::time::interval(self.settings.commit_interval);
        commit_tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut stopping: Option<Stop> = None;
        let mut end_batch = Vec::with_capacity(1024);
        loop {
            self.health.beat("router", STALLED_AFTER);
            self.pack();
            self.dispatch();
            self.relieve(source.as_ref());
            self.answer_revokes();
            let wake = self.next_wake(stopping.as_ref().map(|stop| stop.by));
            tokio::select! {
                event = source.next(), if self.takes_in() => match event {
                    Some(event) => self.on_source(event),
                    None => break,
                },
                count = ends.recv_many(&mut end_batch, 1024) => {
                    if count == 0 {
                        tracing::error!("the publisher ended before the router");
                        break;
                    }
                    for end in end_batch.drain(..) {
                        self.on_end(&end);
                    }
                }
                Some(report) = reports.recv() => self.on_report(report),
                Some(done) = self.tasks.join_next(), if !self.tasks.is_empty() => {
                    // A panicked task has lost track of its records: only a restart repeats them.
                    if let Err(error) = done && error.is_panic() {
                        std::panic::resume_unwind(error.into_panic());
                    }
                }
                Some(done) = self.registering.join_next(), if !self.registering.is_empty() => match done {
                    Ok(registered) => self.on_registered(registered),
                    Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
                    Err(_) => {}
                },
                _ = commit_tick.tick() => {
                    self.watch_kafka();
                    self.watch_partitions();
                    self.commit(source.as_ref()).await;
                    if let Some(stop) = &mut stopping {
                        self.leave(stop, source.as_ref());
                    }
                }
                () = stop.cancelled(), if stopping.is_none() => {
                    stopping = Some(self.begin_stop(source.as_ref(), &mut commit_tick));
                }
                () = tokio::time::sleep_until(wake) => {}
            }
            if stopping
                .as_ref()
                .is_some_and(|stop| Instant::now() >= stop.by)
            {
                tracing::error!(
                    held_bytes = self.held_bytes,
                    "router stops with unfinished records: they are read again at the next start"
                );
                break;
            }
        }
        self.tasks.abort_all();
    }

    fn on_source(&mut self, event: SourceEvent) {
        match event {
            SourceEvent::Assigned(assigned) => {
                for one in assigned {
                    let before = self.partitions.ids(std::slice::from_ref(&one.partition));
                    self.discard(&before);
                    tracing::info!(partition = %one.partition, committed = one.committed, "partition assigned");
                    self.partitions.assign(one);
                }
                self.newly_assigned = true;
                if !self.source_unhealthy {
                    self.health.report("delay topics", Ok(()));
                }
            }
            SourceEvent::Records(records) => self.on_records(records),
            SourceEvent::Revoked { partitions, reply } => {
                tracing::info!(
                    partitions = partitions.len(),
                    "partitions revoked: finishing what is held of them"
                );
                let ids = self.partitions.ids(&partitions);
                self.pack_everything();
                let deadline = Instant::now() + self.settings.revoke_timeout;
                self.revokes.push(Revoke {
                    ids,
                    reply,
                    deadline,
                });
            }
            SourceEvent::Lost(partitions) => {
                tracing::warn!(
                    partitions = partitions.len(),
                    "partitions lost: discarding what is held of them"
                );
                self.discard(&self.partitions.ids(&partitions));
            }
            SourceEvent::Unhealthy(error) => {
                self.source_unhealthy = true;
                self.health.report("delay topics", Err(error.to_string()));
            }
            SourceEvent::Healthy => {
                self.source_unhealthy = false;
                self.health.report("delay topics", Ok(()));
            }
        }
    }

    fn on_records(&mut self, records: Vec<Incoming>) {
        let now_ms = self.clock.now_ms();
        let delivered_ms = self.elapsed_ms();
        let mut jobs = Vec::new();
        let mut counts = names::Taken::default();
        for incoming in records {
            let memory_bytes = incoming.record.memory_bytes() + SCHEDULED_OVERHEAD_BYTES;
            counts.accepted(&incoming.source.at.topic);
            let at = &incoming.source;
            let ticket = match self.partitions.deliver(
                &at.at,
                at.offset,
                incoming.leader_epoch,
                memory_bytes,
                delivered_ms,
            ) {
                Delivered::New(ticket) => ticket,
                Delivered::Restored => {
                    counts.restored += 1;
                    continue;
                }
                Delivered::Ignored => continue,
            };
            self.held_bytes += memory_bytes;
            match route(incoming, now_ms, &self.settings.policy) {
                Decision::Schedule(record) => {
                    counts.routed(record.path);
                    match record.key() {
                        Some(key) => self.register(key, record, None, ticket),
                        None => self.schedule(*record, ticket, now_ms, &mut jobs),
                    }
                }
                Decision::Replace { record, replaces } => {
                    counts.routed(record.path);
                    // What replaces has an id, or is refused.
                    if let Some(key) = record.key() {
                        self.register(key, record, Some(replaces), ticket);
                    }
                }
                Decision::Cancel { id, incoming } => self.cancel(id, &incoming, ticket),
                Decision::Refuse { refusal, incoming } => {
                    jobs.push(refuse(*incoming, refusal, ticket))
                }
            }
        }
        counts.tell();
        self.hold(jobs);
    }

    fn schedule(
        &mut self,
        record: Scheduled,
        ticket: Ticket,
        now_ms: i64,
        jobs: &mut Vec<Job<Ticket>>,
    ) {
        // Canaries are nobody's.
        if self.settings.policy.canary_topic.as_ref() != Some(&record.output_topic) {
            self.upcoming.add(&record);
        }
        let by_ms = pack_by_ms(
            record.due_ms,
            now_ms,
            self.settings.queue.early_ms + PACK_RESERVE_MS,
            self.settings.max_wait_ms,
        );
        match record.path {
            Path::Direct => {
                let alive = ticket.alive.clone();
                jobs.push(Job::new(Work::Publish(Arc::new(record)), ticket, alive));
            }
            Path::Short => {
                let key = record.queue_group();
                if let Some(full) = self.short.push(key, record, ticket, by_ms) {
                    self.short_ready_push(full);
                }
            }
            Path::Long => {
                let bucket = Bucket::of(record.due_ms, self.settings.times.bucket_ms);
                let key = self.sharding.key(bucket, &record.source.at, now_ms);
                // The lead must not begin while the batch is being packed: that would make every record of it a duplicate.
                let lead_ms =
                    bucket.start_ms(self.settings.times.bucket_ms) - self.settings.times.lead_ms;
                let by_ms = by_ms.min(pack_by_ms(lead_ms, now_ms, 0, self.settings.max_wait_ms));
                if let Some(full) = self.long_groups.push(key, record, ticket, by_ms) {
                    self.sharding.filled(bucket, now_ms);
                    self.long_ready.push_back(full);
                }
            }
        }
    }

    fn on_end(&mut self, end: &End<Ticket>) {
        if end.kind == EndKind::Abandoned {
            return;
        }
        self.held_bytes -= self.partitions.finish(&end.ticket);
    }

    fn on_report(&mut self, report: Sent<Ticket>) {
        match report {
            Sent::Confirmed(tickets) => {
                for ticket in tickets {
                    self.held_bytes -= self.partitions.finish(&ticket);
                }
            }
            // Their partition is another router's: it reads them again.
            Sent::Abandoned(_) => {}
            Sent::Unsendable(records) => {
                let jobs = records
                    .into_iter()
                    .map(|one| {
                        let letter = DeadLetter::unpublishable(&one.record, one.refusal);
                        let alive = one.ticket.alive.clone();
                        Job {
                            tracking: Tracking::of(&one.record),
                            ..Job::new(Work::DeadLetter(Arc::new(letter)), one.ticket, alive)
                        }
                    })
                    .collect();
                self.hold(jobs);
            }
        }
    }

    fn hold(&self, jobs: Vec<Job<Ticket>>) {
        if !self.publisher.hold(jobs) {
            tracing::error!(
                "the publisher is gone: records stay unfinished and are read again after a restart"
            );
        }
    }

    fn watch_kafka(&self) {
        let kafka = self
            .publisher
            .held_back()
            .map_or(Ok(()), |error| Err(error.to_string()));
        self.health.report("output topics (router)", kafka);
    }
}

fn refuse(incoming: Incoming, refusal: Refusal, ticket: Ticket) -> Job<Ticket> {
    metrics::counter!(names::ROUTED, "path" => "refused").increment(1);
    let alive = ticket.alive.clone();
    let letter = DeadLetter::refused(incoming, refusal);
    Job::new(Work::DeadLetter(Arc::new(letter)), ticket, alive)
}
