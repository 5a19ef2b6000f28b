//! The protobuf messages as they are read. Field numbers are for ever; see the golden files.
//!
//! Bytes and names stay slices of the message: nothing is copied.

use std::sync::Arc;

use bytes::Bytes;
use bytestring::ByteString;

use super::BatchFault;
use crate::payload::{CHUNKS_MAX, PayloadRef, RECORD_MAX_BYTES};
use crate::priority::Priority;
use crate::record::{Header, Path, Record, Scheduled, Source, TopicPartition};

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct Batch {
    /// Topic names, referred to by position.
    #[prost(string, repeated, tag = "1")]
    topics: Vec<String>,
    #[prost(message, repeated, tag = "2")]
    records: Vec<Item>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Item {
    #[prost(uint32, tag = "1")]
    source_topic: u32,
    #[prost(uint32, tag = "2")]
    partition: u32,
    #[prost(uint64, tag = "3")]
    offset: u64,
    #[prost(uint32, tag = "4")]
    output_topic: u32,
    /// 0 high, 1 standard, 2 low.
    #[prost(uint32, tag = "5")]
    priority: u32,
    #[prost(sint64, tag = "6")]
    due_ms: i64,
    /// Due minus the record's own timestamp: small where `due_ms` is not.
    #[prost(sint64, tag = "7")]
    delay_ms: i64,
    #[prost(string, optional, tag = "8")]
    id: Option<String>,
    /// 0 direct, 1 short, 2 long.
    #[prost(uint32, tag = "9")]
    path: u32,
    #[prost(bytes = "bytes", optional, tag = "10")]
    key: Option<Bytes>,
    #[prost(bytes = "bytes", optional, tag = "11")]
    value: Option<Bytes>,
    #[prost(message, repeated, tag = "12")]
    headers: Vec<WireHeader>,
    /// Where key, value and headers are, if they are not here.
    #[prost(message, optional, tag = "13")]
    payload: Option<WirePayload>,
    #[prost(string, optional, tag = "14")]
    limit: Option<String>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct WirePayload {
    #[prost(string, tag = "1")]
    id: String,
    #[prost(uint32, tag = "2")]
    chunks: u32,
    #[prost(uint32, tag = "3")]
    record_bytes: u32,
}

#[derive(Clone, PartialEq, prost::Message)]
struct WireHeader {
    /// UTF-8.
    #[prost(bytes = "bytes", tag = "1")]
    name: Bytes,
    #[prost(bytes = "bytes", optional, tag = "2")]
    value: Option<Bytes>,
}

impl Batch {
    pub(super) fn unpack(self) -> Result<Vec<Scheduled>, BatchFault> {
        let topics: Vec<Arc<str>> = self.topics.into_iter().map(Arc::from).collect();
        let topic = |at: u32| {
            let found = usize::try_from(at).ok().and_then(|at| topics.get(at));
            found
                .cloned()
                .ok_or_else(|| BatchFault::Content(format!("no topic {at}")))
        };
        let wrong = |what: &str, value: u64| BatchFault::Content(format!("{what} {value}"));
        // What it says is believed: so much is read, and counted against the budget of memory.
        let reference = |p: WirePayload| {
            if p.chunks > CHUNKS_MAX {
                return Err(wrong("chunks", p.chunks.into()));
            }
            if p.record_bytes > RECORD_MAX_BYTES {
                return Err(wrong("bytes of a stored record", p.record_bytes.into()));
            }
            Ok(PayloadRef {
                id: p.id.into(),
                chunks: p.chunks,
                record_bytes: p.record_bytes,
            })
        };
        let header = |h: WireHeader| {
            let name = ByteString::try_from(h.name)
                .map_err(|_| BatchFault::Content("a header name that is not UTF-8".to_owned()))?;
            Ok(Header {
                name,
                value: h.value,
            })
        };
        let item = |r: Item| {
            Ok(Scheduled {
                source: Source {
                    at: TopicPartition {
                        topic: topic(r.source_topic)?,
                        partition: i32::try_from(r.partition)
                            .map_err(|_| wrong("partition", r.partition.into()))?,
                    },
                    offset: i64::try_from(r.offset).map_err(|_| wrong("offset", r.offset))?,
                },
                output_topic: topic(r.output_topic)?,
                priority: *usize::try_from(r.priority)
                    .ok()
                    .and_then(|p| Priority::ALL.get(p))
                    .ok_or_else(|| wrong("priority", r.priority.into()))?,
                due_ms: r.due_ms,
                timestamp_ms: r.due_ms.saturating_sub(r.delay_ms),
                id: r.id.map(Arc::from),
                path: match r.path {
                    0 => Path::Direct,
                    1 => Path::Short,
                    2 => Path::Long,
                    other => return Err(wrong("path", other.into())),
                },
                record: Record {
                    key: r.key,
                    value: r.value,
                    headers: r
                        .headers
                        .into_iter()
                        .map(header)
                        .collect::<Result<_, _>>()?,
                },
                payload: r.payload.map(reference).transpose()?,
                limit: r.limit.map(Arc::from),
            })
        };
        self.records.into_iter().map(item).collect()
    }
}
