//! Asks for the metadata of the subscribed topics while something is wrong, in a thread of its own: the answer may
//! have to wait behind a fetch that is under way on the same connection (`fetch.wait.max.ms`).

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use rdkafka::consumer::Consumer;
use rdkafka::error::RDKafkaErrorCode;

use crate::rebalance::topic_problem;
use crate::shared::{KafkaConsumer, Shared};

/// How long the answer for one topic may take.
const TIMEOUT: Duration = Duration::from_secs(3);

/// Starts a probe unless one is under way.
pub(crate) fn start(shared: &Arc<Shared>, consumer: &Arc<KafkaConsumer>) {
    if shared.probing.swap(true, Ordering::Relaxed) {
        return;
    }
    let probed = Arc::clone(shared);
    let consumer = Arc::clone(consumer);
    let spawned = std::thread::Builder::new()
        .name("kafka-source-probe".to_owned())
        .spawn(move || {
            probe(&probed, &consumer);
            probed.probing.store(false, Ordering::Relaxed);
        });
    if let Err(error) = spawned {
        tracing::warn!(%error, "cannot start a probe");
        shared.probing.store(false, Ordering::Relaxed);
    }
}

fn probe(shared: &Shared, consumer: &KafkaConsumer) {
    for topic in &shared.settings.topics {
        match consumer.fetch_metadata(Some(topic), TIMEOUT) {
            Ok(metadata) => {
                let failed = metadata
                    .topics()
                    .iter()
                    .find(|found| found.name() == topic)
                    .and_then(|found| found.error())
                    .map(RDKafkaErrorCode::from);
                shared.note_health(|health| {
                    health.broker_answered();
                    match failed {
                        None => health.topic_found(topic),
                        Some(code) => health.topic_failed(topic, topic_problem(topic, code)),
                    }
                });
            }
            Err(error) => {
                tracing::debug!(%error, "kafka is still away");
                return;
            }
        }
    }
}
