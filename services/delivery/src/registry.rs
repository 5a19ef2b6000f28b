//! Carries out what [`delayq_core::tracked`] decides about a row: conditional writes, each decided anew on what the store holds
//! when another was first, tried until the store answers.

use std::sync::Arc;
use std::time::Duration;

use delayq_core::clock::Clock;
use delayq_core::error::{Backoff, ErrorClass, PortError};
use delayq_core::ports::{HealthReport, MessageRegistry, Written};
use delayq_core::record::Scheduled;
use delayq_core::tracked::{
    self, CancelAnswer, Claimed, Dropped, MessageKey, MessageRow, Next, State, Version,
};

use crate::pacer::Pacer;

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
    health: Arc<dyn HealthReport>,
    settings: RegistrySettings,
    pacer: Pacer,
}

/// An answer, and the row that it was given on.
#[derive(Debug)]
pub struct Answered<A> {
    /// The answer.
    pub answer: A,
    /// The row as it is now.
    pub row: Option<MessageRow>,
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
            health,
            pacer: Pacer::new(settings.concurrency),
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
    ) -> Option<Result<(), Dropped>> {
        let decide =
            |row: Option<&MessageRow>| tracked::register(row, key.clone(), record, replaces);
        // Most ids are new.
        let answered = self.change(key, None, decide, alive).await?;
        let label = answered.answer.map_or_else(Dropped::as_str, |()| "go-on");
        count("register", label);
        Some(answered.answer)
    }

    /// Carries out a cancel that came as a record; `None` once that is no longer `alive`.
    pub async fn cancel_by_record(
        &self,
        key: &MessageKey,
        version: Version,
        alive: impl Fn() -> bool,
    ) -> Option<CancelAnswer> {
        let now_ms = self.clock.now_ms();
        let decide =
            |row: Option<&MessageRow>| tracked::cancel_by_record(row, key.clone(), version, now_ms);
        let answered = self.change(key, None, decide, alive).await?;
        count("cancel", answered.answer.as_str());
        Some(answered.answer)
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
        let mut current = guess.cloned();
        let mut seen = false;
        while alive() {
            let answer = match decide(current.as_ref()) {
                Next::Write(row, answer) => {
                    let written = self.write(&row, current.as_ref()).await;
                    match written {
                        Ok(Written::Done) => {
                            return Some(Answered {
                                answer,
                                row: Some(*row),
                            });
                        }
                        Ok(Written::Differs(found)) => {
                            metrics::counter!(RACES).increment(1);
                            Ok(found.map(|row| *row))
                        }
                        Err(error) => Err(error),
                    }
                }
                Next::Keep(answer) if seen => {
                    return Some(Answered {
                        answer,
                        row: current,
                    });
                }
                // Not on a guess.
                Next::Keep(_) => self.read(key).await,
            };
            match answer {
                Ok(found) => {
                    current = found;
                    seen = true;
                }
                Err(error) => self.failed(&error, &mut backoff).await,
            }
        }
        None
    }

    async fn write(
        &self,
        row: &MessageRow,
        current: Option<&MessageRow>,
    ) -> Result<Written, PortError> {
        let turn = self.pacer.turn().await;
        let expected = current.map(MessageRow::stamp);
        let written = self.store.write(row.clone(), expected).await;
        drop(turn);
        if written.is_ok() {
            self.succeeded();
        }
        written
    }

    async fn read(&self, key: &MessageKey) -> Result<Option<MessageRow>, PortError> {
        let turn = self.pacer.turn().await;
        let found = self.store.read(key).await;
        drop(turn);
        if found.is_ok() {
            self.succeeded();
        }
        found
    }

    fn succeeded(&self) {
        self.pacer.succeeded();
        self.health.report(COMPONENT, Ok(()));
    }

    async fn failed(&self, error: &PortError, backoff: &mut Backoff) {
        if error.class == ErrorClass::Throttled {
            self.pacer.throttled();
        } else {
            self.health.report(COMPONENT, Err(error.to_string()));
        }
        tokio::time::sleep(backoff.wait_after(error)).await;
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
    let mut current = store.read(key).await?;
    loop {
        match decide(current.as_ref()) {
            Next::Keep(answer) => {
                return Ok(Answered {
                    answer,
                    row: current,
                });
            }
            Next::Write(row, answer) => {
                let expected = current.as_ref().map(MessageRow::stamp);
                match store.write((*row).clone(), expected).await? {
                    Written::Done => {
                        return Ok(Answered {
                            answer,
                            row: Some(*row),
                        });
                    }
                    Written::Differs(found) => current = found.map(|row| *row),
                }
            }
        }
    }
}

fn count(change: &'static str, answer: &'static str) {
    metrics::counter!(CHANGES, "change" => change, "answer" => answer).increment(1);
}
