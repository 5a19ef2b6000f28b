//! [`Lane`]: one idempotent producer, rebuilt when librdkafka declares it dead.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::thread::JoinHandle;
use std::time::Duration;

use delayq_core::error::PortError;
use delayq_core::ports::Acknowledge;
use delayq_core::record::{Outgoing, Record};
use rdkafka::config::FromClientConfigAndContext;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::{BaseRecord, Producer, PurgeConfig, ThreadedProducer};
use tokio::time::Instant;

use crate::settings::{KafkaSettings, SinkSettings};
use crate::sink_context::{Pending, SinkContext, SinkHealth, refuse};
use crate::sync::lock;
use crate::{errors, login, metrics};

/// What a dropped sink waits for deliveries that are under way, and then for the answers to those it gives up.
const DROP_FLUSH: Duration = Duration::from_secs(1);
const DROP_PURGE: Duration = Duration::from_secs(3);
/// How often to look whether brokers answer again, and how long a look may take.
const PROBE_EVERY: Duration = Duration::from_secs(2);
const PROBE_TIMEOUT: Duration = Duration::from_secs(2);

type KafkaProducer = ThreadedProducer<SinkContext>;

/// Name of rdkafka's thread that runs the callbacks (`ThreadedProducer::from_config_and_context`).
const POLL_THREAD: &str = "producer polling thread";

/// Whether this is such a thread: it cannot wait for its own end.
pub(crate) fn on_poll_thread() -> bool {
    std::thread::current().name() == Some(POLL_THREAD)
}

/// A producer that answers everything it was given before it goes.
pub(crate) struct Live(Option<KafkaProducer>);

impl Live {
    /// `None` only while it is dropped.
    fn producer(&self) -> Option<&KafkaProducer> {
        self.0.as_ref()
    }

    fn is_dead(&self) -> bool {
        self.producer()
            .is_none_or(|producer| producer.context().fatal.load(Ordering::Relaxed))
    }

    fn declare_dead(&self) {
        if let Some(producer) = self.producer() {
            producer.context().fatal.store(true, Ordering::Relaxed);
        }
    }
}

impl Drop for Live {
    fn drop(&mut self) {
        let Some(producer) = self.0.take() else {
            return;
        };
        // A callback may own the last handle of the sink: the poll thread cannot wait for its own end.
        if on_poll_thread() {
            in_background("kafka-sink-drop", move || answer_all(&producer));
        } else {
            answer_all(&producer);
        }
    }
}

fn answer_all(producer: &KafkaProducer) {
    let dead = producer.context().fatal.load(Ordering::Relaxed);
    if !dead
        && producer.in_flight_count() > 0
        && let Err(error) = producer.flush(DROP_FLUSH)
    {
        tracing::warn!(%error, "records are still open as the kafka sink goes");
    }
    if producer.in_flight_count() > 0 {
        producer.purge(PurgeConfig::default().queue().inflight());
        if let Err(error) = producer.flush(DROP_PURGE) {
            tracing::error!(%error, "records stay unanswered as the kafka sink goes");
        }
    }
}

/// Runs what may block where that harms nobody. Without a thread it runs nowhere: its captures are dropped.
fn in_background(name: &str, work: impl FnOnce() + Send + 'static) -> Option<JoinHandle<()>> {
    std::thread::Builder::new()
        .name(name.to_owned())
        .spawn(work)
        .inspect_err(|error| tracing::error!(%error, name, "cannot start a thread"))
        .ok()
}

/// A producer that is begun when it is first needed.
pub(crate) struct Lane {
    kafka: KafkaSettings,
    settings: SinkSettings,
    health: Arc<SinkHealth>,
    producer: RwLock<Option<Arc<Live>>>,
    probe: Mutex<Option<Instant>>,
    probing: Arc<AtomicBool>,
}

