//! The poll thread: polls without pause, collects records into chunks, carries out pauses, and closes.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use delayq_core::error::{ErrorClass, PortError};
use delayq_core::ports::SourceEvent;
use delayq_core::record::TopicPartition;
use rdkafka::config::FromClientConfigAndContext;
use rdkafka::consumer::Consumer;
use rdkafka::error::{KafkaError, KafkaResult, RDKafkaErrorCode};
use rdkafka::topic_partition_list::TopicPartitionList;
use tokio::time::Instant;

use crate::event_queue::Full;
use crate::health::Health;
use crate::lost_brokers::LostBrokers;
use crate::rebalance::{REVOKE_COMMIT_TIMEOUT, SourceContext};
use crate::settings::KafkaSettings;
use crate::shared::{KafkaConsumer, Shared};
use crate::sync::lock;
use crate::{errors, login, metrics, probe};

/// How long an idle poll waits: bounds how late `pause` and `close` are seen. Records end the wait at once.
const IDLE_POLL: Duration = Duration::from_millis(100);
/// The same while anything is paused, so that resuming costs no lateness.
const PAUSED_POLL: Duration = Duration::from_millis(5);
/// How long a full queue is waited for before all partitions are paused. A pause drops what librdkafka has
/// prefetched, so a hiccup of the reader should not cause one.
const PATIENCE: Duration = Duration::from_millis(500);
/// How often to look whether what was wrong is mended.
const PROBE_EVERY: Duration = Duration::from_secs(2);
/// What closing may take beyond the revocation.
const LEAVE_TIMEOUT: Duration = Duration::from_secs(5);
/// Pause before a consumer is rebuilt after a fatal error (a fenced static member would otherwise fight its twin).
const REBUILD_PAUSE: Duration = Duration::from_secs(5);

/// Builds a consumer and subscribes it.
pub(crate) fn build(
    kafka: &KafkaSettings,
    shared: &Arc<Shared>,
) -> Result<Arc<KafkaConsumer>, PortError> {
    let context = SourceContext {
        shared: Arc::clone(shared),
        tokens: kafka.tokens.clone(),
        lost_brokers: LostBrokers::new("kafka consumer"),
    };
    let consumer = KafkaConsumer::from_config_and_context(&shared.settings.config(kafka), context)
        .map_err(|error| errors::configuration("kafka consumer", &error))?;
    let brokers = &consumer.context().lost_brokers;
    brokers.look_after(consumer.client(), &kafka.bootstrap_servers)?;
    login::log_in(consumer.client(), kafka.tokens.as_ref())?;
    let topics: Vec<&str> = shared.settings.topics.iter().map(String::as_str).collect();
    consumer
        .subscribe(&topics)
        .map_err(|error| errors::configuration("kafka subscribe", &error))?;
    Ok(Arc::new(consumer))
}

/// The thread's body. Ends after `close`, or when the reader is gone.
pub(crate) fn run(kafka: &KafkaSettings, shared: &Arc<Shared>, first: Arc<KafkaConsumer>) {
    let _end = End(Arc::clone(shared));
    let mut consumer = first;
    loop {
        *lock(&shared.consumer) = Some(Arc::clone(&consumer));
        let fatal = PollLoop::new(shared, &consumer).run();
        *lock(&shared.consumer) = None;
        let Some(reason) = fatal else {
            // Told before the consumer is destroyed, which may wait for brokers.
            shared.queue.finish();
            return;
        };
        after_fatal_error(shared, reason);
        discard(consumer);
        consumer = match rebuild(kafka, shared) {
            Some(rebuilt) => rebuilt,
            None => return,
        };
    }
}

/// However the thread ends, the reader must learn it.
struct End(Arc<Shared>);

impl Drop for End {
    fn drop(&mut self) {
        *lock(&self.0.consumer) = None;
        self.0.queue.finish();
    }
}

fn after_fatal_error(shared: &Arc<Shared>, reason: String) {
    tracing::error!(reason, "fatal error of the kafka consumer; it is rebuilt");
    ::metrics::counter!(metrics::REBUILT.name, "client" => "consumer").increment(1);
    lose_all(shared);
    let problem = PortError::new(ErrorClass::Misconfigured, "kafka consumer", reason);
    shared.note_health(|health| health.group_failed(problem));
}

