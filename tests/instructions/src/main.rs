//! What the hot path takes in instructions: a fixed set of records, routed, packed, encoded as a queue message, opened again and
//! made into what is published. Run under callgrind by `tests/instructions/run`, which counts only inside [`hot_path`].
//!
//! Instructions are the same on a busy machine and an idle one, so that CI can hold a number that time would not keep.

use std::collections::BTreeSet;
use std::hint::black_box;

use bytes::Bytes;
use delayq_core::batch;
use delayq_core::headers::HeaderNames;
use delayq_core::outputs::Outputs;
use delayq_core::packer::{Packer, PackingRatio, SizeLimits, encode_within, pack_by_ms};
use delayq_core::record::{
    Header, Incoming, QueueGroup, Record, Scheduled, Source, TopicPartition,
};
use delayq_core::route::{Decision, KnownOutputs, Policy, route};
use globset::{Glob, GlobSetBuilder};

/// As delayq itself: what allocations cost is a part of it.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

const RECORDS: i64 = 20_000;
const NOW_MS: i64 = 1_795_600_000_000;
const PRIORITIES: [&str; 3] = ["high", "standard", "low"];

fn main() {
    let policy = policy();
    let records = records();
    let published = hot_path(records, &policy);
    // Nothing is lost on the way, or the count would be of something else.
    assert_eq!(published, usize::try_from(RECORDS).unwrap_or(0));
}

/// What is counted. Not inlined: callgrind knows it by its name.
#[inline(never)]
fn hot_path(records: Vec<Incoming>, policy: &Policy) -> usize {
    let mut packer: Packer<QueueGroup, ()> = Packer::new(1 << 20, 5_000);
    let ratio = PackingRatio::default();
    let limits = SizeLimits {
        wanted_bytes: 192 * 1024,
        largest_bytes: 768 * 1024,
        memory_bytes: 1 << 20,
        zstd_level: 1,
    };
    let outputs = Outputs::of(policy);
    let mut published = 0;
    let mut send = |items: Vec<(Scheduled, ())>| {
        let (batches, _) = encode_within(items, limits, &ratio);
        for batch in batches {
            let text = batch::to_text(&batch.bytes);
            for record in batch::from_text(&text).unwrap_or_default() {
                if outputs.check(&record, NOW_MS).is_ok() {
                    black_box(record.to_output());
                    published += 1;
                }
            }
        }
    };
    for incoming in records {
        if let Decision::Schedule(record) = route(incoming, NOW_MS, policy) {
            let by_ms = pack_by_ms(record.due_ms, NOW_MS, 3_000, 60_000);
            let key = record.queue_group();
            if let Some(full) = packer.push(key, *record, (), by_ms) {
                send(full.items);
            }
        }
    }
    while let Some(group) = packer.take_oldest() {
        send(group.items);
    }
    published
}

fn records() -> Vec<Incoming> {
    let at = TopicPartition::new("orders.delay", 0);
    let record = |n: i64| {
        let due_ms = NOW_MS + 5_000 + n * 7_919 % 55_000;
        let priority = PRIORITIES.get(usize::try_from(n % 3).unwrap_or(0));
        Incoming {
            source: Source {
                at: at.clone(),
                offset: n,
            },
            leader_epoch: Some(1),
            timestamp_ms: Some(NOW_MS),
            record: Record {
                key: Some(Bytes::from(n.to_string())),
                value: Some(value(n)),
                headers: vec![
                    Header::text("deliver-at-ms", due_ms.to_string()),
                    Header::text("delay-target", "orders"),
                    Header::text("delay-priority", *priority.unwrap_or(&"standard")),
                    Header::text("trace", format!("00-{n:032x}-01")),
                ],
            },
            malformed: None,
        }
    };
    (0..RECORDS).map(record).collect()
}

/// An order of 1 KiB whose numbers differ from record to record.
fn value(n: i64) -> Bytes {
    let mut text = format!(r#"{{"order":"ord-{n:010}","items":["#);
    let mut seed = n.cast_unsigned().wrapping_add(1);
    while text.len() < 960 {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        let (sku, cents) = (seed >> 16, seed >> 48);
        text.push_str(&format!(
            r#"{{"sku":"{sku:012x}","quantity":1,"price":{{"cents":{cents},"currency":"EUR"}}}},"#
        ));
    }
    text.push_str("null]}");
    Bytes::from(text)
}

#[allow(clippy::expect_used, reason = "patterns that are written here")]
fn policy() -> Policy {
    let mut allowed = GlobSetBuilder::new();
    allowed.add(Glob::new("orders*").expect("a glob"));
    Policy {
        names: HeaderNames::default(),
        allowed: allowed.build().expect("globs"),
        allowed_patterns: vec!["orders*".to_owned()],
        default_target: None,
        routes: Vec::new(),
        message_type_header: "message-type".to_owned(),
        own_topics: BTreeSet::new(),
        canary_topic: None,
        output_template: "{target}.{priority}".to_owned(),
        known_outputs: KnownOutputs::default(),
        max_delay_ms: 604_800_000,
        direct_ms: 2_000,
        short_ms: 900_000,
        max_timestamp_skew_ms: 60_000,
        message_max_bytes: 1_114_112,
        bucket_ms: 300_000,
        long_room_ms: 840_000,
    }
}
