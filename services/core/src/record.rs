//! A record as it travels: bytes exactly as the producer wrote them, plus what was decided about it.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use bytestring::ByteString;

use crate::clock::EpochMs;
use crate::payload::PayloadRef;
use crate::priority::Priority;

/// One Kafka header. Order, duplicates and null values are kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Header {
    /// Header name. Cheap to clone.
    pub name: ByteString,
    /// Header value; `None` is Kafka's null, which is not the same as empty.
    pub value: Option<Bytes>,
}

impl Header {
    /// A header with a text value.
    #[must_use]
    pub fn text(name: impl Into<ByteString>, value: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            value: Some(Bytes::from(value.into())),
        }
    }

    /// Bytes this header takes in Kafka's record format, rounded up (two varint lengths of at most 5 bytes).
    #[must_use]
    pub fn wire_bytes(&self) -> usize {
        self.name.len() + self.value.as_ref().map_or(0, Bytes::len) + 10
    }
}

/// Key, value and headers.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Record {
    /// `None` is Kafka's null key.
    pub key: Option<Bytes>,
    /// `None` is Kafka's null value (a tombstone).
    pub value: Option<Bytes>,
    /// Headers in order.
    pub headers: Vec<Header>,
}

impl Record {
    /// Bytes of key, value and headers, about as they are in Kafka.
    #[must_use]
    pub fn payload_bytes(&self) -> usize {
        self.key.as_ref().map_or(0, Bytes::len)
            + self.value.as_ref().map_or(0, Bytes::len)
            + self.headers.iter().map(Header::wire_bytes).sum::<usize>()
    }

    /// What it takes in memory: many small headers take far more than their bytes.
    #[must_use]
    pub fn memory_bytes(&self) -> usize {
        self.payload_bytes() + self.headers.len() * HEADER_OVERHEAD_BYTES
    }

    /// The value of the first header of that name, if it is UTF-8 text.
    #[must_use]
    pub fn header_text(&self, name: &str) -> Option<&str> {
        let header = self.headers.iter().find(|h| h.name == name)?;
        std::str::from_utf8(header.value.as_ref()?).ok()
    }
}

/// A partition of a topic.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TopicPartition {
    /// Topic name.
    pub topic: Arc<str>,
    /// Partition number.
    pub partition: i32,
}

impl TopicPartition {
    /// A partition of `topic`.
    pub fn new(topic: impl Into<Arc<str>>, partition: i32) -> Self {
        Self {
            topic: topic.into(),
            partition,
        }
    }
}

impl fmt::Display for TopicPartition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.topic, self.partition)
    }
}

/// Where a record was first written: the identity by which a consumer recognises a duplicate.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Source {
    /// Partition of the delay topic.
    pub at: TopicPartition,
    /// Offset in that partition.
    pub offset: i64,
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.at, self.offset)
    }
}

impl FromStr for Source {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        const SHAPE: &str = "a source reads topic/partition/offset";
        let mut parts = text.rsplitn(3, '/');
        let offset = parts.next().and_then(|o| o.parse().ok()).ok_or(SHAPE)?;
        let partition = parts.next().and_then(|p| p.parse().ok()).ok_or(SHAPE)?;
        let topic = parts.next().filter(|t| !t.is_empty()).ok_or(SHAPE)?;
        Ok(Self {
            at: TopicPartition::new(topic, partition),
            offset,
        })
    }
}

/// Which way a record went. The value of `delayed-path`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Path {
    /// Held in a timer by the router.
    Direct,
    /// Through SQS.
    Short,
    /// Through the long tier, then SQS.
    Long,
}

impl Path {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Direct, Self::Short, Self::Long];

    /// Place in [`Path::ALL`], and how batches write it.
    #[must_use]
    pub const fn index(self) -> usize {
        match self {
            Self::Direct => 0,
            Self::Short => 1,
            Self::Long => 2,
        }
    }

    /// The name used in headers and metrics.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Direct => "direct",
            Self::Short => "short",
            Self::Long => "long",
        }
    }
}

