//! Brings one shard up to date: closes its buckets one after the other, by the protocol.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use delayq_core::batch;
use delayq_core::bucket::ShardId;
use delayq_core::clock::Clock;
use delayq_core::delay::delay_seconds;
use delayq_core::error::{ErrorClass, PortError, backoff};
use delayq_core::handover::{HandoverAction, ShardRow, next_action, page_done, shard_time_ms};
use delayq_core::ports::{
    BatchStore, DelayQueue, HealthReport, Page, QueueMessage, ShardState, StoredBatch,
};
use delayq_core::priority::Priority;
use delayq_core::record::{QueueGroup, Scheduled, Source};
use delayq_delivery::queue::{QueueSender, Sent};
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::config::SchedulerSettings;
use crate::metrics as names;

/// Why work on a tick ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// Nothing more to do before the next bucket's lead.
    UpToDate,
    /// Time is up; the next tick goes on from the saved cursor.
    Limit,
    /// The process stops.
    Stopped,
    /// Somebody else holds the shard.
    Lost,
    /// There is no such row any more.
    NoRow,
}

/// What one step led to.
enum Step {
    /// The row as it is now.
    Row(ShardRow),
    /// The row as it is now, looked at again: no progress, what failed may fail again.
    Seen(ShardRow),
    /// A page is sent, every entry confirmed; the row is to become this.
    Sent(ShardRow),
    /// The work ends.
    Ends(Outcome),
}

/// Works on shards.
pub struct Closer {
    /// Settings.
    pub settings: SchedulerSettings,
    /// Table of batches.
    pub store: Arc<dyn BatchStore>,
    /// State rows.
    pub shards: Arc<dyn ShardState>,
    /// Sends records, regrouped.
    pub sender: Arc<QueueSender>,
    /// Sends batches that cannot be read, as they are.
    pub queue: Arc<dyn DelayQueue>,
    /// Wall clock.
    pub clock: Arc<dyn Clock>,
    /// Health.
    pub health: Arc<dyn HealthReport>,
}

/// Sources seen while a bucket is closed; bounded, so that dropping copies is best effort.
#[derive(Debug, Default)]
struct Seen {
    sources: HashSet<Source>,
}

/// Groups in one call.
const GROUPS_PER_CALL: usize = 10;
const COMPONENT: &str = "long tier (scheduler)";

impl Closer {
    /// Works until the shard is up to date, time is up, or it is somebody else's.
    pub async fn bring_up_to_date(&self, shard: ShardId, stop: &CancellationToken) -> Outcome {
        let until = Instant::now() + self.settings.work_limit;
        let mut row: Option<ShardRow> = None;
        // A page that is sent: saving it is tried again by itself, since the page sent again would be duplicates.
        let mut unsaved: Option<ShardRow> = None;
        let mut epoch = None;
        let mut seen = Seen::default();
        let mut attempt = 0;
        loop {
            // Not between a page and its cursor.
            if unsaved.is_none() {
                if stop.is_cancelled() {
                    return Outcome::Stopped;
                }
                if Instant::now() >= until {
                    return Outcome::Limit;
                }
            }
            let step = match (&unsaved, row.take(), epoch) {
                (Some(next), ..) => self.save(next.clone()).await,
                (None, Some(held), _) => self.step(held, &mut seen).await,
                (None, None, None) => self.take(shard).await,
                (None, None, Some(mine)) => self.read_again(shard, mine).await,
            };
            match step {
                Ok(Step::Row(next)) => {
                    self.health.report(COMPONENT, Ok(()));
                    attempt = 0;
                    unsaved = None;
                    if epoch.is_none() {
                        metrics::gauge!(names::HELD_EPOCH, "shard" => shard.to_string())
                            .set(next.epoch as f64);
                    }
                    epoch = Some(next.epoch);
                    row = Some(next);
                }
                Ok(Step::Seen(held)) => row = Some(held),
                Ok(Step::Sent(next)) => unsaved = Some(next),
                Ok(Step::Ends(outcome)) => return outcome,
                // A condition that fails is final: another holder has raised the epoch.
                Err(error) if error.class == ErrorClass::Conflict => {
                    return if epoch.is_none() {
                        Outcome::NoRow
                    } else {
                        Outcome::Lost
                    };
                }
                Err(error) => {
                    self.health.report(COMPONENT, Err(error.to_string()));
                    let queue = &self.settings.queue;
                    let wait = backoff(attempt, queue.retry_first, queue.retry_max, 1.0);
                    attempt += 1;
                    tokio::select! {
                        () = tokio::time::sleep(error.retry_after.unwrap_or(wait)) => {}
                        () = stop.cancelled(), if unsaved.is_none() => return Outcome::Stopped,
                    }
                    if unsaved.is_none() {
                        // What was seen may not have been sent: remembered, it would be dropped as a copy of itself.
                        seen.sources.clear();
                    }
                }
            }
        }
    }

    /// The row as it is after a failed call: a write without an answer may have taken effect. The shard is not taken
    /// again: that would fence off whoever holds it by now.
    async fn read_again(&self, shard: ShardId, epoch: u64) -> Result<Step, PortError> {
        Ok(match self.shards.read(shard).await? {
            Some(row) if row.epoch == epoch => Step::Seen(row),
            Some(_) => Step::Ends(Outcome::Lost),
            None => Step::Ends(Outcome::NoRow),
        })
    }

