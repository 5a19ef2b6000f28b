//! What the memory broker can do to its users on purpose: outages, lost sessions, late replies, failed writes.

#![allow(clippy::unwrap_used, reason = "helpers of tests")]

use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use delayq_core::clock::ManualClock;
use delayq_core::error::{ErrorClass, PortError};
use delayq_core::ports::{Commit, Published, RecordSink, RecordSource, SourceEvent};
use delayq_core::record::{Outgoing, Record, TopicPartition};
use delayq_embedded::{Fault, MemoryBroker, MemorySink, MemorySource, SourceOptions};
use tokio::time::Instant;

const TOPIC: &str = "t";

fn broker(partitions: u32) -> MemoryBroker {
    let broker = MemoryBroker::new(Arc::new(ManualClock::at(1_000)));
    broker.create_topic(TOPIC, partitions);
    broker
}

fn join(broker: &MemoryBroker) -> MemorySource {
    MemorySource::join(broker, "g", [TOPIC], SourceOptions::default())
}

fn at(partition: i32) -> TopicPartition {
    TopicPartition::new(TOPIC, partition)
}

fn value(text: &str) -> Record {
    Record {
        value: Some(Bytes::from(text.to_owned())),
        ..Record::default()
    }
}

fn commit(partition: i32, offset: i64) -> Commit {
    Commit {
        partition: at(partition),
        offset,
        metadata: String::new(),
    }
}

async fn offsets(source: &mut MemorySource) -> Vec<i64> {
    match source.next().await {
        Some(SourceEvent::Records(records)) => records.iter().map(|r| r.source.offset).collect(),
        other => panic!("{other:?}"),
    }
}

async fn assigned(source: &mut MemorySource) -> Vec<TopicPartition> {
    match source.next().await {
        Some(SourceEvent::Assigned(all)) => all.into_iter().map(|a| a.partition).collect(),
        other => panic!("{other:?}"),
    }
}

fn class(outcome: &Result<(), PortError>) -> Option<ErrorClass> {
    outcome.as_ref().err().map(|e| e.class)
}

#[tokio::test(start_paused = true)]
async fn lost_partitions_are_said_to_be_lost_and_come_back() {
    let broker = broker(1);
    broker.produce(&at(0), value("a"), None).unwrap();
    let mut source = join(&broker);
    assigned(&mut source).await;
    assert_eq!(offsets(&mut source).await, [0]);
    broker.expire_sessions("g");
    let late = source.commit(vec![commit(0, 1)]).await;
    assert_eq!(class(&late[0]), Some(ErrorClass::Conflict));
    match source.next().await {
        Some(SourceEvent::Lost(lost)) => assert_eq!(lost, [at(0)]),
        other => panic!("{other:?}"),
    }
    assigned(&mut source).await;
    assert_eq!(offsets(&mut source).await, [0], "nothing was committed");
}

