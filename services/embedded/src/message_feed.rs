//! The changes of the tracked records in memory, for each reader from where it began.

use async_trait::async_trait;
use delayq_core::error::{ErrorClass, PortError};
use delayq_core::ports::{MessageChange, MessageFeed};
use tokio::sync::broadcast::error::{RecvError, TryRecvError};
use tokio::sync::broadcast::{self, Receiver, Sender};

/// Changes kept for readers that lag behind.
pub const FEED_KEPT: usize = 4_096;
/// Changes handed out at once.
const AT_ONCE: usize = 1_000;

/// Where the changes go that feeds read.
pub(crate) fn changes() -> Sender<MessageChange> {
    broadcast::channel(FEED_KEPT).0
}

/// [`MessageFeed`] of a [`crate::MemoryMessageRegistry`]. Who lags more than [`FEED_KEPT`] behind is told once that changes were
/// missed, and goes on with those that are kept.
#[derive(Debug)]
pub struct MemoryMessageFeed {
    changes: Receiver<MessageChange>,
    /// Changes that were missed, and not told yet.
    missed: u64,
}

impl MemoryMessageFeed {
    pub(crate) fn new(changes: Receiver<MessageChange>) -> Self {
        Self { changes, missed: 0 }
    }
}

fn lagged(missed: u64) -> PortError {
    PortError::new(
        ErrorClass::Transient,
        "read changes in memory",
        format!("{missed} changes were missed"),
    )
}

#[async_trait]
impl MessageFeed for MemoryMessageFeed {
    async fn next(&mut self) -> Result<Vec<MessageChange>, PortError> {
        let missed = std::mem::take(&mut self.missed);
        if missed > 0 {
            return Err(lagged(missed));
        }
        let mut changes = match self.changes.recv().await {
            Ok(change) => vec![change],
            Err(RecvError::Lagged(missed)) => return Err(lagged(missed)),
            // The registry is gone: nothing changes any more.
            Err(RecvError::Closed) => std::future::pending().await,
        };
        while changes.len() < AT_ONCE {
            match self.changes.try_recv() {
                Ok(change) => changes.push(change),
                Err(TryRecvError::Lagged(missed)) => {
                    self.missed = missed;
                    break;
                }
                Err(TryRecvError::Empty | TryRecvError::Closed) => break,
            }
        }
        Ok(changes)
    }
}
