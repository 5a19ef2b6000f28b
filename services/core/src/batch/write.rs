//! The protobuf messages as they are written: straight from the records, without a copy of each in between.
//!
//! The encoding: <https://protobuf.dev/programming-guides/encoding/>. Fields and numbers are those of [`super::read`], in
//! whose tests `prost` writes the same bytes.

use std::collections::HashMap;
use std::sync::Arc;

use crate::record::{AsScheduled, Header, Record, Scheduled};
use crate::unpacked;

/// Room for the numbers of a record and the lengths of its parts.
const NUMBERS_BYTES: usize = 48;

/// The bytes of a batch, and what it takes in memory once it is unpacked.
pub(super) fn batch<R: AsScheduled>(records: &[R]) -> (Vec<u8>, usize) {
    let topics = Topics::of(records);
    let content = records
        .iter()
        .map(|r| carried(r.as_scheduled()).payload_bytes() + NUMBERS_BYTES);
    let names = topics.names.iter().map(|name| nested_bytes(name.len()));
    let mut out = Vec::with_capacity(content.chain(names).sum());
    let mut unpacked_bytes = 0;
    for name in &topics.names {
        bytes_field(&mut out, 1, name.as_bytes());
        unpacked_bytes += unpacked::topic_bytes(name.len());
    }
    for record in records.iter().map(AsScheduled::as_scheduled) {
        let numbers = numbers(record, &topics);
        length_delimited(&mut out, 2, item_bytes(record, &numbers));
        item(&mut out, record, &numbers);
        unpacked_bytes += unpacked::record_bytes(carried(record).headers.len());
    }
    unpacked_bytes += out.len();
    (out, unpacked_bytes)
}

/// Topic names, each once, referred to by position.
struct Topics<'r> {
    names: Vec<&'r Arc<str>>,
    positions: HashMap<&'r str, u64>,
}

impl<'r> Topics<'r> {
    fn of<R: AsScheduled>(records: &'r [R]) -> Self {
        let mut topics = Self {
            names: Vec::new(),
            positions: HashMap::new(),
        };
        for record in records.iter().map(AsScheduled::as_scheduled) {
            for name in [&record.source.at.topic, &record.output_topic] {
                // Records share the names of their topics: most are the same text in the same place.
                if topics.names.iter().any(|known| Arc::ptr_eq(known, name)) {
                    continue;
                }
                let next = topics.names.len() as u64;
                topics.positions.entry(name).or_insert_with(|| {
                    topics.names.push(name);
                    next
                });
            }
        }
        topics
    }

    fn position(&self, name: &Arc<str>) -> u64 {
        let same = self
            .names
            .iter()
            .take(8)
            .position(|known| Arc::ptr_eq(known, name));
        match same {
            Some(position) => position as u64,
            None => self.positions.get(name.as_ref()).copied().unwrap_or(0),
        }
    }
}

/// What of a record travels: what the payload store holds does not.
fn carried(record: &Scheduled) -> &Record {
    static NOTHING: Record = Record {
        key: None,
        value: None,
        headers: Vec::new(),
    };
    if record.payload.is_some() {
        &NOTHING
    } else {
        &record.record
    }
}

/// With their tags; zeros are not written.
type Numbers = [(u32, u64); 8];

fn numbers(record: &Scheduled, topics: &Topics<'_>) -> Numbers {
    let delay_ms = record.due_ms.saturating_sub(record.timestamp_ms);
    [
        (1, topics.position(&record.source.at.topic)),
        (2, u64::try_from(record.source.at.partition).unwrap_or(0)),
        (3, u64::try_from(record.source.offset).unwrap_or(0)),
        (4, topics.position(&record.output_topic)),
        (5, record.priority as u64),
        (6, zigzag(record.due_ms)),
        (7, zigzag(delay_ms)),
        (9, record.path.index() as u64),
    ]
}

fn item_bytes(record: &Scheduled, numbers: &Numbers) -> usize {
    let carried = carried(record);
    let numbers = numbers.iter().filter(|(_, value)| *value != 0);
    let numbers: usize = numbers.map(|(_, value)| 1 + varint_bytes(*value)).sum();
    let texts = [&record.id, &record.limit].into_iter().flatten();
    let texts: usize = texts.map(|text| nested_bytes(text.len())).sum();
    let values = [&carried.key, &carried.value].into_iter().flatten();
    let values: usize = values.map(|value| nested_bytes(value.len())).sum();
    let headers = carried.headers.iter();
    let headers: usize = headers
        .map(|header| nested_bytes(header_bytes(header)))
        .sum();
    let payload = record.payload.as_ref().map_or(0, |p| {
        nested_bytes(payload_bytes(&p.id, p.chunks, p.record_bytes))
    });
    numbers + texts + values + headers + payload
}

