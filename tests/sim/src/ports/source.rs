//! The consumer side of Kafka.

use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use delayq_core::ports::{Commit, Outcomes, RecordSource, RevokeReply, SourceEvent};
use delayq_core::record::TopicPartition;
use delayq_embedded::MemorySource;

use super::all_fail;
use crate::ledger::Cause;
use crate::node::Node;
use crate::weather::Target;

/// As one process reaches it.
pub struct SimSource {
    node: Arc<Node>,
    inner: MemorySource,
    next: Mutex<Option<SourceEvent>>,
}

impl SimSource {
    /// As `node` reaches `inner`.
    #[must_use]
    pub fn new(node: Arc<Node>, inner: MemorySource) -> Self {
        Self {
            node,
            inner,
            next: Mutex::default(),
        }
    }

    /// Taken from the member and not yet handed on: a wait that is given up loses nothing.
    fn next_mut(&mut self) -> &mut Option<SourceEvent> {
        self.next.get_mut().unwrap_or_else(PoisonError::into_inner)
    }

    fn hear(&self, event: SourceEvent) -> SourceEvent {
        let node = &self.node;
        match event {
            SourceEvent::Assigned(assigned) => {
                for one in &assigned {
                    node.note(format_args!(
                        "is assigned {} at {:?}",
                        one.partition, one.committed
                    ));
                    // Whatever it had of an earlier assignment is delivered anew.
                    drop(node.hands().give_up(&one.partition));
                }
                SourceEvent::Assigned(assigned)
            }
            SourceEvent::Records(records) => {
                for record in &records {
                    node.hands().delivered(&record.source);
                }
                node.note(format_args!("is given {} records", records.len()));
                SourceEvent::Records(records)
            }
            SourceEvent::Lost(partitions) => {
                for partition in &partitions {
                    node.note(format_args!("loses {partition}"));
                    let left = node.hands().give_up(partition);
                    node.ledger.blame(Cause::PartitionLost, left);
                }
                SourceEvent::Lost(partitions)
            }
            SourceEvent::Revoked { partitions, reply } => {
                let (node, given_up) = (node.clone(), partitions.clone());
                let reply =
                    RevokeReply::new(move |commits| answer(&node, &given_up, commits, reply));
                SourceEvent::Revoked { partitions, reply }
            }
            other @ (SourceEvent::Unhealthy(_) | SourceEvent::Healthy) => other,
        }
    }
}

/// The last commits of what is given up. What they leave out is given to the next owner again: a duplicate of what was
/// handed over, and excused only by a tier or a broker that is away.
fn answer(node: &Node, partitions: &[TopicPartition], commits: Vec<Commit>, reply: RevokeReply) {
    if node.is_dead() {
        return;
    }
    let broker_away = node.weather.is_away(Target::Kafka);
    for commit in &commits {
        node.note(format_args!(
            "gives up {} at {}",
            commit.partition, commit.offset
        ));
        if !broker_away {
            node.hands().committed(commit);
        }
    }
    for partition in partitions {
        let left = node.hands().give_up(partition);
        if !left.is_empty() && !node.weather.is_calm() {
            node.ledger.blame(Cause::PartitionLost, left);
        }
    }
    reply.send(commits);
}

#[async_trait]
impl RecordSource for SimSource {
    async fn next(&mut self) -> Option<SourceEvent> {
        self.node.awake().await;
        if self.next_mut().is_none() {
            let event = self.inner.next().await?;
            *self.next_mut() = Some(event);
        }
        self.node.awake().await;
        let event = self.next_mut().take()?;
        Some(self.hear(event))
    }

    fn pause(&self, partitions: &[TopicPartition]) {
        self.inner.pause(partitions);
    }

    fn resume(&self, partitions: &[TopicPartition]) {
        self.inner.resume(partitions);
    }

    async fn commit(&self, commits: Vec<Commit>) -> Outcomes {
        let count = commits.len();
        let effect = async {
            let outcomes = self.inner.commit(commits.clone()).await;
            for (commit, outcome) in commits.iter().zip(&outcomes) {
                let confirmed = outcome.is_ok();
                self.node.note(format_args!(
                    "commits {} at {}: {confirmed}",
                    commit.partition, commit.offset
                ));
                if confirmed {
                    self.node.hands().committed(commit);
                }
            }
            outcomes
        };
        self.node
            .call(Target::Kafka, "commit", Vec::new, effect, |error| {
                all_fail(count, &error)
            })
            .await
    }

    fn close(&self) {
        if !self.node.is_dead() {
            self.inner.close();
        }
    }
}
