//! The chunk of records that the poll thread is filling.

use delayq_core::record::Incoming;

/// Records in a chunk.
pub(crate) const CHUNK_RECORDS: usize = 500;
/// Bytes of memory in a chunk; the last record may exceed it.
pub(crate) const CHUNK_BYTES: usize = 1024 * 1024;

/// Records on their way into the event queue.
#[derive(Debug, Default)]
pub(crate) struct Chunk {
    records: Vec<Incoming>,
    bytes: usize,
}

impl Chunk {
    pub(crate) fn push(&mut self, record: Incoming) {
        self.bytes = self.bytes.saturating_add(record.record.memory_bytes());
        self.records.push(record);
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.records.is_empty()
    }

    pub(crate) fn is_full(&self) -> bool {
        self.records.len() >= CHUNK_RECORDS || self.bytes >= CHUNK_BYTES
    }

    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// The records, leaving the chunk empty.
    pub(crate) fn take(&mut self) -> Vec<Incoming> {
        self.bytes = 0;
        std::mem::take(&mut self.records)
    }

    /// Puts back what the queue did not take. Only into an empty chunk, or order would break.
    pub(crate) fn put_back(&mut self, records: Vec<Incoming>) {
        debug_assert!(self.records.is_empty(), "records would be reordered");
        self.bytes = records.iter().map(|r| r.record.memory_bytes()).sum();
        self.records = records;
    }
}
