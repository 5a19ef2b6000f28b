//! Names, topics, queues and tables of one case, what is put into them, and what has come out.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use bytes::Bytes;
use delayq::app::{self, Backends};
use delayq::init::{InitArgs, init_with};
use delayq::role::Role;
use delayq::settings::{self, COMPRESSED};
use delayq_aws::{Clients, Names};
use delayq_core::batch;
use delayq_core::bucket::Bucket;
use delayq_core::clock::{Clock as _, SystemClock};
use delayq_core::ports::{Lane, QueueMessage};
use delayq_core::priority::Priority;
use delayq_core::record::{Path, Record, Scheduled, Source, TopicPartition};
use delayq_core::tracked::{MessageKey, State};
use delayq_e2e::produce::record;
use delayq_e2e::{Arrived, Producer, read_until};
use delayq_kafka::{KafkaAdmin, TopicSpec};
use delayq_runtime::config::{Config, Sources, load};
use delayq_runtime::health::Health;
use delayq_stack::Endpoints;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::{ClientConfig, Offset, TopicPartitionList};
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::cases::Load;

const ANSWER: Duration = Duration::from_secs(20);
const LOOK_EVERY: Duration = Duration::from_millis(200);
const BUCKET_MS: i64 = 2_000;

/// Beside the compressed times.
const TIMES: [&str; 10] = [
    // Both messages of a call have waited for as long as they may.
    "packing.max_wait=200ms",
    // Few long polls: all cases share one queue service.
    "emitter.receive_concurrency=1",
    "long.shards=1",
    "kafka.session_timeout=6s",
    "kafka.revoke_timeout=4s",
    "emitter.visibility=6s",
    "http.listen=127.0.0.1:0",
    "console.listen=127.0.0.1:0",
    "log.level=info",
    "log.format=json",
];

pub struct Installation {
    pub settings: Vec<String>,
    config: Config,
    patient: Config,
    prefix: String,
    clients: Clients,
    backends: Backends,
    kafka: String,
}

/// What was put in, and what is promised of it.
#[derive(Default)]
pub struct Sent {
    /// Where it must come out.
    topic: String,
    /// What must come out: the source of a record, or the body of a message that is none.
    expected: BTreeSet<String>,
    /// What the registry must say in the end of each tracked record: published, from this source; or cancelled.
    rows: BTreeMap<String, Option<String>>,
    /// When the last is due.
    pub last_ms: i64,
}

impl Installation {
    pub async fn new(endpoints: &Endpoints, more: &[&str]) -> anyhow::Result<Self> {
        let prefix = format!("f{}", &uuid::Uuid::new_v4().simple().to_string()[..10]);
        let mut settings: Vec<String> = COMPRESSED.map(str::to_owned).into();
        settings.extend(TIMES.map(str::to_owned));
        settings.extend([
            format!("kafka.bootstrap_servers={}", endpoints.kafka),
            format!("kafka.group_id={prefix}-router"),
            format!("topics.delay={prefix}.delay"),
            format!("topics.dead_letter={prefix}.dead"),
            format!("topics.allow={prefix}.out"),
            // What the test sends is all that it counts.
            "canary.enabled=false".to_owned(),
            "topics.output={target}".to_owned(),
            format!("aws.sqs_endpoint={}", endpoints.sqs),
            format!("aws.dynamodb_endpoint={}", endpoints.dynamodb),
            format!("aws.prefix={prefix}"),
        ]);
        settings.extend(more.iter().map(ToString::to_string));
        let sources = Sources {
            set: settings.clone(),
            ..Sources::default()
        };
        let config = load(&sources).context("a valid configuration")?;
        // What the test itself asks may take longer than the roles would wait.
        let mut patient = config.clone();
        patient.aws.call_timeout = ANSWER;
        let clients = delayq_aws::connect(&settings::aws(&patient), Arc::new(SystemClock)).await?;
        let backends = Backends::aws(&patient).await?;
        Ok(Self {
            settings,
            prefix,
            clients,
            backends,
            kafka: endpoints.kafka.clone(),
            config,
            patient,
        })
    }

    fn topic(&self, name: &str) -> String {
        format!("{}.{name}", self.prefix)
    }

