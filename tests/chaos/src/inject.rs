//! Carries the plan out, undoes each fault when its time is over, and writes down for the ledger who was hurt.

use std::collections::{BTreeMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::Context as _;
use delayq::role::Role;
use delayq_core::clock::{Clock as _, EpochMs, SystemClock};
use delayq_stack::Component;
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::ledger::{Committed, Interruption};
use crate::offsets::Offsets;
use crate::plan::{Fault, Line, Planned, Slot, Subject};
use crate::roles::Stopped;
use crate::stand::Stand;

/// A role that was told to stop and has not after this is killed: its own limit is 20 s.
const STOP_LIMIT: Duration = Duration::from_secs(40);
/// How long after Kafka is back routers may still find out that they have lost their partitions.
const KAFKA_AFTERMATH_MS: i64 = 5_000;
/// A fetch under way may fill the socket of a router that stands still already.
const SOCKET_MS: i64 = 1_000;

/// When a fault was on.
#[derive(Debug, Clone)]
pub(crate) struct Window {
    pub(crate) fault: Fault,
    pub(crate) from_ms: EpochMs,
    pub(crate) to_ms: EpochMs,
}

/// A router came or went: partitions were revoked somewhere.
#[derive(Debug, Clone)]
pub(crate) struct Rebalance {
    pub(crate) at_ms: EpochMs,
    pub(crate) committed: Committed,
}

/// What was done.
#[derive(Debug, Default)]
pub(crate) struct Done {
    pub(crate) windows: Vec<Window>,
    pub(crate) rebalances: Vec<Rebalance>,
    /// Processes that were stopped by SIGTERM and did not end in order.
    pub(crate) unclean: BTreeMap<String, u64>,
    /// Processes that ended without being told to.
    pub(crate) crashes: Vec<String>,
}

/// Hurts the stand.
pub(crate) struct Injector {
    stand: Arc<Stand>,
    offsets: Offsets,
    done: Mutex<Done>,
    /// Who is being hurt; a stop or a start may take longer than the plan has foreseen.
    busy: Mutex<HashSet<Subject>>,
}

impl Injector {
    pub(crate) fn new(stand: Arc<Stand>, offsets: Offsets) -> Self {
        Self {
            stand,
            offsets,
            done: Mutex::default(),
            busy: Mutex::default(),
        }
    }

    fn busy(&self) -> MutexGuard<'_, HashSet<Subject>> {
        self.busy.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn note(&self, note: impl FnOnce(&mut Done)) {
        note(&mut self.done.lock().unwrap_or_else(PoisonError::into_inner));
    }

    /// What was done so far.
    pub(crate) fn done(&self) -> Done {
        std::mem::take(&mut self.done.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Carries out the plan; returns when the last fault is undone.
    pub(crate) async fn run(self: &Arc<Self>, plan: &[Planned]) -> anyhow::Result<()> {
        let started = Instant::now();
        let mut tasks = JoinSet::new();
        let mut coming = plan.iter();
        let mut next = coming.next();
        let mut look = tokio::time::interval(Duration::from_millis(500));
        while next.is_some() || !tasks.is_empty() {
            let at = next.map_or_else(Instant::now, |planned| started + planned.at);
            tokio::select! {
                () = tokio::time::sleep_until(at), if next.is_some() => {
                    if let Some(planned) = next.take() {
                        tracing::info!(fault = ?planned.fault, seconds = planned.lasts.as_secs_f32(), "fault");
                        let (injector, planned) = (self.clone(), *planned);
                        tasks.spawn(async move { injector.one(planned).await });
                    }
                    next = coming.next();
                }
                Some(ended) = tasks.join_next(), if !tasks.is_empty() => ended??,
                _ = look.tick() => self.revive().await?,
            }
        }
        self.revive().await
    }

    /// Starts again who ended by himself, and remembers that: nobody should.
    async fn revive(&self) -> anyhow::Result<()> {
        for (slot, status) in self.stand.fleet.ended().await? {
            tracing::error!(%slot, status, "ended by itself");
            self.note(|done| done.crashes.push(format!("{slot}: {status}")));
            let committed = self.offsets.last();
            self.stand.fleet.kill(slot).await?;
            self.gone(slot, committed, "ended by itself");
            self.stand.fleet.start(slot).await?;
        }
        Ok(())
    }

    async fn one(&self, planned: Planned) -> anyhow::Result<()> {
        let from_ms = SystemClock.now_ms();
        let Planned { fault, lasts, .. } = planned;
        if !self.busy().insert(fault.subject()) {
            tracing::info!(?fault, "left out: the one before is not over");
            return Ok(());
        }
        match fault {
            Fault::Kill(slot) => self.kill(slot, lasts).await,
            Fault::Freeze(slot) => self.freeze(slot, lasts).await,
            Fault::Restart(slot) => self.restart(slot, lasts).await,
            Fault::KillStack(component) => self.kill_stack(component, lasts).await,
            Fault::FreezeStack(component) => self.freeze_stack(component, lasts).await,
            Fault::Network(line, what) => {
                let committed = self.offsets.last();
                let switch = self.stand.line(line)?;
                switch.set(Some(what));
                tokio::time::sleep(lasts).await;
                switch.set(None);
                if line == Line::Kafka {
                    self.kafka_was_away(committed);
                }
                Ok(())
            }
        }
        .with_context(|| format!("{fault:?}"))?;
        self.busy().remove(&fault.subject());
        let to_ms = SystemClock.now_ms();
        self.note(|done| {
            done.windows.push(Window {
                fault,
                from_ms,
                to_ms,
            });
        });
        Ok(())
    }

    async fn kill(&self, slot: Slot, lasts: Duration) -> anyhow::Result<()> {
        let committed = self.offsets.last();
        self.stand.fleet.kill(slot).await?;
        self.gone(slot, committed, "router killed");
        tokio::time::sleep(lasts).await;
        self.start(slot).await
    }

    async fn freeze(&self, slot: Slot, lasts: Duration) -> anyhow::Result<()> {
        let committed = self.offsets.last();
        self.stand.fleet.signal(slot, "STOP").await?;
        self.stand.ledger.frozen(slot, "stopped with it in hand");
        self.router_hurt(slot, committed, "router stopped", SOCKET_MS);
        tokio::time::sleep(lasts).await;
        // What has come to its sockets meanwhile is in its hand too.
        self.stand.ledger.frozen(slot, "stopped with it in hand");
        self.stand.fleet.signal(slot, "CONT").await?;
        self.rebalanced(slot);
        Ok(())
    }

    async fn restart(&self, slot: Slot, pause: Duration) -> anyhow::Result<()> {
        let committed = self.offsets.last();
        self.rebalanced(slot);
        if self.stand.fleet.stop(slot, STOP_LIMIT).await? == Stopped::Not {
            tracing::warn!(%slot, "did not stop in order");
            self.note(|done| *done.unclean.entry(slot.to_string()).or_default() += 1);
            self.gone(slot, committed, "router's stop took too long");
        }
        tokio::time::sleep(pause).await;
        self.start(slot).await
    }

    async fn start(&self, slot: Slot) -> anyhow::Result<()> {
        self.stand.fleet.start(slot).await?;
        self.rebalanced(slot);
        Ok(())
    }

    async fn kill_stack(&self, component: Component, lasts: Duration) -> anyhow::Result<()> {
        let committed = self.offsets.last();
        self.stand.stack.kill(component).await?;
        self.component_hurt(component);
        tokio::time::sleep(lasts).await;
        self.stand.stack.start_component(component).await?;
        self.component_back(component, committed);
        Ok(())
    }

    async fn freeze_stack(&self, component: Component, lasts: Duration) -> anyhow::Result<()> {
        let committed = self.offsets.last();
        self.stand.stack.stop_process(component).await?;
        self.component_hurt(component);
        tokio::time::sleep(lasts).await;
        self.stand.stack.cont_process(component).await?;
        self.component_back(component, committed);
        Ok(())
    }

    fn gone(&self, slot: Slot, committed: Committed, cause: &'static str) {
        self.stand.ledger.killed(slot);
        self.router_hurt(slot, committed, cause, 0);
        self.rebalanced(slot);
    }

    fn router_hurt(&self, slot: Slot, committed: Committed, cause: &'static str, after_ms: i64) {
        if slot.role == Role::Router {
            self.stand.ledger.interrupted(Interruption {
                cause,
                committed,
                until_ms: SystemClock.now_ms() + after_ms,
            });
        }
    }

    fn kafka_was_away(&self, committed: Committed) {
        self.stand.ledger.interrupted(Interruption {
            cause: "kafka away",
            committed,
            until_ms: SystemClock.now_ms() + KAFKA_AFTERMATH_MS,
        });
    }

    /// Leases of shards and messages are kept by SQS, cursors by DynamoDB: what is in hand may be had by another as well.
    fn component_hurt(&self, component: Component) {
        if component == Component::ElasticMq {
            self.stand.ledger.leases_lost();
        }
        for slot in self.stand.fleet.slots() {
            let ledger = &self.stand.ledger;
            match component {
                Component::Kafka => {}
                Component::DynamoDb => ledger.suspect(slot, "a shard's cursor was away"),
                Component::ElasticMq => ledger.frozen(slot, "sqs away, leases with it"),
            }
        }
    }

    fn component_back(&self, component: Component, committed: Committed) {
        self.component_hurt(component);
        if component == Component::Kafka {
            self.kafka_was_away(committed);
        }
    }

    fn rebalanced(&self, slot: Slot) {
        if slot.role == Role::Router {
            let rebalance = Rebalance {
                at_ms: SystemClock.now_ms(),
                committed: self.offsets.last(),
            };
            self.note(|done| done.rebalances.push(rebalance));
        }
    }
}
