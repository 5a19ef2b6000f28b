//! Sends a tick for every shard that has a state row. Each replica does; the queue drops the copies.

use std::sync::Arc;
use std::time::Duration;

use delayq_core::clock::Clock;
use delayq_core::error::PortError;
use delayq_core::ports::{HealthReport, ShardState, TickQueue};
use tokio_util::sync::CancellationToken;

use crate::watch::ShardWatch;

/// Sends ticks.
pub struct TickSender {
    /// State rows.
    pub shards: Arc<dyn ShardState>,
    /// Tick queue.
    pub ticks: Arc<dyn TickQueue>,
    /// Wall clock.
    pub clock: Arc<dyn Clock>,
    /// Health.
    pub health: Arc<dyn HealthReport>,
    /// How often.
    pub tick: Duration,
    /// Told of every row.
    pub watch: ShardWatch,
}

/// Wait after a failure.
const RETRY: Duration = Duration::from_secs(1);

impl TickSender {
    /// Runs until `stop`.
    pub async fn run(&self, stop: CancellationToken) {
        let tick_ms = i64::try_from(self.tick.as_millis())
            .unwrap_or(30_000)
            .max(1);
        let mut sent_ms = None;
        loop {
            self.health
                .beat("scheduler ticks", self.tick * 3 + Duration::from_secs(30));
            let now_ms = self.clock.now_ms();
            let this_ms = now_ms.div_euclid(tick_ms) * tick_ms;
            let wait = if sent_ms == Some(this_ms) {
                Duration::from_millis((this_ms + tick_ms - now_ms).max(1).unsigned_abs())
            } else {
                match self.send_all(this_ms).await {
                    Ok(()) => {
                        sent_ms = Some(this_ms);
                        self.health.report("ticks", Ok(()));
                        continue;
                    }
                    Err(error) => {
                        self.health.report("ticks", Err(error.to_string()));
                        RETRY.min(self.tick)
                    }
                }
            };
            tokio::select! {
                () = tokio::time::sleep(wait) => {}
                () = stop.cancelled() => return,
            }
        }
    }

    async fn send_all(&self, tick_ms: i64) -> Result<(), PortError> {
        let rows = self.shards.list().await?;
        self.watch.look(&rows, self.shards.clock_skew_ms());
        for row in rows {
            self.ticks.send(row.shard, tick_ms).await?;
        }
        Ok(())
    }
}
