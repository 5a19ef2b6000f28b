//! `[http]`: where health and metrics are served.

use serde::{Deserialize, Serialize};

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
        // A name is as good as a number: it is resolved when the socket is bound. IPv6 comes in brackets.
        let parses = self.listen.parse::<std::net::SocketAddr>().is_ok()
            || self.listen.rsplit_once(':').is_some_and(|(host, port)| {
                !host.is_empty()
                    && !host.contains([':', '/', '[', ' '])
                    && port.parse::<u16>().is_ok()
            });
        if !parses {
            faults.add(
                &["http.listen"],
                format!("\"{}\" is not an address and port", self.listen),
                "write it as 127.0.0.1:8080, or 0.0.0.0:8080 for every interface",
            );
        }
    }
}
