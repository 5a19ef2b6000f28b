//! Explores a model to its end, and says what was found.

use std::collections::BTreeMap;

use stateright::{Checker, Model, Path};

use crate::bounds::Bounds;
use crate::model::{Handover, NOTHING_LOST};
use crate::state::{Action, State};

/// What an exploration found.
#[derive(Debug)]
pub struct Explored {
    /// States, without those that differ only in which scheduler is which.
    pub unique_states: usize,
    /// Steps from one state to another.
    pub transitions: usize,
    /// Longest path.
    pub depth: usize,
    /// Properties that failed, each with the steps that lead there; of a moment never reached there are none.
    pub failed: BTreeMap<&'static str, Vec<Action>>,
    /// Moments that were reached, each with the number of steps to it.
    pub reached: BTreeMap<&'static str, usize>,
}

/// Visits every state.
#[must_use]
pub fn explore(bounds: Bounds, threads: usize) -> Explored {
    let checker = Handover::new(bounds)
        .checker()
        .threads(threads)
        .symmetry()
        .spawn_dfs()
        .join();
    let discoveries = checker.discoveries();
    let (mut failed, mut reached) = (BTreeMap::new(), BTreeMap::new());
    for property in checker.model().properties() {
        let found = discoveries.get(property.name);
        match (property.expectation.discovery_is_failure(), found) {
            (true, None) => {}
            (true, Some(path)) => drop(failed.insert(property.name, steps(path))),
            (false, Some(path)) => drop(reached.insert(property.name, steps(path).len())),
            (false, None) => drop(failed.insert(property.name, Vec::new())),
        }
    }
    Explored {
        unique_states: checker.unique_state_count(),
        transitions: checker.state_count(),
        depth: checker.max_depth(),
        failed,
        reached,
    }
}

/// The fewest steps that lose a batch; `None` if none do.
#[must_use]
pub fn shortest_loss(bounds: &Bounds) -> Option<Vec<Action>> {
    let mut shortest: Option<Vec<Action>> = None;
    loop {
        let mut builder = Handover::only_for_loss(bounds.clone()).checker();
        // The checker notes the last that it meets before it stops, so there may be a shorter one.
        if let Some(found) = &shortest {
            builder = builder.target_max_depth(found.len());
        }
        match builder.spawn_bfs().join().discovery(NOTHING_LOST) {
            Some(path) => shortest = Some(steps(&path)),
            None => return shortest,
        }
        if shortest.as_ref().is_some_and(|found| found.len() < 2) {
            return shortest;
        }
    }
}

fn steps(path: &Path<State, Action>) -> Vec<Action> {
    path.clone().into_actions()
}
