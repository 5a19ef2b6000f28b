//! librdkafka's callbacks on the consumer: rebalances, errors, logs. All run on the poll thread, inside `poll`.

use std::collections::{HashMap, HashSet};
use std::error::Error;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::Duration;

use delayq_core::error::{ErrorClass, PortError};
use delayq_core::ports::{Assigned, Commit, RevokeReply, SourceEvent};
use delayq_core::record::TopicPartition;
use rdkafka::client::{ClientContext, OAuthToken};
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext, RebalanceProtocol};
use rdkafka::error::{KafkaError, KafkaResult, RDKafkaErrorCode};
use rdkafka::statistics::Statistics;
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use rdkafka::types::RDKafkaRespErr;

use crate::health::Health;
use crate::login::{self, Tokens};
use crate::lost_brokers::LostBrokers;
use crate::shared::{KafkaConsumer, Shared};
use crate::sync::lock;
use crate::{client_log, committed, errors, metrics, raw_offsets};

/// How long the last commits of revoked partitions may take; then the partitions go, and what they finished is
/// delivered again elsewhere.
pub(crate) const REVOKE_COMMIT_TIMEOUT: Duration = Duration::from_secs(5);
/// Tries to read the committed offsets of new partitions, and how long each may take.
const COMMITTED_TRIES: u32 = 3;
const COMMITTED_TIMEOUT: Duration = Duration::from_secs(3);

/// The context of the consumer.
pub(crate) struct SourceContext {
    pub(crate) shared: Arc<Shared>,
    pub(crate) tokens: Option<Tokens>,
    pub(crate) lost_brokers: LostBrokers,
}

impl SourceContext {
    fn partitions(&self, list: &TopicPartitionList) -> Vec<TopicPartition> {
        list.elements()
            .iter()
            .map(|element| TopicPartition {
                topic: self.shared.decoder.topic(element.topic()),
                partition: element.partition(),
            })
            .collect()
    }

    fn assigned(&self, consumer: &KafkaConsumer, list: &TopicPartitionList) {
        let partitions = self.partitions(list);
        if partitions.is_empty() {
            // A member with nothing to do is a healthy member.
            self.shared.tell(SourceEvent::Assigned(Vec::new()));
            incremental(consumer.incremental_assign(list), "assign nothing");
            self.shared.note_health(Health::group_answered);
            return;
        }
        let (start, assigned) = self.read_committed(consumer, list, &partitions);
        lock(&self.shared.assignment).add(&partitions);
        // Backpressure holds for new partitions too.
        self.shared.pauses_changed.store(true, Ordering::Relaxed);
        count_partitions("assigned", partitions.len());
        tracing::info!(partitions = %names(&partitions), "partitions assigned");
        // Before the records: librdkafka fetches only after `incremental_assign`.
        self.shared.tell(SourceEvent::Assigned(assigned));
        if !incremental(consumer.incremental_assign(&start), "assign") {
            lock(&self.shared.assignment).remove(&partitions);
            self.shared.tell(SourceEvent::Lost(partitions));
            return;
        }
        self.shared.note_health(Health::group_answered);
    }

    /// Committed offsets and metadata of new partitions, and the list to start from: the same offsets, so that
    /// the metadata belongs to the position. In want of an answer librdkafka finds the position itself.
    fn read_committed(
        &self,
        consumer: &KafkaConsumer,
        list: &TopicPartitionList,
        partitions: &[TopicPartition],
    ) -> (TopicPartitionList, Vec<Assigned>) {
        for attempt in 1..=COMMITTED_TRIES {
            match committed::read(consumer, list, COMMITTED_TIMEOUT) {
                Ok(committed) => {
                    let metadata = raw_offsets::metadata(&committed);
                    let assigned = committed
                        .elements()
                        .iter()
                        .zip(metadata)
                        .map(|(element, metadata)| Assigned {
                            partition: TopicPartition {
                                topic: self.shared.decoder.topic(element.topic()),
                                partition: element.partition(),
                            },
                            committed: match element.offset() {
                                Offset::Offset(offset) => Some(offset),
                                _ => None,
                            },
                            metadata,
                        })
                        .collect();
                    return (committed, assigned);
                }
                Err(error) => tracing::warn!(%error, attempt, "cannot read committed offsets"),
            }
            if self.shared.queue.is_abandoned() {
                break;
            }
        }
        ::metrics::counter!(metrics::METADATA_UNKNOWN.name).increment(partitions.len() as u64);
        let unknown = partitions
            .iter()
            .map(|partition| Assigned {
                partition: partition.clone(),
                committed: None,
                metadata: None,
            })
            .collect();
        (list.clone(), unknown)
    }

