//! One stack, hurt in every way a test of delayq will hurt it.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "a test fails by panicking"
)]

use std::path::Path;
use std::time::Duration;

use delayq_stack::{Component, Stack, StackError, StackOptions};
use rdkafka::ClientConfig;
use rdkafka::Message;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::consumer::{Consumer, StreamConsumer};
use rdkafka::producer::{FutureProducer, FutureRecord};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout};

const SOON: Duration = Duration::from_secs(20);

async fn only(component: Component) -> Stack {
    Stack::start(StackOptions {
        components: vec![component],
        ..StackOptions::default()
    })
    .await
    .unwrap()
}

async fn create_topic(bootstrap: &str, topic: &str) {
    let admin: AdminClient<DefaultClientContext> = ClientConfig::new()
        .set("bootstrap.servers", bootstrap)
        .create()
        .unwrap();
    let made = admin
        .create_topics(
            &[NewTopic::new(topic, 1, TopicReplication::Fixed(1))],
            &AdminOptions::new(),
        )
        .await
        .unwrap();
    assert!(made.iter().all(Result::is_ok), "{made:?}");
}

async fn produce(bootstrap: &str, topic: &str, value: &str) {
    let producer: FutureProducer = ClientConfig::new()
        .set("bootstrap.servers", bootstrap)
        .create()
        .unwrap();
    producer
        .send(FutureRecord::<str, str>::to(topic).payload(value), SOON)
        .await
        .unwrap();
}

/// The first `count` values of a topic, read by a group as delayq does: through the coordinator.
async fn consume(bootstrap: &str, topic: &str, group: &str, count: usize) -> Vec<String> {
    let consumer: StreamConsumer = ClientConfig::new()
        .set("bootstrap.servers", bootstrap)
        .set("group.id", group)
        .set("auto.offset.reset", "earliest")
        .create()
        .unwrap();
    consumer.subscribe(&[topic]).unwrap();
    let mut values = Vec::new();
    while values.len() < count {
        let record = timeout(SOON, consumer.recv()).await.unwrap().unwrap();
        values.push(String::from_utf8(record.payload().unwrap().to_vec()).unwrap());
    }
    values
}

#[tokio::test]
async fn kafka_comes_back_from_a_kill_on_its_port_with_its_data() {
    let stack = only(Component::Kafka).await;
    let bootstrap = stack.endpoints().kafka.clone();
    create_topic(&bootstrap, "kept").await;
    produce(&bootstrap, "kept", "before").await;
    assert_eq!(consume(&bootstrap, "kept", "first", 1).await, ["before"]);

    let pid = stack.pid(Component::Kafka).await.unwrap().unwrap();
    stack.kill(Component::Kafka).await.unwrap();
    assert!(!Path::new(&format!("/proc/{pid}")).exists());
    assert_eq!(stack.pid(Component::Kafka).await.unwrap(), None);
    assert!(matches!(
        stack.kill(Component::Kafka).await,
        Err(StackError::NotRunning(_))
    ));

    let began = Instant::now();
    stack.start_component(Component::Kafka).await.unwrap();
    println!(
        "kafka restarted after a kill in {:.2} s",
        began.elapsed().as_secs_f32()
    );
    assert!(matches!(
        stack.start_component(Component::Kafka).await,
        Err(StackError::AlreadyRunning(_))
    ));
    produce(&bootstrap, "kept", "after").await;
    assert_eq!(
        consume(&bootstrap, "kept", "second", 2).await,
        ["before", "after"]
    );
}

#[tokio::test]
async fn a_stopped_kafka_is_silent_until_it_continues() {
    let stack = only(Component::Kafka).await;
    let bootstrap = stack.endpoints().kafka.clone();
    create_topic(&bootstrap, "paused").await;
    let producer: FutureProducer = ClientConfig::new()
        .set("bootstrap.servers", &bootstrap)
        .create()
        .unwrap();
    let send = |value| producer.send(FutureRecord::<str, str>::to("paused").payload(value), SOON);
    send("one").await.unwrap();
    stack.stop_process(Component::Kafka).await.unwrap();
    let mut pending = Box::pin(send("two"));
    assert!(
        timeout(Duration::from_millis(300), &mut pending)
            .await
            .is_err(),
        "answered while stopped"
    );
    stack.cont_process(Component::Kafka).await.unwrap();
    pending.await.unwrap();
    assert_eq!(consume(&bootstrap, "paused", "g", 2).await, ["one", "two"]);
}

