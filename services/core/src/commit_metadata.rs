//! The map of finished offsets in the commit metadata, so that a restart or a rebalance repeats nothing
//! that is finished beyond the committed offset.
//!
//! Shape: `q1.` + base64url of `crc32c(4, LE) || zstd(varints)`, the varints being the committed offset, the leader
//! epoch + 1 (0: unknown), then for each range the distance from the end of the one before and its length − 1.
//! In doubt (another offset, a bad checksum, an unknown version) the map is ignored: that costs duplicates, never a loss.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64;

use crate::offsets::FinishedMap;

/// Kafka's default `offset.metadata.max.bytes`: a larger commit is refused.
/// <https://kafka.apache.org/documentation/#brokerconfigs_offset.metadata.max.bytes>
pub const BROKER_LIMIT_BYTES: usize = 4096;

const PREFIX: &str = "q1.";
/// A map larger than this was not written by us: it could not have passed the broker's limit.
const DECOMPRESSED_LIMIT_BYTES: usize = 1 << 20;

/// What a commit remembers beyond its offset.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CommitMap {
    /// The offset it was committed with.
    pub committed: i64,
    /// The highest leader epoch among the records delivered: a record with a later one was written
    /// after this map (an unclean election cut the log), and is not the one the map speaks of.
    pub leader_epoch: Option<i32>,
    /// Finished offsets beyond `committed`.
    pub finished: FinishedMap,
}

impl CommitMap {
    /// Whether a record was finished before: its offset is in the map, and it is provably the same record.
    #[must_use]
    pub fn covers(&self, offset: i64, leader_epoch: Option<i32>) -> bool {
        match (leader_epoch, self.leader_epoch) {
            (Some(record), Some(map)) => record <= map && self.finished.contains(offset),
            _ => false,
        }
    }
}

/// Why commit metadata is ignored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum MetadataFault {
    /// Another program's, or a later version's.
    #[error("not in a format this version reads")]
    Foreign,
    /// Damaged.
    #[error("damaged: {0}")]
    Damaged(&'static str),
    /// Written with another committed offset.
    #[error("belongs to another committed offset")]
    OtherOffset,
}

impl MetadataFault {
    /// Stable code: a metric label.
    #[must_use]
    pub const fn code(self) -> &'static str {
        match self {
            Self::Foreign => "foreign",
            Self::Damaged(_) => "damaged",
            Self::OtherOffset => "other-offset",
        }
    }
}

/// Encodes; empty when there is nothing beyond the head.
#[must_use]
pub fn encode(map: &CommitMap) -> String {
    if map.finished.is_empty() {
        return String::new();
    }
    let mut plain = Vec::new();
    put_varint(&mut plain, u64::try_from(map.committed).unwrap_or(0));
    put_varint(
        &mut plain,
        map.leader_epoch
            .map_or(0, |e| u64::try_from(e).map_or(0, |e| e + 1)),
    );
    let mut end = map.committed;
    for (from, to) in map.finished.ranges() {
        put_varint(&mut plain, u64::try_from(from - end).unwrap_or(0));
        put_varint(&mut plain, u64::try_from(to - from).unwrap_or(0));
        end = *to;
    }
    // Compression into memory does not fail; if it did, no map is the safe answer.
    let Ok(packed) = zstd::bulk::compress(&plain, 3) else {
        return String::new();
    };
    let mut bytes = crc32c::crc32c(&packed).to_le_bytes().to_vec();
    bytes.extend_from_slice(&packed);
    let mut text = PREFIX.to_owned();
    BASE64.encode_string(&bytes, &mut text);
    text
}

/// Encodes as much of a map as fits `limit_bytes`, from its beginning, and says whether that is all of it: what is left out is
/// repeated by the next owner, as if it had not been finished.
#[must_use]
pub fn encode_within(map: &CommitMap, limit_bytes: usize) -> (String, bool) {
    let whole = encode(map);
    if whole.len() <= limit_bytes {
        return (whole, true);
    }
    let first = |count| {
        encode(&CommitMap {
            finished: map.finished.first(count),
            ..map.clone()
        })
    };
    let counts: Vec<usize> = (1..=map.finished.ranges().len()).collect();
    let fits = counts.partition_point(|count| first(*count).len() <= limit_bytes);
    (first(fits), false)
}

