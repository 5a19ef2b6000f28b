//! [`MessageFeed`]: every change since it was opened, in order for each record. Each check takes an empty table.

use std::collections::BTreeMap;

use async_trait::async_trait;
use delayq_core::ports::{MessageChange, MessageFeed, MessageRegistry, Written};
use delayq_core::priority::Priority;
use delayq_core::record::Path;
use delayq_core::tracked::{Claim, Details, MessageKey, MessageRow, State, Version};
use tokio::time::{Duration, timeout};

use crate::within;

const NOW_MS: i64 = 1_790_000_000_000;
/// Far from now on every clock.
const EXPIRES_S: i64 = 4_102_444_800;

/// A table with feeds of its changes.
#[async_trait]
pub trait Followed: Sync {
    /// The table.
    fn registry(&self) -> &dyn MessageRegistry;

    /// A feed from now on.
    async fn open(&self) -> Box<dyn MessageFeed>;

    /// The store's clock.
    fn now_ms(&self) -> i64;

    /// By how much the time of a change may be too early.
    fn early_ms(&self) -> i64;
}

fn row(id: &str, revision: u64) -> MessageRow {
    MessageRow {
        key: MessageKey {
            topic: "orders.delay".into(),
            id: id.into(),
        },
        version: Version {
            partition: 3,
            offset: 1_000,
            appended_ms: NOW_MS,
        },
        revision,
        details: Some(Details {
            due_ms: NOW_MS + 60_000,
            output_topic: "orders.standard".into(),
            priority: Priority::Standard,
            path: Path::Short,
        }),
        state: State::Publishing(Claim {
            by: format!("emitter-{revision}").into(),
            at_ms: NOW_MS,
            until_ms: NOW_MS + 30_000,
        }),
        overlaps: false,
        expires_s: EXPIRES_S,
    }
}

/// Writes revisions of a row, one after the other.
async fn changed(table: &dyn Followed, id: &str, revisions: std::ops::RangeInclusive<u64>) {
    for revision in revisions {
        let before = (revision > 1).then(|| row(id, revision - 1).stamp());
        let written = table.registry().write(row(id, revision), before).await;
        assert_eq!(written, Ok(Written::Done));
    }
}

/// So many changes, and no more by then.
async fn next(feed: &mut dyn MessageFeed, count: usize) -> Vec<MessageChange> {
    let mut changes = Vec::new();
    within(20, "changes arrive", async {
        while changes.len() < count {
            let some = feed.next().await.unwrap();
            assert!(!some.is_empty(), "an answer without changes");
            changes.extend(some);
        }
    })
    .await;
    assert_eq!(changes.len(), count, "{changes:?}");
    changes
}

fn by_id(changes: Vec<MessageChange>) -> BTreeMap<String, Vec<MessageRow>> {
    let mut ids = BTreeMap::<_, Vec<_>>::new();
    for MessageChange { row, .. } in changes {
        ids.entry(row.key.id.to_string()).or_default().push(row);
    }
    ids
}

/// Rows come as they were written, in order for each id, with the time of the change.
pub async fn changes_arrive_in_order_and_whole(table: &dyn Followed) {
    let mut feed = table.open().await;
    let from_ms = table.now_ms();
    tokio::join!(changed(table, "a", 1..=20), changed(table, "b", 1..=30));
    let changes = next(&mut *feed, 50).await;
    let span = from_ms - table.early_ms()..=table.now_ms();
    for change in &changes {
        assert!(span.contains(&change.at_ms), "{change:?}: {span:?}");
    }
    let ids = by_id(changes);
    for (id, count) in [("a", 20), ("b", 30)] {
        let expected: Vec<_> = (1..=count).map(|revision| row(id, revision)).collect();
        assert_eq!(ids[id], expected);
    }
}

/// A tombstone is a change as any other.
pub async fn tombstones_arrive(table: &dyn Followed) {
    let mut feed = table.open().await;
    let tombstone = MessageRow {
        details: None,
        state: State::Cancelled { at_ms: NOW_MS },
        ..row("a", 1)
    };
    let written = table.registry().write(tombstone.clone(), None).await;
    assert_eq!(written, Ok(Written::Done));
    let changes = next(&mut *feed, 1).await;
    assert_eq!(by_id(changes)["a"], [tombstone]);
}

/// What was written before it was opened does not arrive, all that was written after does, though it is read late.
pub async fn a_feed_begins_where_it_is_opened(table: &dyn Followed) {
    changed(table, "a", 1..=3).await;
    let mut early = table.open().await;
    changed(table, "a", 4..=6).await;
    changed(table, "b", 1..=1).await;
    let mut late = table.open().await;
    changed(table, "b", 2..=2).await;
    let of_early = by_id(next(&mut *early, 5).await);
    assert_eq!(of_early["a"], [4, 5, 6].map(|n| row("a", n)));
    assert_eq!(of_early["b"], [1, 2].map(|n| row("b", n)));
    let of_late = by_id(next(&mut *late, 1).await);
    assert_eq!(of_late["b"], [row("b", 2)]);
}

/// A write that changed nothing is no change.
pub async fn refused_writes_do_not_arrive(table: &dyn Followed) {
    changed(table, "a", 1..=2).await;
    let mut feed = table.open().await;
    for expected in [None, Some(row("a", 1).stamp())] {
        let written = table.registry().write(row("a", 9), expected).await;
        assert!(matches!(written, Ok(Written::Differs(Some(_)))));
    }
    changed(table, "a", 3..=3).await;
    let changes = by_id(next(&mut *feed, 1).await);
    assert_eq!(changes["a"], [row("a", 3)]);
}

/// Waiting for changes may be given up at any time: none is lost, none comes twice.
pub async fn giving_up_loses_nothing(table: &dyn Followed) {
    let mut feed = table.open().await;
    let mut changes = Vec::new();
    let write = changed(table, "a", 1..=40);
    let read = async {
        for wait_ms in (1..30).chain(std::iter::repeat(2_000)) {
            let some = timeout(Duration::from_millis(wait_ms), feed.next()).await;
            if let Ok(some) = some {
                changes.extend(some.unwrap());
            }
            if changes.len() >= 40 {
                break;
            }
        }
    };
    within(20, "changes arrive", async { tokio::join!(write, read) }).await;
    let expected: Vec<_> = (1..=40).map(|revision| row("a", revision)).collect();
    assert_eq!(by_id(changes)["a"], expected);
}

/// Hands the names of the checks on.
#[macro_export]
macro_rules! message_feed_checks {
    ($run:ident) => {
        $run! { message_feed:
            changes_arrive_in_order_and_whole
            tombstones_arrive
            a_feed_begins_where_it_is_opened
            refused_writes_do_not_arrive
            giving_up_loses_nothing
        }
    };
}
