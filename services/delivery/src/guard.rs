//! Calls to a store: so many at once as it takes, its health reported, and the wait before another try.

use std::future::Future;
use std::sync::Arc;

use delayq_core::error::{Backoff, ErrorClass, PortError};
use delayq_core::ports::HealthReport;

use crate::pacer::Pacer;

/// Guards the calls to one store.
pub(crate) struct Guard {
    component: &'static str,
    health: Arc<dyn HealthReport>,
    pacer: Pacer,
}

impl Guard {
    /// `component`: the store's name on `/readyz`. At most `concurrency` calls at once.
    pub(crate) fn new(
        component: &'static str,
        health: Arc<dyn HealthReport>,
        concurrency: usize,
    ) -> Self {
        Self {
            component,
            health,
            pacer: Pacer::new(concurrency),
        }
    }

    /// Makes a call once it is its turn.
    pub(crate) async fn call<T>(
        &self,
        call: impl Future<Output = Result<T, PortError>>,
    ) -> Result<T, PortError> {
        let turn = self.pacer.turn().await;
        let answer = call.await;
        drop(turn);
        if answer.is_ok() {
            self.pacer.succeeded();
            self.health.report(self.component, Ok(()));
        }
        answer
    }

    /// Says what is wrong, and waits until the call may be made again.
    pub(crate) async fn wait_after(&self, error: &PortError, backoff: &mut Backoff) {
        if error.class == ErrorClass::Throttled {
            self.pacer.throttled();
        } else {
            self.health.report(self.component, Err(error.to_string()));
        }
        tokio::time::sleep(backoff.wait_after(error)).await;
    }
}
