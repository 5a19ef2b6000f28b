//! Single sign-on by OpenID Connect: who sends a token of an issuer, or comes through a load balancer that has signed them in.
//!
//! Asks the issuer for its keys, and nobody for anything else: what a token says is true if it is signed. No token is kept or logged.

mod alb;
mod claims;
mod fetch;
mod issuer;
mod kept;
mod offer;
mod token;

use std::fmt;
use std::sync::Arc;

use axum::http::{HeaderMap, StatusCode};
use delayq_core::clock::Clock;

use crate::access::Who;
use crate::error::ApiError;
use alb::{Alb, NotSigned};
use claims::{Claims, Roles, check_audience, check_issuer, check_times, person};
use fetch::Fetcher;
use issuer::{Issuer, NoKey};
pub(crate) use kept::FETCHES;
use token::Token;

pub(crate) use offer::{__path_access, access};

/// Counter: people and programs that were not let in. Label: reason.
pub(crate) const REFUSED: &str = "delayq_console_sign_on_refused_total";
/// How long a connection of somebody may live whom a load balancer has signed in; then it signs in again.
const ALB_SESSION_MS: i64 = 3_600_000;

/// What single sign-on is done with. The fields are those of `[console.oidc]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OidcSettings {
    /// The issuer, by its address.
    pub issuer: String,
    /// What the issuer calls the console.
    pub client_id: String,
    /// For whom tokens must be issued.
    pub audience: String,
    /// The claim that holds roles.
    pub roles_claim: String,
    /// Its values that make an operator.
    pub operators: Vec<String>,
    /// Its values that make a viewer; `*` is everyone.
    pub viewers: Vec<String>,
    /// What the page asks the issuer for.
    pub scopes: Vec<String>,
    /// A load balancer that signs people in.
    pub alb: Option<AlbSettings>,
}

/// A load balancer that signs people in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AlbSettings {
    /// Its ARN.
    pub arn: String,
    /// Where its public keys are, without the key's name.
    pub keys_url: String,
}

/// Single sign-on.
#[derive(Clone)]
pub struct Oidc(Arc<Inner>);

struct Inner {
    issuer: Issuer,
    client_id: String,
    audience: String,
    scopes: Vec<String>,
    roles: Roles,
    alb: Option<Alb>,
    clock: Arc<dyn Clock>,
}

impl fmt::Debug for Oidc {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Oidc")
            .field("issuer", &self.0.issuer.name)
            .finish_non_exhaustive()
    }
}

/// Why somebody is not let in.
#[derive(Debug)]
enum Refusal {
    /// What was sent proves nothing.
    Bad(String),
    /// It is known who it is, and that is nobody here.
    NoRole(String),
    /// Whether it proves something cannot be said.
    Away(String),
}

impl From<Refusal> for ApiError {
    fn from(refusal: Refusal) -> Self {
        let (status, code, reason, message) = match refusal {
            Refusal::Bad(message) => {
                let code = "unauthorized";
                (StatusCode::UNAUTHORIZED, code, "token", message)
            }
            Refusal::NoRole(message) => (StatusCode::FORBIDDEN, "no-role", "role", message),
            Refusal::Away(message) => {
                let code = "issuer-unavailable";
                (StatusCode::SERVICE_UNAVAILABLE, code, "issuer", message)
            }
        };
        metrics::counter!(REFUSED, "reason" => reason).increment(1);
        tracing::debug!(reason, message, "not let in");
        Self::new(status, code, message)
    }
}

