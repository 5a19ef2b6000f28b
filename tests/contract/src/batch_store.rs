//! [`BatchStore`]: what is written is read back, whole, in order, page by page. Each check takes an empty table.

use std::collections::BTreeMap;

use bytes::Bytes;
use delayq_core::bucket::{Bucket, BucketKey, SUB_PARTITIONS, ShardId, sort_key};
use delayq_core::delay::STORE_BATCH_MAX_BYTES;
use delayq_core::error::ErrorClass;
use delayq_core::ports::{BatchStore, StoredBatch};

use crate::{assert_all_ok, classes};

/// A page ends about there: `DynamoDB`'s own limit, and the one batch that may cross it.
const PAGE_MAX_BYTES: usize = 1_048_576 + STORE_BATCH_MAX_BYTES;
/// Far from now on every clock.
const EXPIRES_S: i64 = 4_102_444_800;
const KEY: BucketKey = key(5_900_000, 3, 0);

const fn key(bucket: i64, shard: u32, sub: u8) -> BucketKey {
    BucketKey {
        bucket: Bucket(bucket),
        shard: ShardId(shard),
        sub,
    }
}

fn batch(key: BucketKey, sort: impl Into<String>, body: impl Into<Bytes>) -> StoredBatch {
    StoredBatch {
        key,
        sort: sort.into(),
        body: body.into(),
        expires_s: EXPIRES_S,
    }
}

/// Bytes that differ from batch to batch, and hold every value.
fn body(seed: usize, bytes: usize) -> Vec<u8> {
    let byte = |at: usize| u8::try_from((at * 31 + seed * 7) % 256).unwrap();
    (0..bytes).map(byte).collect()
}

/// All pages of a key from `after` on; each within its size, and none empty with more to come for ever.
async fn read(store: &dyn BatchStore, key: BucketKey, after: Option<&str>) -> Vec<StoredBatch> {
    let mut all = Vec::new();
    let mut after = after.map(str::to_owned);
    for _ in 0..1000 {
        let page = store.page(&key, after.as_deref()).await.unwrap();
        let bytes: usize = page.batches.iter().map(|b| b.body.len()).sum();
        assert!(bytes <= PAGE_MAX_BYTES, "a page of {bytes} bytes");
        all.extend(page.batches);
        if page.next.is_none() {
            return all;
        }
        assert_ne!(page.next, after, "the next page is another one");
        after = page.next;
    }
    panic!("the pages have no end");
}

/// A key that nothing was written to is empty, not an error.
pub async fn an_unknown_key_is_empty(store: &dyn BatchStore) {
    assert_eq!(read(store, KEY, None).await, []);
}

/// A batch comes back as it was written, up to the largest.
pub async fn a_batch_comes_back_unchanged(store: &dyn BatchStore) {
    let sort = sort_key(1_770_000_000_123, "router-1#x", 7);
    let small = batch(KEY, sort, body(1, 256));
    let large = batch(KEY, "z", body(2, STORE_BATCH_MAX_BYTES));
    assert_all_ok(&store.put(vec![small.clone(), large.clone()]).await, 2);
    let stored = read(store, KEY, None).await;
    assert!(stored == [small, large], "changed on the way");
}

/// Writing again, later or in the same call, leaves one.
pub async fn writing_again_is_harmless(store: &dyn BatchStore) {
    let (a, b) = (batch(KEY, "a", body(1, 100)), batch(KEY, "b", body(2, 100)));
    let twice = vec![a.clone(), b.clone(), a.clone()];
    assert_all_ok(&store.put(twice).await, 3);
    assert_all_ok(&store.put(vec![a.clone()]).await, 1);
    assert_eq!(read(store, KEY, None).await, [a, b]);
}

/// A refused batch does not hide among accepted ones, and does not take them with it.
pub async fn a_bad_batch_fails_alone_and_in_its_place(store: &dyn BatchStore) {
    let batches = vec![
        batch(KEY, "a", body(1, 10)),
        batch(KEY, "b", body(2, 500_000)),
        batch(KEY, "c", body(3, 10)),
    ];
    let outcomes = store.put(batches.clone()).await;
    assert_eq!(classes(&outcomes), [None, Some(ErrorClass::Invalid), None]);
    let expected = [batches[0].clone(), batches[2].clone()];
    assert_eq!(read(store, KEY, None).await, expected);
}

