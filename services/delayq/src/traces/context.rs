//! The trace context that a record carries: <https://www.w3.org/TR/trace-context/>.

use delayq_core::record::Record;
use opentelemetry::Context;
use opentelemetry::propagation::{Extractor, TextMapPropagator as _};
use opentelemetry_sdk::propagation::TraceContextPropagator;

const TRACEPARENT: &str = "traceparent";

struct Headers<'a>(&'a Record);

impl Extractor for Headers<'_> {
    fn get(&self, key: &str) -> Option<&str> {
        self.0.header_text(key)
    }

    fn keys(&self) -> Vec<&str> {
        self.0.headers.iter().map(|h| h.name.as_ref()).collect()
    }
}

/// The context, if it is one and its trace is sampled. Most records have none: that is seen first.
pub(super) fn sampled(record: &Record) -> Option<Context> {
    let parent = record.header_text(TRACEPARENT)?;
    // The last of the flags' bits, in hexadecimal.
    let flags = u8::from_str_radix(parent.get(53..55)?, 16).ok()?;
    if flags & 1 == 0 {
        return None;
    }
    let context =
        TraceContextPropagator::new().extract_with_context(&Context::new(), &Headers(record));
    opentelemetry::trace::TraceContextExt::has_active_span(&context).then_some(context)
}

#[cfg(test)]
mod tests {
    use super::*;
    use delayq_core::record::Header;
    use opentelemetry::trace::TraceContextExt as _;

    fn with(parent: &str) -> Record {
        Record {
            headers: vec![Header::text("a", "b"), Header::text(TRACEPARENT, parent)],
            ..Record::default()
        }
    }

    #[test]
    fn the_producers_context_is_found() {
        let record = with("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01");
        let context = sampled(&record).expect("a context");
        let span = context.span().span_context().clone();
        assert_eq!(
            span.trace_id().to_string(),
            "0af7651916cd43dd8448eb211c80319c"
        );
        assert_eq!(span.span_id().to_string(), "b7ad6b7169203331");
        assert!(span.is_remote());
    }

    #[test]
    fn what_is_not_sampled_or_no_context_is_left_alone() {
        for parent in [
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-02",
            "00-00000000000000000000000000000000-b7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331",
            "ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-0é",
            "",
        ] {
            assert!(sampled(&with(parent)).is_none(), "{parent}");
        }
        assert!(sampled(&Record::default()).is_none());
    }
}
