//! A feed of the registry keeps a bounded number of changes for its readers.

#![allow(clippy::unwrap_used, reason = "tests")]

use std::sync::Arc;

use delayq_core::error::ErrorClass;
use delayq_core::ports::{MessageFeed, MessageRegistry, Written};
use delayq_core::tracked::{MessageKey, MessageRow, State, Version};
use delayq_embedded::message_feed::FEED_KEPT;
use delayq_embedded::{MemoryMessageRegistry, RuntimeClock};

const NOW_MS: i64 = 1_790_000_000_000;

fn row(n: usize) -> MessageRow {
    MessageRow {
        key: MessageKey {
            topic: "orders.delay".into(),
            id: n.to_string().into(),
        },
        version: Version {
            partition: 1,
            offset: 7,
            appended_ms: NOW_MS,
        },
        revision: 1,
        details: None,
        state: State::Cancelled { at_ms: NOW_MS },
        overlaps: false,
        expires_s: 4_102_444_800,
    }
}

#[tokio::test(start_paused = true)]
async fn who_lags_too_far_behind_is_told_once_and_goes_on_with_what_is_kept() {
    let registry = MemoryMessageRegistry::new(Arc::new(RuntimeClock::starting_at(NOW_MS)));
    let mut feed = registry.feed();
    let missed = 10;
    for n in 0..FEED_KEPT + missed {
        let written = registry.write(row(n), None).await;
        assert_eq!(written, Ok(Written::Done));
    }
    let error = feed.next().await.unwrap_err();
    assert_eq!(error.class, ErrorClass::Transient);
    assert!(error.detail.contains("10 changes were missed"), "{error}");
    let mut rows = Vec::new();
    while rows.len() < FEED_KEPT {
        let changes = feed.next().await.unwrap();
        rows.extend(changes.into_iter().map(|change| change.row));
    }
    let kept: Vec<_> = (missed..FEED_KEPT + missed).map(row).collect();
    assert!(rows == kept);
    // From here on as ever.
    registry.write(row(9_999), None).await.unwrap();
    assert_eq!(feed.next().await.unwrap()[0].row, row(9_999));
}
