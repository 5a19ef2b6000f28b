//! `[http]`: where health and metrics are served.

use serde::{Deserialize, Serialize};

use super::check::listen_address;
use super::fault::ConfigErrors;

/// `[http]`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HttpConfig {
    /// `host:port` of `/livez`, `/readyz` and `/metrics`; port 0 takes any free one. Default `127.0.0.1:8080`.
    pub listen: String,
}

impl Default for HttpConfig {
    fn default() -> Self {
        Self {
            listen: "127.0.0.1:8080".to_owned(),
        }
    }
}

impl HttpConfig {
    pub(super) fn check(&self, faults: &mut ConfigErrors) {
        listen_address(faults, "http.listen", &self.listen);
    }
}