impl Lane {
    pub(crate) fn new(
        kafka: &KafkaSettings,
        settings: SinkSettings,
        health: Arc<SinkHealth>,
    ) -> Self {
        Self {
            kafka: kafka.clone(),
            settings,
            health,
            producer: RwLock::new(None),
            probe: Mutex::new(None),
            probing: Arc::new(AtomicBool::new(false)),
        }
    }

    fn begun(&self) -> Option<Arc<Live>> {
        self.producer
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// The producer, a new one if there is none yet or the old is dead.
    pub(crate) fn live(&self) -> Result<Arc<Live>, PortError> {
        if let Some(live) = self.begun().filter(|live| !live.is_dead()) {
            return Ok(live);
        }
        let mut slot = self
            .producer
            .write()
            .unwrap_or_else(PoisonError::into_inner);
        if let Some(live) = slot.as_ref().filter(|live| !live.is_dead()) {
            return Ok(Arc::clone(live));
        }
        let new = build(&self.kafka, &self.settings, &self.health)?;
        let old = slot.replace(Arc::clone(&new));
        drop(slot);
        if old.is_some() {
            tracing::warn!("the kafka producer was rebuilt");
            ::metrics::counter!(metrics::REBUILT.name, "client" => "producer").increment(1);
            in_background("kafka-sink-bury", move || drop(old));
        }
        Ok(new)
    }

    /// A dead producer is rebuilt.
    pub(crate) fn mend(&self) -> Result<(), PortError> {
        match self.begun() {
            Some(live) if live.is_dead() => self.live().map(|_| ()),
            _ => Ok(()),
        }
    }

    /// Answers everything that is open, in a thread of its own.
    pub(crate) fn end(&mut self) -> Option<JoinHandle<()>> {
        let slot = self.producer.get_mut();
        let live = slot.unwrap_or_else(PoisonError::into_inner).take()?;
        in_background("kafka-sink-end", move || drop(live))
    }

    /// Looks in the background whether brokers answer, and which topics they have, at most every two seconds.
    pub(crate) fn probe(&self, live: Arc<Live>) {
        {
            let mut last = lock(&self.probe);
            if last.is_some_and(|at| at.elapsed() < PROBE_EVERY) {
                return;
            }
            *last = Some(Instant::now());
        }
        if self.probing.swap(true, Ordering::Relaxed) {
            return;
        }
        let health = Arc::clone(&self.health);
        let probing = Arc::clone(&self.probing);
        let started = in_background("kafka-sink-probe", move || {
            let answer = live
                .producer()
                .map(|producer| producer.client().fetch_metadata(None, PROBE_TIMEOUT));
            match answer {
                Some(Ok(_)) => health.answered(),
                Some(Err(error)) => tracing::debug!(%error, "kafka is still away"),
                None => {}
            }
            probing.store(false, Ordering::Relaxed);
        });
        if started.is_none() {
            self.probing.store(false, Ordering::Relaxed);
        }
    }

    /// As [`RecordSink::publish`](delayq_core::ports::RecordSink::publish).
    pub(crate) fn publish(
        &self,
        record: &Outgoing,
        acknowledge: Acknowledge,
    ) -> Result<(), Acknowledge> {
        let live = match self.live() {
            Ok(live) => live,
            Err(error) => {
                self.health.failed(error);
                return Err(acknowledge);
            }
        };
        let base = BaseRecord {
            topic: record.topic.as_ref(),
            partition: None,
            payload: record.record.value.as_deref(),
            key: record.record.key.as_deref(),
            // librdkafka's now: the time of publication, not of the original record.
            timestamp: None,
            headers: headers(&record.record),
            delivery_opaque: Pending::new(acknowledge),
        };
        // Only a producer that is being dropped is `None`, and we hold a handle of this one.
        let Some(producer) = live.producer() else {
            return Err(base.delivery_opaque.into_inner());
        };
        match producer.send(base) {
            Ok(()) => Ok(()),
            Err((error, base)) => {
                let acknowledge = base.delivery_opaque.into_inner();
                let code = match &error {
                    // A NUL in the topic's name.
                    KafkaError::Nul(_) => RDKafkaErrorCode::InvalidTopic,
                    other => errors::code_of(other),
                };
                match code {
                    RDKafkaErrorCode::QueueFull => {
                        ::metrics::counter!(metrics::SINK_FULL.name).increment(1);
                        Err(acknowledge)
                    }
                    RDKafkaErrorCode::Fatal => {
                        live.declare_dead();
                        Err(acknowledge)
                    }
                    code => {
                        if code == RDKafkaErrorCode::UnknownTopic {
                            // librdkafka goes by what it heard up to five minutes ago: the topic may have been made since.
                            self.probe(live);
                        }
                        refuse(acknowledge, code, &record.topic);
                        Ok(())
                    }
                }
            }
        }
    }
}

fn build(
    kafka: &KafkaSettings,
    settings: &SinkSettings,
    health: &Arc<SinkHealth>,
) -> Result<Arc<Live>, PortError> {
    let context = SinkContext::new(kafka, Arc::clone(health));
    let producer = KafkaProducer::from_config_and_context(&settings.config(kafka), context)
        .map_err(|error| errors::configuration("kafka producer", &error))?;
    let brokers = &producer.context().lost_brokers;
    brokers.look_after(producer.client(), &kafka.bootstrap_servers)?;
    login::log_in(producer.client(), kafka.tokens.as_ref())?;
    Ok(Arc::new(Live(Some(producer))))
}

/// The headers as librdkafka takes them: in order, null values kept.
pub(crate) fn headers(record: &Record) -> Option<OwnedHeaders> {
    if record.headers.is_empty() {
        return None;
    }
    let empty = OwnedHeaders::new_with_capacity(record.headers.len());
    Some(record.headers.iter().fold(empty, |all, header| {
        all.insert(Header {
            key: &header.name,
            value: header.value.as_deref(),
        })
    }))
}

/// They need the inside: a fatal error cannot be had from outside.
#[cfg(test)]
mod tests {
    use super::*;
    use delayq_core::error::ErrorClass;
    use rdkafka::mocking::MockCluster;
    use std::sync::mpsc;

