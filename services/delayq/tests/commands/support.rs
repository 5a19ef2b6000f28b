//! An installation of each test's own, and the program run on it.

use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use delayq::settings::COMPRESSED;
use delayq_aws::{AwsSettings, Clients, connect};
use delayq_core::clock::SystemClock;
use delayq_kafka::{KafkaAdmin, KafkaSettings, TopicCreation, TopicSpec};
use delayq_stack::{Endpoints, Stack, StackOptions};
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{Headers as _, Message as _, OwnedHeaders, OwnedMessage};
use rdkafka::producer::{FutureProducer, FutureRecord};
use rdkafka::{ClientConfig, Offset, TopicPartitionList};
use tokio::io::AsyncWriteExt as _;
use tokio::process::{Child, Command};
use tokio::sync::OnceCell;
use tokio::time::Instant;

/// Far longer than any command takes: it only turns a hang into a failure.
const LIMIT: Duration = Duration::from_secs(120);

/// The stack of all tests here; it ends with the process.
pub(crate) async fn endpoints() -> &'static Endpoints {
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

/// Names of a test's own on the shared stack, or on another.
pub(crate) struct Installation {
    pub(crate) prefix: String,
    settings: Vec<String>,
    folder: tempfile::TempDir,
}

/// What a command left.
#[derive(Debug)]
pub(crate) struct Ran {
    pub(crate) code: Option<i32>,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl Ran {
    /// The one line of its output with all these parts.
    pub(crate) fn line(&self, parts: &[&str]) -> &str {
        let mut lines = self
            .out
            .lines()
            .filter(|line| parts.iter().all(|part| line.contains(part)));
        let line = lines
            .next()
            .unwrap_or_else(|| panic!("no line with {parts:?} in {self:#?}"));
        assert_eq!(lines.next(), None, "a second line with {parts:?}");
        line
    }

    /// How many lines of its output begin or end so.
    pub(crate) fn count(&self, part: &str) -> usize {
        let is = |line: &&str| line.starts_with(part) || line.ends_with(part);
        self.out.lines().filter(is).count()
    }
}

impl Installation {
    pub(crate) async fn new() -> Self {
        Self::on(endpoints().await)
    }

    pub(crate) fn on(endpoints: &Endpoints) -> Self {
        let prefix = format!("c{}", &uuid::Uuid::new_v4().simple().to_string()[..10]);
        let settings = vec![
            format!("kafka.bootstrap_servers={}", endpoints.kafka),
            format!("topics.delay={prefix}.delay"),
            format!("topics.dead_letter={prefix}.dead"),
            format!("topics.allow={prefix}.out*"),
            format!("canary.topic={prefix}.canary"),
            format!("aws.sqs_endpoint={}", endpoints.sqs),
            format!("aws.dynamodb_endpoint={}", endpoints.dynamodb),
            format!("aws.prefix={prefix}"),
            "http.listen=127.0.0.1:0".to_owned(),
            "console.listen=127.0.0.1:0".to_owned(),
        ];
        Self {
            prefix,
            settings,
            folder: tempfile::tempdir().expect("a folder"),
        }
    }

    /// Adds or replaces a setting.
    pub(crate) fn set(&mut self, setting: String) {
        self.settings.push(setting);
    }

    pub(crate) fn target(&self) -> String {
        format!("{}.out", self.prefix)
    }

    pub(crate) fn delay_topic(&self) -> String {
        format!("{}.delay", self.prefix)
    }

    pub(crate) async fn run(&self, args: &[&str]) -> Ran {
        self.run_with(args, b"").await
    }

    pub(crate) async fn run_with(&self, args: &[&str], stdin: &[u8]) -> Ran {
        let mut command = program();
        command.current_dir(self.folder.path()).args(args);
        for setting in &self.settings {
            command.args(["--set", setting]);
        }
        finish(command, stdin).await
    }

    /// The dead-letter topic.
    pub(crate) fn dead_topic(&self) -> String {
        format!("{}.dead", self.prefix)
    }

    /// A command of these, under way.
    pub(crate) fn start(&self, args: &[&str]) -> Child {
        let mut command = program();
        command.current_dir(self.folder.path()).args(args);
        for setting in &self.settings {
            command.args(["--set", setting]);
        }
        command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        command.spawn().expect("delayq starts")
    }

    /// All roles as a process, with times compressed to seconds and without canaries, which would move a test's offsets;
    /// it ends with the handle.
    pub(crate) fn roles(&mut self) -> Child {
        let group = format!("kafka.group_id={}", self.prefix);
        self.settings.extend(COMPRESSED.map(str::to_owned));
        self.settings.extend([
            group,
            "canary.enabled=false".to_owned(),
            "kafka.session_timeout=6s".to_owned(),
            "kafka.revoke_timeout=5s".to_owned(),
        ]);
        self.start(&["run", "all", "--without-console"])
    }

    /// The console, as a process.
    pub(crate) fn console(&self) -> Child {
        self.start(&["run", "console"])
    }

    /// Creates all it needs.
    pub(crate) async fn init(&self) -> Ran {
        let ran = self.run(&["init", "--targets", &self.target()]).await;
        assert_eq!(ran.code, Some(0), "{ran:#?}");
        ran
    }

