//! Sources published recently by this process: drops the duplicates that the queue itself makes.

use std::collections::VecDeque;

use delayq_core::record::Source;
use rustc_hash::FxHashSet;

/// A bounded memory, oldest out first.
#[derive(Debug)]
pub struct Recent {
    set: FxHashSet<Source>,
    order: VecDeque<Source>,
    limit: usize,
}

impl Recent {
    /// Remembers up to `limit` sources.
    #[must_use]
    pub fn new(limit: usize) -> Self {
        Self {
            set: FxHashSet::default(),
            order: VecDeque::new(),
            limit: limit.max(1),
        }
    }

    /// Remembers a source whose publication is confirmed.
    pub fn remember(&mut self, source: Source) {
        if self.set.insert(source.clone()) {
            self.order.push_back(source);
            if self.order.len() > self.limit
                && let Some(oldest) = self.order.pop_front()
            {
                self.set.remove(&oldest);
            }
        }
    }

    /// Whether it was published recently.
    #[must_use]
    pub fn contains(&self, source: &Source) -> bool {
        self.set.contains(source)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use delayq_core::record::TopicPartition;

    #[test]
    fn forgets_the_oldest() {
        let source = |offset| Source {
            at: TopicPartition::new("d", 0),
            offset,
        };
        let mut recent = Recent::new(2);
        for offset in [1, 2, 2, 3] {
            recent.remember(source(offset));
        }
        assert_eq!(
            [1, 2, 3].map(|o| recent.contains(&source(o))),
            [false, true, true]
        );
        assert_eq!(recent.set.len(), recent.order.len());
    }
}
