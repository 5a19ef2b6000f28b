//! A set of sources that is small and quick where offsets lie close together, as those of one partition mostly do: 64 in one word.

use delayq_core::record::{Source, TopicPartition};
use rustc_hash::FxHashMap;

/// Names 64 neighbouring offsets of a partition.
pub type Word = (u32, i64);

/// A set of sources.
#[derive(Debug, Default)]
pub struct SourceSet {
    /// Numbers of the partitions that were ever in it.
    partitions: FxHashMap<TopicPartition, u32>,
    words: FxHashMap<Word, u64>,
}

impl SourceSet {
    /// Adds a source; whether it was not in it. The word, if it is a new one.
    pub fn insert(&mut self, source: &Source) -> (bool, Option<Word>) {
        let partition = match self.partitions.get(&source.at) {
            Some(number) => *number,
            None => {
                let number = u32::try_from(self.partitions.len()).unwrap_or(u32::MAX);
                self.partitions.insert(source.at.clone(), number);
                number
            }
        };
        let (word, bit) = place(partition, source.offset);
        let bits = self.words.entry(word).or_default();
        let (fresh, added) = (*bits == 0, *bits & bit == 0);
        *bits |= bit;
        (added, fresh.then_some(word))
    }

    /// Takes a source out; whether it was in it.
    pub fn remove(&mut self, source: &Source) -> bool {
        let Some(partition) = self.partitions.get(&source.at) else {
            return false;
        };
        let (word, bit) = place(*partition, source.offset);
        let Some(bits) = self.words.get_mut(&word) else {
            return false;
        };
        let removed = *bits & bit != 0;
        *bits &= !bit;
        if *bits == 0 {
            self.words.remove(&word);
        }
        removed
    }

    /// Takes 64 neighbours out.
    pub fn remove_word(&mut self, word: Word) {
        self.words.remove(&word);
    }

    /// Whether it is in it.
    #[must_use]
    pub fn contains(&self, source: &Source) -> bool {
        self.partitions.get(&source.at).is_some_and(|partition| {
            let (word, bit) = place(*partition, source.offset);
            self.words.get(&word).is_some_and(|bits| bits & bit != 0)
        })
    }

    /// How many words it takes.
    #[must_use]
    pub fn words(&self) -> usize {
        self.words.len()
    }
}

const fn place(partition: u32, offset: i64) -> (Word, u64) {
    ((partition, offset >> 6), 1 << (offset & 63))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::HashSet;

    fn source(topic: &str, partition: i32, offset: i64) -> Source {
        Source {
            at: TopicPartition::new(topic, partition),
            offset,
        }
    }

    #[test]
    fn neighbours_share_a_word() {
        let mut set = SourceSet::default();
        for offset in 0..128 {
            set.insert(&source("a", 0, offset));
        }
        assert_eq!(set.words(), 2);
        set.insert(&source("a", 1, 0));
        set.insert(&source("b", 0, 0));
        assert_eq!(set.words(), 4);
        for offset in 0..64 {
            assert!(set.remove(&source("a", 0, offset)));
        }
        assert_eq!(set.words(), 3);
    }

    proptest! {
        #[test]
        fn it_is_a_set(steps in prop::collection::vec((any::<bool>(), 0i32..3, -70i64..200), 0..300)) {
            let (mut set, mut plain) = (SourceSet::default(), HashSet::new());
            for (adds, partition, offset) in steps {
                let one = source("t", partition, offset);
                if adds {
                    prop_assert_eq!(set.insert(&one).0, plain.insert(one));
                } else {
                    prop_assert_eq!(set.remove(&one), plain.remove(&one));
                }
            }
            for partition in 0..3 {
                for offset in -70..200 {
                    let one = source("t", partition, offset);
                    prop_assert_eq!(set.contains(&one), plain.contains(&one));
                }
            }
        }
    }
}
