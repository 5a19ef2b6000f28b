//! Who may do what: tokens, and single sign-on, for viewers and operators; requests that a foreign page makes a browser send are
//! refused.

use std::net::IpAddr;
use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::request::Parts;
use axum::http::{HeaderMap, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use delayq_core::clock::EpochMs;

use crate::error::ApiError;
use crate::oidc::Oidc;

/// Tokens and single sign-on. Without any, everybody who reaches the address is an operator: for loopback only.
#[derive(Clone, Default)]
pub struct Access {
    /// Token of those who may look.
    pub viewer: Option<String>,
    /// Token of those who may also change things, and see payloads.
    pub operator: Option<String>,
    /// People and programs with tokens of an issuer.
    pub oidc: Option<Oidc>,
}

impl std::fmt::Debug for Access {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Access")
    }
}

/// What somebody may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// May look.
    Viewer,
    /// May also change things.
    Operator,
    /// Reached an address that asks for no token.
    Local,
}

impl Role {
    /// For the audit log.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Viewer => "viewer",
            Self::Operator => "operator",
            Self::Local => "local",
        }
    }
}

/// Somebody whom the issuer knows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Person {
    /// The issuer's name for it (`sub`).
    pub sub: String,
    /// Its mail address, else its user name there.
    pub name: Option<String>,
}

/// Who asks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Who {
    /// What it may do.
    pub role: Role,
    /// Who signed in; `None` for a token of the configuration.
    pub person: Option<Arc<Person>>,
    /// When it has to sign in again; milliseconds since 1970.
    pub until_ms: Option<EpochMs>,
    /// A browser sends its proof by itself, with requests of foreign pages, too.
    cookie: bool,
}

impl From<Role> for Who {
    fn from(role: Role) -> Self {
        Self {
            role,
            person: None,
            until_ms: None,
            cookie: false,
        }
    }
}

impl Who {
    pub(crate) fn person(role: Role, person: Person) -> Self {
        Self {
            person: Some(Arc::new(person)),
            ..Self::from(role)
        }
    }

    pub(crate) const fn until(mut self, until_ms: EpochMs) -> Self {
        self.until_ms = Some(until_ms);
        self
    }

    pub(crate) const fn by_cookie(mut self) -> Self {
        self.cookie = true;
        self
    }

    /// Whether keys and values are shown to it.
    pub(crate) fn sees_payloads(&self) -> Result<(), ApiError> {
        if self.may_change() {
            return Ok(());
        }
        Err(self.needs_an_operator("payloads need"))
    }

    fn needs_an_operator(&self, what: &str) -> ApiError {
        let message = match &self.person {
            None => format!("the token is a viewer's: {what} console.operator_token"),
            Some(_) => format!("you are signed in as a viewer: {what} the role of an operator"),
        };
        ApiError::new(StatusCode::FORBIDDEN, "forbidden", message)
    }

    const fn may_change(&self) -> bool {
        matches!(self.role, Role::Operator | Role::Local)
    }
}

/// The first part of the WebSocket sub-protocol by which a browser sends a token: it cannot set headers there.
pub(crate) const PROTOCOL: &str = "delayq";
const TOKEN_PROTOCOL: &str = "token.";

impl Access {
    /// Whether it is asked who somebody is.
    #[must_use]
    pub const fn asks(&self) -> bool {
        self.viewer.is_some() || self.operator.is_some() || self.oidc.is_some()
    }

    async fn who(&self, headers: &HeaderMap) -> Result<Who, ApiError> {
        if !self.asks() {
            return Ok(Role::Local.into());
        }
        let unauthorized = |message: &str| {
            Err(ApiError::new(
                StatusCode::UNAUTHORIZED,
                "unauthorized",
                message,
            ))
        };
        let Some(token) = token(headers) else {
            let Some(oidc) = &self.oidc else {
                return unauthorized(
                    "send the token of console.viewer_token or console.operator_token as Authorization: Bearer …",
                );
            };
            return match oidc.load_balancer(headers).await {
                Some(who) => who,
                None => unauthorized(
                    "sign in with the issuer of console.oidc, and send its token as Authorization: Bearer …",
                ),
            };
        };
        // Tokens of the configuration first: they are good whether the issuer answers or not.
        let is = |known: &Option<String>| known.as_ref().is_some_and(|known| same(known, token));
        if is(&self.operator) {
            Ok(Role::Operator.into())
        } else if is(&self.viewer) {
            Ok(Role::Viewer.into())
        } else if let Some(oidc) = &self.oidc {
            oidc.bearer(token).await
        } else {
            unauthorized("this token is neither console.viewer_token nor console.operator_token")
        }
    }
}

fn token(headers: &HeaderMap) -> Option<&str> {
    let bearer = headers
        .get(header::AUTHORIZATION)
        .and_then(|value| value.to_str().ok())
        .and_then(|text| text.strip_prefix("Bearer "));
    let protocol = headers
        .get(header::SEC_WEBSOCKET_PROTOCOL)
        .and_then(|value| value.to_str().ok())
        .and_then(|text| {
            text.split(',')
                .find_map(|part| part.trim().strip_prefix(TOKEN_PROTOCOL))
        });
    bearer.or(protocol)
}

/// Takes as long for any two texts of one length.
fn same(known: &str, given: &str) -> bool {
    let pairs = known.bytes().zip(given.bytes());
    known.len() == given.len() && pairs.fold(0, |differs, (a, b)| differs | (a ^ b)) == 0
}

