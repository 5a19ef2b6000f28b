//! The producer side of the memory broker, with a queue of its own that fills up like a real one.

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use delayq_core::error::{ErrorClass, PortError};
use delayq_core::ports::{Acknowledge, Published, RecordSink};
use delayq_core::record::{Outgoing, TopicPartition};
use tokio::runtime::Handle;
use tokio::time::{Instant, sleep_until};

use crate::broker::{MemoryBroker, State};
use crate::lock::locked;
use crate::murmur2::partition_of;

/// What goes wrong with a record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fault {
    /// It is not written, and the sink says so.
    Refused(PortError),
    /// It is written, and the sink says that it is not: whoever tries again writes it twice.
    Unconfirmed(PortError),
}

/// Asked about every record when the broker would answer; `None`: no fault.
pub type Faults = Box<dyn Fn(&Outgoing) -> Option<Fault> + Send + Sync>;

/// Writes to a [`MemoryBroker`]; clones are the same sink.
///
/// Answers come from a task on the runtime that [`RecordSink::publish`] was called in, in order, after the
/// sink's latency; never from within `publish`.
#[derive(Clone)]
pub struct MemorySink {
    inner: Arc<Inner>,
}

struct Inner {
    broker: MemoryBroker,
    latency: Duration,
    capacity: usize,
    faults: Option<Faults>,
    state: Mutex<Waiting>,
}

#[derive(Default)]
struct Waiting {
    queue: VecDeque<Handed>,
    /// A task is under way that answers everything in the queue.
    driven: bool,
    /// Next partition for records without a key, by topic.
    next_partition: BTreeMap<Arc<str>, u32>,
}

struct Handed {
    due: Instant,
    record: Outgoing,
    acknowledge: Acknowledge,
}

impl fmt::Debug for MemorySink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemorySink")
            .field("latency", &self.inner.latency)
            .field("capacity", &self.inner.capacity)
            .finish_non_exhaustive()
    }
}

impl MemorySink {
    /// Records a queue holds, unless said otherwise.
    pub const CAPACITY: usize = 100_000;

    /// A sink that answers at once and without faults.
    #[must_use]
    pub fn new(broker: &MemoryBroker) -> Self {
        Self::with_faults(broker, Duration::ZERO, Self::CAPACITY, None)
    }

    /// A sink that answers after `latency`, is full at `capacity` records, and fails as `faults` says.
    #[must_use]
    pub fn with_faults(
        broker: &MemoryBroker,
        latency: Duration,
        capacity: usize,
        faults: Option<Faults>,
    ) -> Self {
        let inner = Inner {
            broker: broker.clone(),
            latency,
            capacity,
            faults,
            state: Mutex::default(),
        };
        Self {
            inner: Arc::new(inner),
        }
    }

    /// Records handed over and not yet answered.
    #[must_use]
    pub fn waiting(&self) -> usize {
        locked(&self.inner.state).queue.len()
    }
}

impl Inner {
    /// Answers until the queue is empty.
    async fn drive(self: Arc<Self>) {
        while let Some(due) = self.next_due() {
            sleep_until(due).await;
            self.answer_due(Instant::now());
        }
    }

    /// When the next record is to be answered; without one the task is over.
    fn next_due(&self) -> Option<Instant> {
        let mut waiting = locked(&self.state);
        let due = waiting.queue.front().map(|handed| handed.due);
        waiting.driven = due.is_some();
        due
    }

    fn answer_due(&self, now: Instant) {
        // One lock a record: an acknowledgement may publish again.
        while let Some(handed) = self.take_due(now) {
            let outcome = self.write(&handed.record);
            (handed.acknowledge)(outcome);
        }
    }

    fn take_due(&self, now: Instant) -> Option<Handed> {
        let mut waiting = locked(&self.state);
        waiting.queue.front().filter(|handed| handed.due <= now)?;
        waiting.queue.pop_front()
    }

    fn write(&self, record: &Outgoing) -> Result<Published, PortError> {
        let fault = self.faults.as_ref().and_then(|faults| faults(record));
        if let Some(Fault::Refused(error)) = fault {
            return Err(error);
        }
        let shared = &self.broker.shared;
        let published = shared.change(|state| {
            let partition = self.choose(state, record)?;
            let at = TopicPartition::new(record.topic.clone(), partition);
            let offset = shared.append(state, &at, record.record.clone(), None)?;
            Ok(Published { partition, offset })
        });
        match fault {
            Some(Fault::Unconfirmed(error)) => published.and(Err(error)),
            _ => published,
        }
    }

    fn choose(&self, state: &State, record: &Outgoing) -> Result<i32, PortError> {
        const CALL: &str = "memory publish";
        state.check_up(CALL)?;
        let partitions = state.partitions(&record.topic).filter(|n| *n > 0);
        let partitions = partitions.ok_or_else(|| {
            let detail = format!("there is no topic {}", record.topic);
            PortError::new(ErrorClass::Invalid, CALL, detail)
        })?;
        let chosen = match &record.record.key {
            Some(key) => partition_of(key, partitions),
            None => {
                let mut waiting = locked(&self.state);
                let next = waiting
                    .next_partition
                    .entry(record.topic.clone())
                    .or_default();
                let chosen = *next % partitions;
                *next = chosen + 1;
                chosen
            }
        };
        Ok(i32::try_from(chosen).unwrap_or(0))
    }
}

impl RecordSink for MemorySink {
    fn publish(&self, record: &Outgoing, acknowledge: Acknowledge) -> Result<(), Acknowledge> {
        let Ok(runtime) = Handle::try_current() else {
            let detail = "publish was called outside a tokio runtime";
            let error = PortError::new(ErrorClass::Transient, "memory publish", detail);
            acknowledge(Err(error));
            return Ok(());
        };
        let mut waiting = locked(&self.inner.state);
        if waiting.queue.len() >= self.inner.capacity {
            return Err(acknowledge);
        }
        waiting.queue.push_back(Handed {
            due: Instant::now() + self.inner.latency,
            record: record.clone(),
            acknowledge,
        });
        if !std::mem::replace(&mut waiting.driven, true) {
            runtime.spawn(self.inner.clone().drive());
        }
        Ok(())
    }

    fn health(&self) -> Result<(), PortError> {
        let state = locked(&self.inner.broker.shared.state);
        state.check_up("memory publish")
    }
}
