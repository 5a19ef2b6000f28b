//! Runs the named tasks of a process. All of them run until they are told to stop; one that ends before takes the others
//! with it, in good order, so that an orchestrator starts the process anew instead of leaving it half alive.

use std::any::Any;
use std::collections::HashMap;
use std::error::Error;
use std::future::Future;
use std::time::Duration;

use tokio::task::{AbortHandle, Id, JoinError, JoinSet};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

/// How long helpers may take to end, once the tasks have.
const HELPER_LIMIT: Duration = Duration::from_secs(2);

/// An error of any kind, as a task may return it (`anyhow`'s own turns into it).
pub type TaskError = Box<dyn Error + Send + Sync>;

/// The tasks of a process.
#[derive(Debug)]
pub struct Supervisor {
    stop: CancellationToken,
    helpers_stop: CancellationToken,
    tasks: Group,
    helpers: Group,
}

/// How it ended.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Outcome {
    /// Tasks that ended with an error, by a panic, or without being told to, each with its reason, first come first.
    pub failed: Vec<(String, String)>,
    /// Tasks that had not ended within their limit after the stop.
    pub unfinished: Vec<String>,
}

impl Outcome {
    /// 0 after a clean stop, else 1.
    #[must_use]
    pub const fn exit_code(&self) -> i32 {
        if self.failed.is_empty() && self.unfinished.is_empty() {
            0
        } else {
            1
        }
    }
}

impl Supervisor {
    /// No tasks yet; `stop` stops them all, and is cancelled when one fails.
    #[must_use]
    pub fn new(stop: CancellationToken) -> Self {
        Self {
            stop,
            helpers_stop: CancellationToken::new(),
            tasks: Group::default(),
            helpers: Group::default(),
        }
    }

    /// The token that says: stop intake, drain, end.
    #[must_use]
    pub fn stop_token(&self) -> CancellationToken {
        self.stop.clone()
    }

    /// The token for helpers: cancelled when every task has ended.
    #[must_use]
    pub fn helpers_token(&self) -> CancellationToken {
        self.helpers_stop.clone()
    }

    /// Starts a task, which must run until [`Supervisor::stop_token`] is cancelled and end within `stop_limit` after that.
    pub fn spawn<E>(
        &mut self,
        name: impl Into<String>,
        stop_limit: Duration,
        task: impl Future<Output = Result<(), E>> + Send + 'static,
    ) where
        E: Into<TaskError>,
    {
        self.tasks.spawn(name.into(), stop_limit, task);
    }

    /// Starts a helper (the HTTP server, the metrics' upkeep), which outlives the tasks so that their drain can be seen. It
    /// must run until [`Supervisor::helpers_token`] is cancelled.
    pub fn spawn_helper<E>(
        &mut self,
        name: impl Into<String>,
        helper: impl Future<Output = Result<(), E>> + Send + 'static,
    ) where
        E: Into<TaskError>,
    {
        self.helpers.spawn(name.into(), HELPER_LIMIT, helper);
    }

    /// Waits for the stop or for the first task to fail, then for the drain. At most as long as the longest limit after the
    /// stop. Blocking threads cannot be ended from outside: exit the process with [`Outcome::exit_code`] afterwards, rather
    /// than wait for the runtime.
    pub async fn run(mut self) -> Outcome {
        let mut outcome = Outcome::default();
        if self.tasks.named.is_empty() {
            // Helpers alone serve nobody.
            self.stop.cancel();
        }
        let ended = tokio::select! {
            () = self.stop.cancelled() => None,
            Some(ended) = self.tasks.next() => Some(ended),
            Some(ended) = self.helpers.next() => Some(ended),
        };
        if let Some((name, end)) = ended {
            // The stop may have come in the same turn.
            let asked = self.stop.is_cancelled();
            record(&mut outcome, name, end, asked);
        }
        self.stop.cancel();
        self.tasks.drain(&mut outcome).await;
        self.helpers_stop.cancel();
        self.helpers.drain(&mut outcome).await;
        if outcome.exit_code() == 0 {
            info!("stopped");
        } else {
            error!(failed = ?outcome.failed, unfinished = ?outcome.unfinished, "stopped, not cleanly");
        }
        outcome
    }
}

/// Tasks that are stopped together.
#[derive(Debug, Default)]
struct Group {
    set: JoinSet<Result<(), TaskError>>,
    named: HashMap<Id, Named>,
}

#[derive(Debug)]
struct Named {
    name: String,
    stop_limit: Duration,
    abort: AbortHandle,
}

