//! Publications: a span from when the record was due until the broker has confirmed it.

use std::sync::Arc;

use delayq_core::error::PortError;
use delayq_core::headers::{ERROR_CODE, OUT_DUE_MS, OUT_PATH, OUT_SOURCE};
use delayq_core::ports::{Acknowledge, Published, RecordSink};
use delayq_core::record::Outgoing;
use opentelemetry::trace::SpanKind;
use opentelemetry::{Context, KeyValue};

use super::{Ended, Traces, names};

pub(super) struct TracedSink {
    inner: Arc<dyn RecordSink>,
    traces: Traces,
}

impl TracedSink {
    pub(super) fn new(inner: Arc<dyn RecordSink>, traces: Traces) -> Self {
        Self { inner, traces }
    }
}

impl RecordSink for TracedSink {
    fn publish(&self, record: &Outgoing, acknowledge: Acknowledge) -> Result<(), Acknowledge> {
        let Some(parent) = self.traces.parent(&record.record) else {
            return self.inner.publish(record, acknowledge);
        };
        let span = self.span(record);
        let traces = self.traces.clone();
        self.inner.publish(
            record,
            Box::new(move |answer| {
                confirmed(&traces, &parent, span, &answer);
                acknowledge(answer);
            }),
        )
    }

    fn health(&self) -> Result<(), PortError> {
        self.inner.health()
    }
}

impl TracedSink {
    fn span(&self, out: &Outgoing) -> Ended {
        let text = |name| out.record.header_text(name).map(str::to_owned);
        let due_ms = text(OUT_DUE_MS).and_then(|due| due.parse().ok());
        let mut attributes = vec![
            KeyValue::new(names::SYSTEM, "kafka"),
            KeyValue::new(names::OPERATION, "send"),
            KeyValue::new(names::TOPIC, out.topic.to_string()),
        ];
        attributes.extend(due_ms.map(|due_ms| KeyValue::new(names::DUE_MS, due_ms)));
        for (name, header) in [
            (names::PATH, OUT_PATH),
            (names::SOURCE, OUT_SOURCE),
            (names::ERROR, ERROR_CODE),
        ] {
            attributes.extend(text(header).map(|value| KeyValue::new(name, value)));
        }
        Ended {
            name: format!("publish {}", out.topic),
            kind: SpanKind::Producer,
            start_ms: due_ms.unwrap_or_else(|| self.traces.clock.now_ms()),
            attributes,
        }
    }
}

/// A refused publication is tried again, or its dead letter is: that one has a span.
fn confirmed(
    traces: &Traces,
    parent: &Context,
    mut span: Ended,
    answer: &Result<Published, PortError>,
) {
    if let Ok(published) = answer {
        let partition = published.partition.to_string();
        span.attributes.extend([
            KeyValue::new(names::PARTITION, partition),
            KeyValue::new(names::OFFSET, published.offset),
        ]);
        traces.write(parent, span);
    }
}
