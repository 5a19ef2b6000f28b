//! Requests about tracked records, and the one that sends a record.

use std::sync::Arc;

use axum::extract::State;
use axum::http::StatusCode;
use axum::{Extension, Json};
use base64::Engine as _;
use bytes::Bytes;
use delayq_core::ports::MessageFilter;
use delayq_core::priority::Priority;
use delayq_core::record::{Header, Record};
use delayq_core::tracked::{self, CancelAnswer, MessageKey, MessageRow};
use delayq_delivery::registry::change;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use crate::access::Who;
use crate::error::{ApiError, ErrorBody};
use crate::input::{Body, Path, Query};
use crate::message::Message;
use crate::operations::{Due, Rescheduled, Sending, Sent};
use crate::{Shared, audit};

/// Records of a page at most.
const LIMIT_MAX: usize = 500;
const LIMIT_DEFAULT: usize = 100;
/// States by name.
pub(crate) const STATES: [&str; 5] = ["scheduled", "publishing", "published", "cancelled", "dead"];

impl Shared {
    /// The delay topic that is meant.
    pub(crate) fn topic(&self, asked: Option<&str>) -> Result<Arc<str>, ApiError> {
        let found = match asked {
            None => self.topics.first(),
            Some(asked) => self.topics.iter().find(|topic| ***topic == *asked),
        };
        found.cloned().ok_or_else(|| {
            let topics: Vec<&str> = self.topics.iter().map(AsRef::as_ref).collect();
            ApiError::bad_request(format!(
                "{} is no delay topic: topics.delay has {}",
                asked.unwrap_or_default(),
                topics.join(", ")
            ))
        })
    }

    fn key(&self, topic: Option<&str>, id: &str) -> Result<MessageKey, ApiError> {
        Ok(MessageKey {
            topic: self.topic(topic)?,
            id: Arc::from(id),
        })
    }
}

/// Which delay topic.
#[derive(Debug, Clone, Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct TopicQuery {
    /// Delay topic; the first configured one where it is left out.
    topic: Option<String>,
}

/// Which records.
#[derive(Debug, Clone, Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct ListQuery {
    /// Delay topic; the first configured one where it is left out.
    topic: Option<String>,
    /// `scheduled`, `publishing`, `published`, `cancelled` or `dead`.
    state: Option<String>,
    /// Output topic.
    target: Option<String>,
    /// `high`, `standard` or `low`.
    priority: Option<String>,
    /// Due at this time or later, milliseconds since 1970.
    due_from_ms: Option<i64>,
    /// Due before this time, milliseconds since 1970.
    due_to_ms: Option<i64>,
    /// 1 to 500; 100 where it is left out.
    #[param(minimum = 1, maximum = 500)]
    limit: Option<usize>,
    /// `next` of the page before.
    after: Option<String>,
}

/// A page of a list.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Messages {
    /// In order of due time.
    messages: Vec<Message>,
    /// Where the next page begins; null at the end.
    next: Option<String>,
}

pub(crate) fn priority(text: Option<&str>) -> Result<Option<Priority>, ApiError> {
    text.map(|text| {
        Priority::ALL
            .into_iter()
            .find(|one| one.as_str() == text)
            .ok_or_else(|| {
                ApiError::bad_request(format!("priority {text:?} is not high, standard or low"))
            })
    })
    .transpose()
}

fn state(text: Option<&str>) -> Result<Option<&'static str>, ApiError> {
    text.map(|text| {
        STATES.into_iter().find(|one| *one == text).ok_or_else(|| {
            ApiError::bad_request(format!("state {text:?} is none of {}", STATES.join(", ")))
        })
    })
    .transpose()
}

/// Tracked records, by due time.
#[utoipa::path(get, path = "/v1/messages", params(ListQuery), responses(
    (status = 200, body = Messages),
    (status = 400, description = "what was asked makes no sense", body = ErrorBody),
    (status = 401, description = "no token, or a wrong one", body = ErrorBody),
    (status = 403, description = "from a foreign page", body = ErrorBody),
    (status = 503, description = "DynamoDB does not answer", body = ErrorBody),
))]
pub(crate) async fn list(
    State(shared): State<Shared>,
    Query(query): Query<ListQuery>,
) -> Result<Json<Messages>, ApiError> {
    let limit = query.limit.unwrap_or(LIMIT_DEFAULT);
    if !(1..=LIMIT_MAX).contains(&limit) {
        return Err(ApiError::bad_request(format!("limit is 1 to {LIMIT_MAX}")));
    }
    let filter = MessageFilter {
        topic: shared.topic(query.topic.as_deref())?,
        state: state(query.state.as_deref())?,
        output_topic: query.target.map(Arc::from),
        priority: priority(query.priority.as_deref())?,
        due_from_ms: query.due_from_ms.unwrap_or(0),
        due_to_ms: query.due_to_ms.unwrap_or(i64::MAX),
    };
    let page = shared
        .ports
        .index
        .list(&filter, query.after.as_deref(), limit)
        .await?;
    Ok(Json(Messages {
        messages: page.rows.iter().map(Message::from).collect(),
        next: page.next,
    }))
}

