//! From librdkafka's message to the port's record: bytes copied once, into one buffer a record, nothing interpreted.

use std::borrow::Cow;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use bytestring::ByteString;
use delayq_core::record::{Header, Incoming, Record, Source, TopicPartition};
use rdkafka::message::{BorrowedMessage, Message, Timestamp};

use crate::raw_headers;

/// Turns messages into records; holds the topic names so that records share them.
#[derive(Debug, Clone)]
pub(crate) struct Decoder {
    topics: Vec<Arc<str>>,
}

impl Decoder {
    pub(crate) fn new(topics: &[String]) -> Self {
        Self {
            topics: topics.iter().map(|t| Arc::from(t.as_str())).collect(),
        }
    }

    /// The shared name.
    pub(crate) fn topic(&self, name: &str) -> Arc<str> {
        self.topics
            .iter()
            .find(|known| known.as_ref() == name)
            .map_or_else(|| Arc::from(name), Arc::clone)
    }

    pub(crate) fn decode(&self, message: &BorrowedMessage<'_>) -> Incoming {
        let headers = raw_headers::headers(message);
        Incoming {
            source: Source {
                at: TopicPartition {
                    topic: self.topic(message.topic()),
                    partition: message.partition(),
                },
                offset: message.offset(),
            },
            leader_epoch: raw_headers::leader_epoch(message),
            timestamp_ms: timestamp_ms(message.timestamp()),
            record: record(message.key(), message.payload(), headers.list),
            malformed: headers.malformed,
        }
    }
}

/// All parts share one allocation: a copy of each would cost more than all else here, and they live and die together.
fn record(
    key: Option<&[u8]>,
    value: Option<&[u8]>,
    headers: Vec<(Cow<'_, str>, Option<&[u8]>)>,
) -> Record {
    let bytes = |part: Option<&[u8]>| part.map_or(0, <[u8]>::len);
    let in_headers = headers.iter().map(|(name, v)| name.len() + bytes(*v));
    let total = bytes(key) + bytes(value) + in_headers.sum::<usize>();
    let mut buffer = BytesMut::with_capacity(total);
    let mut share = |part: &[u8]| -> Bytes {
        buffer.extend_from_slice(part);
        buffer.split().freeze()
    };
    Record {
        key: key.map(&mut share),
        value: value.map(&mut share),
        headers: headers
            .into_iter()
            .map(|(name, value)| Header {
                // The bytes of a text: checked again, for want of a safe way not to.
                name: ByteString::try_from(share(name.as_bytes())).unwrap_or_default(),
                value: value.map(&mut share),
            })
            .collect(),
    }
}

/// `None` for records without a timestamp, which older producers write as −1.
fn timestamp_ms(timestamp: Timestamp) -> Option<i64> {
    match timestamp {
        Timestamp::NotAvailable => None,
        Timestamp::CreateTime(ms) | Timestamp::LogAppendTime(ms) => (ms >= 0).then_some(ms),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_or_negative_timestamp_is_none() {
        assert_eq!(timestamp_ms(Timestamp::NotAvailable), None);
        assert_eq!(timestamp_ms(Timestamp::CreateTime(-1)), None);
        assert_eq!(timestamp_ms(Timestamp::LogAppendTime(-7)), None);
        assert_eq!(timestamp_ms(Timestamp::CreateTime(0)), Some(0));
        assert_eq!(timestamp_ms(Timestamp::LogAppendTime(5)), Some(5));
    }

    #[test]
    fn parts_are_exact_and_null_is_not_empty() {
        let made = record(
            Some(b"key"),
            None,
            vec![
                ("a".into(), Some(b"")),
                ("b".into(), None),
                ("a".into(), Some(b"value")),
            ],
        );
        assert_eq!(made.key.as_deref(), Some(b"key".as_slice()));
        assert_eq!(made.value, None);
        let values: Vec<_> = made.headers.iter().map(|h| h.value.as_deref()).collect();
        assert_eq!(
            values,
            [Some(b"".as_slice()), None, Some(b"value".as_slice())]
        );
    }

    #[test]
    fn topic_names_are_shared() {
        let decoder = Decoder::new(&["a".to_owned(), "b".to_owned()]);
        assert!(Arc::ptr_eq(&decoder.topic("b"), &decoder.topic("b")));
        assert_eq!(decoder.topic("c").as_ref(), "c");
    }
}
