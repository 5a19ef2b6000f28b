//! Who may do what: tokens for viewers and operators; requests that a foreign page makes a browser send are refused.

use std::net::IpAddr;
use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::{HeaderMap, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use crate::error::ApiError;

/// Tokens. Without any, everybody who reaches the address is an operator: for loopback only.
#[derive(Clone, Default)]
pub struct Access {
    /// Of those who may look.
    pub viewer: Option<String>,
    /// Of those who may also change things, and see payloads.
    pub operator: Option<String>,
}

impl std::fmt::Debug for Access {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Access")
    }
}

/// Who asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Who {
    /// May look.
    Viewer,
    /// May also change things.
    Operator,
    /// Reached an address that asks for no token.
    Local,
}

impl Who {
    /// For the audit log.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Viewer => "viewer",
            Self::Operator => "operator",
            Self::Local => "local",
        }
    }

    /// Whether keys and values are shown to it.
    pub(crate) fn sees_payloads(self) -> Result<(), ApiError> {
        if self.may_change() {
            return Ok(());
        }
        let message = "the token is a viewer's: payloads need console.operator_token";
        Err(ApiError::new(StatusCode::FORBIDDEN, "forbidden", message))
    }

    const fn may_change(self) -> bool {
        matches!(self, Self::Operator | Self::Local)
    }
}

/// The first part of the WebSocket sub-protocol by which a browser sends a token: it cannot set headers there.
pub(crate) const PROTOCOL: &str = "delayq";
const TOKEN_PROTOCOL: &str = "token.";

impl Access {
    /// Whether a token is asked for.
    #[must_use]
    pub const fn asks(&self) -> bool {
        self.viewer.is_some() || self.operator.is_some()
    }

    fn who(&self, headers: &HeaderMap) -> Result<Who, ApiError> {
        if !self.asks() {
            return Ok(Who::Local);
        }
        let unauthorized = |message: &str| {
            Err(ApiError::new(
                StatusCode::UNAUTHORIZED,
                "unauthorized",
                message,
            ))
        };
        let Some(token) = token(headers) else {
            return unauthorized(
                "send the token of console.viewer_token or console.operator_token as Authorization: Bearer …",
            );
        };
        let is = |known: &Option<String>| known.as_ref().is_some_and(|known| same(known, token));
        if is(&self.operator) {
            Ok(Who::Operator)
        } else if is(&self.viewer) {
            Ok(Who::Viewer)
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
    mut request: Request,
    next: Next,
) -> Response {
    match look(&access, &request) {
        Ok(who) => {
            request.extensions_mut().insert(who);
            next.run(request).await
        }
        Err(error) => error.into_response(),
    }
}

fn look(access: &Access, request: &Request) -> Result<Who, ApiError> {
    let headers = request.headers();
    let host = headers
        .get(header::HOST)
        .and_then(|value| value.to_str().ok())
        .unwrap_or_default();
    let forbidden = |message: &str| Err(ApiError::new(StatusCode::FORBIDDEN, "forbidden", message));
    // A foreign page may lead a browser here by a name of its own (DNS rebinding); then the name tells.
    if !access.asks() && !is_loopback(host) {
        return forbidden(
            "without tokens the console answers to localhost only: set console.operator_token",
        );
    }
    // A browser says it with every request that changes something, and with every socket.
    let origin = headers.get(header::ORIGIN).map(|value| value.to_str());
    if let Some(origin) = origin {
        let same_host = origin
            .ok()
            .and_then(|origin| origin.split_once("://"))
            .is_some_and(|(_, from)| from.eq_ignore_ascii_case(host));
        if !same_host {
            return forbidden("the request comes from a page of another origin");
        }
    }
    let who = access.who(headers)?;
    if request.method() != Method::GET && !who.may_change() {
        return forbidden("the token is a viewer's: changes need console.operator_token");
    }
    Ok(who)
}

/// Whether a `Host` names this machine.
fn is_loopback(host: &str) -> bool {
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

    fn tokens() -> Access {
        Access {
            viewer: Some("view".to_owned()),
            operator: Some("operate".to_owned()),
        }
    }

    fn request(method: &str, headers: &[(&str, &str)]) -> Request {
        let mut request = Request::builder().method(method).uri("/v1/messages");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        request.body(Body::empty()).unwrap()
    }

    fn status(access: &Access, method: &str, headers: &[(&str, &str)]) -> Result<Who, u16> {
        look(access, &request(method, headers)).map_err(|error| error.status.as_u16())
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
        assert_eq!(asks("Bearer view"), Ok(Who::Viewer));
        assert_eq!(asks("Bearer operate"), Ok(Who::Operator));
        assert_eq!(asks("Bearer operat"), Err(401));
        assert_eq!(asks("operate"), Err(401));
        assert_eq!(status(&tokens(), "GET", &[("host", "d:1")]), Err(401));
        let socket = [
            ("host", "d:1"),
            ("sec-websocket-protocol", "delayq, token.view"),
        ];
        assert_eq!(status(&tokens(), "GET", &socket), Ok(Who::Viewer));
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
        assert_eq!(post("Bearer operate"), Ok(Who::Operator));
    }

    #[test]
    fn foreign_pages_are_refused() {
        let open = Access::default();
        let json = ("content-type", "application/json");
        let local = ("host", "127.0.0.1:8081");
        assert_eq!(status(&open, "POST", &[local, json]), Ok(Who::Local));
        let foreign = ("origin", "https://evil.example");
        assert_eq!(status(&open, "POST", &[local, json, foreign]), Err(403));
        assert_eq!(
            status(&open, "GET", &[local, foreign]),
            Err(403),
            "a socket"
        );
        let own = ("origin", "http://127.0.0.1:8081");
        assert_eq!(status(&open, "POST", &[local, json, own]), Ok(Who::Local));
        assert_eq!(
            status(&open, "GET", &[("host", "evil.example:8081")]),
            Err(403)
        );
        for host in ["localhost:8081", "[::1]:8081", "localhost", "127.0.0.1"] {
            assert_eq!(
                status(&open, "GET", &[("host", host)]),
                Ok(Who::Local),
                "{host}"
            );
        }
    }
}
