//! Clients for whoever looks at a deployment from outside, as a producer or consumer that knows nothing of delayq: they reach the
//! cluster and log in as delayq does, and are otherwise as librdkafka has them.

use delayq_core::error::PortError;
use rdkafka::ClientConfig;
use rdkafka::config::FromClientConfigAndContext as _;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::producer::{FutureProducer, Producer as _};

use crate::heard::Heard;
use crate::settings::KafkaSettings;
use crate::{errors, login};

/// A consumer that its owner polls.
pub type OutsideConsumer = BaseConsumer<Heard>;
/// A producer that polls itself.
pub type OutsideProducer = FutureProducer<Heard>;

/// A consumer with these properties of its own.
///
/// # Errors
/// `Misconfigured` for properties that librdkafka refuses.
pub fn consumer(
    kafka: &KafkaSettings,
    properties: &[(&str, &str)],
) -> Result<OutsideConsumer, PortError> {
    let config = config(kafka, properties, |_| true);
    let consumer = OutsideConsumer::from_config_and_context(&config, Heard::new(kafka))
        .map_err(|error| errors::configuration("kafka consumer", &error))?;
    login::log_in(consumer.client(), kafka.tokens.as_ref())?;
    Ok(consumer)
}

/// A producer with these properties of its own.
///
/// # Errors
/// `Misconfigured` for properties that librdkafka refuses.
pub fn producer(
    kafka: &KafkaSettings,
    properties: &[(&str, &str)],
) -> Result<OutsideProducer, PortError> {
    // Those of consumers are not a producer's.
    let config = config(kafka, properties, |name| !name.starts_with("fetch."));
    let producer = OutsideProducer::from_config_and_context(&config, Heard::new(kafka))
        .map_err(|error| errors::configuration("kafka producer", &error))?;
    login::log_in(producer.client(), kafka.tokens.as_ref())?;
    Ok(producer)
}

fn config(
    kafka: &KafkaSettings,
    properties: &[(&str, &str)],
    concerns: impl Fn(&str) -> bool,
) -> ClientConfig {
    let mut config = kafka.outsider_config(concerns);
    for (name, value) in properties {
        config.set(*name, *value);
    }
    config
}
