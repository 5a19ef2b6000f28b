//! Inputs to begin with: what delayq itself writes, and what is known to be hard.

use bytes::Bytes;
use delayq_core::batch;
use delayq_core::payload::PayloadRef;
use delayq_core::priority::Priority;
use delayq_core::record::{Header, Path, Record, Scheduled, Source, TopicPartition};

const GOLDEN_PLAIN: &[u8] = include_bytes!("../../../services/core/golden/batch_v1_plain.bin");
const GOLDEN_ZSTD: &[u8] = include_bytes!("../../../services/core/golden/batch_v1_zstd.bin");
const GOLDEN_REFERENCES: &[u8] =
    include_bytes!("../../../services/core/golden/batch_v2_references.bin");
const GOLDEN_METADATA: &[u8] =
    include_bytes!("../../../services/core/golden/commit_metadata_v1.txt");

/// Length of a batch before its content.
const HEAD_BYTES: usize = 12;

/// Control headers and what stands in them, hard ones among them.
const HEADERS: [(&str, &[u8]); 30] = [
    ("delay-ms", b"5000"),
    ("delay-ms", b"9223372036854775807"),
    ("delay-ms", b"-1"),
    ("delay-ms", b"+5"),
    ("delay-ms", "\u{665}".as_bytes()),
    ("deliver-at", b"2030-01-01T00:00:00Z"),
    ("deliver-at", b"9999-12-31T23:59:60+14:00"),
    ("deliver-at", b"-262143-01-01T00:00:00Z"),
    ("deliver-at-ms", b"1700000000123"),
    ("deliver-at-ms", b"-9223372036854775808"),
    ("scheduler-epoch", b"9223372036854775"),
    ("scheduler-target-key", b"\0"),
    ("delay-target", b"orders"),
    ("delay-target", b"../orders"),
    ("delay-target", b"__consumer_offsets"),
    ("delay-target", b"d"),
    ("delay-target", b"orders\0.high"),
    ("delay-target", b"orders\r\nx: y"),
    ("delay-target", b"{target}{priority}"),
    ("delay-target", b"_"),
    ("delay-target", "ördërs".as_bytes()),
    ("delay-target", &[b'x'; 250]),
    ("delay-priority", b"high"),
    ("delay-priority", b"9"),
    ("delay-id", b"order-1"),
    ("delay-id", &[b'i'; 255]),
    ("delay-action", b"cancel"),
    ("message-type", b"reminder"),
    ("delayed-source", b"d/0/1"),
    ("Delay-Ms", b"1"),
];

/// Seeds of the target of that name.
#[must_use]
pub fn of(target: &str) -> Vec<Vec<u8>> {
    let batches = || {
        let mut all = vec![
            GOLDEN_PLAIN.to_vec(),
            GOLDEN_ZSTD.to_vec(),
            GOLDEN_REFERENCES.to_vec(),
        ];
        all.extend(hard_records().iter().filter_map(|record| {
            batch::encode(std::slice::from_ref(record), 1)
                .ok()
                .map(Vec::from)
        }));
        all
    };
    match target {
        "route" => records(),
        "message" => batches()
            .iter()
            .map(|b| batch::to_text(b).into_bytes())
            .collect(),
        "batch" => batches(),
        "batch_content" => {
            // What is not compressed is content as it is.
            let plain = batches().into_iter().filter(|b| b.get(3) == Some(&0));
            let mut all: Vec<_> = plain
                .filter_map(|b| Some([&[0], b.get(HEAD_BYTES..)?].concat()))
                .collect();
            all.push([&[1][..], &[0x12, 0].repeat(1 << 12)].concat());
            all.push([&[1][..], &[0x0a, 0].repeat(1 << 12)].concat());
            all
        }
        "commit_metadata" => {
            let at = |committed: i64, text: &[u8]| [&committed.to_le_bytes(), text].concat();
            vec![
                at(1_000, GOLDEN_METADATA.trim_ascii_end()),
                at(10, &[10, 0, 1, 0, 1, 200, 1]),
                at(
                    0,
                    &[
                        0, 1, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f, 1,
                    ],
                ),
                at(i64::MAX, b"q2.AAAA"),
            ]
        }
        "payload" => batches()
            .iter()
            .map(|b| [&[3, 255, 0, 99], &b[..]].concat())
            .collect(),
        _ => Vec::new(),
    }
}

/// Each header alone, and each with the next.
fn records() -> Vec<Vec<u8>> {
    let record = |headers: &[(&str, &[u8])]| {
        // Now, the timestamp, key and value, the offset.
        let mut input = vec![9, 9, 1, 1, b'k', 0, 7, 0, 0, 0, 0, 0, 0, 0];
        for (name, value) in headers {
            for part in [name.as_bytes(), value] {
                if part.as_ptr() == value.as_ptr() {
                    input.push(1);
                }
                input.push(u8::try_from(part.len()).unwrap_or(u8::MAX));
                input.extend(part);
            }
        }
        input
    };
    let alone = HEADERS.iter().map(|header| record(&[*header]));
    let pairs = HEADERS.windows(2).map(record);
    alone.chain(pairs).collect()
}

fn hard_records() -> Vec<Scheduled> {
    let plain = Scheduled {
        source: Source {
            at: TopicPartition::new("d", 0),
            offset: 1,
        },
        output_topic: "orders.high".into(),
        priority: Priority::High,
        due_ms: 1_700_000_000_000,
        timestamp_ms: 1_700_000_000_000,
        id: None,
        path: Path::Long,
        record: Record {
            key: None,
            value: Some(Bytes::from_static(b"v")),
            headers: vec![
                Header::text("h", ""),
                Header {
                    name: "h".into(),
                    value: None,
                },
            ],
        },
        payload: None,
        limit: Some("r".into()),
    };
    let due = [i64::MIN, 0, i64::MAX].map(|due_ms| Scheduled {
        due_ms,
        ..plain.clone()
    });
    let topics = ["__consumer_offsets", "d", "", "..", "or\0ders"].map(|topic| Scheduled {
        output_topic: topic.into(),
        ..plain.clone()
    });
    let payload = PayloadRef {
        id: "x".into(),
        chunks: u32::MAX,
        record_bytes: u32::MAX,
    };
    let reference = Scheduled {
        payload: Some(payload),
        ..plain.clone()
    };
    [plain]
        .into_iter()
        .chain(due)
        .chain(topics)
        .chain([reference])
        .collect()
}
