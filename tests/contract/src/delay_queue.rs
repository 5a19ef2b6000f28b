//! [`DelayQueue`]: outcomes in order, delays, visibility, receipts, dead letters. Each check takes empty queues.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use delayq_core::delay::{QUEUE_DELAY_MAX_S, QUEUE_MESSAGE_MAX_BYTES};
use delayq_core::error::ErrorClass;
use delayq_core::ports::{DelayQueue, Lane, QueueMessage, Receipt};
use delayq_core::priority::Priority;
use tokio::time::{Instant, sleep, sleep_until};

use crate::{assert_all_ok, classes, within};

const MAIN: Lane = Lane::Main(Priority::Standard);
const DEAD: Lane = Lane::DeadLetter(Priority::Standard);
/// Long enough that nothing expires by itself.
const LONG: Duration = Duration::from_secs(60);
/// How late a message may become visible.
const LATE_MAX: Duration = Duration::from_secs(2);
/// How often the dead-letter queue lets a message be received at least (the design's section 6).
const RECEIVES_MIN: u32 = 100;

fn message(body: impl Into<Arc<str>>, delay_s: u32) -> QueueMessage {
    QueueMessage {
        body: body.into(),
        delay_s,
    }
}

async fn send(queue: &dyn DelayQueue, body: &str) {
    let outcomes = queue.send(Priority::Standard, vec![message(body, 0)]).await;
    assert_all_ok(&outcomes, 1);
}

async fn receive(
    queue: &dyn DelayQueue,
    max: usize,
    wait: Duration,
    visibility: Duration,
) -> Vec<Receipt> {
    let receipts = queue.receive(MAIN, max, wait, visibility).await.unwrap();
    assert!(receipts.len() <= max, "{} instead of {max}", receipts.len());
    receipts
}

/// The one message that is there or comes within 5 s.
async fn receive_one(queue: &dyn DelayQueue, visibility: Duration) -> Receipt {
    let mut receipts = receive(queue, 10, Duration::from_secs(5), visibility).await;
    assert_eq!(receipts.len(), 1, "one message: {receipts:?}");
    receipts.remove(0)
}

/// Receives until there are `count`, which stay invisible.
async fn receive_all(queue: &dyn DelayQueue, lane: Lane, count: usize) -> Vec<Receipt> {
    within(30, "all messages received", async {
        let mut all = Vec::new();
        while all.len() < count {
            let wait = Duration::from_secs(5);
            all.extend(queue.receive(lane, 10, wait, LONG).await.unwrap());
        }
        all
    })
    .await
}

fn bodies(receipts: &[Receipt]) -> BTreeSet<&str> {
    receipts.iter().map(|r| r.body.as_str()).collect()
}

fn handles(receipts: &[Receipt]) -> Vec<String> {
    receipts.iter().map(|r| r.handle.clone()).collect()
}

/// A refused entry does not hide among accepted ones, and does not take them with it.
pub async fn a_bad_entry_fails_alone_and_in_its_place(queue: &dyn DelayQueue) {
    let too_large = "x".repeat(QUEUE_MESSAGE_MAX_BYTES + 1);
    let messages = vec![
        message("first", 0),
        message("too late", QUEUE_DELAY_MAX_S + 1),
        message("second", 0),
        message(too_large, 0),
        message("not \u{0} text", 0),
        message("third", 0),
    ];
    let outcomes = queue.send(Priority::Standard, messages).await;
    let bad = Some(ErrorClass::Invalid);
    assert_eq!(classes(&outcomes), [None, bad, None, bad, bad, None]);
    let received = receive_all(queue, MAIN, 3).await;
    assert_eq!(bodies(&received), ["first", "second", "third"].into());
}

/// Larger lists than SQS takes are split, and nothing is lost or doubled by that.
pub async fn many_messages_in_one_call(queue: &dyn DelayQueue) {
    let names: Vec<String> = (0..25).map(|n| format!("message {n}")).collect();
    let messages = names.iter().map(|n| message(n.as_str(), 0)).collect();
    assert_all_ok(&queue.send(Priority::Standard, messages).await, 25);
    let received = receive_all(queue, MAIN, 25).await;
    assert_eq!(received.len(), 25);
    assert_eq!(
        bodies(&received),
        names.iter().map(String::as_str).collect()
    );
    let handles = handles(&received);
    assert_all_ok(&queue.extend(MAIN, handles.clone(), LONG).await, 25);
    assert_all_ok(&queue.delete(MAIN, handles).await, 25);
}