impl fmt::Display for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A record of a delay topic as the broker delivered it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Incoming {
    /// Where it stands.
    pub source: Source,
    /// Epoch of the partition leader that appended it; `None` where the broker does not say.
    pub leader_epoch: Option<i32>,
    /// Kafka's timestamp; `None` for records without one.
    pub timestamp_ms: Option<EpochMs>,
    /// Key, value and all headers, controls included.
    pub record: Record,
    /// A reason why the record cannot be represented faithfully (a header name that is not UTF-8).
    pub malformed: Option<String>,
}

/// A record with a due time: what batches carry and timers hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Scheduled {
    /// Identity.
    pub source: Source,
    /// Output topic, priority suffix included.
    pub output_topic: Arc<str>,
    /// Priority.
    pub priority: Priority,
    /// Never published before this.
    pub due_ms: EpochMs,
    /// Timestamp of the record in the delay topic.
    pub timestamp_ms: EpochMs,
    /// `delay-id`, if given.
    pub id: Option<Arc<str>>,
    /// Which way it went.
    pub path: Path,
    /// Key, value and headers without the control headers; empty while only `payload` says where they are.
    pub record: Record,
    /// Where the payload store keeps `record`, for one that is too large for a batch.
    pub payload: Option<PayloadRef>,
    /// The route whose rate limit holds for it, if one does.
    pub limit: Option<Arc<str>>,
}

/// A scheduled record, alone or with its owner's ticket.
pub trait AsScheduled {
    /// The record.
    fn as_scheduled(&self) -> &Scheduled;
}

impl AsScheduled for Scheduled {
    fn as_scheduled(&self) -> &Scheduled {
        self
    }
}

impl<T> AsScheduled for (Scheduled, T) {
    fn as_scheduled(&self) -> &Scheduled {
        &self.0
    }
}

/// What the records of a queue message share.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct QueueGroup {
    /// Priority: each has a queue of its own.
    pub priority: Priority,
    /// Second in which they are due, since the Unix epoch.
    pub due_s: i64,
    /// A route with a rate limit has messages of its own: they may have to wait without holding up others.
    pub limit: Option<Arc<str>>,
}

/// Fixed cost in memory of one scheduled record besides its payload, measured by `size_of` and rounded up.
pub const SCHEDULED_OVERHEAD_BYTES: usize = 256;

/// Fixed cost in memory of a header besides its bytes: `size_of`, and one allocation each for name and value.
const HEADER_OVERHEAD_BYTES: usize = 96;

impl Scheduled {
    /// What this record counts against a memory budget.
    #[must_use]
    pub fn memory_bytes(&self) -> usize {
        let stored_bytes = self.payload.as_ref().map_or(0, |p| p.record_bytes as usize);
        self.record.memory_bytes().max(stored_bytes) + SCHEDULED_OVERHEAD_BYTES
    }

    /// The records that it may share a queue message with.
    #[must_use]
    pub fn queue_group(&self) -> QueueGroup {
        QueueGroup {
            priority: self.priority,
            due_s: self.due_ms.div_euclid(1000),
            limit: self.limit.clone(),
        }
    }

