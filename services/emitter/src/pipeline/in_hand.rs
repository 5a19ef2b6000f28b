//! The records in hand, by source, and the copies of each that came meanwhile.
//!
//! A queue that delivers at least once may deliver a message again while its records still wait in the timer here. The copies
//! wait for the first: they end with it, or the next of them takes its place if it is given up or put back.

use delayq_core::record::Source;
use rustc_hash::FxHashMap;

use super::take_on::Undone;
use crate::sources::SourceSet;

/// Sources in hand. As large as what is held, which the memory budget bounds.
#[derive(Default)]
pub(super) struct InHand {
    sources: SourceSet,
    /// Of the few that have any.
    copies: FxHashMap<Source, Vec<Undone>>,
}

impl InHand {
    /// Takes a record into hand; gives it back to be worked on unless its source is in hand already.
    pub(super) fn take(&mut self, one: Undone) -> Option<Undone> {
        let Some(source) = &one.ticket.source else {
            return Some(one);
        };
        if self.sources.insert(source).0 {
            return Some(one);
        }
        self.copies.entry(source.clone()).or_default().push(one);
        None
    }

    /// The record of that source is in hand no more and has not ended: the first of its copies takes its place, and is to be
    /// worked on.
    pub(super) fn next(&mut self, source: &Source) -> Option<Undone> {
        let Some(copies) = self.copies.get_mut(source) else {
            self.sources.remove(source);
            return None;
        };
        let next = copies.remove(0);
        if copies.is_empty() {
            self.copies.remove(source);
        }
        Some(next)
    }

    /// The record of that source has ended; so have its copies, which are the answer.
    pub(super) fn ended(&mut self, source: &Source) -> Vec<Undone> {
        self.sources.remove(source);
        self.copies.remove(source).unwrap_or_default()
    }
}