/// Bodies up to the limit, alone and in sums that need several calls.
pub async fn large_bodies_arrive_unchanged(queue: &dyn DelayQueue) {
    let body = |letter: char, bytes: usize| -> Arc<str> {
        let text: String = std::iter::repeat_n(letter, bytes).collect();
        text.into()
    };
    let sent = [
        body('a', QUEUE_MESSAGE_MAX_BYTES),
        body('b', 700_000),
        body('c', 700_000),
        body('d', 1),
    ];
    let messages = sent.iter().map(|b| message(b.clone(), 0)).collect();
    assert_all_ok(&queue.send(Priority::Standard, messages).await, 4);
    let received = receive_all(queue, MAIN, 4).await;
    let expected: BTreeSet<&str> = sent.iter().map(AsRef::as_ref).collect();
    assert!(bodies(&received) == expected, "bodies changed");
}

/// Delays are whole seconds, never shorter, and not much longer.
pub async fn a_delay_is_never_cut_short(queue: &dyn DelayQueue) {
    let start = Instant::now();
    let messages = (0..3).map(|s| message(s.to_string(), s)).collect();
    assert_all_ok(&queue.send(Priority::Standard, messages).await, 3);
    let sent = Instant::now();
    let mut seen = BTreeSet::new();
    while seen.len() < 3 {
        for receipt in receive(queue, 10, Duration::from_secs(20), LONG).await {
            let delay = Duration::from_secs(receipt.body.parse().unwrap());
            assert!(start.elapsed() >= delay, "{} s came early", receipt.body);
            assert!(
                sent.elapsed() <= delay + LATE_MAX,
                "{} s is late",
                receipt.body
            );
            assert!(seen.insert(receipt.body), "received twice");
        }
        assert!(
            sent.elapsed() < Duration::from_secs(10),
            "only {seen:?} came"
        );
    }
}

/// The longest delay is accepted, and is a delay.
pub async fn the_longest_delay_is_accepted(queue: &dyn DelayQueue) {
    let messages = vec![message("far", QUEUE_DELAY_MAX_S)];
    assert_all_ok(&queue.send(Priority::Standard, messages).await, 1);
    assert!(
        receive(queue, 10, Duration::from_secs(1), LONG)
            .await
            .is_empty()
    );
}

/// An empty queue is waited for as long as asked, and no longer.
pub async fn an_empty_queue_is_waited_for(queue: &dyn DelayQueue) {
    for seconds in [0, 1] {
        let (start, wait) = (Instant::now(), Duration::from_secs(seconds));
        assert!(receive(queue, 10, wait, LONG).await.is_empty());
        assert!(start.elapsed() >= wait, "{:?}", start.elapsed());
        assert!(start.elapsed() < wait + LATE_MAX, "{:?}", start.elapsed());
    }
}

/// A long poll ends when something becomes visible.
pub async fn a_long_poll_wakes_up(queue: &dyn DelayQueue) {
    let start = Instant::now();
    let poll = receive(queue, 10, Duration::from_secs(15), LONG);
    let sender = async {
        sleep(Duration::from_millis(500)).await;
        send(queue, "news").await;
    };
    let (received, ()) = tokio::join!(poll, sender);
    assert_eq!(bodies(&received), ["news"].into());
    assert!(
        start.elapsed() < Duration::from_secs(5),
        "{:?}",
        start.elapsed()
    );
}

/// No more than asked for at a time.
pub async fn a_receive_answers_with_at_most_max(queue: &dyn DelayQueue) {
    let messages = (0..6).map(|n| message(n.to_string(), 0)).collect();
    assert_all_ok(&queue.send(Priority::Standard, messages).await, 6);
    let mut seen = BTreeSet::new();
    while seen.len() < 6 {
        let some = receive(queue, 2, Duration::from_secs(5), LONG).await;
        assert!(!some.is_empty(), "only {seen:?} came");
        seen.extend(some.into_iter().map(|r| r.body));
    }
}

