//! What the checks of source and sink need besides the port: topics, and a producer and reader without delayq.

use std::sync::Arc;

use async_trait::async_trait;
use delayq_core::clock::EpochMs;
use delayq_core::ports::{RecordSink, RecordSource};
use delayq_core::record::{Incoming, Record, TopicPartition};

/// A Kafka to try an adapter on. Failures of these helpers are panics.
#[async_trait]
pub trait Kafka: Send + Sync {
    /// A new topic with a name of its own.
    async fn topic(&self, partitions: u32) -> Arc<str>;

    /// Appends records in order, as a foreign producer does. `timestamp_ms`: now if `None`.
    async fn write(
        &self,
        partition: &TopicPartition,
        records: Vec<Record>,
        timestamp_ms: Option<EpochMs>,
    );

    /// Everything in a topic.
    async fn read(&self, topic: &str) -> Vec<Incoming>;

    /// The adapter under test, joining `group` (unique to this Kafka) for `topic`.
    fn join(&self, group: &str, topic: &str) -> Box<dyn RecordSource>;

    /// The adapter under test.
    fn sink(&self) -> Arc<dyn RecordSink>;
}
