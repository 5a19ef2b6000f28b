//! [`RecordSink`]: every record is answered once, where it stands. Each check takes a Kafka.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use delayq_core::error::{ErrorClass, PortError};
use delayq_core::ports::{Acknowledge, Published, RecordSink};
use delayq_core::record::{Header, Incoming, Outgoing, Record};
use tokio::sync::mpsc;
use tokio::time::sleep;

use crate::kafka::Kafka;
use crate::within;

/// Keys with their murmur2 hash, from `UtilsTest.testMurmur2` in Kafka's own tests.
const JAVA_HASHES: [(&str, i32); 6] = [
    ("21", -973_932_308),
    ("foobar", -790_332_482),
    ("a-little-bit-long-string", -985_981_536),
    ("a-little-bit-longer-string", -1_486_304_829),
    (
        "lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8",
        -58_897_971,
    ),
    ("abc", 479_470_107),
];

fn record(key: Option<&str>, value: impl Into<String>) -> Record {
    Record {
        key: key.map(|key| Bytes::from(key.to_owned())),
        value: Some(Bytes::from(value.into())),
        headers: Vec::new(),
    }
}

fn outgoing(topic: &Arc<str>, record: Record) -> Outgoing {
    Outgoing::standard(topic.clone(), record)
}

/// Publishes all, in order, and answers with the broker's word on each once every one is known.
async fn publish(sink: &dyn RecordSink, records: &[Outgoing]) -> Vec<Result<Published, PortError>> {
    let (answers, mut answered) = mpsc::unbounded_channel();
    for (index, record) in records.iter().enumerate() {
        let answers = answers.clone();
        let mut acknowledge: Acknowledge = Box::new(move |outcome| {
            answers.send((index, outcome)).expect("somebody waits");
        });
        while let Err(full) = sink.publish(record, acknowledge) {
            acknowledge = full;
            sleep(Duration::from_millis(1)).await;
        }
    }
    drop(answers);
    let mut outcomes: Vec<_> = std::iter::repeat_n(None, records.len()).collect();
    within(60, "all records answered", async {
        while let Some((index, outcome)) = answered.recv().await {
            let before = outcomes[index].replace(outcome);
            assert_eq!(before, None, "record {index} is answered twice");
        }
    })
    .await;
    let answered = |(index, outcome): (usize, Option<_>)| {
        outcome.unwrap_or_else(|| panic!("record {index}: its callback was dropped"))
    };
    outcomes.into_iter().enumerate().map(answered).collect()
}

fn at<'a>(stored: &'a [Incoming], place: &Published) -> &'a Record {
    let there = stored
        .iter()
        .find(|r| r.source.at.partition == place.partition && r.source.offset == place.offset);
    &there.expect("a record stands where the broker said").record
}

/// Each record stands where the acknowledgement says, and nothing else does.
pub async fn an_acknowledgement_says_where(kafka: &dyn Kafka) {
    let topic = kafka.topic(3).await;
    let keys = ["a", "b", "c", "d"];
    let records: Vec<_> = (0..1000)
        .map(|n| {
            let key = keys.get(n % 5).copied();
            outgoing(&topic, record(key, format!("value {n}")))
        })
        .collect();
    let sink = kafka.sink();
    let outcomes = publish(&*sink, &records).await;
    let stored = kafka.read(&topic).await;
    assert_eq!(stored.len(), records.len());
    let mut places = BTreeSet::new();
    for (record, outcome) in records.iter().zip(outcomes) {
        let place = outcome.unwrap();
        assert!(places.insert((place.partition, place.offset)), "{place:?}");
        assert_eq!(*at(&stored, &place), record.record);
    }
    assert_eq!(sink.health(), Ok(()));
}

/// Keyed records go where Kafka's Java producer puts them, so that a consumer's order by key holds.
pub async fn keys_choose_the_partition_as_in_java(kafka: &dyn Kafka) {
    for partitions in [6_u32, 7] {
        let topic = kafka.topic(partitions).await;
        let keyed = |(key, _)| outgoing(&topic, record(Some(key), "v"));
        let records = JAVA_HASHES.map(keyed);
        let outcomes = publish(&*kafka.sink(), &records).await;
        for ((key, hash), outcome) in JAVA_HASHES.iter().zip(outcomes) {
            let positive = i64::from(*hash) & 0x7fff_ffff;
            let expected = positive % i64::from(partitions);
            let place = outcome.unwrap();
            assert_eq!(
                i64::from(place.partition),
                expected,
                "{key} of {partitions}"
            );
        }
    }
}

