//! Who sends: the router that holds the first partition of the first delay topic. So one does, however many replicas there
//! are, and its successor is known as soon as the group has one.

use async_trait::async_trait;
use delayq_core::ports::{Commit, Outcomes, RecordSource, SourceEvent};
use delayq_core::record::TopicPartition;
use tokio::sync::watch;

/// Watches a router's consumer.
pub struct Leader {
    inner: Box<dyn RecordSource>,
    partition: TopicPartition,
    leads: watch::Sender<bool>,
}

impl Leader {
    /// Around `inner`; the receiver says whether this router is the one.
    #[must_use]
    pub fn watch(inner: Box<dyn RecordSource>, topic: &str) -> (Self, watch::Receiver<bool>) {
        let (leads, told) = watch::channel(false);
        let partition = TopicPartition::new(topic, 0);
        let source = Self {
            inner,
            partition,
            leads,
        };
        (source, told)
    }

    fn leads(&self, leads: bool) {
        self.leads
            .send_if_modified(|did| std::mem::replace(did, leads) != leads);
    }

    fn note(&self, event: Option<&SourceEvent>) {
        match event {
            Some(SourceEvent::Assigned(assigned)) => {
                if assigned.iter().any(|one| one.partition == self.partition) {
                    self.leads(true);
                }
            }
            Some(SourceEvent::Revoked { partitions, .. } | SourceEvent::Lost(partitions)) => {
                if partitions.contains(&self.partition) {
                    self.leads(false);
                }
            }
            None => {
                self.leads(false);
            }
            Some(SourceEvent::Records(_) | SourceEvent::Unhealthy(_) | SourceEvent::Healthy) => {}
        }
    }
}

#[async_trait]
impl RecordSource for Leader {
    async fn next(&mut self) -> Option<SourceEvent> {
        let event = self.inner.next().await;
        self.note(event.as_ref());
        event
    }

    fn pause(&self, partitions: &[TopicPartition]) {
        self.inner.pause(partitions);
    }

    fn resume(&self, partitions: &[TopicPartition]) {
        self.inner.resume(partitions);
    }

    async fn commit(&self, commits: Vec<Commit>) -> Outcomes {
        self.inner.commit(commits).await
    }

    fn close(&self) {
        self.inner.close();
    }
}
