//! The state row, small enough to keep millions of it; for each decision it becomes the real one.

use delayq_core::bucket::{Bucket, ShardId};
use delayq_core::handover::{Cursor, ShardRow};

/// [`ShardRow`] without its names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Row {
    pub(crate) watermark: i16,
    pub(crate) closing: i16,
    pub(crate) sub: u8,
    pub(crate) after: Option<u8>,
    /// 1 is the row's own epoch, 0 any older one: no more can be seen of it, since it only rises.
    pub(crate) epoch: u8,
}

impl Row {
    pub(crate) fn real(self) -> ShardRow {
        ShardRow {
            shard: ShardId(0),
            watermark: Bucket(self.watermark.into()),
            closing: Bucket(self.closing.into()),
            cursor: Cursor {
                sub: self.sub,
                after: self.after.map(sort_text),
            },
            epoch: self.epoch.into(),
            owner: String::new(),
        }
    }

    pub(crate) fn of(row: &ShardRow) -> Self {
        let small = |bucket: Bucket| i16::try_from(bucket.0).unwrap_or(i16::MAX);
        Self {
            watermark: small(row.watermark),
            closing: small(row.closing),
            sub: row.cursor.sub,
            after: row.cursor.after.as_deref().map(sort_number),
            epoch: u8::try_from(row.epoch).unwrap_or(u8::MAX),
        }
    }
}

pub(crate) fn sort_text(sort: u8) -> String {
    format!("{sort:03}")
}

pub(crate) fn sort_number(text: &str) -> u8 {
    text.parse().unwrap_or(u8::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_comes_back_as_it_was() {
        for after in [None, Some(0), Some(12)] {
            let row = Row {
                watermark: -1,
                closing: 300,
                sub: 16,
                after,
                epoch: 1,
            };
            assert_eq!(Row::of(&row.real()), row);
        }
    }
}
