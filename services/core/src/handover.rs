//! Closing a bucket, so that no record can fall between router and scheduler (the design's section 5).
//!
//! ```text
//! scheduler: 1 write closing = b (if epoch is mine)       router: 1 write the batch into b
//!            2 read all of b, strongly consistent                 2 read the shard's state, strongly consistent
//!            3 send all to the queues, confirmed                  3 if closing >= b: send the records there too
//!            4 write watermark = b (if epoch is mine)             4 only now are the offsets finished
//! ```
//!
//! Whatever the interleaving, the batch is seen by 2 on the left or sent by 3 on the right. Both at once is
//! a duplicate with the same source. Clocks play no part in that.

use crate::bucket::{Bucket, BucketKey, SUB_PARTITIONS, ShardId};
use crate::clock::EpochMs;

/// How far a bucket under way has been sent.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Cursor {
    /// Sub-partition being read.
    pub sub: u8,
    /// Last sort key whose records are all confirmed; `None` at the start of the sub-partition.
    pub after: Option<String>,
}

/// The state row of a shard.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ShardRow {
    /// Shard.
    pub shard: ShardId,
    /// Every bucket up to this one has been handed over.
    pub watermark: Bucket,
    /// Every write to a bucket up to this one must be sent by its writer too.
    pub closing: Bucket,
    /// Progress within `closing`, while `closing > watermark`.
    pub cursor: Cursor,
    /// Fence: raised by each new holder; writes of an older holder fail.
    pub epoch: u64,
    /// Who raised it last.
    pub owner: String,
}

impl ShardRow {
    /// A row for a shard that nothing has been written to: its watermark is the bucket before `now`.
    #[must_use]
    pub fn initial(shard: ShardId, now_ms: EpochMs, bucket_ms: i64) -> Self {
        let watermark = Bucket::of(now_ms, bucket_ms).previous();
        Self {
            shard,
            watermark,
            closing: watermark,
            cursor: Cursor::default(),
            epoch: 0,
            owner: String::new(),
        }
    }

    /// Whether a holder may replace this row, as it is stored, by `update`: the epoch is still its own, and neither
    /// watermark nor `closing` moves back. A call that was given up as unanswered may take effect long after its caller
    /// went on, under the same epoch: without the second condition it would open a bucket again that is closing, and a
    /// router that reads the row just then would not send what the scheduler has no more eyes for. The cursor may move back: that
    /// repeats pages.
    #[must_use]
    pub fn may_become(&self, update: &Self) -> bool {
        self.epoch == update.epoch
            && self.watermark <= update.watermark
            && self.closing <= update.closing
    }

    /// Router's step 3: whether a batch just written into `bucket` must be sent to the queues as well.
    #[must_use]
    pub fn must_send_too(&self, bucket: Bucket) -> bool {
        self.closing >= bucket
    }
}

/// Times of the handover, in milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HandoverTimes {
    /// Length of a bucket.
    pub bucket_ms: i64,
    /// How long before its start a bucket is moved to the queues.
    pub lead_ms: i64,
    /// How far ahead of its lead a bucket must be for a writer to skip reading the shard's state.
    pub skip_read_ms: i64,
    /// Largest clock skew under which that reading may be skipped.
    pub max_skew_ms: i64,
}

/// Whether a writer may skip its step 2: by its clock, read *after* the write was acknowledged, the
/// bucket's lead begins so much later that no scheduler can be closing it.
#[must_use]
pub fn may_skip_state_read(
    bucket: Bucket,
    now_after_write_ms: EpochMs,
    skew_ms: Option<i64>,
    times: HandoverTimes,
) -> bool {
    let Some(skew_ms) = skew_ms else { return false };
    let lead_begins_ms = bucket
        .start_ms(times.bucket_ms)
        .saturating_sub(times.lead_ms);
    skew_ms.saturating_abs() <= times.max_skew_ms
        && lead_begins_ms.saturating_sub(now_after_write_ms) > times.skip_read_ms
}

/// What time it is for the shards: by this machine's clock, or by the store's where the two are further apart than
/// the largest skew. Buckets are closed and rows begun by it: else one clock that is far ahead would close
/// what routers with good clocks believe far away, and do not look whether it is closing.
#[must_use]
pub fn shard_time_ms(now_ms: EpochMs, skew_ms: Option<i64>, times: HandoverTimes) -> EpochMs {
    match skew_ms {
        Some(skew_ms) if skew_ms.saturating_abs() > times.max_skew_ms => {
            now_ms.saturating_sub(skew_ms)
        }
        _ => now_ms,
    }
}

