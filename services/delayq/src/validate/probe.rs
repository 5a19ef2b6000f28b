//! Sends records as a producer that knows nothing of delayq, and waits for what comes out of them.

use std::time::Duration;

use anyhow::Context as _;
use delayq_core::priority::Priority;
use delayq_kafka::outsider::{self, OutsideProducer};
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::FutureRecord;
use tokio::time::{Instant, sleep};

use super::deployment::Subject;
use super::reader::{Arrived, Reader};
use crate::cluster;

/// Header by which a record is known as one of this run.
const RUN: &str = "validate-run";
/// Header with a record's number.
pub(super) const NUMBER: &str = "validate-n";
/// How often it is looked whether what is waited for has come.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// Producer and reader of a run.
pub(super) struct Probe<'a> {
    pub(super) subject: &'a Subject,
    pub(super) reader: Reader,
    producer: OutsideProducer,
    run: String,
}

/// A record to be sent.
#[derive(Debug, Clone, Default)]
pub(super) struct Sample {
    pub(super) number: i64,
    pub(super) key: Option<String>,
    pub(super) headers: Vec<(&'static str, String)>,
}

impl<'a> Probe<'a> {
    pub(super) async fn start(subject: &'a Subject) -> anyhow::Result<Self> {
        let config = &subject.config;
        let topics = [
            vec![config.topics.dead_letter.clone()],
            outputs(subject).into(),
        ]
        .concat();
        let reader = Reader::start(config, topics).await?;
        let kafka = cluster::kafka(config).await?;
        let producer = outsider::producer(&kafka, &[("acks", "all"), ("linger.ms", "2")])
            .context("a producer")?;
        Ok(Self {
            subject,
            reader,
            producer,
            run: uuid::Uuid::new_v4().simple().to_string(),
        })
    }

    /// The delay topic.
    pub(super) fn topic(&self) -> &str {
        self.subject
            .config
            .topics
            .delay
            .first()
            .map_or("", String::as_str)
    }

    /// Writes records; answers with the source of each, once the broker has all.
    pub(super) async fn send(&self, samples: &[Sample]) -> anyhow::Result<Vec<String>> {
        let mut sends = Vec::with_capacity(samples.len());
        for sample in samples {
            let number = sample.number.to_string();
            let own = [(RUN, &self.run), (NUMBER, &number)];
            let controls = sample.headers.iter().map(|(name, value)| (*name, value));
            let headers = own.into_iter().chain(controls).fold(
                OwnedHeaders::new(),
                |headers, (key, value)| {
                    headers.insert(Header {
                        key,
                        value: Some(value),
                    })
                },
            );
            let mut record: FutureRecord<'_, str, str> = FutureRecord::to(self.topic())
                .payload(number.as_str())
                .headers(headers);
            record.key = sample.key.as_deref();
            let sent = loop {
                match self.producer.send_result(record) {
                    Ok(sent) => break sent,
                    // Its queue is full.
                    Err((_, back)) => {
                        record = back;
                        sleep(LOOK_EVERY).await;
                    }
                }
            };
            sends.push(sent);
        }
        let mut sources = Vec::with_capacity(sends.len());
        for sent in sends {
            let delivery = sent.await.context("the producer ended")?;
            let delivery = delivery
                .map_err(|(error, _)| error)
                .context("a record was not taken")?;
            sources.push(format!(
                "{}/{}/{}",
                self.topic(),
                delivery.partition,
                delivery.offset
            ));
        }
        Ok(sources)
    }

    /// What has come of the records with these numbers, once it is `enough` or `within` is over.
    pub(super) async fn arrived(
        &self,
        numbers: std::ops::Range<i64>,
        within: Duration,
        enough: impl Fn(&[Arrived]) -> bool,
    ) -> Vec<Arrived> {
        let until = Instant::now() + within;
        loop {
            let arrived = self.reader.of(|one| {
                one.headers.get(RUN) == Some(&self.run)
                    && one
                        .number(NUMBER)
                        .is_some_and(|number| numbers.contains(&number))
            });
            if enough(&arrived) || Instant::now() >= until {
                return arrived;
            }
            sleep(LOOK_EVERY).await;
        }
    }
}

/// The output topics of the target by priority.
pub(super) fn outputs(subject: &Subject) -> [String; 3] {
    Priority::ALL.map(|priority| {
        subject
            .config
            .topics
            .output
            .replace("{target}", &subject.target)
            .replace("{priority}", priority.as_str())
    })
}
