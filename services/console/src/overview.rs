//! How the deployment is, and what comes due.

use std::collections::BTreeMap;

use axum::Json;
use axum::extract::State;
use delayq_core::ports::MessageFilter;
use delayq_core::priority::Priority;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use crate::Shared;
use crate::error::{ApiError, ErrorBody};
use crate::input::Query;
use crate::operations::{Problem, Queue, Shard};
use crate::seen::{Count, Lateness};

/// How the deployment is.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Overview {
    /// The console's clock, milliseconds since 1970.
    now_ms: i64,
    /// Whether nothing is wrong that this console knows of.
    ready: bool,
    /// What is wrong.
    problems: Vec<Problem>,
    /// Changes of tracked records in the last five minutes.
    counts: Vec<Count>,
    /// Shards of the long tier.
    shards: Vec<Shard>,
    /// How late tracked records were that were published in the last five minutes.
    lateness: Vec<Lateness>,
    /// Queues of the short tier.
    queues: Vec<Queue>,
}

/// How the deployment is.
#[utoipa::path(get, path = "/v1/overview", responses(
    (status = 200, body = Overview),
    (status = 401, description = "no token, or a wrong one", body = ErrorBody),
    (status = 403, description = "from a foreign page", body = ErrorBody),
))]
pub(crate) async fn overview(State(shared): State<Shared>) -> Json<Overview> {
    let now_ms = shared.ports.clock.now_ms();
    let operations = &shared.ports.operations;
    let (mut problems, shards, queues) = futures::join!(
        operations.problems(),
        operations.shards(),
        operations.queues()
    );
    let mut looked = |component: &str, error: ApiError| {
        // What cannot be looked at is a problem, and no reason to show nothing.
        problems.push(Problem {
            component: component.to_owned(),
            reason: error.message,
        });
    };
    let shards = shards.unwrap_or_else(|error| {
        looked("shards", error);
        Vec::new()
    });
    let queues = queues.unwrap_or_else(|error| {
        looked("queues", error);
        Vec::new()
    });
    let (counts, lateness) = shared.hub.recent(now_ms);
    Json(Overview {
        now_ms,
        ready: problems.is_empty(),
        problems,
        counts,
        shards,
        lateness,
        queues,
    })
}

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
pub(crate) struct UpcomingCount {
    /// Output topic.
    output_topic: String,
    /// Priority.
    priority: &'static str,
    /// How many are due.
    count: u64,
}

/// What is due within a minute.
#[derive(Debug, PartialEq, Eq, Serialize, ToSchema)]
pub(crate) struct UpcomingBucket {
    /// Its start, milliseconds since 1970.
    from_ms: i64,
    /// By output topic and priority.
    counts: Vec<UpcomingCount>,
}

/// Tracked records that come due within the hour.
#[derive(Debug, PartialEq, Eq, Serialize, ToSchema)]
pub(crate) struct Upcoming {
    /// Length of a bucket in ms.
    bucket_ms: i64,
    /// Those in which something is due, in order.
    buckets: Vec<UpcomingBucket>,
    /// Whether all were counted; else the first 5,000.
    exact: bool,
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
    let now_ms = shared.ports.clock.now_ms();
    let filter = MessageFilter {
        topic: shared.topic(query.topic.as_deref())?,
        state: Some("scheduled"),
        output_topic: None,
        priority: None,
        due_from_ms: now_ms,
        due_to_ms: now_ms.saturating_add(AHEAD_MS),
    };
    let mut by_bucket: BTreeMap<i64, BTreeMap<(String, Priority), u64>> = BTreeMap::new();
    let (mut counted, mut after) = (0, None);
    let exact = loop {
        let page = shared
            .ports
            .index
            .list(&filter, after.as_deref(), PAGE)
            .await?;
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
    Ok(Json(Upcoming {
        bucket_ms: BUCKET_MS,
        buckets: buckets.collect(),
        exact,
    }))
}