    pub async fn init(&self, load: Load) -> anyhow::Result<()> {
        if load == Load::ForgedLarge {
            // Somebody made the topic before init did, without room.
            let admin = KafkaAdmin::new(&settings::kafka(&self.config))?;
            let topic = TopicSpec {
                name: self.topic("dead"),
                partitions: 1,
                replication: -1,
                config: BTreeMap::from([("max.message.bytes".to_owned(), "100000".to_owned())]),
            };
            for made in admin.ensure_topics(&[topic]).await? {
                made?;
            }
        }
        let args = InitArgs {
            targets: vec![self.topic("out")],
            partitions: 1,
            ..InitArgs::default()
        };
        init_with(&self.patient, &args, &mut |_| ()).await
    }

    /// The other roles, in this process.
    pub fn start(&self, roles: &'static [Role]) -> JoinHandle<anyhow::Result<()>> {
        let config = self.config.clone();
        tokio::spawn(async move {
            app::run(&config, roles, Health::new(), CancellationToken::new()).await
        })
    }

    /// Puts the load where its role finds it.
    pub async fn put(&self, load: Load) -> anyhow::Result<Sent> {
        if load.is_produced() {
            return self.produce(load).await;
        }
        let now_ms = SystemClock.now_ms();
        let large = format!("forged!{}", batch::to_text(&noise(450_000)));
        let (dues_ms, lane, text): (&[i64], _, _) = match load {
            Load::Message => (&[2_500, 2_600], Lane::Main(Priority::Standard), ""),
            Load::Held => (&[7_000, 7_100], Lane::Main(Priority::Standard), ""),
            Load::Early => (&[8_000, 8_100], Lane::Main(Priority::Standard), ""),
            Load::GivenUp => (&[0], Lane::DeadLetter(Priority::Standard), ""),
            Load::Forged => (&[], Lane::Main(Priority::Standard), "forged!"),
            _ => (&[], Lane::Main(Priority::Standard), large.as_str()),
        };
        let records: Vec<_> = (0..)
            .zip(dues_ms)
            .map(|(n, due_ms)| self.scheduled(n, now_ms + due_ms))
            .collect();
        let (body, expected) = if records.is_empty() {
            // Kept in the payload table, it is known by the code of its refusal.
            let known = if load == Load::ForgedLarge {
                "batch-not-base64"
            } else {
                text
            };
            (text.to_owned(), BTreeSet::from([known.to_owned()]))
        } else {
            let bytes = batch::encode(&records, 1).context("a batch")?;
            let sources = records.iter().map(|one| one.source.to_string());
            (batch::to_text(&bytes), sources.collect())
        };
        self.send(lane, body).await?;
        let topic = match load {
            Load::Message | Load::Held | Load::Early => self.topic("out"),
            _ => self.topic("dead"),
        };
        Ok(Sent {
            topic,
            expected,
            last_ms: now_ms,
            ..Sent::default()
        })
    }

    async fn send(&self, lane: Lane, body: String) -> anyhow::Result<()> {
        if let Lane::Main(priority) = lane {
            let message = QueueMessage {
                body: body.into(),
                delay_s: 0,
            };
            for sent in self.backends.queue.send(priority, vec![message]).await {
                sent?;
            }
            return Ok(());
        }
        let url = self.url(lane).await?;
        let call = self.clients.sqs.send_message().queue_url(url);
        call.message_body(body).send().await?;
        Ok(())
    }

    async fn url(&self, lane: Lane) -> anyhow::Result<String> {
        let name = Names::with_prefix(&self.prefix).queues.lane(lane);
        let answer = self
            .clients
            .sqs
            .get_queue_url()
            .queue_name(name)
            .send()
            .await?;
        answer.queue_url.context("the address of a queue")
    }

    fn scheduled(&self, offset: i64, due_ms: i64) -> Scheduled {
        Scheduled {
            source: Source {
                at: TopicPartition::new(self.topic("delay"), 0),
                offset,
            },
            output_topic: self.topic("out").into(),
            priority: Priority::Standard,
            due_ms,
            timestamp_ms: due_ms,
            id: None,
            path: Path::Short,
            record: Record {
                value: Some(Bytes::from_static(b"v")),
                ..Record::default()
            },
            payload: None,
            limit: None,
        }
    }

