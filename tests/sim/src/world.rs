//! Carries a plan out: the broker and the tiers, the processes on them, the records, and what goes wrong.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use delayq_core::clock::EpochMs;
use delayq_core::ports::Lane;
use delayq_core::priority::Priority;
use delayq_core::record::{Source, TopicPartition};
use delayq_embedded::{
    MemoryBatchStore, MemoryBroker, MemoryDelayQueue, MemoryMessageRegistry, MemoryPayloadStore,
    MemoryShardState, MemorySink, MemorySource, MemoryTickQueue, RuntimeClock, SourceOptions,
};
use delayq_emitter::EmitterPorts;
use delayq_router::RouterPorts;
use delayq_scheduler::SchedulerPorts;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, sleep_until, timeout};
use tokio_util::sync::CancellationToken;

use crate::ledger::{Cause, Ledger};
use crate::node::Node;
use crate::oracle::judge;
use crate::plan::{Event, Plan, Profile, Role};
use crate::ports::{
    SimPayloads, SimQueue, SimRegistry, SimShards, SimSink, SimSource, SimStore, SimTicks,
};
use crate::report::SeedReport;
use crate::settings::{DEAD_LETTER_TOPIC, DELAY_TOPIC, GROUP, MISSING_TARGET, TARGETS};
use crate::tracking::cancel_from_outside;
use crate::weather::{Rates, Target, Weather};

/// Some time in 2027.
const START_MS: EpochMs = 1_800_000_000_000;
/// A broker gives a silent member up after this.
const SESSION: Duration = Duration::from_secs(10);
/// Longest time until a dead process is started again, in ms.
const RESTART_MS: u64 = 5_000;
/// Longer than the stop time-out of any role.
const STOP_WITHIN: Duration = Duration::from_secs(100);
/// Lateness of a healthy deployment (promise P3's p99).
const PUNCTUAL_MS: i64 = 25;
/// How long what was mended may take to catch up, beyond the last due time.
const CATCH_UP: Duration = Duration::from_secs(2 * 3600);
/// How long late duplicates have to come.
const QUIET: Duration = Duration::from_secs(180);

/// Where a record was accepted.
#[derive(Debug, Clone, Copy)]
pub struct Accepted {
    /// Its place in the plan.
    pub planned: usize,
    /// Its timestamp.
    pub timestamp_ms: EpochMs,
}

/// Everything outside the processes.
pub struct World {
    /// The plan.
    pub plan: Plan,
    /// The broker.
    pub broker: MemoryBroker,
    /// The evidence.
    pub ledger: Arc<Ledger>,
    clock: RuntimeClock,
    weather: Arc<Weather>,
    queue: Arc<MemoryDelayQueue>,
    ticks: Arc<MemoryTickQueue>,
    store: Arc<MemoryBatchStore>,
    shards: Arc<MemoryShardState>,
    payloads: Arc<MemoryPayloadStore>,
    /// Tracked records.
    pub registry: Arc<MemoryMessageRegistry>,
    accepted: Mutex<BTreeMap<Source, Accepted>>,
    findings: Mutex<Vec<String>>,
    started: Instant,
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

enum Command {
    Restart,
    CrashAtPoll(u64),
    Finish,
}

/// A replica over all its starts.
struct Slot {
    node: Arc<Mutex<Option<Arc<Node>>>>,
    commands: mpsc::UnboundedSender<Command>,
    task: JoinHandle<()>,
}

impl Slot {
    fn node(&self) -> Option<Arc<Node>> {
        locked(&self.node).clone()
    }