/// Destroys a dead consumer in a thread of its own: it may wait for brokers.
fn discard(consumer: Arc<KafkaConsumer>) {
    let spawned = std::thread::Builder::new()
        .name("kafka-source-drop".to_owned())
        .spawn(move || drop(consumer));
    if let Err(error) = spawned {
        tracing::error!(%error, "cannot start the thread that destroys a consumer");
    }
}

/// What is still held now belongs to somebody else, or soon will.
fn lose_all(shared: &Arc<Shared>) {
    drop(lock(&shared.in_hand).take());
    let held = lock(&shared.assignment).clear();
    if held.is_empty() {
        return;
    }
    shared
        .queue
        .drop_records_of(&held.iter().cloned().collect());
    shared.tell(SourceEvent::Lost(held));
}

fn rebuild(kafka: &KafkaSettings, shared: &Arc<Shared>) -> Option<Arc<KafkaConsumer>> {
    loop {
        let until = Instant::now() + REBUILD_PAUSE;
        while Instant::now() < until {
            if is_ending(shared) {
                return None;
            }
            std::thread::park_timeout(IDLE_POLL);
        }
        match build(kafka, shared) {
            Ok(consumer) => return Some(consumer),
            Err(error) => shared.note_health(|health| health.group_failed(error)),
        }
    }
}

fn is_ending(shared: &Shared) -> bool {
    shared.closing.load(Ordering::Relaxed) || shared.queue.is_abandoned()
}

struct PollLoop<'a> {
    shared: &'a Arc<Shared>,
    consumer: &'a Arc<KafkaConsumer>,
    /// Set once closing has begun.
    close_by: Option<Instant>,
    next_probe: Instant,
    received: ::metrics::Counter,
    received_bytes: ::metrics::Counter,
    malformed: ::metrics::Counter,
}

impl<'a> PollLoop<'a> {
    fn new(shared: &'a Arc<Shared>, consumer: &'a Arc<KafkaConsumer>) -> Self {
        Self {
            shared,
            consumer,
            close_by: None,
            next_probe: Instant::now() + PROBE_EVERY,
            received: ::metrics::counter!(metrics::RECEIVED.name),
            received_bytes: ::metrics::counter!(metrics::RECEIVED_BYTES.name),
            malformed: ::metrics::counter!(metrics::MALFORMED.name),
        }
    }

    /// Polls until closed (`None`) or dead (the reason).
    fn run(mut self) -> Option<String> {
        loop {
            if let Some(end) = self.closing_step() {
                return end;
            }
            self.carry_out_pauses();
            self.probe_if_due();
            let wait = self.wait();
            match self.consumer.poll(wait) {
                Some(Ok(message)) => {
                    let record = self.shared.decoder.decode(&message);
                    if record.malformed.is_some() {
                        self.malformed.increment(1);
                    }
                    if self.shared.unhealthy.load(Ordering::Relaxed) {
                        self.shared.note_health(Health::group_answered);
                    }
                    let full = {
                        let mut chunk = lock(&self.shared.in_hand);
                        chunk.push(record);
                        chunk.is_full()
                    };
                    if full {
                        self.deliver();
                    }
                }
                Some(Err(KafkaError::MessageConsumptionFatal(code))) => {
                    return Some(self.fatal_text(code));
                }
                // Already handled by the error callback of the context.
                Some(Err(error)) => tracing::debug!(%error, "kafka poll"),
                None => self.deliver(),
            }
        }
    }

    fn fatal_text(&self, code: RDKafkaErrorCode) -> String {
        match self.consumer.client().fatal_error() {
            Some((RDKafkaErrorCode::FencedInstanceId, text)) => {
                format!("{text}; is another process using the same kafka.instance_id?")
            }
            Some((code, text)) => format!("{code}: {text}"),
            None => code.to_string(),
        }
    }