/// Lets a request through with [`Who`] it is, or refuses it.
pub(crate) async fn guard(
    State(access): State<Arc<Access>>,
    request: Request,
    next: Next,
) -> Response {
    let (mut parts, body) = request.into_parts();
    match look(&access, &parts).await {
        Ok(who) => {
            parts.extensions.insert(who);
            next.run(Request::from_parts(parts, body)).await
        }
        Err(error) => error.into_response(),
    }
}

async fn look(access: &Access, request: &Parts) -> Result<Who, ApiError> {
    let headers = &request.headers;
    let host = headers
        .get(header::HOST)
        .and_then(|value| value.to_str().ok())
        .unwrap_or_default();
    let forbidden = |message: &str| Err(ApiError::new(StatusCode::FORBIDDEN, "forbidden", message));
    // A foreign page may lead a browser here by a name of its own (DNS rebinding); then the name tells.
    if !access.asks() && !is_loopback(host) {
        return forbidden(
            "without tokens the console answers to localhost only: set console.operator_token or [console.oidc]",
        );
    }
    // A browser says it with every request that changes something, and with every socket.
    let origin = headers.get(header::ORIGIN).map(|value| value.to_str());
    if let Some(origin) = &origin {
        let same_host = origin
            .as_ref()
            .ok()
            .and_then(|origin| origin.split_once("://"))
            .is_some_and(|(_, from)| from.eq_ignore_ascii_case(host));
        if !same_host {
            return forbidden("the request comes from a page of another origin");
        }
    }
    let who = access.who(headers).await?;
    let reads = request.method == Method::GET && !headers.contains_key(header::UPGRADE);
    if who.cookie && !reads && origin.is_none() {
        return forbidden(
            "a change, or a socket, of somebody whom the load balancer has signed in needs the header Origin: browsers send it",
        );
    }
    if request.method != Method::GET && !who.may_change() {
        return Err(who.needs_an_operator("changes need"));
    }
    Ok(who)
}

/// Whether a `Host` names this machine.
pub(crate) fn is_loopback(host: &str) -> bool {
    let name = match host.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((address, _)) => address,
        None => host.rsplit_once(':').map_or(host, |(name, _)| name),
    };
    name.eq_ignore_ascii_case("localhost")
        || name
            .parse::<IpAddr>()
            .is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::body::Body;
    use futures::FutureExt as _;

    fn tokens() -> Access {
        Access {
            viewer: Some("view".to_owned()),
            operator: Some("operate".to_owned()),
            oidc: None,
        }
    }

    fn request(method: &str, headers: &[(&str, &str)]) -> Parts {
        let mut request = Request::builder().method(method).uri("/v1/messages");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        request.body(Body::empty()).unwrap().into_parts().0
    }

    /// Without an issuer nothing is waited for.
    fn status(access: &Access, method: &str, headers: &[(&str, &str)]) -> Result<Role, u16> {
        let request = request(method, headers);
        let looked = look(access, &request).now_or_never().unwrap();
        looked
            .map(|who| who.role)
            .map_err(|error| error.status.as_u16())
    }

    #[test]
    fn tokens_say_who_asks() {
        let asks = |bearer: &str| {
            status(
                &tokens(),
                "GET",
                &[("host", "d:1"), ("authorization", bearer)],
            )
        };
        assert_eq!(asks("Bearer view"), Ok(Role::Viewer));
        assert_eq!(asks("Bearer operate"), Ok(Role::Operator));
        assert_eq!(asks("Bearer operat"), Err(401));
        assert_eq!(asks("operate"), Err(401));
        assert_eq!(status(&tokens(), "GET", &[("host", "d:1")]), Err(401));
        let socket = [
            ("host", "d:1"),
            ("sec-websocket-protocol", "delayq, token.view"),
        ];
        assert_eq!(status(&tokens(), "GET", &socket), Ok(Role::Viewer));
    }

    #[test]
    fn viewers_change_nothing() {
        let json = ("content-type", "application/json");
        let post = |bearer| {
            status(
                &tokens(),
                "POST",
                &[("host", "d:1"), ("authorization", bearer), json],
            )
        };
        assert_eq!(post("Bearer view"), Err(403));
        assert_eq!(post("Bearer operate"), Ok(Role::Operator));
    }

    #[test]
    fn foreign_pages_are_refused() {
        let open = Access::default();
        let json = ("content-type", "application/json");
        let local = ("host", "127.0.0.1:8081");
        assert_eq!(status(&open, "POST", &[local, json]), Ok(Role::Local));
        let foreign = ("origin", "https://evil.example");
        assert_eq!(status(&open, "POST", &[local, json, foreign]), Err(403));
        assert_eq!(
            status(&open, "GET", &[local, foreign]),
            Err(403),
            "a socket"
        );
        let own = ("origin", "http://127.0.0.1:8081");
        assert_eq!(status(&open, "POST", &[local, json, own]), Ok(Role::Local));
        assert_eq!(
            status(&open, "GET", &[("host", "evil.example:8081")]),
            Err(403)
        );
        for host in ["localhost:8081", "[::1]:8081", "localhost", "127.0.0.1"] {
            assert_eq!(
                status(&open, "GET", &[("host", host)]),
                Ok(Role::Local),
                "{host}"
            );
        }
    }
}
