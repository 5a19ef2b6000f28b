//! librdkafka's callbacks on the producer: deliveries, errors, logs. All run on the producer's poll thread.

use std::error::Error;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use delayq_core::error::{ErrorClass, PortError};
use delayq_core::ports::{Acknowledge, Published};
use rdkafka::client::{ClientContext, OAuthToken};
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::Message;
use rdkafka::producer::{DeliveryResult, ProducerContext};
use rdkafka::statistics::Statistics;

use crate::login::{self, Tokens};
use crate::lost_brokers::LostBrokers;
use crate::settings::KafkaSettings;
use crate::sync::lock;
use crate::{client_log, errors, metrics};

/// What the sink knows of its brokers; outlives a rebuilt producer.
#[derive(Debug, Default)]
pub(crate) struct SinkHealth {
    sick: AtomicBool,
    problem: Mutex<Option<PortError>>,
}

impl SinkHealth {
    pub(crate) fn failed(&self, error: PortError) {
        let mut problem = lock(&self.problem);
        if problem.is_none() {
            tracing::warn!(%error, "kafka sink unhealthy");
        }
        // "All brokers down" follows every refused authentication; the cause is worth more than the consequence.
        let keeps = problem.as_ref().is_some_and(|known| {
            known.class == ErrorClass::Misconfigured && error.class != ErrorClass::Misconfigured
        });
        if !keeps {
            *problem = Some(error);
        }
        self.sick.store(true, Ordering::Relaxed);
    }

    /// Cheap when all is well: it is called for every record.
    pub(crate) fn answered(&self) {
        if self.sick.swap(false, Ordering::Relaxed) {
            *lock(&self.problem) = None;
            tracing::info!("kafka sink healthy");
        }
    }

    pub(crate) fn problem(&self) -> Option<PortError> {
        if !self.sick.load(Ordering::Relaxed) {
            return None;
        }
        lock(&self.problem).clone()
    }
}

/// A record's callback on its way through librdkafka. The mutex only makes it `Sync`, which rdkafka asks for.
pub(crate) struct Pending(Mutex<Acknowledge>);

impl Pending {
    pub(crate) fn new(acknowledge: Acknowledge) -> Box<Self> {
        Box::new(Self(Mutex::new(acknowledge)))
    }

    pub(crate) fn into_inner(self) -> Acknowledge {
        self.0.into_inner().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The context of one producer.
pub(crate) struct SinkContext {
    pub(crate) bootstrap_servers: String,
    pub(crate) health: Arc<SinkHealth>,
    /// The producer is dead and must be rebuilt.
    pub(crate) fatal: AtomicBool,
    pub(crate) lost_brokers: LostBrokers,
    tokens: Option<Tokens>,
    published: ::metrics::Counter,
}

impl SinkContext {
    pub(crate) fn new(kafka: &KafkaSettings, health: Arc<SinkHealth>) -> Self {
        Self {
            bootstrap_servers: kafka.bootstrap_servers.clone(),
            health,
            fatal: AtomicBool::new(false),
            lost_brokers: LostBrokers::new("kafka producer"),
            tokens: kafka.tokens.clone(),
            published: ::metrics::counter!(metrics::PUBLISHED.name),
        }
    }
}

/// Answers a record that was not delivered.
pub(crate) fn refuse(acknowledge: Acknowledge, code: RDKafkaErrorCode, topic: &str) {
    let error = errors::delivery(code, topic);
    let class = if error.is_retryable() {
        "transient"
    } else {
        "invalid"
    };
    ::metrics::counter!(metrics::PUBLISH_FAILED.name, "class" => class).increment(1);
    acknowledge(Err(error));
}

impl ClientContext for SinkContext {
    const ENABLE_REFRESH_OAUTH_TOKEN: bool = true;

    fn generate_oauth_token(&self, _: Option<&str>) -> Result<OAuthToken, Box<dyn Error>> {
        login::answer(self.tokens.as_ref())
    }

    fn log(&self, level: RDKafkaLogLevel, fac: &str, log_message: &str) {
        client_log::forward("producer", level, fac, log_message);
    }

    fn stats(&self, statistics: Statistics) {
        if let Some(problem) = self.lost_brokers.find(&statistics) {
            self.health.failed(problem);
        }
    }

    fn error(&self, error: KafkaError, reason: &str) {
        let code = errors::code_of(&error);
        ::metrics::counter!(
            metrics::CLIENT_ERRORS.name, "client" => "producer", "code" => format!("{code:?}")
        )
        .increment(1);
        if code == RDKafkaErrorCode::Fatal {
            tracing::error!(reason, "fatal error of the kafka producer");
            self.fatal.store(true, Ordering::Relaxed);
            return;
        }
        match errors::client("kafka producer", code, reason, &self.bootstrap_servers) {
            Some(problem) => self.health.failed(problem),
            None => tracing::info!(%code, reason, "kafka producer"),
        }
    }
}

impl ProducerContext for SinkContext {
    type DeliveryOpaque = Box<Pending>;

    fn delivery(&self, result: &DeliveryResult<'_>, pending: Self::DeliveryOpaque) {
        let acknowledge = pending.into_inner();
        match result {
            Ok(message) => {
                self.health.answered();
                self.published.increment(1);
                acknowledge(Ok(Published {
                    partition: message.partition(),
                    offset: message.offset(),
                }));
            }
            Err((error, message)) => {
                let code = errors::code_of(error);
                if code == RDKafkaErrorCode::Fatal {
                    self.fatal.store(true, Ordering::Relaxed);
                }
                refuse(acknowledge, code, message.topic());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cause_is_kept_and_an_answer_heals() {
        let health = SinkHealth::default();
        assert!(health.problem().is_none());
        health.failed(PortError::new(ErrorClass::Misconfigured, "k", "password"));
        health.failed(PortError::new(ErrorClass::Transient, "k", "down"));
        assert_eq!(
            health.problem().map(|p| p.detail).as_deref(),
            Some("password")
        );
        health.answered();
        assert!(health.problem().is_none());
    }
}