type End = Result<Result<(), TaskError>, JoinError>;

impl Group {
    fn spawn<E: Into<TaskError>>(
        &mut self,
        name: String,
        stop_limit: Duration,
        task: impl Future<Output = Result<(), E>> + Send + 'static,
    ) {
        let abort = self
            .set
            .spawn(async move { task.await.map_err(Into::into) });
        self.named.insert(
            abort.id(),
            Named {
                name,
                stop_limit,
                abort,
            },
        );
    }

    /// The next task that ends; `None` when there is none left.
    async fn next(&mut self) -> Option<(String, End)> {
        let (id, end) = match self.set.join_next_with_id().await? {
            Ok((id, result)) => (id, Ok(result)),
            Err(error) => (error.id(), Err(error)),
        };
        let name = self
            .named
            .remove(&id)
            .map_or_else(|| "a task without a name".to_owned(), |named| named.name);
        Some((name, end))
    }

    /// Waits for every task, each until its own limit from now.
    async fn drain(&mut self, outcome: &mut Outcome) {
        let stopped = Instant::now();
        while let Some(limit) = self.named.values().map(|named| named.stop_limit).min() {
            match tokio::time::timeout_at(stopped + limit, self.next()).await {
                Ok(Some((name, end))) => record(outcome, name, end, true),
                Ok(None) => return,
                Err(_) => self.give_up(stopped.elapsed(), outcome),
            }
        }
    }

    /// Aborts the tasks whose limit has passed.
    fn give_up(&mut self, waited: Duration, outcome: &mut Outcome) {
        let mut late: Vec<Named> = self
            .named
            .extract_if(|_, named| named.stop_limit <= waited)
            .map(|(_, named)| named)
            .collect();
        late.sort_by(|one, other| one.name.cmp(&other.name));
        for Named {
            name,
            stop_limit,
            abort,
        } in late
        {
            warn!(
                task = name,
                limit_ms = stop_limit.as_millis(),
                "did not end in time; what it held will be delivered again"
            );
            abort.abort();
            outcome.unfinished.push(name);
        }
    }
}

fn record(outcome: &mut Outcome, name: String, end: End, asked: bool) {
    let reason = match end {
        Ok(Ok(())) if asked => {
            info!(task = name, "ended");
            return;
        }
        Ok(Ok(())) => "ended without being told to".to_owned(),
        Ok(Err(error)) => chain(&*error),
        // Given up and aborted: it stands among the unfinished already.
        Err(error) if error.is_cancelled() => return,
        Err(error) => format!("panicked: {}", panic_text(error)),
    };
    error!(task = name, reason, "a task failed; stopping the others");
    outcome.failed.push((name, reason));
}

/// The error with its causes, in one line.
fn chain(error: &(dyn Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let more = error.to_string();
        // Many errors repeat their cause in their own text.
        if !text.ends_with(&more) {
            text = format!("{text}: {more}");
        }
        cause = error.source();
    }
    text
}

