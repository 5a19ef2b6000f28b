//! What is not permitted: the action to allow is named.

use axum::Router;
use axum::http::{StatusCode, header};
use delayq_stack::{Component, Endpoints, Stack, StackOptions};
use tokio::process::Command;

use crate::support::{Installation, create_topic_on, endpoints};

/// Answers as AWS does to whoever may do nothing; gives its address.
async fn forbidding() -> String {
    let denied = async || {
        let body = r#"{"__type":"com.amazon.coral.service#AccessDeniedException","message":"User: x is not authorized"}"#;
        let kind = [(header::CONTENT_TYPE, "application/x-amz-json-1.0")];
        (StatusCode::BAD_REQUEST, kind, body)
    };
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0")
        .await
        .expect("a port");
    let address = listener.local_addr().expect("an address");
    let app = Router::new().fallback(denied);
    tokio::spawn(async move { axum::serve(listener, app).await });
    format!("http://{address}")
}

#[tokio::test(flavor = "multi_thread")]
async fn by_aws() {
    let aws = forbidding().await;
    let own = Installation::on(&Endpoints {
        kafka: endpoints().await.kafka.clone(),
        sqs: aws.clone(),
        dynamodb: aws.clone(),
    });
    let check = own.check().await;
    assert_eq!(check.code, Some(1), "{check:#?}");
    let who = "in the policy of the role that delayq runs as";
    check.line(&["problem: SQS at ", "-> allow sqs:GetQueueUrl", who]);
    check.line(&[
        "problem: DynamoDB at ",
        "-> allow dynamodb:DescribeTable",
        who,
    ]);
    let init = own.run(&["init"]).await;
    assert_eq!(init.code, Some(1), "{init:#?}");
    assert!(init.err.contains("allow sqs:GetQueueUrl"), "{init:#?}");
}

/// Allows everybody these operations on a topic and no other, with Kafka's own tool.
async fn allow_only(stack: &Stack, topic: &str, operations: &[&str]) {
    let classpath = stack.tools_classpath().await.expect("the tools");
    let mut command = Command::new("java");
    command
        .arg("-cp")
        .arg(classpath)
        .arg("org.apache.kafka.tools.AclCommand")
        .args(["--bootstrap-server", &stack.endpoints().kafka, "--add"])
        .args(["--allow-principal", "User:*", "--topic", topic]);
    for operation in operations {
        command.args(["--operation", operation]);
    }
    let output = command.output().await.expect("java runs");
    assert!(output.status.success(), "{output:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn by_kafka() {
    let authorizer = "org.apache.kafka.metadata.authorizer.StandardAuthorizer";
    let stack = Stack::start(StackOptions {
        components: vec![Component::Kafka],
        kafka_properties: [
            ("authorizer.class.name", authorizer),
            ("allow.everyone.if.no.acl.found", "true"),
        ]
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .into(),
        ..StackOptions::default()
    })
    .await
    .expect("a broker");
    let shared = endpoints().await;
    let own = Installation::on(&Endpoints {
        kafka: stack.endpoints().kafka.clone(),
        ..shared.clone()
    });
    let delay = own.delay_topic();
    let stamped = [("message.timestamp.type", "CreateTime")];
    create_topic_on(&stack.endpoints().kafka, &delay, &stamped).await;
    own.init().await;
    let dead = format!("{}.dead", own.prefix);
    let output = format!("{}.high", own.target());
    allow_only(&stack, &delay, &["Describe", "DescribeConfigs"]).await;
    allow_only(&stack, &dead, &["Describe"]).await;
    allow_only(&stack, &output, &["DescribeConfigs"]).await;

    let check = own.check().await;
    assert_eq!(check.code, Some(1), "{check:#?}");
    check.line(&["problem: ", &dead, "-> grant DESCRIBE_CONFIGS on the topic"]);
    check.line(&["problem: ", &output, "-> grant DESCRIBE on the topic"]);
    assert_eq!(check.count("problem: "), 2, "{check:#?}");

    let init = own.run(&["init"]).await;
    assert_eq!(init.code, Some(0), "it exists, that is enough: {init:#?}");
    init.line(&[&dead, "its settings cannot be read", "DESCRIBE_CONFIGS"]);

    let target = own.target();
    let send = own
        .run(&["send", "--target", &target, "--value", "x"])
        .await;
    assert_eq!(send.code, Some(1), "{send:#?}");
    assert!(send.err.contains("grant WRITE"), "{send:#?}");

    let fix = own.run(&["init", "--fix"]).await;
    assert_eq!(fix.code, Some(1), "{fix:#?}");
    for part in [&*delay, "message.timestamp.type", "grant ALTER_CONFIGS"] {
        assert!(fix.err.contains(part), "{fix:#?}");
    }
}