/// What is received and not deleted is invisible for a while, and then comes again, counted.
pub async fn a_message_comes_again_when_its_visibility_expires(queue: &dyn DelayQueue) {
    send(queue, "again").await;
    let asked = Instant::now();
    let visibility = Duration::from_secs(2);
    let first = receive_one(queue, visibility).await;
    assert_eq!((first.body.as_str(), first.receive_count), ("again", 1));
    let hidden = receive(queue, 10, Duration::from_millis(0), LONG).await;
    assert!(hidden.is_empty(), "visible to others: {hidden:?}");
    let second = receive_one(queue, LONG).await;
    assert!(asked.elapsed() >= visibility, "{:?}", asked.elapsed());
    assert!(
        asked.elapsed() < visibility + LATE_MAX,
        "{:?}",
        asked.elapsed()
    );
    assert_eq!((second.body.as_str(), second.receive_count), ("again", 2));
    assert_ne!(first.handle, second.handle, "a handle is of one receipt");
    assert_eq!(first.sent_ms, second.sent_ms, "sent once");
}

/// A deleted message stays away.
pub async fn a_deleted_message_does_not_come_again(queue: &dyn DelayQueue) {
    send(queue, "done").await;
    let receipt = receive_one(queue, Duration::from_secs(1)).await;
    assert_all_ok(&queue.delete(MAIN, vec![receipt.handle]).await, 1);
    let again = receive(queue, 10, Duration::from_secs(2), LONG).await;
    assert!(again.is_empty(), "{again:?}");
}

/// A handle from an earlier receipt deletes without an error, also twice, also among fresh ones.
pub async fn a_stale_handle_may_delete(queue: &dyn DelayQueue) {
    send(queue, "twice").await;
    let first = receive_one(queue, Duration::ZERO).await;
    let second = receive_one(queue, LONG).await;
    assert_eq!(second.receive_count, 2);
    let both = vec![first.handle.clone(), second.handle.clone()];
    assert_all_ok(&queue.delete(MAIN, both.clone()).await, 2);
    assert_all_ok(&queue.delete(MAIN, both).await, 2);
    assert!(receive(queue, 10, Duration::ZERO, LONG).await.is_empty());
}

/// Extending keeps a message invisible, counted from the call.
pub async fn extending_keeps_a_message_invisible(queue: &dyn DelayQueue) {
    send(queue, "held").await;
    let receipt = receive_one(queue, Duration::from_secs(2)).await;
    sleep(Duration::from_secs(1)).await;
    let asked = Instant::now();
    let visibility = Duration::from_secs(3);
    let handles = vec![receipt.handle];
    assert_all_ok(&queue.extend(MAIN, handles, visibility).await, 1);
    let again = receive_one(queue, LONG).await;
    assert_eq!(again.receive_count, 2);
    assert!(asked.elapsed() >= visibility, "{:?}", asked.elapsed());
    assert!(
        asked.elapsed() < visibility + LATE_MAX,
        "{:?}",
        asked.elapsed()
    );
}

/// Extending by nothing gives a message back at once.
pub async fn extending_to_zero_gives_a_message_back(queue: &dyn DelayQueue) {
    send(queue, "back").await;
    let receipt = receive_one(queue, LONG).await;
    let handles = vec![receipt.handle];
    assert_all_ok(&queue.extend(MAIN, handles, Duration::ZERO).await, 1);
    assert_eq!(receive_one(queue, LONG).await.receive_count, 2);
}

/// What is not held any more cannot be extended; the entries beside it can.
pub async fn a_vanished_message_cannot_be_extended(queue: &dyn DelayQueue) {
    let messages = (0..3).map(|n| message(n.to_string(), 0)).collect();
    assert_all_ok(&queue.send(Priority::Standard, messages).await, 3);
    let receipts = receive_all(queue, MAIN, 3).await;
    let gone = vec![receipts[1].handle.clone()];
    assert_all_ok(&queue.delete(MAIN, gone).await, 1);
    let outcomes = queue.extend(MAIN, handles(&receipts), LONG).await;
    assert_eq!(classes(&outcomes), [None, Some(ErrorClass::Conflict), None]);
}

