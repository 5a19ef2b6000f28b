//! Carries out what [`super::emission`] decides: timers, the sink, acknowledgements, backoff, the breaker.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use delayq_core::clock::{Clock, EpochMs};
use delayq_core::error::{PortError, backoff};
use delayq_core::ports::{Published, RecordSink};
use delayq_core::priority::Priority;
use delayq_core::record::Scheduled;
use delayq_core::tracked::{Publication, State};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::task::AbortOnDropHandle;

use crate::payloads::{Payloads, Stored};
use crate::registry::Registry;

use super::breaker::Breaker;
use super::by_output::ByOutput;
use super::dead_letter::DeadLetter;
use super::emission::{Emission, Failure, JobId};
use super::job::{Job, Work};
use super::lanes::{Lanes, Open};
use super::metrics as names;
use super::pace::Handed;
use super::publisher::{Command, End, EndKind, PublishSettings, Publisher};
use super::tracked::{Outcome, Tracked};
use super::yielding::Yielding;

/// Starts the task; ends arrive at the receiver. A dead letter too large for its topic goes to `payloads`; tracked records are
/// claimed, and their ends noted, in `registry`.
#[must_use]
pub fn start<T: Send + 'static>(
    settings: PublishSettings,
    sink: Arc<dyn RecordSink>,
    clock: Arc<dyn Clock>,
    payloads: Arc<Payloads>,
    registry: Arc<Registry>,
) -> (Publisher<T>, mpsc::UnboundedReceiver<End<T>>) {
    let (commands, command_rx) = mpsc::unbounded_channel();
    let (ends, ends_rx) = mpsc::unbounded_channel();
    let (breaker_tx, breaker) = watch::channel(None);
    let (acks, ack_rx) = mpsc::unbounded_channel();
    let driver = Driver {
        emission: Emission::new(settings.attempts, settings.floor_every),
        breaker: Breaker::new(i64::try_from(settings.breaker_probe.as_millis()).unwrap_or(1000)),
        breaker_tx,
        settings,
        sink,
        tracked: Tracked::new(registry, clock.clone()),
        clock,
        acks,
        ends,
        payloads,
        storing: JoinSet::new(),
        opened_by_health: false,
        jitter: Jitter::default(),
        look_at: Instant::now(),
        published: names::Published::new(),
        by_output: ByOutput::default(),
        lanes: Lanes::new(Instant::now()),
        yielding: Yielding::new(Instant::now()),
    };
    names::backlog_limit(driver.settings.service, None);
    for priority in Priority::ALL {
        names::pass_ms(driver.settings.service, priority).set(0.0);
    }
    metrics::gauge!(names::BREAKER_OPEN, "service" => driver.settings.service).set(0.0);
    for cause in ["broker", "record"] {
        metrics::counter!(names::RETRIES, "cause" => cause).increment(0);
    }
    let task = AbortOnDropHandle::new(tokio::spawn(driver.run(command_rx, ack_rx)));
    (Publisher::new(commands, breaker, task), ends_rx)
}

type Ack = (JobId, Result<Published, PortError>);

struct Driver<T> {
    settings: PublishSettings,
    sink: Arc<dyn RecordSink>,
    clock: Arc<dyn Clock>,
    emission: Emission<T>,
    tracked: Tracked<T>,
    breaker: Breaker,
    breaker_tx: watch::Sender<Option<PortError>>,
    acks: mpsc::UnboundedSender<Ack>,
    ends: mpsc::UnboundedSender<End<T>>,
    payloads: Arc<Payloads>,
    /// Dead letters on their way to the payload store.
    storing: JoinSet<Job<T>>,
    /// Nothing was refused: the sink only says that no broker answers.
    opened_by_health: bool,
    jitter: Jitter,
    /// When it is looked next how late the oldest record is.
    look_at: Instant,
    published: names::Published,
    by_output: ByOutput,
    lanes: Lanes,
    yielding: Yielding,
}

/// How often the oldest record is looked for, at most: that walks through all that are due.
const LOOK_EVERY: Duration = Duration::from_secs(1);

