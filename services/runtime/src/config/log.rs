//! `[log]`: what is written to standard error, and how.

use serde::{Deserialize, Serialize};
use tracing_subscriber::EnvFilter;

use super::fault::ConfigErrors;

/// The form of a log line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// For people.
    Pretty,
    /// One JSON object a line, for log stores.
    Json,
    /// `pretty` when standard error is a terminal, else `json`.
    Auto,
}

/// `[log]`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LogConfig {
    /// `pretty`, `json` or `auto`. Default `auto`.
    pub format: LogFormat,
    /// Level, or levels by module as in `RUST_LOG`: `info,delayq_router=debug`. Default `info`.
    pub level: String,
}

impl Default for LogConfig {
    fn default() -> Self {
        Self {
            format: LogFormat::Auto,
            level: "info".to_owned(),
        }
    }
}

impl LogConfig {
    pub(super) fn check(&self, faults: &mut ConfigErrors) {
        if let Err(error) = EnvFilter::builder().parse(&self.level) {
            faults.add(
                &["log.level"],
                format!("\"{}\" is not a level: {error}", self.level),
                "use error, warn, info, debug or trace, or info,delayq_router=debug",
            );
        }
    }
}
