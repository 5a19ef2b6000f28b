//! [`RecordSource`]: assignment, order, commits, pause, and partitions that change hands. Each check takes a Kafka.

mod member;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use delayq_core::error::ErrorClass;
use delayq_core::ports::{Assigned, Commit, RecordSource, RevokeReply, SourceEvent};
use delayq_core::record::{Incoming, Record, TopicPartition};
use tokio::time::{Instant, timeout};

use crate::kafka::Kafka;
use crate::record_sink::odd_records;
use crate::{assert_all_ok, classes, within};
use member::Members;

const GROUP: &str = "group";
/// How long nothing may come before it counts as silence.
const SILENCE: Duration = Duration::from_secs(1);

fn value(text: impl Into<String>) -> Record {
    Record {
        value: Some(Bytes::from(text.into())),
        ..Record::default()
    }
}

fn numbered(numbers: std::ops::Range<usize>) -> Vec<Record> {
    numbers.map(|n| value(n.to_string())).collect()
}

fn text(record: &Incoming) -> &str {
    std::str::from_utf8(record.record.value.as_ref().unwrap()).unwrap()
}

fn commit(partition: &TopicPartition, offset: i64, metadata: &str) -> Commit {
    Commit {
        partition: partition.clone(),
        offset,
        metadata: metadata.into(),
    }
}

async fn next(source: &mut dyn RecordSource) -> Option<SourceEvent> {
    within(60, "an event of the source", source.next()).await
}

/// The first assignments, until there are `count` partitions. Records would be out of order.
async fn assigned(source: &mut dyn RecordSource, count: usize) -> Vec<Assigned> {
    let mut all = Vec::new();
    while all.len() < count {
        match next(source).await {
            Some(SourceEvent::Assigned(some)) => all.extend(some),
            other => panic!("an assignment comes first: {other:?}"),
        }
    }
    all.sort_by(|a, b| a.partition.cmp(&b.partition));
    all
}

/// The next `count` records.
async fn records(source: &mut dyn RecordSource, count: usize) -> Vec<Incoming> {
    let mut all = Vec::new();
    while all.len() < count {
        match next(source).await {
            Some(SourceEvent::Records(some)) => all.extend(some),
            other => panic!("records after {}: {other:?}", all.len()),
        }
    }
    all
}

/// Leaves the group; `answer` decides on the commits of what is revoked by that.
async fn close(
    mut source: Box<dyn RecordSource>,
    answer: impl Fn(Vec<TopicPartition>, RevokeReply),
) {
    source.close();
    while let Some(event) = next(&mut *source).await {
        match event {
            SourceEvent::Revoked { partitions, reply } => answer(partitions, reply),
            // What was fetched before.
            SourceEvent::Records(_) => {}
            other => panic!("leaving: {other:?}"),
        }
    }
    assert!(next(&mut *source).await.is_none(), "closed stays closed");
}

/// A topic with one partition and so many records.
async fn one_partition(kafka: &dyn Kafka, count: usize) -> TopicPartition {
    let partition = TopicPartition::new(kafka.topic(1).await, 0);
    kafka.write(&partition, numbered(0..count), None).await;
    partition
}

/// A new group hears of every partition before it gets a record, and starts at the beginning.
pub async fn assignment_comes_before_records(kafka: &dyn Kafka) {
    let topic = kafka.topic(3).await;
    for number in 0..3 {
        let partition = TopicPartition::new(topic.clone(), number);
        kafka.write(&partition, numbered(0..10), None).await;
    }
    let mut source = kafka.join(GROUP, &topic);
    let fresh = |number| Assigned {
        partition: TopicPartition::new(topic.clone(), number),
        committed: None,
        metadata: None,
    };
    assert_eq!(assigned(&mut *source, 3).await, [0, 1, 2].map(fresh));
    let records = records(&mut *source, 30).await;
    assert_eq!(records.len(), 30);
}

/// Within a partition records come in order, each once, with offsets that say where they stand.
pub async fn a_partition_is_read_in_order(kafka: &dyn Kafka) {
    let topic = kafka.topic(3).await;
    for number in 0..3 {
        let partition = TopicPartition::new(topic.clone(), number);
        kafka.write(&partition, numbered(0..400), None).await;
    }
    let mut source = kafka.join(GROUP, &topic);
    assigned(&mut *source, 3).await;
    let mut read: BTreeMap<TopicPartition, Vec<Incoming>> = BTreeMap::new();
    for record in records(&mut *source, 1200).await {
        read.entry(record.source.at.clone())
            .or_default()
            .push(record);
    }
    assert_eq!(read.len(), 3);
    for records in read.values() {
        assert_eq!(records.len(), 400);
        for (index, record) in records.iter().enumerate() {
            assert_eq!(text(record), index.to_string());
            assert_eq!(record.source.offset, i64::try_from(index).unwrap());
        }
    }
}

