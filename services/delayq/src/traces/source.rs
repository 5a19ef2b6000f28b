//! What the router reads: a span from the append to the delay topic until it was read.

use delayq_core::record::Incoming;
use opentelemetry::KeyValue;
use opentelemetry::trace::SpanKind;

use super::{Ended, Traces, names};

/// Writes the span of a record that was read just now.
pub(super) fn received(traces: &Traces, incoming: &Incoming) {
    let Some(parent) = traces.parent(&incoming.record) else {
        return;
    };
    let at = &incoming.source.at;
    let now_ms = traces.clock.now_ms();
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
    traces.write(&parent, span);
}
