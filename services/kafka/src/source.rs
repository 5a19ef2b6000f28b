//! [`KafkaSource`]: the port over the poll thread.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use delayq_core::error::{ErrorClass, PortError};
use delayq_core::ports::{Commit, Outcomes, RecordSource, SourceEvent};
use delayq_core::record::TopicPartition;

use crate::assignment::Assignment;
use crate::errors;
use crate::event_queue::EventQueue;
use crate::health::Health;
use crate::in_hand::Chunk;
use crate::incoming::Decoder;
use crate::poll_loop;
use crate::settings::{KafkaSettings, SourceSettings};
use crate::shared::Shared;
use crate::sync::lock;

/// The consumer of the delay topics.
///
/// Holds at most about 22 MiB of records: 16 MiB prefetched by librdkafka, 4 MiB in the event queue, a chunk of
/// 1 MiB and a largest record in hand. Dropped without [`RecordSource::close`] it leaves the group without
/// committing anything.
pub struct KafkaSource {
    shared: Arc<Shared>,
}

impl std::fmt::Debug for KafkaSource {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("KafkaSource")
            .field("settings", &self.shared.settings)
            .finish_non_exhaustive()
    }
}

impl KafkaSource {
    /// Builds the consumer, subscribes and starts the poll thread. Needs no broker: one that is away shows as
    /// [`SourceEvent::Unhealthy`].
    ///
    /// # Errors
    /// `Misconfigured` when the settings have faults or librdkafka refuses them.
    pub fn start(kafka: &KafkaSettings, settings: SourceSettings) -> Result<Self, PortError> {
        let mut faults = kafka.faults();
        faults.extend(settings.faults());
        if !faults.is_empty() {
            return Err(errors::faulty_settings("kafka consumer", &faults));
        }
        let shared = Arc::new(Shared {
            decoder: Decoder::new(&settings.topics),
            bootstrap_servers: kafka.bootstrap_servers.clone(),
            settings,
            queue: EventQueue::default(),
            in_hand: Mutex::new(Chunk::default()),
            assignment: Mutex::new(Assignment::default()),
            pauses_changed: AtomicBool::new(false),
            health: Mutex::new(Health::default()),
            unhealthy: AtomicBool::new(false),
            probing: AtomicBool::new(false),
            closing: AtomicBool::new(false),
            consumer: Mutex::new(None),
        });
        let consumer = poll_loop::build(kafka, &shared)?;
        let thread = {
            let kafka = kafka.clone();
            let shared = Arc::clone(&shared);
            move || poll_loop::run(&kafka, &shared, consumer)
        };
        // Not joined: the end of the queue says that it has done its work, and destroying a client may wait for
        // brokers.
        std::thread::Builder::new()
            .name("kafka-source".to_owned())
            .spawn(thread)
            .map_err(|error| {
                PortError::new(
                    ErrorClass::Transient,
                    "kafka poll thread",
                    error.to_string(),
                )
            })?;
        Ok(Self { shared })
    }
}

#[async_trait]
impl RecordSource for KafkaSource {
    async fn next(&mut self) -> Option<SourceEvent> {
        self.shared.queue.next().await
    }

    fn pause(&self, partitions: &[TopicPartition]) {
        lock(&self.shared.assignment).pause(partitions);
        self.shared.pauses_changed.store(true, Ordering::Relaxed);
    }

    fn resume(&self, partitions: &[TopicPartition]) {
        lock(&self.shared.assignment).resume(partitions);
        self.shared.pauses_changed.store(true, Ordering::Relaxed);
    }

    /// Partitions that are not held any more answer `Conflict` and are not sent. With no coordinator the answer
    /// takes up to the session time-out.
    async fn commit(&self, commits: Vec<Commit>) -> Outcomes {
        let partitions: Vec<TopicPartition> = commits.iter().map(|c| c.partition.clone()).collect();
        let shared = Arc::clone(&self.shared);
        match tokio::task::spawn_blocking(move || shared.commit(&commits)).await {
            Ok(outcomes) => outcomes,
            Err(error) => partitions
                .iter()
                .map(|partition| {
                    Err(PortError::new(
                        ErrorClass::Transient,
                        "kafka commit",
                        format!("{partition}: {error}"),
                    ))
                })
                .collect(),
        }
    }

    fn close(&self) {
        self.shared.closing.store(true, Ordering::Relaxed);
    }
}

impl Drop for KafkaSource {
    fn drop(&mut self) {
        // Ends the poll thread too.
        self.shared.queue.abandon();
    }
}
