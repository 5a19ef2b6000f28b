//! A simulated process: one role, one clock, and the only way from it to the outside.

use std::fmt;
use std::future::{pending, poll_fn};
use std::pin::pin;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Poll;
use std::time::Duration;

use delayq_core::clock::{Clock, EpochMs};
use delayq_core::error::PortError;
use delayq_core::ports::HealthReport;
use delayq_core::record::Source;
use delayq_embedded::RuntimeClock;
use tokio::sync::Notify;
use tokio::time::{Instant, sleep, sleep_until};

use crate::ledger::{Cause, Hands, Ledger};
use crate::weather::{Fate, TIME_OUT, Target, Weather};

/// A process.
pub struct Node {
    /// Role, number, and how often it was started.
    pub name: String,
    /// The weather.
    pub weather: Arc<Weather>,
    /// The evidence.
    pub ledger: Arc<Ledger>,
    clock: RuntimeClock,
    skew_ms: AtomicI64,
    dead: AtomicBool,
    died: Notify,
    frozen_until: Mutex<Option<Instant>>,
    hands: Mutex<Hands>,
    /// Polls of its main task until it dies; 0: it does not.
    polls_left: AtomicU64,
}

impl Clock for Node {
    fn now_ms(&self) -> EpochMs {
        self.clock.now_ms() + self.skew_ms()
    }
}

/// Nobody looks at the health of a simulated process.
impl HealthReport for Node {
    fn report(&self, _component: &str, _state: Result<(), String>) {}
    fn beat(&self, _task: &'static str, _limit: Duration) {}
    fn forget(&self, _component: &str) {}
}

impl Node {
    /// A process whose clock is `skew_ms` ahead, and that dies at the `polls`th poll of its main task unless that is 0.
    #[must_use]
    pub fn new(
        name: String,
        clock: RuntimeClock,
        skew_ms: i64,
        polls: u64,
        weather: Arc<Weather>,
        ledger: Arc<Ledger>,
    ) -> Arc<Self> {
        Arc::new(Self {
            name,
            weather,
            ledger,
            clock,
            skew_ms: AtomicI64::new(skew_ms),
            dead: AtomicBool::new(false),
            died: Notify::new(),
            frozen_until: Mutex::default(),
            hands: Mutex::default(),
            polls_left: AtomicU64::new(polls),
        })
    }

    /// How far its clock is ahead.
    #[must_use]
    pub fn skew_ms(&self) -> i64 {
        self.skew_ms.load(Ordering::Relaxed)
    }

    /// Sets its clock.
    pub fn set_skew_ms(&self, skew_ms: i64) {
        self.skew_ms.store(skew_ms, Ordering::Relaxed);
    }

    /// What it has in hand.
    pub fn hands(&self) -> MutexGuard<'_, Hands> {
        self.hands.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes what it does.
    pub fn note(&self, what: fmt::Arguments<'_>) {
        self.ledger.note(&self.name, what);
    }

    /// Whether it has died.
    #[must_use]
    pub fn is_dead(&self) -> bool {
        self.dead.load(Ordering::Relaxed)
    }

    /// It dies here and now: what it has in hand may come twice, and nothing that it does reaches the outside any more.
    pub fn die(&self, how: &'static str) {
        if self.dead.swap(true, Ordering::Relaxed) {
            return;
        }
        self.note(format_args!("dies: {how}"));
        self.ledger.fault(how);
        let in_hand = self.hands().all();
        self.ledger.blame(Cause::Crash, in_hand);
        self.died.notify_waiters();
    }

    /// Returns once it is dead.
    pub async fn death(&self) {
        loop {
            let mut died = pin!(self.died.notified());
            died.as_mut().enable();
            if self.is_dead() {
                return;
            }
            died.await;
        }
    }

    /// Nothing of it reaches the outside for this long, as under SIGSTOP.
    pub fn freeze(&self, for_: Duration) {
        self.note(format_args!("is stopped for {for_:?}"));
        self.ledger.fault("stop");
        *self.frozen() = Some(Instant::now() + for_);
        let in_hand = self.hands().all();
        self.ledger.blame(Cause::LeaseLapsed, in_hand);
        self.hands().stopped();
    }

    fn frozen(&self) -> MutexGuard<'_, Option<Instant>> {
        self.frozen_until
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether it is stopped.
    #[must_use]
    pub fn is_frozen(&self) -> bool {
        self.frozen().is_some_and(|until| until > Instant::now())
    }

    /// Waits until it is not stopped; for ever when it is dead.
    pub async fn awake(&self) {
        loop {
            if self.is_dead() {
                return pending().await;
            }
            let until = *self.frozen();
            match until {
                Some(until) if until > Instant::now() => sleep_until(until).await,
                _ => return,
            }
        }
    }

    /// Runs its main task until it ends or the process dies.
    pub async fn run(self: &Arc<Self>, main: impl Future<Output = ()>) {
        let mut main = pin!(main);
        let mut death = pin!(self.death());
        poll_fn(|context| {
            if self.polls_left.load(Ordering::Relaxed) > 0
                && self.polls_left.fetch_sub(1, Ordering::Relaxed) == 1
            {
                self.die("crash at an await");
            }
            if death.as_mut().poll(context).is_ready() {
                return Poll::Ready(());
            }
            main.as_mut().poll(context)
        })
        .await;
    }

    /// A call to the outside, as the weather has it. `effect` is what it does there, if it takes effect; `touched` are the
    /// records that may be doubled if it is not answered.
    pub async fn call<T>(
        &self,
        target: Target,
        operation: &'static str,
        touched: impl FnOnce() -> Vec<Source>,
        effect: impl Future<Output = T>,
        failed: impl FnOnce(PortError) -> T,
    ) -> T {
        self.awake().await;
        sleep(self.weather.latency()).await;
        self.awake().await;
        let answer = match self.weather.fate(target, operation) {
            Fate::Answered => effect.await,
            Fate::Failed(error) => {
                self.note(format_args!("{operation} fails: {error}"));
                self.ledger.fault("failed call");
                failed(error)
            }
            Fate::Unanswered(error) => {
                self.note(format_args!("{operation} is not answered"));
                self.ledger.fault("unanswered call");
                self.ledger.blame(Cause::Unanswered, touched());
                drop(effect.await);
                sleep(TIME_OUT).await;
                failed(error)
            }
            Fate::CrashBefore => {
                self.die("crash before a call");
                return pending().await;
            }
            Fate::CrashAfter => {
                drop(effect.await);
                // What the call brought into hand was in hand when the process died.
                self.die("crash after a call");
                return pending().await;
            }
        };
        sleep(self.weather.latency()).await;
        self.awake().await;
        answer
    }
}
