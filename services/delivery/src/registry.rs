//! Carries out what [`delayq_core::tracked`] decides about a row: conditional writes, each decided anew on what the store holds
//! when another was first, tried until the store answers.

use std::sync::Arc;
use std::time::Duration;

use delayq_core::clock::Clock;
use delayq_core::error::{Backoff, PortError};
use delayq_core::ports::{HealthReport, MessageRegistry, Written};
use delayq_core::record::Scheduled;
use delayq_core::tracked::{
    self, CancelAnswer, Claimed, Dropped, MessageKey, MessageRow, Next, State, Version,
};

use crate::guard::Guard;

/// Counter: changes to tracked records. Labels: change (`register`, `cancel`, `claim`, `finish`), answer.
pub const CHANGES: &str = "delayq_tracked_changes_total";
/// Counter: conditional writes that found another row than they expected, and were decided anew.
pub const RACES: &str = "delayq_tracked_races_total";

const COMPONENT: &str = "registry of tracked records";

/// Settings.
#[derive(Debug, Clone)]
pub struct RegistrySettings {
    /// Who claims: unique to the process.
    pub claimant: Arc<str>,
    /// How long before its due time a record is claimed, in ms.
    pub claim_lead_ms: i64,
    /// How long a claim holds, in ms. A claimant that is still not done claims again.
    pub lease_ms: i64,
    /// First wait before another try.
    pub retry_first: Duration,
    /// Longest wait before another try.
    pub retry_max: Duration,
    /// Calls at once.
    pub concurrency: usize,
}

/// The registry of tracked records, until it answers.
pub struct Registry {
    store: Arc<dyn MessageRegistry>,
    clock: Arc<dyn Clock>,
    settings: RegistrySettings,
    guard: Guard,
}

/// An answer, and the row that it was given on.
#[derive(Debug)]
pub struct Answered<A> {
    /// The answer.
    pub answer: A,
    /// The row as it is now.
    pub row: Option<MessageRow>,
    /// The row that it took the place of, where one was written over another.
    pub before: Option<MessageRow>,
}

impl Registry {
    /// Over `store`.
    #[must_use]
    pub fn new(
        store: Arc<dyn MessageRegistry>,
        clock: Arc<dyn Clock>,
        health: Arc<dyn HealthReport>,
        settings: RegistrySettings,
    ) -> Self {
        Self {
            store,
            clock,
            guard: Guard::new(COMPONENT, health, settings.concurrency),
            settings,
        }
    }

    /// Its settings.
    #[must_use]
    pub const fn settings(&self) -> &RegistrySettings {
        &self.settings
    }

    /// Registers a record (see [`tracked::register`]); `None` once it is no longer `alive`.
    pub async fn register(
        &self,
        key: &MessageKey,
        record: &Scheduled,
        replaces: Option<(i32, i64)>,
        alive: impl Fn() -> bool,
    ) -> Option<Answered<Result<(), Dropped>>> {
        let decide =
            |row: Option<&MessageRow>| tracked::register(row, key.clone(), record, replaces);
        // Most ids are new.
        let answered = self.change(key, None, decide, alive).await?;
        let label = answered.answer.map_or_else(Dropped::as_str, |()| "go-on");
        count("register", label);
        Some(answered)
    }

    /// Carries out a cancel that came as a record; `None` once that is no longer `alive`.
    pub async fn cancel_by_record(
        &self,
        key: &MessageKey,
        version: Version,
        alive: impl Fn() -> bool,
    ) -> Option<Answered<CancelAnswer>> {
        let now_ms = self.clock.now_ms();
        let decide =
            |row: Option<&MessageRow>| tracked::cancel_by_record(row, key.clone(), version, now_ms);
        let answered = self.change(key, None, decide, alive).await?;
        count("cancel", answered.answer.as_str());
        Some(answered)
    }