/// In the order of the tags, as every writer of protobuf has it.
fn item(out: &mut Vec<u8>, record: &Scheduled, numbers: &Numbers) {
    let carried = carried(record);
    for (tag, value) in *numbers {
        if tag == 9 {
            optional_field(out, 8, record.id.as_ref().map(|id| id.as_bytes()));
        }
        number_field(out, tag, value);
    }
    optional_field(out, 10, carried.key.as_deref());
    optional_field(out, 11, carried.value.as_deref());
    for header in &carried.headers {
        length_delimited(out, 12, header_bytes(header));
        if !header.name.is_empty() {
            bytes_field(out, 1, header.name.as_bytes());
        }
        optional_field(out, 2, header.value.as_deref());
    }
    if let Some(payload) = &record.payload {
        let content = payload_bytes(&payload.id, payload.chunks, payload.record_bytes);
        length_delimited(out, 13, content);
        if !payload.id.is_empty() {
            bytes_field(out, 1, payload.id.as_bytes());
        }
        number_field(out, 2, payload.chunks.into());
        number_field(out, 3, payload.record_bytes.into());
    }
    optional_field(out, 14, record.limit.as_ref().map(|limit| limit.as_bytes()));
}

fn header_bytes(header: &Header) -> usize {
    let name = match header.name.len() {
        0 => 0,
        bytes => nested_bytes(bytes),
    };
    name + header
        .value
        .as_ref()
        .map_or(0, |value| nested_bytes(value.len()))
}

fn payload_bytes(id: &str, chunks: u32, record_bytes: u32) -> usize {
    let id = match id.len() {
        0 => 0,
        bytes => nested_bytes(bytes),
    };
    let numbers = [chunks, record_bytes]
        .into_iter()
        .filter(|value| *value != 0);
    id + numbers
        .map(|value| 1 + varint_bytes(value.into()))
        .sum::<usize>()
}

/// A field with a length: tags are below 16, so that key and wire type take one byte.
fn nested_bytes(content: usize) -> usize {
    1 + varint_bytes(content as u64) + content
}

const fn varint_bytes(value: u64) -> usize {
    let bits = 64 - (value | 1).leading_zeros() as usize;
    bits.div_ceil(7)
}

const fn zigzag(value: i64) -> u64 {
    ((value << 1) ^ (value >> 63)).cast_unsigned()
}

fn varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push((value & 0x7f) as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

fn number_field(out: &mut Vec<u8>, tag: u32, value: u64) {
    if value != 0 {
        varint(out, u64::from(tag << 3));
        varint(out, value);
    }
}

fn length_delimited(out: &mut Vec<u8>, tag: u32, content: usize) {
    varint(out, u64::from(tag << 3 | 2));
    varint(out, content as u64);
}

fn bytes_field(out: &mut Vec<u8>, tag: u32, content: &[u8]) {
    length_delimited(out, tag, content.len());
    out.extend_from_slice(content);
}

fn optional_field(out: &mut Vec<u8>, tag: u32, content: Option<&[u8]>) {
    if let Some(content) = content {
        bytes_field(out, tag, content);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::batch::read;
    use crate::payload::PayloadRef;
    use crate::testing::any_scheduled;
    use proptest::prelude::*;
    use prost::Message as _;

    fn any_record() -> impl Strategy<Value = Scheduled> {
        let payload = prop::option::of(("[a-z]{0,5}", 0..600u32, any::<u32>()));
        (any_scheduled(), payload).prop_map(|(mut record, payload)| {
            record.payload = payload.map(|(id, chunks, record_bytes)| PayloadRef {
                id: id.into(),
                chunks,
                record_bytes,
            });
            record
        })
    }

    proptest! {
        #[test]
        fn prost_writes_the_same_bytes(records in prop::collection::vec(any_record(), 0..20)) {
            let (bytes, _) = batch(&records);
            let read = read::Batch::decode(bytes.as_slice()).unwrap();
            prop_assert_eq!(read.encode_to_vec(), bytes);
        }

        #[test]
        fn memory_is_what_a_reader_counts(records in prop::collection::vec(any_record(), 0..20)) {
            let (bytes, unpacked_bytes) = batch(&records);
            prop_assert_eq!(unpacked::unpacked_bytes(&bytes), Some(unpacked_bytes));
        }

        #[test]
        fn lengths_of_numbers_are_those_written(value in any::<u64>(), shift in 0u32..64) {
            let value = value >> shift;
            let mut out = Vec::new();
            varint(&mut out, value);
            prop_assert_eq!(out.len(), varint_bytes(value));
        }
    }
}