/// Null and empty are different things, headers keep order and copies, bytes are bytes, timestamps are kept.
pub async fn records_are_read_exactly(kafka: &dyn Kafka) {
    let partition = TopicPartition::new(kafka.topic(1).await, 0);
    let written = odd_records();
    let timestamp_ms = 1_790_000_000_123;
    kafka
        .write(&partition, written.clone(), Some(timestamp_ms))
        .await;
    let mut source = kafka.join(GROUP, &partition.topic);
    assigned(&mut *source, 1).await;
    let read = records(&mut *source, written.len()).await;
    for (read, written) in read.iter().zip(&written) {
        assert_eq!(read.record, *written);
        assert_eq!(read.timestamp_ms, Some(timestamp_ms));
        assert_eq!(read.malformed, None);
    }
}

/// Offset and metadata committed by one member are what the next one is assigned, and where it starts.
pub async fn the_next_owner_gets_commit_and_metadata(kafka: &dyn Kafka) {
    let partition = one_partition(kafka, 20).await;
    let mut first = kafka.join(GROUP, &partition.topic);
    assigned(&mut *first, 1).await;
    records(&mut *first, 20).await;
    // The longest metadata that delayq writes.
    let metadata = "m".repeat(3000);
    let outcomes = first.commit(vec![commit(&partition, 7, &metadata)]).await;
    assert_all_ok(&outcomes, 1);
    close(first, |partitions, reply| {
        assert_eq!(partitions, std::slice::from_ref(&partition));
        reply.send(Vec::new());
    })
    .await;

    let mut second = kafka.join(GROUP, &partition.topic);
    let expected = Assigned {
        partition: partition.clone(),
        committed: Some(7),
        metadata: Some(metadata),
    };
    assert_eq!(assigned(&mut *second, 1).await, [expected]);
    let read = records(&mut *second, 13).await;
    assert_eq!(text(&read[0]), "7", "it starts at the commit");
}

/// Commits given in answer to a revocation are made before the partition goes to another.
pub async fn commits_on_revoke_are_made(kafka: &dyn Kafka) {
    let partition = one_partition(kafka, 10).await;
    let mut first = kafka.join(GROUP, &partition.topic);
    assigned(&mut *first, 1).await;
    records(&mut *first, 10).await;
    close(first, |partitions, reply| {
        reply.send(partitions.iter().map(|p| commit(p, 9, "last")).collect());
    })
    .await;

    let mut second = kafka.join(GROUP, &partition.topic);
    let committed = assigned(&mut *second, 1).await.remove(0);
    assert_eq!(committed.committed, Some(9));
    assert_eq!(committed.metadata.as_deref(), Some("last"));
    assert_eq!(text(&records(&mut *second, 1).await[0]), "9");
}

/// A reply that is dropped commits nothing, and the partition goes on to the next all the same.
pub async fn a_dropped_reply_commits_nothing(kafka: &dyn Kafka) {
    let partition = one_partition(kafka, 10).await;
    let mut first = kafka.join(GROUP, &partition.topic);
    assigned(&mut *first, 1).await;
    records(&mut *first, 10).await;
    close(first, |_, reply| drop(reply)).await;

    let mut second = kafka.join(GROUP, &partition.topic);
    assert_eq!(assigned(&mut *second, 1).await[0].committed, None);
    assert_eq!(text(&records(&mut *second, 10).await[0]), "0");
}

