//! Stamps records with the embedded clock, as a broker with `LogAppendTime` and that clock would.

use std::sync::Arc;

use async_trait::async_trait;
use delayq_core::ports::{Commit, Outcomes, RecordSource, SourceEvent};
use delayq_core::record::TopicPartition;

use super::TestClock;
use crate::app::SourceLayer;

/// The layer for consumers of the delay topics.
pub(super) fn layer(clock: Arc<TestClock>) -> SourceLayer {
    Arc::new(move |inner| {
        Box::new(Shifted {
            inner,
            clock: clock.clone(),
        })
    })
}

struct Shifted {
    inner: Box<dyn RecordSource>,
    clock: Arc<TestClock>,
}

#[async_trait]
impl RecordSource for Shifted {
    async fn next(&mut self) -> Option<SourceEvent> {
        let mut event = self.inner.next().await;
        if let Some(SourceEvent::Records(records)) = &mut event {
            for record in records {
                record.timestamp_ms = record.timestamp_ms.map(|at| self.clock.at(at));
            }
        }
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
