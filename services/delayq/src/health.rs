//! The services' reports, into the registry behind `/readyz` and `/livez`.

use std::collections::HashMap;
use std::sync::Mutex;
use std::time::Duration;

use delayq_core::ports::HealthReport;
use delayq_core::priority::Priority;
use delayq_runtime::health::{Component, Health, Pulse};

use crate::role::Role;

/// Remembers what has reported.
pub struct HealthPort {
    health: Health,
    components: Mutex<HashMap<String, Component>>,
    pulses: Mutex<HashMap<&'static str, Pulse>>,
}

impl HealthPort {
    /// Not ready until the parts that these roles cannot work without have reported.
    #[must_use]
    pub fn expecting(health: &Health, roles: &[Role]) -> Self {
        let port = Self {
            health: health.clone(),
            components: Mutex::default(),
            pulses: Mutex::default(),
        };
        for role in roles {
            let parts = match role {
                Role::Router => vec!["delay topics".to_owned()],
                Role::Scheduler => vec!["ticks".to_owned(), "tick queue".to_owned()],
                Role::Emitter => Priority::ALL.map(|p| format!("queue {p} (receive)")).into(),
            };
            for part in parts {
                let component = port.health.component(part.as_str());
                if let Ok(mut components) = port.components.lock() {
                    components.insert(part, component);
                }
            }
        }
        port
    }
}

impl HealthReport for HealthPort {
    fn report(&self, component: &str, state: Result<(), String>) {
        let Ok(mut components) = self.components.lock() else {
            return;
        };
        if !components.contains_key(component) {
            components.insert(component.to_owned(), self.health.component(component));
        }
        match (components.get(component), state) {
            (Some(component), Ok(())) => component.ready(),
            (Some(component), Err(reason)) => component.not_ready(reason),
            (None, _) => {}
        }
    }

    fn beat(&self, task: &'static str, limit: Duration) {
        let Ok(mut pulses) = self.pulses.lock() else {
            return;
        };
        pulses
            .entry(task)
            .or_insert_with(|| self.health.pulse(task, limit))
            .beat();
    }

    fn forget(&self, component: &str) {
        let forgotten = self
            .components
            .lock()
            .ok()
            .and_then(|mut components| components.remove(component));
        if let Some(component) = forgotten {
            component.remove();
        }
    }
}