    async fn take(&self, shard: ShardId) -> Result<Step, PortError> {
        let row = self.shards.take(shard, &self.settings.owner).await?;
        Ok(Step::Row(row))
    }

    /// Writes the cursor of a page that was sent. Written twice, after a call without an answer, it is the same.
    async fn save(&self, next: ShardRow) -> Result<Step, PortError> {
        self.shards.update(next.clone()).await?;
        Ok(Step::Row(next))
    }

    /// One action.
    async fn step(&self, row: ShardRow, seen: &mut Seen) -> Result<Step, PortError> {
        let times = self.settings.times;
        let now_ms = shard_time_ms(self.clock.now_ms(), self.shards.clock_skew_ms(), times);
        match next_action(&row, now_ms, times) {
            HandoverAction::UpToDate { .. } => Ok(Step::Ends(Outcome::UpToDate)),
            HandoverAction::Write(next) => {
                self.shards.update(next.clone()).await?;
                if next.watermark > row.watermark {
                    metrics::counter!(names::BUCKETS).increment(1);
                }
                seen.sources.clear();
                Ok(Step::Row(next))
            }
            HandoverAction::Send { key, after } => {
                let page = self.store.page(&key, after.as_deref()).await?;
                let empty = page.batches.is_empty();
                let next = page_done(&row, page.next.clone());
                self.hand_over(page, seen).await?;
                // An empty page needs no saving: a takeover that reads it again sends nothing.
                Ok(if empty {
                    Step::Row(next)
                } else {
                    Step::Sent(next)
                })
            }
        }
    }

    /// Sends all records of a page; returns when every entry is confirmed.
    async fn hand_over(&self, page: Page, seen: &mut Seen) -> Result<(), PortError> {
        let mut groups: BTreeMap<QueueGroup, Vec<(Scheduled, ())>> = BTreeMap::new();
        for stored in page.batches {
            match batch::decode(&stored.body) {
                Ok(records) => {
                    for record in records {
                        if self.is_copy(&record, seen) {
                            metrics::counter!(names::COPIES).increment(1);
                            continue;
                        }
                        groups
                            .entry(record.queue_group())
                            .or_default()
                            .push((record, ()));
                    }
                }
                Err(fault) => {
                    metrics::counter!(names::UNREADABLE).increment(1);
                    tracing::error!(key = %stored.key, sort = stored.sort, %fault, "unreadable batch: passed on whole to be dead-lettered");
                    self.pass_on(&stored).await?;
                }
            }
        }
        let records: usize = groups.values().map(Vec::len).sum();
        let mut calls: BTreeMap<Priority, Vec<Vec<(Scheduled, ())>>> = BTreeMap::new();
        for (QueueGroup { priority, .. }, group) in groups {
            calls.entry(priority).or_default().push(group);
        }
        let mut tasks = JoinSet::new();
        for (priority, mut groups) in calls {
            while !groups.is_empty() {
                let rest = groups.split_off(groups.len().min(GROUPS_PER_CALL));
                let call = std::mem::replace(&mut groups, rest);
                let sender = self.sender.clone();
                tasks.spawn(async move { send_confirmed(&sender, priority, call).await });
            }
        }
        while let Some(done) = tasks.join_next().await {
            match done {
                Ok(sent) => sent?,
                Err(error) => {
                    return Err(PortError::new(
                        ErrorClass::Transient,
                        "handover",
                        error.to_string(),
                    ));
                }
            }
        }
        metrics::counter!(names::HANDED_OVER).increment(records as u64);
        Ok(())
    }

    fn is_copy(&self, record: &Scheduled, seen: &mut Seen) -> bool {
        if seen.sources.contains(&record.source) {
            return true;
        }
        if seen.sources.len() < self.settings.remembered_sources {
            seen.sources.insert(record.source.clone());
        }
        false
    }

    /// A newer emitter may be able to read what this build cannot; one that cannot writes it to the dead-letter topic.
    async fn pass_on(&self, stored: &StoredBatch) -> Result<(), PortError> {
        let first_due_ms = stored
            .sort
            .split('#')
            .next()
            .and_then(|due| due.parse().ok())
            .unwrap_or(0);
        let delay_s = delay_seconds(
            first_due_ms,
            self.clock.now_ms(),
            self.settings.queue.early_ms,
        );
        let message = QueueMessage {
            body: batch::to_text(&stored.body).into(),
            delay_s,
        };
        self.queue
            .send(Priority::Standard, vec![message])
            .await
            .into_iter()
            .collect()
    }

    /// Longest wait between heartbeats that keeps the lease.
    #[must_use]
    pub fn heartbeat(&self) -> Duration {
        self.settings.lease / 3
    }
}

async fn send_confirmed(
    sender: &QueueSender,
    priority: Priority,
    groups: Vec<Vec<(Scheduled, ())>>,
) -> Result<(), PortError> {
    let mut refused = None;
    let note = |sent: Sent<()>| {
        if let Sent::Unsendable(records) = sent {
            refused = records
                .into_iter()
                .next()
                .map(|one| (one.record.source, one.refusal));
        }
    };
    sender.send(priority, groups, |()| true, note).await;
    match refused {
        None => Ok(()),
        // A stored batch always fits a message; if one does not, the bucket stays open and an operator must look.
        Some((source, refusal)) => Err(PortError::new(
            ErrorClass::Misconfigured,
            "handover",
            format!("record {source}: {refusal}"),
        )),
    }
}
