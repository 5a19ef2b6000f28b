//! Every kind of refusal reaches the dead-letter topic with its reason, and holds up nobody.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use delayq::role::Role;
use delayq::settings;
use delayq_aws::Names;
use delayq_core::batch;
use delayq_core::clock::{Clock as _, SystemClock};
use delayq_core::ports::Lane;
use delayq_core::priority::Priority;
use delayq_core::record::{Header, Path, Record, Scheduled, Source, TopicPartition};
use delayq_e2e::produce::record;
use delayq_e2e::{Deployment, Producer, read_until, stack};

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn every_refusal_has_its_reason_and_blocks_nobody() {
    let kafka = &stack().await.endpoints().kafka;
    let deployment =
        Deployment::new(&["kafka.message_max=200KiB", "packing.message_bytes=64KiB"]).await;
    deployment.init(&["a"]).await;
    let target = deployment.target("a");
    let missing = deployment.target("nobody-made-this-topic");
    let own = format!("{}.delay", deployment.prefix);
    let seconds = "1700000000";
    let cases: Vec<(&str, Vec<(&str, &str)>)> = vec![
        ("missing-target", vec![("delay-ms", "1")]),
        ("target-not-allowed", vec![("delay-target", "payments")]),
        ("target-not-allowed", vec![("delay-target", &own)]),
        (
            "target-not-allowed",
            vec![("delay-target", "__consumer_offsets")],
        ),
        ("invalid-target", vec![("delay-target", "or ders")]),
        (
            "contradictory-due",
            vec![
                ("delay-target", &target),
                ("delay-ms", "1"),
                ("deliver-at", "2030-01-01T00:00:00Z"),
            ],
        ),
        (
            "duplicate-header",
            vec![
                ("delay-target", &target),
                ("delay-ms", "1"),
                ("delay-ms", "1"),
            ],
        ),
        (
            "invalid-delay",
            vec![("delay-target", &target), ("delay-ms", "-5")],
        ),
        (
            "invalid-delay",
            vec![("delay-target", &target), ("delay-ms", "soon")],
        ),
        (
            "invalid-deliver-at",
            vec![("delay-target", &target), ("deliver-at-ms", seconds)],
        ),
        (
            "invalid-deliver-at",
            vec![
                ("delay-target", &target),
                ("deliver-at", "2030-01-01 00:00"),
            ],
        ),
        (
            "invalid-priority",
            vec![("delay-target", &target), ("delay-priority", "urgent")],
        ),
        (
            "invalid-action",
            vec![("delay-target", &target), ("delay-action", "stop")],
        ),
        ("cancel-without-id", vec![("delay-action", "cancel")]),
        (
            "invalid-id",
            vec![("delay-target", &target), ("delay-id", "")],
        ),
        (
            "unknown-header",
            vec![("delay-target", &target), ("delay-mss", "1")],
        ),
        (
            "due-too-far",
            vec![("delay-target", &target), ("delay-ms", "604800001")],
        ),
        (
            "publish-failed",
            vec![("delay-target", &missing), ("delay-ms", "1")],
        ),
    ];
    let mut records: Vec<(&str, Record)> = cases
        .iter()
        .map(|(reason, headers)| (*reason, record(Some("k"), Some("poison"), headers)))
        .collect();
    let null = Header {
        name: "delay-ms".into(),
        value: None,
    };
    records.push((
        "null-header",
        Record {
            headers: vec![Header::text("delay-target", &*target), null],
            ..record(Some("k"), Some("poison"), &[])
        },
    ));
    let binary = Header {
        name: "delay-ms".into(),
        value: Some(Bytes::from_static(&[0xff, 0xfe])),
    };
    records.push((
        "header-not-text",
        Record {
            headers: vec![Header::text("delay-target", &*target), binary],
            ..record(Some("k"), Some("poison"), &[])
        },
    ));
    let large = |bytes: usize| {
        let mut state = 7u32;
        let noise: Bytes = (0..bytes)
            .map(|_| {
                state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                (state >> 24) as u8
            })
            .collect();
        Record {
            value: Some(noise),
            ..record(None, None, &[("delay-target", &target), ("delay-ms", "1")])
        }
    };
    records.push(("record-too-large", large(210 * 1024)));

    let producer = Arc::new(Producer::new(kafka, &own));
    let replica = deployment.start(&Role::ALL);
    let mut expected: HashMap<String, (&str, Record)> = HashMap::new();
    for (reason, record) in records {
        let (partition, offset) = producer.send(record.clone()).await;
        expected.insert(format!("{own}/{partition}/{offset}"), (reason, record));
    }
    for n in 0..100 {
        producer
            .send(record(
                Some(&n.to_string()),
                Some("good"),
                &[("delay-target", &target), ("delay-ms", "50")],
            ))
            .await;
    }
    let good = read_until(
        kafka,
        &[format!("{target}.standard")],
        Duration::from_secs(30),
        |a| a.len() >= 100,
    )
    .await;
    assert_eq!(good.len(), 100, "poison blocks nobody");
    let dead = read_until(
        kafka,
        &[format!("{}.dead", deployment.prefix)],
        Duration::from_secs(60),
        |a| a.len() >= expected.len(),
    )
    .await;
    for letter in &dead {
        let source = letter.text("delayed-source").expect("a source");
        let (reason, record) = expected
            .remove(source)
            .unwrap_or_else(|| panic!("{source} is dead twice, or should not be"));
        assert_eq!(
            letter.text("delay-error"),
            Some(reason),
            "{:?}",
            letter.text("delay-error-detail")
        );
        assert!(
            letter
                .text("delay-error-detail")
                .is_some_and(|detail| detail.len() > 10),
            "a detail for {reason}"
        );
        assert_eq!(
            (&letter.record.key, &letter.record.value),
            (&record.key, &record.value),
            "{reason}: as it was"
        );
    }
    assert!(
        expected.is_empty(),
        "no dead letter for {:?}",
        expected.values().map(|e| e.0).collect::<Vec<_>>()
    );
    replica.stop().await;
}