#[tokio::test(start_paused = true)]
async fn a_crashed_member_leaves_its_partitions_to_the_others() {
    let broker = broker(2);
    let mut first = join(&broker);
    assert_eq!(assigned(&mut first).await.len(), 2);
    drop(first);
    let mut second = join(&broker);
    assert_eq!(assigned(&mut second).await.len(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_revocation_without_an_answer_ends_at_its_time_out() {
    let broker = broker(2);
    let mut first = join(&broker);
    assigned(&mut first).await;
    let mut second = join(&broker);
    let Some(SourceEvent::Revoked { partitions, reply }) = first.next().await else {
        panic!("half of it must go");
    };
    let start = Instant::now();
    assert_eq!(assigned(&mut second).await, partitions);
    assert_eq!(start.elapsed(), SourceOptions::default().revoke_timeout);
    reply.send(vec![commit(partitions[0].partition, 7)]);
    assert_eq!(broker.committed("g", &partitions[0]), None, "too late");
}

#[tokio::test(start_paused = true)]
async fn an_outage_is_told_once_and_loses_nothing() {
    let broker = broker(1);
    let mut source = join(&broker);
    let sink = MemorySink::new(&broker);
    assigned(&mut source).await;
    broker.produce(&at(0), value("a"), None).unwrap();
    broker.set_down(true);
    match source.next().await {
        Some(SourceEvent::Unhealthy(error)) => assert_eq!(error.class, ErrorClass::Transient),
        other => panic!("{other:?}"),
    }
    let brief = Duration::from_secs(60);
    assert!(tokio::time::timeout(brief, source.next()).await.is_err());
    let commits = source.commit(vec![commit(0, 0)]).await;
    assert_eq!(class(&commits[0]), Some(ErrorClass::Transient));
    assert_eq!(class(&sink.health()), Some(ErrorClass::Transient));
    broker.set_down(false);
    assert!(matches!(source.next().await, Some(SourceEvent::Healthy)));
    assert_eq!(offsets(&mut source).await, [0]);
    assert_eq!(sink.health(), Ok(()));
}

#[tokio::test(start_paused = true)]
async fn gaps_and_retention_are_as_in_a_log() {
    let broker = MemoryBroker::with_retention(Arc::new(ManualClock::at(1_000)), 2);
    broker.create_topic(TOPIC, 1);
    broker.produce(&at(0), value("a"), None).unwrap();
    broker.skip_offsets(&at(0), 3);
    for text in ["b", "c"] {
        broker.produce(&at(0), value(text), None).unwrap();
    }
    let mut source = join(&broker);
    assigned(&mut source).await;
    assert_eq!(offsets(&mut source).await, [4, 5]);
    assert_eq!(broker.end_offset(&at(0)), Some(6));
}

type Outcomes = Arc<Mutex<Vec<Result<Published, PortError>>>>;

/// Publishes and answers whether the sink took it.
fn publish(sink: &MemorySink, text: &str, outcomes: &Outcomes) -> bool {
    let record = Outgoing::standard(TOPIC.into(), value(text));
    let outcomes = outcomes.clone();
    let note = move |outcome| outcomes.lock().unwrap().push(outcome);
    sink.publish(&record, Box::new(note)).is_ok()
}

fn stored(broker: &MemoryBroker) -> usize {
    broker.read(TOPIC).len()
}

#[tokio::test(start_paused = true)]
async fn a_full_sink_says_so_and_answers_in_its_time() {
    let broker = broker(1);
    let latency = Duration::from_millis(20);
    let sink = MemorySink::with_faults(&broker, latency, 2, None);
    let outcomes = Outcomes::default();
    let accepted = ["a", "b", "c"].map(|text| publish(&sink, text, &outcomes));
    assert_eq!(accepted, [true, true, false]);
    assert_eq!(sink.waiting(), 2);
    tokio::time::sleep(latency / 2).await;
    assert_eq!((outcomes.lock().unwrap().len(), stored(&broker)), (0, 0));
    tokio::time::sleep(latency).await;
    assert_eq!((outcomes.lock().unwrap().len(), stored(&broker)), (2, 2));
    assert!(publish(&sink, "c", &outcomes), "there is room again");
    tokio::time::sleep(2 * latency).await;
    assert_eq!((outcomes.lock().unwrap().len(), stored(&broker)), (3, 3));
}

#[tokio::test(start_paused = true)]
async fn failures_are_written_or_not_as_asked() {
    let broker = broker(1);
    let error = PortError::new(ErrorClass::Transient, "test", "lost");
    let faults = {
        let error = error.clone();
        move |record: &Outgoing| match record.record.value.as_deref() {
            Some(b"refused") => Some(Fault::Refused(error.clone())),
            Some(b"unconfirmed") => Some(Fault::Unconfirmed(error.clone())),
            _ => None,
        }
    };
    let sink = MemorySink::with_faults(&broker, Duration::ZERO, 9, Some(Box::new(faults)));
    let outcomes = Outcomes::default();
    for text in ["good", "refused", "unconfirmed"] {
        assert!(publish(&sink, text, &outcomes));
    }
    assert!(
        outcomes.lock().unwrap().is_empty(),
        "not from within publish"
    );
    tokio::time::sleep(Duration::from_millis(10)).await;
    let published = Published {
        partition: 0,
        offset: 0,
    };
    let expected = [Ok(published), Err(error.clone()), Err(error)];
    assert_eq!(*outcomes.lock().unwrap(), expected);
    assert_eq!(stored(&broker), 2);
}
