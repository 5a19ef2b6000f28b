//! `send`: one record, looked at before, and told where it went.

use std::time::Duration;

use chrono::DateTime;
use rdkafka::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::message::{Headers as _, Message as _, OwnedMessage};
use rdkafka::{Offset, TopicPartitionList};

use crate::support::{Installation, endpoints};

/// The record at this place of the delay topic.
async fn read(topic: &str, partition: i32, offset: i64) -> OwnedMessage {
    let servers = endpoints().await.kafka.clone();
    let topic = topic.to_owned();
    let read = tokio::task::spawn_blocking(move || {
        let consumer: BaseConsumer = ClientConfig::new()
            .set("bootstrap.servers", servers)
            .set("group.id", "reader")
            .create()
            .expect("a consumer");
        let mut at = TopicPartitionList::new();
        at.add_partition_offset(&topic, partition, Offset::Offset(offset))
            .expect("an offset");
        consumer.assign(&at).expect("assigned");
        let message = consumer.poll(Duration::from_secs(30)).expect("a record");
        message.expect("no error").detach()
    });
    read.await.expect("read")
}

fn header(message: &OwnedMessage, name: &str) -> Option<String> {
    let found = message.headers()?.iter().find(|header| header.key == name);
    Some(String::from_utf8(found?.value?.to_vec()).expect("text"))
}

/// Partition, offset and due time of `topic/partition/offset, due …, will appear in …`.
fn parse(line: &str, topic: &str) -> (i32, i64, i64) {
    let (source, rest) = line.split_once(", due ").expect(line);
    let (due, _) = rest.split_once(", will appear in ").expect(line);
    let mut place = source.strip_prefix(topic).expect(line).split('/').skip(1);
    let mut number = || place.next().expect(line);
    let (partition, offset) = (number().parse(), number().parse());
    let due = DateTime::parse_from_rfc3339(due).expect(line);
    (
        partition.expect(line),
        offset.expect(line),
        due.timestamp_millis(),
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn a_record_arrives_as_told_and_due_when_told() {
    let own = Installation::new().await;
    own.init().await;
    let (topic, target) = (own.delay_topic(), own.target());
    let args = [
        "send",
        "--target",
        &target,
        "--delay",
        "5s",
        "--priority",
        "high",
        "--key",
        "k-1",
        "--header",
        "trace=a=b",
        "--id",
        "o-1",
    ];
    let sent = own.run_with(&args, b"{\"order\":1}").await;
    assert_eq!(sent.code, Some(0), "{sent:#?}");
    let line = sent.line(&[&format!("will appear in {target}.high")]);
    let (partition, offset, due_ms) = parse(line, &topic);
    let record = read(&topic, partition, offset).await;
    assert_eq!(record.payload(), Some(b"{\"order\":1}".as_slice()));
    assert_eq!(record.key(), Some(b"k-1".as_slice()));
    for (name, value) in [
        ("delay-target", target.as_str()),
        ("delay-ms", "5000"),
        ("delay-priority", "high"),
        ("delay-id", "o-1"),
        ("trace", "a=b"),
    ] {
        assert_eq!(header(&record, name).as_deref(), Some(value), "{name}");
    }
    // By the broker's own clock, to the millisecond.
    assert_eq!(record.timestamp().to_millis(), Some(due_ms - 5_000));

    let file = tempfile::NamedTempFile::new().expect("a file");
    std::fs::write(file.path(), [0, 159, 146, 150]).expect("written");
    let path = file.path().to_str().expect("a path");
    let at = "2001-09-09T03:46:40.123+02:00";
    let sent = own
        .run(&["send", "--target", &target, "--at", at, "--file", path])
        .await;
    assert_eq!(sent.code, Some(0), "{sent:#?}");
    let line = sent.line(&[&format!("will appear in {target}.standard")]);
    let (partition, offset, due_ms) = parse(line, &topic);
    assert_eq!(due_ms, 1_000_000_000_123);
    let record = read(&topic, partition, offset).await;
    assert_eq!(record.payload(), Some([0, 159, 146, 150].as_slice()));
    assert_eq!(header(&record, "deliver-at").as_deref(), Some(at));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_would_be_refused_is_not_sent_unless_forced() {
    let mut own = Installation::new().await;
    own.init().await;
    let target = own.target();
    let send = ["send", "--target", &target, "--value", "x"];
    for (args, part) in [
        (&["--header", "delay-mss=5"][..], "did you mean delay-ms?"),
        (&["--priority", "urgent"], "invalid-priority"),
        (&["--at", "tomorrow"], "RFC 3339"),
        (&["--at-ms", "1700000000"], "not seconds"),
        (&["--delay", "400d"], "due-too-far"),
        (
            &["--delay", "1s", "--header", "deliver-at-ms=1700000000000"],
            "contradictory-due",
        ),
    ] {
        let ran = own.run(&[&send[..], args].concat()).await;
        assert_eq!(ran.code, Some(2), "{ran:#?}");
        assert!(
            ran.err.contains(part) && ran.err.contains("--force"),
            "{ran:#?}"
        );
        assert_eq!(ran.out, "");
    }
    let elsewhere = own
        .run(&["send", "--target", "billing", "--value", "x"])
        .await;
    assert!(
        elsewhere.err.contains("target-not-allowed"),
        "{elsewhere:#?}"
    );

    let forced = own
        .run(&[&send[..], &["--header", "delay-mss=5", "--force"]].concat())
        .await;
    assert_eq!(forced.code, Some(0), "{forced:#?}");
    // The first record of all: nothing else was written.
    forced.line(&[
        "/0, will be refused (unknown-header",
        &format!("{}.dead", own.prefix),
    ]);

    let unknown = own.run(&[&send[..], &["--topic", "x"]].concat()).await;
    assert_eq!(unknown.code, Some(1), "{unknown:#?}");
    assert!(unknown.err.contains("x is no delay topic"), "{unknown:#?}");
    let missing = format!("{}.missing", own.prefix);
    own.set(format!("topics.delay={missing}"));
    let ran = own.run(&send).await;
    assert_eq!(ran.code, Some(1), "{ran:#?}");
    for part in [missing.as_str(), "does not exist", "delayq init"] {
        assert!(ran.err.contains(part), "{ran:#?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_configured_header_names_are_used() {
    let mut own = Installation::new().await;
    own.init().await;
    own.set("headers.delay_ms=wait".to_owned());
    let (topic, target) = (own.delay_topic(), own.target());
    let sent = own
        .run(&["send", "--target", &target, "--delay", "1m", "--value", ""])
        .await;
    assert_eq!(sent.code, Some(0), "{sent:#?}");
    let (partition, offset, _) = parse(sent.line(&["will appear"]), &topic);
    let record = read(&topic, partition, offset).await;
    assert_eq!(header(&record, "wait").as_deref(), Some("60000"));
    assert_eq!(record.payload(), Some(b"".as_slice()), "empty, not null");
}
