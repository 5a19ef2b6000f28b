//! The table of batches in memory: sorted, paged by size, and forgetful once a batch has expired.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::ops::Bound;
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use delayq_core::bucket::BucketKey;
use delayq_core::clock::Clock;
use delayq_core::delay::STORE_BATCH_MAX_BYTES;
use delayq_core::error::{ErrorClass, PortError};
use delayq_core::ports::{BatchStore, Outcomes, Page, StoredBatch};

use crate::lock::locked;

/// A page ends before the batch that would take it over this: `DynamoDB`'s page size.
/// <https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/Query.Pagination.html>
pub const PAGE_BYTES: usize = 1_048_576;

/// Longest sort key of a `DynamoDB` item.
/// <https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/Constraints.html>
const SORT_MAX_BYTES: usize = 1024;

/// Batches by key and sort key.
pub struct MemoryBatchStore {
    clock: Arc<dyn Clock>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    batches: BTreeMap<BucketKey, BTreeMap<String, StoredBatch>>,
    expiring: BTreeSet<(i64, BucketKey, String)>,
}

impl fmt::Debug for MemoryBatchStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemoryBatchStore")
            .field("batches", &self.len())
            .finish_non_exhaustive()
    }
}

impl MemoryBatchStore {
    /// An empty table. Expired batches, by that clock, are dropped at the next write.
    #[must_use]
    pub fn new(clock: Arc<dyn Clock>) -> Self {
        Self {
            clock,
            state: Mutex::default(),
        }
    }

    /// Number of batches stored.
    #[must_use]
    pub fn len(&self) -> usize {
        locked(&self.state).expiring.len()
    }

    /// Whether nothing is stored.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl State {
    fn put(&mut self, batch: StoredBatch) -> Result<(), PortError> {
        check(&batch)?;
        let expiry = (batch.expires_s, batch.key, batch.sort.clone());
        let key = self.batches.entry(batch.key).or_default();
        if let Some(old) = key.insert(batch.sort.clone(), batch) {
            self.expiring.remove(&(old.expires_s, old.key, old.sort));
        }
        self.expiring.insert(expiry);
        Ok(())
    }

    fn forget_expired(&mut self, now_s: i64) {
        while self.expiring.first().is_some_and(|(at, ..)| *at <= now_s) {
            let Some((_, key, sort)) = self.expiring.pop_first() else {
                return;
            };
            if let Some(batches) = self.batches.get_mut(&key) {
                batches.remove(&sort);
                if batches.is_empty() {
                    self.batches.remove(&key);
                }
            }
        }
    }

    fn page(&self, key: &BucketKey, after: Option<&str>) -> Page {
        let Some(batches) = self.batches.get(key) else {
            return Page::default();
        };
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        let mut page = Page::default();
        let mut bytes = 0;
        for (sort, batch) in batches.range::<str, _>((from, Bound::Unbounded)) {
            bytes += sort.len() + batch.body.len();
            if bytes > PAGE_BYTES && !page.batches.is_empty() {
                page.next = page.batches.last().map(|last| last.sort.clone());
                return page;
            }
            page.batches.push(batch.clone());
        }
        page
    }
}

fn check(batch: &StoredBatch) -> Result<(), PortError> {
    let detail = if batch.body.len() > STORE_BATCH_MAX_BYTES {
        format!(
            "a body of {} bytes is over the limit of {STORE_BATCH_MAX_BYTES}",
            batch.body.len()
        )
    } else if batch.sort.is_empty() || batch.sort.len() > SORT_MAX_BYTES {
        format!(
            "a sort key has 1 to {SORT_MAX_BYTES} bytes, not {}",
            batch.sort.len()
        )
    } else {
        return Ok(());
    };
    Err(PortError::new(
        ErrorClass::Invalid,
        "memory put batch",
        detail,
    ))
}

#[async_trait]
impl BatchStore for MemoryBatchStore {
    async fn put(&self, batches: Vec<StoredBatch>) -> Outcomes {
        let now_s = self.clock.now_ms().div_euclid(1000);
        let mut state = locked(&self.state);
        let outcomes = batches.into_iter().map(|batch| state.put(batch)).collect();
        state.forget_expired(now_s);
        outcomes
    }

    async fn page(&self, key: &BucketKey, after: Option<&str>) -> Result<Page, PortError> {
        Ok(locked(&self.state).page(key, after))
    }
}