impl<T: Send + 'static> Driver<T> {
    async fn run(
        mut self,
        mut commands: mpsc::UnboundedReceiver<Command<T>>,
        mut acks: mpsc::UnboundedReceiver<Ack>,
    ) {
        let mut ack_batch = Vec::with_capacity(1024);
        loop {
            self.watch_sink();
            self.pass();
            self.watch_oldest();
            let wake = self.wake();
            tokio::select! {
                command = commands.recv() => match command {
                    Some(Command::Hold(jobs)) => jobs.into_iter().for_each(|job| self.hold(job)),
                    // A caller that has gone away leaves its jobs here: they are published as if never recalled.
                    Some(Command::Recall(after_ms, reply)) => {
                        if let Err(jobs) = reply.send(self.recall(after_ms)) {
                            jobs.into_iter().for_each(|job| self.hold(job));
                        }
                    }
                    None => return,
                },
                _ = acks.recv_many(&mut ack_batch, 1024) => {
                    let now_ms = self.clock.now_ms();
                    for (id, result) in ack_batch.drain(..) {
                        self.acknowledged(id, result, now_ms);
                    }
                    self.published.tell();
                    self.by_output.tell();
                    self.lanes.answered();
                }
                Some(stored) = self.storing.join_next(), if !self.storing.is_empty() => match stored {
                    Ok(job) => self.emission.hold(job),
                    // Its owner would wait for ever: only a restart repeats the record.
                    Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
                    Err(_) => {}
                },
                outcome = self.tracked.next() => self.on_tracked(outcome),
                () = tokio::time::sleep_until(wake) => self.lanes.answered(),
            }
        }
    }

    /// When there may be something to do. On the monotonic clock for what the wall clock says is left; the wall clock is read again
    /// on waking.
    fn wake(&self) -> Instant {
        let (now, now_ms) = (Instant::now(), self.clock.now_ms());
        let not_before_ms = self.breaker.next_probe_ms();
        let at = |at_ms: EpochMs| {
            let at_ms = not_before_ms.map_or(at_ms, |probe| at_ms.max(probe));
            let wait_ms = at_ms.saturating_sub(now_ms).max(0);
            // The clock may be set meanwhile: never further than the next look at it.
            now + Duration::from_millis(wait_ms.unsigned_abs()).min(self.settings.clock_check)
        };
        let mut wake = now + self.settings.clock_check;
        if self.emission.under_way() < self.settings.max_under_way {
            for priority in Priority::ALL {
                if self.emission.has_ready(priority) {
                    wake = wake.min(at(EpochMs::MIN).max(self.lanes.next(priority, now)));
                }
            }
            wake = self
                .emission
                .waits_until_ms()
                .map_or(wake, |ms| wake.min(at(ms)));
        }
        let claim_ms = self.tracked.next_ms().filter(|_| self.claims() > 0);
        let wake = claim_ms.map_or(wake, |ms| wake.min(at(ms)));
        // No pass is begun before this.
        let passes = Priority::ALL.map(|priority| self.lanes.next(priority, now));
        passes.into_iter().min().map_or(wake, |pass| wake.max(pass))
    }

    /// Brokers that are known to be away open the breaker before a record has to time out, and close it again when they
    /// are back. There may be no record to probe with, because intake waits for the breaker, and those that failed may have
    /// been given up since: then the next record that comes is the probe.
    fn watch_sink(&mut self) {
        match (self.sink.health(), self.breaker.is_open()) {
            (Err(error), false) => {
                self.open_breaker(error);
                self.opened_by_health = true;
            }
            (Ok(()), true) if self.opened_by_health || self.is_idle() => self.close_breaker(),
            _ => {}
        }
    }

    /// How late the oldest is right now: lateness counts only what has ended.
    fn watch_oldest(&mut self) {
        let now = Instant::now();
        if now < self.look_at {
            return;
        }
        self.look_at = now + LOOK_EVERY;
        let now_ms = self.clock.now_ms();
        let oldest_ms = [
            self.emission.oldest_due_ms(now_ms, self.retry_max_ms()),
            self.tracked.oldest_due_ms(now_ms),
        ];
        let oldest_ms = oldest_ms.into_iter().flatten().min();
        let overdue_ms = oldest_ms.map_or(0, |due_ms| now_ms - due_ms);
        metrics::gauge!(names::OLDEST_OVERDUE_MS, "service" => self.settings.service)
            .set(overdue_ms as f64);
    }

    fn retry_max_ms(&self) -> i64 {
        i64::try_from(self.settings.retry_max.as_millis()).unwrap_or(i64::MAX)
    }

    fn is_idle(&self) -> bool {
        self.emission.held() == 0 && self.storing.is_empty() && self.tracked.is_idle()
    }

    fn hold(&mut self, job: Job<T>) {
        if let Some(job) = self.tracked.take(job) {
            self.emission.hold(job);
        }
    }

    /// What is claimed stays: nobody else could publish it before the claim's lease is over.
    fn recall(&mut self, after_ms: EpochMs) -> Vec<Job<T>> {
        let mut later = self.tracked.recall(after_ms);
        for job in self.emission.recall(after_ms) {
            match &job.tracking {
                Some(_) => self.emission.hold(job),
                None => later.push(job),
            }
        }
        later
    }

    fn on_tracked(&mut self, outcome: Outcome<T>) {
        match outcome {
            Outcome::GoOn(job) => self.emission.hold(job),
            Outcome::Later(job, at_ms) => self.tracked.wait_until(at_ms, job),
            Outcome::Ended(job, kind) => self.tell(job, kind),
        }
    }

    /// Hands over what is due, of the priorities whose turn it is.
    fn pass(&mut self) {
        let now = Instant::now();
        let open = self.lanes.open(now);
        if open == Open::NONE {
            return;
        }
        if self.yielding.look(now) {
            names::backlog_limit(self.settings.service, self.yielding.limit_per_s());
        }
        self.tracked
            .start_claims(self.clock.now_ms(), self.claims());
        let handed_over = self.publish_ready(open);
        for (priority, distance) in self.lanes.passed(handed_over, now) {
            names::pass_ms(self.settings.service, priority).set(distance.as_secs_f64() * 1000.0);
        }
    }

    /// How many claims may be started now. While Kafka is away a claim would only make cancels come too late: then there is one,
    /// where nothing else can show that Kafka is back.
    fn claims(&self) -> usize {
        if !self.breaker.is_open() {
            return usize::MAX;
        }
        // What failed is tried again within this.
        let soon_ms = self.clock.now_ms().saturating_add(self.retry_max_ms());
        let has_probe = self.emission.under_way() > 0
            || self
                .emission
                .next_ms()
                .is_some_and(|at_ms| at_ms <= soon_ms)
            || self.tracked.calls() > 0;
        usize::from(!has_probe)
    }

    /// What was handed over of each priority. `open`: those whose turn it is when the pass begins.
    fn publish_ready(&mut self, mut open: Open) -> [Handed; Priority::ALL.len()] {
        let mut handed_over = [Handed::NONE; Priority::ALL.len()];
        let mut opened_ms = self.clock.now_ms();
        while self.emission.under_way() < self.settings.max_under_way {
            let now_ms = self.clock.now_ms();
            if now_ms != opened_ms {
                // A backlog makes a long pass: what was not open at its beginning may be by now.
                (open, opened_ms) = (self.lanes.open(Instant::now()), now_ms);
            }
            if self.breaker.is_open()
                && !(self.emission.has(now_ms, open) && self.breaker.admit(now_ms))
            {
                break;
            }
            let Some((id, attempt)) = self.emission.pop(now_ms, open) else {
                break;
            };
            if !attempt.job.is_alive() {
                self.end(id, EndKind::Abandoned, None, now_ms);
                continue;
            }
            if attempt.job.needs_claim(Instant::now) {
                if let Some(job) = self.emission.finish(id) {
                    self.hold(job);
                }
                continue;
            }
            let late_ms = attempt.job.late_ms(now_ms);
            let priority = attempt.job.priority();
            if self.yielding.waits(priority, late_ms) {
                let now = Instant::now();
                self.emission.put_back(id);
                self.lanes.yields(priority, now);
                open = self.lanes.open(now);
                continue;
            }
            let outgoing = match &attempt.job.work {
                Work::Publish(record) => record.to_output(),
                Work::DeadLetter(letter) => letter.to_output(&self.settings.dead_letter_topic),
            };
            let acks = self.acks.clone();
            let acknowledge = Box::new(move |result| {
                if acks.send((id, result)).is_err() {
                    tracing::debug!("an acknowledgement came after the publisher had ended");
                }
            });
            if self.sink.publish(&outgoing, acknowledge).is_err() {
                self.emission.put_back(id);
                self.lanes.refused(priority);
                open = self.lanes.open(Instant::now());
            } else if let Some(handed) = handed_over.get_mut(priority.index()) {
                handed.add(late_ms);
                self.yielding.handed(id, priority, late_ms, Instant::now);
            }
        }
        handed_over
    }

    fn acknowledged(&mut self, id: JobId, result: Result<Published, PortError>, now_ms: EpochMs) {
        if self.yielding.awaits(id) {
            self.yielding.answered(result.is_ok(), Instant::now());
        }
        let error = match result {
            Ok(published) => {
                self.close_breaker();
                self.end(id, EndKind::Published, Some(published), now_ms);
                return;
            }
            Err(error) => error,
        };
        if error.too_large
            && let Some((job, letter)) = self.emission.take_refused_letter(id)
        {
            tracing::warn!(%error, "the dead-letter topic refuses a record; keeping it in the payload table");
            self.store_letter(job, letter);
            return;
        }
        let wait = backoff(
            self.emission.failures(id),
            self.settings.retry_first,
            self.settings.retry_max,
            self.jitter.next(),
        );
        let retry_ms = now_ms + i64::try_from(wait.as_millis()).unwrap_or(1000);
        match self.emission.fail(id, &error, retry_ms) {
            Failure::RetryBroker => {
                metrics::counter!(names::RETRIES, "cause" => "broker").increment(1);
                self.opened_by_health = false;
                self.open_breaker(error);
            }
            Failure::RetryRecord => {
                metrics::counter!(names::RETRIES, "cause" => "record").increment(1);
                tracing::warn!(%error, "the broker refused a record; trying again");
            }
            Failure::DeadLettered => {
                tracing::warn!(%error, "the broker refuses a record; writing it to the dead-letter topic")
            }
            Failure::Unknown => {
                tracing::error!(?id, %error, "an acknowledgement for a record that was not under way")
            }
        }
    }

    /// No refusal may stall a partition: the payload table takes what the dead-letter topic does not.
    fn store_letter(&mut self, job: Job<T>, letter: Arc<DeadLetter>) {
        let payloads = self.payloads.clone();
        let stored = letter.to_stored(&self.settings.dead_letter_topic);
        self.storing.spawn(async move {
            let alive = job.alive.clone();
            let work = match payloads
                .store(stored, || alive.load(Ordering::Acquire))
                .await
            {
                Stored::Reference(Scheduled {
                    payload: Some(payload),
                    ..
                }) => Work::DeadLetter(Arc::new(letter.with_reference(&payload))),
                // Refused there too, or given up: tried on as it is, so that nothing is lost.
                _ => Work::DeadLetter(letter),
            };
            Job { work, ..job }
        });
    }

    fn close_breaker(&mut self) {
        self.opened_by_health = false;
        if self.breaker.succeeded() {
            tracing::info!(
                service = self.settings.service,
                "Kafka answers again; publishing goes on"
            );
            metrics::gauge!(names::BREAKER_OPEN, "service" => self.settings.service).set(0.0);
            self.breaker_tx.send_replace(None);
        }
    }

    fn open_breaker(&mut self, error: PortError) {
        if self.breaker.failed(self.clock.now_ms()) {
            tracing::warn!(service = self.settings.service, %error, "Kafka does not take records; publishing waits");
            metrics::gauge!(names::BREAKER_OPEN, "service" => self.settings.service).set(1.0);
            self.breaker_tx.send_replace(Some(error));
        }
    }

    fn end(&mut self, id: JobId, kind: EndKind, published: Option<Published>, now_ms: EpochMs) {
        let Some(job) = self.emission.finish(id) else {
            tracing::error!(?id, "a record ended twice");
            return;
        };
        let (kind, state) = match (&job.work, kind, published) {
            (Work::Publish(record), EndKind::Published, Some(published)) => {
                let turn_ms = record.due_ms.max(job.not_before_ms);
                let lateness_ms = now_ms.saturating_sub(turn_ms);
                self.published
                    .count(record.priority, record.path, lateness_ms);
                self.by_output.count(&record.output_topic, lateness_ms);
                let publication = Publication {
                    at_ms: now_ms,
                    partition: published.partition,
                    offset: published.offset,
                };
                (EndKind::Published, State::Published(publication))
            }
            (Work::DeadLetter(letter), EndKind::Published, _) => {
                metrics::counter!(names::DEAD_LETTERS, "reason" => letter.refusal.code)
                    .increment(1);
                tracing::warn!(
                    reason = letter.refusal.code,
                    detail = letter.refusal.detail,
                    source = letter.source.as_ref().map(ToString::to_string),
                    "dead letter written"
                );
                let reason = letter.refusal.code.to_owned();
                let state = State::Dead {
                    at_ms: now_ms,
                    reason,
                };
                (EndKind::DeadLettered, state)
            }
            _ => {
                metrics::counter!(names::ABANDONED).increment(1);
                return self.tell(job, EndKind::Abandoned);
            }
        };
        if let Some((job, kind)) = self.tracked.finish(job, kind, state) {
            self.tell(job, kind);
        }
    }

    fn tell(&self, job: Job<T>, kind: EndKind) {
        let end = End {
            ticket: job.ticket,
            kind,
        };
        if self.ends.send(end).is_err() {
            tracing::debug!("a record ended after its owner had gone");
        }
    }
}

/// Spreads retries: a Weyl sequence is enough, no randomness is needed.
#[derive(Debug, Default)]
struct Jitter(u32);

impl Jitter {
    fn next(&mut self) -> f64 {
        self.0 = self.0.wrapping_add(2_654_435_769);
        f64::from(self.0) / f64::from(u32::MAX)
    }
}
