//! Sources published recently by this process: drops the duplicates that the queue itself makes.

use std::collections::VecDeque;

use delayq_core::record::Source;

use crate::sources::{SourceSet, Word};

/// A bounded memory, oldest out first; neighbours of a partition go together.
#[derive(Debug)]
pub struct Recent {
    set: SourceSet,
    order: VecDeque<Word>,
    limit: usize,
}

impl Recent {
    /// Remembers `limit` sources; up to 64 times as many where their offsets are neighbours.
    #[must_use]
    pub fn new(limit: usize) -> Self {
        Self {
            set: SourceSet::default(),
            order: VecDeque::new(),
            limit: limit.max(1),
        }
    }

    /// Remembers a source whose publication is confirmed.
    pub fn remember(&mut self, source: &Source) {
        let (_, Some(word)) = self.set.insert(source) else {
            return;
        };
        self.order.push_back(word);
        if self.order.len() > self.limit
            && let Some(oldest) = self.order.pop_front()
        {
            self.set.remove_word(oldest);
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
        for offset in [100, 200, 200, 201, 300] {
            recent.remember(&source(offset));
        }
        let remembered = [100, 200, 201, 300, 202].map(|o| recent.contains(&source(o)));
        assert_eq!(remembered, [false, true, true, true, false]);
        assert_eq!(recent.set.words(), recent.order.len());
    }
}