    async fn produce(&self, load: Load) -> anyhow::Result<Sent> {
        let producer = Producer::new(&self.kafka, &self.topic("delay"));
        let target = self.topic("out");
        let now_ms = SystemClock.now_ms();
        // The whole bucket is far enough away for the long tier, whenever within it a record is due.
        let bucket_ms = (now_ms + 22_000).div_euclid(BUCKET_MS) * BUCKET_MS;
        let dues_ms = match load {
            Load::Direct | Load::Refused | Load::TrackedDirect => vec![now_ms],
            Load::Tracked => vec![now_ms, now_ms + 8_000, bucket_ms + 100, bucket_ms + 1_100],
            Load::Short => vec![now_ms + 8_000, now_ms + 9_000],
            Load::Long => vec![bucket_ms + 100, bucket_ms + 1_100],
            _ => vec![now_ms + 7_000],
        };
        let last_ms = dues_ms.iter().copied().max().unwrap_or(now_ms);
        let tracked = matches!(load, Load::Tracked | Load::TrackedDirect);
        let mut records: Vec<_> = (0..)
            .zip(dues_ms)
            .map(|(n, due_ms)| {
                let due = if load == Load::Refused {
                    "soon".to_owned()
                } else {
                    due_ms.to_string()
                };
                let id = id(n);
                let mut headers = vec![("delay-target", target.as_str()), ("deliver-at-ms", &due)];
                if tracked {
                    headers.push(("delay-id", &id));
                }
                let mut one = record(tracked.then_some(id.as_str()), Some("v"), &headers);
                if load == Load::Large {
                    one.value = Some(noise(900_000));
                }
                one
            })
            .collect();
        let cancelled = (load == Load::Tracked).then(|| id(records.len() - 1));
        if let Some(id) = &cancelled {
            let headers = [("delay-id", id.as_str()), ("delay-action", "cancel")];
            records.push(record(Some(id), None, &headers));
        }
        // At the same time: they travel together.
        let sends = records.into_iter().map(|one| producer.send(one));
        let mut sources: Vec<_> = futures::future::join_all(sends)
            .await
            .into_iter()
            .map(|(partition, offset)| format!("{}/{partition}/{offset}", self.topic("delay")))
            .collect();
        if cancelled.is_some() {
            // The cancel, and what it cancels.
            sources.truncate(sources.len() - 2);
        }
        let mut rows = BTreeMap::new();
        if tracked {
            let published = sources.iter().enumerate();
            rows.extend(published.map(|(n, source)| (id(n), Some(source.clone()))));
        }
        rows.extend(cancelled.map(|id| (id, None)));
        let topic = if load == Load::Refused {
            self.topic("dead")
        } else {
            target
        };
        Ok(Sent {
            topic,
            expected: sources.into_iter().collect(),
            rows,
            last_ms,
        })
    }

    fn consumer(&self) -> anyhow::Result<BaseConsumer> {
        let mut config = ClientConfig::new();
        config
            .set("bootstrap.servers", &self.kafka)
            .set("group.id", &self.config.kafka.group_id);
        config.create().context("a consumer")
    }

    /// Records in a topic of one partition.
    fn count(consumer: &BaseConsumer, topic: &str) -> anyhow::Result<usize> {
        let (low, high) = consumer.fetch_watermarks(topic, 0, ANSWER)?;
        Ok(usize::try_from(high - low)?)
    }

    /// Waits until as many records have come out as must.
    pub async fn until_count(&self, sent: &Sent, limit: Duration) -> anyhow::Result<()> {
        let (topic, count) = (&sent.topic, sent.expected.len());
        let consumer = self.consumer()?;
        let until = Instant::now() + limit;
        while Self::count(&consumer, topic)? < count {
            ensure!(Instant::now() < until, "not {count} records in {topic}");
            tokio::time::sleep(LOOK_EVERY).await;
        }
        Ok(())
    }