impl Oidc {
    /// Asks nobody yet.
    ///
    /// # Errors
    /// Addresses that this build cannot ask (https without TLS); the system's certificates.
    pub fn new(settings: OidcSettings, clock: Arc<dyn Clock>) -> Result<Self, String> {
        let addresses = [
            Some(&settings.issuer),
            settings.alb.as_ref().map(|alb| &alb.keys_url),
        ];
        for address in addresses.into_iter().flatten() {
            fetch::allowed(address)?;
        }
        let fetcher = Fetcher::new()?;
        let alb = settings.alb.map(|alb| {
            let client = (settings.client_id.clone(), settings.issuer.clone());
            let own = (alb.arn, alb.keys_url);
            Alb::new(own, client, fetcher.clone(), clock.clone())
        });
        Ok(Self(Arc::new(Inner {
            issuer: Issuer::new(settings.issuer, fetcher, &clock),
            client_id: settings.client_id,
            audience: settings.audience,
            scopes: settings.scopes,
            roles: Roles {
                claim: settings.roles_claim,
                operators: settings.operators,
                viewers: settings.viewers,
            },
            alb,
            clock,
        })))
    }

    /// Whether the issuer answers and calls itself what it is called here.
    ///
    /// # Errors
    /// It does not: why.
    pub async fn reach(&self) -> Result<(), String> {
        let discovery = self.0.issuer.discovery().await;
        discovery.map(|_| ()).map_err(|why| why.to_string())
    }

    /// Who sends this token.
    pub(crate) async fn bearer(&self, token: &str) -> Result<Who, ApiError> {
        Ok(self.0.bearer(token).await?)
    }

    /// Whom the load balancer has signed in, if its header is there and it is expected to be.
    pub(crate) async fn load_balancer(&self, headers: &HeaderMap) -> Option<Result<Who, ApiError>> {
        let alb = self.0.alb.as_ref()?;
        let mut all = headers.get_all(alb::DATA).iter();
        let first = all.next()?;
        let data = match (first.to_str(), all.next()) {
            (Ok(data), None) => self.0.signed_in(alb, data).await,
            _ => Err(Refusal::Bad(format!(
                "{} is sent twice, or no text",
                alb::DATA
            ))),
        };
        Some(data.map_err(ApiError::from))
    }
}

impl Inner {
    async fn bearer(&self, text: &str) -> Result<Who, Refusal> {
        let bad = |why: String| Refusal::Bad(format!("this token is not accepted: {why}"));
        let token = Token::read(text).map_err(|why| {
            let tokens = "nor console.viewer_token or console.operator_token";
            Refusal::Bad(format!("this token is not the issuer's ({why}), {tokens}"))
        })?;
        let keys = self.issuer.keys_of(&token).await.map_err(|none| match none {
            NoKey::Unknown => bad("its key is not the issuer's".to_owned()),
            NoKey::Away(why) => Refusal::Away(format!(
                "whether this token is good cannot be said, since the issuer does not answer: {why}"
            )),
        })?;
        let claims = token.verified(&keys).map_err(bad)?;
        check_issuer(&claims, &self.issuer.name).map_err(bad)?;
        check_audience(&claims, &self.audience).map_err(bad)?;
        let until_ms = check_times(&claims, self.clock.now_ms()).map_err(bad)?;
        Ok(self.who(&claims, bad)?.until(until_ms))
    }

    async fn signed_in(&self, alb: &Alb, data: &str) -> Result<Who, Refusal> {
        let bad = |why: String| Refusal::Bad(format!("{} is not accepted: {why}", alb::DATA));
        let claims = alb.claims(data).await.map_err(|not| match not {
            NotSigned::Refused(why) => bad(why),
            NotSigned::Away(why) => Refusal::Away(format!(
                "whom the load balancer has signed in cannot be said, since its keys cannot be fetched: {why}"
            )),
        })?;
        let until_ms = self.clock.now_ms().saturating_add(ALB_SESSION_MS);
        Ok(self.who(&claims, bad)?.until(until_ms).by_cookie())
    }

    fn who(&self, claims: &Claims, bad: impl FnOnce(String) -> Refusal) -> Result<Who, Refusal> {
        let person = person(claims).map_err(bad)?;
        let role = self.roles.of(claims).map_err(Refusal::NoRole)?;
        Ok(Who::person(role, person))
    }
}
