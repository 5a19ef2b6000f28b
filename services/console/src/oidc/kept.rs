//! A value of somebody else's that is fetched and kept: by one fetch for all who ask at the same time, and not too often.
//!
//! A fetch runs to its end whoever goes away meanwhile. While a new one is fetched, or cannot be, the old one is used.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use delayq_core::clock::{Clock, EpochMs};
use futures::FutureExt as _;
use futures::future::{BoxFuture, Shared};

/// Age at which a new one is fetched.
const FRESH_MS: u64 = 3_600_000;
/// Age up to which an old one is used while no new one can be fetched.
const USABLE_MS: u64 = 24 * 3_600_000;
/// Time between two fetches while there is none.
const RETRY_MS: u64 = 5_000;
/// Time between two fetches because the one that is there lacks something.
const NEWER_MS: u64 = 60_000;

/// Counter: fetches for single sign-on. Labels: what, outcome.
pub(crate) const FETCHES: &str = "delayq_console_sign_on_fetches_total";

type Flight<T> = Shared<BoxFuture<'static, Result<Arc<T>, Arc<str>>>>;

struct State<T> {
    value: Option<(Arc<T>, EpochMs)>,
    /// When the last fetch began.
    tried_ms: Option<EpochMs>,
    /// Why the last fetch brought nothing, if so.
    failed: Option<Arc<str>>,
    running: Option<Flight<T>>,
}

/// The value, or none yet.
pub(super) struct Kept<T> {
    /// For the log.
    what: &'static str,
    clock: Arc<dyn Clock>,
    state: Arc<Mutex<State<T>>>,
}

impl<T> Clone for Kept<T> {
    fn clone(&self) -> Self {
        Self {
            what: self.what,
            clock: self.clock.clone(),
            state: self.state.clone(),
        }
    }
}

impl<T> fmt::Debug for Kept<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Kept")
            .field("what", &self.what)
            .finish_non_exhaustive()
    }
}

/// What to do for one who asks.
enum Step<T> {
    Take(Arc<T>),
    Wait(Flight<T>),
    Fail(Arc<str>),
}

