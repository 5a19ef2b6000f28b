//! What the meter counts for a table is what DynamoDB says that the same call consumes.

use std::collections::HashMap;

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::types::{AttributeValue, ConsumedCapacity, ReturnConsumedCapacity};
use bytes::Bytes;
use delayq_aws::{
    DynamoBatchStore, DynamoMessageRegistry, DynamoPayloadStore, DynamoShardState, SqsDelayQueue,
};
use delayq_core::bucket::{Bucket, BucketKey, ShardId};
use delayq_core::handover::ShardRow;
use delayq_core::ports::{
    BatchStore as _, DelayQueue as _, Lane, MessageFilter, MessageIndex as _, MessageRegistry as _,
    PayloadStore as _, QueueMessage, ShardState as _, StoredBatch, Written,
};
use delayq_core::priority::Priority;
use delayq_core::record::Path;
use delayq_core::tracked::{Claim, Details, MessageKey, MessageRow, Publication, State, Version};
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};

use crate::fresh;

/// What was billed so far, read from the metrics.
struct Billed(PrometheusHandle);

impl Billed {
    fn units(&self, tier: &str, unit: &str) -> u64 {
        let name = "delayq_aws_billed_units_total{";
        let text = self.0.render();
        let mut lines = text.lines().filter(|line| {
            line.starts_with(name)
                && line.contains(&format!("tier=\"{tier}\""))
                && line.contains(&format!("unit=\"{unit}\""))
        });
        let count = lines.next().and_then(|line| line.rsplit(' ').next());
        count.map_or(0, |count| count.parse().unwrap())
    }

    fn nanodollars(&self, tier: &str) -> u64 {
        let name = format!("delayq_aws_cost_nanodollars_total{{tier=\"{tier}\"}} ");
        let text = self.0.render();
        let count = text.lines().find_map(|line| line.strip_prefix(&name));
        count.map_or(0, |count| count.parse().unwrap())
    }
}

/// The only attributes of a row that a test must name.
fn key(
    names: [&str; 2],
    item: &HashMap<String, AttributeValue>,
) -> HashMap<String, AttributeValue> {
    let kept = names.map(|name| (name.to_owned(), item[name].clone()));
    kept.into()
}

fn consumed(capacity: Option<ConsumedCapacity>) -> f64 {
    capacity.unwrap().capacity_units.unwrap()
}

/// How many rows a table has, and what reading each of them, and writing each once more, consumes in sum.
async fn rows(client: &Client, table: &str, names: [&str; 2]) -> (usize, f64, f64) {
    let scan = client.scan().table_name(table).consistent_read(true);
    let items = scan.into_paginator().items().send();
    let (mut count, mut for_reads, mut for_writes) = (0, 0.0, 0.0);
    for item in items.collect::<Result<Vec<_>, _>>().await.unwrap() {
        let read = client
            .get_item()
            .table_name(table)
            .consistent_read(true)
            .set_key(Some(key(names, &item)))
            .return_consumed_capacity(ReturnConsumedCapacity::Total);
        let written = client
            .put_item()
            .table_name(table)
            .set_item(Some(item))
            .return_consumed_capacity(ReturnConsumedCapacity::Total);
        count += 1;
        for_reads += consumed(read.send().await.unwrap().consumed_capacity);
        for_writes += consumed(written.send().await.unwrap().consumed_capacity);
    }
    (count, for_reads, for_writes)
}

#[tokio::test]
async fn batches_are_metered_as_dynamodb_bills_them() {
    let recorder = PrometheusBuilder::new().build_recorder();
    let billed = Billed(recorder.handle());
    let _here = metrics::set_default_local_recorder(&recorder);
    let (clients, names) = fresh().await;
    let store = DynamoBatchStore::new(&clients, &names.tables);
    // Around the border of a unit, where a byte more or less counts; and the largest.
    let sizes: Vec<_> = (950..975).chain([1_990, 60_000, 350_000]).collect();
    for (n, size) in (0u8..).zip(&sizes) {
        let at = BucketKey {
            bucket: Bucket(5_666_667),
            shard: ShardId(2),
            sub: n,
        };
        let batch = StoredBatch {
            key: at,
            sort: "001700000000000#w#000000000001".to_owned(),
            body: Bytes::from(vec![1; *size]),
            expires_s: 4_102_444_800,
        };
        store.put(vec![batch]).await.remove(0).unwrap();
        store.page(&at, None).await.unwrap();
    }
    let (count, read, written) = rows(&clients.dynamodb, &names.tables.batches, ["k", "s"]).await;
    assert_eq!(count, sizes.len());
    assert_eq!(
        billed.units("batches", "dynamodb-write-unit") as f64,
        written
    );
    assert_eq!(billed.units("batches", "dynamodb-read-unit") as f64, read);
    // A page of nothing is a unit as well.
    let before = billed.units("batches", "dynamodb-read-unit");
    let empty = BucketKey {
        bucket: Bucket(1),
        shard: ShardId(0),
        sub: 0,
    };
    store.page(&empty, None).await.unwrap();
    assert_eq!(billed.units("batches", "dynamodb-read-unit"), before + 1);
    let expected = written * 625.0 + (read + 1.0) * 125.0;
    assert_eq!(billed.nanodollars("batches") as f64, expected);
}

