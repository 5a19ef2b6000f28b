//! One partition: records by offset, the oldest forgotten beyond a limit.

use std::collections::VecDeque;

use delayq_core::clock::EpochMs;
use delayq_core::record::Record;

/// A record in its place.
#[derive(Debug, Clone)]
pub(crate) struct Entry {
    pub(crate) offset: i64,
    pub(crate) timestamp_ms: EpochMs,
    pub(crate) record: Record,
}

/// Offsets grow, but not without gaps: control records and compaction leave some in Kafka as well.
#[derive(Debug, Default)]
pub(crate) struct Log {
    entries: VecDeque<Entry>,
    end: i64,
}

impl Log {
    /// Appends and answers with the offset. Forgets the oldest records beyond `retain`.
    pub(crate) fn append(
        &mut self,
        record: Record,
        timestamp_ms: EpochMs,
        retain: Option<usize>,
    ) -> i64 {
        let offset = self.end;
        self.end += 1;
        self.entries.push_back(Entry {
            offset,
            timestamp_ms,
            record,
        });
        if let Some(retain) = retain {
            while self.entries.len() > retain {
                self.entries.pop_front();
            }
        }
        offset
    }

    /// Leaves out the next offsets.
    pub(crate) fn skip(&mut self, offsets: u32) {
        self.end += i64::from(offsets);
    }

    /// The offset that the next record gets.
    pub(crate) const fn end(&self) -> i64 {
        self.end
    }

    /// Records from `offset` on.
    pub(crate) fn from(&self, offset: i64) -> impl Iterator<Item = &Entry> {
        let start = self.entries.partition_point(|entry| entry.offset < offset);
        self.entries.range(start..)
    }
}
