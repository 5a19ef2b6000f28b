//! What each process has in memory while a scenario runs.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use delayq_stack::Usage;
use tokio::time::{Instant, MissedTickBehavior};
use tokio_util::task::AbortOnDropHandle;

const LOOK_EVERY: Duration = Duration::from_millis(500);

/// Seconds since the beginning, and MiB, by process.
pub(super) type Memory = BTreeMap<String, Vec<(f64, f64)>>;

/// Looks at processes for as long as it lives.
pub(super) struct Timeline {
    memory: Arc<Mutex<Memory>>,
    _looks: AbortOnDropHandle<()>,
}

impl Timeline {
    /// Of these processes, by name and id; one that ends is looked at no more.
    pub(super) fn of(processes: Vec<(String, u32)>) -> Self {
        let memory = Arc::new(Mutex::new(Memory::new()));
        let started = Instant::now();
        let seen = memory.clone();
        let looks = async move {
            let mut every = tokio::time::interval(LOOK_EVERY);
            every.set_missed_tick_behavior(MissedTickBehavior::Delay);
            loop {
                every.tick().await;
                let at_s = started.elapsed().as_secs_f64();
                for (name, pid) in &processes {
                    if let Ok(usage) = Usage::of(*pid) {
                        let mut seen = seen.lock().unwrap_or_else(PoisonError::into_inner);
                        let line = seen.entry(name.clone()).or_default();
                        line.push((at_s, usage.resident_mib));
                    }
                }
            }
        };
        Self {
            memory,
            _looks: AbortOnDropHandle::new(tokio::spawn(looks)),
        }
    }

    /// What was seen so far.
    pub(super) fn memory(&self) -> Memory {
        self.memory
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_process_is_looked_at_until_it_ends() {
        let processes = vec![
            ("this".to_owned(), std::process::id()),
            ("none".to_owned(), u32::MAX),
        ];
        let timeline = Timeline::of(processes);
        tokio::time::sleep(LOOK_EVERY + LOOK_EVERY / 2).await;
        let memory = timeline.memory();
        assert!(memory["this"].len() >= 2 && memory["this"][0].1 > 0.5);
        assert!(!memory.contains_key("none"));
    }
}
