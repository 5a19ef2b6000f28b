//! Records for the tests of this crate.

use bytes::Bytes;
use proptest::prelude::*;

use crate::priority::Priority;
use crate::record::{Header, Path, Record, Scheduled, Source, TopicPartition};

/// A plain record due at `due_ms`.
pub(crate) fn scheduled(due_ms: i64) -> Scheduled {
    Scheduled {
        source: Source {
            at: TopicPartition::new("orders.delay", 2),
            offset: due_ms % 1000,
        },
        output_topic: "orders.standard".into(),
        priority: Priority::Standard,
        due_ms,
        timestamp_ms: due_ms - 5_000,
        id: None,
        path: Path::Short,
        record: Record {
            key: Some(Bytes::from_static(b"k")),
            value: Some(Bytes::from_static(b"v")),
            headers: vec![],
        },
        payload: None,
        limit: None,
    }
}

/// Bytes that do not compress.
pub(crate) fn noise(bytes: usize) -> Vec<u8> {
    let mut seed = 1u32;
    (0..bytes)
        .map(|_| {
            seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (seed >> 24) as u8
        })
        .collect()
}

pub(crate) fn any_bytes() -> impl Strategy<Value = Option<Bytes>> {
    prop::option::of(prop::collection::vec(any::<u8>(), 0..100).prop_map(Bytes::from))
}

pub(crate) fn any_header() -> impl Strategy<Value = Header> {
    ("[a-z-]{0,12}", any_bytes()).prop_map(|(name, value)| Header {
        name: name.into(),
        value,
    })
}

pub(crate) fn any_record() -> impl Strategy<Value = Record> {
    (
        any_bytes(),
        any_bytes(),
        prop::collection::vec(any_header(), 0..5),
    )
        .prop_map(|(key, value, headers)| Record {
            key,
            value,
            headers,
        })
}

pub(crate) fn any_scheduled() -> impl Strategy<Value = Scheduled> {
    let source = ("[a-z.]{1,10}", 0..50i32, 0..i64::MAX).prop_map(|(t, p, offset)| Source {
        at: TopicPartition::new(t, p),
        offset,
    });
    let ids = prop::option::of("[a-z0-9]{1,20}".prop_map(std::sync::Arc::from));
    let priority = prop::sample::select(Priority::ALL.to_vec());
    let path = prop::sample::select(vec![Path::Direct, Path::Short, Path::Long]);
    (
        source,
        "[a-z.]{1,10}",
        priority,
        0..1i64 << 50,
        0..1i64 << 50,
        ids,
        path,
        any_record(),
        prop::option::of("[a-z]{1,8}".prop_map(std::sync::Arc::from)),
    )
        .prop_map(
            |(source, output, priority, due_ms, timestamp_ms, id, path, record, limit)| Scheduled {
                source,
                output_topic: output.into(),
                priority,
                due_ms,
                timestamp_ms,
                id,
                path,
                record,
                payload: None,
                limit,
            },
        )
}
