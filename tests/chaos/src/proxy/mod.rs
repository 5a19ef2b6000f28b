//! Proxies of our own between delayq and the stack: they pass everything on until they are told to misbehave.

pub(crate) mod answers;
pub(crate) mod http;
pub(crate) mod tcp;

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::watch;

use crate::plan::{Line, NetFault};
use crate::random::Random;

/// Of 100 requests, how many a fault hits; a service that fails all calls is another's fault's (kill, stop).
const HIT_PERCENT: u64 = 40;

/// What the proxies of one service do now; shared by all of them.
#[derive(Debug)]
pub(crate) struct Switch {
    line: Line,
    fault: watch::Sender<Option<NetFault>>,
    random: Mutex<Random>,
    hits: Mutex<BTreeMap<String, u64>>,
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Switch {
    pub(crate) fn new(line: Line, seed: u64) -> Self {
        Self {
            line,
            fault: watch::Sender::new(None),
            random: Mutex::new(Random::new(seed ^ 0x9a0c)),
            hits: Mutex::default(),
        }
    }

    /// From now on; `None`: pass everything on.
    pub(crate) fn set(&self, fault: Option<NetFault>) {
        self.fault.send_replace(fault);
    }

    fn now(&self) -> Option<NetFault> {
        *self.fault.borrow()
    }

    /// What to do to the request at hand.
    fn draw(&self) -> Option<NetFault> {
        let fault = self.now()?;
        if matches!(fault, NetFault::Slow { .. }) {
            self.hit(fault);
            return Some(fault);
        }
        locked(&self.random)
            .chance(HIT_PERCENT)
            .then_some(fault)
            .inspect(|_| self.hit(fault))
    }

    fn hit(&self, fault: NetFault) {
        let name = format!("{} {}", self.line.name(), fault.name());
        *locked(&self.hits).entry(name).or_default() += 1;
    }

    fn chance(&self, percent: u64) -> bool {
        locked(&self.random).chance(percent)
    }

    fn up_to(&self, high: u64) -> u64 {
        locked(&self.random).between(0, high)
    }

    /// Returns when another fault, or none, is set than `fault`.
    async fn changed_from(&self, fault: NetFault) {
        let mut seen = self.fault.subscribe();
        // The sender lives in `self`: an error cannot be.
        if let Err(error) = seen.wait_for(|now| *now != Some(fault)).await {
            tracing::error!(%error, "a proxy's switch");
        }
    }

    /// Requests hit, by line and fault.
    pub(crate) fn hits(&self) -> BTreeMap<String, u64> {
        locked(&self.hits).clone()
    }
}