/// Records with the same key keep their order.
pub async fn a_key_keeps_its_order(kafka: &dyn Kafka) {
    let topic = kafka.topic(4).await;
    let records: Vec<_> = (0..500)
        .map(|n| outgoing(&topic, record(Some("same"), n.to_string())))
        .collect();
    let outcomes = publish(&*kafka.sink(), &records).await;
    let offsets: Vec<_> = outcomes.into_iter().map(|o| o.unwrap().offset).collect();
    assert_eq!(offsets, (0..500).collect::<Vec<_>>());
}

/// Null and empty are different things, headers keep order and copies, bytes are bytes.
pub async fn records_are_written_exactly(kafka: &dyn Kafka) {
    let topic = kafka.topic(2).await;
    let records: Vec<_> = odd_records()
        .into_iter()
        .map(|record| outgoing(&topic, record))
        .collect();
    let outcomes = publish(&*kafka.sink(), &records).await;
    let stored = kafka.read(&topic).await;
    for (record, outcome) in records.iter().zip(outcomes) {
        assert_eq!(*at(&stored, &outcome.unwrap()), record.record);
    }
}

/// Records whose parts are easily mixed up.
pub(crate) fn odd_records() -> Vec<Record> {
    let bytes = |b: &'static [u8]| Some(Bytes::from_static(b));
    let all: Vec<u8> = (0..=255).collect();
    let header = |name: &str, value: Option<Bytes>| Header {
        name: name.into(),
        value,
    };
    let keys_and_values = [
        (None, None),
        (None, bytes(b"value")),
        (None, bytes(b"")),
        (bytes(b"key"), None),
        (bytes(b"key"), bytes(b"")),
        (bytes(b""), bytes(b"value")),
        (bytes(b"\xff\x00\xfe"), Some(Bytes::from(all.clone()))),
    ];
    let headers = vec![
        header("null", None),
        header("empty", bytes(b"")),
        header("binary", Some(Bytes::from(all))),
        header("twice", bytes(b"1")),
        header("between", bytes(b"x")),
        header("twice", bytes(b"2")),
        header("twice", None),
        header("ключ", bytes("значение".as_bytes())),
        header("", bytes(b"no name")),
    ];
    let bare = keys_and_values.clone().map(|(key, value)| Record {
        key,
        value,
        headers: Vec::new(),
    });
    let full = keys_and_values.map(|(key, value)| Record {
        key,
        value,
        headers: headers.clone(),
    });
    bare.into_iter().chain(full).collect()
}

/// A topic that does not exist is the record's fault, and not that of the records around it.
pub async fn an_unknown_topic_is_invalid(kafka: &dyn Kafka) {
    let topic = kafka.topic(1).await;
    let unknown: Arc<str> = format!("{topic}-unknown").into();
    let records = [
        outgoing(&topic, record(None, "before")),
        outgoing(&unknown, record(None, "lost")),
        outgoing(&unknown, record(Some("key"), "lost")),
        outgoing(&topic, record(None, "after")),
    ];
    let sink = kafka.sink();
    let outcomes = publish(&*sink, &records).await;
    let class = |o: &Result<_, PortError>| o.as_ref().err().map(|e| e.class);
    let classes: Vec<_> = outcomes.iter().map(class).collect();
    let bad = Some(ErrorClass::Invalid);
    assert_eq!(classes, [None, bad, bad, None], "{outcomes:?}");
    assert_eq!(kafka.read(&topic).await.len(), 2);
    assert_eq!(sink.health(), Ok(()), "the brokers are well");
}

/// A record over the broker's limit is the record's fault; one near the limit is written.
pub async fn a_record_too_large_is_invalid(kafka: &dyn Kafka) {
    let topic = kafka.topic(1).await;
    let sized = |bytes| {
        let record = Record {
            value: Some(incompressible(bytes)),
            ..Record::default()
        };
        outgoing(&topic, record)
    };
    let records = [sized(10), sized(1_100_000), sized(1_040_000), sized(10)];
    let outcomes = publish(&*kafka.sink(), &records).await;
    let class = |o: &Result<_, PortError>| o.as_ref().err().map(|e| e.class);
    let classes: Vec<_> = outcomes.iter().map(class).collect();
    let bad = Some(ErrorClass::Invalid);
    assert_eq!(classes, [None, bad, None, None], "{outcomes:?}");
    assert_eq!(kafka.read(&topic).await.len(), 3);
}

/// Bytes that no compression makes fewer: brokers measure what they are sent. (xorshift, a fixed seed.)
fn incompressible(bytes: usize) -> Bytes {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()
    };
    let words = std::iter::repeat_with(next);
    words.flatten().take(bytes).collect()
}

/// Hands the names of the checks on.
#[macro_export]
macro_rules! record_sink_checks {
    ($run:ident) => {
        $run! { record_sink:
            an_acknowledgement_says_where
            keys_choose_the_partition_as_in_java
            a_key_keeps_its_order
            records_are_written_exactly
            an_unknown_topic_is_invalid
            a_record_too_large_is_invalid
        }
    };
}