    /// The record as it is published: the original plus the `delayed-…` headers.
    #[must_use]
    pub fn to_output(&self) -> Outgoing {
        let mut headers = Vec::with_capacity(self.record.headers.len() + 5);
        headers.extend(self.record.headers.iter().cloned());
        // All texts share one allocation.
        let mut text = BytesMut::with_capacity(ADDED_TEXT_BYTES + self.source.at.topic.len());
        let (mut number, mut offset) = (itoa::Buffer::new(), itoa::Buffer::new());
        let mut added = |name: &'static str, parts: &[&str]| {
            parts
                .iter()
                .for_each(|part| text.extend_from_slice(part.as_bytes()));
            headers.push(Header {
                name: ByteString::from_static(name),
                value: Some(text.split().freeze()),
            });
        };
        let Source { at, offset: place } = &self.source;
        added(crate::headers::OUT_DUE_MS, &[number.format(self.due_ms)]);
        added(crate::headers::OUT_PATH, &[self.path.as_str()]);
        let (partition, place) = (number.format(at.partition), offset.format(*place));
        let source = [&at.topic, "/", partition, "/", place];
        added(crate::headers::OUT_SOURCE, &source);
        if let Some(id) = &self.id {
            added(crate::headers::OUT_ID, &[id]);
        }
        let timestamp_ms = number.format(self.timestamp_ms);
        added(crate::headers::OUT_TIMESTAMP_MS, &[timestamp_ms]);
        Outgoing {
            topic: self.output_topic.clone(),
            priority: self.priority,
            record: Record {
                key: self.record.key.clone(),
                value: self.record.value.clone(),
                headers,
            },
        }
    }
}

/// Room for the values of the added headers but the topic's name and the id: three numbers of up to 20 digits, a
/// partition, a path, slashes.
const ADDED_TEXT_BYTES: usize = 80;

/// A record on its way into Kafka.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outgoing {
    /// Topic.
    pub topic: Arc<str>,
    /// It does not wait for records of another priority.
    pub priority: Priority,
    /// Key, value and headers as they are written.
    pub record: Record,
}

impl Outgoing {
    /// A record of standard priority.
    #[must_use]
    pub const fn standard(topic: Arc<str>, record: Record) -> Self {
        Self {
            topic,
            priority: Priority::Standard,
            record,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn source_round_trips_even_with_slashes_in_front() {
        let source = Source {
            at: TopicPartition::new("orders.delay", 3),
            offset: 77,
        };
        assert_eq!(source.to_string(), "orders.delay/3/77");
        assert_eq!(source.to_string().parse::<Source>(), Ok(source));
        for bad in ["", "a/b", "a/1/x", "/1/2", "1/2"] {
            assert!(bad.parse::<Source>().is_err(), "{bad}");
        }
    }

    #[test]
    fn a_published_source_reads_as_any_other() {
        let one = crate::testing::scheduled(1);
        let published = one.to_output().record;
        let told = published.header_text(crate::headers::OUT_SOURCE);
        assert_eq!(told, Some(one.source.to_string().as_str()));
    }

    #[test]
    fn paths_are_written_as_they_are_named() {
        let paths = [Path::Direct, Path::Short, Path::Long];
        assert_eq!(paths.map(|p| p.to_string()), ["direct", "short", "long"]);
    }

    #[test]
    fn a_record_is_measured_for_kafka_and_for_memory() {
        let header = Header::text("ab", "cde");
        let null = Header {
            name: "ab".into(),
            value: None,
        };
        assert_eq!((header.wire_bytes(), null.wire_bytes()), (15, 12));
        let record = Record {
            key: Some(Bytes::from_static(b"key")),
            value: Some(Bytes::from_static(b"value")),
            headers: vec![header, null],
        };
        assert_eq!(record.payload_bytes(), 3 + 5 + 15 + 12);
        assert_eq!(record.memory_bytes(), 35 + 2 * HEADER_OVERHEAD_BYTES);
        assert_eq!(Record::default().memory_bytes(), 0);
        let one = crate::testing::scheduled(1);
        let expected_bytes = one.record.memory_bytes() + SCHEDULED_OVERHEAD_BYTES;
        assert_eq!(one.memory_bytes(), expected_bytes);
    }

    #[test]
    fn the_memory_overhead_covers_the_struct() {
        assert!(std::mem::size_of::<Scheduled>() <= SCHEDULED_OVERHEAD_BYTES);
        assert!(std::mem::size_of::<Header>() + 2 * 16 <= HEADER_OVERHEAD_BYTES);
    }
}
