//! What came out, by output topic: the numbers that those ask for whose records they are.

use std::collections::HashMap;
use std::sync::Arc;

use ::metrics::Counter;

/// Counter: records whose publication the broker confirmed. Label: topic, or `(others)` beyond 200 topics.
pub const PUBLISHED: &str = "delayq_output_published_total";
/// Counter: those of them that came more than a second after they were due, or after their turn. Label: topic.
pub const LATE: &str = "delayq_output_late_total";

/// What counts as late.
const LATE_MS: i64 = 1_000;
/// Topics with a label of their own: whoever may choose any target must not fill the memory of whoever counts.
const TOPICS_MAX: usize = 200;
const OTHERS: &str = "(others)";
/// Topics counted together before they are told.
const UNTOLD_MAX: usize = 16;

/// Counts by the batch; handles are found once.
#[derive(Debug, Default)]
pub(super) struct ByOutput {
    handles: HashMap<Arc<str>, (Counter, Counter)>,
    untold: Vec<Untold>,
}

#[derive(Debug)]
struct Untold {
    topic: Arc<str>,
    published: u64,
    late: u64,
}

impl ByOutput {
    pub(super) fn count(&mut self, topic: &Arc<str>, lateness_ms: i64) {
        let same = |one: &Untold| Arc::ptr_eq(&one.topic, topic) || one.topic == *topic;
        let at = match self.untold.iter().position(same) {
            Some(at) => at,
            None => {
                if self.untold.len() >= UNTOLD_MAX {
                    self.tell();
                }
                self.untold.push(Untold {
                    topic: topic.clone(),
                    published: 0,
                    late: 0,
                });
                self.untold.len() - 1
            }
        };
        if let Some(one) = self.untold.get_mut(at) {
            one.published += 1;
            one.late += u64::from(lateness_ms > LATE_MS);
        }
    }

    /// To be called when a batch of acknowledgements has been worked through.
    pub(super) fn tell(&mut self) {
        let mut untold = std::mem::take(&mut self.untold);
        for one in untold.drain(..) {
            let (published, late) = self.handles_of(one.topic);
            published.increment(one.published);
            late.increment(one.late);
        }
        self.untold = untold;
    }

    fn handles_of(&mut self, topic: Arc<str>) -> &(Counter, Counter) {
        let known = self.handles.contains_key(&topic) || self.handles.len() < TOPICS_MAX;
        let topic = if known { topic } else { OTHERS.into() };
        self.handles.entry(topic).or_insert_with_key(|topic| {
            (
                ::metrics::counter!(PUBLISHED, "topic" => topic.to_string()),
                ::metrics::counter!(LATE, "topic" => topic.to_string()),
            )
        })
    }
}

pub(super) fn describe() {
    ::metrics::describe_counter!(
        PUBLISHED,
        "Records published and confirmed, by output topic"
    );
    ::metrics::describe_counter!(LATE, "Those more than a second late, by output topic");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn topics_are_counted_together_and_apart() {
        let mut counted = ByOutput::default();
        let (a, again, b): (Arc<str>, Arc<str>, Arc<str>) = ("a".into(), "a".into(), "b".into());
        for (topic, lateness_ms) in [(&a, 0), (&again, 1_001), (&b, 1_000), (&a, 5_000)] {
            counted.count(topic, lateness_ms);
        }
        let told: Vec<_> = counted
            .untold
            .iter()
            .map(|one| (one.topic.as_ref(), one.published, one.late))
            .collect();
        assert_eq!(told, [("a", 3, 2), ("b", 1, 0)]);
        counted.tell();
        assert!(counted.untold.is_empty());
    }

    #[test]
    fn beyond_two_hundred_topics_the_others_are_one() {
        let mut counted = ByOutput::default();
        for n in 0..300 {
            counted.count(&format!("t{n}").into(), 0);
        }
        counted.tell();
        assert_eq!(counted.handles.len(), TOPICS_MAX + 1);
        assert!(counted.handles.contains_key(OTHERS));
    }
}
