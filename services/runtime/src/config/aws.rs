//! `[aws]`: SQS and DynamoDB.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::check::{duration_between, not_blank};
use super::fault::ConfigErrors;
use super::values::Secret;

/// `[aws]`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AwsConfig {
    /// Region of queues and tables. Default `eu-central-1`.
    pub region: String,
    /// SQS at another address (`http://127.0.0.1:9324`), for emulators and VPC endpoints. Default AWS's own.
    pub sqs_endpoint: Option<String>,
    /// DynamoDB at another address. Default AWS's own.
    pub dynamodb_endpoint: Option<String>,
    /// Access key, for emulators; with `secret_access_key` or not at all. Default the SDK's own chain (task role).
    pub access_key_id: Option<String>,
    /// Secret of the access key. Never printed. Default none.
    pub secret_access_key: Option<Secret>,
    /// First part of the names of all queues and tables (1 to 40 letters, digits, `_`, `-`). Default `delayq`.
    pub prefix: String,
    /// Longest time to connect. Default 3 s.
    #[serde(with = "humantime_serde")]
    pub connect_timeout: Duration,
    /// Longest time for one attempt of a call, the 20 s of a long poll included. Default 30 s.
    #[serde(with = "humantime_serde")]
    pub call_timeout: Duration,
}

impl Default for AwsConfig {
    fn default() -> Self {
        Self {
            region: "eu-central-1".to_owned(),
            sqs_endpoint: None,
            dynamodb_endpoint: None,
            access_key_id: None,
            secret_access_key: None,
            prefix: "delayq".to_owned(),
            connect_timeout: Duration::from_secs(3),
            call_timeout: Duration::from_secs(30),
        }
    }
}

impl AwsConfig {
    pub(super) fn check(&self, faults: &mut ConfigErrors) {
        not_blank(faults, "aws.region", &self.region);
        endpoint(faults, "aws.sqs_endpoint", self.sqs_endpoint.as_deref());
        endpoint(
            faults,
            "aws.dynamodb_endpoint",
            self.dynamodb_endpoint.as_deref(),
        );
        match (&self.access_key_id, &self.secret_access_key) {
            (Some(_), None) => faults.add(
                &["aws.secret_access_key"],
                "is missing beside aws.access_key_id",
                "set both, or neither to use the SDK's own chain (task role, profile)",
            ),
            (None, Some(_)) => faults.add(
                &["aws.access_key_id"],
                "is missing beside aws.secret_access_key",
                "set both, or neither to use the SDK's own chain (task role, profile)",
            ),
            _ => {}
        }
        // A queue's name has 80 characters at most; 40 are left for "-standard-dead.fifo" and the like.
        let fits = (1..=40).contains(&self.prefix.len())
            && self
                .prefix
                .chars()
                .all(|char| char.is_ascii_alphanumeric() || matches!(char, '_' | '-'));
        if !fits {
            faults.add(
                &["aws.prefix"],
                format!("\"{}\" cannot begin the name of a queue", self.prefix),
                "use 1 to 40 letters, digits, _ and -",
            );
        }
        duration_between(
            faults,
            "aws.connect_timeout",
            self.connect_timeout,
            Duration::from_millis(10),
            Duration::from_secs(60),
        );
        duration_between(
            faults,
            "aws.call_timeout",
            self.call_timeout,
            Duration::from_millis(100),
            Duration::from_secs(300),
        );
        if self.connect_timeout >= self.call_timeout {
            faults.add(
                &["aws.connect_timeout", "aws.call_timeout"],
                "connecting may take as long as the whole call",
                "make connect_timeout shorter than call_timeout",
            );
        }
    }
}

fn endpoint(faults: &mut ConfigErrors, key: &str, endpoint: Option<&str>) {
    let Some(endpoint) = endpoint else { return };
    let host = endpoint
        .strip_prefix("http://")
        .or_else(|| endpoint.strip_prefix("https://"))
        .unwrap_or_default();
    // Not echoed: a URL may carry credentials.
    if host.is_empty() || endpoint.contains(char::is_whitespace) {
        faults.add(
            &[key],
            "is not an http:// or https:// address",
            "write it as http://127.0.0.1:9324, or remove it for AWS's own",
        );
    } else if host.contains('@') {
        faults.add(
            &[key],
            "carries a user name or password",
            "use aws.access_key_id and aws.secret_access_key",
        );
    }
}
