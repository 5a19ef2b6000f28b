//! A mock cluster inside librdkafka, and a reader that keeps what a source says.
#![allow(
    dead_code,
    unreachable_pub,
    reason = "each test binary uses its own part of this module"
)]
#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "helpers of tests fail by panicking"
)]

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use delayq_core::error::PortError;
use delayq_core::ports::{
    Acknowledge, Assigned, Commit, Published, RecordSink, RecordSource, SourceEvent,
};
use delayq_core::record::{Header, Incoming, Outgoing, Record, TopicPartition};
use delayq_kafka::{KafkaSettings, KafkaSink, KafkaSource, SinkSettings, SourceSettings};
use rdkafka::mocking::MockCluster;
use rdkafka::producer::DefaultProducerContext;
use tokio::sync::oneshot;

pub type Cluster = MockCluster<'static, DefaultProducerContext>;

/// Far more than anything here takes: a test that waits this long has failed.
pub const PATIENCE: Duration = Duration::from_secs(60);

pub fn cluster(topics: &[(&str, i32)]) -> Cluster {
    logged();
    let cluster = MockCluster::new(1).expect("mock cluster");
    for (topic, partitions) in topics {
        cluster.create_topic(topic, *partitions, 1).expect("topic");
    }
    cluster
}

/// What the source and the client warn of, beside a test that fails; more with `DELAYQ_TEST_LOG=info`.
fn logged() {
    static ONCE: std::sync::Once = std::sync::Once::new();
    ONCE.call_once(|| {
        let filter = std::env::var("DELAYQ_TEST_LOG").unwrap_or_else(|_| "warn".to_owned());
        tracing_subscriber::fmt()
            .with_env_filter(filter)
            .with_test_writer()
            .with_ansi(false)
            .init();
    });
}

pub fn kafka(cluster: &Cluster) -> KafkaSettings {
    KafkaSettings {
        bootstrap_servers: cluster.bootstrap_servers(),
        ..KafkaSettings::default()
    }
}

pub fn source_settings(topics: &[&str]) -> SourceSettings {
    SourceSettings {
        group_id: "g".to_owned(),
        topics: topics.iter().map(|t| (*t).to_owned()).collect(),
        session_timeout: Duration::from_secs(6),
        ..SourceSettings::default()
    }
}

pub fn source(cluster: &Cluster, topics: &[&str]) -> KafkaSource {
    KafkaSource::start(&kafka(cluster), source_settings(topics)).expect("source")
}

pub fn sink(cluster: &Cluster) -> KafkaSink {
    KafkaSink::new(&kafka(cluster), SinkSettings::default()).expect("sink")
}

pub fn outgoing(topic: &str, key: Option<&str>, value: &str) -> Outgoing {
    let record = Record {
        key: key.map(|k| Bytes::from(k.to_owned())),
        value: Some(Bytes::from(value.to_owned())),
        headers: vec![Header::text("n", value)],
    };
    Outgoing::standard(Arc::from(topic), record)
}

