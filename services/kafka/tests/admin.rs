//! What the mock cluster can show of the admin client: it knows metadata, but no administrative calls.

mod support;

use delayq_core::error::ErrorClass;
use delayq_kafka::{KafkaAdmin, KafkaSettings};
use support::{cluster, kafka};

#[tokio::test(flavor = "multi_thread")]
async fn a_topic_is_described_and_a_missing_one_is_not_created_by_asking() {
    let cluster = cluster(&[("t", 3)]);
    let admin = KafkaAdmin::new(&kafka(&cluster)).expect("admin");
    assert_eq!(admin.layout("t").await, Ok(Some((3, 1))));
    assert_eq!(admin.layout("missing").await, Ok(None));
    assert_eq!(admin.layout("missing").await, Ok(None), "still missing");
}

#[tokio::test(flavor = "multi_thread")]
async fn no_broker_is_a_transient_error() {
    let settings = KafkaSettings {
        bootstrap_servers: "127.0.0.1:1".to_owned(),
        ..KafkaSettings::default()
    };
    let admin = KafkaAdmin::new(&settings).expect("admin");
    let error = admin.layout("t").await.expect_err("no broker");
    assert_eq!(error.class, ErrorClass::Transient);
}
