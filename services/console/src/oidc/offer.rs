//! What the page needs to know before anybody is signed in: whether it must ask, and where people sign in.

use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::extract::State;
use axum::http::header;
use axum::response::IntoResponse;
use serde::Serialize;
use utoipa::ToSchema;

use super::{Oidc, fetch};
use crate::access::Access;

/// How long the page's file may wait for the issuer.
const POLICY_WITHIN: Duration = Duration::from_secs(1);

/// How one gets in.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Offer {
    /// Whether anything is asked for: without, everybody on the console's machine may do everything.
    asks: bool,
    /// Whether tokens of the configuration are accepted.
    tokens: bool,
    /// Whether a load balancer signs people in: then the page needs no token.
    load_balancer: bool,
    /// Single sign-on.
    oidc: Option<OidcOffer>,
}

/// Where people sign in: by authorization code with PKCE, as a public client.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct OidcOffer {
    /// The issuer.
    issuer: String,
    /// What it calls the console.
    client_id: String,
    /// What is asked for.
    scopes: Vec<String>,
    /// Which of the issuer's tokens the API takes: `id_token` or `access_token`.
    token: &'static str,
    /// By its discovery document; absent while it does not answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    authorization_endpoint: Option<String>,
    /// As above.
    #[serde(skip_serializing_if = "Option::is_none")]
    token_endpoint: Option<String>,
    /// As above, and absent where it has none.
    #[serde(skip_serializing_if = "Option::is_none")]
    end_session_endpoint: Option<String>,
    /// Why nobody can sign in now.
    #[serde(skip_serializing_if = "Option::is_none")]
    problem: Option<String>,
}

/// How one gets in: whether a token is asked for, and where people sign in. For everybody.
#[utoipa::path(get, path = "/v1/access", responses(
    (status = 200, description = "without secrets", body = Offer),
))]
pub(crate) async fn access(State(access): State<Arc<Access>>) -> impl IntoResponse {
    let oidc = match &access.oidc {
        Some(oidc) => Some(oidc.offer().await),
        None => None,
    };
    let offer = Offer {
        asks: access.asks(),
        tokens: access.viewer.is_some() || access.operator.is_some(),
        load_balancer: access
            .oidc
            .as_ref()
            .is_some_and(|oidc| oidc.0.alb.is_some()),
        oidc,
    };
    ([(header::CACHE_CONTROL, "no-store")], Json(offer))
}

impl Oidc {
    async fn offer(&self) -> OidcOffer {
        let own = &self.0;
        let mut offer = OidcOffer {
            issuer: own.issuer.name.clone(),
            client_id: own.client_id.clone(),
            scopes: own.scopes.clone(),
            // An ID token is for the client, always; another audience is an API's, and gets access tokens.
            token: if own.audience == own.client_id {
                "id_token"
            } else {
                "access_token"
            },
            authorization_endpoint: None,
            token_endpoint: None,
            end_session_endpoint: None,
            problem: None,
        };
        match own.issuer.discovery().await {
            Ok(found) => {
                offer
                    .authorization_endpoint
                    .clone_from(&found.authorization_endpoint);
                offer.token_endpoint.clone_from(&found.token_endpoint);
                offer
                    .end_session_endpoint
                    .clone_from(&found.end_session_endpoint);
                if found.authorization_endpoint.is_none() || found.token_endpoint.is_none() {
                    let text = "its discovery document names no authorization or token endpoint";
                    offer.problem = Some(text.to_owned());
                }
            }
            Err(why) => offer.problem = Some(why.to_string()),
        }
        offer
    }

    /// The origin at which the page exchanges its code, which its policy must allow; `None` while that is not known.
    pub(crate) async fn token_origin(&self) -> Option<String> {
        let issuer = &self.0.issuer;
        // The page is served whether the issuer answers or not.
        let asked = tokio::time::timeout(POLICY_WITHIN, issuer.discovery()).await;
        let found = asked
            .ok()
            .and_then(Result::ok)
            .or_else(|| issuer.discovered())?;
        fetch::origin(found.token_endpoint.as_ref()?)
    }
}
