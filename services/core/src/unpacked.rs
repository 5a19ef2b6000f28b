//! How much memory a protobuf `Batch` takes once it is unpacked, found before anything is allocated for it.
//!
//! An empty record or header is two bytes on the wire and hundreds in memory: 16 MiB of them, which compress to some KB, would take
//! gigabytes. So the fields are counted first.

use crate::record::SCHEDULED_OVERHEAD_BYTES;

/// A topic: the text, twice, and its places in two lists.
const TOPIC_BYTES: usize = 96;
/// A record: as a protobuf message and as a [`crate::record::Scheduled`], for a moment at once.
const RECORD_BYTES: usize = 512 + SCHEDULED_OVERHEAD_BYTES;
/// A header, likewise.
const HEADER_BYTES: usize = 160;

/// Tags of the messages in [`crate::batch`].
const TOPICS: u64 = 1;
const RECORDS: u64 = 2;
const HEADERS: u64 = 12;

/// What a topic name of `bytes` takes beyond its bytes in the message.
pub(crate) const fn topic_bytes(bytes: usize) -> usize {
    TOPIC_BYTES.saturating_add(bytes)
}

/// What a record with so many headers takes beyond its bytes in the message.
pub(crate) const fn record_bytes(headers: usize) -> usize {
    RECORD_BYTES.saturating_add(headers.saturating_mul(HEADER_BYTES))
}

/// Memory of a `Batch` beyond its own bytes, rounded up; `None` if these are no protobuf fields.
pub(crate) fn unpacked_bytes(batch: &[u8]) -> Option<usize> {
    let mut bytes = batch.len();
    each_field(batch, |tag, content| {
        let more = match tag {
            TOPICS => topic_bytes(content.len()),
            RECORDS => record_bytes(headers(content)?),
            _ => 0,
        };
        bytes = bytes.saturating_add(more);
        Some(())
    })?;
    Some(bytes)
}

fn headers(record: &[u8]) -> Option<usize> {
    let mut count = 0usize;
    each_field(record, |tag, _| {
        count += usize::from(tag == HEADERS);
        Some(())
    })?;
    Some(count)
}

/// Hands over tag and content of each field that has a length.
fn each_field(mut rest: &[u8], mut field: impl FnMut(u64, &[u8]) -> Option<()>) -> Option<()> {
    while !rest.is_empty() {
        let key = varint(&mut rest)?;
        match key & 7 {
            0 => {
                varint(&mut rest)?;
            }
            1 => {
                skip(&mut rest, 8)?;
            }
            2 => {
                let bytes = usize::try_from(varint(&mut rest)?).ok()?;
                field(key >> 3, skip(&mut rest, bytes)?)?;
            }
            5 => {
                skip(&mut rest, 4)?;
            }
            // Groups are of protobuf 2; nobody who writes batches has them.
            _ => return None,
        }
    }
    Some(())
}

fn skip<'b>(rest: &mut &'b [u8], bytes: usize) -> Option<&'b [u8]> {
    let (content, after) = rest.split_at_checked(bytes)?;
    *rest = after;
    Some(content)
}

fn varint(rest: &mut &[u8]) -> Option<u64> {
    let mut value = 0u64;
    for shift in (0..64).step_by(7) {
        let (byte, after) = rest.split_first()?;
        *rest = after;
        value |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_and_headers_count_what_they_take_not_what_they_are_on_the_wire() {
        let empty_records = [0x12, 0].repeat(1000);
        assert!(unpacked_bytes(&empty_records).is_some_and(|bytes| bytes > 500_000));
        let empty_headers = [0x62, 0].repeat(60);
        let one = [&[0x12, 120], &empty_headers[..]].concat();
        assert!(unpacked_bytes(&one).is_some_and(|bytes| bytes > 60 * HEADER_BYTES));
        let empty_topics = [0x0a, 0].repeat(1000);
        assert!(unpacked_bytes(&empty_topics).is_some_and(|bytes| bytes > 90_000));
    }

    #[test]
    fn what_is_cut_off_or_no_protobuf_is_told() {
        for broken in [
            &[0x12, 5, 0][..],
            &[0x80],
            &[0x0b],
            &[0x12, 1, 0x62],
            &[0xff; 11],
        ] {
            assert_eq!(unpacked_bytes(broken), None, "{broken:?}");
        }
        let unknown = [
            0x08, 1, 0xad, 1, 0, 0, 0, 0, 0xa1, 1, 0, 0, 0, 0, 0, 0, 0, 0,
        ];
        assert_eq!(unpacked_bytes(&unknown), Some(unknown.len()));
    }
}
