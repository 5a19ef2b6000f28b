//! Records as large as the delay topic takes, incompressible, through all paths, exactly as sent; and refusals of that size.

#![allow(clippy::expect_used, reason = "tests fail by panicking")]

use std::time::Duration;

use bytes::Bytes;
use delayq::role::Role;
use delayq_core::record::{Header, Record};
use delayq_e2e::produce::noise;
use delayq_e2e::{Arrived, Deployment, Producer, read_until, stack};
use delayq_kafka::{KafkaAdmin, TopicSpec};

const LIMIT: Duration = Duration::from_secs(120);
/// Kafka's default `max.message.bytes` holds the batch, whose own head takes 61 bytes, and the record's about 100.
const LARGEST: usize = 1_048_588 - 61 - 300;

fn large(target: &str, n: u64, bytes: usize, delay_ms: &str) -> Record {
    Record {
        key: Some(Bytes::from(format!("k{n}"))),
        value: Some(noise(bytes, n)),
        headers: vec![
            Header::text("delay-target", target),
            Header::text("delay-ms", delay_ms),
            Header {
                name: "h".into(),
                value: Some(noise(20, n)),
            },
        ],
    }
}

async fn arrivals(topics: &[String], count: usize) -> Vec<Arrived> {
    let kafka = &stack().await.endpoints().kafka;
    read_until(kafka, topics, LIMIT, |arrived| arrived.len() >= count).await
}

#[tokio::test(flavor = "multi_thread")]
async fn the_largest_records_come_out_as_they_went_in() {
    let deployment = Deployment::new(&[]).await;
    deployment.init(&["a"]).await;
    let replica = deployment.start(&Role::ALL);
    let kafka = &stack().await.endpoints().kafka;
    let producer = Producer::new(kafka, &deployment.config.topics.delay[0]);
    let target = deployment.target("a");
    let mut sent = Vec::new();
    for (path, delay) in [("direct", "0"), ("short", "5000"), ("long", "22000")] {
        // What fits a message, what fits only without a neighbour, what goes as chunks, and the most there can be.
        for bytes in [200_000, 500_000, 900_000, LARGEST] {
            let record = large(&target, sent.len() as u64, bytes, delay);
            producer.send(record.clone()).await;
            sent.push((record, path));
        }
    }
    let arrived = arrivals(&[format!("{target}.standard")], sent.len()).await;
    replica.stop().await;
    assert_eq!(arrived.len(), sent.len());
    for (record, path) in sent {
        let one = arrived
            .iter()
            .find(|one| one.record.key == record.key)
            .expect("it came");
        assert!(
            one.record.value == record.value,
            "{path}: the value differs"
        );
        assert_eq!(one.original_headers(), record.headers[2..]);
        assert_eq!(one.text("delayed-path"), Some(path));
        assert!(
            one.timestamp_ms >= one.number("delayed-due-ms").expect("due"),
            "early"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_large_refusal_reaches_the_dead_letter_topic_whole_or_as_a_reference() {
    for room in [true, false] {
        let deployment = Deployment::new(&[]).await;
        if !room {
            // Somebody made the topic before init did, without room.
            let topic = TopicSpec {
                name: deployment.config.topics.dead_letter.clone(),
                partitions: 1,
                replication: -1,
                config: [("max.message.bytes".to_owned(), "1000000".to_owned())].into(),
            };
            let kafka = delayq::settings::kafka(&deployment.config);
            let admin = KafkaAdmin::new(&kafka).expect("an admin client");
            let made = admin.ensure_topics(&[topic]).await.expect("an answer");
            made.into_iter().for_each(|one| {
                one.expect("created");
            });
        }
        deployment.init(&["a"]).await;
        let replica = deployment.start(&Role::ALL);
        let kafka = &stack().await.endpoints().kafka;
        let producer = Producer::new(kafka, &deployment.config.topics.delay[0]);
        let target = deployment.target("a");
        let refused = large(&target, 1, LARGEST, "5 minutes");
        producer.send(refused.clone()).await;
        // The partition goes on.
        producer.send(large(&target, 2, 10, "0")).await;
        let after = arrivals(&[format!("{target}.standard")], 1).await;
        assert_eq!(after.len(), 1);
        let topic = deployment.config.topics.dead_letter.clone();
        let dead = arrivals(&[topic], 1).await;
        replica.stop().await;
        let letter = dead.first().expect("a dead letter");
        assert_eq!(letter.text("delay-error"), Some("invalid-delay"));
        assert_eq!(letter.record.key, refused.key);
        if room {
            assert!(letter.record.value == refused.value, "whole");
            continue;
        }
        let id = letter.text("delay-error-payload").expect("a reference");
        let chunks = letter
            .number("delay-error-payload-chunks")
            .expect("a number");
        let backends = delayq::app::Backends::aws(&deployment.config)
            .await
            .expect("tiers");
        let chunks = u32::try_from(chunks).expect("a count");
        let stored = backends.payloads.get(id, chunks).await.expect("an answer");
        let whole: Vec<u8> = stored
            .into_iter()
            .flat_map(|c| c.expect("a chunk"))
            .collect();
        let records = delayq_core::batch::decode(&whole).expect("a batch");
        assert!(
            records[0].record.value == refused.value,
            "kept whole in the payload table"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_payload_that_is_gone_is_a_dead_letter_that_says_so() {
    let deployment = Deployment::new(&[]).await;
    deployment.init(&["a"]).await;
    let router = deployment.start(&[Role::Router]);
    let kafka = &stack().await.endpoints().kafka;
    let topic = deployment.config.topics.delay[0].clone();
    let producer = Producer::new(kafka, &topic);
    let target = deployment.target("a");
    producer.send(large(&target, 1, 900_000, "4000")).await;
    delayq_e2e::until_committed(kafka, &deployment.config.kafka.group_id, &topic, LIMIT).await;
    router.stop().await;
    // As an operator might who empties the wrong table: the payloads are another deployment's, which has none.
    let mut emptied = deployment.config.clone();
    emptied.aws.prefix = format!("{}x", emptied.aws.prefix);
    delayq::app::init(&emptied, &[]).await.expect("init");
    let mut backends = delayq::app::Backends::aws(&deployment.config)
        .await
        .expect("tiers");
    let other = delayq::app::Backends::aws(&emptied).await.expect("tiers");
    backends.payloads = other.payloads;
    let emitter = deployment.start_on(&[Role::Emitter], backends);
    let dead = arrivals(
        std::slice::from_ref(&deployment.config.topics.dead_letter),
        1,
    )
    .await;
    emitter.stop().await;
    let letter = dead.first().expect("a dead letter");
    assert_eq!(letter.text("delay-error"), Some("payload-missing"));
    assert!(
        letter
            .text("delayed-source")
            .is_some_and(|source| source.starts_with(&topic))
    );
}
