//! Each role calls exactly what its policy allows: `deploy/terraform/modules/rights/rights.json` has nothing too little and nothing too
//! much. Every role runs as a replica of its own behind a recorder, and meets all that makes it call something.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use aws_sdk_dynamodb::types::AttributeValue;
use bytes::Bytes;
use clap::Parser;
use delayq::app::Backends;
use delayq::console::Console;
use delayq::dead_letters::{self, DeadLettersCommand};
use delayq::operator::Output;
use delayq::role::Role;
use delayq_aws::{Clients, Names, QueueNames};
use delayq_core::batch;
use delayq_core::clock::{Clock as _, SystemClock};
use delayq_core::ports::Lane;
use delayq_core::priority::Priority;
use delayq_core::record::{Path, Record, Scheduled, Source, TopicPartition};
use delayq_core::tracked::MessageKey;
use delayq_e2e::produce::{noise, record};
use delayq_e2e::{Deployment, Producer, Replica, read_until, stack, until_committed};
use delayq_kafka::{KafkaAdmin, TopicSpec};
use delayq_runtime::config::Config;
use delayq_runtime::health::Health;
use delayq_security_test::recorder::Recorder;
use delayq_security_test::rights::{allowed, taken};
use delayq_stack::{Component, Port};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;

const PATIENCE: Duration = Duration::from_secs(90);
/// With the compressed times of the tests.
const DIRECT_MS: &str = "0";
const SHORT_MS: &str = "3000";
const LONG_MS: &str = "20000";
/// Too large for a batch: goes as chunks.
const LARGE: usize = 900_000;

/// A deployment, and a recorder for each role.
struct Scene {
    deployment: Deployment,
    recorders: BTreeMap<&'static str, Recorder>,
    producer: Producer,
    console: Port,
}

impl Scene {
    async fn new() -> anyhow::Result<Self> {
        let endpoints = stack().await.endpoints();
        let console = Port::free()?;
        let listen = format!("console.listen=127.0.0.1:{}", console.number());
        // So that a message that is held has to be hidden again soon.
        let deployment = Deployment::new(&[&listen, "emitter.visibility=12s"]).await;
        let mut recorders = BTreeMap::new();
        for role in [
            "router",
            "scheduler",
            "emitter",
            "console",
            "init",
            "dead-letters",
        ] {
            recorders.insert(
                role,
                Recorder::start(&endpoints.sqs, &endpoints.dynamodb).await?,
            );
        }
        let producer = Producer::new(&endpoints.kafka, &deployment.config.topics.delay[0]);
        Ok(Self {
            deployment,
            recorders,
            producer,
            console,
        })
    }

    /// The configuration as this role has it.
    fn config(&self, role: &str) -> Config {
        let recorder = &self.recorders[role];
        let mut config = self.deployment.config.clone();
        config.aws.sqs_endpoint = Some(recorder.sqs.clone());
        config.aws.dynamodb_endpoint = Some(recorder.dynamodb.clone());
        config
    }

    fn start(&self, role: Role) -> Replica {
        let recorded = Deployment {
            config: self.config(name(role)),
            prefix: self.deployment.prefix.clone(),
        };
        recorded.start(&[role])
    }

    async fn send(&self, value: Bytes, headers: &[(&str, &str)]) {
        self.send_to("orders", value, headers).await;
    }

    async fn send_to(&self, target: &str, value: Bytes, headers: &[(&str, &str)]) {
        let target = self.deployment.target(target);
        let mut all = vec![("delay-target", target.as_str())];
        all.extend(headers);
        let mut record = record(Some("key"), None, &all);
        record.value = Some(value);
        self.producer.send(record).await;
    }

    /// Waits until that many records are out.
    async fn came_out(&self, records: usize) {
        let output = [format!("{}.standard", self.deployment.target("orders"))];
        let kafka = &stack().await.endpoints().kafka;
        let arrived =
            read_until(kafka, &output, PATIENCE, |arrived| arrived.len() >= records).await;
        assert_eq!(arrived.len(), records);
    }

