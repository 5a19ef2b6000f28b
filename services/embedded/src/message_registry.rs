//! The table of tracked records in memory, with the conditions of the real table, and forgetful once a row has expired.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::ops::Bound;
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use delayq_core::clock::{Clock, EpochMs};
use delayq_core::error::{ErrorClass, PortError};
use delayq_core::ports::{
    MessageChange, MessageFilter, MessageIndex, MessagePage, MessageRegistry, Written,
};
use delayq_core::tracked::{MessageKey, MessageRow, RowStamp};
use tokio::sync::broadcast::Sender;

use crate::lock::locked;
use crate::message_feed::{MemoryMessageFeed, changes};

/// Rows by delay topic and id, and by due time.
pub struct MemoryMessageRegistry {
    clock: Arc<dyn Clock>,
    state: Mutex<State>,
    changes: Sender<MessageChange>,
}

#[derive(Default)]
struct State {
    rows: BTreeMap<MessageKey, MessageRow>,
    expiring: BTreeSet<(i64, MessageKey)>,
    /// Delay topic, due time and id of the rows with details.
    by_due: BTreeSet<Place>,
}

type Place = (Arc<str>, EpochMs, Arc<str>);

impl fmt::Debug for MemoryMessageRegistry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemoryMessageRegistry")
            .field("rows", &self.current(|state| state.rows.len()))
            .finish_non_exhaustive()
    }
}

impl MemoryMessageRegistry {
    /// An empty table. Rows that have expired by that clock are not found, and dropped at the next call.
    #[must_use]
    pub fn new(clock: Arc<dyn Clock>) -> Self {
        Self {
            clock,
            state: Mutex::default(),
            changes: changes(),
        }
    }

    /// The changes from now on. Rows that expire are none.
    #[must_use]
    pub fn feed(&self) -> MemoryMessageFeed {
        MemoryMessageFeed::new(self.changes.subscribe())
    }

    /// All rows in order of their keys, those that have expired left out.
    #[must_use]
    pub fn rows(&self) -> Vec<MessageRow> {
        self.current(|state| state.rows.values().cloned().collect())
    }

    /// Works on what has not expired.
    fn current<T>(&self, work: impl FnOnce(&mut State) -> T) -> T {
        let now_ms = self.clock.now_ms();
        let mut state = locked(&self.state);
        state.forget_expired(now_ms);
        work(&mut state)
    }
}

impl State {
    fn write(&mut self, row: MessageRow, expected: Option<RowStamp>) -> Written {
        let current = self.rows.get(&row.key);
        if !is_expected(current, expected) {
            return Written::Differs(current.cloned().map(Box::new));
        }
        let (key, expires_s) = (row.key.clone(), row.expires_s);
        let due = place(&row);
        if let Some(old) = self.rows.insert(key.clone(), row) {
            self.leave_index(&old);
            self.expiring.remove(&(old.expires_s, old.key));
        }
        self.by_due.extend(due);
        self.expiring.insert((expires_s, key));
        Written::Done
    }

    fn leave_index(&mut self, row: &MessageRow) {
        if let Some(place) = place(row) {
            self.by_due.remove(&place);
        }
    }

    /// The rows that `filter` lets through, from `from` on.
    fn list(
        &self,
        filter: &MessageFilter,
        from: Bound<Place>,
    ) -> impl Iterator<Item = &MessageRow> {
        let places = self.by_due.range((from, Bound::Unbounded));
        let places = places
            .take_while(|(topic, due_ms, _)| *topic == filter.topic && *due_ms < filter.due_to_ms);
        let rows = places.filter_map(|(topic, _, id)| {
            let (topic, id) = (topic.clone(), id.clone());
            self.rows.get(&MessageKey { topic, id })
        });
        rows.filter(|row| passes(filter, row))
    }

    fn forget_expired(&mut self, now_ms: i64) {
        let expired = |at_s: i64| at_s.saturating_mul(1000) < now_ms;
        while self
            .expiring
            .first()
            .is_some_and(|(at_s, _)| expired(*at_s))
        {
            if let Some((_, key)) = self.expiring.pop_first() {
                let row = self.rows.remove(&key);
                row.iter().for_each(|row| self.leave_index(row));
            }
        }
    }
}

fn place(row: &MessageRow) -> Option<Place> {
    let due_ms = row.details.as_ref()?.due_ms;
    Some((row.key.topic.clone(), due_ms, row.key.id.clone()))
}

fn passes(filter: &MessageFilter, row: &MessageRow) -> bool {
    let Some(details) = &row.details else {
        return false;
    };
    let output = filter.output_topic.as_ref();
    filter.state.is_none_or(|state| state == row.state.as_str())
        && output.is_none_or(|topic| *topic == details.output_topic)
        && filter.priority.is_none_or(|one| one == details.priority)
}

/// The place that an earlier page named: `<due time>|<id>`.
fn read_place(topic: &Arc<str>, after: &str) -> Result<Place, PortError> {
    let place = after.split_once('|').and_then(|(due_ms, id)| {
        let due_ms = due_ms.parse().ok()?;
        Some((topic.clone(), due_ms, id.into()))
    });
    place.ok_or_else(|| {
        PortError::new(
            ErrorClass::Invalid,
            "list rows in memory",
            format!("no page ends at `{after}`"),
        )
    })
}

fn is_expected(current: Option<&MessageRow>, expected: Option<RowStamp>) -> bool {
    match (current, expected) {
        (None, None) => true,
        (Some(row), Some(stamp)) => {
            row.version.is_same(&stamp.version) && row.revision == stamp.revision
        }
        _ => false,
    }
}

#[async_trait]
impl MessageRegistry for MemoryMessageRegistry {
    async fn write(
        &self,
        row: MessageRow,
        expected: Option<RowStamp>,
    ) -> Result<Written, PortError> {
        Ok(self.current(|state| {
            let at_ms = self.clock.now_ms();
            let written = state.write(row.clone(), expected);
            if written == Written::Done {
                // Nobody may be reading.
                self.changes.send(MessageChange { row, at_ms }).ok();
            }
            written
        }))
    }

    async fn read(&self, key: &MessageKey) -> Result<Option<MessageRow>, PortError> {
        Ok(self.current(|state| state.rows.get(key).cloned()))
    }
}

#[async_trait]
impl MessageIndex for MemoryMessageRegistry {
    async fn list(
        &self,
        filter: &MessageFilter,
        after: Option<&str>,
        limit: usize,
    ) -> Result<MessagePage, PortError> {
        let start = (filter.topic.clone(), filter.due_from_ms, "".into());
        let from = match after {
            None => Bound::Included(start),
            Some(after) => Bound::Excluded(read_place(&filter.topic, after)?.max(start)),
        };
        Ok(self.current(|state| {
            let mut found = state.list(filter, from);
            let rows: Vec<_> = found.by_ref().take(limit.max(1)).cloned().collect();
            let more = found.next().is_some();
            let last = rows.last().and_then(place).filter(|_| more);
            MessagePage {
                next: last.map(|(_, due_ms, id)| format!("{due_ms}|{id}")),
                rows,
            }
        }))
    }
}
