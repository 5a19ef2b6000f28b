//! Canaries: nine records a minute of delayq's own, one for each path and priority, through the whole pipeline.
//!
//! Every process with a role that talks to Kafka observes them; the router that holds the first partition sends them
//! (see [`Leader`]). What is expected and what is overdue is decided in [`delayq_core::canary`].

mod leader;
pub mod metrics;
mod observer;
mod sender;

use std::sync::Arc;
use std::time::Duration;

use delayq_core::canary::CanaryTimes;
use delayq_core::clock::Clock;
use delayq_core::headers::HeaderNames;
use delayq_core::ports::{HealthReport, RecordSink};
use delayq_kafka::TailEvent;
use delayq_runtime::config::Config;
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

pub use leader::Leader;
pub use observer::Observer;
use sender::Sender;

/// Settings.
#[derive(Debug, Clone)]
pub struct CanarySettings {
    /// Rhythm.
    pub times: CanaryTimes,
    /// Where they are written.
    pub delay_topic: Arc<str>,
    /// All delay topics: a canary of another installation is none of ours.
    pub delay_topics: Vec<String>,
    /// Where they come out.
    pub topic: String,
    /// Names of the control headers.
    pub names: HeaderNames,
}

impl CanarySettings {
    /// As configured; `None` when there are to be no canaries.
    #[must_use]
    pub fn new(config: &Config, names: HeaderNames) -> Option<Self> {
        let delay_topic = config
            .topics
            .delay
            .first()
            .filter(|_| config.canary.enabled)?;
        Some(Self {
            times: times(config),
            delay_topic: Arc::from(delay_topic.as_str()),
            delay_topics: config.topics.delay.clone(),
            topic: config.canary.topic.clone(),
            names,
        })
    }
}

/// The rhythm of the canaries.
#[must_use]
pub fn times(config: &Config) -> CanaryTimes {
    let ms = |duration: Duration| i64::try_from(duration.as_millis()).unwrap_or(i64::MAX);
    let delays = config.canary_delays();
    CanaryTimes {
        interval_ms: ms(config.canary.interval),
        overdue_after_ms: ms(config.canary.overdue_after),
        delays_ms: [
            Some(ms(delays.direct)),
            delays.short.map(ms),
            delays.long.map(ms),
        ],
    }
}

/// What canaries need.
pub struct CanaryPorts {
    /// The canary topic, read from its beginning.
    pub tail: mpsc::Receiver<TailEvent>,
    /// The delay topic.
    pub sink: Arc<dyn RecordSink>,
    /// Wall clock.
    pub clock: Arc<dyn Clock>,
    /// Health.
    pub health: Arc<dyn HealthReport>,
    /// Whether this process sends; `None` without a router.
    pub leads: Option<watch::Receiver<bool>>,
}

/// Sends, if it is this process's turn, and observes, until `stop`.
pub async fn run(settings: CanarySettings, ports: CanaryPorts, stop: CancellationToken) {
    let (topic_found, found) = watch::channel(false);
    let observer = Observer::new(
        settings.clone(),
        ports.clock.clone(),
        ports.health,
        topic_found,
    );
    let sending = async {
        if let Some(leads) = ports.leads {
            let sender = Sender {
                settings,
                sink: ports.sink,
                clock: ports.clock,
                leads,
                topic_found: found,
            };
            sender.run(stop.clone()).await;
        }
    };
    tokio::join!(observer.run(ports.tail, stop.clone()), sending);
}
