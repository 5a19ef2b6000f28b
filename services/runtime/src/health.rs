//! Who is ready, and who still lives. Read by [`crate::http`], written by the tasks.
//!
//! *Ready* is about the world: a component (`"sqs high"`) says whether it can do its work, and if not why. *Live* is about the
//! process: a task that has not beaten its [`Pulse`] in time hangs, and only a restart mends that. A broker that is down
//! makes a process unready, never dead.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use metrics::{Unit, describe_gauge, gauge};
use serde::Serialize;
use tokio::time::Instant;
use tracing::{debug, info, warn};

/// Gauge, 1 or 0: whether a component is ready, by label `component`.
pub const COMPONENT_READY: &str = "delayq_component_ready";

pub(crate) fn describe_metrics() {
    describe_gauge!(
        COMPONENT_READY,
        Unit::Count,
        "1 if the component is ready, 0 if not; /readyz has the reason."
    );
}

/// The state of every component and task of a process. Cheap to clone; all clones are one.
#[derive(Debug, Clone)]
pub struct Health(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    started: Instant,
    stopping: AtomicBool,
    components: Mutex<BTreeMap<String, Entry>>,
    pulses: Mutex<BTreeMap<u64, Arc<Beats>>>,
    next_pulse: AtomicU64,
}

#[derive(Debug)]
struct Entry {
    state: State,
    since: Instant,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum State {
    Starting,
    Ready,
    NotReady { reason: String },
}

#[derive(Debug)]
struct Beats {
    task: String,
    limit: Duration,
    /// Milliseconds after [`Shared::started`].
    last_ms: AtomicU64,
}

impl Default for Health {
    fn default() -> Self {
        Self::new()
    }
}

impl Health {
    /// Nothing registered yet, so not ready; alive.
    #[must_use]
    pub fn new() -> Self {
        Self(Arc::new(Shared {
            started: Instant::now(),
            stopping: AtomicBool::new(false),
            components: Mutex::default(),
            pulses: Mutex::default(),
            next_pulse: AtomicU64::new(0),
        }))
    }

    /// Registers a component, which is not ready ("starting") until it says so. The same name gives the same component.
    #[must_use]
    pub fn component(&self, name: impl Into<String>) -> Component {
        let name = name.into();
        self.components().entry(name.clone()).or_insert_with(|| {
            gauge!(COMPONENT_READY, "component" => name.clone()).set(0.0);
            Entry {
                state: State::Starting,
                since: Instant::now(),
            }
        });
        Component {
            health: self.clone(),
            name,
        }
    }

    /// Registers a task that must [`Pulse::beat`] at least every `limit`, from now on. Give the longest step it may take
    /// (a call's time-out, a long poll) twice over. Dropping the pulse ends the watch.
    #[must_use]
    pub fn pulse(&self, task: impl Into<String>, limit: Duration) -> Pulse {
        let beats = Arc::new(Beats {
            task: task.into(),
            limit,
            last_ms: AtomicU64::new(self.elapsed_ms()),
        });
        let id = self.0.next_pulse.fetch_add(1, Ordering::Relaxed);
        self.pulses().insert(id, beats.clone());
        Pulse {
            health: self.clone(),
            id,
            beats,
        }
    }

    /// From now on the process is not ready, whatever its components say: it is draining.
    pub fn stopping(&self) {
        self.0.stopping.store(true, Ordering::Relaxed);
    }

    /// Whether every component is ready, with all reasons.
    #[must_use]
    pub fn readiness(&self) -> Readiness {
        let stopping = self.0.stopping.load(Ordering::Relaxed);
        let components: Vec<ComponentReport> = self
            .components()
            .iter()
            .map(|(name, entry)| ComponentReport {
                name: name.clone(),
                ready: entry.state == State::Ready,
                reason: match &entry.state {
                    State::Starting => Some("starting".to_owned()),
                    State::Ready => None,
                    State::NotReady { reason } => Some(reason.clone()),
                },
                for_seconds: entry.since.elapsed().as_secs(),
            })
            .collect();
        Readiness {
            ready: !stopping
                && !components.is_empty()
                && components.iter().all(|component| component.ready),
            stopping,
            components,
        }
    }

