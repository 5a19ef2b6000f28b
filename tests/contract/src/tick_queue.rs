//! [`TickQueue`]: one holder a group, copies dropped, leases. Each check takes an empty queue.

use std::time::Duration;

use delayq_core::bucket::ShardId;
use delayq_core::error::ErrorClass;
use delayq_core::ports::{Tick, TickQueue};
use tokio::time::{Instant, sleep};

const ONE: ShardId = ShardId(1);
const TWO: ShardId = ShardId(2);
/// A tick time as they are: rounded to 30 s.
const AT: i64 = 1_790_000_010_000;
const NEXT: i64 = AT + 30_000;
/// Long enough that nothing expires by itself.
const LONG: Duration = Duration::from_secs(60);
const NO_WAIT: Duration = Duration::ZERO;
/// How late an expired lease may be handed on.
const LATE_MAX: Duration = Duration::from_secs(2);

async fn receive(queue: &dyn TickQueue, lease: Duration) -> Tick {
    let tick = queue.receive(Duration::from_secs(5), lease).await.unwrap();
    tick.expect("a tick within 5 s")
}

async fn assert_nothing(queue: &dyn TickQueue, wait: Duration) {
    let tick = queue.receive(wait, LONG).await.unwrap();
    assert_eq!(tick, None, "nothing is free");
}

/// Shard and time arrive as they were sent.
pub async fn a_tick_arrives_as_sent(queue: &dyn TickQueue) {
    queue.send(ShardId(4_000_000_000), AT).await.unwrap();
    let tick = receive(queue, LONG).await;
    assert_eq!((tick.shard, tick.tick_ms), (ShardId(4_000_000_000), AT));
}

/// While a tick of a shard is held nobody gets another one of it.
pub async fn a_group_has_one_holder(queue: &dyn TickQueue) {
    queue.send(ONE, AT).await.unwrap();
    queue.send(ONE, NEXT).await.unwrap();
    assert_eq!(receive(queue, LONG).await.tick_ms, AT);
    assert_nothing(queue, Duration::from_secs(1)).await;
}

/// Other shards are not held up.
pub async fn groups_are_held_in_parallel(queue: &dyn TickQueue) {
    for shard in [ONE, TWO, ShardId(3)] {
        queue.send(shard, AT).await.unwrap();
        queue.send(shard, NEXT).await.unwrap();
    }
    let mut shards = Vec::new();
    for _ in 0..3 {
        let tick = receive(queue, LONG).await;
        assert_eq!(tick.tick_ms, AT, "in order within the group");
        shards.push(tick.shard.0);
    }
    shards.sort_unstable();
    assert_eq!(shards, [1, 2, 3]);
    assert_nothing(queue, NO_WAIT).await;
}

/// Each replica sends every tick; only one of each is seen, also after it was deleted.
pub async fn copies_are_dropped(queue: &dyn TickQueue) {
    for _ in 0..3 {
        queue.send(ONE, AT).await.unwrap();
    }
    queue.send(TWO, AT).await.unwrap();
    let first = receive(queue, LONG).await;
    let second = receive(queue, LONG).await;
    assert_eq!([first.shard, second.shard], [ONE, TWO], "one of each shard");
    queue.delete(&first).await.unwrap();
    queue.delete(&second).await.unwrap();
    queue.send(ONE, AT).await.unwrap();
    assert_nothing(queue, Duration::from_secs(1)).await;
}

/// A deleted tick frees its group for the next one.
pub async fn deleting_frees_the_group(queue: &dyn TickQueue) {
    queue.send(ONE, AT).await.unwrap();
    queue.send(ONE, NEXT).await.unwrap();
    let first = receive(queue, LONG).await;
    queue.delete(&first).await.unwrap();
    let second = receive(queue, LONG).await;
    assert_eq!((second.shard, second.tick_ms), (ONE, NEXT));
    queue.delete(&second).await.unwrap();
    assert_nothing(queue, NO_WAIT).await;
}

