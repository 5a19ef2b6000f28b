//! A consumer of the delay topics whose events somebody else sees, and may change, before the router does.

use async_trait::async_trait;
use delayq_core::ports::{Commit, Outcomes, RecordSource, SourceEvent};
use delayq_core::record::TopicPartition;

/// Around `inner`: `see` gets each event, and `None` at the end.
pub(crate) fn tap(
    inner: Box<dyn RecordSource>,
    see: impl FnMut(Option<&mut SourceEvent>) + Send + Sync + 'static,
) -> Box<dyn RecordSource> {
    Box::new(Tap { inner, see })
}

struct Tap<F> {
    inner: Box<dyn RecordSource>,
    see: F,
}

#[async_trait]
impl<F: FnMut(Option<&mut SourceEvent>) + Send + Sync> RecordSource for Tap<F> {
    async fn next(&mut self) -> Option<SourceEvent> {
        let mut event = self.inner.next().await;
        (self.see)(event.as_mut());
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
