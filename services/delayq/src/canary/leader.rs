//! Who sends: the router that holds the first partition of the first delay topic. So one does, however many replicas there
//! are, and its successor is known as soon as the group has one.

use delayq_core::ports::{RecordSource, SourceEvent};
use delayq_core::record::TopicPartition;
use tokio::sync::watch;

use crate::tap::tap;

/// Watches a router's consumer.
pub struct Leader {
    partition: TopicPartition,
    leads: watch::Sender<bool>,
}

impl Leader {
    /// Around `inner`; the receiver says whether this router is the one.
    #[must_use]
    pub fn watch(
        inner: Box<dyn RecordSource>,
        topic: &str,
    ) -> (Box<dyn RecordSource>, watch::Receiver<bool>) {
        let (leads, told) = watch::channel(false);
        let partition = TopicPartition::new(topic, 0);
        let leader = Self { partition, leads };
        let source = tap(inner, move |event| leader.note(event.as_deref()));
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
