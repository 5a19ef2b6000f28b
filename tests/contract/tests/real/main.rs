//! The suites over the real adapters, on a stack that the tests start themselves (or that the environment names).
//! Every test has queues, tables and topics of its own, with random names.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "helpers of tests"
)]

mod kafka;
mod metered;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use delayq_aws::{
    AwsSettings, Clients, DynamoBatchStore, DynamoMessageFeed, DynamoMessageRegistry,
    DynamoPayloadStore, DynamoShardState, DynamoTallyStore, Names, SqsDelayQueue, SqsTickQueue,
    connect, provision,
};
use delayq_contract::message_feed::Followed;
use delayq_core::clock::{Clock, SystemClock};
use delayq_core::ports::{MessageFeed, MessageRegistry};
use delayq_stack::{Endpoints, Stack, StackOptions};
use tokio::sync::OnceCell;

/// One stack for the whole run; it ends with this process.
async fn endpoints() -> &'static Endpoints {
    static STACK: OnceCell<Stack> = OnceCell::const_new();
    STACK
        .get_or_init(async || {
            Stack::from_env_or_start(StackOptions::default())
                .await
                .expect("a stack")
        })
        .await
        .endpoints()
}

fn random_name() -> String {
    format!("contract-{}", uuid::Uuid::new_v4().simple())
}

/// Clients and the names of queues and tables that exist and are empty.
async fn fresh() -> (Clients, Names) {
    let endpoints = endpoints().await;
    let settings = AwsSettings::local(&endpoints.sqs, &endpoints.dynamodb);
    let clients = connect(&settings, Arc::new(SystemClock)).await.unwrap();
    let names = Names::with_prefix(&random_name());
    provision(&clients, &names, Duration::from_secs(30))
        .await
        .unwrap();
    (clients, names)
}

struct WithFeeds {
    registry: DynamoMessageRegistry,
    clients: Clients,
    names: Names,
}

#[async_trait]
impl Followed for WithFeeds {
    fn registry(&self) -> &dyn MessageRegistry {
        &self.registry
    }

    async fn open(&self) -> Box<dyn MessageFeed> {
        let feed = DynamoMessageFeed::open(&self.clients, &self.names.tables).await;
        Box::new(feed.unwrap())
    }

    fn now_ms(&self) -> i64 {
        SystemClock.now_ms()
    }

    /// AWS tells the second, DynamoDB Local the minute.
    fn early_ms(&self) -> i64 {
        60_000
    }
}

/// A fresh subject for each port.
mod subject {
    use super::*;

    pub(super) async fn delay_queue() -> SqsDelayQueue {
        let (clients, names) = fresh().await;
        SqsDelayQueue::new(&clients, &names.queues)
    }

    pub(super) async fn tick_queue() -> SqsTickQueue {
        let (clients, names) = fresh().await;
        SqsTickQueue::new(&clients, &names.queues)
    }

    pub(super) async fn batch_store() -> DynamoBatchStore {
        let (clients, names) = fresh().await;
        DynamoBatchStore::new(&clients, &names.tables)
    }

    pub(super) async fn shard_state() -> DynamoShardState {
        let (clients, names) = fresh().await;
        DynamoShardState::new(&clients, &names.tables)
    }

    pub(super) async fn payload_store() -> DynamoPayloadStore {
        let (clients, names) = fresh().await;
        DynamoPayloadStore::new(&clients, &names.tables)
    }

    pub(super) async fn tally_store() -> DynamoTallyStore {
        let (clients, names) = fresh().await;
        DynamoTallyStore::new(&clients, &names.tables)
    }

    pub(super) async fn message_registry() -> DynamoMessageRegistry {
        let (clients, names) = fresh().await;
        DynamoMessageRegistry::new(&clients, &names.tables)
    }

    pub(super) async fn message_index() -> DynamoMessageRegistry {
        message_registry().await
    }

    pub(super) async fn message_feed() -> WithFeeds {
        let (clients, names) = fresh().await;
        WithFeeds {
            registry: DynamoMessageRegistry::new(&clients, &names.tables),
            clients,
            names,
        }
    }

    pub(super) async fn record_source() -> kafka::Real {
        kafka::Real::new(&endpoints().await.kafka)
    }

    pub(super) async fn record_sink() -> kafka::Real {
        record_source().await
    }
}

macro_rules! on_real {
    ($port:ident: $($check:ident)*) => {
        mod $port {
            $(
                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $check() {
                    delayq_contract::$port::$check(&super::subject::$port().await).await;
                }
            )*
        }
    };
}

delayq_contract::delay_queue_checks!(on_real);
delayq_contract::tick_queue_checks!(on_real);
delayq_contract::batch_store_checks!(on_real);
delayq_contract::shard_state_checks!(on_real);
delayq_contract::payload_store_checks!(on_real);
delayq_contract::tally_store_checks!(on_real);
delayq_contract::message_registry_checks!(on_real);
delayq_contract::message_index_checks!(on_real);
delayq_contract::message_feed_checks!(on_real);
delayq_contract::record_source_checks!(on_real);
delayq_contract::record_sink_checks!(on_real);