/// A tracked record.
#[utoipa::path(get, path = "/v1/messages/{id}", params(TopicQuery, ("id" = String, Path, description = "delay-id")), responses(
    (status = 200, body = Message),
    (status = 400, description = "no such delay topic", body = ErrorBody),
    (status = 401, description = "no token, or a wrong one", body = ErrorBody),
    (status = 403, description = "from a foreign page", body = ErrorBody),
    (status = 404, description = "no record with this id is known", body = ErrorBody),
    (status = 503, description = "DynamoDB does not answer", body = ErrorBody),
))]
pub(crate) async fn show(
    State(shared): State<Shared>,
    Path(id): Path<String>,
    Query(query): Query<TopicQuery>,
) -> Result<Json<Message>, ApiError> {
    let key = shared.key(query.topic.as_deref(), &id)?;
    let row = shared
        .ports
        .registry
        .read(&key)
        .await?
        .ok_or_else(|| unknown(&key))?;
    Ok(Json(Message::from(&row)))
}

fn unknown(key: &MessageKey) -> ApiError {
    ApiError::unknown(format!(
        "no record with the id {:?} has been read from {}",
        key.id, key.topic
    ))
}

/// What a change led to.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Answer {
    /// Of a cancel: `cancelled`, `published`, `too_late`, `dead`, `unknown`. Of a reschedule: `rescheduled`, `too_late`, `superseded`.
    answer: &'static str,
    /// The record as it is now.
    #[serde(skip_serializing_if = "Option::is_none")]
    message: Option<Message>,
}

/// Cancels a tracked record; the answer is definite.
#[utoipa::path(post, path = "/v1/messages/{id}/cancel", params(TopicQuery, ("id" = String, Path, description = "delay-id")), responses(
    (status = 200, description = "it will never be published", body = Answer),
    (status = 400, description = "no such delay topic", body = ErrorBody),
    (status = 401, description = "no token, or a wrong one", body = ErrorBody),
    (status = 403, description = "a viewer's token, or from a foreign page", body = ErrorBody),
    (status = 404, description = "no record with this id is known", body = Answer),
    (status = 409, description = "it is published, being published, or dead", body = Answer),
    (status = 415, description = "not sent as JSON", body = ErrorBody),
    (status = 503, description = "DynamoDB does not answer: ask again", body = ErrorBody),
))]
pub(crate) async fn cancel(
    State(shared): State<Shared>,
    Extension(who): Extension<Who>,
    Path(id): Path<String>,
    Query(query): Query<TopicQuery>,
) -> Result<(StatusCode, Json<Answer>), ApiError> {
    let key = shared.key(query.topic.as_deref(), &id)?;
    let (answer, row) = cancel_one(&shared, &key).await?;
    audit::note(&who, "cancel", &key.to_string(), answer.as_str());
    let status = match answer {
        CancelAnswer::Cancelled => StatusCode::OK,
        CancelAnswer::Unknown => StatusCode::NOT_FOUND,
        _ => StatusCode::CONFLICT,
    };
    let answer = Answer {
        answer: answer.as_str(),
        message: row.as_ref().map(Message::from),
    };
    Ok((status, Json(answer)))
}

async fn cancel_one(
    shared: &Shared,
    key: &MessageKey,
) -> Result<(CancelAnswer, Option<MessageRow>), ApiError> {
    let decide = |row: Option<&MessageRow>| tracked::cancel(row, shared.ports.clock.now_ms());
    let answered = change(shared.ports.registry.as_ref(), key, decide).await?;
    shared.ports.upcoming.replaced(answered.before.as_ref());
    Ok((answered.answer, answered.row))
}

/// When a record is due instead: one of the two.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Rescheduling {
    /// Milliseconds from now.
    delay_ms: Option<i64>,
    /// Milliseconds since 1970.
    deliver_at_ms: Option<i64>,
}

