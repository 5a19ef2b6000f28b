//! Waiting for a change or a moment, whichever comes first.

use std::pin::Pin;

use tokio::sync::futures::Notified;
use tokio::time::{Instant, sleep_until};

/// Returns at the notification, or at `until` if there is one.
pub(crate) async fn changed_or(changed: Pin<&mut Notified<'_>>, until: Option<Instant>) {
    match until {
        None => changed.await,
        Some(until) => {
            tokio::select! {
                () = changed => {}
                () = sleep_until(until) => {}
            }
        }
    }
}
