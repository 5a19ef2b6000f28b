//! Stamps records with the embedded clock, as a broker with `LogAppendTime` and that clock would.

use std::sync::Arc;

use delayq_core::ports::SourceEvent;

use super::TestClock;
use crate::app::SourceLayer;
use crate::tap::tap;

/// The layer for consumers of the delay topics.
pub(super) fn layer(clock: Arc<TestClock>) -> SourceLayer {
    Arc::new(move |inner| {
        let clock = clock.clone();
        tap(inner, move |event| {
            if let Some(SourceEvent::Records(records)) = event {
                for record in records {
                    record.timestamp_ms = record.timestamp_ms.map(|at| clock.at(at));
                }
            }
        })
    })
}
