//! What the stores forget by themselves, and when.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use delayq_core::bucket::{Bucket, BucketKey, ShardId};
use delayq_core::clock::Clock;
use delayq_core::ports::{
    BatchStore, DelayQueue, Lane, MessageRegistry, PayloadStore, QueueMessage, StoredBatch,
    TickQueue, Written,
};
use delayq_core::priority::Priority;
use delayq_core::tracked::{MessageKey, MessageRow, State, Version};
use delayq_embedded::{
    MemoryBatchStore, MemoryDelayQueue, MemoryMessageRegistry, MemoryPayloadStore, MemoryTickQueue,
    RuntimeClock,
};
use tokio::time::{Instant, sleep};

const MINUTE: Duration = Duration::from_secs(60);
const DAY: Duration = Duration::from_secs(24 * 3600);
const NOW_MS: i64 = 1_790_000_000_000;

fn clock() -> Arc<dyn Clock> {
    Arc::new(RuntimeClock::starting_at(NOW_MS))
}

#[tokio::test(start_paused = true)]
async fn the_clock_moves_with_the_runtime() {
    let clock = clock();
    sleep(Duration::from_millis(1500)).await;
    assert_eq!(clock.now_ms(), NOW_MS + 1500);
}

#[tokio::test(start_paused = true)]
async fn expired_batches_are_forgotten_at_the_next_write() {
    let store = MemoryBatchStore::new(clock());
    let batch = |sort: &str, expires_s| StoredBatch {
        key: BucketKey {
            bucket: Bucket(1),
            shard: ShardId(1),
            sub: 0,
        },
        sort: sort.to_owned(),
        body: Bytes::from_static(b"x"),
        expires_s,
    };
    let now_s = NOW_MS / 1000;
    store
        .put(vec![batch("a", now_s + 60), batch("b", now_s + 60)])
        .await;
    // Written again with a later end, it lives on.
    store.put(vec![batch("b", now_s + 600)]).await;
    sleep(2 * MINUTE).await;
    assert_eq!(store.len(), 2);
    store.put(vec![batch("c", now_s + 600)]).await;
    let page = store.page(&batch("a", 0).key, None).await.unwrap();
    let left: Vec<_> = page.batches.iter().map(|b| b.sort.as_str()).collect();
    assert_eq!((left, store.len()), (vec!["b", "c"], 2));
}

#[tokio::test(start_paused = true)]
async fn ticks_are_kept_and_recognised_for_five_minutes() {
    let ticks = MemoryTickQueue::new();
    ticks.send(ShardId(1), NOW_MS).await.unwrap();
    let held = ticks.receive(MINUTE, 20 * MINUTE).await.unwrap().unwrap();
    let start = Instant::now();
    sleep(4 * MINUTE).await;
    ticks.send(ShardId(1), NOW_MS).await.unwrap();
    ticks.extend(&held, 20 * MINUTE).await.unwrap();
    sleep(MINUTE).await;
    // Gone with its hold, and its copy is new again.
    assert!(ticks.extend(&held, MINUTE).await.is_err());
    ticks.send(ShardId(1), NOW_MS).await.unwrap();
    assert!(ticks.receive(MINUTE, MINUTE).await.unwrap().is_some());
    assert_eq!(start.elapsed(), 5 * MINUTE);
}

#[tokio::test(start_paused = true)]
async fn messages_are_kept_for_fourteen_days_from_their_first_send() {
    let queue = MemoryDelayQueue::with_max_receive_count(clock(), 1);
    let lane = Lane::Main(Priority::Low);
    let dead = Lane::DeadLetter(Priority::Low);
    let message = QueueMessage {
        body: "x".into(),
        delay_s: 0,
    };
    queue.send(Priority::Low, vec![message]).await;
    queue.receive(lane, 1, MINUTE, MINUTE).await.unwrap();
    sleep(10 * DAY).await;
    assert_eq!(
        queue.receive(lane, 1, Duration::ZERO, MINUTE).await,
        Ok(vec![])
    );
    assert_eq!((queue.len(lane), queue.len(dead)), (0, 1), "moved");
    assert_eq!(queue.bodies(dead), ["x".into()]);
    sleep(3 * DAY).await;
    assert_eq!(
        queue.receive(dead, 1, MINUTE, MINUTE).await.unwrap().len(),
        1
    );
    sleep(DAY).await;
    assert_eq!(queue.receive(dead, 1, MINUTE, MINUTE).await, Ok(vec![]));
    assert!(queue.is_empty(dead));
}

#[tokio::test(start_paused = true)]
async fn expired_payloads_are_forgotten_and_those_written_again_live_on() {
    let store = MemoryPayloadStore::new(clock());
    let chunk = || vec![Bytes::from_static(b"x"); 2];
    let now_s = NOW_MS / 1000;
    store.put("a", chunk(), now_s + 60).await;
    store.put("b", chunk(), now_s + 60).await;
    store.put("b", chunk(), now_s + 600).await;
    sleep(MINUTE).await;
    assert_eq!(store.len(), 4, "not before the second is over");
    sleep(MINUTE).await;
    assert_eq!(store.get("a", 1).await, Ok(vec![None]));
    assert_eq!(store.len(), 2);
    sleep(DAY).await;
    assert!(store.is_empty());
}

#[tokio::test(start_paused = true)]
async fn expired_rows_of_the_registry_are_forgotten_and_those_written_again_live_on() {
    let registry = MemoryMessageRegistry::new(clock());
    let now_s = NOW_MS / 1000;
    let row = |id: &str, revision, expires_s| MessageRow {
        key: MessageKey {
            topic: "orders.delay".into(),
            id: id.into(),
        },
        version: Version {
            partition: 1,
            offset: 7,
            appended_ms: NOW_MS,
        },
        revision,
        details: None,
        state: State::Cancelled { at_ms: NOW_MS },
        overlaps: false,
        expires_s,
    };
    let (a, b) = (row("a", 1, now_s + 60), row("b", 1, now_s + 60));
    let later = row("b", 2, now_s + 600);
    for (row, expected) in [(&a, None), (&b, None), (&later, Some(b.stamp()))] {
        let written = registry.write(row.clone(), expected).await;
        assert_eq!(written, Ok(Written::Done));
    }
    sleep(MINUTE).await;
    assert_eq!(
        registry.rows(),
        [a.clone(), later.clone()],
        "not before the second is over"
    );
    sleep(MINUTE).await;
    assert_eq!(registry.read(&a.key).await, Ok(None));
    assert_eq!(registry.rows(), [later]);
    // What it has forgotten is as if it had never been.
    let again = registry.write(a.clone(), Some(a.stamp())).await;
    assert_eq!(again, Ok(Written::Differs(None)));
    let again = registry.write(row("a", 1, now_s + 600), None).await;
    assert_eq!(again, Ok(Written::Done));
    sleep(DAY).await;
    assert_eq!(registry.rows(), []);
}
