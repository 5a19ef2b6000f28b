//! A console with single sign-on, over a clock that stands still.

use std::sync::Arc;

use async_trait::async_trait;
use axum::Router;
use axum::body::Body;
use axum::http::{HeaderMap, Request};
use delayq_console::access::Access;
use delayq_console::dead_letters::{LetterQuery, Letters, Redriven};
use delayq_console::error::ApiError;
use delayq_console::live::Hub;
use delayq_console::oidc::{AlbSettings, Oidc, OidcSettings};
use delayq_console::operations::{Operations, Problem, Queue, Rescheduled, Sending, Sent, Shard};
use delayq_console::{ConsolePorts, routes};
use delayq_core::clock::{Clock, ManualClock};
use delayq_core::tracked::MessageRow;
use delayq_embedded::MemoryMessageRegistry;
use http_body_util::BodyExt as _;
use serde_json::{Value, json};
use tower::ServiceExt as _;

use crate::issuer::Issuer;

pub(crate) const NOW_MS: i64 = 1_800_000_000_000;
pub(crate) const NOW_S: i64 = NOW_MS / 1000;
pub(crate) const ARN: &str = "arn:aws:elasticloadbalancing:eu-central-1:123456789012:loadbalancer/app/console/50dc6c495c0c9188";
pub(crate) const HOST: &str = "console.example.com";
pub(crate) const STATIC: &str = "a-token-of-the-configuration";

/// Takes what is sent, and nothing else.
struct Taking;

fn nothing<T>() -> Result<T, ApiError> {
    Err(ApiError::bad_request("not in this test"))
}

#[async_trait]
impl Operations for Taking {
    async fn send(&self, _: Sending) -> Result<Sent, ApiError> {
        Ok(Sent {
            source: "d/0/1".to_owned(),
            due_ms: NOW_MS,
            output_topic: "out".to_owned(),
            id: None,
        })
    }
    async fn reschedule(
        &self,
        _: &MessageRow,
        _: i64,
    ) -> Result<(Rescheduled, MessageRow), ApiError> {
        nothing()
    }
    async fn dead_letters(&self, _: &LetterQuery) -> Result<Letters, ApiError> {
        nothing()
    }
    async fn dead_letter(&self, _: &str) -> Result<Option<Value>, ApiError> {
        nothing()
    }
    async fn redrive(
        &self,
        _: &[String],
        _: &[String],
        _: bool,
    ) -> Result<Vec<Redriven>, ApiError> {
        nothing()
    }
    async fn purge(&self, _: &[String], _: bool) -> Result<u64, ApiError> {
        nothing()
    }
    async fn problems(&self) -> Vec<Problem> {
        Vec::new()
    }
    async fn shards(&self) -> Result<Vec<Shard>, ApiError> {
        nothing()
    }
    async fn queues(&self) -> Result<Vec<Queue>, ApiError> {
        nothing()
    }
}

pub(crate) struct Bench {
    pub(crate) clock: Arc<ManualClock>,
    pub(crate) router: Router,
}

/// An answer.
#[derive(Debug)]
pub(crate) struct Told {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Value,
}

impl Told {
    pub(crate) fn code(&self) -> &str {
        self.body["error"]["code"].as_str().unwrap_or_default()
    }

    pub(crate) fn message(&self) -> &str {
        self.body["error"]["message"].as_str().unwrap_or_default()
    }

    /// An error, whose words hold this.
    #[track_caller]
    pub(crate) fn refuses(&self, status: u16, words: &str) {
        assert_eq!(self.status, status, "{self:?}");
        assert!(self.message().contains(words), "{words} in {self:?}");
    }
}

/// What the tests begin with.
pub(crate) fn settings(issuer: &str) -> OidcSettings {
    OidcSettings {
        issuer: issuer.to_owned(),
        client_id: "delayq".to_owned(),
        audience: "delayq".to_owned(),
        roles_claim: "groups".to_owned(),
        operators: vec!["ops".to_owned()],
        viewers: vec!["dev".to_owned()],
        scopes: vec!["openid".to_owned(), "email".to_owned()],
        alb: None,
    }
}

/// Beside the issuer's own, the load balancer's keys.
pub(crate) fn behind_alb(issuer: &Issuer) -> OidcSettings {
    OidcSettings {
        alb: Some(AlbSettings {
            arn: ARN.to_owned(),
            keys_url: format!("{}/alb", issuer.url),
        }),
        ..settings(&issuer.url)
    }
}

/// What a token says of an operator.
pub(crate) fn claims(issuer: &Issuer) -> Value {
    json!({
        "iss": issuer.url, "aud": "delayq", "sub": "u-17", "email": "ann@example.com",
        "exp": NOW_S + 300, "groups": ["ops"],
    })
}

impl Bench {
    pub(crate) fn new(settings: OidcSettings) -> Self {
        let clock = Arc::new(ManualClock::at(NOW_MS));
        let router = router(settings, clock.clone());
        Self { clock, router }
    }

    pub(crate) async fn ask(&self, method: &str, path: &str, headers: &[(&str, &str)]) -> Told {
        let mut request = Request::builder().method(method).uri(path);
        if !headers.iter().any(|(name, _)| *name == "host") {
            request = request.header("host", HOST);
        }
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let body = if method == "POST" {
            request = request.header("content-type", "application/json");
            Body::from(r#"{"target": "out", "value": "v"}"#)
        } else {
            Body::empty()
        };
        let request = request.body(body).expect("a request");
        let answer = self
            .router
            .clone()
            .oneshot(request)
            .await
            .expect("an answer");
        let (parts, body) = answer.into_parts();
        let bytes = body.collect().await.expect("a body").to_bytes();
        Told {
            status: parts.status.as_u16(),
            headers: parts.headers,
            body: serde_json::from_slice(&bytes).unwrap_or_default(),
        }
    }

    /// Lists messages, which viewers may.
    pub(crate) async fn look(&self, token: &str) -> Told {
        let bearer = format!("Bearer {token}");
        self.ask("GET", "/v1/messages", &[("authorization", &bearer)])
            .await
    }

    /// Sends a record, which operators may.
    pub(crate) async fn change(&self, token: &str) -> Told {
        let bearer = format!("Bearer {token}");
        self.ask("POST", "/v1/messages", &[("authorization", &bearer)])
            .await
    }
}

/// A console's routes, with a static token beside single sign-on.
pub(crate) fn router(settings: OidcSettings, clock: Arc<dyn Clock>) -> Router {
    let registry = Arc::new(MemoryMessageRegistry::new(clock.clone()));
    let ports = ConsolePorts {
        registry: registry.clone(),
        index: registry,
        operations: Arc::new(Taking),
        clock: clock.clone(),
    };
    let access = Access {
        viewer: None,
        operator: Some(STATIC.to_owned()),
        oidc: Some(Oidc::new(settings, clock).expect("single sign-on")),
    };
    routes(ports, Hub::new("hub"), access, &["d".to_owned()])
}