    /// Waits until everything in the delay topic is committed.
    pub async fn until_committed(&self, limit: Duration) -> anyhow::Result<()> {
        let (consumer, until) = (self.consumer()?, Instant::now() + limit);
        let mut partitions = TopicPartitionList::new();
        partitions.add_partition(&self.topic("delay"), 0);
        loop {
            let end = i64::try_from(Self::count(&consumer, &self.topic("delay"))?)?;
            // No answer either while the coordinator of a new group is being found.
            let committed = consumer.committed_offsets(partitions.clone(), ANSWER);
            let committed = committed.map(|all| all.elements().first().map(|one| one.offset()));
            if matches!(committed, Ok(Some(Offset::Offset(at))) if at == end) {
                return Ok(());
            }
            ensure!(Instant::now() < until, "committed {committed:?} of {end}");
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    /// Waits until nothing is under way any more: a copy that is to come has come.
    pub async fn until_still(
        &self,
        load: Load,
        last_ms: i64,
        limit: Duration,
    ) -> anyhow::Result<()> {
        let until = Instant::now() + limit;
        if load.is_produced() {
            self.until_committed(limit).await?;
        }
        if load.is_long() {
            let bucket = Bucket::of(last_ms, BUCKET_MS);
            while self
                .backends
                .shards
                .list()
                .await?
                .iter()
                .any(|row| row.watermark < bucket)
            {
                ensure!(Instant::now() < until, "a bucket that is not closed");
                tokio::time::sleep(LOOK_EVERY).await;
            }
        }
        for lane in [
            Lane::Main(Priority::Standard),
            Lane::DeadLetter(Priority::Standard),
        ] {
            let url = self.url(lane).await?;
            loop {
                let call = self.clients.sqs.get_queue_attributes().queue_url(&url);
                let answer = call.attribute_names("All".into()).send().await?;
                let attributes = answer.attributes.context("attributes")?;
                let counts = attributes
                    .iter()
                    .filter(|(name, _)| name.as_str().starts_with("ApproximateNumberOfMessages"));
                let mut waiting = 0;
                for (_, count) in counts {
                    waiting += count.parse::<u64>()?;
                }
                if waiting == 0 {
                    break;
                }
                ensure!(Instant::now() < until, "{waiting} messages in {lane:?}");
                tokio::time::sleep(LOOK_EVERY).await;
            }
        }
        Ok(())
    }

    /// How often each that is expected is in the topic. An error if one is missing, foreign, or early, or if the registry says
    /// otherwise.
    pub async fn came_out(&self, sent: &Sent) -> anyhow::Result<Vec<usize>> {
        let count = Self::count(&self.consumer()?, &sent.topic)?;
        let arrived = read_until(
            &self.kafka,
            std::slice::from_ref(&sent.topic),
            ANSWER,
            |all| all.len() >= count,
        )
        .await;
        ensure!(
            arrived.len() == count,
            "{} of {count} records read",
            arrived.len()
        );
        let mut times: BTreeMap<&str, usize> =
            sent.expected.iter().map(|one| (one.as_str(), 0)).collect();
        for one in &arrived {
            let value = one.record.value.as_deref().map(std::str::from_utf8);
            let name = one.text("delayed-source").or(match value {
                Some(Ok(text)) => Some(text),
                _ => one.text("delay-error"),
            });
            let Some(times) = name.and_then(|name| times.get_mut(name)) else {
                bail!("{name:?} came out and was never sent");
            };
            *times += 1;
            let due_ms = one.number("delayed-due-ms").unwrap_or(i64::MIN);
            ensure!(
                one.timestamp_ms >= due_ms,
                "early by {} ms",
                due_ms - one.timestamp_ms
            );
        }
        let lost: Vec<_> = times.iter().filter(|(_, times)| **times == 0).collect();
        ensure!(lost.is_empty(), "lost: {lost:?}");
        for (id, source) in &sent.rows {
            self.check_row(id, source.as_deref(), &arrived).await?;
        }
        Ok(times.into_values().collect())
    }

    /// `source`: of the record that the registry must say is published; `None` for one that is cancelled. `arrived`: all of the
    /// output topic's only partition, so that the place there is the offset.
    async fn check_row(
        &self,
        id: &str,
        source: Option<&str>,
        arrived: &[Arrived],
    ) -> anyhow::Result<()> {
        let key = MessageKey {
            topic: self.topic("delay").into(),
            id: id.into(),
        };
        let row = self.backends.registry.read(&key).await?;
        let row = row.with_context(|| format!("a row of {id}"))?;
        match (&row.state, source) {
            (State::Cancelled { .. }, None) => {}
            (State::Published(at), Some(source)) => {
                let there = usize::try_from(at.offset)?;
                let there = arrived
                    .get(there)
                    .and_then(|one| one.text("delayed-source"));
                ensure!(
                    there == Some(source) && row.version.source(&key.topic).to_string() == source,
                    "{id} is {source}, and the registry says {row:?}; there is {there:?}"
                );
            }
            (_, source) => bail!("of {id} ({source:?}) the registry says {row:?}"),
        }
        Ok(())
    }
}

fn id(n: usize) -> String {
    format!("id-{n}")
}

/// Bytes that do not compress.
fn noise(bytes: usize) -> Bytes {
    let mut state = 88_172_645_463_325_252u64;
    let next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 32) as u8
    };
    std::iter::repeat_with(next).take(bytes).collect()
}
