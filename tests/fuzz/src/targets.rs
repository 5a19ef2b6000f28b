//! What reads input, and what must hold whatever the input is.

use std::sync::LazyLock;

use bytes::Bytes;
use delayq_core::batch::{self, BatchFault};
use delayq_core::commit_metadata;
use delayq_core::delay::{QUEUE_DELAY_MAX_S, delay_seconds};
use delayq_core::headers::{HeaderNames, Refusal};
use delayq_core::outputs::Outputs;
use delayq_core::payload::{PayloadRef, from_chunks};
use delayq_core::priority::Priority;
use delayq_core::record::{Incoming, Path, Record, Scheduled, Source, TopicPartition};
use delayq_core::route::{Decision, KnownOutputs, Policy, is_topic_name, route};
use delayq_core::routes::{Route, RouteMatch};
use globset::{Glob, GlobSetBuilder};

use crate::input::{Input, sealed_batch, sealed_metadata};

const NOW_MS: i64 = 1_700_000_000_000;
/// Every code is explained there.
const DEAD_LETTERS: &str = include_str!("../../../docs/dead-letters.md");

static POLICY: LazyLock<Policy> = LazyLock::new(policy);
static OUTPUTS: LazyLock<Outputs> = LazyLock::new(|| Outputs::of(&POLICY));

/// Patterns that are as wide as an operator can make them: what must not pass has to be held by other rules.
fn policy() -> Policy {
    let mut allowed = GlobSetBuilder::new();
    allowed.add(glob("*"));
    Policy {
        canary_topic: Some("canary".into()),
        names: HeaderNames {
            deliver_at_s: Some("scheduler-epoch".into()),
            target_key: Some("scheduler-target-key".into()),
            ..HeaderNames::default()
        },
        #[allow(clippy::expect_used, reason = "one pattern, a constant")]
        allowed: allowed.build().expect("a set of patterns"),
        allowed_patterns: vec!["*".into()],
        default_target: Some("orders".into()),
        routes: vec![Route {
            name: "r".into(),
            matches: RouteMatch {
                message_type: Some("reminder".into()),
                ..RouteMatch::default()
            },
            standard_delay_ms: Some(i64::MAX),
            spread_ms: 60_000,
            limited: true,
            output_template: Some("r-{target}".into()),
            ..Route::default()
        }],
        message_type_header: "message-type".into(),
        own_topics: ["d".to_owned(), "dead".to_owned()].into(),
        output_template: "{target}.{priority}".into(),
        known_outputs: KnownOutputs::default(),
        max_delay_ms: 604_800_000,
        direct_ms: 2_000,
        short_ms: 900_000,
        max_timestamp_skew_ms: 60_000,
        message_max_bytes: 1_114_112,
        bucket_ms: 300_000,
        long_room_ms: 600_000,
    }
}

#[allow(clippy::expect_used, reason = "patterns are constants")]
fn glob(pattern: &str) -> Glob {
    Glob::new(pattern).expect("a pattern")
}

fn documented(code: &str) {
    assert!(
        DEAD_LETTERS.contains(&format!("`{code}`")),
        "{code} is not in docs/dead-letters.md"
    );
}

/// A record of the delay topic.
pub(crate) fn route_record(data: &[u8]) {
    let mut input = Input(data);
    let now_ms = match input.byte() {
        0 => i64::MIN,
        1 => i64::MAX,
        2 => 0,
        _ => NOW_MS,
    };
    let timestamp_ms = match input.byte() {
        0 => None,
        1 => Some(input.number()),
        _ => Some(NOW_MS),
    };
    let (key, value) = (input.value(), input.value());
    let incoming = Incoming {
        source: Source {
            at: TopicPartition::new("d", 0),
            offset: input.number(),
        },
        leader_epoch: None,
        timestamp_ms,
        record: Record {
            key,
            value,
            headers: input.headers(),
        },
        malformed: None,
    };
    match route(incoming.clone(), now_ms, &POLICY) {
        Decision::Refuse {
            refusal,
            incoming: kept,
        } => {
            documented(refusal.code);
            assert_eq!(*kept, incoming, "a refused record stays as it came");
        }
        Decision::Cancel { id, .. } => assert!(!id.is_empty()),
        Decision::Schedule(record) | Decision::Replace { record, .. } => {
            let topic = record.output_topic.as_ref();
            assert!(
                is_topic_name(topic) && !topic.starts_with("__"),
                "{topic:?}"
            );
            assert!(!["d", "dead"].contains(&topic), "{topic:?}");
            if now_ms == NOW_MS {
                assert_eq!(OUTPUTS.check(&record, now_ms), Ok(()), "{topic:?}");
            }
            for header in &record.record.headers {
                let ours = ["delay-", "deliver-"]
                    .iter()
                    .any(|p| header.name.starts_with(p));
                assert!(!ours, "{:?} is passed on", header.name);
            }
            if record.source.offset >= 0 {
                round_trip(&record);
            }
            usable(&record);
        }
    }
}

