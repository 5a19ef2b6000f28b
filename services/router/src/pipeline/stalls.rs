//! Names partitions that do not move: whose oldest record is in hand for longer than any of the paths explains.

use delayq_core::record::TopicPartition;
use tokio::time::Instant;

use super::Router;
use crate::metrics as names;
use crate::partitions::Head;

impl Router {
    /// Milliseconds on the monotonic clock.
    pub(super) fn elapsed_ms(&self) -> i64 {
        let elapsed = Instant::now().duration_since(self.started);
        i64::try_from(elapsed.as_millis()).unwrap_or(i64::MAX)
    }

    pub(super) fn watch_partitions(&mut self) {
        let limit_ms = i64::try_from(self.settings.stall_after.as_millis()).unwrap_or(i64::MAX);
        for (partition, head) in self.partitions.heads(self.elapsed_ms()) {
            let age_ms = head.map_or(0, |head| head.age_ms);
            head_of_line(&partition, age_ms);
            match head.filter(|head| head.age_ms > limit_ms) {
                Some(head) => {
                    self.health
                        .report(&component(&partition), Err(reason(head)));
                    self.stalled.insert(partition);
                }
                None => self.moves(&partition),
            }
        }
    }

    /// It moves again.
    fn moves(&mut self, partition: &TopicPartition) {
        if self.stalled.remove(partition) {
            let component = component(partition);
            self.health.report(&component, Ok(()));
            self.health.forget(&component);
        }
    }

    /// It is another router's from here on.
    pub(super) fn watch_no_more(&mut self, partitions: &[TopicPartition]) {
        for partition in partitions {
            head_of_line(partition, 0);
            if self.stalled.remove(partition) {
                self.health.forget(&component(partition));
            }
        }
    }
}

fn head_of_line(partition: &TopicPartition, age_ms: i64) {
    let labels = [
        ("topic", partition.topic.to_string()),
        ("partition", partition.partition.to_string()),
    ];
    metrics::gauge!(names::HEAD_OF_LINE_MS, &labels).set(age_ms as f64);
}

fn component(partition: &TopicPartition) -> String {
    format!("partition {partition}")
}

fn reason(head: Head) -> String {
    format!(
        "stalled: offset {} has been in hand for {} s, and holds up the commit of {} more; the tier or topic it waits for does not take it",
        head.offset,
        head.age_ms / 1000,
        head.unfinished.saturating_sub(1)
    )
}
