//! Failpoints around Kafka: commits, the last commits of revoked partitions, records handed over and acknowledged.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use async_trait::async_trait;
use delayq_core::error::PortError;
use delayq_core::ports::{
    Acknowledge, Commit, Outcomes, RecordSink, RecordSource, RevokeReply, SourceEvent,
};
use delayq_core::record::{Outgoing, TopicPartition};

use super::Points;

pub(super) struct Source {
    inner: Box<dyn RecordSource>,
    points: Points,
    /// Last commits were answered, and the adapter has not gone on yet.
    giving_back: Arc<AtomicBool>,
}

impl Source {
    pub(super) fn around(inner: Box<dyn RecordSource>, points: Points) -> Self {
        Self {
            inner,
            points,
            giving_back: Arc::default(),
        }
    }

    fn watch_revoke(&self, reply: RevokeReply) -> RevokeReply {
        let (points, giving_back) = (self.points, self.giving_back.clone());
        RevokeReply::new(move |commits| {
            points.before("revoke_commit");
            reply.send(commits);
            giving_back.store(true, Ordering::Release);
        })
    }
}

#[async_trait]
impl RecordSource for Source {
    async fn next(&mut self) -> Option<SourceEvent> {
        let event = self.inner.next().await;
        match event {
            Some(SourceEvent::Revoked { partitions, reply }) => {
                let reply = self.watch_revoke(reply);
                Some(SourceEvent::Revoked { partitions, reply })
            }
            // The adapter tells of the next assignment, or ends, once the last commits are done.
            event @ (Some(SourceEvent::Assigned(_)) | None) => {
                if self.giving_back.swap(false, Ordering::AcqRel) {
                    self.points.after("revoke_commit");
                }
                event
            }
            event => event,
        }
    }

    fn pause(&self, partitions: &[TopicPartition]) {
        self.inner.pause(partitions);
    }

    fn resume(&self, partitions: &[TopicPartition]) {
        self.inner.resume(partitions);
    }

    async fn commit(&self, commits: Vec<Commit>) -> Outcomes {
        if let Err(error) = self.points.before_unless_refused("commit") {
            return commits.iter().map(|_| Err(error.clone())).collect();
        }
        let outcomes = self.inner.commit(commits).await;
        self.points.after_any("commit", &outcomes);
        outcomes
    }

    fn close(&self) {
        self.inner.close();
    }
}

pub(super) struct Sink {
    inner: Arc<dyn RecordSink>,
    points: Points,
    dead_letter_topic: Arc<str>,
}

impl Sink {
    pub(super) fn around(
        inner: Arc<dyn RecordSink>,
        points: Points,
        dead_letter_topic: &str,
    ) -> Arc<dyn RecordSink> {
        Arc::new(Self {
            inner,
            points,
            dead_letter_topic: Arc::from(dead_letter_topic),
        })
    }
}

impl RecordSink for Sink {
    fn publish(&self, record: &Outgoing, acknowledge: Acknowledge) -> Result<(), Acknowledge> {
        let dead = record.topic == self.dead_letter_topic;
        let [effect, handed_over, acknowledged] = if dead {
            [
                "dead_letter",
                "dead_letter_handed_over",
                "dead_letter_acknowledged",
            ]
        } else {
            ["publish", "publish_handed_over", "publish_acknowledged"]
        };
        let points = self.points;
        points.before(effect);
        self.inner.publish(
            record,
            Box::new(move |word| {
                if word.is_ok() {
                    points.after(acknowledged);
                }
                acknowledge(word);
            }),
        )?;
        points.after(handed_over);
        Ok(())
    }

    fn health(&self) -> Result<(), PortError> {
        self.inner.health()
    }
}