/// Gives a tracked record that waits another due time.
#[utoipa::path(post, path = "/v1/messages/{id}/reschedule", params(TopicQuery, ("id" = String, Path, description = "delay-id")),
    request_body = Rescheduling, responses(
    (status = 200, description = "it comes out at its new time, and not at the old one", body = Answer),
    (status = 400, description = "no such delay topic, no or two times, or a time that would be refused", body = ErrorBody),
    (status = 401, description = "no token, or a wrong one", body = ErrorBody),
    (status = 403, description = "a viewer's token, or from a foreign page", body = ErrorBody),
    (status = 404, description = "no record with this id is known", body = ErrorBody),
    (status = 409, description = "it does not wait any more, or a later record has its id", body = Answer),
    (status = 410, description = "its record is gone from the delay topic", body = ErrorBody),
    (status = 415, description = "not sent as JSON", body = ErrorBody),
    (status = 422, description = "the body is not as described", body = ErrorBody),
    (status = 503, description = "Kafka or DynamoDB do not answer, or no router runs", body = ErrorBody),
))]
pub(crate) async fn reschedule(
    State(shared): State<Shared>,
    Extension(who): Extension<Who>,
    Path(id): Path<String>,
    Query(query): Query<TopicQuery>,
    Body(body): Body<Rescheduling>,
) -> Result<(StatusCode, Json<Answer>), ApiError> {
    let key = shared.key(query.topic.as_deref(), &id)?;
    let due_ms = match (body.delay_ms, body.deliver_at_ms) {
        (Some(delay_ms), None) if delay_ms >= 0 => {
            shared.ports.clock.now_ms().saturating_add(delay_ms)
        }
        (None, Some(at_ms)) if at_ms > 0 => at_ms,
        _ => {
            return Err(ApiError::bad_request(
                "give delay_ms (0 or more) or deliver_at_ms (above 0), and not both",
            ));
        }
    };
    let row = shared
        .ports
        .registry
        .read(&key)
        .await?
        .ok_or_else(|| unknown(&key))?;
    let (outcome, row) = if row.state == tracked::State::Scheduled {
        shared.ports.operations.reschedule(&row, due_ms).await?
    } else {
        (Rescheduled::TooLate, row)
    };
    audit::note(&who, "reschedule", &key.to_string(), outcome.as_str());
    let status = match outcome {
        Rescheduled::Rescheduled => StatusCode::OK,
        Rescheduled::TooLate | Rescheduled::Superseded => StatusCode::CONFLICT,
    };
    let answer = Answer {
        answer: outcome.as_str(),
        message: Some(Message::from(&row)),
    };
    Ok((status, Json(answer)))
}

/// A record to be sent. One of `delay_ms`, `deliver_at`, `deliver_at_ms` at most.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewRecord {
    /// Delay topic; the first configured one where it is left out.
    topic: Option<String>,
    /// Target; as configured where it is left out.
    target: Option<String>,
    /// Value, as text.
    value: Option<String>,
    /// Value, as base64, in place of `value`.
    value_base64: Option<String>,
    /// Key; the id where it is left out.
    key: Option<String>,
    /// Makes it a tracked record.
    id: Option<String>,
    /// `high`, `standard` (default), `low`, or 0–9.
    priority: Option<String>,
    /// Due this long after the broker has it.
    delay_ms: Option<i64>,
    /// Due then: RFC 3339 with offset.
    deliver_at: Option<String>,
    /// Due then: milliseconds since 1970.
    deliver_at_ms: Option<i64>,
    /// Headers in order, each a name and a value.
    #[serde(default)]
    headers: Vec<(String, String)>,
}

impl NewRecord {
    fn due(&self) -> Result<Due, ApiError> {
        match (self.delay_ms, &self.deliver_at, self.deliver_at_ms) {
            (None, None, None) => Ok(Due::Unsaid),
            (Some(delay_ms), None, None) => Ok(Due::AfterMs(delay_ms)),
            (None, Some(at), None) => Ok(Due::At(at.clone())),
            (None, None, Some(at_ms)) => Ok(Due::AtMs(at_ms)),
            _ => Err(ApiError::bad_request(
                "give only one of delay_ms, deliver_at and deliver_at_ms",
            )),
        }
    }

    fn value(&self) -> Result<Option<Bytes>, ApiError> {
        match (&self.value, &self.value_base64) {
            (Some(_), Some(_)) => Err(ApiError::bad_request(
                "give value or value_base64, not both",
            )),
            (value, None) => Ok(value.clone().map(Bytes::from)),
            (None, Some(text)) => base64::engine::general_purpose::STANDARD
                .decode(text)
                .map(|value| Some(Bytes::from(value)))
                .map_err(|error| ApiError::bad_request(format!("value_base64: {error}"))),
        }
    }
}

