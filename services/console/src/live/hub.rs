//! One reader of the feed, and many who listen: each change is numbered, written out once, and kept for who was cut off.

use std::collections::VecDeque;
use std::future::Future;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use delayq_core::clock::EpochMs;
use delayq_core::error::{Backoff, PortError};
use delayq_core::ports::{MessageChange, MessageFeed};
use serde_json::json;
use tokio::sync::broadcast;
use tokio_util::sync::CancellationToken;

use crate::message::Message;
use crate::seen::{Count, Lateness, Seen};

/// Changes kept for those who come back: some twenty seconds at 500 a second.
const KEPT: usize = 10_000;
/// Changes that a listener may be behind before it is dropped.
const BEHIND_MAX: usize = 4_096;
const RETRY_FIRST: Duration = Duration::from_millis(100);
const RETRY_MAX: Duration = Duration::from_secs(5);

/// Gauge: listeners.
pub(crate) const LISTENERS: &str = "delayq_console_listeners";
/// Counter: changes seen in the feed.
pub(crate) const CHANGES: &str = "delayq_console_feed_changes_total";

/// A change as listeners get it.
#[derive(Debug)]
pub(crate) struct Told {
    /// Its number.
    pub(crate) number: u64,
    /// The record.
    pub(crate) message: Message,
    /// Written out.
    pub(crate) text: Arc<str>,
}

/// What listeners are told.
#[derive(Debug, Clone)]
pub(crate) enum News {
    /// A change.
    Change(Arc<Told>),
    /// Changes may have been missed: why.
    Gap(Arc<str>),
}

#[derive(Default)]
struct Kept {
    last: u64,
    changes: VecDeque<Arc<Told>>,
    seen: Seen,
}

/// The changes of all tracked records.
#[derive(Clone)]
pub struct Hub {
    /// Names this start: numbers of another mean nothing here.
    name: Arc<str>,
    kept: Arc<Mutex<Kept>>,
    sender: broadcast::Sender<News>,
}

impl std::fmt::Debug for Hub {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Hub")
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}

/// What a listener starts with.
pub(crate) struct Listening {
    /// Where it starts.
    pub(crate) position: String,
    /// What it has missed; `None`: that is not known any more.
    pub(crate) missed: Option<Vec<Arc<Told>>>,
    /// What comes from now on.
    pub(crate) receiver: broadcast::Receiver<News>,
}

impl Hub {
    /// An empty one. `name`: unique to this start.
    #[must_use]
    pub fn new(name: impl Into<Arc<str>>) -> Self {
        Self {
            name: name.into(),
            kept: Arc::default(),
            sender: broadcast::channel(BEHIND_MAX).0,
        }
    }

    /// Opens the feed and reads it until `stop`; an error is told in the log and tried again.
    pub async fn run<F>(&self, open: impl Fn() -> F + Send, stop: CancellationToken)
    where
        F: Future<Output = Result<Box<dyn MessageFeed>, PortError>> + Send,
    {
        let mut backoff = Backoff::new(RETRY_FIRST, RETRY_MAX);
        let mut feed = None;
        let mut failing = false;
        loop {
            let next = async {
                if feed.is_none() {
                    feed = Some(open().await?);
                }
                match &mut feed {
                    Some(feed) => feed.next().await,
                    None => Ok(Vec::new()),
                }
            };
            let next = tokio::select! {
                next = next => next,
                () = stop.cancelled() => return,
            };
            match next {
                Ok(changes) => {
                    failing = false;
                    backoff = Backoff::new(RETRY_FIRST, RETRY_MAX);
                    changes.iter().for_each(|change| self.tell(change));
                }
                Err(error) => {
                    tracing::warn!(%error, "the feed of tracked records");
                    if !failing {
                        self.gap(&error.to_string());
                    }
                    failing = true;
                    tokio::time::sleep(backoff.wait_after(&error)).await;
                }
            }
        }
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn position(&self, number: u64) -> String {
        format!("{}-{number}", self.name)
    }

    fn tell(&self, change: &MessageChange) {
        metrics::counter!(CHANGES).increment(1);
        let mut kept = self.kept();
        kept.seen.note(change);
        kept.last += 1;
        let message = Message::from(&change.row);
        let text = json!({"change": {
            "position": self.position(kept.last),
            "at_ms": change.at_ms,
            "message": message,
        }});
        let told = Arc::new(Told {
            number: kept.last,
            message,
            text: Arc::from(text.to_string()),
        });
        if kept.changes.len() >= KEPT {
            kept.changes.pop_front();
        }
        kept.changes.push_back(told.clone());
        // Under the lock: who starts to listen gets each change once. Nobody listening is no fault.
        let listeners = self.sender.send(News::Change(told)).unwrap_or(0);
        metrics::gauge!(LISTENERS).set(listeners as f64);
    }

    /// The feed failed: whether something was missed is not known, so that nobody may go on from before.
    fn gap(&self, why: &str) {
        let mut kept = self.kept();
        kept.changes.clear();
        kept.last += 1;
        let reason = format!("the feed of changes failed, list again: {why}");
        let listeners = self.sender.send(News::Gap(reason.into())).unwrap_or(0);
        metrics::gauge!(LISTENERS).set(listeners as f64);
    }

    /// Starts to listen, after the position `after` or from now on.
    pub(crate) fn listen(&self, after: Option<&str>) -> Listening {
        let kept = self.kept();
        let number = after.map_or(Some(kept.last), |after| {
            let (name, number) = after.rsplit_once('-')?;
            (name == &*self.name).then(|| number.parse().ok()).flatten()
        });
        let oldest = kept
            .changes
            .front()
            .map_or(kept.last + 1, |told| told.number);
        let missed = number
            .filter(|number| *number + 1 >= oldest && *number <= kept.last)
            .map(|number| {
                let later = kept.changes.iter().filter(|told| told.number > number);
                later.cloned().collect()
            });
        Listening {
            position: self.position(kept.last),
            missed,
            receiver: self.sender.subscribe(),
        }
    }

    /// Counts and lateness of the last minutes.
    pub(crate) fn recent(&self, now_ms: EpochMs) -> (Vec<Count>, Vec<Lateness>) {
        let kept = self.kept();
        (kept.seen.counts(now_ms), kept.seen.lateness(now_ms))
    }
}
