//! The console's page: built from `web/`, embedded in the binary.

use axum::Router;
use axum::extract::State;
use axum::http::{HeaderName, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use rust_embed::Embed;

use crate::oidc::Oidc;

#[derive(Embed)]
#[folder = "web/dist"]
struct Files;

/// Only what the page itself brings, and this server: no script of anybody else's, no frame around it. `signs_in_at` is the one other
/// place to which it may speak.
fn policy(signs_in_at: Option<&str>) -> String {
    let elsewhere = signs_in_at.map_or(String::new(), |origin| format!(" {origin}"));
    format!(
        "default-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; connect-src 'self' ws: wss:{elsewhere}; frame-ancestors 'none'; base-uri 'none'; form-action 'none'"
    )
}

/// Names under `assets/` hold a hash of the content.
const FOR_EVER: &str = "public, max-age=31536000, immutable";
/// The page itself: by its policy goes what its scripts do.
const INDEX: &str = "index.html";

/// The page's files.
pub(crate) fn routes(oidc: Option<Oidc>) -> Router {
    Router::new().fallback(get(file)).with_state(oidc)
}

async fn file(State(oidc): State<Option<Oidc>>, uri: Uri) -> Response {
    let path = match uri.path().trim_start_matches('/') {
        "" => INDEX,
        path => path,
    };
    let Some(file) = Files::get(path) else {
        return (StatusCode::NOT_FOUND, "not found").into_response();
    };
    let cache = if path.starts_with("assets/") {
        FOR_EVER
    } else {
        "no-cache"
    };
    let signs_in_at = match &oidc {
        Some(oidc) if path == INDEX => oidc.token_origin().await,
        _ => None,
    };
    let headers = [
        (header::CONTENT_TYPE, file.metadata.mimetype().to_owned()),
        (header::CACHE_CONTROL, cache.to_owned()),
        (
            header::CONTENT_SECURITY_POLICY,
            policy(signs_in_at.as_deref()),
        ),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff".to_owned()),
        (
            HeaderName::from_static("referrer-policy"),
            "no-referrer".to_owned(),
        ),
    ];
    (headers, file.data).into_response()
}