#[tokio::test]
async fn states_and_payloads_are_metered_as_dynamodb_bills_them() {
    let recorder = PrometheusBuilder::new().build_recorder();
    let billed = Billed(recorder.handle());
    let _here = metrics::set_default_local_recorder(&recorder);
    let (clients, names) = fresh().await;
    let shards = DynamoShardState::new(&clients, &names.tables);
    let row = ShardRow::initial(ShardId(0), 1_790_000_000_000, 300_000);
    shards.create_if_absent(row.clone()).await.unwrap();
    // Not written, and billed.
    shards.create_if_absent(row).await.unwrap();
    let taken = shards.take(ShardId(0), "me").await.unwrap();
    shards.update(taken).await.unwrap();
    shards.read(ShardId(0)).await.unwrap();
    shards.read(ShardId(1)).await.unwrap();
    shards.list().await.unwrap();
    let of_row = rows(&clients.dynamodb, &names.tables.shards, ["p", "n"]).await;
    assert_eq!(of_row, (1, 1.0, 1.0));
    assert_eq!(billed.units("shards", "dynamodb-write-unit"), 4);
    assert_eq!(billed.units("shards", "dynamodb-read-unit"), 3);

    let payloads = DynamoPayloadStore::new(&clients, &names.tables);
    let chunks: Vec<_> = [1_000, 5_000, 300_000]
        .map(|size| Bytes::from(vec![1; size]))
        .into();
    for outcome in payloads.put("d/0/1-00", chunks, 4_102_444_800).await {
        outcome.unwrap();
    }
    // One more than there are: it is looked for, and billed.
    payloads.get("d/0/1-00", 4).await.unwrap();
    let (_, read, written) = rows(
        &clients.dynamodb,
        &names.tables.payloads,
        ["chunk", "chunk"],
    )
    .await;
    assert_eq!(
        billed.units("payloads", "dynamodb-write-unit") as f64,
        written
    );
    assert_eq!(
        billed.units("payloads", "dynamodb-read-unit") as f64,
        read + 1.0
    );
}

#[tokio::test]
async fn rows_of_the_registry_are_metered_as_dynamodb_bills_them() {
    let recorder = PrometheusBuilder::new().build_recorder();
    let billed = Billed(recorder.handle());
    let _here = metrics::set_default_local_recorder(&recorder);
    let (clients, names) = fresh().await;
    let registry = DynamoMessageRegistry::new(&clients, &names.tables);
    let units = |unit: &str| billed.units("tracked", unit) as f64;
    let row = |id: &str, reason_bytes| MessageRow {
        key: MessageKey {
            topic: "orders.delay".into(),
            id: id.into(),
        },
        version: Version {
            partition: 1,
            offset: 1_234,
            appended_ms: 1_790_000_000_000,
        },
        revision: 1,
        details: None,
        state: State::Dead {
            at_ms: -1,
            reason: "x".repeat(reason_bytes),
        },
        overlaps: true,
        expires_s: 4_102_444_800,
    };
    // Around the border of a unit, where a byte more or less counts.
    let sizes: Vec<_> = (920..960).chain([1, 5_000]).collect();
    for (n, size) in sizes.iter().enumerate() {
        let row = row(&n.to_string(), *size);
        let written = registry.write(row.clone(), None).await;
        assert_eq!(written, Ok(Written::Done));
        registry.read(&row.key).await.unwrap();
    }
    let (count, read, written) = rows(&clients.dynamodb, &names.tables.messages, ["k", "k"]).await;
    assert_eq!(count, sizes.len());
    assert!(written > count as f64 + 4.0, "some take two units");
    assert_eq!(units("dynamodb-write-unit"), written);
    assert_eq!(units("dynamodb-read-unit"), read);
    // Not written, and billed by what is there; it need not be read.
    let larger = registry.write(row("41", 1), None).await;
    assert!(matches!(larger, Ok(Written::Differs(Some(_)))));
    assert_eq!(units("dynamodb-write-unit"), written + 5.0);
    assert_eq!(units("dynamodb-read-unit"), read);
    // That there is nothing is read.
    let absent = row("absent", 1);
    let told = registry.write(absent.clone(), Some(absent.stamp())).await;
    assert_eq!(told, Ok(Written::Differs(None)));
    assert_eq!(units("dynamodb-write-unit"), written + 6.0);
    assert_eq!(units("dynamodb-read-unit"), read + 1.0);
}