/// Decodes metadata that came with the committed offset `committed`. `Ok(None)`: there is none.
pub fn decode(text: &str, committed: i64) -> Result<Option<CommitMap>, MetadataFault> {
    if text.is_empty() {
        return Ok(None);
    }
    let body = text.strip_prefix(PREFIX).ok_or(MetadataFault::Foreign)?;
    let bytes = BASE64
        .decode(body)
        .map_err(|_| MetadataFault::Damaged("base64"))?;
    let (crc, packed) = bytes
        .split_first_chunk::<4>()
        .ok_or(MetadataFault::Damaged("too short"))?;
    if u32::from_le_bytes(*crc) != crc32c::crc32c(packed) {
        return Err(MetadataFault::Damaged("checksum"));
    }
    let plain = zstd::bulk::decompress(packed, DECOMPRESSED_LIMIT_BYTES)
        .map_err(|_| MetadataFault::Damaged("zstd"))?;
    let mut rest = plain.as_slice();
    let number = |rest: &mut &[u8]| {
        take_varint(rest)
            .and_then(|n| i64::try_from(n).ok())
            .ok_or(MetadataFault::Damaged("number"))
    };
    if number(&mut rest)? != committed {
        return Err(MetadataFault::OtherOffset);
    }
    let leader_epoch = match number(&mut rest)? {
        0 => None,
        epoch => {
            Some(i32::try_from(epoch - 1).map_err(|_| MetadataFault::Damaged("leader epoch"))?)
        }
    };
    let mut ranges = Vec::new();
    let mut end = committed;
    while !rest.is_empty() {
        let from = end
            .checked_add(number(&mut rest)?)
            .ok_or(MetadataFault::Damaged("range"))?;
        let to = from
            .checked_add(number(&mut rest)?)
            .ok_or(MetadataFault::Damaged("range"))?;
        ranges.push((from, to));
        end = to;
    }
    let finished = FinishedMap::from_ranges(ranges).ok_or(MetadataFault::Damaged("ranges"))?;
    Ok(Some(CommitMap {
        committed,
        leader_epoch,
        finished,
    }))
}

fn put_varint(out: &mut Vec<u8>, mut n: u64) {
    while n >= 0x80 {
        out.push((n & 0x7f) as u8 | 0x80);
        n >>= 7;
    }
    out.push(n as u8);
}

fn take_varint(rest: &mut &[u8]) -> Option<u64> {
    let mut n = 0u64;
    for shift in (0..64).step_by(7) {
        let (byte, tail) = rest.split_first()?;
        *rest = tail;
        n |= u64::from(byte & 0x7f).checked_shl(shift)?;
        if byte & 0x80 == 0 {
            return Some(n);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn map(committed: i64, epoch: Option<i32>, steps: &[(i64, i64)]) -> CommitMap {
        let mut end = committed;
        let ranges = steps
            .iter()
            .map(|(gap, len)| {
                let from = end + gap;
                end = from + len;
                (from, end)
            })
            .collect();
        CommitMap {
            committed,
            leader_epoch: epoch,
            finished: FinishedMap::from_ranges(ranges).unwrap(),
        }
    }

    #[test]
    fn a_record_of_a_later_epoch_is_another_record() {
        let map = map(10, Some(3), &[(2, 0)]);
        assert!(map.covers(12, Some(3)) && map.covers(12, Some(1)));
        assert!(!map.covers(12, Some(4)), "the log was cut and written anew");
        assert!(!map.covers(12, None), "in doubt it is ignored");
        assert!(!map.covers(11, Some(3)));
    }

    #[test]
    fn todays_text_is_read_for_ever() {
        let expected = map(1_000, Some(7), &[(1, 4), (3, 0), (100, 1_000)]);
        let text = include_str!("../golden/commit_metadata_v1.txt").trim_end();
        assert_eq!(decode(text, 1_000), Ok(Some(expected)));
    }

    #[test]
    fn in_doubt_it_is_ignored() {
        let refused = |text: &str, committed| decode(text, committed).unwrap_err().code();
        let text = encode(&map(10, Some(0), &[(2, 3)]));
        assert_eq!(refused(&text, 11), "other-offset");
        assert_eq!(decode("", 11), Ok(None));
        assert_eq!(refused("someone else's note", 11), "foreign");
        assert_eq!(refused("q2.AAAA", 11), "foreign");
        let mut flipped = text.into_bytes();
        let last = flipped.len() - 2;
        flipped[last] = if flipped[last] == b'A' { b'B' } else { b'A' };
        let flipped = String::from_utf8(flipped).unwrap();
        assert_eq!(refused(&flipped, 10), "damaged");
    }

    #[test]
    fn a_thousand_holes_stay_below_the_brokers_limit() {
        let steps: Vec<_> = (0..1_000i64)
            .map(|i| (1 + i * 7 % 5, i * 13 % 11))
            .collect();
        assert!(encode(&map(5_000_000, Some(3), &steps)).len() < BROKER_LIMIT_BYTES);
    }

    proptest! {
        #[test]
        fn round_trip(committed in 0i64..1 << 40, epoch in prop::option::of(0i32..1000), steps in prop::collection::vec((1i64..5000, 0i64..5000), 1..300)) {
            let map = map(committed, epoch, &steps);
            prop_assert_eq!(decode(&encode(&map), committed), Ok(Some(map)));
        }

        #[test]
        fn what_does_not_fit_is_cut_at_its_end(limit in 20usize..400, steps in prop::collection::vec((1i64..5000, 0i64..5000), 1..200)) {
            let map = map(7, Some(1), &steps);
            let (text, whole) = encode_within(&map, limit);
            prop_assert!(text.len() <= limit);
            prop_assert_eq!(whole, encode(&map).len() <= limit);
            let kept = decode(&text, 7).unwrap().map_or(0, |kept| {
                let count = kept.finished.ranges().len();
                assert_eq!(kept.finished, map.finished.first(count), "its beginning");
                count
            });
            prop_assert_eq!(whole, kept == steps.len());
        }

        #[test]
        fn no_input_panics(text in "(q1\\.)?[A-Za-z0-9_-]{0,200}", committed in any::<i64>()) {
            drop(decode(&text, committed));
        }
    }
}