    /// How long the next poll may wait for a message.
    fn wait(&self) -> Duration {
        let assignment = lock(&self.shared.assignment);
        let chunk = lock(&self.shared.in_hand);
        if assignment.has_backpressure() {
            // The chunk in hand goes as soon as there is room.
            PAUSED_POLL
        } else if !chunk.is_empty() {
            // Only what is there already; then the chunk goes.
            Duration::ZERO
        } else if assignment.any_paused() {
            PAUSED_POLL
        } else {
            IDLE_POLL
        }
    }

    /// Puts the chunk in hand into the queue; when that is full, pauses everything and keeps the chunk.
    fn deliver(&self) {
        let (records, bytes) = {
            let mut chunk = lock(&self.shared.in_hand);
            let bytes = chunk.bytes();
            (chunk.take(), bytes)
        };
        let stalled = lock(&self.shared.assignment).has_backpressure();
        if !records.is_empty() {
            let count = records.len();
            let patience = if stalled { Duration::ZERO } else { PATIENCE };
            match self.shared.queue.push_records(records, patience) {
                Ok(()) => {
                    self.received.increment(count as u64);
                    self.received_bytes.increment(bytes as u64);
                }
                Err(Full(records)) => {
                    lock(&self.shared.in_hand).put_back(records);
                    if !stalled {
                        ::metrics::counter!(metrics::BACKPRESSURE.name).increment(1);
                        tracing::debug!("the reader is behind: pausing all partitions");
                        self.set_backpressure(true);
                    }
                    return;
                }
            }
        }
        if stalled && self.shared.queue.is_relaxed() {
            self.set_backpressure(false);
        }
    }

    fn set_backpressure(&self, on: bool) {
        if lock(&self.shared.assignment).set_backpressure(on) {
            self.shared.pauses_changed.store(true, Ordering::Relaxed);
        }
    }

    /// Only here, between two polls: librdkafka takes a message off its queue first and notes its position after;
    /// a pause in between would fetch that message again.
    fn carry_out_pauses(&self) {
        if !self.shared.pauses_changed.swap(false, Ordering::Relaxed) {
            return;
        }
        let changes = lock(&self.shared.assignment).take_changes();
        // A partition that is gone by now is no fault: librdkafka reports it in its element, which is ignored.
        self.apply("pause", &changes.pause, KafkaConsumer::pause);
        self.apply("resume", &changes.resume, KafkaConsumer::resume);
    }

    fn apply(
        &self,
        what: &str,
        partitions: &[TopicPartition],
        call: impl Fn(&KafkaConsumer, &TopicPartitionList) -> KafkaResult<()>,
    ) {
        if partitions.is_empty() {
            return;
        }
        let mut list = TopicPartitionList::with_capacity(partitions.len());
        for partition in partitions {
            list.add_partition(&partition.topic, partition.partition);
        }
        if let Err(error) = call(self.consumer, &list) {
            tracing::warn!(%error, "cannot {what} partitions");
        }
    }

    /// Looks, while something is wrong, whether it is mended.
    fn probe_if_due(&mut self) {
        if !self.shared.unhealthy.load(Ordering::Relaxed)
            || self.close_by.is_some()
            || Instant::now() < self.next_probe
        {
            return;
        }
        self.next_probe = Instant::now() + PROBE_EVERY;
        probe::start(self.shared, self.consumer);
    }

    /// Begins to close when asked to, and says when that has ended.
    fn closing_step(&mut self) -> Option<Option<String>> {
        let Some(close_by) = self.close_by else {
            if is_ending(self.shared) {
                let limit =
                    self.shared.settings.revoke_timeout + REVOKE_COMMIT_TIMEOUT + LEAVE_TIMEOUT;
                self.close_by = Some(Instant::now() + limit);
                if let Err(error) = self.consumer.close_queue() {
                    // Only a client that is dead already refuses to close.
                    tracing::warn!(%error, "cannot close the kafka consumer");
                    lose_all(self.shared);
                    return Some(None);
                }
            }
            return None;
        };
        let closed = self.consumer.closed();
        if !closed && Instant::now() < close_by {
            return None;
        }
        if !closed {
            tracing::warn!("the consumer group could not be left in time");
        }
        self.deliver();
        lose_all(self.shared);
        Some(None)
    }
}
