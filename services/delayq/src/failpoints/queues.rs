//! Failpoints around the delay queues and the ticks.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use delayq_core::bucket::ShardId;
use delayq_core::clock::EpochMs;
use delayq_core::error::PortError;
use delayq_core::ports::{DelayQueue, Lane, Outcomes, QueueMessage, Receipt, Tick, TickQueue};
use delayq_core::priority::Priority;

use super::Points;

pub(super) struct Queue {
    inner: Arc<dyn DelayQueue>,
    points: Points,
}

impl Queue {
    pub(super) fn around(inner: Arc<dyn DelayQueue>, points: Points) -> Self {
        Self { inner, points }
    }
}

fn of_lane(lane: Lane, main: &'static str, dead: &'static str) -> &'static str {
    match lane {
        Lane::Main(_) => main,
        Lane::DeadLetter(_) => dead,
    }
}

#[async_trait]
impl DelayQueue for Queue {
    async fn send(&self, priority: Priority, mut messages: Vec<QueueMessage>) -> Outcomes {
        // The emitter sends only what it puts back, a message a call.
        let puts_back = self.points.role == "emitter";
        let effect = if puts_back { "put_back" } else { "queue_send" };
        self.points.before(effect);
        if !puts_back && let Some(midst) = self.points.during(effect, messages.len()) {
            messages.truncate(midst.first);
            midst.end(&self.inner.send(priority, messages).await);
        }
        let outcomes = self.inner.send(priority, messages).await;
        self.points.after_any(effect, &outcomes);
        outcomes
    }

    async fn receive(
        &self,
        lane: Lane,
        max: usize,
        wait: Duration,
        visibility: Duration,
    ) -> Result<Vec<Receipt>, PortError> {
        let effect = of_lane(lane, "receive", "dead_lane_receive");
        self.points.before(effect);
        let receipts = self.inner.receive(lane, max, wait, visibility).await?;
        if !receipts.is_empty() {
            self.points.after(effect);
        }
        Ok(receipts)
    }

    async fn delete(&self, lane: Lane, handles: Vec<String>) -> Outcomes {
        let effect = of_lane(lane, "delete", "dead_lane_delete");
        self.points.before(effect);
        let outcomes = self.inner.delete(lane, handles).await;
        self.points.after_any(effect, &outcomes);
        outcomes
    }

    async fn extend(&self, lane: Lane, handles: Vec<String>, visibility: Duration) -> Outcomes {
        let effect = of_lane(lane, "extend", "dead_lane_extend");
        self.points.before(effect);
        let outcomes = self.inner.extend(lane, handles, visibility).await;
        self.points.after_any(effect, &outcomes);
        outcomes
    }
}

pub(super) struct Ticks {
    inner: Arc<dyn TickQueue>,
    points: Points,
}

impl Ticks {
    pub(super) fn around(inner: Arc<dyn TickQueue>, points: Points) -> Self {
        Self { inner, points }
    }
}

#[async_trait]
impl TickQueue for Ticks {
    async fn send(&self, shard: ShardId, tick_ms: EpochMs) -> Result<(), PortError> {
        self.points.before("tick_send");
        self.inner.send(shard, tick_ms).await?;
        self.points.after("tick_send");
        Ok(())
    }

    async fn receive(&self, wait: Duration, lease: Duration) -> Result<Option<Tick>, PortError> {
        self.points.before("tick_receive");
        let tick = self.inner.receive(wait, lease).await?;
        if tick.is_some() {
            self.points.after("tick_receive");
        }
        Ok(tick)
    }

    async fn extend(&self, tick: &Tick, lease: Duration) -> Result<(), PortError> {
        self.points.before("tick_extend");
        self.inner.extend(tick, lease).await?;
        self.points.after("tick_extend");
        Ok(())
    }

    async fn delete(&self, tick: &Tick) -> Result<(), PortError> {
        self.points.before("tick_delete");
        self.inner.delete(tick).await?;
        self.points.after("tick_delete");
        Ok(())
    }
}
