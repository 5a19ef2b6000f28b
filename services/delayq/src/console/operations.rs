//! What the console asks of Kafka and of the deployment.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use axum::http::StatusCode;
use delayq_console::dead_letters::{LetterQuery, Letters, Redriven};
use delayq_console::error::ApiError;
use delayq_console::operations::{
    Due, Operations, Problem, Queue, Rescheduled, Sending, Sent, Shard,
};
use delayq_core::clock::{Clock, EpochMs};
use delayq_core::error::PortError;
use delayq_core::ports::{MessageRegistry, Published, RecordSink, ShardState};
use delayq_core::record::{Header, Outgoing, Record};
use delayq_core::route::Policy;
use delayq_core::tracked::{MessageRow, Version};
use delayq_runtime::config::Config;
use delayq_runtime::health::Health;
use tokio::sync::oneshot;

use super::dead_letters;
use crate::app::QueueDepths;
use crate::send::{Foreseen, foresee};
use crate::tracked::replace::{NotReplaced, again, decided};

/// How long the broker may take to confirm a record.
const CONFIRM: Duration = Duration::from_secs(10);
/// How long a router may take to read a record.
const DECIDE: Duration = Duration::from_secs(10);
/// Pause before a record is handed to a sink again that was full.
const FULL: Duration = Duration::from_millis(20);

pub(super) struct Deployed {
    pub(super) config: Config,
    pub(super) policy: Policy,
    pub(super) sink: Arc<dyn RecordSink>,
    pub(super) registry: Arc<dyn MessageRegistry>,
    pub(super) shards: Arc<dyn ShardState>,
    pub(super) depths: QueueDepths,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) health: Health,
}

pub(super) fn unavailable(message: impl Into<String>) -> ApiError {
    ApiError::new(StatusCode::SERVICE_UNAVAILABLE, "unavailable", message)
}

impl From<NotReplaced> for ApiError {
    fn from(why: NotReplaced) -> Self {
        match why {
            NotReplaced::Gone { .. } => Self::new(StatusCode::GONE, "gone", why.to_string()),
            NotReplaced::Refused(refusal) => refusal.into(),
            NotReplaced::Port(error) => error.into(),
        }
    }
}

impl Deployed {
    /// Writes a record and waits for the broker's word.
    async fn write(&self, topic: &str, record: Record) -> Result<Published, ApiError> {
        let outgoing = Outgoing::standard(Arc::from(topic), record);
        let (answer, answered) = oneshot::channel();
        let mut acknowledge: delayq_core::ports::Acknowledge =
            Box::new(move |outcome: Result<Published, PortError>| {
                if answer.send(outcome).is_err() {
                    tracing::debug!("a record was confirmed after its request had been given up");
                }
            });
        let written = async {
            while let Err(back) = self.sink.publish(&outgoing, acknowledge) {
                acknowledge = back;
                tokio::time::sleep(FULL).await;
            }
            answered.await
        };
        match tokio::time::timeout(CONFIRM, written).await {
            Ok(Ok(outcome)) => Ok(outcome?),
            Ok(Err(_)) => Err(unavailable("the producer has ended")),
            Err(_) => Err(unavailable(format!(
                "Kafka has not confirmed the record within {} s; it may still be written",
                CONFIRM.as_secs()
            ))),
        }
    }

    fn record(&self, sending: &Sending) -> Record {
        let names = &self.policy.names;
        let (delay, at, at_ms) = match &sending.due {
            Due::Unsaid => (None, None, None),
            Due::AfterMs(ms) => (Some(ms.to_string()), None, None),
            Due::At(text) => (None, Some(text.clone()), None),
            Due::AtMs(ms) => (None, None, Some(ms.to_string())),
        };
        let controls = [
            (&names.target, sending.target.clone()),
            (&names.delay_ms, delay),
            (&names.deliver_at, at),
            (&names.deliver_at_ms, at_ms),
            (&names.priority, sending.priority.clone()),
            (&names.id, sending.id.clone()),
        ];
        let given = controls
            .into_iter()
            .filter_map(|(name, value)| Some(Header::text(name.as_str(), value?)));
        Record {
            headers: given
                .chain(sending.record.headers.iter().cloned())
                .collect(),
            ..sending.record.clone()
        }
    }
}

#[async_trait]
impl Operations for Deployed {
    async fn send(&self, sending: Sending) -> Result<Sent, ApiError> {
        let record = self.record(&sending);
        let foreseen = match foresee(&self.policy, &record, &sending.topic, None)? {
            Foreseen::Published(scheduled) => scheduled,
            Foreseen::Cancel(_) => {
                return Err(ApiError::bad_request(
                    "this record is a cancel: POST /v1/messages/{id}/cancel answers what became of it",
                ));
            }
        };
        let published = self.write(&sending.topic, record).await?;
        Ok(Sent {
            source: format!(
                "{}/{}/{}",
                sending.topic, published.partition, published.offset
            ),
            due_ms: foreseen.due_ms,
            output_topic: foreseen.output_topic.to_string(),
            id: sending.id,
        })
    }

    async fn reschedule(
        &self,
        row: &MessageRow,
        due_ms: EpochMs,
    ) -> Result<(Rescheduled, MessageRow), ApiError> {
        let record = again(&self.config, &self.policy, row, due_ms).await?;
        let published = self.write(&row.key.topic, record).await?;
        let version = Version {
            partition: published.partition,
            offset: published.offset,
            appended_ms: self.clock.now_ms(),
        };
        let decided = decided(self.registry.as_ref(), row, &version, DECIDE).await?;
        decided.ok_or_else(|| {
            unavailable(format!(
                "written as {}, but no router has read it within {} s: it is rescheduled once one does, if it still waits then",
                version.source(&row.key.topic),
                DECIDE.as_secs()
            ))
        })
    }

    async fn dead_letters(&self, query: &LetterQuery) -> Result<Letters, ApiError> {
        dead_letters::listed(&self.config, query).await
    }

    async fn dead_letter(&self, at: &str) -> Result<Option<serde_json::Value>, ApiError> {
        dead_letters::shown(&self.config, at).await
    }

    async fn redrive(
        &self,
        at: &[String],
        without: &[String],
        dry_run: bool,
    ) -> Result<Vec<Redriven>, ApiError> {
        dead_letters::redriven(&self.config, at, without, dry_run).await
    }

    async fn purge(&self, at: &[String], dry_run: bool) -> Result<u64, ApiError> {
        dead_letters::purged(&self.config, at, dry_run).await
    }

    async fn problems(&self) -> Vec<Problem> {
        let readiness = self.health.readiness();
        let components = readiness.components.into_iter();
        let problems = components.filter(|one| !one.ready).map(|one| Problem {
            component: one.name,
            reason: one.reason.unwrap_or_default(),
        });
        problems.collect()
    }

    async fn shards(&self) -> Result<Vec<Shard>, ApiError> {
        let bucket_ms = crate::settings::times(&self.config).bucket_ms;
        let now_ms = self.clock.now_ms();
        let rows = self.shards.list().await?;
        let shard = |row: delayq_core::handover::ShardRow| Shard {
            shard: row.shard.0,
            owner: row.owner,
            watermark_age_ms: now_ms - (row.watermark.start_ms(bucket_ms) + bucket_ms),
            closing: row.closing != row.watermark,
        };
        Ok(rows.into_iter().map(shard).collect())
    }

    async fn queues(&self) -> Result<Vec<Queue>, ApiError> {
        Ok((self.depths)().await?)
    }
}
