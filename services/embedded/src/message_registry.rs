//! The table of tracked records in memory, with the conditions of the real table, and forgetful once a row has expired.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use delayq_core::clock::Clock;
use delayq_core::error::PortError;
use delayq_core::ports::{MessageRegistry, Written};
use delayq_core::tracked::{MessageKey, MessageRow, RowStamp};

use crate::lock::locked;

/// Rows by delay topic and id.
pub struct MemoryMessageRegistry {
    clock: Arc<dyn Clock>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    rows: BTreeMap<MessageKey, MessageRow>,
    expiring: BTreeSet<(i64, MessageKey)>,
}

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
        }
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
        if let Some(old) = self.rows.insert(key.clone(), row) {
            self.expiring.remove(&(old.expires_s, old.key));
        }
        self.expiring.insert((expires_s, key));
        Written::Done
    }

    fn forget_expired(&mut self, now_ms: i64) {
        let expired = |at_s: i64| at_s.saturating_mul(1000) < now_ms;
        while self
            .expiring
            .first()
            .is_some_and(|(at_s, _)| expired(*at_s))
        {
            if let Some((_, key)) = self.expiring.pop_first() {
                self.rows.remove(&key);
            }
        }
    }
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
        Ok(self.current(|state| state.write(row, expected)))
    }

    async fn read(&self, key: &MessageKey) -> Result<Option<MessageRow>, PortError> {
        Ok(self.current(|state| state.rows.get(key).cloned()))
    }
}
