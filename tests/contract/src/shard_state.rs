//! [`ShardState`]: the fence of the handover. Each check takes an empty table.

use std::collections::BTreeSet;

use delayq_core::bucket::{Bucket, ShardId};
use delayq_core::error::{ErrorClass, PortError};
use delayq_core::handover::{Cursor, ShardRow};
use delayq_core::ports::ShardState;

const SHARD: ShardId = ShardId(3);
const BUCKET_MS: i64 = 300_000;
const NOW_MS: i64 = 1_790_000_000_000;

fn initial(shard: ShardId) -> ShardRow {
    ShardRow::initial(shard, NOW_MS, BUCKET_MS)
}

async fn created(state: &dyn ShardState) -> ShardRow {
    let row = initial(SHARD);
    state.create_if_absent(row.clone()).await.unwrap();
    row
}

async fn stored(state: &dyn ShardState) -> ShardRow {
    state.read(SHARD).await.unwrap().expect("the row is there")
}

#[track_caller]
fn assert_conflict<T: std::fmt::Debug>(result: Result<T, PortError>) {
    let error = result.unwrap_err();
    assert_eq!(error.class, ErrorClass::Conflict, "{error}");
}

/// A row that was never created is absent, and its shard is not in the list.
pub async fn an_absent_row_is_none(state: &dyn ShardState) {
    assert_eq!(state.read(SHARD).await.unwrap(), None);
    assert_eq!(state.list().await.unwrap(), []);
}

/// Whoever comes second changes nothing.
pub async fn creating_keeps_the_first(state: &dyn ShardState) {
    let row = created(state).await;
    assert_eq!(stored(state).await, row);
    let later = ShardRow::initial(SHARD, NOW_MS + 10 * BUCKET_MS, BUCKET_MS);
    state.create_if_absent(later).await.unwrap();
    assert_eq!(stored(state).await, row);
}

/// Taking raises the epoch, names the owner, and leaves the rest.
pub async fn taking_raises_the_epoch(state: &dyn ShardState) {
    let row = created(state).await;
    let first = state.take(SHARD, "first").await.unwrap();
    assert!(first.epoch > row.epoch);
    let expected = ShardRow {
        epoch: first.epoch,
        owner: "first".into(),
        ..row
    };
    assert_eq!(first, expected);
    assert_eq!(stored(state).await, expected);
    let second = state.take(SHARD, "second").await.unwrap();
    assert!(second.epoch > first.epoch);
    assert_eq!(second.owner, "second");
    assert_eq!(stored(state).await, second);
}

/// The scheduler never invents a watermark: a shard without a row cannot be taken, nor is a row made by trying.
pub async fn an_absent_row_cannot_be_taken(state: &dyn ShardState) {
    assert_conflict(state.take(SHARD, "me").await);
    assert_eq!(state.read(SHARD).await.unwrap(), None);
}

/// The holder writes progress: closing, cursor and watermark, there and back.
pub async fn the_holder_writes(state: &dyn ShardState) {
    created(state).await;
    let taken = state.take(SHARD, "me").await.unwrap();
    let cursors = [
        Cursor::default(),
        Cursor {
            sub: 0,
            after: Some("000001790000000#w#000000000001".into()),
        },
        Cursor {
            sub: 15,
            after: Some("k".into()),
        },
        Cursor {
            sub: 16,
            after: None,
        },
    ];
    for cursor in cursors {
        let row = ShardRow {
            closing: taken.watermark.next(),
            cursor,
            ..taken.clone()
        };
        state.update(row.clone()).await.unwrap();
        assert_eq!(stored(state).await, row);
    }
    let done = ShardRow {
        watermark: Bucket(taken.watermark.0 + 1),
        closing: taken.watermark.next(),
        ..taken
    };
    state.update(done.clone()).await.unwrap();
    assert_eq!(stored(state).await, done);
}

/// An update does not change who holds the shard.
pub async fn an_update_leaves_the_owner(state: &dyn ShardState) {
    created(state).await;
    let taken = state.take(SHARD, "me").await.unwrap();
    let row = ShardRow {
        owner: "somebody else".into(),
        ..taken.clone()
    };
    state.update(row).await.unwrap();
    assert_eq!(stored(state).await, taken);
}