/// Sends a record to a delay topic, unless it would be refused.
#[utoipa::path(post, path = "/v1/messages", request_body = NewRecord, responses(
    (status = 201, description = "the broker has it", body = Sent),
    (status = 400, description = "it would be refused: why", body = ErrorBody),
    (status = 401, description = "no token, or a wrong one", body = ErrorBody),
    (status = 403, description = "a viewer's token, or from a foreign page", body = ErrorBody),
    (status = 415, description = "not sent as JSON", body = ErrorBody),
    (status = 422, description = "the body is not as described", body = ErrorBody),
    (status = 503, description = "Kafka does not answer", body = ErrorBody),
))]
pub(crate) async fn send(
    State(shared): State<Shared>,
    Extension(who): Extension<Who>,
    Body(body): Body<NewRecord>,
) -> Result<(StatusCode, Json<Sent>), ApiError> {
    let topic = shared.topic(body.topic.as_deref())?;
    let (due, value) = (body.due()?, body.value()?);
    let key = body.key.or_else(|| body.id.clone());
    let sending = Sending {
        topic: topic.to_string(),
        target: body.target,
        priority: body.priority,
        id: body.id,
        due,
        record: Record {
            key: key.map(Bytes::from),
            value,
            headers: body
                .headers
                .into_iter()
                .map(|(name, value)| Header::text(name, value))
                .collect(),
        },
    };
    let sent = shared.ports.operations.send(sending).await?;
    audit::note(&who, "send", &sent.source, "sent");
    Ok((StatusCode::CREATED, Json(sent)))
}

/// Which records are cancelled. At least one of `target`, `priority`, `due_from_ms`, `due_to_ms`.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct CancelFilter {
    /// Delay topic; the first configured one where it is left out.
    topic: Option<String>,
    /// Output topic.
    target: Option<String>,
    /// `high`, `standard` or `low`.
    priority: Option<String>,
    /// Due at this time or later.
    due_from_ms: Option<i64>,
    /// Due before this time.
    due_to_ms: Option<i64>,
}

/// A cancel of many.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct CancelMany {
    /// Which.
    filter: CancelFilter,
    /// Only count them; the default.
    #[serde(default = "yes")]
    dry_run: bool,
}

const fn yes() -> bool {
    true
}

/// What a cancel of many led to.
#[derive(Debug, Default, PartialEq, Eq, Serialize, ToSchema)]
pub(crate) struct CancelledMany {
    /// Records that wait and that the filter lets through.
    matched: u64,
    /// Of these, cancelled.
    cancelled: u64,
    /// Of these, no longer waiting when their turn came.
    too_late: u64,
    /// Nothing was changed.
    dry_run: bool,
}

/// Cancels all tracked records that wait and that a filter lets through.
#[utoipa::path(post, path = "/v1/messages/cancel", request_body = CancelMany, responses(
    (status = 200, body = CancelledMany),
    (status = 400, description = "a filter that lets everything through, or makes no sense", body = ErrorBody),
    (status = 401, description = "no token, or a wrong one", body = ErrorBody),
    (status = 403, description = "a viewer's token, or from a foreign page", body = ErrorBody),
    (status = 415, description = "not sent as JSON", body = ErrorBody),
    (status = 422, description = "the body is not as described", body = ErrorBody),
    (status = 503, description = "DynamoDB does not answer: some may be cancelled; ask again", body = ErrorBody),
))]
pub(crate) async fn cancel_all(
    State(shared): State<Shared>,
    Extension(who): Extension<Who>,
    Body(body): Body<CancelMany>,
) -> Result<Json<CancelledMany>, ApiError> {
    let asked = body.filter;
    if asked.target.is_none()
        && asked.priority.is_none()
        && asked.due_from_ms.is_none()
        && asked.due_to_ms.is_none()
    {
        return Err(ApiError::bad_request(
            "the filter lets every record through: give target, priority, due_from_ms or due_to_ms",
        ));
    }
    let filter = MessageFilter {
        topic: shared.topic(asked.topic.as_deref())?,
        state: Some("scheduled"),
        output_topic: asked.target.map(Arc::from),
        priority: priority(asked.priority.as_deref())?,
        due_from_ms: asked.due_from_ms.unwrap_or(0),
        due_to_ms: asked.due_to_ms.unwrap_or(i64::MAX),
    };
    let mut counts = CancelledMany {
        dry_run: body.dry_run,
        ..CancelledMany::default()
    };
    let mut after = None;
    loop {
        let page = shared
            .ports
            .index
            .list(&filter, after.as_deref(), LIMIT_MAX)
            .await?;
        for row in &page.rows {
            counts.matched += 1;
            if body.dry_run {
                continue;
            }
            match cancel_one(&shared, &row.key).await?.0 {
                CancelAnswer::Cancelled => counts.cancelled += 1,
                _ => counts.too_late += 1,
            }
        }
        after = page.next;
        if after.is_none() {
            break;
        }
    }
    let outcome = format!("{} of {}", counts.cancelled, counts.matched);
    audit::note(&who, "cancel many", &filter.topic, &outcome);
    Ok(Json(counts))
}