/// A refused commit does not hide among accepted ones, and does not take them with it.
pub async fn a_bad_commit_fails_alone_and_in_its_place(kafka: &dyn Kafka) {
    let topic = kafka.topic(3).await;
    let partitions = [0, 1, 2].map(|n| TopicPartition::new(topic.clone(), n));
    for partition in &partitions {
        kafka.write(partition, numbered(0..5), None).await;
    }
    let mut source = kafka.join(GROUP, &topic);
    assigned(&mut *source, 3).await;
    records(&mut *source, 15).await;
    // Over the broker's `offset.metadata.max.bytes`.
    let too_long = "m".repeat(5000);
    let commits = vec![
        commit(&partitions[2], 1, "two"),
        commit(&partitions[0], 2, &too_long),
        commit(&partitions[1], 3, ""),
    ];
    let outcomes = source.commit(commits).await;
    let bad = Some(ErrorClass::Invalid);
    assert_eq!(classes(&outcomes), [None, bad, None], "{outcomes:?}");
    close(source, |_, reply| drop(reply)).await;

    let mut second = kafka.join(GROUP, &topic);
    let restored = assigned(&mut *second, 3).await;
    let offsets: Vec<_> = restored.iter().map(|a| a.committed).collect();
    assert_eq!(offsets, [None, Some(3), Some(1)]);
    assert_eq!(restored[2].metadata.as_deref(), Some("two"));
    assert_eq!(restored[1].metadata.as_deref().unwrap_or_default(), "");
}

/// Who does not hold a partition cannot move its offset; the commits beside it are made.
pub async fn only_the_holder_commits(kafka: &dyn Kafka) {
    let held = one_partition(kafka, 5).await;
    let foreign = one_partition(kafka, 5).await;
    let mut source = kafka.join(GROUP, &held.topic);
    assigned(&mut *source, 1).await;
    records(&mut *source, 5).await;
    let commits = vec![commit(&foreign, 3, ""), commit(&held, 3, "")];
    let outcomes = source.commit(commits).await;
    assert_eq!(classes(&outcomes), [Some(ErrorClass::Conflict), None]);
}

/// A paused partition is silent while others go on; resumed it continues where it was.
pub async fn a_paused_partition_is_silent_and_loses_nothing(kafka: &dyn Kafka) {
    let topic = kafka.topic(2).await;
    let [paused, open] = [0, 1].map(|n| TopicPartition::new(topic.clone(), n));
    kafka.write(&paused, numbered(0..1000), None).await;
    let mut source = kafka.join(GROUP, &topic);
    assigned(&mut *source, 2).await;
    let mut read = records(&mut *source, 1).await;
    source.pause(std::slice::from_ref(&paused));
    // What was already fetched may still arrive.
    while let Ok(event) = timeout(SILENCE, source.next()).await {
        match event {
            Some(SourceEvent::Records(more)) => read.extend(more),
            other => panic!("draining: {other:?}"),
        }
    }
    kafka.write(&paused, numbered(1000..1100), None).await;
    kafka.write(&open, numbered(0..50), None).await;
    let others = records(&mut *source, 50).await;
    assert!(others.iter().all(|r| r.source.at == open), "not silent");
    let silent = timeout(SILENCE, source.next()).await;
    assert!(silent.is_err(), "not silent: {silent:?}");
    source.resume(std::slice::from_ref(&paused));
    let missing = 1100 - read.len();
    read.extend(records(&mut *source, missing).await);
    let numbers: Vec<_> = read.iter().map(|r| text(r).to_owned()).collect();
    let expected: Vec<_> = (0..1100).map(|n| n.to_string()).collect();
    assert_eq!(numbers, expected);
}

/// A source that waits gets what is written later, soon.
pub async fn a_waiting_source_wakes_up(kafka: &dyn Kafka) {
    let partition = TopicPartition::new(kafka.topic(1).await, 0);
    let mut source = kafka.join(GROUP, &partition.topic);
    assigned(&mut *source, 1).await;
    let silent = timeout(SILENCE, source.next()).await;
    assert!(silent.is_err(), "nothing was written: {silent:?}");
    kafka.write(&partition, numbered(0..1), None).await;
    let written = Instant::now();
    assert_eq!(records(&mut *source, 1).await.len(), 1);
    assert!(written.elapsed() < Duration::from_secs(2));
}

/// A call that is given up (its future dropped) loses no event.
pub async fn next_is_cancel_safe(kafka: &dyn Kafka) {
    let partition = one_partition(kafka, 0).await;
    let mut source = kafka.join(GROUP, &partition.topic);
    let mut numbers = Vec::new();
    let mut owned = false;
    let start = Instant::now();
    let mut written = 0;
    while numbers.len() < 100 {
        assert!(start.elapsed() < Duration::from_secs(60), "{numbers:?}");
        let brief = Duration::from_micros(500);
        match timeout(brief, source.next()).await {
            Err(_) if owned && written < 100 => {
                kafka
                    .write(&partition, numbered(written..written + 10), None)
                    .await;
                written += 10;
            }
            Err(_) => {}
            Ok(Some(SourceEvent::Assigned(_))) => owned = true,
            Ok(Some(SourceEvent::Records(some))) => {
                numbers.extend(some.iter().map(|r| text(r).to_owned()));
            }
            Ok(other) => panic!("{other:?}"),
        }
    }
    let expected: Vec<_> = (0..100).map(|n| n.to_string()).collect();
    assert_eq!(numbers, expected);
}