    /// Whether every task beats, with those that do not.
    #[must_use]
    pub fn liveness(&self) -> Liveness {
        let now_ms = self.elapsed_ms();
        let stalled: Vec<StalledTask> = self
            .pulses()
            .values()
            .filter_map(|beats| {
                let silent_ms = now_ms.saturating_sub(beats.last_ms.load(Ordering::Relaxed));
                let limit_ms = as_ms(beats.limit);
                (silent_ms > limit_ms).then(|| StalledTask {
                    task: beats.task.clone(),
                    silent_ms,
                    limit_ms,
                })
            })
            .collect();
        Liveness {
            live: stalled.is_empty(),
            stalled,
        }
    }

    fn set(&self, name: &str, state: State) {
        let previous =
            {
                let mut components = self.components();
                let Some(entry) = components.get_mut(name) else {
                    return;
                };
                if entry.state == state {
                    return;
                }
                let previous = std::mem::replace(&mut entry.state, state.clone());
                let lasted = entry.since.elapsed();
                // Another reason for the same trouble does not make the trouble younger.
                if !matches!(
                    (&previous, &state),
                    (State::NotReady { .. }, State::NotReady { .. })
                ) {
                    entry.since = Instant::now();
                }
                gauge!(COMPONENT_READY, "component" => name.to_owned())
                    .set(if state == State::Ready { 1.0 } else { 0.0 });
                (previous, lasted)
            };
        announce(name, &previous.0, &state, previous.1);
    }

    fn components(&self) -> MutexGuard<'_, BTreeMap<String, Entry>> {
        // Nothing that holds the lock can leave an entry half written.
        self.0
            .components
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    fn pulses(&self) -> MutexGuard<'_, BTreeMap<u64, Arc<Beats>>> {
        self.0.pulses.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn elapsed_ms(&self) -> u64 {
        as_ms(self.0.started.elapsed())
    }
}

/// One line per change. While a component stays unready its reason may change with every retry: that is for debugging.
fn announce(component: &str, previous: &State, state: &State, lasted: Duration) {
    match (previous, state) {
        (State::NotReady { .. }, State::NotReady { reason }) => {
            debug!(component, reason, "still not ready");
        }
        (_, State::NotReady { reason }) => warn!(component, reason, "not ready"),
        (_, State::Ready) => info!(component, after_ms = as_ms(lasted), "ready"),
        (_, State::Starting) => {}
    }
}

fn as_ms(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// One component's own handle on its state. Saying the same again costs a lock and logs nothing.
#[derive(Debug, Clone)]
pub struct Component {
    health: Health,
    name: String,
}

impl Component {
    /// It can do its work.
    pub fn ready(&self) {
        self.health.set(&self.name, State::Ready);
    }

    /// It cannot, and this is why (one line, for whoever is woken by it).
    pub fn not_ready(&self, reason: impl Into<String>) {
        self.health.set(
            &self.name,
            State::NotReady {
                reason: reason.into(),
            },
        );
    }

    /// It is gone for good (a partition that moved away), and no longer counts.
    pub fn remove(self) {
        self.health.components().remove(&self.name);
        // A gauge cannot be taken back; what is gone is not in trouble.
        gauge!(COMPONENT_READY, "component" => self.name).set(1.0);
    }
}

/// A task's sign of life. Watched until dropped.
#[derive(Debug)]
pub struct Pulse {
    health: Health,
    id: u64,
    beats: Arc<Beats>,
}

impl Pulse {
    /// The task lives. One atomic store: fit for every turn of a loop.
    pub fn beat(&self) {
        self.beats
            .last_ms
            .store(self.health.elapsed_ms(), Ordering::Relaxed);
    }
}

impl Drop for Pulse {
    fn drop(&mut self) {
        self.health.pulses().remove(&self.id);
    }
}

/// What `/readyz` answers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Readiness {
    /// All components are ready, there is at least one, and the process is not stopping.
    pub ready: bool,
    /// The process is draining.
    pub stopping: bool,
    /// All components, by name.
    pub components: Vec<ComponentReport>,
}

/// One component in [`Readiness`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ComponentReport {
    /// Its name.
    pub name: String,
    /// Whether it can do its work.
    pub ready: bool,
    /// Why not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// How long it has been so, in seconds.
    pub for_seconds: u64,
}

