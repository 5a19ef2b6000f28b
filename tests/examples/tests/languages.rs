//! Every example against the real stack, as a reader would run it: the producer's record comes out at its time, and a
//! second copy of it is not handled again.

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::time::Duration;

use delayq::role::Role;
use delayq_core::record::{Header, Record};
use delayq_e2e::{Deployment, Producer, read_until, stack};
use delayq_examples_test::program::Setting;
use delayq_examples_test::workshop::{self, Step, Tool, Workshop};

const KEY: &str = "order-1";
const VALUE: &str = r#"{"order":1}"#;
/// Later than this a record was not on time by any reading: the due time must have been misread.
const SANE_LATENESS_MS: i64 = 120_000;

struct Example {
    /// Of the copy, and in `DELAYQ_SKIP_EXAMPLES`.
    name: &'static str,
    /// Folder below `examples`.
    folder: &'static str,
    tools: &'static [Tool],
    install: &'static [Step],
    producer: &'static [&'static str],
    consumer: &'static [&'static str],
    /// Whether Ctrl-C ends the consumer with success; a shell script ends by the signal.
    ends_well: bool,
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn java() {
    check(Example {
        name: "java",
        folder: "java",
        tools: workshop::JAVA,
        install: &[&["mvn", "-q", "-B", "compile"]],
        producer: &[
            "java",
            "-XX:TieredStopAtLevel=1",
            "-cp",
            "target/classes:target/lib/*",
            "com.example.orders.DelayProducer",
        ],
        consumer: &[
            "java",
            "-XX:TieredStopAtLevel=1",
            "-cp",
            "target/classes:target/lib/*",
            "com.example.orders.OrderConsumer",
        ],
        // A JVM that ends by a signal says so, however clean its end.
        ends_well: false,
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn python() {
    check(Example {
        name: "python",
        folder: "python",
        tools: workshop::PYTHON,
        install: workshop::PIP,
        producer: &[".venv/bin/python", "producer.py"],
        consumer: &[".venv/bin/python", "consumer.py"],
        ends_well: true,
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kafka_python() {
    check(Example {
        name: "kafka-python",
        folder: "python-kafka-python",
        tools: workshop::PYTHON,
        install: workshop::PIP,
        producer: &[".venv/bin/python", "producer.py"],
        consumer: &[".venv/bin/python", "consumer.py"],
        ends_well: true,
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn node() {
    check(Example {
        name: "node",
        folder: "node",
        tools: workshop::NODE,
        install: &[&["npm", "ci", "--silent", "--no-audit", "--no-fund"]],
        producer: &["node", "producer.js"],
        consumer: &["node", "consumer.js"],
        ends_well: true,
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn go() {
    check(Example {
        name: "go",
        folder: "go",
        tools: workshop::GO,
        install: &[&["go", "build", "-o", "bin/", "./..."]],
        producer: &["bin/producer"],
        consumer: &["bin/consumer"],
        ends_well: true,
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn console() {
    check(Example {
        name: "console",
        folder: "console",
        tools: workshop::CONSOLE,
        install: &[],
        producer: &["./produce.sh"],
        consumer: &["./consume.sh"],
        ends_well: false,
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kcat() {
    check(Example {
        name: "kcat",
        folder: "console",
        tools: workshop::KCAT,
        install: &[],
        producer: &["./kcat-produce.sh"],
        consumer: &["./kcat-consume.sh"],
        ends_well: false,
    })
    .await;
}

async fn check(example: Example) {
    let Example {
        name,
        folder,
        tools,
        install,
        ..
    } = example;
    let Some(workshop) = Workshop::open(name, folder, tools, install).await else {
        return;
    };
    let kafka = stack().await.endpoints().kafka.clone();
    let deployment = Deployment::new(&[]).await;
    deployment.init(&["orders"]).await;
    let replica = deployment.start(&Role::ALL);
    let target = deployment.target("orders");
    let delay_topic = format!("{}.delay", deployment.prefix);
    let mut env = vec![
        ("KAFKA_BOOTSTRAP".to_owned(), kafka.clone()),
        ("DELAY_TOPIC".to_owned(), delay_topic.clone()),
        ("TARGET".to_owned(), target.clone()),
        ("GROUP".to_owned(), format!("{}-example", deployment.prefix)),
    ];
    if name == "console" {
        env.push(("PATH".to_owned(), console_tools(&workshop.dir).await));
    }
    let setting = Setting {
        dir: workshop.dir.clone(),
        env,
    };
    let mut consumer = setting.start(example.consumer);
    let sent = setting.run(example.producer).await;
    eprintln!("{name}: {}", sent.trim());

    let handled = Handled::read(&consumer.line().await);
    assert_eq!((&*handled.key, &*handled.value), (KEY, VALUE));
    assert!(
        (0..SANE_LATENESS_MS).contains(&handled.late_ms),
        "{name}: {} ms late",
        handled.late_ms
    );
    assert!(
        handled.source.starts_with(&format!("{delay_topic}/")),
        "{}",
        handled.source
    );

    // The same once more, as after a crash of delayq, and then another one: both to one partition, so in this order.
    let output = format!("{target}.high");
    let arrived = read_until(
        &kafka,
        std::slice::from_ref(&output),
        Duration::from_secs(30),
        |arrived| !arrived.is_empty(),
    )
    .await;
    let copy = arrived.first().expect("it was published").record.clone();
    let other = with_source(&copy, &format!("{delay_topic}/0/4711"));
    let producer = Producer::new(&kafka, &output);
    for record in [copy.clone(), copy, other] {
        producer.send(record).await;
    }
    let duplicate = format!("duplicate source={}", handled.source);
    assert_eq!(consumer.line().await, duplicate, "{name}");
    assert_eq!(consumer.line().await, duplicate, "{name}");
    let other = Handled::read(&consumer.line().await);
    assert_eq!(other.source, format!("{delay_topic}/0/4711"));

    let status = consumer.interrupt().await;
    assert!(status.success() || !example.ends_well, "{name}: {status}");
    replica.stop().await;
}

/// A consumer's line about a record that it handled.
struct Handled {
    key: String,
    value: String,
    late_ms: i64,
    source: String,
}

impl Handled {
    fn read(line: &str) -> Self {
        let parts: Vec<&str> = line.split(' ').collect();
        let part = |name: &str| {
            let found = parts.iter().find_map(|part| part.strip_prefix(name));
            found.unwrap_or_else(|| panic!("no {name} in {line:?}"))
        };
        Self {
            key: part("key=").to_owned(),
            value: part("value=").to_owned(),
            late_ms: part("late_ms=").parse().expect("a number"),
            source: part("source=").to_owned(),
        }
    }
}

fn with_source(record: &Record, source: &str) -> Record {
    let mut record = record.clone();
    record.headers.retain(|h| h.name != "delayed-source");
    record.headers.push(Header::text("delayed-source", source));
    record
}

/// Kafka's console tools under the names that a Kafka distribution gives them; answers with a `PATH` to them.
async fn console_tools(dir: &Path) -> String {
    let jars = stack().await.tools_classpath().await.expect("the tools");
    let jars = jars.to_str().expect("a path in UTF-8");
    let bin = dir.join("bin");
    std::fs::create_dir_all(&bin).expect("a folder");
    for (script, class) in [
        (
            "kafka-console-producer.sh",
            "org.apache.kafka.tools.ConsoleProducer",
        ),
        (
            "kafka-console-consumer.sh",
            "org.apache.kafka.tools.consumer.ConsoleConsumer",
        ),
    ] {
        let file = bin.join(script);
        let text = format!("#!/bin/sh\nexec java -Xmx256m -cp '{jars}' {class} \"$@\"\n");
        std::fs::write(&file, text).expect("a script");
        std::fs::set_permissions(&file, Permissions::from_mode(0o755)).expect("executable");
    }
    let path = std::env::var("PATH").expect("a PATH");
    format!("{}:{path}", bin.display())
}