    fn tell(&self, command: Command) {
        // A slot that has finished needs no more telling.
        if self.commands.send(command).is_err() {
            tracing::debug!("a replica has finished already");
        }
    }
}

/// Runs a seed to its end, in the runtime of the caller, whose time must be paused.
pub async fn run(plan: Plan) -> SeedReport {
    let world = Arc::new(World::new(plan));
    let mut slots = BTreeMap::new();
    for (role, replicas) in Role::ALL.into_iter().zip(world.plan.replicas) {
        for replica in 0..replicas {
            slots.insert((role, replica), world.slot(role, replica));
        }
    }
    let producer = tokio::spawn(world.clone().produce());
    let canceller = tokio::spawn(world.clone().cancel());
    for (at_ms, event) in world.plan.events.clone() {
        sleep_until(world.started + Duration::from_millis(at_ms)).await;
        world.happen(event, &slots);
    }
    sleep_until(world.started + Duration::from_millis(world.plan.mended_ms)).await;
    world.weather.set_rates(Rates::CALM);
    world
        .ledger
        .note("world", format_args!("no more chance faults"));
    for (who, task) in [("producer", producer), ("canceller", canceller)] {
        if let Err(error) = task.await {
            world.find(format!("the {who} failed: {error}"));
        }
    }
    world.settle().await;
    for slot in slots.values() {
        slot.tell(Command::Finish);
    }
    for ((role, replica), slot) in slots {
        if let Err(error) = slot.task.await {
            world.find(format!("{} {replica} failed: {error}", role.as_str()));
        }
    }
    judge(&world)
}

impl World {
    fn new(plan: Plan) -> Self {
        let clock =
            RuntimeClock::starting_at(START_MS + i64::try_from(plan.seed % 600_000).unwrap_or(0));
        let shared: Arc<RuntimeClock> = Arc::new(clock);
        let broker = MemoryBroker::new(shared.clone());
        broker.create_topic(DELAY_TOPIC, u32::try_from(plan.partitions).unwrap_or(1));
        broker.create_topic(DEAD_LETTER_TOPIC, 1);
        for topic in output_topics() {
            broker.create_topic(&topic, 2);
        }
        Self {
            broker,
            ledger: Arc::new(Ledger::new()),
            clock,
            weather: Arc::new(Weather::new(plan.seed ^ 0x5eed)),
            queue: Arc::new(MemoryDelayQueue::with_max_receive_count(
                shared.clone(),
                plan.max_receive_count,
            )),
            ticks: Arc::new(MemoryTickQueue::new()),
            store: Arc::new(MemoryBatchStore::new(shared.clone())),
            shards: Arc::new(MemoryShardState::new()),
            payloads: Arc::new(MemoryPayloadStore::new(shared.clone())),
            registry: Arc::new(MemoryMessageRegistry::new(shared)),
            accepted: Mutex::default(),
            findings: Mutex::default(),
            started: Instant::now(),
            plan,
        }
    }

    /// What was accepted, by source.
    pub fn accepted(&self) -> MutexGuard<'_, BTreeMap<Source, Accepted>> {
        locked(&self.accepted)
    }

    /// What else broke.
    #[must_use]
    pub fn findings(&self) -> Vec<String> {
        locked(&self.findings).clone()
    }

    /// Virtual time so far.
    #[must_use]
    pub fn elapsed(&self) -> Duration {
        self.started.elapsed()
    }

    fn find(&self, what: String) {
        self.ledger.note("world", format_args!("finding: {what}"));
        locked(&self.findings).push(what);
    }

    /// Writes the records at their times; a broker that is away is asked again.
    async fn produce(self: Arc<Self>) {
        for (number, planned) in self.plan.records.iter().enumerate() {
            sleep_until(self.started + Duration::from_millis(planned.at_ms)).await;
            let partition = TopicPartition::new(DELAY_TOPIC, planned.partition);
            self.broker.skip_offsets(&partition, planned.gap);
            let (offset, timestamp_ms) = loop {
                use delayq_core::clock::Clock as _;
                let now_ms = self.clock.now_ms();
                match self
                    .broker
                    .produce(&partition, planned.record.clone(), Some(now_ms))
                {
                    Ok(offset) => break (offset, now_ms),
                    Err(_) => sleep(Duration::from_millis(100)).await,
                }
            };
            let source = Source {
                at: partition,
                offset,
            };
            self.ledger.note(
                "producer",
                format_args!("writes {source}, delay {} ms", planned.delay_ms),
            );
            let accepted = Accepted {
                planned: number,
                timestamp_ms,
            };
            self.accepted().insert(source, accepted);
        }
    }

    /// Cancels from outside at their times.
    async fn cancel(self: Arc<Self>) {
        use delayq_core::clock::Clock as _;
        let mut cancels = self.plan.cancels.clone();
        cancels.sort_by_key(|one| one.at_ms);
        for one in cancels {
            sleep_until(self.started + Duration::from_millis(one.at_ms)).await;
            let now_ms = self.clock.now_ms();
            match cancel_from_outside(&self.registry, one.id, now_ms, &self.ledger).await {
                Ok(answer) => self.ledger.note(
                    "canceller",
                    format_args!("cancels {}: {}", one.id, answer.as_str()),
                ),
                Err(error) => self.find(format!("a cancel from outside failed: {error}")),
            }
        }
    }