    fn revoked(&self, consumer: &KafkaConsumer, list: &TopicPartitionList) {
        let partitions = self.partitions(list);
        if !partitions.is_empty() {
            if consumer.assignment_lost() {
                self.drop_lost(&partitions);
            } else {
                self.hand_back(&partitions);
            }
            lock(&self.shared.assignment).remove(&partitions);
            // The pause outlives the assignment in librdkafka; the partition may come back.
            if let Err(error) = consumer.resume(list) {
                tracing::warn!(%error, "cannot resume partitions that go");
            }
        }
        match consumer.rebalance_protocol() {
            RebalanceProtocol::Cooperative => {
                incremental(consumer.incremental_unassign(list), "unassign");
            }
            // No protocol: the group was never joined, or is left already.
            RebalanceProtocol::None | RebalanceProtocol::Eager => {
                incremental(consumer.unassign(), "unassign all");
            }
        }
    }

    fn drop_lost(&self, partitions: &[TopicPartition]) {
        count_partitions("lost", partitions.len());
        tracing::warn!(partitions = %names(partitions), "partitions lost");
        let lost: HashSet<TopicPartition> = partitions.iter().cloned().collect();
        self.flush_in_hand();
        self.shared.queue.drop_records_of(&lost);
        self.shared.tell(SourceEvent::Lost(partitions.to_vec()));
    }

    /// Asks the router for its last commits and commits them. Blocks the poll thread, which is right: heartbeats
    /// go on in librdkafka's own thread, and nothing may be fetched meanwhile.
    fn hand_back(&self, partitions: &[TopicPartition]) {
        count_partitions("revoked", partitions.len());
        tracing::info!(partitions = %names(partitions), "partitions revoked");
        self.flush_in_hand();
        let (answer, answered) = mpsc::sync_channel(1);
        let asked = self.shared.tell(SourceEvent::Revoked {
            partitions: partitions.to_vec(),
            reply: RevokeReply::new(move |commits| {
                if answer.send(commits).is_err() {
                    tracing::warn!("the last commits came after the revoke time-out");
                }
            }),
        });
        if !asked {
            return;
        }
        match answered.recv_timeout(self.shared.settings.revoke_timeout) {
            Ok(commits) => self.commit_within(commits, REVOKE_COMMIT_TIMEOUT),
            Err(RecvTimeoutError::Disconnected) => {
                tracing::debug!("nothing to commit for the revoked partitions");
            }
            Err(RecvTimeoutError::Timeout) => {
                ::metrics::counter!(metrics::REVOKE_TIMEOUTS.name).increment(1);
                tracing::warn!(
                    timeout = ?self.shared.settings.revoke_timeout,
                    "no commits came for the revoked partitions in time"
                );
            }
        }
    }

    /// Commits in a thread of its own, since librdkafka's call may wait for a coordinator that is away for longer
    /// than a revocation may take.
    fn commit_within(&self, commits: Vec<Commit>, limit: Duration) {
        if commits.is_empty() {
            return;
        }
        let (done, finished) = mpsc::sync_channel(1);
        let shared = Arc::clone(&self.shared);
        let spawned = std::thread::Builder::new()
            .name("kafka-last-commit".to_owned())
            .spawn(move || {
                for (commit, outcome) in commits.iter().zip(shared.commit(&commits)) {
                    if let Err(error) = outcome {
                        tracing::warn!(%error, offset = commit.offset, "last commit failed");
                    }
                }
                if done.send(()).is_err() {
                    tracing::warn!("the last commit ended after its limit");
                }
            });
        if let Err(error) = spawned {
            tracing::error!(%error, "cannot start the thread of the last commit");
            return;
        }
        if finished.recv_timeout(limit).is_err() {
            tracing::warn!(?limit, "the last commit is not confirmed in time");
        }
    }

    fn flush_in_hand(&self) {
        let records = lock(&self.shared.in_hand).take();
        self.shared.queue.push_records_at_once(records);
    }

