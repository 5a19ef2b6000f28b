//! `check` over what is broken: each fault is found with its remedy, and only problems change the exit code.

use aws_sdk_dynamodb::types::{
    AttributeDefinition, BillingMode, KeySchemaElement, KeyType, ScalarAttributeType,
    StreamSpecification, StreamViewType, TimeToLiveSpecification,
};
use aws_sdk_sqs::types::QueueAttributeName;
use delayq_stack::{Component, Endpoints, Stack, StackOptions};

use crate::support::{Installation, clients, clients_of, create_topic, endpoints};

/// The settings that compact, lose and overflow.
const BAD_DELAY_TOPIC: [(&str, &str); 4] = [
    ("cleanup.policy", "compact"),
    ("max.message.bytes", "2000000"),
    ("retention.ms", "3600000"),
    ("message.timestamp.type", "CreateTime"),
];

#[tokio::test(flavor = "multi_thread")]
async fn topics() {
    let own = Installation::new().await;
    let delay = own.delay_topic();
    create_topic(&delay, &BAD_DELAY_TOPIC).await;
    own.init().await;
    let check = own.check().await;
    assert_eq!(check.code, Some(1), "{check:#?}");
    check.line(&[
        "problem: ",
        &delay,
        "is compacted",
        "-> set cleanup.policy=delete",
    ]);
    check.line(&[
        "problem: ",
        &delay,
        "-> set kafka.message_max to 2001024 or more",
    ]);
    check.line(&["warning: ", &delay, "keeps records for 1h"]);
    check.line(&["warning: ", &delay, "CreateTime"]);
    // Room for what the delay topic takes, not for kafka.message_max alone.
    check.line(&["problem: ", "dead-letter topic", "may have 2065536"]);
    // What is larger than kafka.message_max is refused and never gets there.
    assert_eq!(check.count("ok: output topic"), 3, "{check:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn queues() {
    let own = Installation::new().await;
    own.init().await;
    let sqs = clients().await.sqs;
    let url = async |name: &str| {
        let name = format!("{}-{name}", own.prefix);
        let answer = sqs.get_queue_url().queue_name(name).send().await.unwrap();
        answer.queue_url.unwrap()
    };
    for queue in ["low", "high-dead-letters", "ticks.fifo"] {
        let url = url(queue).await;
        sqs.delete_queue().queue_url(url).send().await.unwrap();
    }
    let dead_letters = format!("{}-standard-dead-letters", own.prefix);
    let redrive = format!(
        r#"{{"deadLetterTargetArn":"arn:aws:sqs:elasticmq:000000000000:{dead_letters}","maxReceiveCount":3}}"#
    );
    sqs.set_queue_attributes()
        .queue_url(url("standard").await)
        .attributes(QueueAttributeName::RedrivePolicy, redrive)
        .send()
        .await
        .unwrap();
    let plain = format!("{}-low", own.prefix);
    sqs.create_queue().queue_name(&plain).send().await.unwrap();

    let check = own.check().await;
    assert_eq!(check.code, Some(1), "{check:#?}");
    for gone in ["high-dead-letters", "ticks.fifo"] {
        let name = format!("{}-{gone} does not exist", own.prefix);
        check.line(&["problem: ", &name, "-> run `delayq init`"]);
    }
    check.line(&[
        "problem: ",
        &plain,
        "no redrive policy",
        "-> run `delayq init`",
    ]);
    check.line(&[
        "problem: ",
        "-standard gives a message up after 3 receives",
        "-> run `delayq init`",
    ]);
    assert_eq!(check.count("problem: "), 4, "{check:#?}");

    own.init().await;
    let check = own.check().await;
    assert_eq!(check.code, Some(0), "init is the remedy: {check:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn tables() {
    // DynamoDB Local makes an index by the six workers that also sweep each table with TTL every second, for 10 s each:
    // beside the tables of all other tests an index waits for minutes.
    let alone = Stack::start(StackOptions {
        components: vec![Component::DynamoDb],
        ..StackOptions::default()
    })
    .await
    .expect("a DynamoDB of its own");
    let endpoints = Endpoints {
        dynamodb: alone.endpoints().dynamodb.clone(),
        ..endpoints().await.clone()
    };
    let mut own = Installation::on(&endpoints);
    let dynamodb = clients_of(&endpoints).await.dynamodb;
    let create = async |table: &str, key: &str, view: Option<StreamViewType>| {
        let stream = view.map(|view| {
            let stream = StreamSpecification::builder().stream_enabled(true);
            stream.stream_view_type(view).build().unwrap()
        });
        dynamodb
            .create_table()
            .set_stream_specification(stream)
            .table_name(table)
            .billing_mode(BillingMode::PayPerRequest)
            .attribute_definitions(
                AttributeDefinition::builder()
                    .attribute_name(key)
                    .attribute_type(ScalarAttributeType::S)
                    .build()
                    .unwrap(),
            )
            .key_schema(
                KeySchemaElement::builder()
                    .attribute_name(key)
                    .key_type(KeyType::Hash)
                    .build()
                    .unwrap(),
            )
            .send()
            .await
            .unwrap();
    };
    let [batches, payloads, messages] =
        ["batches", "payloads", "messages"].map(|table| format!("{}-{table}", own.prefix));
    create(&batches, "id", None).await;
    create(&payloads, "chunk", None).await;
    create(&messages, "k", None).await;
    let check = own.check().await;
    assert_eq!(check.code, Some(1), "{check:#?}");
    check.line(&[
        "problem: ",
        &batches,
        "other keys",
        "hash key k (S)",
        "-> choose another aws.prefix",
    ]);
    check.line(&["problem: ", &batches, "TTL is off", "-> run `delayq init`"]);
    check.line(&["problem: ", &payloads, "TTL is off", "-> run `delayq init`"]);
    check.line(&["problem: ", &messages, "TTL is off", "-> run `delayq init`"]);
    check.line(&[
        "problem: ",
        &messages,
        "stream is off",
        "-> run `delayq init`",
    ]);
    check.line(&["problem: ", &messages, "no index", "-> run `delayq init`"]);
    let shards = format!("{}-shards does not exist", own.prefix);
    check.line(&["problem: ", &shards, "-> run `delayq init`"]);

    // What init cannot set right ends it, with the reason.
    let init = own.run(&["init"]).await;
    assert_eq!(init.code, Some(1), "{init:#?}");
    assert!(
        init.err.contains(&batches) && init.err.contains("other keys"),
        "{init:#?}"
    );

    dynamodb
        .delete_table()
        .table_name(&batches)
        .send()
        .await
        .unwrap();
    let dry = own.run(&["init", "--dry-run"]).await;
    dry.line(&[&payloads, "differs, would switch TTL on"]);
    dry.line(&[
        &messages,
        "differs, would switch TTL and stream on, would add index by-due",
    ]);
    let init = own.run(&["init"]).await;
    init.line(&[&payloads, "differed, TTL switched on"]);
    init.line(&[
        &messages,
        "differed, TTL and stream switched on, index by-due added",
    ]);
    let check = own.check().await;
    check.line(&["ok: table ", &payloads]);
    check.line(&["ok: table ", &messages]);
    let again = own.run(&["init"]).await;
    again.line(&[&messages, "exists"]);
    let ttl = TimeToLiveSpecification::builder()
        .enabled(true)
        .attribute_name("other");
    let other = format!("{}x-batches", own.prefix);
    create(&other, "id", None).await;
    let keys_only = format!("{}x-messages", own.prefix);
    create(&keys_only, "k", Some(StreamViewType::KeysOnly)).await;
    dynamodb
        .update_time_to_live()
        .table_name(&other)
        .time_to_live_specification(ttl.build().unwrap())
        .send()
        .await
        .unwrap();
    own.set(format!("aws.prefix={}x", own.prefix));
    let check = own.check().await;
    check.line(&[
        "problem: ",
        &other,
        "TTL is on attribute `other`",
        "-> switch it off",
    ]);
    check.line(&[
        "problem: ",
        &keys_only,
        "stream shows KEYS_ONLY",
        "-> switch it off",
    ]);

    // That stream is not init's to switch off.
    dynamodb
        .delete_table()
        .table_name(&other)
        .send()
        .await
        .unwrap();
    let init = own.run(&["init"]).await;
    assert_eq!(init.code, Some(1), "{init:#?}");
    for part in [&*keys_only, "KEYS_ONLY", "NEW_AND_OLD_IMAGES"] {
        assert!(init.err.contains(part), "{init:#?}");
    }
}