    fn happen(self: &Arc<Self>, event: Event, slots: &BTreeMap<(Role, usize), Slot>) {
        let slot = |role, replica| slots.get(&(role, replica));
        let node = |role, replica| slot(role, replica).and_then(Slot::node);
        match event {
            Event::Crash(role, replica) => {
                if let Some(node) = node(role, replica) {
                    node.die("kill");
                }
            }
            Event::CrashAtPoll(role, replica, polls) => {
                if let Some(slot) = slot(role, replica) {
                    slot.tell(Command::CrashAtPoll(polls));
                }
            }
            Event::Restart(role, replica) => {
                if let Some(slot) = slot(role, replica) {
                    self.ledger.fault("restart");
                    slot.tell(Command::Restart);
                }
            }
            Event::Freeze(role, replica, for_) => {
                if let Some(node) = node(role, replica).filter(|node| !node.is_dead()) {
                    node.freeze(for_);
                    if role == Role::Router && for_ > SESSION {
                        tokio::spawn(self.clone().expire_sessions_after(SESSION));
                    }
                }
            }
            Event::Skew(role, replica, skew_ms) => {
                if let Some(node) = node(role, replica) {
                    node.note(format_args!("its clock is set {skew_ms} ms ahead"));
                    self.ledger.fault("clock set");
                    node.set_skew_ms(skew_ms);
                }
            }
            Event::SessionsExpire => {
                tokio::spawn(self.clone().expire_sessions_after(Duration::ZERO));
            }
            Event::Away(target, for_) => {
                tokio::spawn(self.clone().outage(target, for_));
            }
            Event::Rates(rates) => self.weather.set_rates(rates),
        }
    }

    async fn expire_sessions_after(self: Arc<Self>, wait: Duration) {
        sleep(wait).await;
        self.ledger.note("world", format_args!("sessions expire"));
        self.ledger.fault("sessions expired");
        self.broker.expire_sessions(GROUP);
    }

    async fn outage(self: Arc<Self>, target: Target, for_: Duration) {
        self.ledger
            .note("world", format_args!("{target:?} goes away for {for_:?}"));
        self.ledger.fault("outage");
        self.weather.set_away(target, true);
        if target == Target::Kafka {
            self.broker.set_down(true);
        }
        sleep(for_).await;
        self.weather.set_away(target, false);
        if target == Target::Kafka && !self.weather.is_away(Target::Kafka) {
            self.broker.set_down(false);
        }
        self.ledger
            .note("world", format_args!("{target:?} is back"));
    }

    /// Waits until every record has ended and nothing is under way, then for what may still come twice.
    async fn settle(&self) {
        let last_due = self.started + Duration::from_millis(self.plan.last_due_ms());
        let deadline = last_due.max(Instant::now()) + CATCH_UP;
        while !self.is_drained() {
            if Instant::now() >= deadline {
                self.ledger
                    .note("world", format_args!("not everything has ended in time"));
                return;
            }
            sleep(Duration::from_secs(5)).await;
        }
        self.ledger
            .note("world", format_args!("everything has ended"));
        sleep(QUIET).await;
    }

    fn is_drained(&self) -> bool {
        let lanes = Priority::ALL
            .into_iter()
            .flat_map(|p| [Lane::Main(p), Lane::DeadLetter(p)]);
        let committed = (0..self.plan.partitions).all(|number| {
            let partition = TopicPartition::new(DELAY_TOPIC, number);
            let end = self.broker.end_offset(&partition).unwrap_or(0);
            let committed = self.broker.committed(GROUP, &partition);
            committed.map_or(0, |(offset, _)| offset) == end
        });
        committed
            && lanes.into_iter().all(|lane| self.queue.is_empty(lane))
            && self.elapsed() >= Duration::from_millis(self.plan.last_due_ms())
            && crate::oracle::all_ended(self)
    }

    fn slot(self: &Arc<Self>, role: Role, replica: usize) -> Slot {
        let (commands, receiver) = mpsc::unbounded_channel();
        let node = Arc::new(Mutex::new(None));
        let task = tokio::spawn(
            self.clone()
                .supervise(role, replica, node.clone(), receiver),
        );
        Slot {
            node,
            commands,
            task,
        }
    }

    /// Starts a replica, and again whenever it died or was stopped, until it is to finish.
    async fn supervise(
        self: Arc<Self>,
        role: Role,
        replica: usize,
        current: Arc<Mutex<Option<Arc<Node>>>>,
        mut commands: mpsc::UnboundedReceiver<Command>,
    ) {
        let mut polls = 0;
        for start in 0.. {
            let name = format!("{}-{replica}.{start}", role.as_str());
            let widest = u64::try_from(2 * self.plan.skew_max_ms).unwrap_or(0) + 1;
            let skew_ms =
                i64::try_from(self.weather.below(widest)).unwrap_or(0) - self.plan.skew_max_ms;
            let (weather, ledger) = (self.weather.clone(), self.ledger.clone());
            let node = Node::new(name, self.clock, skew_ms, polls, weather, ledger);
            polls = 0;
            node.note(format_args!("starts, clock {skew_ms} ms ahead"));
            *locked(&current) = Some(node.clone());
            let stop = CancellationToken::new();
            let main = self.clone().main(role, node.clone(), stop.clone());
            let process = node.clone();
            let mut task = tokio::spawn(async move { process.run(main).await });
            let finish = loop {
                tokio::select! {
                    biased;
                    ended = &mut task => {
                        self.look_at_end(&node, ended);
                        if !node.is_dead() {
                            self.find(format!("{} ended without being asked to", node.name));
                        }
                        sleep(Duration::from_millis(self.weather.below(RESTART_MS))).await;
                        break false;
                    }
                    command = commands.recv() => match command {
                        Some(Command::CrashAtPoll(at)) => {
                            polls = at;
                            node.die("kill");
                        }
                        Some(Command::Restart) => {
                            self.stop(&node, &stop, &mut task).await;
                            break false;
                        }
                        Some(Command::Finish) | None => {
                            self.stop(&node, &stop, &mut task).await;
                            break true;
                        }
                    }
                }
            };
            if finish {
                return;
            }
        }
    }