    async fn all_read(&self) {
        let config = &self.deployment.config;
        let kafka = &stack().await.endpoints().kafka;
        until_committed(
            kafka,
            &config.kafka.group_id,
            &config.topics.delay[0],
            PATIENCE,
        )
        .await;
    }
}

/// As the policies call it.
fn name(role: Role) -> &'static str {
    match role {
        Role::Router => "router",
        Role::Scheduler => "scheduler",
        Role::Emitter => "emitter",
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_role_calls_what_its_policy_allows_and_nothing_else() {
    let scene = Scene::new().await.expect("a scene");
    prepare(&scene).await;
    // What was made before must be enough for whoever only looks: Terraform makes it.
    delayq::app::init(&scene.config("init"), &[scene.deployment.target("orders")])
        .await
        .expect("init again");
    let (router, scheduler, emitter) = (
        scene.start(Role::Router),
        scene.start(Role::Scheduler),
        scene.start(Role::Emitter),
    );
    every_path(&scene).await;
    console(&scene).await.expect("the console answers");
    bad_days(&scene).await.expect("bad days");
    emitter.stop().await;
    letters(&scene).await.expect("the letters' commands");
    router.stop().await;
    scheduler.stop().await;

    let mut told = String::new();
    for (role, recorder) in &scene.recorders {
        let allowed = allowed(role).expect("a role");
        let taken = taken(&recorder.calls(), &scene.deployment.prefix).expect("known resources");
        let list = |title: &str, rights: BTreeSet<_>| match rights.is_empty() {
            true => String::new(),
            false => format!("{role} {title}: {rights:?}\n"),
        };
        told += &list("lacks", &taken - &allowed);
        told += &list("never uses", &allowed - &taken);
    }
    assert!(told.is_empty(), "{told}");
}

/// What is there before a role starts; the dead-letter topic has no room for the largest refusal.
async fn prepare(scene: &Scene) {
    let config = &scene.deployment.config;
    let topic = TopicSpec {
        name: config.topics.dead_letter.clone(),
        partitions: 1,
        replication: -1,
        config: [("max.message.bytes".to_owned(), "1000000".to_owned())].into(),
    };
    let admin = KafkaAdmin::new(&delayq::settings::kafka(config)).expect("an admin client");
    for made in admin.ensure_topics(&[topic]).await.expect("an answer") {
        made.expect("created");
    }
    scene.deployment.init(&["orders"]).await;
}

/// Small, large and tracked records on each path; refusals that the dead-letter topic has no room
/// for, one of the router's and one of the emitter's.
async fn every_path(scene: &Scene) {
    // What is overdue when it is first read goes past the tiers.
    scene
        .send(Bytes::from("first"), &[("delay-ms", DIRECT_MS)])
        .await;
    scene.came_out(1).await;
    for delay in [DIRECT_MS, SHORT_MS, LONG_MS] {
        scene
            .send(Bytes::from("small"), &[("delay-ms", delay)])
            .await;
        scene.send(noise(LARGE, 7), &[("delay-ms", delay)]).await;
        let tracked = [("delay-ms", delay), ("delay-id", delay)];
        scene.send(Bytes::from("tracked"), &tracked).await;
    }
    scene
        .send(noise(1_048_000, 7), &[("delay-ms", "soon")])
        .await;
    scene
        .send_to("missing", noise(1_048_000, 7), &[("delay-ms", SHORT_MS)])
        .await;
    scene.came_out(10).await;
}

/// Every request of docs/api.md that calls SQS or DynamoDB.
async fn console(scene: &Scene) -> anyhow::Result<()> {
    let config = scene.config("console");
    let backends = Backends::aws(&config).await?;
    let (stop, health) = (CancellationToken::new(), Health::new());
    let console = Console::bind(&config, backends, &health).await?;
    let serving = tokio::spawn(console.serve(stop.clone()));
    scene
        .send(
            noise(LARGE, 7),
            &[("delay-ms", "60000"), ("delay-id", "large")],
        )
        .await;
    scene
        .send(
            Bytes::from("x"),
            &[("delay-ms", "60000"), ("delay-id", "small")],
        )
        .await;
    scene.all_read().await;
    let topic = &scene.deployment.config.topics.delay[0];
    for (method, path, body, status) in [
        ("GET", format!("/v1/messages?topic={topic}"), "", 200),
        ("GET", format!("/v1/messages/small?topic={topic}"), "", 200),
        (
            "POST",
            format!("/v1/messages/small/cancel?topic={topic}"),
            "",
            200,
        ),
        (
            "POST",
            format!("/v1/messages/large/reschedule?topic={topic}"),
            r#"{"delay_ms": 90000}"#,
            200,
        ),
        ("GET", "/v1/upcoming".to_owned(), "", 200),
        ("GET", "/v1/overview".to_owned(), "", 200),
        ("GET", "/v1/dead-letters".to_owned(), "", 200),
        ("GET", "/v1/dead-letters/0/0".to_owned(), "", 200),
    ] {
        let answer = request(scene.console.number(), method, &path, body).await?;
        let expected = format!("HTTP/1.1 {status}");
        anyhow::ensure!(answer.starts_with(&expected), "{method} {path}: {answer}");
    }
    // The changes of the stream are read from the start on.
    until_used(scene, "console", "dynamodb:GetRecords on messages-stream").await?;
    stop.cancel();
    serving.await?
}

async fn request(port: u16, method: &str, path: &str, body: &str) -> anyhow::Result<String> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).await?;
    let length = body.len();
    let head = format!(
        "{method} {path} HTTP/1.1\r\nhost: 127.0.0.1:{port}\r\nconnection: close\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n\r\n"
    );
    stream.write_all(format!("{head}{body}").as_bytes()).await?;
    let mut answer = Vec::new();
    timeout(PATIENCE, stream.read_to_end(&mut answer)).await??;
    Ok(String::from_utf8_lossy(&answer).into_owned())
}

