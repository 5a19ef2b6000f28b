//! A bucket closes while a router writes into it, both orders forced: nothing is lost, and the duplicate that
//! the protocol allows has the same source and is counted.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use delayq::health::HealthPort;
use delayq::role::Role;
use delayq::settings;
use delayq_aws::{
    Clients, DynamoBatchStore, DynamoMessageRegistry, DynamoPayloadStore, DynamoShardState, Names,
    SqsDelayQueue,
};
use delayq_core::bucket::BucketKey;
use delayq_core::clock::SystemClock;
use delayq_core::error::PortError;
use delayq_core::ports::{BatchStore, Outcomes, Page, ShardState, StoredBatch};
use delayq_e2e::produce::record;
use delayq_e2e::{Deployment, Producer, read_until, stack};
use delayq_kafka::{KafkaSink, KafkaSource};
use delayq_router::RouterPorts;
use delayq_runtime::health::Health;
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};
use tokio_util::sync::CancellationToken;

/// On which side of the scheduler's closing a write takes effect.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Order {
    /// Written before the bucket is read, acknowledged after it was handed over: both sides send.
    SeenByBoth,
    /// Written after the bucket was handed over: only the router's second step can save it.
    SeenByRouter,
}

/// The real store, holding writes back until their bucket has been handed over.
struct Held {
    store: DynamoBatchStore,
    shards: DynamoShardState,
    order: Order,
}

impl Held {
    async fn handed_over(&self, key: &BucketKey) {
        loop {
            let row = self
                .shards
                .read(key.shard)
                .await
                .expect("the state row")
                .expect("a row, made before the first write");
            if row.watermark >= key.bucket {
                return;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

#[async_trait]
impl BatchStore for Held {
    async fn put(&self, batches: Vec<StoredBatch>) -> Outcomes {
        let keys: Vec<_> = batches.iter().map(|b| b.key).collect();
        if self.order == Order::SeenByBoth {
            let outcomes = self.store.put(batches).await;
            for key in &keys {
                self.handed_over(key).await;
            }
            return outcomes;
        }
        for key in &keys {
            self.handed_over(key).await;
        }
        self.store.put(batches).await
    }

    async fn page(&self, key: &BucketKey, after: Option<&str>) -> Result<Page, PortError> {
        self.store.page(key, after).await
    }
}

fn counter(metrics: &PrometheusHandle, name: &str) -> u64 {
    let text = metrics.render();
    text.lines()
        .filter(|line| line.starts_with(name))
        .filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok())
        .sum::<f64>() as u64
}

async fn force(order: Order, metrics: &PrometheusHandle) {
    const RECORDS: usize = 30;
    let kafka = &stack().await.endpoints().kafka;
    let deployment = Deployment::new(&["long.shards=1"]).await;
    deployment.init(&["a"]).await;
    let config = &deployment.config;
    let others = deployment.start(&[Role::Scheduler, Role::Emitter]);

    let clock = Arc::new(SystemClock);
    let clients: Clients = delayq_aws::connect(&settings::aws(config), clock.clone())
        .await
        .expect("clients");
    let names = Names::with_prefix(&config.aws.prefix);
    let store = Held {
        store: DynamoBatchStore::new(&clients, &names.tables),
        shards: DynamoShardState::new(&clients, &names.tables),
        order,
    };
    let ports = RouterPorts {
        source: Box::new(
            KafkaSource::start(&settings::kafka(config), settings::source(config))
                .expect("a consumer"),
        ),
        sink: Arc::new(
            KafkaSink::new(&settings::kafka(config), settings::sink(config)).expect("a producer"),
        ),
        queue: Arc::new(SqsDelayQueue::new(&clients, &names.queues)),
        store: Arc::new(store),
        shards: Arc::new(DynamoShardState::new(&clients, &names.tables)),
        payloads: Arc::new(DynamoPayloadStore::new(&clients, &names.tables)),
        registry: Arc::new(DynamoMessageRegistry::new(&clients, &names.tables)),
        upcoming: Arc::default(),
        clock,
        health: Arc::new(HealthPort::expecting(&Health::new(), &[])),
    };
    let stop = CancellationToken::new();
    let router = tokio::spawn(delayq_router::run(
        settings::router(config).expect("settings"),
        ports,
        stop.clone(),
    ));

    let sent_too = counter(metrics, "delayq_router_closing_bucket_records_total");
    let dropped = counter(metrics, "delayq_emitter_duplicates_dropped_total");
    let producer = Producer::new(kafka, &format!("{}.delay", deployment.prefix));
    let target = deployment.target("a");
    for n in 0..RECORDS {
        producer
            .send(record(
                Some(&n.to_string()),
                Some("v"),
                &[("delay-target", &target), ("delay-ms", "20000")],
            ))
            .await;
    }
    let topics = [format!("{target}.standard")];
    read_until(kafka, &topics, Duration::from_secs(60), |a| {
        a.len() >= RECORDS
    })
    .await;
    let arrived = read_until(kafka, &topics, Duration::from_secs(6), |_| false).await;
    let mut sources: Vec<_> = arrived
        .iter()
        .map(|a| a.text("delayed-source").expect("a source").to_owned())
        .collect();
    sources.sort();
    sources.dedup();
    assert_eq!(sources.len(), RECORDS, "{order:?}: lost");
    assert!(
        arrived
            .iter()
            .all(|a| a.text("delayed-path") == Some("long"))
    );
    assert!(
        arrived.iter().all(|a| a
            .number("delayed-due-ms")
            .is_some_and(|due_ms| a.timestamp_ms >= due_ms)),
        "{order:?}: early"
    );
    let sent_too = counter(metrics, "delayq_router_closing_bucket_records_total") - sent_too;
    let dropped = counter(metrics, "delayq_emitter_duplicates_dropped_total") - dropped;
    assert_eq!(
        sent_too as usize, RECORDS,
        "{order:?}: the router saw the bucket close"
    );
    let copies = arrived.len() - RECORDS + dropped as usize;
    match order {
        Order::SeenByBoth => assert_eq!(
            copies, RECORDS,
            "each record was sent by both sides, and each copy is accounted for"
        ),
        Order::SeenByRouter => assert_eq!(copies, 0, "the scheduler never saw them"),
    }
    stop.cancel();
    router.await.expect("the router stopped");
    others.stop().await;
}

// One test: the counters are the process's.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_bucket_closing_under_a_write_loses_nothing_in_either_order() {
    let metrics = PrometheusBuilder::new()
        .install_recorder()
        .expect("the only recorder");
    force(Order::SeenByBoth, &metrics).await;
    force(Order::SeenByRouter, &metrics).await;
}