/// The hold lasts as long as it is prolonged.
pub async fn extending_keeps_the_lock(queue: &dyn TickQueue) {
    queue.send(ONE, AT).await.unwrap();
    let tick = receive(queue, Duration::from_secs(2)).await;
    sleep(Duration::from_secs(1)).await;
    let asked = Instant::now();
    let lease = Duration::from_secs(3);
    queue.extend(&tick, lease).await.unwrap();
    let again = receive(queue, LONG).await;
    assert!(asked.elapsed() >= lease, "{:?}", asked.elapsed());
    assert!(asked.elapsed() < lease + LATE_MAX, "{:?}", asked.elapsed());
    assert_eq!(again.tick_ms, AT);
}

/// A lease that runs out gives the same tick to somebody else, whose hold the old holder cannot touch.
pub async fn an_expired_lease_goes_to_another(queue: &dyn TickQueue) {
    queue.send(ONE, AT).await.unwrap();
    let asked = Instant::now();
    let lease = Duration::from_secs(1);
    let old = receive(queue, lease).await;
    let new = receive(queue, LONG).await;
    assert!(asked.elapsed() >= lease, "{:?}", asked.elapsed());
    assert!(asked.elapsed() < lease + LATE_MAX, "{:?}", asked.elapsed());
    assert_eq!((new.shard, new.tick_ms), (ONE, AT));
    assert_ne!(new.handle, old.handle, "a handle is of one receipt");
    let lost = queue.extend(&old, LONG).await.unwrap_err();
    assert_eq!(lost.class, ErrorClass::Conflict, "{lost}");
    queue
        .delete(&old)
        .await
        .expect("a stale handle is no error");
    queue.send(ONE, NEXT).await.unwrap();
    assert_nothing(queue, NO_WAIT).await;
    queue.extend(&new, LONG).await.unwrap();
    queue.delete(&new).await.unwrap();
    assert_eq!(receive(queue, LONG).await.tick_ms, NEXT);
}

/// Deleting twice is harmless, and does not free what another holds.
pub async fn deleting_twice_is_harmless(queue: &dyn TickQueue) {
    queue.send(ONE, AT).await.unwrap();
    queue.send(ONE, NEXT).await.unwrap();
    let first = receive(queue, LONG).await;
    queue.delete(&first).await.unwrap();
    let second = receive(queue, LONG).await;
    queue
        .delete(&first)
        .await
        .expect("a stale handle is no error");
    queue.extend(&second, LONG).await.unwrap();
    let lost = queue.extend(&first, LONG).await.unwrap_err();
    assert_eq!(lost.class, ErrorClass::Conflict, "{lost}");
}

/// An empty queue is waited for as long as asked; a tick ends the wait.
pub async fn a_receive_waits(queue: &dyn TickQueue) {
    let start = Instant::now();
    assert_nothing(queue, Duration::from_secs(1)).await;
    assert!(start.elapsed() >= Duration::from_secs(1));
    let start = Instant::now();
    let sender = async {
        sleep(Duration::from_millis(500)).await;
        queue.send(ONE, AT).await.unwrap();
    };
    let poll = queue.receive(Duration::from_secs(15), LONG);
    let (tick, ()) = tokio::join!(poll, sender);
    assert_eq!(tick.unwrap().map(|tick| tick.tick_ms), Some(AT));
    assert!(
        start.elapsed() < Duration::from_secs(5),
        "{:?}",
        start.elapsed()
    );
}

/// Hands the names of the checks on.
#[macro_export]
macro_rules! tick_queue_checks {
    ($run:ident) => {
        $run! { tick_queue:
            a_tick_arrives_as_sent
            a_group_has_one_holder
            groups_are_held_in_parallel
            copies_are_dropped
            deleting_frees_the_group
            extending_keeps_the_lock
            an_expired_lease_goes_to_another
            deleting_twice_is_harmless
            a_receive_waits
        }
    };
}