fn panic_text(error: JoinError) -> String {
    let panic: Box<dyn Any + Send> = match error.try_into_panic() {
        Ok(panic) => panic,
        Err(error) => return error.to_string(),
    };
    match panic.downcast::<String>() {
        Ok(text) => *text,
        Err(panic) => panic
            .downcast::<&'static str>()
            .map_or_else(|_| "no message".to_owned(), |text| (*text).to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: Duration = Duration::from_secs(10);

    fn names(failed: &[(String, String)]) -> Vec<&str> {
        failed.iter().map(|(name, _)| name.as_str()).collect()
    }

    /// Ends as it should.
    async fn good(stop: CancellationToken) -> Result<(), TaskError> {
        stop.cancelled().await;
        Ok(())
    }

    #[tokio::test]
    async fn a_stop_ends_all_with_code_0() {
        let stop = CancellationToken::new();
        let mut supervisor = Supervisor::new(stop.clone());
        supervisor.spawn("one", LIMIT, good(stop.clone()));
        supervisor.spawn("two", LIMIT, good(stop.clone()));
        let helpers = supervisor.helpers_token();
        supervisor.spawn_helper("http", good(helpers));
        let running = tokio::spawn(supervisor.run());
        tokio::task::yield_now().await;
        assert!(!running.is_finished());
        stop.cancel();
        let outcome = running.await.unwrap();
        assert_eq!(outcome, Outcome::default());
        assert_eq!(outcome.exit_code(), 0);
    }

    #[tokio::test]
    async fn an_error_stops_the_others_in_good_order() {
        let stop = CancellationToken::new();
        let mut supervisor = Supervisor::new(stop.clone());
        let (drained, was_drained) = tokio::sync::oneshot::channel();
        let watched = stop.clone();
        supervisor.spawn("emitter", LIMIT, async move {
            watched.cancelled().await;
            drained.send(()).map_err(|()| "nobody waits")
        });
        supervisor.spawn("router", LIMIT, async {
            Err::<(), _>(std::io::Error::other("fenced"))
        });
        let outcome = supervisor.run().await;
        assert_eq!(outcome.failed, [("router".to_owned(), "fenced".to_owned())]);
        assert_eq!(outcome.exit_code(), 1);
        was_drained.await.unwrap();
    }

    #[tokio::test]
    async fn a_panic_is_named_with_its_message() {
        let stop = CancellationToken::new();
        let mut supervisor = Supervisor::new(stop.clone());
        supervisor.spawn("good", LIMIT, good(stop.clone()));
        supervisor.spawn("bad", LIMIT, async {
            let number = 7;
            if number == 7 {
                panic!("number {number}");
            }
            Ok::<(), TaskError>(())
        });
        let outcome = supervisor.run().await;
        assert_eq!(
            outcome.failed,
            [("bad".to_owned(), "panicked: number 7".to_owned())]
        );
    }

    #[tokio::test]
    async fn to_end_without_being_told_is_a_failure() {
        let stop = CancellationToken::new();
        let mut supervisor = Supervisor::new(stop.clone());
        supervisor.spawn("good", LIMIT, good(stop.clone()));
        supervisor.spawn("short", LIMIT, async { Ok::<(), TaskError>(()) });
        let outcome = supervisor.run().await;
        assert_eq!(names(&outcome.failed), ["short"]);
    }

    #[tokio::test]
    async fn a_helper_that_fails_stops_the_tasks_too() {
        let stop = CancellationToken::new();
        let mut supervisor = Supervisor::new(stop.clone());
        supervisor.spawn("good", LIMIT, good(stop.clone()));
        supervisor.spawn_helper("http", async {
            Err::<(), TaskError>("the socket broke".into())
        });
        let outcome = supervisor.run().await;
        assert_eq!(names(&outcome.failed), ["http"]);
        assert!(stop.is_cancelled());
    }

    #[tokio::test(start_paused = true)]
    async fn each_task_has_its_own_limit() {
        let stop = CancellationToken::new();
        let mut supervisor = Supervisor::new(stop.clone());
        supervisor.spawn("hangs", Duration::from_secs(5), async {
            std::future::pending::<Result<(), TaskError>>().await
        });
        let slow = stop.clone();
        supervisor.spawn("slow", Duration::from_secs(90), async move {
            slow.cancelled().await;
            tokio::time::sleep(Duration::from_secs(60)).await;
            Ok::<(), TaskError>(())
        });
        stop.cancel();
        let started = Instant::now();
        let outcome = supervisor.run().await;
        assert_eq!(outcome.unfinished, ["hangs"]);
        assert_eq!(outcome.failed, []);
        assert_eq!(outcome.exit_code(), 1);
        assert_eq!(started.elapsed().as_secs(), 60);
    }

    #[tokio::test(start_paused = true)]
    async fn helpers_outlive_the_drain() {
        let stop = CancellationToken::new();
        let mut supervisor = Supervisor::new(stop.clone());
        let helpers = supervisor.helpers_token();
        let seen = helpers.clone();
        let told = stop.clone();
        supervisor.spawn("drains", LIMIT, async move {
            told.cancelled().await;
            tokio::time::sleep(Duration::from_secs(3)).await;
            if seen.is_cancelled() {
                return Err("the helper was stopped first");
            }
            Ok(())
        });
        supervisor.spawn_helper("http", good(helpers));
        stop.cancel();
        assert_eq!(supervisor.run().await, Outcome::default());
    }

    #[tokio::test]
    async fn nothing_to_run_ends_at_once() {
        let outcome = Supervisor::new(CancellationToken::new()).run().await;
        assert_eq!(outcome, Outcome::default());
    }

    #[test]
    fn causes_are_told_once() {
        #[derive(Debug, thiserror::Error)]
        #[error("cannot commit")]
        struct Outer(#[source] std::io::Error);
        assert_eq!(
            chain(&Outer(std::io::Error::other("broken pipe"))),
            "cannot commit: broken pipe"
        );
    }
}
