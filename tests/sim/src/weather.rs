//! What becomes of a call to the outside: outages that are planned, and faults by chance.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use delayq_core::error::{ErrorClass, PortError};

/// What calls go to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Target {
    /// The broker.
    Kafka,
    /// The queues of all priorities.
    Queue,
    /// The tick queue.
    Ticks,
    /// The table of batches.
    Store,
    /// The state rows.
    Shards,
    /// The payload table.
    Payloads,
    /// The registry of tracked records.
    Registry,
}

impl Target {
    /// All of them.
    pub const ALL: [Self; 7] = [
        Self::Kafka,
        Self::Queue,
        Self::Ticks,
        Self::Store,
        Self::Shards,
        Self::Payloads,
        Self::Registry,
    ];
}

/// Chances of a call, in 1 of 1,000, and its time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rates {
    /// Fails without effect.
    pub transient: u32,
    /// Is throttled, without effect.
    pub throttled: u32,
    /// Takes effect and is not answered.
    pub unanswered: u32,
    /// One entry of a batch call fails; of ten.
    pub entry: u32,
    /// A message is delivered twice by the queue.
    pub twice: u32,
    /// The process dies at the call, before or after it takes effect; in 1 of 100,000.
    pub crash: u32,
    /// Longest time of an ordinary call, each way.
    pub latency_ms: u64,
    /// A call that takes seconds.
    pub slow: u32,
}

impl Rates {
    /// Nothing fails; calls take up to 2 ms each way.
    pub const CALM: Self = Self {
        transient: 0,
        throttled: 0,
        unanswered: 0,
        entry: 0,
        twice: 0,
        crash: 0,
        latency_ms: 2,
        slow: 0,
    };
}

/// How long a call that is not answered takes.
pub const TIME_OUT: Duration = Duration::from_secs(5);
/// Longest time of a slow call.
const SLOW_MS: u64 = 8_000;

/// What becomes of a call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fate {
    /// It takes effect and is answered.
    Answered,
    /// It does not take effect, and the answer says so.
    Failed(PortError),
    /// It takes effect; the caller hears only that its time is over.
    Unanswered(PortError),
    /// The caller dies before it takes effect.
    CrashBefore,
    /// It takes effect, and the caller dies before it hears of it.
    CrashAfter,
}

struct State {
    rng: fastrand::Rng,
    rates: Rates,
    /// How many causes keep each target away.
    away: BTreeMap<Target, u32>,
}

/// The weather of one world.
pub struct Weather(Mutex<State>);

impl Weather {
    /// Calm.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self(Mutex::new(State {
            rng: fastrand::Rng::with_seed(seed),
            rates: Rates::CALM,
            away: BTreeMap::new(),
        }))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sets the chances.
    pub fn set_rates(&self, rates: Rates) {
        self.state().rates = rates;
    }

    /// An outage begins, or ends.
    pub fn set_away(&self, target: Target, away: bool) {
        let mut state = self.state();
        let count = state.away.entry(target).or_default();
        *count = if away {
            *count + 1
        } else {
            count.saturating_sub(1)
        };
    }

    /// Whether nothing is away and nothing fails by chance.
    #[must_use]
    pub fn is_calm(&self) -> bool {
        let state = self.state();
        state.rates == Rates::CALM && state.away.values().all(|count| *count == 0)
    }

    /// Whether it is away.
    #[must_use]
    pub fn is_away(&self, target: Target) -> bool {
        self.state()
            .away
            .get(&target)
            .is_some_and(|count| *count > 0)
    }

    /// A number below `end`.
    #[must_use]
    pub fn below(&self, end: u64) -> u64 {
        self.state().rng.u64(0..end.max(1))
    }

    /// How long a call travels, one way.
    #[must_use]
    pub fn latency(&self) -> Duration {
        let mut state = self.state();
        let (ordinary, slow) = (state.rates.latency_ms, state.rates.slow);
        let longest = if state.rng.u32(0..1000) < slow {
            SLOW_MS
        } else {
            ordinary
        };
        Duration::from_millis(state.rng.u64(0..=longest))
    }

    /// What becomes of a call as a whole.
    #[must_use]
    pub fn fate(&self, target: Target, operation: &'static str) -> Fate {
        let mut state = self.state();
        let rates = state.rates;
        if state.rng.u32(0..100_000) < rates.crash {
            return if state.rng.bool() {
                Fate::CrashBefore
            } else {
                Fate::CrashAfter
            };
        }
        if state.away.get(&target).is_some_and(|count| *count > 0) {
            let detail = "connection refused";
            return Fate::Failed(PortError::new(ErrorClass::Transient, operation, detail));
        }
        let dice = state.rng.u32(0..1000);
        if dice < rates.transient {
            Fate::Failed(PortError::new(ErrorClass::Transient, operation, "HTTP 503"))
        } else if dice < rates.transient + rates.throttled {
            Fate::Failed(PortError::new(
                ErrorClass::Throttled,
                operation,
                "slow down",
            ))
        } else if dice < rates.transient + rates.throttled + rates.unanswered {
            let detail = "no answer in time";
            Fate::Unanswered(PortError::new(ErrorClass::Transient, operation, detail))
        } else {
            Fate::Answered
        }
    }

    /// What becomes of one entry of a batch call that is answered.
    #[must_use]
    pub fn entry_fails(&self, operation: &'static str) -> Option<PortError> {
        let mut state = self.state();
        if state.rng.u32(0..1000) >= state.rates.entry {
            return None;
        }
        let (class, detail) = if state.rng.bool() {
            (ErrorClass::Throttled, "UnprocessedItems")
        } else {
            (ErrorClass::Transient, "InternalError of an entry")
        };
        Some(PortError::new(class, operation, detail))
    }

    /// Whether the queue makes a copy of a message.
    #[must_use]
    pub fn delivers_twice(&self) -> bool {
        let mut state = self.state();
        state.rng.u32(0..1000) < state.rates.twice
    }
}
