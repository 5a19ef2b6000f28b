//! What comes due when: tracked records of the next hour, counted by minute.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use delayq_core::clock::EpochMs;
use delayq_core::error::PortError;
use delayq_core::ports::{MessageFilter, MessageIndex};
use delayq_core::priority::Priority;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use crate::Shared;
use crate::error::{ApiError, ErrorBody};
use crate::input::Query;

/// Length of a bucket.
const BUCKET_MS: i64 = 60_000;
/// How far ahead it is counted.
const AHEAD_MS: i64 = 3_600_000;
/// Records counted at most.
const COUNTED_MAX: usize = 5_000;
const PAGE: usize = 500;

/// Which delay topic.
#[derive(Debug, Clone, Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct UpcomingQuery {
    /// Delay topic; the first configured one where it is left out.
    topic: Option<String>,
}

/// Records of one output topic and priority.
#[derive(Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct UpcomingCount {
    /// Output topic.
    pub output_topic: String,
    /// Priority.
    pub priority: &'static str,
    /// How many are due.
    pub count: u64,
}

/// What is due within a minute.
#[derive(Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct UpcomingBucket {
    /// Its start, milliseconds since 1970.
    pub from_ms: i64,
    /// By output topic and priority.
    pub counts: Vec<UpcomingCount>,
}

/// Tracked records that come due within the hour.
#[derive(Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct Upcoming {
    /// Length of a bucket in ms.
    pub bucket_ms: i64,
    /// Those in which something is due, in order.
    pub buckets: Vec<UpcomingBucket>,
    /// Whether all were counted; else the first 5,000.
    pub exact: bool,
}

/// Counts what comes due.
///
/// # Errors
/// The index's.
pub async fn count(
    index: &dyn MessageIndex,
    topic: Arc<str>,
    now_ms: EpochMs,
) -> Result<Upcoming, PortError> {
    let filter = MessageFilter {
        topic,
        state: Some("scheduled"),
        output_topic: None,
        priority: None,
        due_from_ms: now_ms,
        due_to_ms: now_ms.saturating_add(AHEAD_MS),
    };
    let mut by_bucket: BTreeMap<i64, BTreeMap<(String, Priority), u64>> = BTreeMap::new();
    let (mut counted, mut after) = (0, None);
    let exact = loop {
        let page = index.list(&filter, after.as_deref(), PAGE).await?;
        counted += page.rows.len();
        for details in page.rows.into_iter().filter_map(|row| row.details) {
            let bucket = details.due_ms.div_euclid(BUCKET_MS) * BUCKET_MS;
            let kind = (details.output_topic.to_string(), details.priority);
            *by_bucket
                .entry(bucket)
                .or_default()
                .entry(kind)
                .or_default() += 1;
        }
        after = page.next;
        if after.is_none() {
            break true;
        }
        if counted >= COUNTED_MAX {
            break false;
        }
    };
    let buckets = by_bucket
        .into_iter()
        .map(|(from_ms, kinds)| UpcomingBucket {
            from_ms,
            counts: kinds
                .into_iter()
                .map(|((output_topic, priority), count)| UpcomingCount {
                    output_topic,
                    priority: priority.as_str(),
                    count,
                })
                .collect(),
        });
    Ok(Upcoming {
        bucket_ms: BUCKET_MS,
        buckets: buckets.collect(),
        exact,
    })
}

/// Tracked records that come due within the hour, by minute, output topic and priority.
#[utoipa::path(get, path = "/v1/upcoming", params(UpcomingQuery), responses(
    (status = 200, body = Upcoming),
    (status = 400, description = "no such delay topic", body = ErrorBody),
    (status = 401, description = "no token, or a wrong one", body = ErrorBody),
    (status = 403, description = "from a foreign page", body = ErrorBody),
    (status = 503, description = "DynamoDB does not answer", body = ErrorBody),
))]
pub(crate) async fn upcoming(
    State(shared): State<Shared>,
    Query(query): Query<UpcomingQuery>,
) -> Result<Json<Upcoming>, ApiError> {
    let topic = shared.topic(query.topic.as_deref())?;
    let now_ms = shared.ports.clock.now_ms();
    Ok(Json(
        count(shared.ports.index.as_ref(), topic, now_ms).await?,
    ))
}
