//! What the poll thread, librdkafka's callbacks and the port share: queue, assignment, health, and the commit.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use delayq_core::error::{ErrorClass, PortError};
use delayq_core::ports::{Commit, Outcomes, SourceEvent};
use delayq_core::record::TopicPartition;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::RDKafkaErrorCode;
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};

use crate::assignment::Assignment;
use crate::event_queue::EventQueue;
use crate::health::Health;
use crate::in_hand::Chunk;
use crate::incoming::Decoder;
use crate::rebalance::SourceContext;
use crate::settings::SourceSettings;
use crate::sync::lock;
use crate::{errors, metrics, raw_offsets};

pub(crate) type KafkaConsumer = BaseConsumer<SourceContext>;

/// What the poll thread, the callbacks and the port share.
pub(crate) struct Shared {
    pub(crate) settings: SourceSettings,
    pub(crate) bootstrap_servers: String,
    pub(crate) decoder: Decoder,
    pub(crate) queue: EventQueue,
    pub(crate) in_hand: Mutex<Chunk>,
    pub(crate) assignment: Mutex<Assignment>,
    /// The assignment may have pauses or resumes to carry out.
    pub(crate) pauses_changed: AtomicBool,
    pub(crate) health: Mutex<Health>,
    /// Something is wrong: the poll thread probes, and the first record is looked at.
    pub(crate) unhealthy: AtomicBool,
    /// A probe is under way.
    pub(crate) probing: AtomicBool,
    pub(crate) closing: AtomicBool,
    /// `None` once the thread has ended, and while a consumer is rebuilt.
    pub(crate) consumer: Mutex<Option<Arc<KafkaConsumer>>>,
}

impl Shared {
    /// Changes what is known about health and tells the router if that is news.
    pub(crate) fn note_health(&self, change: impl FnOnce(&mut Health)) {
        // Told under the lock: poll thread and probe must not overtake each other.
        let mut health = lock(&self.health);
        change(&mut health);
        self.unhealthy
            .store(health.problem().is_some(), Ordering::Relaxed);
        if let Some(event) = health.news() {
            match &event {
                SourceEvent::Unhealthy(error) => tracing::warn!(%error, "kafka source unhealthy"),
                _ => tracing::info!("kafka source healthy"),
            }
            self.tell(event);
        }
    }

    /// Sends an event; without a reader there is nobody to tell, and the thread ends soon.
    pub(crate) fn tell(&self, event: SourceEvent) -> bool {
        let told = self.queue.push_event(event);
        if !told {
            tracing::debug!("the kafka source has no reader any more");
        }
        told
    }

    /// Commits now, waiting for the coordinator. Refuses partitions that are not held: the broker does not check
    /// who owns a partition, so a late commit would set the new owner's offset back.
    pub(crate) fn commit(&self, commits: &[Commit]) -> Outcomes {
        let consumer = lock(&self.consumer).clone();
        let Some(consumer) = consumer else {
            return commits
                .iter()
                .map(|commit| Err(not_held(&commit.partition)))
                .collect();
        };
        let held: Vec<bool> = {
            let assignment = lock(&self.assignment);
            commits
                .iter()
                .map(|commit| assignment.holds(&commit.partition))
                .collect()
        };
        let sent: Vec<&Commit> = commits
            .iter()
            .zip(&held)
            .filter_map(|(commit, held)| held.then_some(commit))
            .collect();
        let mut outcomes = commit_offsets(&consumer, &sent).into_iter();
        let outcomes: Outcomes = commits
            .iter()
            .zip(&held)
            .map(|(commit, held)| {
                if *held {
                    outcomes.next().unwrap_or_else(|| {
                        Err(errors::commit(
                            RDKafkaErrorCode::Unknown,
                            &commit.partition.to_string(),
                        ))
                    })
                } else {
                    Err(not_held(&commit.partition))
                }
            })
            .collect();
        count_commits(&outcomes);
        outcomes
    }
}

fn not_held(partition: &TopicPartition) -> PortError {
    PortError::new(
        ErrorClass::Conflict,
        "kafka commit",
        format!("{partition} is not assigned to this consumer any more"),
    )
}

fn count_commits(outcomes: &Outcomes) {
    for outcome in outcomes {
        let label = match outcome {
            Ok(()) => "ok",
            Err(error) if error.class == ErrorClass::Conflict => "fenced",
            Err(_) => "failed",
        };
        ::metrics::counter!(metrics::COMMITS.name, "outcome" => label).increment(1);
    }
}

/// One outcome a commit, in order.
///
/// librdkafka 2.12 answers for all partitions of a request with the error of one that was refused
/// (`rd_kafka_handle_OffsetCommit`), so those that may have been refused for another's sake are committed again,
/// alone: a commit is idempotent. Errors that concern the whole group, or no answer, are left as they are.
fn commit_offsets(consumer: &KafkaConsumer, commits: &[&Commit]) -> Outcomes {
    let outcomes = commit_request(consumer, commits);
    if commits.len() < 2 {
        return outcomes;
    }
    let concerns_one =
        |error: &PortError| matches!(error.class, ErrorClass::Invalid | ErrorClass::Misconfigured);
    commits
        .iter()
        .zip(outcomes)
        .map(|(commit, outcome)| match outcome {
            Err(error) if concerns_one(&error) => commit_request(consumer, &[commit])
                .pop()
                .unwrap_or(Err(error)),
            other => other,
        })
        .collect()
}

/// One request; one outcome a commit, in order.
fn commit_request(consumer: &KafkaConsumer, commits: &[&Commit]) -> Outcomes {
    if commits.is_empty() {
        return Vec::new();
    }
    let mut list = TopicPartitionList::with_capacity(commits.len());
    for commit in commits {
        let mut element = list.add_partition(&commit.partition.topic, commit.partition.partition);
        if let Err(error) = element.set_offset(Offset::Offset(commit.offset)) {
            tracing::error!(%error, partition = %commit.partition, offset = commit.offset, "not an offset");
        }
        if !commit.metadata.is_empty() {
            element.set_metadata(&commit.metadata);
        }
    }
    let reply = raw_offsets::commit(consumer.client(), &list);
    commits
        .iter()
        .map(|commit| {
            let name = commit.partition.to_string();
            match &reply {
                Err(code) => Err(errors::commit(*code, &name)),
                Ok(partitions) => {
                    let found = partitions.iter().find(|(topic, partition, _)| {
                        *partition == commit.partition.partition
                            && topic.as_str() == commit.partition.topic.as_ref()
                    });
                    match found {
                        Some((_, _, None)) => Ok(()),
                        Some((_, _, Some(code))) => Err(errors::commit(*code, &name)),
                        None => Err(errors::commit(RDKafkaErrorCode::Unknown, &name)),
                    }
                }
            }
        })
        .collect()
}