    /// The configured topic that an error text names, as in `Subscribed topic not available: orders.delay: …`.
    fn topic_in(&self, reason: &str) -> Option<&str> {
        self.shared
            .settings
            .topics
            .iter()
            .map(String::as_str)
            .find(|topic| reason.split(": ").any(|part| part == *topic))
    }
}

fn incremental(result: KafkaResult<()>, what: &str) -> bool {
    match result {
        Ok(()) => true,
        Err(error) => {
            tracing::error!(%error, "rebalance: cannot {what}");
            false
        }
    }
}

fn count_partitions(kind: &'static str, count: usize) {
    ::metrics::counter!(metrics::REBALANCED.name, "kind" => kind).increment(count as u64);
}

fn names(partitions: &[TopicPartition]) -> String {
    let names: Vec<String> = partitions.iter().map(ToString::to_string).collect();
    names.join(" ")
}

/// A subscribed topic that cannot be read.
pub(crate) fn topic_problem(topic: &str, code: RDKafkaErrorCode) -> PortError {
    let detail = if code == RDKafkaErrorCode::TopicAuthorizationFailed {
        format!("no permission to read topic {topic}: grant READ and DESCRIBE on it")
    } else {
        format!(
            "topic {topic} does not exist: create it (delayq init) or correct its name ({code})"
        )
    };
    PortError::new(ErrorClass::Misconfigured, "kafka consumer", detail)
}

impl ClientContext for SourceContext {
    const ENABLE_REFRESH_OAUTH_TOKEN: bool = true;

    fn generate_oauth_token(&self, _: Option<&str>) -> Result<OAuthToken, Box<dyn Error>> {
        login::answer(self.tokens.as_ref())
    }

    fn log(&self, level: RDKafkaLogLevel, fac: &str, log_message: &str) {
        client_log::forward("consumer", level, fac, log_message);
    }

    /// Whether there are brokers; and how far behind the group is: by what is committed, so that what is in hand counts.
    fn stats(&self, statistics: Statistics) {
        if let Some(problem) = self.lost_brokers.find(&statistics) {
            self.shared
                .note_health(|health| health.broker_failed(problem));
        }
        for topic in &self.shared.settings.topics {
            let partitions = statistics.topics.get(topic).map(|topic| &topic.partitions);
            let read = partitions
                .into_iter()
                .flat_map(HashMap::values)
                .filter(|one| one.fetch_state == "active");
            // Unknown (-1) until the first commit and fetch.
            let lag: i64 = read.map(|one| one.consumer_lag.max(0)).sum();
            ::metrics::gauge!(metrics::LAG.name, "topic" => topic.clone()).set(lag as f64);
        }
    }

    fn error(&self, error: KafkaError, reason: &str) {
        use RDKafkaErrorCode as C;
        let code = errors::code_of(&error);
        ::metrics::counter!(
            metrics::CLIENT_ERRORS.name, "client" => "consumer", "code" => format!("{code:?}")
        )
        .increment(1);
        match code {
            C::UnknownTopic
            | C::UnknownTopicOrPartition
            | C::TopicAuthorizationFailed
            | C::InvalidTopic => match self.topic_in(reason) {
                Some(topic) => self
                    .shared
                    .note_health(|health| health.topic_failed(topic, topic_problem(topic, code))),
                None => tracing::warn!(%code, reason, "kafka consumer"),
            },
            C::GroupAuthorizationFailed | C::InvalidGroupId | C::InconsistentGroupProtocol => {
                let group = &self.shared.settings.group_id;
                let problem = PortError::new(
                    ErrorClass::Misconfigured,
                    "kafka consumer",
                    format!(
                        "group {group}: {code} ({reason}); grant READ on the group, and let all its members run delayq"
                    ),
                );
                self.shared
                    .note_health(|health| health.group_failed(problem));
            }
            _ => match errors::client(
                "kafka consumer",
                code,
                reason,
                &self.shared.bootstrap_servers,
            ) {
                Some(problem) => self
                    .shared
                    .note_health(|health| health.broker_failed(problem)),
                None => tracing::info!(%code, reason, "kafka consumer"),
            },
        }
    }
}

impl ConsumerContext for SourceContext {
    fn rebalance(
        &self,
        consumer: &BaseConsumer<Self>,
        err: RDKafkaRespErr,
        list: &mut TopicPartitionList,
    ) {
        if err == RDKafkaRespErr::RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS {
            self.assigned(consumer, list);
        } else {
            self.revoked(consumer, list);
        }
    }
}