/// A message body.
pub(crate) fn message_text(data: &[u8]) {
    if let Ok(text) = std::str::from_utf8(data) {
        judge(batch::from_text(text));
    }
}

/// An item of the table of batches.
pub(crate) fn batch_bytes(data: &[u8]) {
    let by_bytes = batch::decode(data);
    assert_eq!(batch::from_text(&batch::to_text(data)), by_bytes);
    judge(by_bytes);
}

/// The content of a batch, under a right checksum.
pub(crate) fn batch_content(data: &[u8]) {
    let mut input = Input(data);
    let head = input.byte();
    let version = if head & 2 == 0 { 1 } else { 2 };
    judge(batch::decode(&sealed_batch(
        version,
        head & 1 == 1,
        input.0,
    )));
}

fn judge(decoded: Result<Vec<Scheduled>, BatchFault>) {
    match decoded {
        Err(fault) => documented(fault.code()),
        Ok(records) => {
            let total: usize = records.iter().map(Scheduled::memory_bytes).sum();
            assert!(total < 1 << 40);
            for record in &records {
                usable(record);
                round_trip(record);
            }
        }
    }
}

/// What the services do with a record that they have read.
fn usable(record: &Scheduled) {
    drop((record.to_output(), record.queue_group()));
    for now_ms in [i64::MIN, 0, NOW_MS, i64::MAX] {
        assert!(delay_seconds(record.due_ms, now_ms, 1_500) <= QUEUE_DELAY_MAX_S);
        if let Err(Refusal { code, .. }) = OUTPUTS.check(record, now_ms) {
            documented(code);
        } else {
            let topic = record.output_topic.as_ref();
            assert!(
                is_topic_name(topic) && !topic.starts_with("__"),
                "{topic:?}"
            );
        }
        let path = delayq_core::route::path(record.due_ms, now_ms, &POLICY);
        assert!(Path::Long != path || record.due_ms > now_ms);
    }
}

fn round_trip(record: &Scheduled) {
    let mut expected = record.clone();
    if expected.payload.is_some() {
        expected.record = Record::default();
    }
    // The difference of two times travels: what overflows comes back as the nearest that does not.
    let delay_ms = record.due_ms.saturating_sub(record.timestamp_ms);
    expected.timestamp_ms = record.due_ms.saturating_sub(delay_ms);
    match batch::encode(std::slice::from_ref(record), 1) {
        Ok(bytes) => assert_eq!(batch::decode(&bytes), Ok(vec![expected])),
        Err(fault) => assert!(matches!(fault, BatchFault::TooLarge(_)), "{fault}"),
    }
}

/// Commit metadata: the text as it is, and as content under a right checksum.
pub(crate) fn commit_metadata(data: &[u8]) {
    let mut input = Input(data);
    let committed = input.number();
    if let Ok(text) = std::str::from_utf8(input.0) {
        read_metadata(text, committed);
    }
    read_metadata(&sealed_metadata(input.0), committed);
}

fn read_metadata(text: &str, committed: i64) {
    if let Ok(Some(map)) = commit_metadata::decode(text, committed) {
        assert_eq!(map.committed, committed);
        assert!(
            !map.covers(committed.saturating_sub(1), Some(i32::MIN)),
            "before the head"
        );
        let again = commit_metadata::encode(&map);
        let expected = (!map.finished.is_empty()).then_some(map);
        assert_eq!(commit_metadata::decode(&again, committed), Ok(expected));
    }
}

/// Chunks of a large record: the bytes as they are, and as content under a right checksum.
pub(crate) fn payload_chunks(data: &[u8]) {
    let mut input = Input(data);
    let payload = PayloadRef {
        id: "d/0/1-00".into(),
        chunks: u32::from(input.byte()),
        record_bytes: u32::from(input.byte()) << 8,
    };
    let (seal, split) = (input.byte() & 1 == 1, usize::from(input.byte()) + 1);
    let of = Scheduled {
        source: Source {
            at: TopicPartition::new("d", 0),
            offset: 1,
        },
        output_topic: "orders.high".into(),
        priority: Priority::High,
        due_ms: NOW_MS,
        timestamp_ms: NOW_MS,
        id: None,
        path: Path::Long,
        record: Record::default(),
        payload: Some(payload.clone()),
        limit: None,
    };
    let whole = if seal {
        sealed_batch(1, true, input.0)
    } else {
        input.0.to_vec()
    };
    let chunks = whole
        .chunks(split)
        .map(|chunk| (!chunk.starts_with(b"\0\0\0")).then(|| Bytes::copy_from_slice(chunk)))
        .collect();
    if let Err(fault) = from_chunks(&of, &payload, chunks) {
        documented(fault.code());
    }
}