/// What the holder of a shard does next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HandoverAction {
    /// Write this row, conditional on its epoch, then ask again with the row as written.
    Write(ShardRow),
    /// Read the page of `key` after `after`, send it all, confirmed; then call [`page_done`].
    Send {
        /// What to read.
        key: BucketKey,
        /// Where the page starts.
        after: Option<String>,
    },
    /// Up to date; the next bucket's lead begins then.
    UpToDate {
        /// Milliseconds since the Unix epoch.
        next_ms: EpochMs,
    },
}

/// The next step for a row as it is stored.
#[must_use]
pub fn next_action(row: &ShardRow, now_ms: EpochMs, times: HandoverTimes) -> HandoverAction {
    if row.closing > row.watermark {
        if row.cursor.sub >= SUB_PARTITIONS {
            return HandoverAction::Write(ShardRow {
                watermark: row.closing,
                cursor: Cursor::default(),
                ..row.clone()
            });
        }
        let key = BucketKey {
            bucket: row.closing,
            shard: row.shard,
            sub: row.cursor.sub,
        };
        return HandoverAction::Send {
            key,
            after: row.cursor.after.clone(),
        };
    }
    let bucket = row.watermark.next();
    let lead_begins_ms = bucket
        .start_ms(times.bucket_ms)
        .saturating_sub(times.lead_ms);
    if lead_begins_ms > now_ms {
        return HandoverAction::UpToDate {
            next_ms: lead_begins_ms,
        };
    }
    HandoverAction::Write(ShardRow {
        closing: bucket,
        cursor: Cursor::default(),
        ..row.clone()
    })
}

