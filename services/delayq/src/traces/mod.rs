//! OpenTelemetry traces of the records whose producer asked for them: a `traceparent` header with the sampled flag.
//!
//! A record carries its producer's trace context through all tiers to the output, unchanged, and so does not need delayq to pass one on.
//! Router and emitter add two spans to that trace, children of the producer's and linked to it: [`source`]: `receive`, from the append to
//! the delay topic until the router has read it; [`sink`]: `publish`, from when it was due until the broker has confirmed it, which is its
//! lateness. What lies between is the delay. Without `traces.otlp_endpoint` nothing stands between the roles and Kafka.

mod context;
mod export;
mod sink;
mod source;

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::Context as _;
use delayq_core::clock::{Clock, EpochMs};
use delayq_core::ports::{RecordSink, RecordSource, SourceEvent};
use delayq_core::record::Record;
use delayq_runtime::config::Config;
use opentelemetry::trace::{
    Link, Span as _, SpanKind, TraceContextExt as _, Tracer as _, TracerProvider as _,
};
use opentelemetry::{Context, KeyValue};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::{Sampler, SdkTracer, SdkTracerProvider};

use self::sink::TracedSink;
use crate::tap::tap;

/// How long a stop waits for the last spans.
const LAST_SPANS: Duration = Duration::from_secs(5);

/// Where spans go.
#[derive(Clone)]
pub(crate) struct Traces {
    provider: SdkTracerProvider,
    tracer: SdkTracer,
    clock: Arc<dyn Clock>,
}

impl Traces {
    /// Starts the exporter, if there is an endpoint for it.
    ///
    /// # Errors
    /// An endpoint that no exporter can be made for.
    pub(crate) fn start(config: &Config, clock: Arc<dyn Clock>) -> anyhow::Result<Option<Self>> {
        let Some(endpoint) = &config.traces.otlp_endpoint else {
            return Ok(None);
        };
        let exporter = export::exporter(endpoint).context("traces.otlp_endpoint")?;
        let resource = Resource::builder()
            .with_service_name(config.traces.service_name.clone())
            .with_attribute(KeyValue::new("service.version", env!("CARGO_PKG_VERSION")))
            .build();
        let provider = SdkTracerProvider::builder()
            .with_resource(resource)
            // The producer has decided.
            .with_sampler(Sampler::ParentBased(Box::new(Sampler::AlwaysOff)))
            .with_batch_exporter(exporter)
            .build();
        Ok(Some(Self {
            tracer: provider.tracer("delayq"),
            provider,
            clock,
        }))
    }

    /// Publications through `inner` are traced.
    pub(crate) fn sink(&self, inner: Arc<dyn RecordSink>) -> Arc<dyn RecordSink> {
        Arc::new(TracedSink::new(inner, self.clone()))
    }

    /// What is read from `inner` is traced.
    pub(crate) fn source(&self, inner: Box<dyn RecordSource>) -> Box<dyn RecordSource> {
        let traces = self.clone();
        tap(inner, move |event| {
            if let Some(SourceEvent::Records(records)) = event {
                records
                    .iter()
                    .for_each(|one| source::received(&traces, one));
            }
        })
    }

    /// Sends what is left, and ends.
    pub(crate) async fn stop(self) {
        let provider = self.provider;
        let ended =
            tokio::task::spawn_blocking(move || provider.shutdown_with_timeout(LAST_SPANS)).await;
        match ended {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::warn!(%error, "the last spans are lost"),
            Err(error) => tracing::warn!(%error, "the last spans are lost"),
        }
    }

    /// The producer's context, if its trace is sampled.
    fn parent(&self, record: &Record) -> Option<Context> {
        context::sampled(record)
    }

    /// Writes a span that has ended now.
    fn write(&self, parent: &Context, span: Ended) {
        let link = Link::new(parent.span().span_context().clone(), Vec::new(), 0);
        let mut written = self
            .tracer
            .span_builder(span.name)
            .with_kind(span.kind)
            .with_start_time(at(span.start_ms))
            .with_links(vec![link])
            .with_attributes(span.attributes)
            .start_with_context(&self.tracer, parent);
        written.end_with_timestamp(at(self.clock.now_ms().max(span.start_ms)));
    }
}

/// A span, but for its end.
struct Ended {
    name: String,
    kind: SpanKind,
    start_ms: EpochMs,
    attributes: Vec<KeyValue>,
}

fn at(ms: EpochMs) -> SystemTime {
    UNIX_EPOCH + Duration::from_millis(u64::try_from(ms).unwrap_or(0))
}

/// Names of attributes: <https://opentelemetry.io/docs/specs/semconv/messaging/kafka/>, and our own.
mod names {
    pub(super) const SYSTEM: &str = "messaging.system";
    pub(super) const OPERATION: &str = "messaging.operation.type";
    pub(super) const TOPIC: &str = "messaging.destination.name";
    pub(super) const PARTITION: &str = "messaging.destination.partition.id";
    pub(super) const OFFSET: &str = "messaging.kafka.offset";
    pub(super) const DUE_MS: &str = "delayq.due_ms";
    pub(super) const PATH: &str = "delayq.path";
    pub(super) const SOURCE: &str = "delayq.source";
    pub(super) const ERROR: &str = "delayq.error";
}