/// A source that was closed before it was assigned anything ends.
pub async fn closing_at_once_ends(kafka: &dyn Kafka) {
    let partition = one_partition(kafka, 10).await;
    let mut source = kafka.join(GROUP, &partition.topic);
    source.close();
    while let Some(event) = next(&mut *source).await {
        match event {
            SourceEvent::Revoked { reply, .. } => reply.send(Vec::new()),
            SourceEvent::Assigned(_) | SourceEvent::Records(_) => {}
            other => panic!("leaving: {other:?}"),
        }
    }
}

/// A second member joins and leaves while records are written: with a commit on every revocation exactly
/// what was sent is received, nothing lost and nothing twice, and what did not move was not revoked.
pub async fn partitions_change_hands_without_loss_or_copies(kafka: &dyn Kafka) {
    let topic = kafka.topic(6).await;
    let mut sent = BTreeSet::new();
    let mut members = Members::default();
    let mut rounds = 0;
    let mut write = async |sent: &mut BTreeSet<String>| {
        for number in 0..6 {
            let partition = TopicPartition::new(topic.clone(), number);
            let names = (0..100).map(|n| format!("{rounds}/{number}/{n}"));
            let names: Vec<_> = names.collect();
            kafka
                .write(&partition, names.iter().map(value).collect(), None)
                .await;
            sent.extend(names);
        }
        rounds += 1;
    };

    write(&mut sent).await;
    members.start("a", kafka.join(GROUP, &topic));
    members.until_owned("a", 6).await;
    write(&mut sent).await;
    members.start("b", kafka.join(GROUP, &topic));
    write(&mut sent).await;
    members.until_owned("b", 3).await;
    assert_eq!(members.owned("a").len(), 3, "balanced");
    assert_eq!(members.revoked("a"), 3, "only what moves is revoked");
    write(&mut sent).await;
    members.until_received(sent.len()).await;
    assert!(members.has_received("b"), "the second member does its part");
    write(&mut sent).await;
    members.close("b").await;
    members.until_owned("a", 6).await;
    write(&mut sent).await;
    members.until_received(sent.len()).await;
    members.close("a").await;

    let received = members.received();
    let distinct: BTreeSet<_> = received.iter().cloned().collect();
    assert!(distinct == sent, "received is not what was sent");
    assert_eq!(received.len(), distinct.len(), "received twice");
}

/// A reply that comes late or never holds nothing up for ever: the partitions go to another in the end.
pub async fn a_reply_that_never_comes_is_not_waited_for_for_ever(kafka: &dyn Kafka) {
    let partition = one_partition(kafka, 10).await;
    let topic: Arc<str> = partition.topic.clone();
    let mut first = kafka.join(GROUP, &topic);
    assigned(&mut *first, 1).await;
    records(&mut *first, 10).await;
    first.close();
    let late = loop {
        match next(&mut *first).await {
            Some(SourceEvent::Revoked { reply, .. }) => break reply,
            Some(SourceEvent::Records(_)) => {}
            other => panic!("leaving: {other:?}"),
        }
    };
    assert!(next(&mut *first).await.is_none(), "the end is not held up");
    late.send(vec![commit(&partition, 10, "too late")]);

    let mut second = kafka.join(GROUP, &topic);
    assert_eq!(assigned(&mut *second, 1).await[0].committed, None);
    assert_eq!(text(&records(&mut *second, 10).await[0]), "0");
}

/// Hands the names of the checks on.
#[macro_export]
macro_rules! record_source_checks {
    ($run:ident) => {
        $run! { record_source:
            assignment_comes_before_records
            a_partition_is_read_in_order
            records_are_read_exactly
            the_next_owner_gets_commit_and_metadata
            commits_on_revoke_are_made
            a_dropped_reply_commits_nothing
            a_bad_commit_fails_alone_and_in_its_place
            only_the_holder_commits
            a_paused_partition_is_silent_and_loses_nothing
            a_waiting_source_wakes_up
            next_is_cancel_safe
            closing_at_once_ends
            partitions_change_hands_without_loss_or_copies
            a_reply_that_never_comes_is_not_waited_for_for_ever
        }
    };
}
