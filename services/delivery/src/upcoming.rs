//! Counts what comes due as it is taken in, and stores the counts from time to time. No record waits for that, and none is held
//! back when it fails.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use delayq_core::clock::Clock;
use delayq_core::ports::TallyStore;
use delayq_core::record::{Path, Scheduled};
use delayq_core::tracked::{MessageRow, State};
use delayq_core::upcoming::{Due, Tally};
use tokio::time::{Instant, MissedTickBehavior};
use tokio_util::sync::CancellationToken;

/// Counter: parts that could not be stored.
pub const FAILURES: &str = "delayq_upcoming_write_failures_total";

/// How old a stored count is at most, while it is small.
pub const WRITE_EVERY: Duration = Duration::from_secs(10);
/// A large part is written more seldom, so that its write units stay a trickle; never more seldom than this.
pub const WRITE_SELDOM: Duration = Duration::from_secs(60);
/// What costs one write unit.
const UNIT_BYTES: usize = 1024;
/// For the last writes of a stopping process: less than it has left once its roles have stopped.
const LAST_WRITES: Duration = Duration::from_secs(3);

/// The counts of this process.
#[derive(Debug, Default)]
pub struct UpcomingCounts(Mutex<Tally>);

impl UpcomingCounts {
    /// Counts a record that is taken in, to come out later. What is due within seconds is not counted.
    pub fn add(&self, record: &Scheduled) {
        if record.path != Path::Direct {
            self.with(|tally| tally.add(&Due::from(record)));
        }
    }

    /// A row of the registry was replaced: if its record waited, it will not come due after all.
    pub fn replaced(&self, before: Option<&MessageRow>) {
        let Some(row) = before.filter(|row| row.state == State::Scheduled) else {
            return;
        };
        let counted = row.details.as_ref().filter(|d| d.path != Path::Direct);
        if let Some(details) = counted {
            let due = Due {
                output_topic: &details.output_topic,
                priority: details.priority,
                due_ms: details.due_ms,
                timestamp_ms: row.version.appended_ms,
            };
            self.with(|tally| tally.take_back(&due));
        }
    }

    /// A tally is whole between any two calls, so that one that a panic left behind can be used.
    fn with<T>(&self, work: impl FnOnce(&mut Tally) -> T) -> T {
        work(
            &mut self
                .0
                .lock()
                .unwrap_or_else(std::sync::PoisonError::into_inner),
        )
    }
}

/// Stores the counts of a process as they change, until `stop`, and then once more.
pub struct UpcomingWriter {
    counts: Arc<UpcomingCounts>,
    store: Arc<dyn TallyStore>,
    clock: Arc<dyn Clock>,
    /// Told apart from all other processes by it.
    writer: u32,
    /// Before this a part is not written again, by its number.
    not_before: Vec<Instant>,
    /// The last write failed, and was reported.
    failing: bool,
}

impl UpcomingWriter {
    /// `writer`: a number that no other process has.
    #[must_use]
    pub fn new(
        counts: Arc<UpcomingCounts>,
        store: Arc<dyn TallyStore>,
        clock: Arc<dyn Clock>,
        writer: u32,
    ) -> Self {
        Self {
            counts,
            store,
            clock,
            writer,
            not_before: Vec::new(),
            failing: false,
        }
    }

    /// Runs.
    pub async fn run(mut self, stop: CancellationToken) {
        let mut tick = tokio::time::interval(WRITE_EVERY);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                _ = tick.tick() => self.write(Instant::now()).await,
                () = stop.cancelled() => break,
            }
        }
        let all = Instant::now() + WRITE_SELDOM;
        if tokio::time::timeout(LAST_WRITES, self.write(all))
            .await
            .is_err()
        {
            tracing::warn!("the last counts of what comes due were not stored in time");
        }
    }

    /// Writes the parts that have changed and whose turn it is at `now`.
    async fn write(&mut self, now: Instant) {
        let changed = self.counts.with(|tally| tally.changed());
        for number in changed {
            let index = number as usize;
            if self.not_before.len() <= index {
                self.not_before.resize(index + 1, now);
            }
            let Some(not_before) = self.not_before.get_mut(index) else {
                continue;
            };
            if *not_before > now {
                continue;
            }
            let now_ms = self.clock.now_ms();
            let part = self.counts.with(|tally| tally.part(number, now_ms));
            let units = u32::try_from(part.body.len() / UNIT_BYTES).unwrap_or(u32::MAX);
            *not_before = now + WRITE_EVERY.saturating_mul(units).min(WRITE_SELDOM);
            match self.store.put(self.writer, part).await {
                Ok(()) => self.failing = false,
                Err(error) => {
                    self.counts.with(|tally| tally.put_back(number));
                    metrics::counter!(FAILURES).increment(1);
                    if !std::mem::replace(&mut self.failing, true) {
                        tracing::warn!(%error, "counts of what comes due could not be stored: tried again");
                    }
                }
            }
        }
    }
}
