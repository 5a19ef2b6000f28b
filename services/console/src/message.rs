//! A tracked record as the API shows it.

use delayq_core::tracked::{MessageRow, State};
use serde::Serialize;
use utoipa::ToSchema;

/// A tracked record. Times are milliseconds since 1970; what does not apply is left out.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, ToSchema)]
pub struct Message {
    /// `delay-id`.
    pub id: String,
    /// Delay topic.
    pub topic: String,
    /// `scheduled`, `publishing`, `published`, `cancelled` or `dead`.
    pub state: &'static str,
    /// `topic/partition/offset` of the record.
    pub source: String,
    /// When the broker accepted it.
    pub appended_ms: i64,
    /// Rises with each change.
    pub revision: u64,
    /// Due time; absent, with the three below, for a cancel that came before its record.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub due_ms: Option<i64>,
    /// Output topic.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub output_topic: Option<String>,
    /// `high`, `standard` or `low`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub priority: Option<&'static str>,
    /// `direct`, `short` or `long`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path: Option<&'static str>,
    /// While publishing: since when.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub claimed_ms: Option<i64>,
    /// While publishing: when another may take it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub claimed_until_ms: Option<i64>,
    /// While publishing: the process that does.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub claimed_by: Option<String>,
    /// Once published: when.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub published_ms: Option<i64>,
    /// Once published: partition of the output topic.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub partition: Option<i32>,
    /// Once published: offset there.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub offset: Option<i64>,
    /// Once published: how long after it was due.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub late_ms: Option<i64>,
    /// Once cancelled: when.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cancelled_ms: Option<i64>,
    /// Once a dead letter: since when.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dead_ms: Option<i64>,
    /// Once a dead letter: why, a code.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// An earlier record with this id was being published when this one took its place.
    pub overlaps: bool,
    /// When it is forgotten, seconds since 1970.
    pub expires_s: i64,
}

impl From<&MessageRow> for Message {
    fn from(row: &MessageRow) -> Self {
        let details = row.details.as_ref();
        let mut message = Self {
            id: row.key.id.to_string(),
            topic: row.key.topic.to_string(),
            state: row.state.as_str(),
            source: row.version.source(&row.key.topic).to_string(),
            appended_ms: row.version.appended_ms,
            revision: row.revision,
            due_ms: details.map(|details| details.due_ms),
            output_topic: details.map(|details| details.output_topic.to_string()),
            priority: details.map(|details| details.priority.as_str()),
            path: details.map(|details| details.path.as_str()),
            overlaps: row.overlaps,
            expires_s: row.expires_s,
            ..Self::default()
        };
        match &row.state {
            State::Scheduled => {}
            State::Publishing(claim) => {
                message.claimed_ms = Some(claim.at_ms);
                message.claimed_until_ms = Some(claim.until_ms);
                message.claimed_by = Some(claim.by.to_string());
            }
            State::Published(publication) => {
                message.published_ms = Some(publication.at_ms);
                message.partition = Some(publication.partition);
                message.offset = Some(publication.offset);
                message.late_ms = details.map(|details| publication.at_ms - details.due_ms);
            }
            State::Cancelled { at_ms } => message.cancelled_ms = Some(*at_ms),
            State::Dead { at_ms, reason } => {
                message.dead_ms = Some(*at_ms);
                message.reason = Some(reason.clone());
            }
        }
        message
    }
}
