//! What the console asks of the rest of delayq: records written to the delay topics, how the deployment is.

use async_trait::async_trait;
use delayq_core::clock::EpochMs;
use delayq_core::record::Record;
use delayq_core::tracked::MessageRow;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::dead_letters::{LetterQuery, Letters, Redriven};
use crate::error::ApiError;

/// A record to be sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sending {
    /// Delay topic.
    pub topic: String,
    /// Target; `None`: as configured.
    pub target: Option<String>,
    /// `high`, `standard`, `low` or 0–9.
    pub priority: Option<String>,
    /// Id of a tracked record.
    pub id: Option<String>,
    /// When it is due.
    pub due: Due,
    /// Key, value and own headers. Without a key a tracked record is keyed by its id.
    pub record: Record,
}

/// When a record is due.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Due {
    /// As the route has it, else now.
    Unsaid,
    /// Milliseconds after the broker has it.
    AfterMs(i64),
    /// RFC 3339 with offset.
    At(String),
    /// Milliseconds since 1970.
    AtMs(EpochMs),
}

/// A record that was sent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct Sent {
    /// `topic/partition/offset`.
    pub source: String,
    /// Due time, milliseconds since 1970.
    pub due_ms: i64,
    /// Output topic.
    pub output_topic: String,
    /// Its id.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
}

/// What became of a reschedule.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rescheduled {
    /// It comes out at its new time, and not at the old one.
    Rescheduled,
    /// The earlier one is what holds.
    TooLate,
    /// A later record has the id.
    Superseded,
}

impl Rescheduled {
    /// As the API and the command line write it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Rescheduled => "rescheduled",
            Self::TooLate => "too_late",
            Self::Superseded => "superseded",
        }
    }
}

/// Something that is not as it should be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Problem {
    /// Which part.
    pub component: String,
    /// What is wrong with it.
    pub reason: String,
}

/// A shard of the long tier.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct Shard {
    /// Number.
    pub shard: u32,
    /// The scheduler that last held it.
    pub owner: String,
    /// How long ago the end of the last bucket was that is handed over; negative: handed over ahead of its time.
    pub watermark_age_ms: i64,
    /// Whether a bucket is being handed over.
    pub closing: bool,
}

/// A queue of the short tier.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct Queue {
    /// Its name.
    pub name: String,
    /// Messages ready to be received.
    pub messages: u64,
    /// Messages with an emitter.
    pub in_flight: u64,
    /// Messages that wait for their time.
    pub delayed: u64,
}

/// What needs Kafka, or the rest of the deployment.
#[async_trait]
pub trait Operations: Send + Sync {
    /// Writes a record to a delay topic, unless the router would refuse it.
    async fn send(&self, sending: Sending) -> Result<Sent, ApiError>;

    /// Gives the record of `row`, which waits, another due time; answers with the row as it is then.
    async fn reschedule(
        &self,
        row: &MessageRow,
        due_ms: EpochMs,
    ) -> Result<(Rescheduled, MessageRow), ApiError>;

    /// Open dead letters.
    async fn dead_letters(&self, query: &LetterQuery) -> Result<Letters, ApiError>;

    /// A dead letter whole, by `partition/offset`.
    async fn dead_letter(&self, at: &str) -> Result<Option<serde_json::Value>, ApiError>;

    /// Sends dead letters again, by `partition/offset`, without these headers; or says what would be done.
    async fn redrive(
        &self,
        at: &[String],
        without: &[String],
        dry_run: bool,
    ) -> Result<Vec<Redriven>, ApiError>;

    /// Gives dead letters up, by `partition/offset`; answers with how many, or would.
    async fn purge(&self, at: &[String], dry_run: bool) -> Result<u64, ApiError>;

    /// What is not as it should be.
    async fn problems(&self) -> Vec<Problem>;

    /// The shards of the long tier.
    async fn shards(&self) -> Result<Vec<Shard>, ApiError>;

    /// The queues of the short tier.
    async fn queues(&self) -> Result<Vec<Queue>, ApiError>;
}
