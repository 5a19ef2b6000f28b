//! The messages held, and what of each is undone.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use delayq_core::ports::Lane;
use delayq_core::priority::Priority;
use delayq_core::record::Source;
use rustc_hash::FxHashMap;
use tokio::time::Instant;

/// Names a held message.
pub type MessageId = u64;

/// By what the emitter knows a record under way.
#[derive(Debug, Clone)]
pub struct Ticket {
    /// Its message.
    pub message: MessageId,
    /// Its identity; none for a message that is no batch.
    pub source: Option<Source>,
    /// Cleared when the message's visibility lapsed.
    pub alive: Arc<AtomicBool>,
    /// The limited route whose memory it counts against, and how much of it.
    pub limit: Option<(Arc<str>, usize)>,
}

/// A message being worked on.
#[derive(Debug)]
pub struct Held {
    /// Where it was received.
    pub lane: Lane,
    /// Receipt handle.
    pub handle: String,
    /// Memory it counts.
    pub memory_bytes: usize,
    /// When its last record is due, or goes back to the queue.
    pub due_by: Instant,
    /// Invisible to others until then.
    pub visible_at: Instant,
    /// Cleared when that has passed.
    pub alive: Arc<AtomicBool>,
    undone: usize,
    /// Records given up: the message must not be deleted.
    abandoned: bool,
}

/// All messages held.
#[derive(Debug, Default)]
pub struct HeldMessages {
    messages: FxHashMap<MessageId, Held>,
    next_id: MessageId,
}

/// The priority of a lane.
#[must_use]
pub const fn priority_of(lane: Lane) -> Priority {
    match lane {
        Lane::Main(priority) | Lane::DeadLetter(priority) => priority,
    }
}

impl HeldMessages {
    /// Takes a message on, with `undone` records. Answers with its id and flag.
    pub fn hold(
        &mut self,
        lane: Lane,
        handle: String,
        undone: usize,
        memory_bytes: usize,
        due_by: Instant,
        visible_at: Instant,
    ) -> (MessageId, Arc<AtomicBool>) {
        self.next_id += 1;
        let alive = Arc::new(AtomicBool::new(true));
        let held = Held {
            lane,
            handle,
            memory_bytes,
            due_by,
            visible_at,
            alive: alive.clone(),
            undone,
            abandoned: false,
        };
        self.messages.insert(self.next_id, held);
        (self.next_id, alive)
    }

    /// A record is done, or given up. Answers with the message once it was the last one, and whether it may be deleted.
    pub fn done(&mut self, id: MessageId, abandoned: bool) -> Option<(Held, bool)> {
        let held = self.messages.get_mut(&id)?;
        held.undone = held.undone.saturating_sub(1);
        held.abandoned |= abandoned;
        if held.undone > 0 {
            return None;
        }
        let held = self.messages.remove(&id)?;
        let deletable = !held.abandoned;
        Some((held, deletable))
    }

    /// Messages whose visibility ends before `before`, and the messages that lapsed already (their flag is cleared).
    pub fn heartbeats(
        &mut self,
        now: Instant,
        before: Instant,
    ) -> (Vec<(MessageId, Lane, String)>, usize) {
        let (mut due, mut lapsed) = (Vec::new(), 0);
        for (id, held) in &mut self.messages {
            if held.visible_at <= now {
                lapsed += usize::from(held.alive.swap(false, Ordering::AcqRel));
            } else if held.visible_at <= before {
                due.push((*id, held.lane, held.handle.clone()));
            }
        }
        (due, lapsed)
    }

    /// A message's visibility was prolonged.
    pub fn extended(&mut self, id: MessageId, visible_at: Instant) {
        if let Some(held) = self.messages.get_mut(&id) {
            held.visible_at = held.visible_at.max(visible_at);
        }
    }

    /// How far beyond the due time of its last record a message is held, at most.
    #[must_use]
    pub fn overdue(&self, now: Instant) -> Duration {
        let due_by = self.messages.values().map(|held| held.due_by).min();
        due_by.map_or(Duration::ZERO, |due_by| {
            now.saturating_duration_since(due_by)
        })
    }

    /// How many are held.
    #[must_use]
    pub fn len(&self) -> usize {
        self.messages.len()
    }

    /// Whether none is held.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.messages.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LANE: Lane = Lane::Main(Priority::High);

    #[tokio::test]
    async fn a_message_ends_with_its_last_record_and_is_kept_when_one_was_given_up() {
        let mut held = HeldMessages::default();
        let at = Instant::now() + Duration::from_secs(9);
        let (whole, _) = held.hold(LANE, "a".into(), 2, 1, at, at);
        let (part, _) = held.hold(LANE, "b".into(), 2, 1, at, at);
        assert!(held.done(whole, false).is_none());
        assert!(
            held.done(whole, false)
                .is_some_and(|(m, deletable)| m.handle == "a" && deletable)
        );
        assert!(held.done(part, true).is_none());
        assert!(
            held.done(part, false)
                .is_some_and(|(_, deletable)| !deletable)
        );
        assert!(held.is_empty() && held.done(part, false).is_none());
    }

    #[tokio::test]
    async fn heartbeats_before_the_end_and_none_after_it() {
        let mut held = HeldMessages::default();
        let now = Instant::now();
        let (id, alive) = held.hold(LANE, "a".into(), 1, 1, now, now + Duration::from_secs(60));
        let soon = |s| now + Duration::from_secs(s);
        assert!(held.heartbeats(now, soon(40)).0.is_empty());
        assert_eq!(held.heartbeats(now, soon(60)).0.len(), 1);
        held.extended(id, soon(90));
        assert_eq!(held.heartbeats(soon(60), soon(80)), (vec![], 0));
        assert_eq!(held.heartbeats(soon(90), soon(130)).1, 1);
        assert!(!alive.load(Ordering::Acquire));
        assert_eq!(
            held.heartbeats(soon(91), soon(130)),
            (vec![], 0),
            "counted once"
        );
    }

    #[tokio::test]
    async fn the_message_that_is_held_longest_beyond_its_time_counts() {
        let mut held = HeldMessages::default();
        let now = Instant::now();
        let after = |s| now + Duration::from_secs(s);
        assert_eq!(held.overdue(now), Duration::ZERO);
        let (first, _) = held.hold(LANE, "a".into(), 2, 1, after(5), after(60));
        held.hold(LANE, "b".into(), 1, 1, after(9), after(60));
        assert_eq!(held.overdue(after(4)), Duration::ZERO, "not due yet");
        assert_eq!(held.overdue(after(15)), Duration::from_secs(10));
        held.done(first, false);
        assert_eq!(
            held.overdue(after(15)),
            Duration::from_secs(10),
            "half done"
        );
        held.done(first, false);
        assert_eq!(held.overdue(after(15)), Duration::from_secs(6));
    }
}
