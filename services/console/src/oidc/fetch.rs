//! Fetches small public documents: of the issuer, and of a load balancer's keys. A limit on their size and on the time.

use std::time::Duration;

use axum::http::Uri;
use axum::http::uri::Authority;
use bytes::Bytes;
use http_body_util::{BodyExt as _, Empty, Limited};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;

use crate::access::is_loopback;

/// How long connecting may take.
const CONNECT_WITHIN: Duration = Duration::from_secs(3);
/// How long the whole may take.
const FETCH_WITHIN: Duration = Duration::from_secs(5);
/// Longest document, in bytes.
const DOCUMENT_MAX_BYTES: usize = 256 * 1024;

#[cfg(feature = "tls")]
type Connector = hyper_rustls::HttpsConnector<HttpConnector>;
#[cfg(not(feature = "tls"))]
type Connector = HttpConnector;

/// Why there is no document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum NoDocument {
    /// Whoever was asked says that there is none.
    Missing(String),
    /// Nothing is known of it.
    Away(String),
}

impl NoDocument {
    pub(super) fn into_text(self) -> String {
        match self {
            Self::Missing(text) | Self::Away(text) => text,
        }
    }
}

/// The client.
#[derive(Debug, Clone)]
pub(super) struct Fetcher(Client<Connector, Empty<Bytes>>);

impl Fetcher {
    /// # Errors
    /// The system's certificates cannot be read.
    pub(super) fn new() -> Result<Self, String> {
        let mut http = HttpConnector::new();
        http.set_connect_timeout(Some(CONNECT_WITHIN));
        let client = Client::builder(TokioExecutor::new())
            // Minutes pass between two fetches.
            .pool_max_idle_per_host(0)
            .build(connector(http)?);
        Ok(Self(client))
    }

    /// What is at an address; redirects are not followed.
    pub(super) async fn get(&self, url: &str) -> Result<Bytes, NoDocument> {
        let away = |why: String| NoDocument::Away(format!("{url}: {why}"));
        let uri = allowed(url).map_err(NoDocument::Away)?;
        let work = async {
            let answer = self.0.get(uri).await.map_err(|error| away(chain(&error)))?;
            let status = answer.status();
            if status.is_client_error() {
                return Err(NoDocument::Missing(format!("{url}: {status}")));
            }
            if !status.is_success() {
                return Err(away(status.to_string()));
            }
            let body = Limited::new(answer.into_body(), DOCUMENT_MAX_BYTES);
            let body = body.collect().await;
            body.map(|body| body.to_bytes())
                .map_err(|error| away(error.to_string()))
        };
        tokio::time::timeout(FETCH_WITHIN, work)
            .await
            .unwrap_or_else(|_| Err(away(format!("no answer within {FETCH_WITHIN:?}"))))
    }
}

#[cfg(feature = "tls")]
fn connector(mut http: HttpConnector) -> Result<Connector, String> {
    http.enforce_http(false);
    let provider = rustls::crypto::ring::default_provider();
    let builder = hyper_rustls::HttpsConnectorBuilder::new()
        .with_provider_and_native_roots(provider)
        .map_err(|error| format!("the system's certificates: {error}"))?;
    Ok(builder.https_or_http().enable_http1().wrap_connector(http))
}

#[cfg(not(feature = "tls"))]
#[allow(
    clippy::unnecessary_wraps,
    reason = "its twin with TLS reads certificates"
)]
fn connector(http: HttpConnector) -> Result<Connector, String> {
    Ok(http)
}

/// An address that may be asked: over TLS, or on this machine.
pub(super) fn allowed(url: &str) -> Result<Uri, String> {
    let uri: Uri = url
        .parse()
        .map_err(|error| format!("{url}: not an address: {error}"))?;
    match (uri.scheme_str(), uri.authority()) {
        (Some("https"), Some(_)) => {}
        (Some("http"), Some(authority)) if is_loopback(authority.as_str()) => return Ok(uri),
        (Some("http"), Some(_)) => return Err(format!("{url}: http:// is for this machine only")),
        _ => return Err(format!("{url}: not an https:// address")),
    }
    if cfg!(not(feature = "tls")) {
        return Err(format!(
            "this build has no TLS, but an address of single sign-on is {url}: build with --features tls, or set an http address of this machine"
        ));
    }
    Ok(uri)
}

/// Scheme, host and port of an address, as a policy of a page names it.
pub(super) fn origin(url: &str) -> Option<String> {
    let uri: Uri = url.parse().ok()?;
    let authority = uri.authority().map(Authority::as_str)?;
    // It becomes a part of a header in which semicolons and spaces mean something.
    let plain =
        |char: char| char.is_ascii_alphanumeric() || matches!(char, '.' | '-' | ':' | '[' | ']');
    let scheme = uri.scheme_str()?;
    authority
        .chars()
        .all(plain)
        .then(|| format!("{scheme}://{authority}"))
}

/// An error with its causes: a client's own says only that it failed.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        next = cause.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_tls_and_this_machine_are_asked() {
        for url in [
            "http://127.0.0.1:1/a",
            "http://localhost/a",
            "http://[::1]:1",
        ] {
            assert!(allowed(url).is_ok(), "{url}");
        }
        for url in [
            "http://10.0.0.1/a",
            "ftp://127.0.0.1",
            "/a",
            "",
            "a b",
            "http://127.0.0.1.example",
        ] {
            assert!(allowed(url).is_err(), "{url}");
        }
        let secure = allowed("https://login.example.com/a");
        assert_eq!(secure.is_ok(), cfg!(feature = "tls"), "{secure:?}");
        if let Err(told) = secure {
            assert!(told.contains("this build has no TLS"), "{told}");
        }
    }

    #[test]
    fn an_origin_has_no_path_and_nothing_that_means_something_in_a_policy() {
        let own = |url: &str| origin(url).unwrap_or_default();
        assert_eq!(
            own("https://login.example.com/a?b"),
            "https://login.example.com"
        );
        assert_eq!(own("http://127.0.0.1:9000"), "http://127.0.0.1:9000");
        for url in ["https://a;b/", "https://u:p@a/", "/a", ""] {
            assert_eq!(own(url), "", "{url}");
        }
    }
}