impl<T: Send + Sync + 'static> Kept<T> {
    pub(super) fn new(what: &'static str, clock: Arc<dyn Clock>) -> Self {
        let state = State {
            value: None,
            tried_ms: None,
            failed: None,
            running: None,
        };
        Self {
            what,
            clock,
            state: Arc::new(Mutex::new(state)),
        }
    }

    fn state(&self) -> MutexGuard<'_, State<T>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The value that is there, if any; fetches nothing.
    pub(super) fn known(&self) -> Option<Arc<T>> {
        self.state().value.as_ref().map(|(value, _)| value.clone())
    }

    /// The value. `newer`: the one that is there lacks something, so that another is fetched if that has not been done of late.
    ///
    /// # Errors
    /// There is none, or the last fetch of a newer one failed: why.
    pub(super) async fn get<F>(
        &self,
        newer: bool,
        fetch: impl FnOnce() -> F + Send,
    ) -> Result<Arc<T>, Arc<str>>
    where
        F: Future<Output = Result<T, String>> + Send + 'static,
    {
        let step = self.step(newer, fetch);
        match step {
            Step::Take(value) => Ok(value),
            Step::Wait(flight) => flight.await,
            Step::Fail(why) => Err(why),
        }
    }

    fn step<F>(&self, newer: bool, fetch: impl FnOnce() -> F) -> Step<T>
    where
        F: Future<Output = Result<T, String>> + Send + 'static,
    {
        let now_ms = self.clock.now_ms();
        // A clock that was set back does not keep it from being fetched.
        let passed = |since: EpochMs, wait_ms: u64| now_ms.abs_diff(since) >= wait_ms;
        let mut state = self.state();
        // One that panicked has not noted its end.
        if state
            .running
            .as_ref()
            .is_some_and(|flight| flight.peek().is_some())
        {
            state.running = None;
        }
        let tried = |wait_ms| {
            state
                .tried_ms
                .is_none_or(|tried_ms| passed(tried_ms, wait_ms))
        };
        let usable = state
            .value
            .clone()
            .filter(|(_, at_ms)| !passed(*at_ms, USABLE_MS));
        let due = match &usable {
            None => tried(RETRY_MS),
            Some(_) if newer => tried(NEWER_MS),
            Some((_, at_ms)) => passed(*at_ms, FRESH_MS) && tried(NEWER_MS),
        };
        if due && state.running.is_none() {
            state.tried_ms = Some(now_ms);
            state.running = Some(self.start(fetch()));
        }
        match (usable, &state.running) {
            (Some((value, _)), _) if !newer => Step::Take(value),
            (_, Some(flight)) => Step::Wait(flight.clone()),
            (usable, None) => match (&state.failed, usable) {
                (Some(why), _) => Step::Fail(why.clone()),
                (None, Some((value, _))) => Step::Take(value),
                (None, None) => Step::Fail("it has not been fetched".into()),
            },
        }
    }

    /// Begins a fetch, which notes its outcome itself.
    fn start(&self, fetch: impl Future<Output = Result<T, String>> + Send + 'static) -> Flight<T> {
        let kept = self.clone();
        let running = tokio::spawn(async move {
            let outcome = fetch.await.map(Arc::new).map_err(Arc::<str>::from);
            kept.note(&outcome);
            outcome
        });
        let what = self.what;
        let done = running.map(move |done| {
            done.unwrap_or_else(|_| Err(format!("the fetch of {what} was broken off").into()))
        });
        done.boxed().shared()
    }

    fn note(&self, outcome: &Result<Arc<T>, Arc<str>>) {
        let word = if outcome.is_ok() { "fetched" } else { "failed" };
        metrics::counter!(FETCHES, "what" => self.what, "outcome" => word).increment(1);
        let now_ms = self.clock.now_ms();
        let mut state = self.state();
        state.running = None;
        match outcome {
            Ok(value) => {
                tracing::info!(what = self.what, "fetched for single sign-on");
                state.failed = None;
                state.value = Some((value.clone(), now_ms));
            }
            Err(why) => {
                tracing::warn!(what = self.what, %why, "cannot be fetched for single sign-on");
                state.failed = Some(why.clone());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};

    use delayq_core::clock::ManualClock;
    use tokio::sync::Notify;

    use super::*;

    struct Bench {
        clock: Arc<ManualClock>,
        kept: Kept<u64>,
        fetches: Arc<AtomicU64>,
    }

    impl Bench {
        fn new() -> Self {
            let clock = Arc::new(ManualClock::at(1_000_000));
            Self {
                kept: Kept::new("numbers", clock.clone()),
                clock,
                fetches: Arc::default(),
            }
        }

        /// Fetches the number of the fetch.
        async fn get(&self, newer: bool, works: bool) -> Result<u64, String> {
            let fetches = self.fetches.clone();
            let fetch = || async move {
                let number = fetches.fetch_add(1, Ordering::SeqCst) + 1;
                works.then_some(number).ok_or_else(|| "away".to_owned())
            };
            let got = self.kept.get(newer, fetch).await;
            got.map(|value| *value).map_err(|why| why.to_string())
        }

        fn fetches(&self) -> u64 {
            self.fetches.load(Ordering::SeqCst)
        }
    }

    #[tokio::test]
    async fn a_value_is_fetched_once_and_newer_ones_once_a_minute() {
        let bench = Bench::new();
        assert_eq!(bench.get(false, true).await, Ok(1));
        for _ in 0..100 {
            assert_eq!(bench.get(false, true).await, Ok(1));
            assert_eq!(bench.get(true, true).await, Ok(1), "just fetched");
        }
        bench.clock.advance(59_999);
        assert_eq!(bench.get(true, true).await, Ok(1));
        bench.clock.advance(1);
        assert_eq!(bench.get(true, true).await, Ok(2));
        assert_eq!(bench.get(true, true).await, Ok(2));
        bench.clock.advance(-1_000_000);
        assert_eq!(bench.get(true, true).await, Ok(3), "the clock was set back");
    }

    #[tokio::test]
    async fn a_failure_is_tried_again_after_seconds_and_an_old_value_used_meanwhile() {
        let bench = Bench::new();
        for _ in 0..100 {
            assert_eq!(bench.get(false, false).await, Err("away".to_owned()));
        }
        assert_eq!(bench.fetches(), 1);
        bench.clock.advance(5_000);
        assert_eq!(bench.get(false, true).await, Ok(2));
        bench.clock.advance(60_000);
        assert_eq!(bench.get(true, false).await, Err("away".to_owned()));
        assert_eq!(
            bench.get(true, true).await,
            Err("away".to_owned()),
            "too early"
        );
        assert_eq!(
            bench.get(false, true).await,
            Ok(2),
            "of the known nothing is lost"
        );
        bench.clock.advance(3_600_000);
        assert_eq!(
            bench.get(false, false).await,
            Ok(2),
            "while another is fetched"
        );
        while bench.fetches() < 4 {
            tokio::task::yield_now().await;
        }
        bench.clock.advance(24 * 3_600_000);
        assert_eq!(
            bench.get(false, false).await,
            Err("away".to_owned()),
            "too old"
        );
    }

    #[tokio::test]
    async fn those_who_ask_at_once_wait_for_one_fetch_that_nobody_can_break_off() {
        let bench = Bench::new();
        let (go, fetches) = (Arc::new(Notify::new()), bench.fetches.clone());
        let ask = || {
            let (kept, go, fetches) = (bench.kept.clone(), go.clone(), fetches.clone());
            tokio::spawn(async move {
                let fetch = || async move {
                    fetches.fetch_add(1, Ordering::SeqCst);
                    go.notified().await;
                    Ok(7)
                };
                kept.get(false, fetch).await.map(|value| *value)
            })
        };
        let first = ask();
        while bench.fetches() == 0 {
            tokio::task::yield_now().await;
        }
        let others: Vec<_> = (0..20).map(|_| ask()).collect();
        tokio::task::yield_now().await;
        first.abort();
        go.notify_one();
        for other in others {
            assert_eq!(other.await.unwrap(), Ok(7));
        }
        assert_eq!(bench.fetches(), 1);
    }
}