    pub(crate) async fn check(&self) -> Ran {
        self.run(&["check", "--targets", &self.target()]).await
    }
}

/// The program, with nothing of the caller's environment that would steer it.
pub(crate) fn program() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_delayq"));
    for (name, _) in std::env::vars_os() {
        let own = name.to_string_lossy();
        if own.starts_with("DELAYQ_") || own.starts_with("AWS_") {
            command.env_remove(&name);
        }
    }
    command.kill_on_drop(true);
    command
}

/// Runs a command to its end.
pub(crate) async fn finish(mut command: Command, stdin: &[u8]) -> Ran {
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("delayq starts");
    let mut input = child.stdin.take().expect("stdin");
    // A command that does not read has ended, and says why itself.
    input.write_all(stdin).await.ok();
    drop(input);
    let output = tokio::time::timeout(LIMIT, child.wait_with_output())
        .await
        .expect("it hangs")
        .expect("its output");
    Ran {
        code: output.status.code(),
        out: String::from_utf8(output.stdout).expect("text"),
        err: String::from_utf8(output.stderr).expect("text"),
    }
}

pub(crate) async fn admin() -> KafkaAdmin {
    admin_of(&endpoints().await.kafka)
}

fn admin_of(bootstrap_servers: &str) -> KafkaAdmin {
    KafkaAdmin::new(&KafkaSettings {
        bootstrap_servers: bootstrap_servers.to_owned(),
        ..KafkaSettings::default()
    })
    .expect("an admin client")
}

/// Creates a topic with these settings.
pub(crate) async fn create_topic(name: &str, settings: &[(&str, &str)]) {
    create_topic_on(&endpoints().await.kafka, name, settings).await;
}

/// As [`create_topic`], on another broker.
pub(crate) async fn create_topic_on(servers: &str, name: &str, settings: &[(&str, &str)]) {
    let spec = TopicSpec {
        name: name.to_owned(),
        partitions: 1,
        replication: -1,
        config: settings
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect(),
    };
    let created = admin_of(servers)
        .ensure_topics(&[spec])
        .await
        .expect("created");
    assert_eq!(created, [Ok(TopicCreation::Created)]);
}

pub(crate) async fn clients() -> Clients {
    clients_of(endpoints().await).await
}

/// As [`clients`], of another stack.
pub(crate) async fn clients_of(endpoints: &Endpoints) -> Clients {
    let settings = AwsSettings::local(&endpoints.sqs, &endpoints.dynamodb);
    connect(&settings, Arc::new(SystemClock))
        .await
        .expect("clients")
}

/// Reads topics from the beginning until `enough` says so.
pub(crate) async fn read_until(
    topics: &[String],
    enough: impl Fn(&[OwnedMessage]) -> bool + Send + 'static,
) -> Vec<OwnedMessage> {
    let (servers, topics) = (endpoints().await.kafka.clone(), topics.to_vec());
    let read = tokio::task::spawn_blocking(move || {
        let consumer: BaseConsumer = ClientConfig::new()
            .set("bootstrap.servers", servers)
            .set("group.id", "reader")
            .set("fetch.queue.backoff.ms", "5")
            .create()
            .expect("a consumer");
        let mut at = TopicPartitionList::new();
        for topic in &topics {
            // A topic that was just made is known to the controller before every broker knows it.
            let known_by = Instant::now() + LIMIT;
            while at.elements_for_topic(topic).is_empty() {
                assert!(Instant::now() < known_by, "{topic} is no topic");
                let metadata = consumer
                    .fetch_metadata(Some(topic), LIMIT)
                    .expect("metadata");
                for partition in metadata.topics().iter().flat_map(|t| t.partitions()) {
                    at.add_partition_offset(topic, partition.id(), Offset::Beginning)
                        .expect("an offset");
                }
            }
        }
        consumer.assign(&at).expect("assigned");
        let until = Instant::now() + LIMIT;
        let mut read = Vec::new();
        while !enough(&read) {
            assert!(
                Instant::now() < until,
                "{topics:?}: only {} came",
                read.len()
            );
            match consumer.poll(Duration::from_millis(100)) {
                Some(Ok(message)) => read.push(message.detach()),
                // The client goes on by itself.
                Some(Err(KafkaError::MessageConsumption(
                    RDKafkaErrorCode::AllBrokersDown | RDKafkaErrorCode::BrokerTransportFailure,
                )))
                | None => {}
                Some(Err(error)) => panic!("reading {topics:?}: {error}"),
            }
        }
        read
    });
    read.await.expect("read")
}

/// The text of a header.
pub(crate) fn header(message: &OwnedMessage, name: &str) -> Option<String> {
    let found = message.headers()?.iter().find(|header| header.key == name);
    Some(String::from_utf8(found?.value?.to_vec()).expect("text"))
}

/// Key, value, headers.
pub(crate) type Written<'a> = (String, String, Vec<(&'a str, String)>);

/// Writes records to a topic.
pub(crate) async fn write(topic: &str, records: &[Written<'_>]) {
    let producer: FutureProducer = ClientConfig::new()
        .set("bootstrap.servers", &endpoints().await.kafka)
        .set("linger.ms", "5")
        .create()
        .expect("a producer");
    let mut sends = Vec::new();
    for (key, value, headers) in records {
        let mut all = OwnedHeaders::new();
        for (key, value) in headers {
            all = all.insert(rdkafka::message::Header {
                key,
                value: Some(value),
            });
        }
        let record = FutureRecord::to(topic).key(key).payload(value).headers(all);
        sends.push(producer.send_result(record).expect("queued"));
    }
    for send in sends {
        send.await.expect("answered").expect("produced");
    }
}