/// What `/livez` answers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Liveness {
    /// Every task has beaten in time.
    pub live: bool,
    /// Those that have not.
    pub stalled: Vec<StalledTask>,
}

/// One task in [`Liveness`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct StalledTask {
    /// Its name.
    pub task: String,
    /// Milliseconds since its last beat.
    pub silent_ms: u64,
    /// Milliseconds it may be silent.
    pub limit_ms: u64,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::captured_logs;

    #[test]
    fn ready_only_when_all_are_and_at_least_one_is_there() {
        let health = Health::new();
        assert!(!health.readiness().ready, "nothing registered");
        let source = health.component("kafka source");
        let queue = health.component("sqs high");
        assert_eq!(
            health.readiness().components[0].reason.as_deref(),
            Some("starting")
        );
        source.ready();
        assert!(!health.readiness().ready);
        queue.ready();
        assert!(health.readiness().ready);
        queue.not_ready("OverLimit");
        let report = health.readiness();
        assert!(!report.ready);
        assert_eq!(report.components[1].name, "sqs high");
        assert_eq!(report.components[1].reason.as_deref(), Some("OverLimit"));
        queue.remove();
        assert!(health.readiness().ready);
        health.stopping();
        assert!(!health.readiness().ready);
    }

    #[tokio::test(start_paused = true)]
    async fn trouble_does_not_grow_younger_by_another_reason() {
        let health = Health::new();
        let source = health.component("kafka source");
        source.not_ready("connection refused");
        tokio::time::advance(Duration::from_secs(7)).await;
        source.not_ready("timed out");
        assert_eq!(health.readiness().components[0].for_seconds, 7);
        source.ready();
        assert_eq!(health.readiness().components[0].for_seconds, 0);
    }

    #[test]
    fn changes_are_logged_once() {
        let health = Health::new();
        let logs = captured_logs(|| {
            let source = health.component("kafka source");
            for attempt in 0..5 {
                source.not_ready(format!("refused, attempt {attempt}"));
            }
            for _ in 0..5 {
                source.ready();
            }
            source.not_ready("gone");
        });
        let lines: Vec<&str> = logs.lines().collect();
        assert_eq!(lines.len(), 3, "{logs}");
        assert!(lines[0].contains("not ready") && lines[0].contains("attempt 0"));
        assert!(lines[1].contains("ready") && !lines[1].contains("not ready"));
        assert!(lines[2].contains("gone"));
    }

    #[tokio::test(start_paused = true)]
    async fn a_silent_task_is_named() {
        let health = Health::new();
        let poll = health.pulse("router poll", Duration::from_secs(10));
        let timer = health.pulse("emitter timer", Duration::from_secs(60));
        tokio::time::advance(Duration::from_secs(10)).await;
        assert!(health.liveness().live);
        timer.beat();
        tokio::time::advance(Duration::from_millis(1)).await;
        let report = health.liveness();
        assert!(!report.live);
        assert_eq!(
            report.stalled,
            [StalledTask {
                task: "router poll".to_owned(),
                silent_ms: 10_001,
                limit_ms: 10_000
            }]
        );
        poll.beat();
        assert!(health.liveness().live);
        tokio::time::advance(Duration::from_secs(11)).await;
        assert!(!health.liveness().live);
        drop(poll);
        assert!(health.liveness().live, "a task that ended is not watched");
    }

    #[test]
    fn two_pulses_of_one_name_are_two() {
        let health = Health::new();
        let first = health.pulse("receive", Duration::from_secs(1));
        let second = health.pulse("receive", Duration::from_secs(1));
        drop(first);
        assert_eq!(health.pulses().len(), 1);
        drop(second);
    }
}
