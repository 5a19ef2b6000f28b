//! The sink over librdkafka's mock cluster.

mod support;

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, mpsc};
use std::time::Duration;

use bytes::Bytes;
use delayq_core::error::ErrorClass;
use delayq_core::ports::{RecordSink, RecordSource};
use delayq_core::record::Outgoing;
use delayq_kafka::{KafkaSettings, KafkaSink, SinkSettings};
use support::{
    PATIENCE, Reader, cluster, kafka, outgoing, publish, publish_all, publish_later, sink, source,
};

#[tokio::test(flavor = "multi_thread")]
async fn a_published_record_has_its_partition_and_offset() {
    let cluster = cluster(&[("t", 1)]);
    let sink = sink(&cluster);
    for offset in 0..3 {
        let published = publish(&sink, &outgoing("t", None, "x")).await.expect("ok");
        assert_eq!((published.partition, published.offset), (0, offset));
    }
    assert_eq!(sink.health(), Ok(()));
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_go_to_the_partition_that_java_chooses() {
    let cluster = cluster(&[("t", 10)]);
    let sink = sink(&cluster);
    // From Kafka's own UtilsTest: murmur2("21") = -973932308, "foobar" = -790332482; (hash & 0x7fffffff) % 10.
    for (key, hash) in [("21", -973_932_308_i32), ("foobar", -790_332_482)] {
        let published = publish(&sink, &outgoing("t", Some(key), "x"))
            .await
            .expect("ok");
        assert_eq!(published.partition, (hash & 0x7fff_ffff) % 10, "{key}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_missing_topic_is_the_records_fault_and_told_soon() {
    let cluster = cluster(&[("t", 1)]);
    let sink = sink(&cluster);
    let begun = tokio::time::Instant::now();
    let error = publish(&sink, &outgoing("nowhere", None, "x"))
        .await
        .expect_err("refused");
    assert_eq!(error.class, ErrorClass::Invalid);
    assert!(
        error.detail.contains("nowhere") && error.detail.contains("init"),
        "{error}"
    );
    assert!(
        begun.elapsed() < Duration::from_secs(12),
        "{:?}",
        begun.elapsed()
    );
    assert_eq!(sink.health(), Ok(()), "the broker is well");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_record_that_cannot_be_sent_at_all_is_answered_at_once() {
    let cluster = cluster(&[("t", 1)]);
    let sink = sink(&cluster);
    let mut large = outgoing("t", None, "x");
    large.record.value = Some(Bytes::from(vec![0; 1_200_000]));
    let bad_name = outgoing("a\0b", None, "x");
    for record in [large, bad_name] {
        let error = publish(&sink, &record).await.expect_err("refused");
        assert_eq!(error.class, ErrorClass::Invalid, "{error}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broker_away_is_nobodys_fault_and_heals_without_publishing() {
    let cluster = cluster(&[("t", 1)]);
    let settings = SinkSettings {
        message_timeout: Duration::from_secs(3),
        unknown_topic_timeout: Duration::from_secs(2),
        ..SinkSettings::default()
    };
    let sink = KafkaSink::new(&kafka(&cluster), settings).expect("sink");
    publish(&sink, &outgoing("t", None, "x")).await.expect("ok");
    cluster.broker_down(-1).expect("down");
    let error = publish(&sink, &outgoing("t", None, "x"))
        .await
        .expect_err("timed out");
    assert_eq!(error.class, ErrorClass::Transient, "{error}");
    let sick = sink.health().expect_err("unhealthy");
    assert!(sick.detail.contains("kafka.bootstrap_servers"), "{sick}");
    cluster.broker_up(-1).expect("up");
    let healed = async {
        while sink.health().is_err() {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(PATIENCE, healed).await.expect("heals");
    publish(&sink, &outgoing("t", None, "x")).await.expect("ok");
}

#[test]
fn a_full_queue_gives_the_callback_back_and_a_dropped_sink_answers_all() {
    let kafka = KafkaSettings {
        bootstrap_servers: "127.0.0.1:1".to_owned(),
        ..KafkaSettings::default()
    };
    let settings = SinkSettings {
        queue_records: 10,
        ..SinkSettings::default()
    };
    let sink = KafkaSink::new(&kafka, settings).expect("sink");
    let answers = Arc::new(AtomicUsize::new(0));
    let (tx, rx) = mpsc::channel();
    let mut taken = 0;
    for _ in 0..20 {
        let answers = Arc::clone(&answers);
        let tx = tx.clone();
        let acknowledge = Box::new(move |result: Result<_, delayq_core::error::PortError>| {
            answers.fetch_add(1, Ordering::SeqCst);
            tx.send(result.map_err(|e| e.class)).expect("send");
        });
        if sink.publish(&outgoing("t", None, "x"), acknowledge).is_ok() {
            taken += 1;
        }
    }
    assert_eq!(taken, 10);
    let begun = tokio::time::Instant::now();
    drop(sink);
    assert!(begun.elapsed() < Duration::from_secs(8));
    assert_eq!(answers.load(Ordering::SeqCst), taken, "each exactly once");
    assert!(
        rx.try_iter()
            .all(|result| result == Err(ErrorClass::Transient))
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_callback_may_own_the_last_handle_of_the_sink() {
    let cluster = cluster(&[("t", 1)]);
    let sink = Arc::new(sink(&cluster));
    let (tx, rx) = mpsc::channel();
    let handle = Arc::clone(&sink);
    let accepted = sink.publish(
        &outgoing("t", None, "x"),
        Box::new(move |result| {
            tx.send(result.is_ok()).expect("send");
            drop(handle);
        }),
    );
    assert!(accepted.is_ok());
    drop(sink);
    assert!(rx.recv_timeout(PATIENCE).expect("answered"));
}

#[tokio::test(flavor = "multi_thread")]
async fn everything_acknowledged_can_be_read() {
    let cluster = cluster(&[("t", 3)]);
    let sink = sink(&cluster);
    let begun: Outgoing = outgoing("t", None, "0");
    publish_later(&sink, &begun)
        .await
        .await
        .expect("called")
        .expect("acknowledged");
    publish_all(&sink, "t", 1..5_000).await;
    let mut reader = Reader::new(source(&cluster, &["t"]));
    reader.until(|r| r.records.len() == 5_000).await;
    let mut values = reader.values();
    values.sort_unstable();
    assert_eq!(values, (0..5_000).collect::<Vec<_>>());
    reader.source.close();
    while !reader.ended {
        reader.step().await;
    }
}
