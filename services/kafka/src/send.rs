//! One record written by hand, and where it went: for the command `send`. Services publish through `KafkaSink`.

use delayq_core::error::{ErrorClass, PortError};
use delayq_core::headers::DELIVER_AT_MIN_MS;
use delayq_core::record::Record;
use rdkafka::Timestamp;
use rdkafka::config::FromClientConfigAndContext;
use rdkafka::producer::{FutureProducer, FutureRecord, Producer as _};
use rdkafka::util::Timeout;

use crate::heard::{self, Heard};
use crate::lane::headers;
use crate::settings::{KafkaSettings, SinkSettings};
use crate::{errors, login};

/// Where a record was appended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sent {
    /// Partition.
    pub partition: i32,
    /// Offset.
    pub offset: i64,
    /// The record's timestamp in ms: the broker's where the topic uses `LogAppendTime`, else this machine's. `None` where
    /// the broker does not tell.
    pub timestamp_ms: Option<i64>,
}

/// Writes one record with a producer of its own (`acks=all`, to `partition`, or partitioned as Java does) and waits until the broker has
/// confirmed it, at most for `sink.message_timeout`. Headers keep their order.
///
/// # Errors
/// `Misconfigured` for settings with faults or a refused login, `Invalid` for what the broker refuses about this record,
/// `Transient` with the address when no broker answers.
pub async fn send_one(
    kafka: &KafkaSettings,
    sink: &SinkSettings,
    topic: &str,
    partition: Option<i32>,
    record: &Record,
) -> Result<Sent, PortError> {
    const OPERATION: &str = "kafka produce";
    let mut faults = kafka.faults();
    faults.extend(sink.faults());
    if !faults.is_empty() {
        return Err(errors::faulty_settings(OPERATION, &faults));
    }
    let heard = Heard::new(kafka);
    let producer: FutureProducer<Heard> =
        FutureProducer::from_config_and_context(&sink.config(kafka), heard.clone())
            .map_err(|error| errors::configuration(OPERATION, &error))?;
    login::log_in(producer.client(), kafka.tokens.as_ref())?;
    let mut message: FutureRecord<'_, [u8], [u8]> = FutureRecord::to(topic);
    message.partition = partition;
    message.key = record.key.as_deref();
    message.payload = record.value.as_deref();
    message.headers = headers(record);
    // The queue is empty: nothing to wait for.
    let sent = producer
        .send(message, Timeout::After(std::time::Duration::ZERO))
        .await;
    match sent {
        Ok(delivery) => Ok(Sent {
            partition: delivery.partition,
            offset: delivery.offset,
            timestamp_ms: match delivery.timestamp {
                Timestamp::NotAvailable => None,
                Timestamp::CreateTime(ms) | Timestamp::LogAppendTime(ms) => {
                    // librdkafka's mock broker answers 1234, whatever the record has.
                    Some(ms).filter(|ms| *ms >= DELIVER_AT_MIN_MS)
                }
            },
        }),
        Err((error, _)) if heard::is_silence(&error) => Err(match heard.reason() {
            Some(reason) => heard::silence(OPERATION, kafka, Some(reason)),
            None => PortError::new(
                ErrorClass::Transient,
                OPERATION,
                format!(
                    "{topic}: not confirmed within {} s; check that the topic's replicas are in sync (min.insync.replicas)",
                    sink.message_timeout.as_secs()
                ),
            ),
        }),
        Err((error, _)) => Err(errors::delivery(errors::code_of(&error), topic)),
    }
}
