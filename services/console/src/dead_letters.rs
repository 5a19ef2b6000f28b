//! Requests about dead letters.

use axum::extract::State;
use axum::{Extension, Json};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use crate::access::Who;
use crate::error::{ApiError, ErrorBody};
use crate::input::{Body, Path, Query};
use crate::{Shared, audit};

/// Letters of a page at most.
const LIMIT_MAX: usize = 500;
const LIMIT_DEFAULT: usize = 100;

/// A dead letter.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, ToSchema)]
pub struct Letter {
    /// Its partition and offset in the dead-letter topic.
    pub at: String,
    /// When it was written, milliseconds since 1970.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub written_ms: Option<i64>,
    /// Why, a code.
    pub reason: String,
    /// Why, in a sentence.
    pub detail: String,
    /// `topic/partition/offset` of its record.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
    /// The target that it asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub target: Option<String>,
    /// The topic that it was to go to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub output_topic: Option<String>,
    /// How often it was sent again.
    pub redrives: u64,
}

/// Which letters.
#[derive(Debug, Clone, Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct LetterQuery {
    /// A reason, as a glob.
    pub reason: Option<String>,
    /// A target or output topic, as a glob.
    pub target: Option<String>,
    /// 1 to 500; 100 where it is left out.
    #[param(minimum = 1, maximum = 500)]
    pub limit: Option<usize>,
    /// `next` of the page before.
    pub after: Option<String>,
}

/// A page of letters.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, ToSchema)]
pub struct Letters {
    /// Open ones, oldest first in each partition.
    pub letters: Vec<Letter>,
    /// Where the next page begins; null at the end.
    pub next: Option<String>,
}

/// Open dead letters.
#[utoipa::path(get, path = "/v1/dead-letters", params(LetterQuery), responses(
    (status = 200, body = Letters),
    (status = 400, description = "what was asked makes no sense", body = ErrorBody),
    (status = 401, description = "no token, or a wrong one", body = ErrorBody),
    (status = 403, description = "from a foreign page", body = ErrorBody),
    (status = 503, description = "Kafka does not answer", body = ErrorBody),
))]
pub(crate) async fn list(
    State(shared): State<Shared>,
    Query(mut query): Query<LetterQuery>,
) -> Result<Json<Letters>, ApiError> {
    let limit = query.limit.unwrap_or(LIMIT_DEFAULT);
    if !(1..=LIMIT_MAX).contains(&limit) {
        return Err(ApiError::bad_request(format!("limit is 1 to {LIMIT_MAX}")));
    }
    query.limit = Some(limit);
    Ok(Json(shared.ports.operations.dead_letters(&query).await?))
}

/// A dead letter whole, headers, key and value included: for operators.
#[utoipa::path(get, path = "/v1/dead-letters/{partition}/{offset}", params(
    ("partition" = i32, Path, description = "partition of the dead-letter topic"),
    ("offset" = i64, Path, description = "offset there"),
), responses(
    (status = 200, description = "as `delayq dead-letters show --json` prints it"),
    (status = 400, description = "no such place", body = ErrorBody),
    (status = 401, description = "no token, or a wrong one", body = ErrorBody),
    (status = 403, description = "a viewer's token, or from a foreign page", body = ErrorBody),
    (status = 404, description = "there is no letter", body = ErrorBody),
    (status = 503, description = "Kafka does not answer", body = ErrorBody),
))]
pub(crate) async fn show(
    State(shared): State<Shared>,
    Extension(who): Extension<Who>,
    Path((partition, offset)): Path<(i32, i64)>,
) -> Result<Json<serde_json::Value>, ApiError> {
    who.sees_payloads()?;
    let at = format!("{partition}/{offset}");
    let found = shared.ports.operations.dead_letter(&at).await?;
    let found = found.ok_or_else(|| ApiError::unknown(format!("there is no dead letter {at}")))?;
    audit::note(&who, "show dead letter", &at, "shown");
    Ok(Json(found))
}

/// Letters by their places.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Named {
    /// `partition/offset`, at least one.
    at: Vec<String>,
    /// Only say what would be done.
    #[serde(default)]
    dry_run: bool,
    /// Of a redrive: headers that are taken away before.
    #[serde(default)]
    without: Vec<String>,
}

impl Named {
    fn check(&self) -> Result<(), ApiError> {
        if self.at.is_empty() {
            return Err(ApiError::bad_request(
                "name at least one letter, as partition/offset",
            ));
        }
        Ok(())
    }
}

/// What became of a letter.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct Redriven {
    /// Its place.
    pub at: String,
    /// `sent`, or would be; or `refused`: it is left.
    pub outcome: &'static str,
    /// Where it went, or why it was left.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
}

/// What became of letters.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct RedriveResults {
    /// One a letter that is open.
    results: Vec<Redriven>,
}

/// Sends letters to the delay topics that they came from.
#[utoipa::path(post, path = "/v1/dead-letters/redrive", request_body = Named, responses(
    (status = 200, body = RedriveResults),
    (status = 400, description = "no letter, or no such place", body = ErrorBody),
    (status = 401, description = "no token, or a wrong one", body = ErrorBody),
    (status = 403, description = "a viewer's token, or from a foreign page", body = ErrorBody),
    (status = 415, description = "not sent as JSON", body = ErrorBody),
    (status = 422, description = "the body is not as described", body = ErrorBody),
    (status = 503, description = "Kafka does not answer; what was confirmed is marked", body = ErrorBody),
))]
pub(crate) async fn redrive(
    State(shared): State<Shared>,
    Extension(who): Extension<Who>,
    Body(body): Body<Named>,
) -> Result<Json<RedriveResults>, ApiError> {
    body.check()?;
    let results = shared
        .ports
        .operations
        .redrive(&body.at, &body.without, body.dry_run)
        .await?;
    let sent = results.iter().filter(|one| one.outcome == "sent").count();
    audit::note(&who, "redrive", &body.at.join(" "), &format!("{sent} sent"));
    Ok(Json(RedriveResults { results }))
}

/// How many letters were given up.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Purged {
    /// How many.
    purged: u64,
    /// Nothing was changed.
    dry_run: bool,
}

/// Gives letters up.
#[utoipa::path(post, path = "/v1/dead-letters/purge", request_body = Named, responses(
    (status = 200, body = Purged),
    (status = 400, description = "no letter, or no such place", body = ErrorBody),
    (status = 401, description = "no token, or a wrong one", body = ErrorBody),
    (status = 403, description = "a viewer's token, or from a foreign page", body = ErrorBody),
    (status = 415, description = "not sent as JSON", body = ErrorBody),
    (status = 422, description = "the body is not as described", body = ErrorBody),
    (status = 503, description = "Kafka does not answer", body = ErrorBody),
))]
pub(crate) async fn purge(
    State(shared): State<Shared>,
    Extension(who): Extension<Who>,
    Body(body): Body<Named>,
) -> Result<Json<Purged>, ApiError> {
    body.check()?;
    let purged = shared
        .ports
        .operations
        .purge(&body.at, body.dry_run)
        .await?;
    audit::note(
        &who,
        "purge",
        &body.at.join(" "),
        &format!("{purged} purged"),
    );
    Ok(Json(Purged {
        purged,
        dry_run: body.dry_run,
    }))
}
