//! Records written by Apache Kafka's own console producer, read back by its console consumer.

use std::process::Stdio;
use std::time::Duration;

use delayq::role::Role;
use delayq_e2e::{Deployment, stack};
use tokio::io::AsyncWriteExt as _;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_console_producer_and_consumer_are_all_a_user_needs() {
    let stack = stack().await;
    let deployment = Deployment::new(&[]).await;
    deployment.init(&["orders"]).await;
    let replica = deployment.start(&Role::ALL);
    // A start at which nothing is wrong ends in readiness, and says so.
    let ready = async {
        while !replica.health.readiness().ready {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    let in_time = tokio::time::timeout(Duration::from_secs(30), ready).await;
    assert!(in_time.is_ok(), "{:?}", replica.health.readiness());
    let target = deployment.target("orders");
    let mut lines = String::new();
    for (n, delay_ms) in [(1, 100), (2, 3_000), (3, 20_000)] {
        lines.push_str(&format!(
            "delay-ms:{delay_ms},delay-target:{target},delay-priority:high\tkey-{n}\torder {n}\n"
        ));
    }
    let mut producer = stack
        .console_producer(&format!("{}.delay", deployment.prefix))
        .await
        .expect("the console producer");
    producer
        .args([
            "--property",
            "parse.headers=true",
            "--property",
            "parse.key=true",
        ])
        .stdin(Stdio::piped());
    let mut producer = producer.spawn().expect("started");
    let mut stdin = producer.stdin.take().expect("stdin");
    stdin.write_all(lines.as_bytes()).await.expect("written");
    drop(stdin);
    assert!(producer.wait().await.expect("ended").success());

    let mut consumer = stack
        .console_consumer(&format!("{target}.high"))
        .await
        .expect("the console consumer");
    consumer.args([
        "--from-beginning",
        "--max-messages",
        "3",
        "--timeout-ms",
        "60000",
    ]);
    consumer.args([
        "--property",
        "print.headers=true",
        "--property",
        "print.key=true",
    ]);
    let output = consumer
        .stderr(Stdio::inherit())
        .output()
        .await
        .expect("read");
    let text = String::from_utf8(output.stdout).expect("text");
    for (n, path) in [(1, "direct"), (2, "short"), (3, "long")] {
        let line = text
            .lines()
            .find(|l| l.ends_with(&format!("key-{n}\torder {n}")))
            .unwrap_or_else(|| panic!("no order {n} in {text}"));
        assert!(line.contains(&format!("delayed-path:{path}")), "{line}");
        assert!(
            line.contains("delayed-source:") && !line.contains("delay-ms"),
            "{line}"
        );
    }
    assert_eq!(text.lines().count(), 3, "{text}");
    replica.stop().await;
}
