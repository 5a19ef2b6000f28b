//! [`KafkaSink`]: idempotent producers behind the port, one for each priority.
//!
//! A producer sends a request for each partition, and has at most five of them under way with a broker. Records of high priority
//! that shared it with a backlog would wait for the backlog's requests, of up to a megabyte each.

use std::sync::Arc;

use delayq_core::error::PortError;
use delayq_core::ports::{Acknowledge, RecordSink};
use delayq_core::priority::Priority;
use delayq_core::record::Outgoing;

use crate::errors;
use crate::lane::{Lane, on_poll_thread};
use crate::settings::{KafkaSettings, SinkSettings};
use crate::sink_context::SinkHealth;

/// The producers of all output and dead-letter topics: `acks=all`, idempotent, partitioned as Java does.
///
/// They hold at most [`SinkSettings::queue_kbytes`] of records together. Callbacks run on librdkafka's poll threads and must be
/// short. Dropping it waits up to 4 s, then answers what is open with an error.
pub struct KafkaSink {
    settings: SinkSettings,
    health: Arc<SinkHealth>,
    /// By priority.
    lanes: [Lane; Priority::ALL.len()],
}

impl std::fmt::Debug for KafkaSink {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("KafkaSink")
            .field("settings", &self.settings)
            .finish_non_exhaustive()
    }
}

impl KafkaSink {
    /// Builds the producer of standard priority; the others with their first record. Needs no broker: one that is away shows in
    /// [`RecordSink::health`].
    ///
    /// # Errors
    /// `Misconfigured` when the settings have faults or librdkafka refuses them.
    pub fn new(kafka: &KafkaSettings, settings: SinkSettings) -> Result<Self, PortError> {
        let mut faults = kafka.faults();
        faults.extend(settings.faults());
        if !faults.is_empty() {
            return Err(errors::faulty_settings("kafka producer", &faults));
        }
        let health = Arc::new(SinkHealth::default());
        let lanes = Priority::ALL.map(|_| {
            Lane::new(
                kafka,
                settings.of_one_in(Priority::ALL.len()),
                health.clone(),
            )
        });
        let sink = Self {
            settings,
            health,
            lanes,
        };
        sink.lane(Priority::Standard).live()?;
        Ok(sink)
    }

    /// Begins the producers of all priorities, which takes each half a second with its broker: no record shall wait for that.
    ///
    /// # Errors
    /// As [`KafkaSink::new`].
    pub fn begin(&self) -> Result<(), PortError> {
        self.lanes.iter().try_for_each(|lane| lane.live().map(drop))
    }

    const fn lane(&self, priority: Priority) -> &Lane {
        let [high, standard, low] = &self.lanes;
        match priority {
            Priority::High => high,
            Priority::Standard => standard,
            Priority::Low => low,
        }
    }
}

impl RecordSink for KafkaSink {
    fn publish(&self, record: &Outgoing, acknowledge: Acknowledge) -> Result<(), Acknowledge> {
        self.lane(record.priority).publish(record, acknowledge)
    }

    /// Also mends: a dead producer is rebuilt, an unanswering broker is asked again.
    fn health(&self) -> Result<(), PortError> {
        for lane in &self.lanes {
            lane.mend()?;
        }
        match self.health.problem() {
            None => Ok(()),
            Some(problem) => {
                let standard = self.lane(Priority::Standard);
                standard.probe(standard.live()?);
                Err(problem)
            }
        }
    }
}

impl Drop for KafkaSink {
    /// All at once: each may take seconds.
    fn drop(&mut self) {
        let ends: Vec<_> = self.lanes.iter_mut().filter_map(Lane::end).collect();
        // A callback may own the last handle of the sink.
        if !on_poll_thread() {
            for end in ends {
                if end.join().is_err() {
                    tracing::error!("a kafka producer did not end well");
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;
    use delayq_core::record::Record;
    use rdkafka::mocking::MockCluster;
    use std::time::Duration;

    #[test]
    fn a_priority_whose_queue_is_full_holds_up_no_other() {
        let cluster = MockCluster::new(1).expect("mock cluster");
        cluster.create_topic("t", 1, 1).expect("topic");
        cluster.broker_down(-1).expect("down");
        let kafka = KafkaSettings {
            bootstrap_servers: cluster.bootstrap_servers(),
            ..KafkaSettings::default()
        };
        let settings = SinkSettings {
            queue_kbytes: 6 * 1024,
            ..SinkSettings::default()
        };
        let sink = KafkaSink::new(&kafka, settings).expect("sink");
        sink.begin().expect("all priorities");
        let taken = |priority, count: usize| {
            let outgoing = Outgoing {
                topic: "t".into(),
                priority,
                record: Record {
                    value: Some(Bytes::from(vec![b'x'; 1_000_000])),
                    ..Record::default()
                },
            };
            let publish = |_: &usize| sink.publish(&outgoing, Box::new(|_| {})).is_ok();
            (0..count).take_while(publish).count()
        };
        // A third of 6 MiB each: two of a megabyte.
        assert_eq!(taken(Priority::Low, 10), 2);
        assert_eq!(taken(Priority::Standard, 10), 2);
        assert_eq!(taken(Priority::High, 1), 1);
        let started = tokio::time::Instant::now();
        drop(sink);
        assert!(
            started.elapsed() < Duration::from_secs(8),
            "all end at once"
        );
    }
}
