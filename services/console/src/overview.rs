//! How the deployment is.

use axum::Json;
use axum::extract::State;
use serde::Serialize;
use utoipa::ToSchema;

use crate::Shared;
use crate::error::{ApiError, ErrorBody};
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
