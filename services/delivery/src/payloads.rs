//! Keeps records that no batch can hold in the payload store, and brings them back.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use delayq_core::clock::{Clock, EpochMs};
use delayq_core::error::{Backoff, ErrorClass, PortError};
use delayq_core::headers::Refusal;
use delayq_core::payload::{PayloadFault, from_chunks, to_chunks};
use delayq_core::ports::{HealthReport, PayloadStore, paired};
use delayq_core::record::{Record, Scheduled};

use crate::guard::Guard;
use crate::queue::{Sent, Unsendable};

/// Counter: payloads stored, all chunks confirmed.
pub const STORED: &str = "delayq_payloads_stored_total";
/// Counter: payloads read back.
pub const LOADED: &str = "delayq_payloads_loaded_total";

const COMPONENT: &str = "payload table";

/// Settings.
#[derive(Debug, Clone, Copy)]
pub struct PayloadSettings {
    /// zstd level.
    pub zstd_level: i32,
    /// How long after its record's due time the store may forget a payload.
    pub expire_after_ms: i64,
    /// First wait before another try.
    pub retry_first: Duration,
    /// Longest wait before another try.
    pub retry_max: Duration,
    /// Payloads written or read at once; each is in memory twice for that time.
    pub concurrency: usize,
}

/// What became of a record that was to be stored.
#[derive(Debug)]
pub enum Stored {
    /// In the store, confirmed: the record is a reference now.
    Reference(Scheduled),
    /// The store refuses it, for good.
    Refused(Scheduled, Refusal),
    /// Its owner gave it up.
    Abandoned,
}

/// What became of a payload that was to be read.
#[derive(Debug)]
pub enum Loaded {
    /// Key, value and headers.
    Record(Record),
    /// It is not there, or damaged: trying again does not help.
    Fault(PayloadFault),
    /// Its owner gave it up.
    Abandoned,
}

/// Writes and reads payloads until the store answers.
pub struct Payloads {
    store: Arc<dyn PayloadStore>,
    clock: Arc<dyn Clock>,
    settings: PayloadSettings,
    guard: Guard,
}

impl Payloads {
    /// Over `store`.
    #[must_use]
    pub fn new(
        store: Arc<dyn PayloadStore>,
        clock: Arc<dyn Clock>,
        health: Arc<dyn HealthReport>,
        settings: PayloadSettings,
    ) -> Self {
        Self {
            store,
            clock,
            settings,
            guard: Guard::new(COMPONENT, health, settings.concurrency),
        }
    }

    /// Stores key, value and headers of a record; tries until every chunk is confirmed, refused, or the record is no
    /// longer `alive`. Chunks are written before any reference to them; those that never get one expire.
    pub async fn store(&self, mut record: Scheduled, alive: impl Fn() -> bool) -> Stored {
        let (payload, chunks) = match to_chunks(&record, self.settings.zstd_level) {
            Ok(done) => done,
            Err(fault) => {
                let refusal = Refusal::new("record-too-large", fault.to_string());
                return Stored::Refused(record, refusal);
            }
        };
        let expires_s = self.expires_s(record.due_ms);
        let mut backoff = self.backoff();
        while alive() {
            match self.put(&payload.id, &chunks, expires_s).await {
                Ok(()) => {
                    metrics::counter!(STORED).increment(1);
                    record.record = Record::default();
                    record.payload = Some(payload);
                    return Stored::Reference(record);
                }
                Err(error) if error.class == ErrorClass::Invalid => {
                    tracing::error!(%error, source = %record.source, "the payload table refuses a record");
                    let refusal = Refusal::new("payload-refused", error.to_string());
                    return Stored::Refused(record, refusal);
                }
                Err(error) => self.guard.wait_after(&error, &mut backoff).await,
            }
        }
        Stored::Abandoned
    }

    /// Stores records that no batch can hold, one after the other, and answers with the references; `report` hears of
    /// those that are refused or given up.
    pub async fn store_all<T: Send + Sync>(
        &self,
        records: Vec<(Scheduled, T)>,
        alive: &(impl Fn(&T) -> bool + Send + Sync),
        report: &mut (impl FnMut(Sent<T>) + Send),
    ) -> Vec<(Scheduled, T)> {
        let mut references = Vec::with_capacity(records.len());
        for (record, ticket) in records {
            match self.store(record, || alive(&ticket)).await {
                Stored::Reference(record) => references.push((record, ticket)),
                Stored::Refused(record, refusal) => report(Sent::Unsendable(vec![Unsendable {
                    record,
                    ticket,
                    refusal,
                }])),
                Stored::Abandoned => report(Sent::Abandoned(vec![ticket])),
            }
        }
        references
    }

    /// Reads what `record` refers to; tries until the store answers or the record is no longer `alive`.
    pub async fn load(&self, record: &Scheduled, alive: impl Fn() -> bool) -> Loaded {
        let Some(payload) = &record.payload else {
            return Loaded::Record(record.record.clone());
        };
        let mut backoff = self.backoff();
        while alive() {
            let call = self.store.get(&payload.id, payload.chunks);
            match self.guard.call(call).await {
                Ok(chunks) => {
                    return match from_chunks(record, payload, chunks) {
                        Ok(whole) => {
                            metrics::counter!(LOADED).increment(1);
                            Loaded::Record(whole)
                        }
                        Err(fault) => Loaded::Fault(fault),
                    };
                }
                Err(error) => self.guard.wait_after(&error, &mut backoff).await,
            }
        }
        Loaded::Abandoned
    }

    async fn put(&self, id: &str, chunks: &[Bytes], expires_s: i64) -> Result<(), PortError> {
        let call = async {
            let outcomes = self.store.put(id, chunks.to_vec(), expires_s).await;
            paired(chunks, outcomes, "payload put").try_for_each(|(_, outcome)| outcome)
        };
        self.guard.call(call).await
    }

    fn expires_s(&self, due_ms: EpochMs) -> i64 {
        let from_ms = due_ms.max(self.clock.now_ms());
        from_ms
            .saturating_add(self.settings.expire_after_ms)
            .div_euclid(1000)
    }

    fn backoff(&self) -> Backoff {
        Backoff::new(self.settings.retry_first, self.settings.retry_max)
    }
}