/// Publishes and hands out the answer-to-be. Waits while the sink is full.
pub async fn publish_later(
    sink: &KafkaSink,
    record: &Outgoing,
) -> oneshot::Receiver<Result<Published, PortError>> {
    let (tx, rx) = oneshot::channel();
    let mut acknowledge: Acknowledge = Box::new(move |result| {
        tx.send(result).expect("the test waits for the answer");
    });
    while let Err(back) = sink.publish(record, acknowledge) {
        acknowledge = back;
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    rx
}

pub async fn publish(sink: &KafkaSink, record: &Outgoing) -> Result<Published, PortError> {
    let answer = publish_later(sink, record).await;
    tokio::time::timeout(PATIENCE, answer)
        .await
        .expect("an answer in time")
        .expect("the callback is called")
}

/// Publishes values `range` with themselves as keys; all must be acknowledged.
pub async fn publish_all(sink: &KafkaSink, topic: &str, range: std::ops::Range<usize>) {
    let mut answers = Vec::new();
    for n in range {
        let n = n.to_string();
        answers.push(publish_later(sink, &outgoing(topic, Some(&n), &n)).await);
    }
    for answer in answers {
        answer.await.expect("called").expect("acknowledged");
    }
}

pub async fn next(source: &mut KafkaSource) -> Option<SourceEvent> {
    tokio::time::timeout(PATIENCE, source.next())
        .await
        .expect("an event in time")
}

/// A reader that keeps everything in order and commits all it received when partitions are revoked.
pub struct Reader {
    pub source: KafkaSource,
    pub records: Vec<Incoming>,
    pub assigned: Vec<Assigned>,
    pub held: Vec<TopicPartition>,
    pub lost: Vec<TopicPartition>,
    pub unhealthy: Vec<PortError>,
    pub healthy: usize,
    pub ended: bool,
    pub metadata: String,
}

impl Reader {
    pub fn new(source: KafkaSource) -> Self {
        Self {
            source,
            records: Vec::new(),
            assigned: Vec::new(),
            held: Vec::new(),
            lost: Vec::new(),
            unhealthy: Vec::new(),
            healthy: 0,
            ended: false,
            metadata: String::new(),
        }
    }

    pub fn values(&self) -> Vec<usize> {
        self.records
            .iter()
            .map(|r| {
                let value = r.record.value.as_ref().expect("a value");
                std::str::from_utf8(value)
                    .expect("text")
                    .parse()
                    .expect("a number")
            })
            .collect()
    }

    /// Takes one event.
    pub async fn step(&mut self) {
        let event = next(&mut self.source).await;
        self.take(event);
    }

    /// Takes events until `done`.
    pub async fn until(&mut self, done: impl Fn(&Self) -> bool) {
        while !done(self) && !self.ended {
            self.step().await;
        }
        assert!(done(self), "the source ended first");
    }

    /// Takes whatever comes within `time`.
    pub async fn during(&mut self, time: Duration) {
        let end = tokio::time::Instant::now() + time;
        while let Ok(event) = tokio::time::timeout_at(end, self.source.next()).await {
            self.take(event);
            if self.ended {
                return;
            }
        }
    }

    fn take(&mut self, event: Option<SourceEvent>) {
        match event {
            None => self.ended = true,
            Some(SourceEvent::Assigned(assigned)) => {
                self.held
                    .extend(assigned.iter().map(|a| a.partition.clone()));
                self.assigned.extend(assigned);
            }
            Some(SourceEvent::Records(records)) => {
                for record in &records {
                    assert!(
                        self.held.contains(&record.source.at),
                        "{} is not held",
                        record.source
                    );
                }
                self.records.extend(records);
            }
            Some(SourceEvent::Revoked { partitions, reply }) => {
                reply.send(self.commits_of(&partitions));
                self.held.retain(|p| !partitions.contains(p));
            }
            Some(SourceEvent::Lost(partitions)) => {
                self.held.retain(|p| !partitions.contains(p));
                self.lost.extend(partitions);
            }
            Some(SourceEvent::Unhealthy(error)) => self.unhealthy.push(error),
            Some(SourceEvent::Healthy) => self.healthy += 1,
        }
    }

    /// All that was received of these.
    pub fn commits_of(&self, partitions: &[TopicPartition]) -> Vec<Commit> {
        partitions
            .iter()
            .filter_map(|p| {
                let last = self
                    .records
                    .iter()
                    .filter(|r| r.source.at == *p)
                    .map(|r| r.source.offset)
                    .max()?;
                Some(Commit {
                    partition: p.clone(),
                    offset: last + 1,
                    metadata: self.metadata.clone(),
                })
            })
            .collect()
    }

    /// Closes and takes all that is left.
    pub async fn close(&mut self) {
        self.source.close();
        while !self.ended {
            self.step().await;
        }
    }

    /// Offsets of each partition rise by one: nothing skipped, nothing twice.
    pub fn assert_gapless(&self) {
        let mut last = std::collections::HashMap::new();
        for record in &self.records {
            let previous = last.insert(record.source.at.clone(), record.source.offset);
            if let Some(previous) = previous {
                assert_eq!(record.source.offset, previous + 1, "{}", record.source);
            }
        }
    }
}
