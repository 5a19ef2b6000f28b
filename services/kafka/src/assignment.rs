//! Which partitions are held, and which of them should be paused and are. Pure: the poll thread carries it out.

use std::collections::HashSet;

use delayq_core::record::TopicPartition;

/// What this consumer holds.
#[derive(Debug, Default)]
pub(crate) struct Assignment {
    held: HashSet<TopicPartition>,
    /// Paused on the router's account.
    wanted: HashSet<TopicPartition>,
    /// All are to be paused: the event queue is full.
    backpressure: bool,
    /// Paused in librdkafka.
    paused: HashSet<TopicPartition>,
}

/// What must be told to librdkafka.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Changes {
    pub(crate) pause: Vec<TopicPartition>,
    pub(crate) resume: Vec<TopicPartition>,
}

impl Assignment {
    pub(crate) fn add(&mut self, partitions: &[TopicPartition]) {
        for partition in partitions {
            // librdkafka starts every assigned partition unpaused.
            self.paused.remove(partition);
            self.wanted.remove(partition);
            self.held.insert(partition.clone());
        }
    }

    pub(crate) fn remove(&mut self, partitions: &[TopicPartition]) {
        for partition in partitions {
            self.held.remove(partition);
            self.wanted.remove(partition);
            self.paused.remove(partition);
        }
    }

    /// All that is held, leaving nothing.
    pub(crate) fn clear(&mut self) -> Vec<TopicPartition> {
        self.wanted.clear();
        self.paused.clear();
        self.held.drain().collect()
    }

    pub(crate) fn holds(&self, partition: &TopicPartition) -> bool {
        self.held.contains(partition)
    }

    /// The router pauses these; unknown ones are ignored.
    pub(crate) fn pause(&mut self, partitions: &[TopicPartition]) {
        for partition in partitions {
            if self.held.contains(partition) {
                self.wanted.insert(partition.clone());
            }
        }
    }

    /// The router resumes these; unknown ones are ignored.
    pub(crate) fn resume(&mut self, partitions: &[TopicPartition]) {
        for partition in partitions {
            self.wanted.remove(partition);
        }
    }

    /// Returns whether this was news.
    pub(crate) fn set_backpressure(&mut self, on: bool) -> bool {
        std::mem::replace(&mut self.backpressure, on) != on
    }

    pub(crate) fn has_backpressure(&self) -> bool {
        self.backpressure
    }

    pub(crate) fn any_paused(&self) -> bool {
        !self.paused.is_empty()
    }

    /// The difference between what should be paused and what is; taken as done.
    pub(crate) fn take_changes(&mut self) -> Changes {
        let mut changes = Changes::default();
        for partition in &self.held {
            let should = self.backpressure || self.wanted.contains(partition);
            match (should, self.paused.contains(partition)) {
                (true, false) => changes.pause.push(partition.clone()),
                (false, true) => changes.resume.push(partition.clone()),
                _ => {}
            }
        }
        self.paused.extend(changes.pause.iter().cloned());
        for partition in &changes.resume {
            self.paused.remove(partition);
        }
        changes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn p(partition: i32) -> TopicPartition {
        TopicPartition::new("t", partition)
    }

    #[test]
    fn unknown_partitions_are_ignored() {
        let mut a = Assignment::default();
        a.pause(&[p(0)]);
        a.resume(&[p(1)]);
        a.add(&[p(0)]);
        assert_eq!(a.take_changes(), Changes::default());
    }

    #[test]
    fn the_routers_pauses_survive_backpressure() {
        let mut a = Assignment::default();
        a.add(&[p(0), p(1)]);
        a.pause(&[p(0)]);
        assert_eq!(a.take_changes().pause, [p(0)]);
        assert!(a.set_backpressure(true));
        assert!(!a.set_backpressure(true));
        assert_eq!(a.take_changes().pause, [p(1)]);
        a.add(&[p(2)]);
        assert_eq!(
            a.take_changes().pause,
            [p(2)],
            "a new partition is paused too"
        );
        a.set_backpressure(false);
        let mut resumed = a.take_changes().resume;
        resumed.sort();
        assert_eq!(resumed, [p(1), p(2)], "0 stays paused");
        a.resume(&[p(0)]);
        assert_eq!(a.take_changes().resume, [p(0)]);
        assert!(!a.any_paused());
    }

    #[test]
    fn a_partition_that_comes_back_is_not_paused() {
        let mut a = Assignment::default();
        a.add(&[p(0)]);
        a.pause(&[p(0)]);
        a.take_changes();
        a.remove(&[p(0)]);
        assert!(!a.holds(&p(0)));
        a.add(&[p(0)]);
        assert_eq!(a.take_changes(), Changes::default());
        assert_eq!(a.clear(), [p(0)]);
    }
}
