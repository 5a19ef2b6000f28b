//! `[console]`: the API and the page.

use serde::{Deserialize, Serialize};

use super::check::listen_address;
use super::fault::ConfigErrors;
use super::oidc::OidcConfig;
use super::values::Secret;

/// `[console]`: for `delayq run console`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ConsoleConfig {
    /// `host:port` of the API and the page; port 0 takes any free one. Off loopback `operator_token` or `oidc` must be
    /// set. Default `127.0.0.1:8081`.
    pub listen: String,
    /// Whoever sends it may look, but not change anything, and sees no payloads. At least 16 characters. Default none.
    pub viewer_token: Option<Secret>,
    /// Whoever sends it may also change things. At least 16 characters. Default none: without `oidc` everybody on this machine may.
    pub operator_token: Option<Secret>,
    /// Single sign-on, as `[console.oidc]`. Default none.
    pub oidc: Option<OidcConfig>,
}

impl Default for ConsoleConfig {
    fn default() -> Self {
        Self {
            listen: "127.0.0.1:8081".to_owned(),
            viewer_token: None,
            operator_token: None,
            oidc: None,
        }
    }
}

/// The section within the section.
pub(super) const OIDC: &str = "console.oidc";
/// Shortest token.
const TOKEN_MIN: usize = 16;

impl ConsoleConfig {
    /// Whether only this machine can reach it.
    #[must_use]
    pub fn is_loopback(&self) -> bool {
        let host = self.listen.rsplit_once(':').map_or("", |(host, _)| host);
        let host = host.trim_start_matches('[').trim_end_matches(']');
        host.eq_ignore_ascii_case("localhost")
            || host
                .parse::<std::net::IpAddr>()
                .is_ok_and(|address| address.is_loopback())
    }

    pub(super) fn check(&self, faults: &mut ConfigErrors) {
        listen_address(faults, "console.listen", &self.listen);
        if !self.is_loopback() && self.operator_token.is_none() && self.oidc.is_none() {
            faults.add(
                &["console.listen", "console.operator_token", OIDC],
                format!("\"{}\" can be reached from elsewhere, and nobody is asked who it is", self.listen),
                "set console.operator_token (DELAYQ_CONSOLE__OPERATOR_TOKEN) or [console.oidc], or listen on 127.0.0.1 behind a proxy that asks",
            );
        }
        if let Some(oidc) = &self.oidc {
            oidc.check(faults);
        }
        for (key, token) in [
            ("console.viewer_token", &self.viewer_token),
            ("console.operator_token", &self.operator_token),
        ] {
            let length = token
                .as_ref()
                .map_or(TOKEN_MIN, |token| token.reveal().len());
            if length < TOKEN_MIN {
                faults.add(
                    &[key],
                    format!("it has {length} characters: it can be guessed"),
                    "choose one with at least 16, such as the output of `openssl rand -hex 16`",
                );
            }
        }
        let both = self.viewer_token.as_ref().zip(self.operator_token.as_ref());
        if both.is_some_and(|(viewer, operator)| viewer.reveal() == operator.reveal()) {
            faults.add(
                &["console.viewer_token", "console.operator_token"],
                "both are the same: every viewer would be an operator",
                "choose two",
            );
        }
    }
}
