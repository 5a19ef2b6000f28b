//! Tracked sample records, for the console: sent at a steady rate, some of them cancelled or sent again with another due time.
//! They carry no number, so that what a visitor does to them is no fault of the count.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use delayq_core::clock::Clock;
use delayq_core::ports::MessageRegistry;
use delayq_core::priority::Priority;
use delayq_core::tracked::{MessageKey, MessageRow, cancel};
use delayq_delivery::registry::change;
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::{FutureProducer, FutureRecord};
use tokio_util::sync::CancellationToken;

use super::deployment::TARGETS;
use crate::sequence::Sequence;

/// Time between two records.
const GAP: Duration = Duration::from_millis(400);
/// Delays, in ms: long enough to be watched, and to be cancelled by hand.
const DELAY_MIN_MS: usize = 3_000;
const DELAY_MAX_MS: usize = 45_000;
/// Longest wait for the broker to take a record.
const PRODUCE_WAIT: Duration = Duration::from_secs(10);
/// Of so many records one is cancelled, and one is sent again.
const ONE_IN: usize = 12;
/// Records that these are chosen from.
const RECENT: usize = 20;

pub(super) struct Tracked {
    pub(super) producer: FutureProducer,
    pub(super) topic: String,
    pub(super) registry: Arc<dyn MessageRegistry>,
    pub(super) clock: Arc<dyn Clock>,
}

impl Tracked {
    /// Sends until `stop`. What cannot be sent is told in the log: the sample records count, not these.
    pub(super) async fn run(self, stop: CancellationToken) {
        let mut random = Sequence::default();
        let mut recent = VecDeque::new();
        let mut pace = tokio::time::interval(GAP);
        for number in 0_u64.. {
            tokio::select! {
                _ = pace.tick() => {}
                () = stop.cancelled() => return,
            }
            let id = format!("order-{number}-timeout");
            self.send(&id, &mut random).await;
            recent.push_back(id);
            if recent.len() > RECENT {
                recent.pop_front();
            }
            let chosen = recent.get(random.below(recent.len()));
            match (random.below(ONE_IN), chosen) {
                (0, Some(id)) => self.cancel(id).await,
                (1, Some(id)) => self.send(&id.clone(), &mut random).await,
                _ => {}
            }
        }
    }

    async fn send(&self, id: &str, random: &mut Sequence) {
        let priority = Priority::ALL
            .get(random.below(3))
            .map_or("standard", |priority| priority.as_str());
        let target = TARGETS
            .get(random.below(TARGETS.len()))
            .unwrap_or(&"orders");
        let delay_ms = DELAY_MIN_MS + random.below(DELAY_MAX_MS - DELAY_MIN_MS);
        let delay_ms = delay_ms.to_string();
        let controls = [
            ("delay-id", id),
            ("delay-target", target),
            ("delay-priority", priority),
            ("delay-ms", &delay_ms),
        ];
        let headers = controls
            .into_iter()
            .fold(OwnedHeaders::new(), |headers, (key, value)| {
                headers.insert(Header {
                    key,
                    value: Some(value),
                })
            });
        let value = format!(r#"{{"id":"{id}","why":"payment time-out"}}"#);
        let record = FutureRecord::to(&self.topic)
            .key(id)
            .payload(&value)
            .headers(headers);
        if let Err((error, _)) = self.producer.send(record, PRODUCE_WAIT).await {
            tracing::warn!(%error, id, "a tracked sample record was not taken by the delay topic");
        }
    }

    async fn cancel(&self, id: &str) {
        let key = MessageKey {
            topic: Arc::from(self.topic.as_str()),
            id: Arc::from(id),
        };
        let decide = |row: Option<&MessageRow>| cancel(row, self.clock.now_ms());
        if let Err(error) = change(self.registry.as_ref(), &key, decide).await {
            tracing::warn!(%error, id, "a tracked sample record could not be cancelled");
        }
    }
}
