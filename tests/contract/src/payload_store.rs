//! [`PayloadStore`]: chunks come back whole, in order, and never another payload's. Each check takes an empty table.

use bytes::Bytes;
use delayq_core::error::ErrorClass;
use delayq_core::payload::CHUNK_MAX_BYTES;
use delayq_core::ports::PayloadStore;

use crate::{assert_all_ok, classes};

/// Far from now on every clock.
const EXPIRES_S: i64 = 4_102_444_800;
const ID: &str = "delayq.delay/5/123456789-00c0ffee";

/// Bytes that do not compress and differ from seed to seed.
fn noise(seed: u32, bytes: usize) -> Bytes {
    let mut state = seed.wrapping_mul(2_654_435_761).wrapping_add(1);
    let next = |_| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        state.to_be_bytes()[0]
    };
    (0..bytes).map(next).collect::<Vec<_>>().into()
}

fn small(seed: u32) -> Bytes {
    noise(seed, 100)
}

/// All there.
fn whole(chunks: &[Bytes]) -> Vec<Option<Bytes>> {
    chunks.iter().cloned().map(Some).collect()
}

/// Not one of an id that nothing was written for is there, and that is no error.
pub async fn an_unknown_id_has_no_chunk(store: &dyn PayloadStore) {
    assert_eq!(store.get(ID, 3).await, Ok(vec![None, None, None]));
}

/// The largest chunks come back as they were written.
pub async fn the_largest_chunks_come_back_unchanged(store: &dyn PayloadStore) {
    let chunks: Vec<_> = (1..=3).map(|seed| noise(seed, CHUNK_MAX_BYTES)).collect();
    assert_all_ok(&store.put(ID, chunks.clone(), EXPIRES_S).await, 3);
    let read = store.get(ID, 3).await.unwrap();
    assert!(read == whole(&chunks), "changed on the way");
}

/// More chunks than one call of the store reads: each in its place, and those beyond the last are not there.
pub async fn many_chunks_are_read_in_order(store: &dyn PayloadStore) {
    let chunks: Vec<_> = (0..130).map(small).collect();
    assert_all_ok(&store.put(ID, chunks.clone(), EXPIRES_S).await, 130);
    let mut expected = whole(&chunks);
    assert_eq!(store.get(ID, 130).await.unwrap(), expected);
    expected.push(None);
    assert_eq!(store.get(ID, 131).await.unwrap(), expected);
    assert_eq!(store.get(ID, 2).await.unwrap(), expected[..2]);
}

/// A refused chunk leaves a gap in its own place, and its fellows are written: no chunk takes another's place.
pub async fn a_chunk_that_is_missing_is_missing_in_its_place(store: &dyn PayloadStore) {
    let chunks = vec![small(1), noise(2, 500_000), small(3)];
    let outcomes = store.put(ID, chunks, EXPIRES_S).await;
    assert_eq!(classes(&outcomes), [None, Some(ErrorClass::Invalid), None]);
    let read = store.get(ID, 3).await.unwrap();
    assert_eq!(read, [Some(small(1)), None, Some(small(3))]);
}

/// Writing again, as after an unanswered call, changes nothing.
pub async fn writing_again_is_harmless(store: &dyn PayloadStore) {
    let chunks = vec![small(1), small(2)];
    for _ in 0..2 {
        assert_all_ok(&store.put(ID, chunks.clone(), EXPIRES_S).await, 2);
    }
    assert_eq!(store.get(ID, 2).await, Ok(whole(&chunks)));
}

/// Ids that look alike, with the characters that keys are put together with, are different payloads.
pub async fn ids_do_not_mix(store: &dyn PayloadStore) {
    let ids = [
        "a", "a#0", "a#1", "a/1", "a/1#0", "a#", "#", "/", "a/11", "a/1 1",
    ];
    for (seed, id) in (0..).zip(ids) {
        let chunks = vec![small(seed * 2), small(seed * 2 + 1)];
        assert_all_ok(&store.put(id, chunks, EXPIRES_S).await, 2);
    }
    for (seed, id) in (0..).zip(ids) {
        let expected = [Some(small(seed * 2)), Some(small(seed * 2 + 1)), None];
        assert_eq!(store.get(id, 3).await.unwrap(), expected, "{id}");
    }
}

/// What was confirmed is seen by the next read, always: a reference follows it at once.
pub async fn a_confirmed_write_is_seen_at_once(store: &dyn PayloadStore) {
    for n in 0..30 {
        let id = format!("{ID}/{n}");
        assert_all_ok(&store.put(&id, vec![small(n)], EXPIRES_S).await, 1);
        assert_eq!(store.get(&id, 1).await, Ok(vec![Some(small(n))]), "{n}");
    }
}

/// Nothing to do is no error.
pub async fn nothing_to_write_or_read_is_harmless(store: &dyn PayloadStore) {
    assert_all_ok(&store.put(ID, Vec::new(), EXPIRES_S).await, 0);
    assert_eq!(store.get(ID, 0).await, Ok(Vec::new()));
}

/// Hands the names of the checks on.
#[macro_export]
macro_rules! payload_store_checks {
    ($run:ident) => {
        $run! { payload_store:
            an_unknown_id_has_no_chunk
            the_largest_chunks_come_back_unchanged
            many_chunks_are_read_in_order
            a_chunk_that_is_missing_is_missing_in_its_place
            writing_again_is_harmless
            ids_do_not_mix
            a_confirmed_write_is_seen_at_once
            nothing_to_write_or_read_is_harmless
        }
    };
}