#[tokio::test]
async fn the_index_is_metered_as_dynamodb_bills_it() {
    let recorder = PrometheusBuilder::new().build_recorder();
    let billed = Billed(recorder.handle());
    let _here = metrics::set_default_local_recorder(&recorder);
    let (clients, names) = fresh().await;
    let registry = DynamoMessageRegistry::new(&clients, &names.tables);
    let units = |unit: &str| billed.units("tracked", unit);
    let row = |id: &str, revision, state| MessageRow {
        key: MessageKey {
            topic: "orders.delay".into(),
            id: id.into(),
        },
        version: Version {
            partition: 1,
            offset: 1_234,
            appended_ms: 1_790_000_000_000,
        },
        revision,
        details: Some(Details {
            due_ms: 1_790_000_060_000,
            output_topic: "orders.standard".into(),
            priority: Priority::Standard,
            path: Path::Short,
        }),
        state,
        overlaps: false,
        expires_s: 4_102_444_800,
    };
    let claim = State::Publishing(Claim {
        by: "emitter-1".into(),
        at_ms: 1_790_000_059_000,
        until_ms: 1_790_000_089_000,
    });
    let published = State::Published(Publication {
        at_ms: 1_790_000_060_000,
        partition: 0,
        offset: 5,
    });
    // Put into the index; replaced there; taken out and put in elsewhere.
    let mut before = None;
    for (revision, state, expected) in [(1, State::Scheduled, 2), (2, claim, 4), (3, published, 7)]
    {
        let row = row("a", revision, state);
        let written = registry.write(row.clone(), before).await;
        assert_eq!(written, Ok(Written::Done));
        assert_eq!(units("dynamodb-write-unit"), expected);
        before = Some(row.stamp());
    }
    // What DynamoDB says of the same first write.
    let item = clients
        .dynamodb
        .get_item()
        .table_name(&names.tables.messages)
        .key("k", AttributeValue::S("orders.delay|a".to_owned()))
        .send();
    let mut item = item.await.unwrap().item.unwrap();
    item.insert("k".to_owned(), AttributeValue::S("other".to_owned()));
    let again = clients
        .dynamodb
        .put_item()
        .table_name(&names.tables.messages)
        .set_item(Some(item))
        .return_consumed_capacity(ReturnConsumedCapacity::Total);
    assert_eq!(consumed(again.send().await.unwrap().consumed_capacity), 2.0);
    // Not written: the index is not either.
    let refused = registry
        .write(row("a", 9, State::Scheduled), None)
        .await
        .unwrap();
    assert!(matches!(refused, Written::Differs(_)));
    assert_eq!(units("dynamodb-write-unit"), 8);
    let reads = units("dynamodb-read-unit");
    let filter = MessageFilter {
        topic: "orders.delay".into(),
        state: None,
        output_topic: None,
        priority: None,
        due_from_ms: 0,
        due_to_ms: i64::MAX,
    };
    registry.list(&filter, None, 10).await.unwrap();
    // Half a unit for each of the sixteen parts.
    assert_eq!(units("dynamodb-read-unit"), reads + 8);
    let filter = MessageFilter {
        state: Some("published"),
        ..filter
    };
    registry.list(&filter, None, 10).await.unwrap();
    assert_eq!(units("dynamodb-read-unit"), reads + 10);
}

#[tokio::test]
async fn queues_are_metered_by_the_call_and_its_64_kib() {
    let recorder = PrometheusBuilder::new().build_recorder();
    let billed = Billed(recorder.handle());
    let _here = metrics::set_default_local_recorder(&recorder);
    let (clients, names) = fresh().await;
    let queue = SqsDelayQueue::new(&clients, &names.queues);
    let lane = Lane::Main(Priority::High);
    let so_far = || billed.units("queues", "sqs-request");
    let message = |bytes| QueueMessage {
        body: "x".repeat(bytes).into(),
        delay_s: 0,
    };
    // A call that asks for the URL, then ten messages of 10,000 bytes in one: two times 64 KiB.
    queue.send(Priority::High, vec![message(10_000); 10]).await;
    assert_eq!(so_far(), 1 + 2);
    // 150,000 bytes: three.
    queue.send(Priority::High, vec![message(50_000); 3]).await;
    assert_eq!(so_far(), 3 + 3);
    let second = std::time::Duration::from_secs(1);
    let (mut handles, mut before) = (Vec::new(), so_far());
    while handles.len() < 13 {
        let received = queue.receive(lane, 10, second, 30 * second).await.unwrap();
        let bytes: usize = received.iter().map(|one| one.body.len()).sum();
        before += (bytes as u64).div_ceil(65_536).max(1);
        assert_eq!(so_far(), before);
        handles.extend(received.into_iter().map(|one| one.handle));
    }
    // Handles are free, whatever their size, and ten go in a call.
    queue.delete(lane, handles).await;
    assert_eq!(so_far(), before + 2);
    queue.receive(lane, 10, second, second).await.unwrap();
    assert_eq!(so_far(), before + 3, "an empty answer is a request, too");
    assert_eq!(billed.nanodollars("queues"), so_far() * 400);
}
