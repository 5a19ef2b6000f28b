//! The suites over the adapters in memory, in paused time: seconds of delay cost none.

#![allow(clippy::unwrap_used, reason = "helpers of tests")]

use std::sync::Arc;

use async_trait::async_trait;
use delayq_contract::kafka::Kafka;
use delayq_contract::message_feed::Followed;
use delayq_contract::message_index::Indexed;
use delayq_core::clock::{Clock, EpochMs};
use delayq_core::ports::{
    BatchStore, DelayQueue, MessageFeed, MessageRegistry, PayloadStore, RecordSink, RecordSource,
    ShardState, TallyStore, TickQueue,
};
use delayq_core::record::{Incoming, Record, TopicPartition};
use delayq_embedded::{
    MemoryBatchStore, MemoryBroker, MemoryDelayQueue, MemoryMessageRegistry, MemoryPayloadStore,
    MemoryShardState, MemorySink, MemorySource, MemoryTallyStore, MemoryTickQueue, RuntimeClock,
    SourceOptions,
};

const NOW_MS: EpochMs = 1_790_000_000_000;

fn clock() -> Arc<dyn Clock> {
    Arc::new(RuntimeClock::starting_at(NOW_MS))
}

struct InMemory(MemoryBroker);

#[async_trait]
impl Kafka for InMemory {
    async fn topic(&self, partitions: u32) -> Arc<str> {
        let name = format!("topic-{}", self.0.topics().len());
        self.0.create_topic(&name, partitions);
        name.into()
    }

    async fn write(
        &self,
        partition: &TopicPartition,
        records: Vec<Record>,
        timestamp_ms: Option<EpochMs>,
    ) {
        for record in records {
            self.0.produce(partition, record, timestamp_ms).unwrap();
        }
    }

    async fn read(&self, topic: &str) -> Vec<Incoming> {
        self.0.read(topic)
    }

    fn join(&self, group: &str, topic: &str) -> Box<dyn RecordSource> {
        let options = SourceOptions::default();
        Box::new(MemorySource::join(&self.0, group, [topic], options))
    }

    fn sink(&self) -> Arc<dyn RecordSink> {
        Arc::new(MemorySink::new(&self.0))
    }
}

struct WithFeeds(MemoryMessageRegistry, Arc<dyn Clock>);

#[async_trait]
impl Followed for WithFeeds {
    fn registry(&self) -> &dyn MessageRegistry {
        &self.0
    }

    async fn open(&self) -> Box<dyn MessageFeed> {
        Box::new(self.0.feed())
    }

    fn now_ms(&self) -> EpochMs {
        self.1.now_ms()
    }

    fn early_ms(&self) -> i64 {
        0
    }
}

/// A fresh subject for each port.
mod subject {
    use super::*;

    pub(super) fn delay_queue() -> Box<dyn DelayQueue> {
        Box::new(MemoryDelayQueue::new(clock()))
    }

    pub(super) fn tick_queue() -> Box<dyn TickQueue> {
        Box::new(MemoryTickQueue::new())
    }

    pub(super) fn batch_store() -> Box<dyn BatchStore> {
        Box::new(MemoryBatchStore::new(clock()))
    }

    pub(super) fn shard_state() -> Box<dyn ShardState> {
        Box::new(MemoryShardState::new())
    }

    pub(super) fn payload_store() -> Box<dyn PayloadStore> {
        Box::new(MemoryPayloadStore::new(clock()))
    }

    pub(super) fn tally_store() -> Box<dyn TallyStore> {
        Box::new(MemoryTallyStore::default())
    }

    pub(super) fn message_registry() -> Box<dyn MessageRegistry> {
        Box::new(MemoryMessageRegistry::new(clock()))
    }

    pub(super) fn message_index() -> Box<dyn Indexed> {
        Box::new(MemoryMessageRegistry::new(clock()))
    }

    pub(super) fn message_feed() -> Box<dyn Followed> {
        let clock = clock();
        let registry = MemoryMessageRegistry::new(clock.clone());
        Box::new(WithFeeds(registry, clock))
    }

    pub(super) fn record_source() -> Box<dyn Kafka> {
        Box::new(InMemory(MemoryBroker::new(clock())))
    }

    pub(super) fn record_sink() -> Box<dyn Kafka> {
        record_source()
    }
}

macro_rules! on_embedded {
    ($port:ident: $($check:ident)*) => {
        mod $port {
            $(
                #[tokio::test(start_paused = true)]
                async fn $check() {
                    delayq_contract::$port::$check(&*super::subject::$port()).await;
                }
            )*
        }
    };
}

delayq_contract::delay_queue_checks!(on_embedded);
delayq_contract::tick_queue_checks!(on_embedded);
delayq_contract::batch_store_checks!(on_embedded);
delayq_contract::shard_state_checks!(on_embedded);
delayq_contract::payload_store_checks!(on_embedded);
delayq_contract::tally_store_checks!(on_embedded);
delayq_contract::message_registry_checks!(on_embedded);
delayq_contract::message_index_checks!(on_embedded);
delayq_contract::message_feed_checks!(on_embedded);
delayq_contract::record_source_checks!(on_embedded);
delayq_contract::record_sink_checks!(on_embedded);
