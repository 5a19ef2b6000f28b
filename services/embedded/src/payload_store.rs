//! The chunks of large records in memory, forgotten once they have expired.

use std::collections::{BTreeSet, HashMap};
use std::fmt;
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use bytes::Bytes;
use delayq_core::clock::Clock;
use delayq_core::error::{ErrorClass, PortError};
use delayq_core::payload::CHUNK_MAX_BYTES;
use delayq_core::ports::{Outcomes, PayloadStore};

use crate::lock::locked;

/// Id and number of a chunk.
type Key = (Arc<str>, u32);

/// Chunks by id and number.
pub struct MemoryPayloadStore {
    clock: Arc<dyn Clock>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    chunks: HashMap<Key, (Bytes, i64)>,
    expiring: BTreeSet<(i64, Key)>,
}

impl fmt::Debug for MemoryPayloadStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemoryPayloadStore")
            .field("chunks", &self.len())
            .finish_non_exhaustive()
    }
}

impl MemoryPayloadStore {
    /// An empty table. Chunks that have expired by that clock are not found, and dropped at the next call.
    #[must_use]
    pub fn new(clock: Arc<dyn Clock>) -> Self {
        Self {
            clock,
            state: Mutex::default(),
        }
    }

    /// Number of chunks stored, those that have expired left out.
    #[must_use]
    pub fn len(&self) -> usize {
        self.current(|state| state.chunks.len())
    }

    /// Whether nothing is stored.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
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
    fn put(&mut self, key: Key, chunk: Bytes, expires_s: i64) -> Result<(), PortError> {
        if chunk.len() > CHUNK_MAX_BYTES {
            return Err(PortError::new(
                ErrorClass::Invalid,
                "memory put payload",
                format!(
                    "chunk {} of {} has {} bytes; the limit is {CHUNK_MAX_BYTES}",
                    key.1,
                    key.0,
                    chunk.len()
                ),
            ));
        }
        if let Some((_, old_s)) = self.chunks.insert(key.clone(), (chunk, expires_s)) {
            self.expiring.remove(&(old_s, key.clone()));
        }
        self.expiring.insert((expires_s, key));
        Ok(())
    }

    fn forget_expired(&mut self, now_ms: i64) {
        let expired = |at_s: i64| at_s.saturating_mul(1000) < now_ms;
        while self
            .expiring
            .first()
            .is_some_and(|(at_s, _)| expired(*at_s))
        {
            if let Some((_, key)) = self.expiring.pop_first() {
                self.chunks.remove(&key);
            }
        }
    }
}

#[async_trait]
impl PayloadStore for MemoryPayloadStore {
    async fn put(&self, id: &str, chunks: Vec<Bytes>, expires_s: i64) -> Outcomes {
        let id: Arc<str> = Arc::from(id);
        self.current(|state| {
            let numbered = (0..).zip(chunks);
            numbered
                .map(|(n, chunk)| state.put((id.clone(), n), chunk, expires_s))
                .collect()
        })
    }

    async fn get(&self, id: &str, chunks: u32) -> Result<Vec<Option<Bytes>>, PortError> {
        let id: Arc<str> = Arc::from(id);
        Ok(self.current(|state| {
            (0..chunks)
                .map(|n| Some(state.chunks.get(&(id.clone(), n))?.0.clone()))
                .collect()
        }))
    }
}
