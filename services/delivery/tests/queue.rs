//! Sending to a queue of which some entries fail: each is tried until it is confirmed, with the delay that is left.

#![allow(clippy::expect_used, reason = "helpers of tests")]

use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use delayq_core::clock::ManualClock;
use delayq_core::error::{ErrorClass, PortError};
use delayq_core::ports::{DelayQueue, Lane, Outcomes, QueueMessage, Receipt};
use delayq_core::priority::Priority;
use delayq_core::record::{Path, Record, Scheduled, Source, TopicPartition};
use delayq_delivery::queue::{QueueSender, QueueSettings, Sent};
use delayq_embedded::MemoryHealth;

const NOW_MS: i64 = 1_800_000_000_000;
const EARLY_MS: i64 = 1_500;

/// Fails the first `failing` entries of its first call, which takes 10 s of the wall clock.
struct Failing {
    failing: usize,
    clock: Arc<ManualClock>,
    /// The delays of each call's entries.
    calls: Mutex<Vec<Vec<u32>>>,
}

#[async_trait]
impl DelayQueue for Failing {
    async fn send(&self, _priority: Priority, messages: Vec<QueueMessage>) -> Outcomes {
        let mut calls = self.calls.lock().expect("unpoisoned");
        calls.push(messages.iter().map(|message| message.delay_s).collect());
        let failing = if calls.len() == 1 { self.failing } else { 0 };
        self.clock.advance(10_000);
        let error = PortError::new(ErrorClass::Transient, "test", "busy");
        let outcome = |n: usize| {
            if n < failing {
                Err(error.clone())
            } else {
                Ok(())
            }
        };
        (0..messages.len()).map(outcome).collect()
    }

    async fn receive(
        &self,
        _lane: Lane,
        _max: usize,
        _wait: Duration,
        _visibility: Duration,
    ) -> Result<Vec<Receipt>, PortError> {
        Ok(Vec::new())
    }

    async fn delete(&self, _lane: Lane, _handles: Vec<String>) -> Outcomes {
        Vec::new()
    }

    async fn extend(&self, _lane: Lane, _handles: Vec<String>, _visibility: Duration) -> Outcomes {
        Vec::new()
    }
}

fn scheduled(offset: i64, due_ms: i64) -> Scheduled {
    Scheduled {
        source: Source {
            at: TopicPartition::new("d", 0),
            offset,
        },
        output_topic: "out".into(),
        priority: Priority::Standard,
        due_ms,
        timestamp_ms: NOW_MS,
        id: None,
        path: Path::Short,
        record: Record::default(),
        payload: None,
        limit: None,
    }
}

/// Sends three messages; answers with the tickets as they were confirmed, and the delays of each call.
async fn send(failing: usize) -> (Vec<i64>, Vec<Vec<u32>>) {
    let clock = Arc::new(ManualClock::at(NOW_MS));
    let queue = Arc::new(Failing {
        failing,
        clock: clock.clone(),
        calls: Mutex::default(),
    });
    let settings = QueueSettings {
        message_bytes: 262_144,
        memory_bytes: 4 << 20,
        zstd_level: 1,
        early_ms: EARLY_MS,
        retry_first: Duration::from_millis(10),
        retry_max: Duration::from_millis(100),
        concurrency: 4,
    };
    let sender = QueueSender::new(
        queue.clone(),
        None,
        clock,
        Arc::new(MemoryHealth::default()),
        settings,
    );
    let groups = (0..3)
        .map(|n| vec![(scheduled(n, NOW_MS + 100_000 + n * 1_000), n)])
        .collect();
    let mut confirmed = Vec::new();
    let report = |sent| match sent {
        Sent::Confirmed(tickets) => confirmed.extend(tickets),
        other => panic!("{other:?}"),
    };
    let all = sender.send(Priority::Standard, groups, |_| true, report);
    all.await;
    let calls = queue.calls.lock().expect("unpoisoned").clone();
    (confirmed, calls)
}

#[tokio::test(start_paused = true)]
async fn every_failed_entry_is_tried_again_and_only_those() {
    let (confirmed, calls) = send(2).await;
    assert_eq!(confirmed, [2, 0, 1], "in the order of the queue's word");
    let entries: Vec<_> = calls.iter().map(Vec::len).collect();
    assert_eq!(entries, [3, 2]);
}

#[tokio::test(start_paused = true)]
async fn a_later_try_has_a_shorter_delay() {
    let (_, calls) = send(3).await;
    assert_eq!(calls, [[98, 99, 100], [88, 89, 90]]);
}