    fn outgoing(topic: &str) -> Outgoing {
        Outgoing::standard(Arc::from(topic), Record::default())
    }

    #[test]
    fn a_dead_producer_is_rebuilt_and_its_records_are_answered() {
        let cluster = MockCluster::new(1).expect("mock cluster");
        cluster.create_topic("t", 1, 1).expect("topic");
        let kafka = KafkaSettings {
            bootstrap_servers: cluster.bootstrap_servers(),
            ..KafkaSettings::default()
        };
        let sink = Lane::new(&kafka, SinkSettings::default(), Arc::default());
        let (tx, rx) = mpsc::channel();
        let ack = |tx: &mpsc::Sender<_>| -> Acknowledge {
            let tx = tx.clone();
            Box::new(move |result| tx.send(result).expect("send"))
        };
        cluster.broker_down(-1).expect("down");
        assert!(sink.publish(&outgoing("t"), ack(&tx)).is_ok());
        sink.live().expect("live").declare_dead();
        // The dead one's record comes back as an error that is not the record's fault.
        assert!(sink.live().is_ok());
        let first = rx.recv_timeout(Duration::from_secs(10)).expect("an answer");
        assert_eq!(first.map_err(|e| e.class), Err(ErrorClass::Transient));
        cluster.broker_up(-1).expect("up");
        assert!(sink.publish(&outgoing("t"), ack(&tx)).is_ok());
        let second = rx.recv_timeout(Duration::from_secs(20)).expect("an answer");
        assert!(second.is_ok(), "{second:?}");
        assert!(rx.try_recv().is_err(), "answered twice");
    }
}