/// Reasons of the dead letters so far, once there are `count`.
async fn reasons(deployment: &Deployment, count: usize) -> Vec<(String, Record)> {
    let kafka = &stack().await.endpoints().kafka;
    let topics = [format!("{}.dead", deployment.prefix)];
    let dead = read_until(kafka, &topics, Duration::from_secs(60), |a| {
        a.len() >= count
    })
    .await;
    dead.into_iter()
        .map(|d| {
            (
                d.text("delay-error").expect("a reason").to_owned(),
                d.record,
            )
        })
        .collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn messages_that_are_forged_or_given_up_by_the_queue_become_dead_letters() {
    let deployment = Deployment::new(&[]).await;
    deployment.init(&["a"]).await;
    let clients = delayq_aws::connect(&settings::aws(&deployment.config), Arc::new(SystemClock))
        .await
        .expect("clients");
    let names = Names::with_prefix(&deployment.config.aws.prefix);
    let send = async |queue: String, body: String| {
        let url = clients
            .sqs
            .get_queue_url()
            .queue_name(queue)
            .send()
            .await
            .expect("a queue");
        let url = url.queue_url.expect("its address");
        clients
            .sqs
            .send_message()
            .queue_url(url)
            .message_body(body)
            .send()
            .await
            .expect("sent");
    };
    // Not ours at all, damaged on the way, and a good batch that the queue has given up.
    let record = Scheduled {
        source: Source {
            at: TopicPartition::new(format!("{}.delay", deployment.prefix), 0),
            offset: 7,
        },
        output_topic: format!("{}.high", deployment.target("a")).into(),
        priority: Priority::High,
        due_ms: SystemClock.now_ms(),
        timestamp_ms: SystemClock.now_ms(),
        id: None,
        path: Path::Short,
        record: record(Some("k"), Some("given up"), &[("h", "1")]),
        payload: None,
        limit: None,
    };
    let good = batch::encode(std::slice::from_ref(&record), 1).expect("a batch");
    let mut damaged = good.to_vec();
    *damaged.last_mut().expect("a byte") ^= 1;
    send(
        names.queues.lane(Lane::Main(Priority::Low)),
        "forged!".into(),
    )
    .await;
    send(
        names.queues.lane(Lane::Main(Priority::Low)),
        batch::to_text(&damaged),
    )
    .await;
    send(
        names.queues.lane(Lane::DeadLetter(Priority::High)),
        batch::to_text(&good),
    )
    .await;
    // Readable, with a right checksum, and by somebody who may write to the queue but not to these topics.
    let forged = |topic: &str, due_ms: i64| {
        let mut forged = record.clone();
        forged.source.offset = 8;
        forged.output_topic = topic.into();
        forged.due_ms = due_ms;
        batch::to_text(&batch::encode(&[forged], 1).expect("a batch"))
    };
    let (now_ms, output) = (SystemClock.now_ms(), record.output_topic.clone());
    let delay_topic = record.source.at.topic.clone();
    for (topic, due_ms) in [
        ("__consumer_offsets", now_ms),
        (&delay_topic, now_ms),
        ("payments.high", i64::MAX),
        ("or\0ders", i64::MIN),
        (&output, i64::MAX),
    ] {
        let queue = names.queues.lane(Lane::Main(Priority::High));
        send(queue, forged(topic, due_ms)).await;
    }
    // A later version, and 8 million empty records in 2 KB.
    send(
        names.queues.lane(Lane::Main(Priority::Standard)),
        sealed(9, 0, &[], 0),
    )
    .await;
    let plain = [0x12, 0].repeat(8 << 20);
    let bomb = zstd::bulk::compress(&plain, 1).expect("compressed");
    let queue = names.queues.lane(Lane::Main(Priority::Standard));
    send(queue, sealed(1, 1, &bomb, plain.len())).await;
    let replica = deployment.start(&[Role::Emitter]);
    let mut dead = reasons(&deployment, 10).await;
    dead.sort_by(|a, b| a.0.cmp(&b.0));
    let codes: Vec<_> = dead.iter().map(|d| d.0.clone()).collect();
    let forged_codes = [
        "batch-content",
        "batch-future-version",
        "output-not-allowed",
        "output-not-allowed",
        "output-not-allowed",
        "output-not-allowed",
        "output-too-far",
    ];
    dead.retain(|d| !forged_codes.contains(&d.0.as_str()));
    let mut expected = vec!["batch-checksum", "batch-not-base64", "redelivery-exhausted"];
    expected.extend(forged_codes);
    expected.sort_unstable();
    assert_eq!(codes, expected);
    assert_eq!(
        dead[0].1.value.as_deref(),
        Some(batch::to_text(&damaged).as_bytes()),
        "the body, to be looked into"
    );
    assert_eq!(dead[1].1.value.as_deref(), Some(b"forged!".as_slice()));
    assert_eq!(dead[2].1.value, record.record.value);
    assert_eq!(
        dead[2].1.header_text("delayed-source"),
        Some(record.source.to_string().as_str())
    );
    assert_eq!(dead[2].1.header_text("h"), Some("1"));
    replica.stop().await;
}

/// A message body with a right checksum, as only delayq should write it.
fn sealed(version: u8, compression: u8, payload: &[u8], plain_bytes: usize) -> String {
    let mut bytes = b"DQ".to_vec();
    bytes.extend([version, compression]);
    bytes.extend(u32::try_from(plain_bytes).expect("small").to_le_bytes());
    let crc = crc32c::crc32c_append(crc32c::crc32c(&bytes), payload);
    bytes.extend(crc.to_le_bytes());
    bytes.extend(payload);
    batch::to_text(&bytes)
}
