//! Stale handles: SQS promises little about them, so the memory queue takes the stricter side.

use std::sync::Arc;
use std::time::Duration;

use delayq_core::clock::ManualClock;
use delayq_core::error::ErrorClass;
use delayq_core::ports::{DelayQueue, Lane, QueueMessage};
use delayq_core::priority::Priority;
use delayq_embedded::MemoryDelayQueue;

#[tokio::test(start_paused = true)]
async fn a_stale_handle_touches_nothing() {
    let lane = Lane::Main(Priority::High);
    let queue = MemoryDelayQueue::new(Arc::new(ManualClock::at(0)));
    let message = QueueMessage {
        body: "x".into(),
        delay_s: 0,
    };
    queue.send(Priority::High, vec![message]).await;
    let second = Duration::from_secs(1);
    let mut first = queue.receive(lane, 1, second, second).await.unwrap();
    let first = vec![first.remove(0).handle];
    tokio::time::sleep(second).await;
    let expired = queue.extend(lane, first.clone(), 60 * second).await;
    assert_eq!(
        expired[0].as_ref().unwrap_err().class,
        ErrorClass::Conflict,
        "not in flight"
    );
    let mut again = queue.receive(lane, 1, second, 60 * second).await.unwrap();
    assert_eq!(queue.delete(lane, first.clone()).await, [Ok(())]);
    assert_eq!(queue.len(lane), 1, "another holds it");
    let stale = queue.extend(lane, first, Duration::ZERO).await;
    assert_eq!(stale[0].as_ref().unwrap_err().class, ErrorClass::Conflict);
    let fresh = vec![again.remove(0).handle];
    assert_eq!(queue.delete(lane, fresh).await, [Ok(())]);
    assert!(queue.is_empty(lane));
}