/// More batches than one call of the store takes, written in any order, are read in order of their sort keys.
pub async fn many_batches_are_read_in_order(store: &dyn BatchStore) {
    let mut batches: Vec<_> = (0..60)
        .map(|n| {
            // Times of different lengths: as text without padding they would sort otherwise.
            let due_ms = 1_i64 << (n % 45);
            batch(KEY, sort_key(due_ms, "w", n), body(1, 50))
        })
        .collect();
    assert_all_ok(&store.put(batches.clone()).await, 60);
    batches.sort_by(|a, b| a.sort.cmp(&b.sort));
    assert_eq!(read(store, KEY, None).await, batches);
}

/// More than a page holds: every batch once, in order, over several pages.
pub async fn pages_are_complete_and_in_order(store: &dyn BatchStore) {
    let batches: Vec<_> = (0..12)
        .map(|n| batch(KEY, format!("{n:04}"), body(n, 300_000)))
        .collect();
    for some in batches.chunks(3) {
        assert_all_ok(&store.put(some.to_vec()).await, some.len());
    }
    let first = store.page(&KEY, None).await.unwrap();
    assert!(first.next.is_some(), "3.6 MB fit no page");
    assert!(
        read(store, KEY, None).await == batches,
        "not the same batches"
    );
}

/// A page starts after the given sort key, whether or not there is such a batch.
pub async fn a_page_starts_after_its_key(store: &dyn BatchStore) {
    let batches: Vec<_> = ["a", "c", "e"].map(|s| batch(KEY, s, body(1, 10))).into();
    assert_all_ok(&store.put(batches.clone()).await, 3);
    assert_eq!(read(store, KEY, Some("a")).await, batches[1..]);
    assert_eq!(read(store, KEY, Some("b")).await, batches[1..]);
    assert_eq!(read(store, KEY, Some("e")).await, []);
}

/// Buckets, shards and sub-partitions whose numbers look alike are different keys.
pub async fn keys_do_not_mix(store: &dyn BatchStore) {
    let keys = [
        key(1, 11, 0),
        key(11, 1, 0),
        key(1, 1, 10),
        key(1, 1, 1),
        key(1, 1, 0),
        key(1, 1, SUB_PARTITIONS - 1),
    ];
    let numbered: BTreeMap<_, _> = keys.into_iter().zip(0..).collect();
    let one_each = |(key, n): (&BucketKey, &usize)| batch(*key, "same", body(*n, 20));
    let batches: Vec<_> = numbered.iter().map(one_each).collect();
    assert_all_ok(&store.put(batches.clone()).await, keys.len());
    for batch in batches {
        assert_eq!(read(store, batch.key, None).await, [batch]);
    }
}

/// What was confirmed is seen by the next read, always: the handover rests on it.
pub async fn a_confirmed_write_is_seen_at_once(store: &dyn BatchStore) {
    for n in 0..50 {
        let sort = format!("{n:04}");
        let written = batch(KEY, sort.clone(), body(n, 30));
        assert_all_ok(&store.put(vec![written.clone()]).await, 1);
        let before = n.checked_sub(1).map(|n| format!("{n:04}"));
        let page = store.page(&KEY, before.as_deref()).await.unwrap();
        assert_eq!(page.batches, [written], "write {n}");
    }
}

/// Nothing to do is no error.
pub async fn an_empty_put_is_harmless(store: &dyn BatchStore) {
    assert_all_ok(&store.put(Vec::new()).await, 0);
}

/// Hands the names of the checks on.
#[macro_export]
macro_rules! batch_store_checks {
    ($run:ident) => {
        $run! { batch_store:
            an_unknown_key_is_empty
            a_batch_comes_back_unchanged
            writing_again_is_harmless
            a_bad_batch_fails_alone_and_in_its_place
            many_batches_are_read_in_order
            pages_are_complete_and_in_order
            a_page_starts_after_its_key
            keys_do_not_mix
            a_confirmed_write_is_seen_at_once
            an_empty_put_is_harmless
        }
    };
}
