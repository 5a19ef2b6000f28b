//! Under a backlog in the queues high goes first, and low is not starved. Virtual time, a slow broker.

use std::sync::Arc;
use std::time::Duration;

use delayq::health::HealthPort;
use delayq::settings;
use delayq_core::batch;
use delayq_core::clock::Clock;
use delayq_core::ports::{DelayQueue, QueueMessage};
use delayq_core::priority::Priority;
use delayq_core::record::{Path, Scheduled, Source, TopicPartition};
use delayq_e2e::produce::record;
use delayq_embedded::{
    MemoryBroker, MemoryDelayQueue, MemoryMessageRegistry, MemoryPayloadStore, MemorySink,
    RuntimeClock,
};
use delayq_emitter::EmitterPorts;
use delayq_runtime::config::{Sources, load};
use delayq_runtime::health::Health;
use tokio_util::sync::CancellationToken;

const START_MS: i64 = 1_800_000_000_000;
const BATCH: i64 = 100;

/// Overdue records of one priority, in batches.
async fn backlog(queue: &MemoryDelayQueue, priority: Priority, records: i64) {
    for first in (0..records).step_by(BATCH as usize) {
        let batch: Vec<_> = (first..first + BATCH)
            .map(|offset| Scheduled {
                source: Source {
                    at: TopicPartition::new(format!("{priority}.delay"), 0),
                    offset,
                },
                output_topic: format!("out.{priority}").into(),
                priority,
                due_ms: START_MS,
                timestamp_ms: START_MS,
                id: None,
                path: Path::Short,
                record: record(None, Some("v"), &[]),
                payload: None,
                limit: None,
            })
            .collect();
        let body = batch::to_text(&batch::encode(&batch, 1).expect("a batch")).into();
        for sent in queue
            .send(priority, vec![QueueMessage { body, delay_s: 0 }])
            .await
        {
            sent.expect("sent");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn high_passes_a_backlog_of_low_and_low_still_moves() {
    let set = ["topics.allow=out*", "emitter.in_flight=1000"]
        .map(ToString::to_string)
        .into();
    let config = load(&Sources {
        set,
        ..Sources::default()
    })
    .expect("a valid configuration");
    let clock: Arc<dyn Clock> = Arc::new(RuntimeClock::starting_at(START_MS));
    let broker = MemoryBroker::new(clock.clone());
    for p in Priority::ALL {
        broker.create_topic(&format!("out.{p}"), 1);
    }
    let queue = Arc::new(MemoryDelayQueue::new(clock.clone()));
    backlog(&queue, Priority::Low, 20_000).await;
    let stop = CancellationToken::new();
    let ports = EmitterPorts {
        // Ten records every 20 ms: the backlog takes 40 s.
        sink: Arc::new(MemorySink::with_faults(
            &broker,
            Duration::from_millis(20),
            10,
            None,
        )),
        queue: queue.clone(),
        payloads: Arc::new(MemoryPayloadStore::new(clock.clone())),
        registry: Arc::new(MemoryMessageRegistry::new(clock.clone())),
        clock: clock.clone(),
        health: Arc::new(HealthPort::expecting(&Health::new(), &[])),
    };
    let emitter = tokio::spawn(delayq_emitter::run(
        settings::emitter(&config).expect("settings"),
        ports,
        stop.clone(),
    ));
    // The emitter is busy with low when high arrives.
    tokio::time::sleep(Duration::from_secs(5)).await;
    backlog(&queue, Priority::High, 1_000).await;
    let high_ms = clock.now_ms();
    while broker.read("out.low").len() < 20_000 {
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    stop.cancel();
    emitter.await.expect("a clean stop");
    let times = |topic: &str| {
        broker
            .read(topic)
            .iter()
            .map(|r| r.timestamp_ms.expect("a timestamp"))
            .collect::<Vec<_>>()
    };
    let (high, low) = (times("out.high"), times("out.low"));
    assert_eq!((high.len(), low.len()), (1_000, 20_000), "each once");
    let last_high_ms = high.iter().max().expect("high records") - high_ms;
    // Alone they would take 2 s; the floor gives low every tenth turn.
    assert!(last_high_ms <= 2_600, "high took {last_high_ms} ms");
    let meanwhile = low
        .iter()
        .filter(|at| (high_ms..high_ms + last_high_ms).contains(*at))
        .count();
    assert!(
        (50..300).contains(&meanwhile),
        "low moved by {meanwhile} meanwhile"
    );
}
