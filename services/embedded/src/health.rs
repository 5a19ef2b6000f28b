//! What is told of the health of a process, kept to be asked for.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::time::Duration;

use delayq_core::ports::HealthReport;

use crate::lock::locked;

/// [`HealthReport`] in memory.
#[derive(Debug, Default)]
pub struct MemoryHealth(Mutex<Told>);

#[derive(Debug, Default)]
struct Told {
    components: BTreeMap<String, Result<(), String>>,
    well: usize,
    ill: usize,
    beats: BTreeMap<&'static str, (usize, Duration)>,
}

impl MemoryHealth {
    /// What was told last of a component; `None` if nothing was, or it was forgotten.
    #[must_use]
    pub fn ready(&self, component: &str) -> Option<bool> {
        locked(&self.0).components.get(component).map(Result::is_ok)
    }

    /// How often any component was said to be well, and to be ill.
    #[must_use]
    pub fn reports(&self) -> (usize, usize) {
        let told = locked(&self.0);
        (told.well, told.ill)
    }

    /// How often a task said that it is alive, and for how long it may be silent, as it said last.
    #[must_use]
    pub fn beats(&self, task: &str) -> Option<(usize, Duration)> {
        locked(&self.0).beats.get(task).copied()
    }
}

impl HealthReport for MemoryHealth {
    fn report(&self, component: &str, state: Result<(), String>) {
        let mut told = locked(&self.0);
        match &state {
            Ok(()) => told.well += 1,
            Err(_) => told.ill += 1,
        }
        told.components.insert(component.to_owned(), state);
    }

    fn beat(&self, task: &'static str, limit: Duration) {
        let mut told = locked(&self.0);
        let beats = told.beats.entry(task).or_insert((0, limit));
        *beats = (beats.0 + 1, limit);
    }

    fn forget(&self, component: &str) {
        locked(&self.0).components.remove(component);
    }
}
