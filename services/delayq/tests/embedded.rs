//! The embedded mode as a team uses it in its own tests: the binary, any Kafka client, and a clock that is moved over HTTP.

#![allow(clippy::expect_used, reason = "helpers of tests")]

use std::io::{BufRead as _, BufReader, Read as _};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use rdkafka::ClientConfig;
use rdkafka::consumer::{Consumer as _, StreamConsumer};
use rdkafka::message::{Header, Headers as _, Message as _, OwnedHeaders};
use rdkafka::producer::{FutureProducer, FutureRecord};
use rdkafka::{Offset, TopicPartitionList};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::time::Instant;

/// Far more than anything here takes.
const PATIENCE: Duration = Duration::from_secs(60);

struct Embedded {
    child: Child,
    http: String,
    kafka: String,
}

impl Embedded {
    fn start() -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_delayq"))
            .args(["embedded", "--kafka=127.0.0.1:0", "--targets=orders"])
            .args(["--set=http.listen=127.0.0.1:0", "--set=log.format=json"])
            .env_remove("DELAYQ_CONFIG")
            .stdin(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("delayq starts");
        let mut lines = BufReader::new(child.stderr.take().expect("stderr"));
        let (mut http, mut kafka) = (None, None);
        while http.is_none() || kafka.is_none() {
            let mut line = String::new();
            let read = lines.read_line(&mut line).expect("a line");
            assert!(read > 0, "ended early");
            let field = |name: &str| {
                let rest = line.split(&format!("\"{name}\":\"")).nth(1)?;
                Some(rest.split('"').next()?.to_owned())
            };
            kafka = kafka.or_else(|| field("bootstrap_servers"));
            http = http.or_else(|| field("address").filter(|_| line.contains("serving")));
        }
        std::thread::spawn(move || lines.read_to_string(&mut String::new()));
        Self {
            child,
            http: http.expect("an address"),
            kafka: kafka.expect("an address"),
        }
    }

    async fn call(&self, method: &str, path: &str, body: &str) -> String {
        let mut stream = tokio::net::TcpStream::connect(&self.http)
            .await
            .expect("connected");
        let request = format!(
            "{method} {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
            body.len()
        );
        stream.write_all(request.as_bytes()).await.expect("asked");
        let mut text = String::new();
        stream.read_to_string(&mut text).await.expect("answered");
        text
    }

    async fn until_ready(&self) {
        let until = Instant::now() + PATIENCE;
        loop {
            let answer = self.call("GET", "/readyz", "").await;
            if answer.starts_with("HTTP/1.1 200") {
                return;
            }
            assert!(Instant::now() < until, "{answer}");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    async fn produce(&self, key: &str, headers: &[(&str, &str)]) {
        let producer: FutureProducer = ClientConfig::new()
            .set("bootstrap.servers", &self.kafka)
            .create()
            .expect("a producer");
        let mut all = OwnedHeaders::new();
        for (key, value) in headers {
            let value = Some(*value);
            all = all.insert(Header { key, value });
        }
        let record = FutureRecord::to("delayq.delay")
            .key(key)
            .payload("cancel")
            .headers(all);
        producer.send(record, PATIENCE).await.expect("produced");
    }

    fn consumer(&self, topic: &str) -> StreamConsumer {
        let consumer: StreamConsumer = ClientConfig::new()
            .set("bootstrap.servers", &self.kafka)
            .set("group.id", "test")
            .set("fetch.wait.max.ms", "10")
            .create()
            .expect("a consumer");
        let mut partitions = TopicPartitionList::new();
        for partition in 0..3 {
            partitions
                .add_partition_offset(topic, partition, Offset::Beginning)
                .expect("an offset");
        }
        consumer.assign(&partitions).expect("assigned");
        consumer
    }
}

impl Drop for Embedded {
    fn drop(&mut self) {
        self.child.kill().expect("killed");
        self.child.wait().expect("reaped");
    }
}

#[tokio::test]
async fn an_order_is_cancelled_after_seven_days_in_a_moment() {
    let delayq = Embedded::start();
    delayq.until_ready().await;
    let headers = [
        ("delay-ms", "604800000"),
        ("delay-target", "orders"),
        ("delay-priority", "high"),
    ];
    delayq.produce("order-1", &headers).await;
    let consumer = delayq.consumer("orders.high");
    // Six days are not enough, whichever tier the record is in by then.
    let answer = delayq
        .call("POST", "/test/clock", r#"{"advance": "6d"}"#)
        .await;
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    let early = tokio::time::timeout(Duration::from_secs(2), consumer.recv()).await;
    assert!(early.is_err(), "a day too early");
    let moved = Instant::now();
    delayq
        .call("POST", "/test/clock", r#"{"advance": "1d"}"#)
        .await;
    let message = tokio::time::timeout(PATIENCE, consumer.recv())
        .await
        .expect("it comes")
        .expect("a record");
    eprintln!("published {:?} after the clock was moved", moved.elapsed());
    assert_eq!(message.key(), Some(b"order-1".as_slice()));
    let path = message.headers().and_then(|headers| {
        headers
            .iter()
            .find(|header| header.key == "delayed-path")?
            .value
    });
    assert_eq!(path, Some(b"long".as_slice()));
    // A record of the new time counts its delay from there.
    let headers = [
        ("delay-ms", "3600000"),
        ("delay-target", "orders"),
        ("delay-priority", "high"),
    ];
    delayq.produce("order-2", &headers).await;
    let early = tokio::time::timeout(Duration::from_secs(2), consumer.recv()).await;
    assert!(early.is_err(), "an hour too early");
    delayq
        .call("POST", "/test/clock", r#"{"advance": "1h"}"#)
        .await;
    let message = tokio::time::timeout(PATIENCE, consumer.recv())
        .await
        .expect("it comes")
        .expect("a record");
    assert_eq!(message.key(), Some(b"order-2".as_slice()));
}

#[tokio::test]
async fn wrong_calls_of_the_clock_say_what_is_right() {
    let delayq = Embedded::start();
    for body in [
        r#"{"advance": "-1d"}"#,
        r#"{"advance": 7}"#,
        r#"{"advanced": "7d"}"#,
        "7d",
    ] {
        let answer = delayq.call("POST", "/test/clock", body).await;
        assert!(answer.starts_with("HTTP/1.1 400"), "{body}: {answer}");
        assert!(answer.contains("7d"), "{body}: {answer}");
    }
    let answer = delayq.call("GET", "/test/clock", "").await;
    assert!(answer.contains("now_ms"), "{answer}");
}