    /// Claims a record for this process; `None` once it is no longer `alive`. `known`: the row as it was last seen.
    pub async fn claim(
        &self,
        key: &MessageKey,
        version: &Version,
        known: &MessageRow,
        alive: impl Fn() -> bool,
    ) -> Option<Answered<Claimed>> {
        let RegistrySettings {
            claimant, lease_ms, ..
        } = &self.settings;
        let decide = |row: Option<&MessageRow>| {
            tracked::claim(row, version, claimant, *lease_ms, self.clock.now_ms())
        };
        let answered = self.change(key, Some(known), decide, alive).await?;
        let label = match answered.answer {
            Claimed::Mine => "mine",
            Claimed::Busy { .. } => "busy",
            Claimed::Dropped(dropped) => dropped.as_str(),
            Claimed::Missing => "missing",
        };
        count("claim", label);
        Some(answered)
    }

    /// Notes how a record ended; tried until the store has it, or the record is no longer `alive`: `false`.
    pub async fn finish(
        &self,
        key: &MessageKey,
        version: &Version,
        known: &MessageRow,
        state: &State,
        alive: impl Fn() -> bool,
    ) -> bool {
        let decide =
            |row: Option<&MessageRow>| tracked::finish(row, version, state, self.clock.now_ms());
        let answered = self.change(key, Some(known), decide, alive).await;
        if answered.is_some() {
            count("finish", state.as_str());
        }
        answered.is_some()
    }

    /// `guess`: what the row is expected to be, so that it need not be read.
    async fn change<A>(
        &self,
        key: &MessageKey,
        guess: Option<&MessageRow>,
        decide: impl Fn(Option<&MessageRow>) -> Next<A>,
        alive: impl Fn() -> bool,
    ) -> Option<Answered<A>> {
        let mut backoff = Backoff::new(self.settings.retry_first, self.settings.retry_max);
        let mut change = Change {
            key,
            row: guess.cloned(),
            seen: false,
        };
        while alive() {
            let step = change.step(self.store.as_ref(), &decide);
            match self.guard.call(step).await {
                Ok(Some(answered)) => return Some(answered),
                Ok(None) => {}
                Err(error) => self.guard.wait_after(&error, &mut backoff).await,
            }
        }
        None
    }
}

/// One change from outside, such as a person's cancel: read, decided, written on condition, again if another was first. Answers
/// with the row as it is then.
///
/// # Errors
/// The store's, at once; whether anything was written is unknown then, and asking again tells.
pub async fn change<A>(
    store: &dyn MessageRegistry,
    key: &MessageKey,
    decide: impl Fn(Option<&MessageRow>) -> Next<A>,
) -> Result<Answered<A>, PortError> {
    let mut change = Change {
        key,
        row: store.read(key).await?,
        seen: true,
    };
    loop {
        if let Some(answered) = change.step(store, &decide).await? {
            return Ok(answered);
        }
    }
}

/// A change under way.
struct Change<'k> {
    key: &'k MessageKey,
    /// The row as far as is known.
    row: Option<MessageRow>,
    /// It was read, and is no guess.
    seen: bool,
}

impl Change<'_> {
    /// One call at most; the answer once there is one.
    async fn step<A>(
        &mut self,
        store: &dyn MessageRegistry,
        decide: &impl Fn(Option<&MessageRow>) -> Next<A>,
    ) -> Result<Option<Answered<A>>, PortError> {
        match decide(self.row.as_ref()) {
            Next::Write(row, answer) => {
                let expected = self.row.as_ref().map(MessageRow::stamp);
                match store.write((*row).clone(), expected).await? {
                    Written::Done => {
                        return Ok(Some(Answered {
                            answer,
                            row: Some(*row),
                            before: self.row.take(),
                        }));
                    }
                    Written::Differs(found) => {
                        metrics::counter!(RACES).increment(1);
                        self.row = found.map(|row| *row);
                    }
                }
            }
            Next::Keep(answer) if self.seen => {
                return Ok(Some(Answered {
                    answer,
                    row: self.row.take(),
                    before: None,
                }));
            }
            // Not on a guess.
            Next::Keep(_) => self.row = store.read(self.key).await?,
        }
        self.seen = true;
        Ok(None)
    }
}

fn count(change: &'static str, answer: &'static str) {
    metrics::counter!(CHANGES, "change" => change, "answer" => answer).increment(1);
}
