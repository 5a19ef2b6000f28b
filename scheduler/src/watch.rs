//! Says which shards fall behind. Runs where ticks are sent, and in routers, so that shards without any scheduler show.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use delayq_core::bucket::ShardId;
use delayq_core::clock::{Clock, EpochMs};
use delayq_core::error::PortError;
use delayq_core::handover::{HandoverTimes, ShardRow, shard_time_ms};
use delayq_core::ports::{HealthReport, ShardState};
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;

use crate::metrics as names;

const COMPONENT: &str = "shard states";

/// Watches state rows.
pub struct ShardWatch {
    times: HandoverTimes,
    clock: Arc<dyn Clock>,
    health: Arc<dyn HealthReport>,
    /// When each shard was seen first.
    known: Mutex<BTreeMap<ShardId, EpochMs>>,
}

impl ShardWatch {
    /// Has seen nothing yet.
    #[must_use]
    pub fn new(times: HandoverTimes, clock: Arc<dyn Clock>, health: Arc<dyn HealthReport>) -> Self {
        Self {
            times,
            clock,
            health,
            known: Mutex::default(),
        }
    }

    /// Reads the rows of the first `count` shards every `every`, until `stop`: for a process that has the right to read
    /// rows, but not to list them.
    pub async fn run(
        &self,
        shards: &dyn ShardState,
        count: u32,
        every: Duration,
        stop: CancellationToken,
    ) {
        let mut every = tokio::time::interval(every);
        every.set_missed_tick_behavior(MissedTickBehavior::Delay);
        while stop.run_until_cancelled(every.tick()).await.is_some() {
            let Some(read) = stop.run_until_cancelled(read(shards, count)).await else {
                return;
            };
            match read {
                Ok(rows) => {
                    self.health.report(COMPONENT, Ok(()));
                    self.look(&rows, shards.clock_skew_ms());
                }
                Err(error) => self.health.report(COMPONENT, Err(error.to_string())),
            }
        }
    }

    /// Looks at all rows that there are. A shard whose handover has used up most of its lead is about to make records late.
    /// `skew_ms`: how far this machine's clock is from the store's.
    pub fn look(&self, rows: &[ShardRow], skew_ms: Option<i64>) {
        let now_ms = shard_time_ms(self.clock.now_ms(), skew_ms, self.times);
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.retain(|shard, _| {
            let there = rows.iter().any(|row| row.shard == *shard);
            if !there {
                self.forget(*shard);
            }
            there
        });
        for row in rows {
            let seen_ms = *known.entry(row.shard).or_insert(now_ms);
            self.look_at(row, seen_ms, now_ms);
        }
    }

    fn look_at(&self, row: &ShardRow, seen_ms: EpochMs, now_ms: EpochMs) {
        let shard = row.shard.to_string();
        let open_ms = row.watermark.next().start_ms(self.times.bucket_ms);
        let behind_ms = (now_ms - (open_ms - self.times.lead_ms)).max(0);
        // A row is made with a watermark of its own time, behind by more than the lead, and nothing is in those buckets:
        // until its first holder has caught up, it is as far behind as it is old.
        let behind_ms = if row.epoch <= 1 {
            behind_ms.min(now_ms - seen_ms)
        } else {
            behind_ms
        };
        metrics::gauge!(names::BEHIND_MS, "shard" => shard.clone()).set(behind_ms as f64);
        metrics::gauge!(names::WATERMARK_AGE_MS, "shard" => shard.clone())
            .set((now_ms - open_ms) as f64);
        metrics::gauge!(names::EPOCH, "shard" => shard).set(row.epoch as f64);
        let state = if behind_ms * 4 > self.times.lead_ms * 3 {
            Err(format!(
                "handover is {behind_ms} ms behind its lead of {} ms; last holder {:?}: schedulers must run, and reach their tables and queues",
                self.times.lead_ms, row.owner
            ))
        } else {
            Ok(())
        };
        self.health.report(&component(row.shard), state);
    }

    /// A row that is gone (a table made anew) is nobody's concern any more.
    fn forget(&self, shard: ShardId) {
        self.health.forget(&component(shard));
        metrics::gauge!(names::BEHIND_MS, "shard" => shard.to_string()).set(0.0);
        metrics::gauge!(names::WATERMARK_AGE_MS, "shard" => shard.to_string()).set(0.0);
    }
}

async fn read(shards: &dyn ShardState, count: u32) -> Result<Vec<ShardRow>, PortError> {
    let mut rows = Vec::new();
    for shard in 0..count {
        // A shard that nothing was written to has none.
        rows.extend(shards.read(ShardId(shard)).await?);
    }
    Ok(rows)
}

fn component(shard: ShardId) -> String {
    format!("shard {shard}")
}
