//! Reads the canaries where they come out, and says which are missing.

use std::sync::Arc;
use std::time::Duration;

use delayq_core::canary::{Arrival, CanaryWatch, Overdue, PATHS};
use delayq_core::clock::Clock;
use delayq_core::error::ErrorClass;
use delayq_core::ports::HealthReport;
use delayq_core::priority::Priority;
use delayq_core::record::{Path, Record};
use delayq_kafka::TailEvent;
use tokio::sync::{mpsc, watch};
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;

use super::{CanarySettings, metrics as names};

/// How often it looks what is overdue, at least.
const LOOK: Duration = Duration::from_secs(1);
/// A task silent for longer is stalled.
const STALLED_AFTER: Duration = Duration::from_secs(30);
const TOPIC: &str = "canary topic";

/// Observes.
pub struct Observer {
    settings: CanarySettings,
    clock: Arc<dyn Clock>,
    health: Arc<dyn HealthReport>,
    topic_found: watch::Sender<bool>,
    watch: CanaryWatch,
    caught_up: bool,
}

impl Observer {
    /// `topic_found` is told whether the canary topic is there.
    #[must_use]
    pub fn new(
        settings: CanarySettings,
        clock: Arc<dyn Clock>,
        health: Arc<dyn HealthReport>,
        topic_found: watch::Sender<bool>,
    ) -> Self {
        let watch = CanaryWatch::new(settings.times, clock.now_ms());
        Self {
            settings,
            clock,
            health,
            topic_found,
            watch,
            caught_up: false,
        }
    }

    /// Runs until `stop`, or until there are no more events.
    pub async fn run(mut self, mut events: mpsc::Receiver<TailEvent>, stop: CancellationToken) {
        let mut look = tokio::time::interval(LOOK);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                event = events.recv() => match event {
                    Some(event) => self.on_event(event),
                    None => {
                        let ended = "nobody reads it any more; restart the process".to_owned();
                        self.health.report(TOPIC, Err(ended));
                        return;
                    }
                },
                _ = look.tick() => {
                    self.health.beat("canary observer", STALLED_AFTER);
                    self.look();
                }
                () = stop.cancelled() => return,
            }
        }
    }

    fn on_event(&mut self, event: TailEvent) {
        match event {
            TailEvent::Record(record) => self.on_record(&record),
            TailEvent::CaughtUp => {
                if !self.caught_up {
                    self.caught_up = true;
                    self.watch.caught_up(self.clock.now_ms());
                }
                self.found(true);
                self.health.report(TOPIC, Ok(()));
            }
            TailEvent::Away(error) => {
                if error.class == ErrorClass::Misconfigured {
                    self.found(false);
                }
                self.health.report(TOPIC, Err(error.to_string()));
            }
        }
    }

    /// The sender sends at every change: saying the same again must be none.
    fn found(&self, found: bool) {
        self.topic_found
            .send_if_modified(|was| std::mem::replace(was, found) != found);
    }

    fn on_record(&mut self, record: &Record) {
        let Some(arrival) = Arrival::read(record, &self.settings.delay_topics) else {
            return;
        };
        if self.watch.seen(&arrival) && self.caught_up {
            let labels = labels(arrival.canary.path, arrival.canary.priority);
            let lateness_ms = self.clock.now_ms().saturating_sub(arrival.due_ms);
            ::metrics::histogram!(names::LATENESS_MS, &labels).record(lateness_ms as f64);
        }
    }

    fn look(&self) {
        if !self.caught_up {
            return;
        }
        let now_ms = self.clock.now_ms();
        let overdue = self.watch.overdue(now_ms);
        for path in PATHS {
            if self.settings.times.delay_ms(path).is_none() {
                continue;
            }
            for priority in Priority::ALL {
                let labels = labels(path, priority);
                let is = |one: &Overdue| (one.path, one.priority) == (path, priority);
                let missing = f64::from(u8::from(overdue.iter().any(is)));
                ::metrics::gauge!(names::OVERDUE, &labels).set(missing);
                if let Some(age_ms) = self.watch.age_ms(path, priority, now_ms) {
                    ::metrics::gauge!(names::AGE_MS, &labels).set(age_ms as f64);
                }
            }
            let missing: Vec<_> = overdue.iter().filter(|one| one.path == path).collect();
            let state = if missing.is_empty() {
                Ok(())
            } else {
                Err(reason(path, &missing, now_ms))
            };
            self.health.report(&format!("canary {path}"), state);
        }
    }
}

fn labels(path: Path, priority: Priority) -> [(&'static str, &'static str); 2] {
    [("path", path.as_str()), ("priority", priority.as_str())]
}

fn reason(path: Path, missing: &[&Overdue], now_ms: i64) -> String {
    let each: Vec<_> = missing
        .iter()
        .map(|one| format!("{} for {} s", one.priority, (now_ms - one.due_ms) / 1000))
        .collect();
    let look = match path {
        Path::Direct => "a router must send and publish them",
        Path::Short => "routers, SQS queues and emitters are on this path",
        Path::Long => "routers, tables, schedulers, SQS queues and emitters are on this path",
    };
    format!("overdue: {}; {look}", each.join(", "))
}