/// Sends a message as a router would, of records that are due so many ms from now.
async fn send_message(scene: &Scene, lane: Lane, due_in_ms: &[i64]) -> anyhow::Result<()> {
    let now_ms = SystemClock.now_ms();
    let records: Vec<_> = (0..)
        .zip(due_in_ms)
        .map(|(n, in_ms)| Scheduled {
            source: Source {
                at: TopicPartition::new(scene.deployment.config.topics.delay[0].clone(), 0),
                // No other message has it.
                offset: now_ms + n,
            },
            output_topic: format!("{}.standard", scene.deployment.target("orders")).into(),
            priority: Priority::Standard,
            due_ms: now_ms + in_ms,
            timestamp_ms: now_ms,
            id: None,
            path: Path::Short,
            record: Record {
                value: Some(Bytes::from("from outside")),
                ..Record::default()
            },
            payload: None,
            limit: None,
        })
        .collect();
    let body = batch::to_text(&batch::encode(&records, 1).context("a batch")?);
    let clients = clients(scene).await?;
    let name = QueueNames::with_prefix(&scene.deployment.prefix).lane(lane);
    let url = clients.sqs.get_queue_url().queue_name(name).send().await?;
    let url = url.queue_url.context("a URL")?;
    let sent = clients.sqs.send_message().queue_url(url).message_body(body);
    sent.send().await?;
    Ok(())
}

/// Waits until the role has used this right.
async fn until_used(scene: &Scene, role: &str, right: &str) -> anyhow::Result<()> {
    let until = Instant::now() + PATIENCE;
    while !taken(&scene.recorders[role].calls(), &scene.deployment.prefix)?.contains(right) {
        anyhow::ensure!(Instant::now() < until, "{role} has not used {right}");
        sleep(Duration::from_millis(100)).await;
    }
    Ok(())
}

