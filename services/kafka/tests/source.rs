//! The source over librdkafka's mock cluster. The first join of a group takes 3 s there.
#![allow(
    unsafe_code,
    reason = "a header name that is not UTF-8 can only be produced through librdkafka itself"
)]

mod support;

use std::collections::HashSet;
use std::ffi::CString;
use std::time::Duration;

use bytes::Bytes;
use delayq_core::error::ErrorClass;
use delayq_core::ports::{Commit, RecordSource, SourceEvent};
use delayq_core::record::{Header, Outgoing, Record, TopicPartition};
use delayq_kafka::{KafkaSettings, KafkaSource};
use rdkafka::bindings as rd;
use rdkafka::producer::{BaseProducer, Producer};
use support::{Reader, cluster, kafka, publish, publish_all, sink, source, source_settings};

#[tokio::test(flavor = "multi_thread")]
async fn records_come_back_byte_for_byte() {
    let cluster = cluster(&[("t", 1)]);
    let sink = sink(&cluster);
    let odd = Record {
        key: Some(Bytes::from_static(&[0, 255, 0])),
        value: Some(Bytes::new()),
        headers: vec![
            Header {
                name: "null".into(),
                value: None,
            },
            Header {
                name: "empty".into(),
                value: Some(Bytes::new()),
            },
            Header::text("twice", "first"),
            Header {
                name: "binary".into(),
                value: Some(Bytes::from_static(&[0, 159, 146, 150])),
            },
            Header::text("twice", "second"),
            Header::text("", "no name"),
            Header::text("größe", "✓"),
        ],
    };
    let nothing = Record::default();
    let empty_key = Record {
        key: Some(Bytes::new()),
        ..Record::default()
    };
    for record in [&odd, &nothing, &empty_key] {
        let out = Outgoing::standard("t".into(), record.clone());
        publish(&sink, &out).await.expect("published");
    }
    let mut reader = Reader::new(source(&cluster, &["t"]));
    reader.until(|r| r.records.len() == 3).await;
    let records: Vec<&Record> = reader.records.iter().map(|r| &r.record).collect();
    assert_eq!(records, [&odd, &nothing, &empty_key]);
    for (offset, record) in (0..).zip(&reader.records) {
        assert_eq!(record.source.offset, offset);
        assert_eq!(record.source.at, TopicPartition::new("t", 0));
        assert!(record.timestamp_ms.is_some_and(|ms| ms > 1_700_000_000_000));
        assert_eq!(record.malformed, None);
    }
    reader.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_header_name_that_is_not_utf8_is_reported_and_blocks_nothing() {
    let cluster = cluster(&[("t", 1)]);
    produce_with_header_name(&cluster.bootstrap_servers(), b"bad\xff\xfename");
    publish_all(&sink(&cluster), "t", 7..8).await;
    let mut reader = Reader::new(source(&cluster, &["t"]));
    reader.until(|r| r.records.len() == 2).await;
    let bad = &reader.records[0];
    assert!(
        bad.malformed
            .as_deref()
            .is_some_and(|reason| reason.contains("UTF-8")),
        "{bad:?}"
    );
    assert_eq!(
        bad.record.headers,
        [Header::text("bad\u{fffd}\u{fffd}name", "v")]
    );
    assert_eq!(bad.record.value.as_deref(), Some(b"poison".as_slice()));
    assert_eq!(reader.records[1].malformed, None);
    reader.close().await;
}

#[allow(clippy::expect_used, reason = "a helper of a test fails by panicking")]
fn produce_with_header_name(bootstrap_servers: &str, name: &[u8]) {
    let producer: BaseProducer = rdkafka::ClientConfig::new()
        .set("bootstrap.servers", bootstrap_servers)
        .create()
        .expect("producer");
    let topic = CString::new("t").expect("no NUL");
    let value = b"poison";
    // SAFETY: all pointers outlive the call, which copies (F_COPY) and takes over the headers.
    let code = unsafe {
        let headers = rd::rd_kafka_headers_new(1);
        let added = rd::rd_kafka_header_add(
            headers,
            name.as_ptr().cast(),
            name.len() as isize,
            b"v".as_ptr().cast(),
            1,
        );
        assert_eq!(added, rd::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR);
        rd::rd_kafka_producev(
            producer.client().native_ptr(),
            rd::rd_kafka_vtype_t::RD_KAFKA_VTYPE_TOPIC,
            topic.as_ptr(),
            rd::rd_kafka_vtype_t::RD_KAFKA_VTYPE_MSGFLAGS,
            rd::RD_KAFKA_MSG_F_COPY,
            rd::rd_kafka_vtype_t::RD_KAFKA_VTYPE_VALUE,
            value.as_ptr(),
            value.len(),
            rd::rd_kafka_vtype_t::RD_KAFKA_VTYPE_HEADERS,
            headers,
            rd::rd_kafka_vtype_t::RD_KAFKA_VTYPE_END,
        )
    };
    assert_eq!(code, rd::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR);
    producer.flush(support::PATIENCE).expect("flushed");
}

#[tokio::test(flavor = "multi_thread")]
async fn pausing_and_resuming_skips_and_repeats_nothing() {
    const ALL: usize = 20_000;
    let cluster = cluster(&[("t", 4)]);
    let sink = sink(&cluster);
    publish_all(&sink, "t", 0..ALL).await;
    let mut reader = Reader::new(source(&cluster, &["t"]));
    reader.until(|r| !r.records.is_empty()).await;
    let all: Vec<TopicPartition> = (0..4).map(|p| TopicPartition::new("t", p)).collect();
    // Pauses fall into the flow at ever different points; unknown partitions are ignored.
    let mut round = 0;
    let begun = tokio::time::Instant::now();
    while reader.records.len() < ALL {
        assert!(begun.elapsed() < support::PATIENCE, "stalled");
        let some = &all[round % 4..=(round % 4).max((round / 4) % 4)];
        reader.source.pause(some);
        reader.source.pause(&[TopicPartition::new("elsewhere", 9)]);
        reader.during(Duration::from_millis(3)).await;
        reader.source.resume(some);
        reader.during(Duration::from_millis(3)).await;
        round += 1;
    }
    reader.during(Duration::from_millis(300)).await;
    reader.assert_gapless();
    let mut values = reader.values();
    values.sort_unstable();
    assert_eq!(values, (0..ALL).collect::<Vec<_>>());
    reader.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_paused_partition_is_silent_and_others_are_not() {
    let cluster = cluster(&[("quiet", 1), ("loud", 1)]);
    let sink = sink(&cluster);
    let mut reader = Reader::new(source(&cluster, &["quiet", "loud"]));
    reader.until(|r| r.held.len() == 2).await;
    let quiet = TopicPartition::new("quiet", 0);
    reader.source.pause(std::slice::from_ref(&quiet));
    // Seen by the poll thread within an idle poll.
    reader.during(Duration::from_millis(400)).await;
    publish_all(&sink, "quiet", 0..5).await;
    publish_all(&sink, "loud", 5..10).await;
    reader.until(|r| r.records.len() == 5).await;
    reader.during(Duration::from_millis(500)).await;
    assert_eq!(reader.values(), [5, 6, 7, 8, 9]);
    reader.source.resume(std::slice::from_ref(&quiet));
    reader.until(|r| r.records.len() == 10).await;
    assert_eq!(reader.values()[5..], [0, 1, 2, 3, 4]);
    reader.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_that_falls_behind_loses_nothing() {
    const ALL: usize = 30_000;
    let cluster = cluster(&[("t", 3)]);
    let sink = sink(&cluster);
    publish_all(&sink, "t", 0..ALL).await;
    let mut reader = Reader::new(source(&cluster, &["t"]));
    reader.until(|r| r.held.len() == 3).await;
    let kept = TopicPartition::new("t", 1);
    while reader.records.len() < ALL / 2 {
        // Far longer than the source's patience: everything gets paused.
        tokio::time::sleep(Duration::from_millis(700)).await;
        for _ in 0..8 {
            reader.step().await;
        }
    }
    // The router's own pause survives the end of the backpressure.
    reader.source.pause(std::slice::from_ref(&kept));
    tokio::time::sleep(Duration::from_millis(500)).await;
    reader.during(Duration::from_secs(2)).await;
    let before = reader.records.len();
    assert!(before < ALL, "the paused partition went on");
    reader.during(Duration::from_millis(500)).await;
    assert_eq!(reader.records.len(), before);
    reader.source.resume(std::slice::from_ref(&kept));
    reader.until(|r| r.records.len() >= ALL).await;
    reader.during(Duration::from_millis(300)).await;
    reader.assert_gapless();
    let mut values = reader.values();
    values.sort_unstable();
    assert_eq!(values, (0..ALL).collect::<Vec<_>>());
    reader.close().await;
}

/// Takes what comes until two members of one group have read each of the values `0..all`, and a little longer: a
/// repetition would come late.
async fn read_by_both(one: &mut Reader, two: &mut Reader, all: usize) {
    let begun = tokio::time::Instant::now();
    let missing = |one: &Reader, two: &Reader| {
        let mut read = one.values();
        read.extend(two.values());
        read.sort_unstable();
        read.dedup();
        all - read.len()
    };
    while missing(one, two) > 0 && begun.elapsed() < support::PATIENCE {
        let turn = Duration::from_millis(200);
        tokio::join!(one.during(turn), two.during(turn));
    }
    let late = Duration::from_secs(1);
    tokio::join!(one.during(late), two.during(late));
}

/// Runs a rebalance of two members that read the values `0..all` on a fresh cluster. Nothing may be lost, ever. Read
/// twice may be only what a member had of partitions it *lost* (P4), or whose last commit the mock coordinator refused:
/// it does so while a group is joining (`rd_kafka_mock_cgrp_check_state`), where a broker accepts commits until every
/// member has joined. That is rare and chance, so the rebalance is run again; a fault of ours would not be.
async fn once_between_two<F>(all: usize, rebalance: impl Fn() -> F)
where
    F: Future<Output = (Reader, Reader)>,
{
    let mut repeated = Vec::new();
    for _ in 0..3 {
        let (one, two) = rebalance().await;
        repeated = read_twice(&one, &two, all);
        if repeated.is_empty() {
            return;
        }
    }
    panic!("repeated though no partition of theirs was lost: {repeated:?}");
}

/// The records that came twice though no partition of theirs was lost. Panics on a value that never came.
fn read_twice(one: &Reader, two: &Reader, all: usize) -> Vec<String> {
    let given_up = |at: &TopicPartition| one.lost.contains(at) || two.lost.contains(at);
    let (mut seen, mut repeated) = (HashSet::new(), Vec::new());
    let records = one.records.iter().zip(one.values());
    for (record, value) in records.chain(two.records.iter().zip(two.values())) {
        if !seen.insert(value) && !given_up(&record.source.at) {
            repeated.push(record.source.to_string());
        }
    }
    let lost: Vec<usize> = (0..all).filter(|value| !seen.contains(value)).collect();
    assert!(lost.is_empty(), "lost: {lost:?}");
    repeated
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rebalance_with_commits_on_revoke_loses_and_repeats_nothing() {
    once_between_two(10_000, || a_second_joins_and_the_first_leaves(10_000)).await;
}

async fn a_second_joins_and_the_first_leaves(all: usize) -> (Reader, Reader) {
    let first = all / 2;
    let cluster = cluster(&[("t", 6)]);
    let sink = sink(&cluster);
    let mut one = Reader::new(source(&cluster, &["t"]));
    one.until(|r| r.held.len() == 6).await;
    let mut two = Reader::new(source(&cluster, &["t"]));
    // Records flow while the second joins.
    let producing = async {
        for part in 0..50 {
            let size = first / 50;
            publish_all(&sink, "t", part * size..(part + 1) * size).await;
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    let joining = async {
        tokio::join!(async { one.until(|r| r.held.len() == 3).await }, async {
            two.until(|r| r.held.len() == 3).await
        },)
    };
    tokio::join!(producing, joining);
    publish_all(&sink, "t", first..all).await;
    tokio::join!(
        one.during(Duration::from_secs(1)),
        two.during(Duration::from_secs(1))
    );
    assert!(!one.records.is_empty() && !two.records.is_empty());
    // And back: the first leaves, the second takes over where it stopped.
    one.close().await;
    two.until(|r| r.held.len() == 6).await;
    read_by_both(&mut one, &mut two, all).await;
    two.close().await;
    (one, two)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rebalance_under_backpressure_loses_and_repeats_nothing() {
    once_between_two(20_000, || a_second_joins_while_the_first_is_full(20_000)).await;
}

#[allow(clippy::expect_used, reason = "a helper of a test fails by panicking")]
async fn a_second_joins_while_the_first_is_full(all: usize) -> (Reader, Reader) {
    let cluster = cluster(&[("t", 4)]);
    publish_all(&sink(&cluster), "t", 0..all).await;
    let mut settings = source_settings(&["t"]);
    settings.revoke_timeout = Duration::from_secs(50);
    let first = KafkaSource::start(&kafka(&cluster), settings).expect("source");
    let mut one = Reader::new(first);
    one.until(|r| r.held.len() == 4).await;
    let mut two = Reader::new(source(&cluster, &["t"]));
    // The first reads nothing while the second joins: its queue is full and a chunk is in hand when the
    // revocation comes. (Should the revocation come later than this, the test shows less, but holds.)
    two.during(Duration::from_secs(15)).await;
    tokio::join!(async { one.until(|r| r.held.len() == 2).await }, async {
        two.until(|r| r.held.len() == 2).await
    },);
    read_by_both(&mut one, &mut two, all).await;
    if one.lost.is_empty() && two.lost.is_empty() {
        one.assert_gapless();
    }
    one.close().await;
    two.close().await;
    (one, two)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_partition_paused_before_it_went_flows_when_it_comes_back() {
    let cluster = cluster(&[("t", 2)]);
    let sink = sink(&cluster);
    let mut one = Reader::new(source(&cluster, &["t"]));
    one.until(|r| r.held.len() == 2).await;
    let both = one.held.clone();
    one.source.pause(&both);
    one.during(Duration::from_millis(300)).await;
    let mut two = Reader::new(source(&cluster, &["t"]));
    tokio::join!(async { one.until(|r| r.held.len() == 1).await }, async {
        two.until(|r| r.held.len() == 1).await
    },);
    let kept = one.held.clone();
    two.close().await;
    one.until(|r| r.held.len() == 2).await;
    publish_all(&sink, "t", 0..200).await;
    one.during(Duration::from_secs(2)).await;
    assert!(!one.records.is_empty());
    assert!(
        one.records.iter().all(|r| r.source.at != kept[0]),
        "what stayed is still paused"
    );
    one.source.resume(&kept);
    one.until(|r| r.records.len() == 200).await;
    one.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn offset_and_metadata_come_back_after_a_restart() {
    let cluster = cluster(&[("t", 2)]);
    let sink = sink(&cluster);
    publish_all(&sink, "t", 0..10).await;
    let mut first = Reader::new(source(&cluster, &["t"]));
    first.until(|r| r.records.len() == 10).await;
    assert!(
        first
            .assigned
            .iter()
            .all(|a| a.committed.is_none() && a.metadata.is_none())
    );
    // One by a commit in the flow, one by the revocation.
    let zero = TopicPartition::new("t", 0);
    let outcomes = first
        .source
        .commit(vec![Commit {
            partition: zero.clone(),
            offset: 1,
            metadata: "in the flow".to_owned(),
        }])
        .await;
    assert_eq!(outcomes, [Ok(())]);
    first.records.retain(|r| r.source.at != zero);
    first.metadata = "at the end".to_owned();
    let expected = first.commits_of(&[TopicPartition::new("t", 1)])[0].offset;
    first.close().await;

    let mut second = Reader::new(source(&cluster, &["t"]));
    second.until(|r| r.held.len() == 2).await;
    for assigned in &second.assigned {
        let (offset, metadata) = if assigned.partition == zero {
            (1, "in the flow")
        } else {
            (expected, "at the end")
        };
        assert_eq!(assigned.committed, Some(offset), "{assigned:?}");
        assert_eq!(assigned.metadata.as_deref(), Some(metadata), "{assigned:?}");
    }
    second.until(|r| !r.records.is_empty()).await;
    second.during(Duration::from_millis(500)).await;
    assert!(
        second
            .records
            .iter()
            .all(|r| r.source.at == zero && r.source.offset >= 1)
    );
    second.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_commit_of_a_partition_that_is_gone_is_a_conflict_and_not_sent() {
    let cluster = cluster(&[("t", 1)]);
    publish_all(&sink(&cluster), "t", 0..3).await;
    let mut reader = Reader::new(source(&cluster, &["t"]));
    reader.until(|r| r.records.len() == 3).await;
    let mine = TopicPartition::new("t", 0);
    let commit = |partition: &TopicPartition| Commit {
        partition: partition.clone(),
        offset: 2,
        metadata: String::new(),
    };
    let other = TopicPartition::new("t", 5);
    let outcomes = reader
        .source
        .commit(vec![commit(&other), commit(&mine)])
        .await;
    assert_eq!(
        outcomes[0].as_ref().map_err(|e| e.class),
        Err(ErrorClass::Conflict)
    );
    assert_eq!(outcomes[1], Ok(()));
    reader.close().await;
    let late = reader.source.commit(vec![commit(&mine)]).await;
    assert_eq!(
        late[0].as_ref().map_err(|e| e.class),
        Err(ErrorClass::Conflict)
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_router_that_does_not_answer_holds_a_revocation_only_so_long() {
    let cluster = cluster(&[("t", 1)]);
    publish_all(&sink(&cluster), "t", 0..3).await;
    let mut settings = source_settings(&["t"]);
    settings.revoke_timeout = Duration::from_millis(500);
    let mut source = KafkaSource::start(&kafka(&cluster), settings).expect("source");
    loop {
        if let Some(SourceEvent::Records(_)) = support::next(&mut source).await {
            break;
        }
    }
    source.close();
    let begun = tokio::time::Instant::now();
    let mut kept = None;
    while let Some(event) = support::next(&mut source).await {
        if let SourceEvent::Revoked { reply, .. } = event {
            kept = Some(reply);
        }
    }
    assert!(begun.elapsed() < Duration::from_secs(5));
    // Too late is no harm.
    kept.expect("was revoked").send(Vec::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_missing_topic_is_named_and_found_when_it_appears() {
    let cluster = cluster(&[("there", 1)]);
    let mut reader = Reader::new(source(&cluster, &["there", "missing"]));
    reader.until(|r| !r.unhealthy.is_empty()).await;
    let error = &reader.unhealthy[0];
    assert_eq!(error.class, ErrorClass::Misconfigured);
    assert!(
        error.detail.contains("topic missing does not exist") && error.detail.contains("init"),
        "{error}"
    );
    // The other topic works all the same.
    publish_all(&sink(&cluster), "there", 0..2).await;
    reader.until(|r| r.records.len() == 2).await;
    assert_eq!(reader.healthy, 0);
    cluster.create_topic("missing", 1, 1).expect("topic");
    reader.until(|r| r.healthy == 1).await;
    publish_all(&sink(&cluster), "missing", 2..4).await;
    reader.until(|r| r.records.len() == 4).await;
    reader.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broker_that_goes_and_comes_back_is_told_and_nothing_is_lost() {
    let cluster = cluster(&[("t", 1)]);
    let sink = sink(&cluster);
    publish_all(&sink, "t", 0..5).await;
    let mut reader = Reader::new(source(&cluster, &["t"]));
    reader.until(|r| r.records.len() == 5).await;
    cluster.broker_down(-1).expect("down");
    reader.until(|r| !r.unhealthy.is_empty()).await;
    let error = &reader.unhealthy[0];
    assert_eq!(error.class, ErrorClass::Transient);
    assert!(error.detail.contains("kafka.bootstrap_servers"), "{error}");
    cluster.broker_up(-1).expect("up");
    reader.until(|r| r.healthy > 0).await;
    publish_all(&sink, "t", 5..10).await;
    reader.until(|r| r.records.len() >= 10).await;
    reader.assert_gapless();
    reader.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn closing_ends_even_when_the_broker_is_away() {
    let cluster = cluster(&[("t", 1)]);
    publish_all(&sink(&cluster), "t", 0..5).await;
    let mut settings = source_settings(&["t"]);
    settings.revoke_timeout = Duration::from_secs(2);
    let source = KafkaSource::start(&kafka(&cluster), settings).expect("source");
    let mut reader = Reader::new(source);
    reader.until(|r| r.records.len() == 5).await;
    cluster.broker_down(-1).expect("down");
    reader.until(|r| !r.unhealthy.is_empty()).await;
    let begun = tokio::time::Instant::now();
    reader.close().await;
    assert!(
        begun.elapsed() < Duration::from_secs(15),
        "{:?}",
        begun.elapsed()
    );
    assert!(reader.held.is_empty(), "given up one way or the other");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_source_that_never_saw_a_broker_says_so_and_closes() {
    let settings = KafkaSettings {
        bootstrap_servers: "127.0.0.1:1".to_owned(),
        ..KafkaSettings::default()
    };
    let source = KafkaSource::start(&settings, source_settings(&["t"])).expect("source");
    let mut reader = Reader::new(source);
    reader.until(|r| !r.unhealthy.is_empty()).await;
    assert!(reader.unhealthy[0].detail.contains("127.0.0.1:1"));
    reader.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fatal_error_loses_the_partitions_and_the_consumer_is_rebuilt() {
    use rdkafka::types::{RDKafkaApiKey, RDKafkaRespErr};
    let cluster = cluster(&[("t", 1)]);
    let sink = sink(&cluster);
    publish_all(&sink, "t", 0..3).await;
    let mut settings = source_settings(&["t"]);
    settings.instance_id = Some("twin".to_owned());
    let source = KafkaSource::start(&kafka(&cluster), settings).expect("source");
    let mut reader = Reader::new(source);
    reader.until(|r| r.records.len() == 3).await;
    cluster.request_errors(
        RDKafkaApiKey::Heartbeat,
        &[RDKafkaRespErr::RD_KAFKA_RESP_ERR_FENCED_INSTANCE_ID],
    );
    reader.until(|r| !r.unhealthy.is_empty()).await;
    assert_eq!(reader.unhealthy[0].class, ErrorClass::Misconfigured);
    assert!(reader.unhealthy[0].detail.contains("kafka.instance_id"));
    assert_eq!(reader.lost, [TopicPartition::new("t", 0)]);
    // Nothing was committed: all comes again.
    reader.until(|r| r.records.len() == 6).await;
    assert!(reader.healthy > 0);
    reader.close().await;
}

#[test]
fn faulty_settings_are_refused_with_every_fault() {
    let mut settings = source_settings(&["bad topic"]);
    settings.group_id = String::new();
    let error = KafkaSource::start(&KafkaSettings::default(), settings).expect_err("refused");
    assert_eq!(error.class, ErrorClass::Misconfigured);
    assert!(error.detail.contains("group_id") && error.detail.contains("bad topic"));
}
