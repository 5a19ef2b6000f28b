//! [`TallyStore`]: what was stored last is what is listed, and nothing of what is over. Each check takes an empty table.

use std::collections::BTreeSet;
use std::time::Duration;

use bytes::Bytes;
use delayq_core::ports::TallyStore;
use delayq_core::upcoming::Part;

use crate::within;

/// Far from now on every clock.
const UNTIL_MS: i64 = 4_102_444_800_000;
const BEFORE_MS: i64 = UNTIL_MS - 1;

fn part(number: u32, body: &[u8]) -> Part {
    Part {
        number,
        body: Bytes::copy_from_slice(body),
        until_ms: UNTIL_MS,
    }
}

/// Waits until just these are listed: a list may be about a second old.
async fn lists(store: &dyn TallyStore, now_ms: i64, expected: &[&[u8]]) {
    let expected: BTreeSet<_> = expected
        .iter()
        .map(|body| Bytes::copy_from_slice(body))
        .collect();
    within(10, "the list shows what was stored", async {
        loop {
            let bodies = store.list(now_ms).await.unwrap();
            let found: BTreeSet<_> = bodies.iter().cloned().collect();
            if found.len() == bodies.len() && found == expected {
                return;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    })
    .await;
}

/// Nothing stored is no error.
pub async fn an_empty_store_lists_nothing(store: &dyn TallyStore) {
    assert_eq!(store.list(BEFORE_MS).await, Ok(Vec::new()));
}

/// Parts of several writers stand side by side; one that is written again takes the place of its own.
pub async fn a_part_replaces_its_own_and_no_other(store: &dyn TallyStore) {
    for (writer, number, body) in [
        (1, 0, b"a"),
        (1, 1, b"b"),
        (u32::MAX, 0, b"c"),
        (2, u32::MAX, b"d"),
    ] {
        store.put(writer, part(number, body)).await.unwrap();
    }
    lists(store, BEFORE_MS, &[b"a", b"b", b"c", b"d"]).await;
    store.put(1, part(0, b"e")).await.unwrap();
    lists(store, BEFORE_MS, &[b"b", b"c", b"d", b"e"]).await;
}

/// What says nothing any more is not listed.
pub async fn what_is_over_is_not_listed(store: &dyn TallyStore) {
    store.put(1, part(0, b"a")).await.unwrap();
    let later = Part {
        until_ms: UNTIL_MS + 1,
        ..part(1, b"b")
    };
    store.put(1, later).await.unwrap();
    lists(store, BEFORE_MS, &[b"a", b"b"]).await;
    lists(store, UNTIL_MS, &[b"b"]).await;
}

/// The largest part, and more of them than one page holds.
pub async fn large_parts_come_back_unchanged(store: &dyn TallyStore) {
    let bodies: Vec<Vec<u8>> = (0..8_u8).map(|n| vec![n; 300_000]).collect();
    for (number, body) in (0..).zip(&bodies) {
        store.put(7, part(number, body)).await.unwrap();
    }
    let expected: Vec<&[u8]> = bodies.iter().map(Vec::as_slice).collect();
    lists(store, BEFORE_MS, &expected).await;
}

/// Hands the names of the checks on.
#[macro_export]
macro_rules! tally_store_checks {
    ($run:ident) => {
        $run! { tally_store:
            an_empty_store_lists_nothing
            a_part_replaces_its_own_and_no_other
            what_is_over_is_not_listed
            large_parts_come_back_unchanged
        }
    };
}