/// A tracked record whose row somebody has deleted.
async fn a_row_that_is_gone(scene: &Scene) -> anyhow::Result<()> {
    let tracked = [("delay-id", "gone"), ("delay-ms", "8000")];
    scene.send(Bytes::from("tracked"), &tracked).await;
    scene.all_read().await;
    let prefix = &scene.deployment.prefix;
    let key = MessageKey {
        topic: scene.deployment.config.topics.delay[0].as_str().into(),
        id: "gone".into(),
    };
    let row = AttributeValue::S(key.to_string());
    let clients = clients(scene).await?;
    let gone = clients.dynamodb.delete_item().key("k", row);
    gone.table_name(Names::with_prefix(prefix).tables.messages)
        .send()
        .await?;
    until_used(scene, "emitter", "dynamodb:GetItem on messages").await
}

const STANDARD: Lane = Lane::Main(Priority::Standard);
const STUBBORN: Lane = Lane::DeadLetter(Priority::Standard);

/// What is due much later than the first record of its message goes back to the queue; what cannot be published keeps its message
/// hidden, also one that SQS moved to a dead-letter queue because it was received too often; a call without an answer is looked into.
async fn bad_days(scene: &Scene) -> anyhow::Result<()> {
    send_message(scene, STANDARD, &[0, 120_000]).await?;
    until_used(scene, "emitter", "sqs:SendMessage on queues").await?;
    // Of the calls that write a row, the one that moves a shard on: the shard is held while it takes long, and looked at when it fails.
    let scheduler = &scene.recorders["scheduler"];
    scheduler.fail_next(":watermark", Duration::from_millis(2_500));
    until_used(scene, "scheduler", "sqs:ChangeMessageVisibility on ticks").await?;
    scheduler.fail_next(":watermark", Duration::ZERO);
    until_used(scene, "scheduler", "dynamodb:GetItem on shards").await?;
    a_row_that_is_gone(scene).await?;
    let stack = stack().await;
    stack.stop_process(Component::Kafka).await?;
    send_message(scene, STANDARD, &[0]).await?;
    send_message(scene, STUBBORN, &[0]).await?;
    for queues in ["queues", "dead-letter-queues"] {
        let right = format!("sqs:ChangeMessageVisibility on {queues}");
        until_used(scene, "emitter", &right).await?;
    }
    stack.cont_process(Component::Kafka).await?;
    until_used(scene, "emitter", "sqs:DeleteMessage on dead-letter-queues").await
}

async fn clients(scene: &Scene) -> anyhow::Result<Clients> {
    let settings = delayq::settings::aws(&scene.deployment.config);
    Ok(delayq_aws::connect(&settings, Arc::new(SystemClock)).await?)
}

#[derive(Parser)]
struct Letters {
    #[command(subcommand)]
    command: DeadLettersCommand,
}

/// The commands for operators, over the topic and over the queues beneath the emitters.
async fn letters(scene: &Scene) -> anyhow::Result<()> {
    send_message(scene, STUBBORN, &[0]).await?;
    let config = scene.config("dead-letters");
    for line in [
        "delayq list",
        "delayq list --queues",
        "delayq show 0/0",
        "delayq redrive --all",
        "delayq redrive --queues --all",
    ] {
        let command = Letters::try_parse_from(line.split(' '))?.command;
        let mut said = String::new();
        let mut note = String::new();
        let mut output = Output {
            json: false,
            out: &mut |line| {
                said.push_str(line);
                Ok(())
            },
            note: &mut |line| {
                note.push_str(line);
                Ok(())
            },
        };
        let ended = dead_letters::run(&config, &command, &mut output).await;
        ended.with_context(|| format!("{line}: {said} {note}"))?;
    }
    Ok(())
}