/// Each priority has a queue of its own, and so have the dead letters of each.
pub async fn priorities_do_not_mix(queue: &dyn DelayQueue) {
    for priority in Priority::ALL {
        let messages = vec![message(priority.as_str(), 0)];
        assert_all_ok(&queue.send(priority, messages).await, 1);
    }
    for priority in Priority::ALL {
        let received = receive_all(queue, Lane::Main(priority), 1).await;
        assert_eq!(bodies(&received), [priority.as_str()].into());
        let lane = Lane::DeadLetter(priority);
        let dead = queue.receive(lane, 10, Duration::ZERO, LONG).await.unwrap();
        assert!(dead.is_empty(), "{dead:?}");
    }
}

/// A message that is received too often ends up in the dead-letter queue, whole, and can be deleted there.
pub async fn received_too_often_is_a_dead_letter(queue: &dyn DelayQueue) {
    send(queue, "poison").await;
    let give_up = Instant::now() + Duration::from_secs(60);
    let mut count = 0;
    let dead = loop {
        assert!(
            Instant::now() < give_up,
            "still in its queue, count {count}"
        );
        let none = Duration::ZERO;
        if let Some(receipt) = receive(queue, 1, none, none).await.pop() {
            count += 1;
            assert_eq!(receipt.receive_count, count);
            continue;
        }
        // Empty: it is in between, or a dead letter.
        let wait = Duration::from_secs(1);
        let mut dead = queue.receive(DEAD, 10, wait, LONG).await.unwrap();
        if let Some(receipt) = dead.pop() {
            break receipt;
        }
    };
    assert_eq!(dead.body, "poison");
    assert!(count >= RECEIVES_MIN, "given up after {count} receives");
    let handles = vec![dead.handle];
    assert_all_ok(&queue.extend(DEAD, handles.clone(), LONG).await, 1);
    assert_all_ok(&queue.delete(DEAD, handles).await, 1);
}

/// Nothing to do is no error.
pub async fn empty_calls_are_harmless(queue: &dyn DelayQueue) {
    assert_all_ok(&queue.send(Priority::High, Vec::new()).await, 0);
    assert_all_ok(&queue.delete(MAIN, Vec::new()).await, 0);
    assert_all_ok(&queue.extend(MAIN, Vec::new(), LONG).await, 0);
}

/// A receive that is given up (its future dropped) holds back nothing for longer than its visibility.
pub async fn a_dropped_receive_loses_nothing(queue: &dyn DelayQueue) {
    let until = Instant::now() + Duration::from_millis(300);
    tokio::select! {
        received = receive(queue, 10, Duration::from_secs(10), Duration::from_secs(1)) => {
            panic!("nothing was sent: {received:?}");
        }
        () = sleep_until(until) => {}
    }
    send(queue, "kept").await;
    // A server may still answer the poll it was left with: then it comes again after that visibility.
    let receipt = receive_one(queue, LONG).await;
    assert_eq!(receipt.body, "kept");
}

/// Hands the names of the checks on.
#[macro_export]
macro_rules! delay_queue_checks {
    ($run:ident) => {
        $run! { delay_queue:
            a_bad_entry_fails_alone_and_in_its_place
            many_messages_in_one_call
            large_bodies_arrive_unchanged
            a_delay_is_never_cut_short
            the_longest_delay_is_accepted
            an_empty_queue_is_waited_for
            a_long_poll_wakes_up
            a_receive_answers_with_at_most_max
            a_message_comes_again_when_its_visibility_expires
            a_deleted_message_does_not_come_again
            a_stale_handle_may_delete
            extending_keeps_a_message_invisible
            extending_to_zero_gives_a_message_back
            a_vanished_message_cannot_be_extended
            priorities_do_not_mix
            received_too_often_is_a_dead_letter
            empty_calls_are_harmless
            a_dropped_receive_loses_nothing
        }
    };
}