/// The row after a page whose records are all confirmed; `next` is where the page after it starts, if there is one.
#[must_use]
pub fn page_done(row: &ShardRow, next: Option<String>) -> ShardRow {
    let cursor = match next {
        Some(after) => Cursor {
            sub: row.cursor.sub,
            after: Some(after),
        },
        None => Cursor {
            sub: row.cursor.sub + 1,
            after: None,
        },
    };
    ShardRow {
        cursor,
        ..row.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const TIMES: HandoverTimes = HandoverTimes {
        bucket_ms: 300_000,
        lead_ms: 420_000,
        skip_read_ms: 900_000,
        max_skew_ms: 60_000,
    };

    #[test]
    fn closing_walks_every_sub_partition_then_moves_the_watermark() {
        let now = 10 * TIMES.bucket_ms;
        let mut row = ShardRow::initial(ShardId(1), now, TIMES.bucket_ms);
        assert_eq!(row.watermark, Bucket(9));
        let (mut read, mut closed) = (Vec::new(), Vec::new());
        loop {
            match next_action(&row, now, TIMES) {
                HandoverAction::Write(next) => {
                    assert_eq!(next.cursor, Cursor::default(), "each bucket from its start");
                    if next.watermark > row.watermark {
                        closed.push(next.watermark.0);
                    }
                    row = next;
                }
                HandoverAction::Send { key, .. } => {
                    assert!(row.closing > row.watermark, "step 2 before step 1");
                    read.push(key.sub);
                    row = page_done(&row, None);
                }
                HandoverAction::UpToDate { next_ms } => {
                    assert!(next_ms > now);
                    break;
                }
            }
        }
        // 7 minutes of lead reach into the bucket that starts in 5 minutes.
        assert_eq!(closed, [10, 11]);
        assert_eq!(
            read,
            (0..2).flat_map(|_| 0..SUB_PARTITIONS).collect::<Vec<_>>()
        );
    }

    #[test]
    fn a_bucket_closes_from_the_first_millisecond_of_its_lead_and_from_its_start() {
        let mut row = ShardRow::initial(ShardId(1), 0, TIMES.bucket_ms);
        row.cursor.sub = SUB_PARTITIONS;
        let begins_ms = row.watermark.next().start_ms(TIMES.bucket_ms) - TIMES.lead_ms;
        let waits = HandoverAction::UpToDate { next_ms: begins_ms };
        assert_eq!(next_action(&row, begins_ms - 1, TIMES), waits);
        let closing = ShardRow {
            closing: row.watermark.next(),
            cursor: Cursor::default(),
            ..row.clone()
        };
        assert_eq!(
            next_action(&row, begins_ms, TIMES),
            HandoverAction::Write(closing)
        );
    }

    #[test]
    fn a_page_in_the_middle_is_remembered() {
        let row = ShardRow {
            closing: Bucket(10),
            ..ShardRow::initial(ShardId(0), 3_000_000, TIMES.bucket_ms)
        };
        let half = page_done(&row, Some("k7".into()));
        let action = next_action(&half, 3_000_000, TIMES);
        assert_eq!(
            action,
            HandoverAction::Send {
                key: BucketKey {
                    bucket: Bucket(10),
                    shard: ShardId(0),
                    sub: 0
                },
                after: Some("k7".into())
            }
        );
    }

    #[test]
    fn a_row_only_goes_forward_and_only_for_its_holder() {
        let row = ShardRow {
            watermark: Bucket(5),
            closing: Bucket(6),
            epoch: 3,
            ..ShardRow::initial(ShardId(0), 0, 1)
        };
        let to = |watermark, closing, epoch| ShardRow {
            watermark: Bucket(watermark),
            closing: Bucket(closing),
            epoch,
            ..row.clone()
        };
        assert!(row.may_become(&to(5, 6, 3)) && row.may_become(&to(6, 6, 3)));
        for refused in [to(6, 6, 2), to(6, 6, 4), to(4, 6, 3), to(5, 5, 3)] {
            assert!(!row.may_become(&refused), "{refused:?}");
        }
    }

    #[test]
    fn a_clock_that_is_far_off_gives_way_to_the_stores() {
        for (skew, time) in [
            (None, 1_000_000),
            (Some(60_000), 1_000_000),
            (Some(60_001), 939_999),
            (Some(-60_000), 1_000_000),
            (Some(-60_001), 1_060_001),
        ] {
            assert_eq!(shard_time_ms(1_000_000, skew, TIMES), time, "{skew:?}");
        }
        assert_eq!(shard_time_ms(i64::MAX, Some(i64::MIN), TIMES), i64::MAX);
    }

    #[test]
    fn the_state_read_is_skipped_when_the_lead_is_far_away() {
        let bucket = Bucket(10_000);
        let begins_ms = bucket.start_ms(TIMES.bucket_ms) - TIMES.lead_ms;
        let skips =
            |before_ms, skew_ms| may_skip_state_read(bucket, begins_ms - before_ms, skew_ms, TIMES);
        assert!(skips(TIMES.skip_read_ms + 1, Some(0)));
        assert!(!skips(TIMES.skip_read_ms, Some(0)));
        assert!(skips(2 * TIMES.skip_read_ms, Some(-TIMES.max_skew_ms)));
        assert!(!skips(2 * TIMES.skip_read_ms, Some(TIMES.max_skew_ms + 1)));
        assert!(!skips(2 * TIMES.skip_read_ms, None));
    }

    proptest! {
        #[test]
        fn the_state_read_is_skipped_only_well_ahead(bucket in 0i64..10_000, now in 0i64..3_000_000_000, skew in prop::option::of(-200_000i64..200_000)) {
            if may_skip_state_read(Bucket(bucket), now, skew, TIMES) {
                let skew = skew.expect("unknown skew never skips");
                prop_assert!(skew.abs() <= TIMES.max_skew_ms);
                // Even a scheduler whose clock is ahead by the largest skew on both sides is not there yet.
                let row = ShardRow::initial(ShardId(0), Bucket(bucket).start_ms(TIMES.bucket_ms), TIMES.bucket_ms);
                let waits = matches!(next_action(&row, now + 2 * TIMES.max_skew_ms, TIMES), HandoverAction::UpToDate { .. });
                prop_assert!(waits, "a scheduler closes it already");
            }
        }

        #[test]
        fn a_write_to_a_closed_bucket_is_always_sent(watermark in 0i64..100, closing in 0i64..2, beyond in -2i64..4) {
            let bucket = watermark + beyond;
            let row = ShardRow { watermark: Bucket(watermark), closing: Bucket(watermark + closing), ..ShardRow::initial(ShardId(0), 0, 1000) };
            prop_assert_eq!(row.must_send_too(Bucket(bucket)), bucket <= watermark + closing);
        }
    }
}
