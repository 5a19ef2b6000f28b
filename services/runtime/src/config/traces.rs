//! `[traces]`: OpenTelemetry.

use serde::{Deserialize, Serialize};

use super::check::not_blank;
use super::fault::ConfigErrors;

/// `[traces]`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TracesConfig {
    /// Where a collector takes OTLP over HTTP (`http://127.0.0.1:4318`; spans go to `/v1/traces` there). Records whose `traceparent` is
    /// sampled get a span when they are received and one when they are published. Default none: no traces.
    pub otlp_endpoint: Option<String>,
    /// `service.name` of the spans. Default `delayq`.
    pub service_name: String,
}

impl Default for TracesConfig {
    fn default() -> Self {
        Self {
            otlp_endpoint: None,
            service_name: "delayq".to_owned(),
        }
    }
}

impl TracesConfig {
    pub(super) fn check(&self, faults: &mut ConfigErrors) {
        not_blank(faults, "traces.service_name", &self.service_name);
        if let Some(endpoint) = &self.otlp_endpoint {
            let host = endpoint.strip_prefix("http://").unwrap_or_default();
            if host.trim_end_matches('/').is_empty() {
                faults.add(
                    &["traces.otlp_endpoint"],
                    format!("\"{endpoint}\" is no address of a collector that delayq can reach"),
                    "write http://host:port of a collector beside delayq; what goes further is encrypted there",
                );
            }
        }
    }
}
