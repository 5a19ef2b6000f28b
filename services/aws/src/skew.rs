//! How far this machine's clock is from AWS's, read off the `Date` header of each answer.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use aws_smithy_runtime_api::box_error::BoxError;
use aws_smithy_runtime_api::client::interceptors::context::BeforeDeserializationInterceptorContextRef;
use aws_smithy_runtime_api::client::interceptors::{Intercept, dyn_dispatch_hint};
use aws_smithy_runtime_api::client::runtime_components::RuntimeComponents;
use aws_smithy_types::DateTime;
use aws_smithy_types::config_bag::ConfigBag;
use aws_smithy_types::date_time::Format;
use delayq_core::clock::{Clock, EpochMs};

use crate::metrics::CLOCK_SKEW_MS;

/// No answer with a date seen so far.
const UNKNOWN: i64 = i64::MIN;
/// A `Date` names the second the answer was made in; on average it was half a second later than its start.
const HALF_SECOND_MS: i64 = 500;

/// The skew seen in the last answer. Accurate to about half a second plus the way back of the answer.
pub struct SkewMeter {
    clock: Arc<dyn Clock>,
    skew_ms: AtomicI64,
}

impl SkewMeter {
    /// A meter that compares with `clock`.
    #[must_use]
    pub fn new(clock: Arc<dyn Clock>) -> Self {
        Self {
            clock,
            skew_ms: AtomicI64::new(UNKNOWN),
        }
    }

    /// This clock minus AWS's in milliseconds, as of the last answer; `None` before the first.
    #[must_use]
    pub fn skew_ms(&self) -> Option<i64> {
        let skew_ms = self.skew_ms.load(Ordering::Relaxed);
        (skew_ms != UNKNOWN).then_some(skew_ms)
    }

    /// Takes in the `Date` of an answer that has just arrived. Text that is no HTTP date is passed over.
    pub(crate) fn observe(&self, date: &str) {
        let Some(theirs_ms) = http_date_ms(date) else {
            tracing::debug!(date, "the Date header of an answer is no HTTP date");
            return;
        };
        let skew_ms = self
            .clock
            .now_ms()
            .saturating_sub(theirs_ms.saturating_add(HALF_SECOND_MS));
        self.skew_ms.store(skew_ms, Ordering::Relaxed);
        #[allow(clippy::cast_precision_loss, reason = "a gauge is a float")]
        metrics::gauge!(CLOCK_SKEW_MS).set(skew_ms as f64);
    }
}

impl fmt::Debug for SkewMeter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SkewMeter")
            .field("skew_ms", &self.skew_ms())
            .finish()
    }
}

fn http_date_ms(date: &str) -> Option<EpochMs> {
    DateTime::from_str(date, Format::HttpDate)
        .ok()?
        .to_millis()
        .ok()
}

/// Feeds a [`SkewMeter`] from every answer of a client.
#[derive(Debug)]
pub(crate) struct ReadDate(pub(crate) Arc<SkewMeter>);

#[dyn_dispatch_hint]
impl Intercept for ReadDate {
    fn name(&self) -> &'static str {
        "delayq ReadDate"
    }

    fn read_before_deserialization(
        &self,
        context: &BeforeDeserializationInterceptorContextRef<'_>,
        _: &RuntimeComponents,
        _: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        if let Some(date) = context.response().headers().get("date") {
            self.0.observe(date);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use delayq_core::clock::ManualClock;

    #[test]
    fn ahead_is_positive_and_nonsense_changes_nothing() {
        // 1994-11-06T08:49:37Z
        let clock = Arc::new(ManualClock::at(784_111_777_500));
        let meter = SkewMeter::new(clock.clone());
        assert_eq!(meter.skew_ms(), None);
        meter.observe("Sun, 06 Nov 1994 08:49:37 GMT");
        assert_eq!(meter.skew_ms(), Some(0));
        clock.advance(90_000);
        meter.observe("yesterday");
        assert_eq!(meter.skew_ms(), Some(0));
        meter.observe("Sun, 06 Nov 1994 08:49:37 GMT");
        assert_eq!(meter.skew_ms(), Some(90_000));
        clock.advance(-180_000);
        meter.observe("Sun, 06 Nov 1994 08:49:37 GMT");
        assert_eq!(meter.skew_ms(), Some(-90_000));
    }
}
