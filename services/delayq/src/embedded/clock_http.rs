//! `POST /test/clock {"advance": "7d"}`: lets time pass for whoever tests against the embedded mode.

use std::time::Duration;

use axum::extract::State;
use axum::extract::rejection::JsonRejection;
use axum::http::StatusCode;
use axum::routing::get;
use axum::{Json, Router};
use chrono::DateTime;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::EmbeddedTiers;

/// Furthest that one call moves the clock.
const ADVANCE_MAX: Duration = Duration::from_secs(3660 * 24 * 3600);

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Advance {
    #[serde(with = "humantime_serde")]
    advance: Duration,
}

#[derive(Debug, Serialize)]
struct Now {
    /// RFC 3339.
    now: String,
    /// Milliseconds since the Unix epoch.
    now_ms: i64,
}

/// `GET` and `POST` of `/test/clock`.
pub fn routes(tiers: EmbeddedTiers) -> Router {
    Router::new()
        .route("/test/clock", get(read).post(advance))
        .with_state(tiers)
}

async fn read(State(tiers): State<EmbeddedTiers>) -> Json<Now> {
    Json(now(&tiers))
}

async fn advance(
    State(tiers): State<EmbeddedTiers>,
    body: Result<Json<Advance>, JsonRejection>,
) -> Result<Json<Now>, (StatusCode, Json<Value>)> {
    let refuse = |detail: String| {
        let hint = r#"send {"advance": "7d"}; units are ms, s, m, h and d; time only moves ahead"#;
        let body = json!({ "error": detail, "hint": hint });
        (StatusCode::BAD_REQUEST, Json(body))
    };
    let Json(Advance { advance }) = body.map_err(|rejection| refuse(rejection.body_text()))?;
    if advance > ADVANCE_MAX {
        return Err(refuse("at most 3660d at once".to_owned()));
    }
    tiers.advance(advance).await.map_err(|error| {
        let body = json!({ "error": format!("{error:#}") });
        (StatusCode::INTERNAL_SERVER_ERROR, Json(body))
    })?;
    Ok(Json(now(&tiers)))
}

fn now(tiers: &EmbeddedTiers) -> Now {
    let now_ms = tiers.now_ms();
    Now {
        now: DateTime::from_timestamp_millis(now_ms).map_or_else(String::new, |at| at.to_rfc3339()),
        now_ms,
    }
}
