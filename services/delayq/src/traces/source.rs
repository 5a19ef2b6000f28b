//! What the router reads: a span from the append to the delay topic until it was read.

use async_trait::async_trait;
use delayq_core::ports::{Commit, Outcomes, RecordSource, SourceEvent};
use delayq_core::record::{Incoming, TopicPartition};
use opentelemetry::KeyValue;
use opentelemetry::trace::SpanKind;

use super::{Ended, Traces, names};

pub(super) struct TracedSource {
    inner: Box<dyn RecordSource>,
    traces: Traces,
}

impl TracedSource {
    pub(super) fn new(inner: Box<dyn RecordSource>, traces: Traces) -> Self {
        Self { inner, traces }
    }

    fn note(&self, incoming: &Incoming) {
        let Some(parent) = self.traces.parent(&incoming.record) else {
            return;
        };
        let at = &incoming.source.at;
        let now_ms = self.traces.clock.now_ms();
        let span = Ended {
            name: format!("receive {}", at.topic),
            kind: SpanKind::Consumer,
            // Producers' clocks may be ahead.
            start_ms: incoming.timestamp_ms.unwrap_or(now_ms).min(now_ms),
            attributes: vec![
                KeyValue::new(names::SYSTEM, "kafka"),
                KeyValue::new(names::OPERATION, "receive"),
                KeyValue::new(names::TOPIC, at.topic.to_string()),
                KeyValue::new(names::PARTITION, at.partition.to_string()),
                KeyValue::new(names::OFFSET, incoming.source.offset),
            ],
        };
        self.traces.write(&parent, span);
    }
}

#[async_trait]
impl RecordSource for TracedSource {
    async fn next(&mut self) -> Option<SourceEvent> {
        let event = self.inner.next().await;
        if let Some(SourceEvent::Records(records)) = &event {
            records.iter().for_each(|incoming| self.note(incoming));
        }
        event
    }

    fn pause(&self, partitions: &[TopicPartition]) {
        self.inner.pause(partitions);
    }

    fn resume(&self, partitions: &[TopicPartition]) {
        self.inner.resume(partitions);
    }

    async fn commit(&self, commits: Vec<Commit>) -> Outcomes {
        self.inner.commit(commits).await
    }

    fn close(&self) {
        self.inner.close();
    }
}