#[tokio::test]
async fn the_console_tools_speak_headers_with_our_clients() {
    let stack = only(Component::Kafka).await;
    create_topic(&stack.endpoints().kafka, "console").await;
    let mut producer = stack.console_producer("console").await.unwrap();
    let mut producer = producer
        .args(["--property", "parse.headers=true"])
        .stdin(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = producer.stdin.take().unwrap();
    stdin
        .write_all(b"delay-ms:1500,delay-target:orders\thello\n")
        .await
        .unwrap();
    drop(stdin);
    assert!(producer.wait().await.unwrap().success());

    let mut consumer = stack.console_consumer("console").await.unwrap();
    let arguments = [
        "--from-beginning",
        "--max-messages",
        "1",
        "--property",
        "print.headers=true",
    ];
    let output = consumer.args(arguments).output().await.unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert_eq!(
        text.trim(),
        "delay-ms:1500,delay-target:orders\thello",
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
}

/// One request, the whole answer.
async fn http(endpoint: &str, headers: &str, body: &str) -> String {
    let address = endpoint.strip_prefix("http://").unwrap();
    let mut stream = TcpStream::connect(address).await.unwrap();
    let length = body.len();
    let request = format!(
        "POST / HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n{headers}Content-Length: {length}\r\n\r\n{body}"
    );
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    timeout(SOON, stream.read_to_string(&mut answer))
        .await
        .unwrap()
        .unwrap();
    answer
}

async fn sqs(endpoint: &str, body: &str) -> String {
    http(
        endpoint,
        "Content-Type: application/x-www-form-urlencoded\r\n",
        body,
    )
    .await
}

async fn dynamodb(endpoint: &str, action: &str, body: &str) -> String {
    let headers = format!(
        "Content-Type: application/x-amz-json-1.0\r\nX-Amz-Target: DynamoDB_20120810.{action}\r\nAuthorization: \
         AWS4-HMAC-SHA256 Credential=a/20260101/us-east-1/dynamodb/aws4_request, SignedHeaders=host, Signature=0\r\n"
    );
    http(endpoint, &headers, body).await
}

#[tokio::test]
async fn sqs_answers_with_its_own_address_and_forgets_at_a_restart() {
    let stack = only(Component::ElasticMq).await;
    let endpoint = stack.endpoints().sqs.clone();
    let made = sqs(&endpoint, "Action=CreateQueue&QueueName=q1").await;
    assert!(
        made.contains(&format!("{endpoint}/000000000000/q1")),
        "{made}"
    );
    stack.kill(Component::ElasticMq).await.unwrap();
    stack.start_component(Component::ElasticMq).await.unwrap();
    let listed = sqs(&endpoint, "Action=ListQueues").await;
    assert!(
        listed.starts_with("HTTP/1.1 200") && !listed.contains("q1"),
        "{listed}"
    );
}

#[tokio::test]
async fn sqs_keeps_waiting_and_received_messages_over_a_kill_if_told_to() {
    let stack = Stack::start(StackOptions {
        components: vec![Component::ElasticMq],
        keep_messages: true,
        ..StackOptions::default()
    })
    .await
    .unwrap();
    let endpoint = stack.endpoints().sqs.clone();
    let queue = format!("QueueUrl={endpoint}/000000000000/q1");
    let made = sqs(&endpoint, "Action=CreateQueue&QueueName=q1").await;
    assert!(made.starts_with("HTTP/1.1 200"), "{made}");
    for (body, delay_s) in [("received", 0), ("deleted", 0), ("delayed", 1)] {
        let send = format!("Action=SendMessage&{queue}&MessageBody={body}&DelaySeconds={delay_s}");
        sqs(&endpoint, &send).await;
        if delay_s > 0 {
            continue;
        }
        let receive = format!("Action=ReceiveMessage&{queue}&VisibilityTimeout=1");
        let got = sqs(&endpoint, &receive).await;
        assert!(got.contains(body), "{got}");
        if body == "deleted" {
            let handle = got.split("<ReceiptHandle>").nth(1).unwrap();
            let handle = handle.split('<').next().unwrap().replace('#', "%23");
            let delete = format!("Action=DeleteMessage&{queue}&ReceiptHandle={handle}");
            let gone = sqs(&endpoint, &delete).await;
            assert!(gone.starts_with("HTTP/1.1 200"), "{gone}");
        }
    }
    stack.kill(Component::ElasticMq).await.unwrap();
    stack.start_component(Component::ElasticMq).await.unwrap();
    let receive = format!("Action=ReceiveMessage&{queue}&MaxNumberOfMessages=10&WaitTimeSeconds=2");
    let mut seen = String::new();
    let until = Instant::now() + SOON;
    while !(seen.contains(">received<") && seen.contains(">delayed<")) {
        assert!(Instant::now() < until, "{seen}");
        seen.push_str(&sqs(&endpoint, &receive).await);
    }
    assert!(!seen.contains(">deleted<"), "{seen}");
}

#[tokio::test]
async fn dynamodb_keeps_its_items_over_a_kill() {
    let stack = only(Component::DynamoDb).await;
    let endpoint = stack.endpoints().dynamodb.clone();
    let table = r#"{"TableName":"kept-items","KeySchema":[{"AttributeName":"k","KeyType":"HASH"}],
        "AttributeDefinitions":[{"AttributeName":"k","AttributeType":"S"}],"BillingMode":"PAY_PER_REQUEST"}"#;
    let made = dynamodb(&endpoint, "CreateTable", table).await;
    assert!(made.starts_with("HTTP/1.1 200"), "{made}");
    dynamodb(
        &endpoint,
        "PutItem",
        r#"{"TableName":"kept-items","Item":{"k":{"S":"kept"},"v":{"N":"42"}}}"#,
    )
    .await;
    stack.kill(Component::DynamoDb).await.unwrap();
    stack.start_component(Component::DynamoDb).await.unwrap();
    let item = dynamodb(
        &endpoint,
        "GetItem",
        r#"{"TableName":"kept-items","Key":{"k":{"S":"kept"}}}"#,
    )
    .await;
    assert!(item.contains("42"), "{item}");
}

#[tokio::test]
async fn a_broker_that_cannot_start_says_why_in_the_error() {
    let options = StackOptions {
        components: vec![Component::Kafka],
        kafka_properties: vec![("num.io.threads".to_owned(), "none".to_owned())],
        ..StackOptions::default()
    };
    let error = Stack::start(options).await.unwrap_err();
    let StackError::NotReady { tail, log, .. } = &error else {
        panic!("{error}")
    };
    assert!(tail.contains("num.io.threads"), "{error}");
    assert!(log.exists(), "the log is kept: {}", log.display());
}

#[tokio::test]
async fn a_component_that_was_not_chosen_cannot_be_touched() {
    let stack = only(Component::ElasticMq).await;
    assert_eq!(stack.endpoints().kafka, "");
    assert!(matches!(
        stack.kill(Component::Kafka).await,
        Err(StackError::NotChosen(Component::Kafka))
    ));
}
