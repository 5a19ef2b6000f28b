//! The console: tracked records over REST and, live, over a WebSocket; one page that shows them.
//!
//! Knows no broker and no cloud: what it shows and changes comes through the ports of [`ConsolePorts`]. What each request
//! answers is in `docs/api.md`, and as OpenAPI at `/openapi.json`.

pub mod access;
mod audit;
pub mod dead_letters;
pub mod error;
mod input;
pub mod live;
pub mod message;
mod messages;
pub mod oidc;
pub mod operations;
mod overview;
mod page;
pub mod seen;
pub mod upcoming;

use std::sync::Arc;

use axum::Router;
use delayq_core::clock::Clock;
use delayq_core::ports::{MessageIndex, MessageRegistry, TallyStore};
use delayq_delivery::upcoming::UpcomingCounts;
use utoipa::OpenApi;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::access::Access;
use crate::live::Hub;
use crate::operations::Operations;

/// What the console works with.
#[derive(Clone)]
pub struct ConsolePorts {
    /// Tracked records, one by one.
    pub registry: Arc<dyn MessageRegistry>,
    /// Tracked records, listed.
    pub index: Arc<dyn MessageIndex>,
    /// What comes due, as all processes counted it.
    pub tallies: Arc<dyn TallyStore>,
    /// Where this process counts what it cancels.
    pub upcoming: Arc<UpcomingCounts>,
    /// What needs Kafka, or the rest of the deployment.
    pub operations: Arc<dyn Operations>,
    /// Wall clock.
    pub clock: Arc<dyn Clock>,
}

/// Describes all metrics of this crate for the exporter.
pub fn describe() {
    metrics::describe_counter!(audit::REQUESTED, "Changes asked for over the API");
    metrics::describe_gauge!(live::LISTENERS, "Who listens to live changes");
    metrics::describe_counter!(live::CHANGES, "Changes seen in the feed");
    metrics::describe_counter!(live::DROPPED, "Listeners that were dropped");
    metrics::describe_counter!(
        oidc::FETCHES,
        "Documents and keys fetched for single sign-on"
    );
    metrics::describe_counter!(oidc::REFUSED, "Requests refused by single sign-on");
}

/// What every request finds.
#[derive(Clone)]
struct Shared {
    ports: ConsolePorts,
    hub: Hub,
    topics: Arc<[Arc<str>]>,
}

#[derive(OpenApi)]
#[openapi(info(
    title = "delayq",
    description = "Delayed messages for Apache Kafka: tracked records listed, cancelled, rescheduled; sent; what is due, how late, how well."
))]
struct Api;

/// The routes. `topics`: the delay topics, the first of which is meant where none is named.
pub fn routes(ports: ConsolePorts, hub: Hub, access: Access, topics: &[String]) -> Router {
    let shared = Shared {
        ports,
        hub,
        topics: topics
            .iter()
            .map(|topic| Arc::from(topic.as_str()))
            .collect(),
    };
    let page = page::routes(access.oidc.clone());
    let access = Arc::new(access);
    let (open, open_description) = OpenApiRouter::new()
        .routes(routes!(oidc::access))
        .with_state(access.clone())
        .split_for_parts();
    let (api, mut description) = OpenApiRouter::with_openapi(Api::openapi())
        .routes(routes!(messages::list, messages::send))
        .routes(routes!(messages::show))
        .routes(routes!(messages::cancel))
        .routes(routes!(messages::reschedule))
        .routes(routes!(messages::cancel_all))
        .routes(routes!(overview::overview))
        .routes(routes!(upcoming::upcoming))
        .routes(routes!(dead_letters::list))
        .routes(routes!(dead_letters::show))
        .routes(routes!(dead_letters::redrive))
        .routes(routes!(dead_letters::purge))
        .split_for_parts();
    description.merge(open_description);
    let description = Arc::new(description);
    let guarded = api
        .route("/v1/live", axum::routing::get(live::connect))
        .with_state(shared)
        .layer(axum::middleware::from_fn_with_state(access, access::guard));
    Router::new()
        .route(
            "/openapi.json",
            axum::routing::get(move || async move { axum::Json((*description).clone()) }),
        )
        .merge(open)
        .merge(guarded)
        .merge(page)
}