/// A holder that was overtaken writes nothing, whatever it tries.
pub async fn an_old_epoch_changes_nothing(state: &dyn ShardState) {
    created(state).await;
    let old = state.take(SHARD, "old").await.unwrap();
    let new = state.take(SHARD, "new").await.unwrap();
    let late = ShardRow {
        watermark: old.watermark.next(),
        closing: old.watermark.next(),
        ..old
    };
    assert_conflict(state.update(late.clone()).await);
    assert_eq!(stored(state).await, new);
    let future = ShardRow {
        epoch: new.epoch + 1,
        ..late
    };
    assert_conflict(state.update(future).await);
    assert_eq!(stored(state).await, new);
}

/// A write of the holder's own that arrives late, after the holder has gone on, does not open a bucket again.
pub async fn no_update_moves_back(state: &dyn ShardState) {
    created(state).await;
    let taken = state.take(SHARD, "me").await.unwrap();
    let at = |watermark: i64, closing: i64| ShardRow {
        watermark: Bucket(taken.watermark.0 + watermark),
        closing: Bucket(taken.watermark.0 + closing),
        ..taken.clone()
    };
    for (watermark, closing) in [(0, 1), (1, 1), (1, 2)] {
        state.update(at(watermark, closing)).await.unwrap();
    }
    for (watermark, closing) in [(0, 1), (1, 1), (0, 2)] {
        assert_conflict(state.update(at(watermark, closing)).await);
        assert_eq!(stored(state).await, at(1, 2));
    }
    state.update(at(2, 2)).await.unwrap();
}

/// An update makes no row.
pub async fn an_absent_row_cannot_be_updated(state: &dyn ShardState) {
    assert_conflict(state.update(initial(SHARD)).await);
    assert_eq!(state.read(SHARD).await.unwrap(), None);
}

/// Of many that take at once each gets an epoch of its own, and one of them is left as the holder.
pub async fn takers_at_once_get_different_epochs(state: &dyn ShardState) {
    created(state).await;
    let take = |name| state.take(SHARD, name);
    let taken = tokio::join!(take("a"), take("b"), take("c"), take("d"));
    let rows = [taken.0, taken.1, taken.2, taken.3].map(Result::unwrap);
    let epochs: BTreeSet<_> = rows.iter().map(|row| row.epoch).collect();
    assert_eq!(epochs.len(), rows.len(), "{rows:?}");
    let last = rows.iter().max_by_key(|row| row.epoch).unwrap();
    assert_eq!(stored(state).await, *last);
}

/// All rows, each once.
pub async fn the_list_has_every_row(state: &dyn ShardState) {
    let shards = [0, 1, 10, 2, 40].map(ShardId);
    for shard in shards {
        state.create_if_absent(initial(shard)).await.unwrap();
    }
    let mut rows = state.list().await.unwrap();
    rows.sort_by_key(|row| row.shard);
    let mut expected = shards.map(initial);
    expected.sort_by_key(|row| row.shard);
    assert_eq!(rows, expected);
}

/// The skew of this machine against a store on the same machine is next to nothing, if it is known.
pub async fn the_clock_skew_is_small(state: &dyn ShardState) {
    created(state).await;
    let skew_ms = state.clock_skew_ms();
    assert!(skew_ms.is_none_or(|ms| ms.abs() < 5_000), "{skew_ms:?}");
}

/// Hands the names of the checks on.
#[macro_export]
macro_rules! shard_state_checks {
    ($run:ident) => {
        $run! { shard_state:
            an_absent_row_is_none
            creating_keeps_the_first
            taking_raises_the_epoch
            an_absent_row_cannot_be_taken
            the_holder_writes
            an_update_leaves_the_owner
            an_old_epoch_changes_nothing
            no_update_moves_back
            an_absent_row_cannot_be_updated
            takers_at_once_get_different_epochs
            the_list_has_every_row
            the_clock_skew_is_small
        }
    };
}