    fn look_at_end(&self, node: &Node, ended: Result<(), tokio::task::JoinError>) {
        if let Err(error) = ended {
            self.find(format!("{} failed: {error}", node.name));
        }
    }

    /// A clean stop. What it leaves in hand is excused only by a tier or a broker that failed.
    async fn stop(&self, node: &Node, stop: &CancellationToken, task: &mut JoinHandle<()>) {
        node.note(format_args!("is asked to stop"));
        stop.cancel();
        let before = node.weather.is_calm();
        match timeout(STOP_WITHIN, &mut *task).await {
            Ok(ended) => self.look_at_end(node, ended),
            Err(_) => {
                if !node.is_frozen() && before && node.weather.is_calm() {
                    self.find(format!("{} did not stop within {STOP_WITHIN:?}", node.name));
                }
                node.die("killed after its stop time-out");
                let ended = (&mut *task).await;
                self.look_at_end(node, ended);
            }
        }
        if !node.is_dead() {
            let left = node.hands().all();
            node.note(format_args!(
                "has stopped with {} records in hand",
                left.len()
            ));
            if !(before && node.weather.is_calm()) {
                self.ledger.blame(Cause::PartitionLost, left);
            }
        }
    }

    async fn main(self: Arc<Self>, role: Role, node: Arc<Node>, stop: CancellationToken) {
        let knobs = &self.plan.knobs;
        let queue = Arc::new(SimQueue {
            node: node.clone(),
            inner: self.queue.clone(),
        });
        let shards = Arc::new(SimShards {
            node: node.clone(),
            inner: self.shards.clone(),
        });
        let store = Arc::new(SimStore {
            node: node.clone(),
            inner: self.store.clone(),
        });
        let payloads = Arc::new(SimPayloads {
            node: node.clone(),
            inner: self.payloads.clone(),
        });
        let registry = Arc::new(SimRegistry {
            node: node.clone(),
            inner: self.registry.clone(),
        });
        let sink = || {
            Arc::new(SimSink {
                node: node.clone(),
                inner: MemorySink::new(&self.broker),
                punctual_ms: (self.plan.profile == Profile::Calm).then_some(PUNCTUAL_MS),
            })
        };
        match role {
            Role::Router => {
                let topics = [DELAY_TOPIC];
                let options = SourceOptions::default();
                let member = MemorySource::join(&self.broker, GROUP, topics, options);
                let source = SimSource::new(node.clone(), member);
                let ports = RouterPorts {
                    source: Box::new(source),
                    sink: sink(),
                    queue,
                    store,
                    shards,
                    payloads,
                    registry,
                    upcoming: Arc::default(),
                    clock: node.clone(),
                    health: node.clone(),
                };
                delayq_router::run(knobs.router(&node.name), ports, stop).await;
            }
            Role::Scheduler => {
                let ticks = Arc::new(SimTicks {
                    node: node.clone(),
                    inner: self.ticks.clone(),
                });
                let ports = SchedulerPorts {
                    store,
                    shards,
                    ticks,
                    queue,
                    clock: node.clone(),
                    health: node.clone(),
                };
                delayq_scheduler::run(knobs.scheduler(&node.name), ports, stop).await;
            }
            Role::Emitter => {
                let ports = EmitterPorts {
                    sink: sink(),
                    queue,
                    payloads,
                    registry,
                    clock: node.clone(),
                    health: node.clone(),
                };
                delayq_emitter::run(knobs.emitter(&node.name), ports, stop).await;
            }
        }
    }
}

/// The output topics that exist.
#[must_use]
pub fn output_topics() -> Vec<String> {
    let targets = TARGETS
        .into_iter()
        .filter(|target| *target != MISSING_TARGET);
    targets
        .flat_map(|target| Priority::ALL.map(|priority| format!("{target}.{priority}")))
        .collect()
}
