//! Receives ticks, holds the shard by heartbeats while it is worked on, deletes the tick.

use std::sync::Arc;
use std::time::Duration;

use delayq_core::clock::Clock;
use delayq_core::error::ErrorClass;
use delayq_core::ports::{
    BatchStore, DelayQueue, HealthReport, ShardState, TICK_RETENTION, Tick, TickQueue,
};
use delayq_delivery::queue::QueueSender;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::closing::{Closer, Outcome};
use crate::config::SchedulerSettings;
use crate::metrics as names;
use crate::ticks::TickSender;
use crate::watch::ShardWatch;

/// What the scheduler needs.
pub struct SchedulerPorts {
    /// Table of batches.
    pub store: Arc<dyn BatchStore>,
    /// State rows.
    pub shards: Arc<dyn ShardState>,
    /// Tick queue.
    pub ticks: Arc<dyn TickQueue>,
    /// Queues.
    pub queue: Arc<dyn DelayQueue>,
    /// Wall clock.
    pub clock: Arc<dyn Clock>,
    /// Health.
    pub health: Arc<dyn HealthReport>,
}

/// Long poll of the first call: whether the tick queue answers is known soon.
const FIRST_WAIT: Duration = Duration::from_secs(1);
/// Wait after the tick queue failed.
const RETRY: Duration = Duration::from_secs(1);

/// Runs until `stop`; work under way ends after its current page.
pub async fn run(settings: SchedulerSettings, ports: SchedulerPorts, stop: CancellationToken) {
    names::start_at_zero();
    let sender = Arc::new(QueueSender::new(
        ports.queue.clone(),
        None,
        ports.clock.clone(),
        ports.health.clone(),
        settings.queue,
    ));
    let tick_sender = TickSender {
        shards: ports.shards.clone(),
        ticks: ports.ticks.clone(),
        clock: ports.clock.clone(),
        health: ports.health.clone(),
        tick: settings.tick,
        watch: ShardWatch::new(settings.times, ports.clock.clone(), ports.health.clone()),
    };
    let closer = Arc::new(Closer {
        store: ports.store,
        shards: ports.shards,
        sender,
        queue: ports.queue,
        clock: ports.clock,
        health: ports.health.clone(),
        settings: settings.clone(),
    });
    let mut tasks = JoinSet::new();
    let sender_stop = stop.clone();
    tasks.spawn(async move { tick_sender.run(sender_stop).await });
    for _ in 0..settings.workers.max(1) {
        let worker = Worker {
            closer: closer.clone(),
            ticks: ports.ticks.clone(),
            health: ports.health.clone(),
        };
        let stop = stop.clone();
        tasks.spawn(async move { worker.run(stop).await });
    }
    let limit = async {
        stop.cancelled().await;
        tracing::info!("scheduler stops: the pages under way are finished");
        tokio::time::sleep(settings.stop_timeout).await;
    };
    tokio::pin!(limit);
    loop {
        tokio::select! {
            ended = tasks.join_next() => match ended {
                None => return,
                Some(Ok(())) => {}
                Some(Err(error)) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
                Some(Err(_)) => {}
            },
            () = &mut limit => {
                tracing::error!("scheduler stops with a page under way: it is sent again by the next holder");
                return;
            }
        }
    }
}

struct Worker {
    closer: Arc<Closer>,
    ticks: Arc<dyn TickQueue>,
    health: Arc<dyn HealthReport>,
}

impl Worker {
    async fn run(&self, stop: CancellationToken) {
        let settings = &self.closer.settings;
        let silent_limit = settings.work_limit + settings.lease + Duration::from_secs(60);
        let mut wait = FIRST_WAIT.min(settings.wait);
        while !stop.is_cancelled() {
            self.health.beat("scheduler worker", silent_limit);
            // A receive under way is waited for when stopping: dropped, its tick would stay locked for a lease.
            let asked = Instant::now();
            match self.ticks.receive(wait, settings.lease).await {
                Ok(Some(tick)) => {
                    self.health.report("tick queue", Ok(()));
                    self.work(&tick, asked, &stop).await;
                }
                Ok(None) => {
                    wait = settings.wait;
                    self.health.report("tick queue", Ok(()));
                }
                Err(error) => {
                    self.health.report("tick queue", Err(error.to_string()));
                    tokio::select! {
                        () = tokio::time::sleep(RETRY) => {}
                        () = stop.cancelled() => return,
                    }
                }
            }
        }
    }

    /// Works on a tick. Its lease may have begun at any time since it was `asked` for.
    async fn work(&self, tick: &Tick, asked: Instant, stop: &CancellationToken) {
        let settings = &self.closer.settings;
        let left = self.time_left(tick);
        if left < settings.work_limit + settings.lease {
            // It carries no work, and a younger one follows.
            metrics::counter!(names::TICKS, "outcome" => "stale").increment(1);
            return self.delete(tick).await;
        }
        let outcome = tokio::select! {
            outcome = self.closer.bring_up_to_date(tick.shard, stop) => outcome,
            () = self.hold(tick, asked, Instant::now() + left) => {
                metrics::counter!(names::LEASES_LOST).increment(1);
                tracing::warn!(shard = tick.shard.0, "lease lost: another scheduler may hold the shard");
                Outcome::Lost
            }
        };
        let label = match outcome {
            Outcome::UpToDate => "up-to-date",
            Outcome::Limit => "limit",
            Outcome::Stopped => "stopped",
            Outcome::Lost => "lost",
            Outcome::NoRow => "no-row",
        };
        metrics::counter!(names::TICKS, "outcome" => label).increment(1);
        if outcome != Outcome::Lost {
            self.delete(tick).await;
        }
    }

    async fn delete(&self, tick: &Tick) {
        if let Err(error) = self.ticks.delete(tick).await {
            tracing::warn!(shard = tick.shard.0, %error, "tick not deleted: its shard is free again when the lease ends");
        }
    }

    /// How long the queue surely keeps a tick that was received just now, wherever its sender's clock stood.
    fn time_left(&self, tick: &Tick) -> Duration {
        let Closer {
            clock, settings, ..
        } = &*self.closer;
        let age_ms = clock.now_ms().saturating_sub(tick.tick_ms).max(0);
        let gone_ms = age_ms.saturating_add(settings.times.max_skew_ms);
        TICK_RETENTION.saturating_sub(Duration::from_millis(gone_ms.unsigned_abs()))
    }

    /// Prolongs the lease; returns when it is lost, or may be, and when the tick is about to expire in its queue.
    async fn hold(&self, tick: &Tick, mut asked: Instant, expires: Instant) {
        let lease = self.closer.settings.lease;
        let mut held_until = asked + lease;
        loop {
            let heartbeat = asked + self.closer.heartbeat();
            tokio::time::sleep_until(heartbeat.min(expires)).await;
            asked = Instant::now();
            if asked >= expires {
                return;
            }
            match self.ticks.extend(tick, lease).await {
                Ok(()) => held_until = asked + lease,
                Err(error) if error.class == ErrorClass::Conflict => return,
                Err(error) => tracing::warn!(shard = tick.shard.0, %error, "heartbeat failed"),
            }
            if Instant::now() >= held_until {
                return;
            }
        }
    }
}
