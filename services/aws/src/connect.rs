//! Clients of SQS and DynamoDB from settings: endpoints, credentials, time-outs, no retries.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use aws_credential_types::Credentials;
use aws_credential_types::provider::SharedCredentialsProvider;
use aws_sdk_dynamodb::config::Region;
use aws_smithy_runtime_api::client::behavior_version::BehaviorVersion;
use aws_smithy_runtime_api::client::http::SharedHttpClient;
use aws_smithy_runtime_api::client::stalled_stream_protection::StalledStreamProtectionConfig;
use aws_smithy_types::retry::RetryConfig;
use aws_smithy_types::timeout::TimeoutConfig;
use delayq_core::clock::Clock;
use delayq_core::error::{ErrorClass, PortError};

use crate::skew::{ReadDate, SkewMeter};

const OPERATION: &str = "aws connect";
/// A long poll lasts up to 20 s: its answer is given this long, whatever [`AwsSettings::attempt_timeout`] says.
/// <https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/sqs-short-and-long-polling.html>
pub const RECEIVE_TIMEOUT_MIN: Duration = Duration::from_secs(25);
/// DynamoDB and load balancers drop idle connections before the client's default of 90 s; a request that
/// meets such a connection fails, and nothing here retries.
const IDLE_CONNECTION: Duration = Duration::from_secs(20);

/// Where AWS is and how long to wait for it.
#[derive(Clone, PartialEq, Eq)]
pub struct AwsSettings {
    /// Such as `eu-central-1`; emulators take any.
    pub region: String,
    /// Instead of AWS's own: an emulator or a VPC endpoint. `https` needs the feature `tls`.
    pub sqs_endpoint: Option<String>,
    /// As [`AwsSettings::sqs_endpoint`], for DynamoDB and its streams.
    pub dynamodb_endpoint: Option<String>,
    /// Fixed credentials, with [`AwsSettings::secret_access_key`]. Without them: `local` where both endpoints
    /// are plain HTTP, else the default chain of credentials.
    pub access_key_id: Option<String>,
    /// See [`AwsSettings::access_key_id`].
    pub secret_access_key: Option<String>,
    /// Limit for opening a connection.
    pub connect_timeout: Duration,
    /// Limit for one request and its answer, connecting included. Receiving waits at least [`RECEIVE_TIMEOUT_MIN`].
    pub attempt_timeout: Duration,
    /// Limit for a whole call, obtaining credentials included; at least `attempt_timeout`.
    pub operation_timeout: Duration,
}

impl AwsSettings {
    /// AWS itself in that region, with time-outs of 3 s, 10 s and 15 s.
    #[must_use]
    pub fn for_region(region: impl Into<String>) -> Self {
        Self {
            region: region.into(),
            sqs_endpoint: None,
            dynamodb_endpoint: None,
            access_key_id: None,
            secret_access_key: None,
            connect_timeout: Duration::from_secs(3),
            attempt_timeout: Duration::from_secs(10),
            operation_timeout: Duration::from_secs(15),
        }
    }

    /// Emulators on plain HTTP.
    #[must_use]
    pub fn local(sqs_endpoint: impl Into<String>, dynamodb_endpoint: impl Into<String>) -> Self {
        Self {
            sqs_endpoint: Some(sqs_endpoint.into()),
            dynamodb_endpoint: Some(dynamodb_endpoint.into()),
            ..Self::for_region("local")
        }
    }

    /// All that is wrong with these settings, in words; empty when nothing is.
    #[must_use]
    pub fn faults(&self) -> Vec<String> {
        let mut faults = Vec::new();
        if self.region.trim().is_empty() {
            faults.push("no region is set".to_owned());
        }
        for (name, endpoint) in [
            ("SQS", &self.sqs_endpoint),
            ("DynamoDB", &self.dynamodb_endpoint),
        ] {
            let plain = endpoint.as_ref().is_some_and(|e| e.starts_with("http://"));
            let secure = endpoint.as_ref().is_none_or(|e| e.starts_with("https://"));
            let shown = endpoint.as_deref().unwrap_or("AWS's own (https)");
            if !plain && !secure {
                faults.push(format!(
                    "the {name} endpoint must start with http:// or https://, not {shown}"
                ));
            } else if secure && cfg!(not(feature = "tls")) {
                faults.push(format!(
                    "this build has no TLS, but the {name} endpoint is {shown}: build with --features tls, or set an http endpoint"
                ));
            }
        }
        if self.access_key_id.is_some() != self.secret_access_key.is_some() {
            faults.push(
                "access key id and secret access key belong together: set both or none".to_owned(),
            );
        }
        if self.connect_timeout.is_zero() || self.attempt_timeout.is_zero() {
            faults.push("connect and attempt time-out must be above zero".to_owned());
        }
        if self.operation_timeout < self.attempt_timeout {
            faults.push("the operation time-out must not be below the attempt time-out".to_owned());
        }
        faults
    }

    fn is_plain_http(&self) -> bool {
        [&self.sqs_endpoint, &self.dynamodb_endpoint]
            .into_iter()
            .all(|e| e.as_ref().is_some_and(|e| e.starts_with("http://")))
    }

    fn timeouts(&self, at_least: Duration) -> TimeoutConfig {
        TimeoutConfig::builder()
            .connect_timeout(self.connect_timeout)
            .operation_attempt_timeout(self.attempt_timeout.max(at_least))
            .operation_timeout(self.operation_timeout.max(at_least))
            .build()
    }
}

impl fmt::Debug for AwsSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AwsSettings")
            .field("region", &self.region)
            .field("sqs_endpoint", &self.sqs_endpoint)
            .field("dynamodb_endpoint", &self.dynamodb_endpoint)
            .field("access_key_id", &self.access_key_id)
            .field(
                "secret_access_key",
                &self.secret_access_key.as_ref().map(|_| "(hidden)"),
            )
            .field("connect_timeout", &self.connect_timeout)
            .field("attempt_timeout", &self.attempt_timeout)
            .field("operation_timeout", &self.operation_timeout)
            .finish()
    }
}

/// Connected clients; cheap to clone. Connections are opened on first use.
#[derive(Debug, Clone)]
pub struct Clients {
    /// SQS, for everything but long polls.
    pub sqs: aws_sdk_sqs::Client,
    /// SQS with a time-out long enough for long polls.
    pub sqs_polling: aws_sdk_sqs::Client,
    /// DynamoDB.
    pub dynamodb: aws_sdk_dynamodb::Client,
    /// The streams of DynamoDB's tables, at the same endpoint.
    pub dynamodb_streams: aws_sdk_dynamodbstreams::Client,
    /// Where SQS is, for texts.
    pub sqs_endpoint: Arc<str>,
    /// Where DynamoDB is, for texts.
    pub dynamodb_endpoint: Arc<str>,
    /// The clock skew seen in the answers of both.
    pub skew: Arc<SkewMeter>,
}

/// Makes clients. Calls nobody yet, save what the chain of credentials asks for (feature `tls`).
///
/// # Errors
/// `Misconfigured` with every fault of the settings.
pub async fn connect(settings: &AwsSettings, clock: Arc<dyn Clock>) -> Result<Clients, PortError> {
    let faults = settings.faults();
    if !faults.is_empty() {
        return Err(misconfigured(faults.join("; ")));
    }
    let http = http_client();
    let credentials = credentials(settings, &http).await?;
    let skew = Arc::new(SkewMeter::new(clock));
    // Retries are the callers': they compute delays anew for each attempt. Stalled-stream protection
    // measures throughput of bodies; a long poll has none for 20 s, and the time-outs cover the rest.
    let sqs = |at_least| {
        let mut config = aws_sdk_sqs::config::Builder::new()
            .behavior_version(BehaviorVersion::v2026_01_12())
            .region(Region::new(settings.region.clone()))
            .credentials_provider(credentials.clone())
            .http_client(http.clone())
            .retry_config(RetryConfig::disabled())
            .stalled_stream_protection(StalledStreamProtectionConfig::disabled())
            .timeout_config(settings.timeouts(at_least))
            .interceptor(ReadDate(skew.clone()));
        config.set_endpoint_url(settings.sqs_endpoint.clone());
        aws_sdk_sqs::Client::from_conf(config.build())
    };
    let mut dynamodb = aws_sdk_dynamodb::config::Builder::new()
        .behavior_version(BehaviorVersion::v2026_01_12())
        .region(Region::new(settings.region.clone()))
        .credentials_provider(credentials.clone())
        .http_client(http.clone())
        .retry_config(RetryConfig::disabled())
        .stalled_stream_protection(StalledStreamProtectionConfig::disabled())
        .timeout_config(settings.timeouts(Duration::ZERO))
        .interceptor(ReadDate(skew.clone()));
    dynamodb.set_endpoint_url(settings.dynamodb_endpoint.clone());
    let mut streams = aws_sdk_dynamodbstreams::config::Builder::new()
        .behavior_version(BehaviorVersion::v2026_01_12())
        .region(Region::new(settings.region.clone()))
        .credentials_provider(credentials.clone())
        .http_client(http.clone())
        .retry_config(RetryConfig::disabled())
        .stalled_stream_protection(StalledStreamProtectionConfig::disabled())
        .timeout_config(settings.timeouts(Duration::ZERO))
        .interceptor(ReadDate(skew.clone()));
    streams.set_endpoint_url(settings.dynamodb_endpoint.clone());
    let shown = |endpoint: &Option<String>, service: &str| -> Arc<str> {
        match endpoint {
            Some(endpoint) => endpoint.as_str().into(),
            None => format!("{service} in {}", settings.region).into(),
        }
    };
    Ok(Clients {
        sqs: sqs(Duration::ZERO),
        sqs_polling: sqs(RECEIVE_TIMEOUT_MIN),
        dynamodb: aws_sdk_dynamodb::Client::from_conf(dynamodb.build()),
        dynamodb_streams: aws_sdk_dynamodbstreams::Client::from_conf(streams.build()),
        sqs_endpoint: shown(&settings.sqs_endpoint, "SQS"),
        dynamodb_endpoint: shown(&settings.dynamodb_endpoint, "DynamoDB"),
        skew,
    })
}

pub(crate) fn misconfigured(detail: impl Into<String>) -> PortError {
    PortError::new(ErrorClass::Misconfigured, OPERATION, detail)
}

#[cfg(not(feature = "tls"))]
pub(crate) fn http_client() -> SharedHttpClient {
    aws_smithy_http_client::Builder::new()
        .pool_idle_timeout(IDLE_CONNECTION)
        .build_http()
}

#[cfg(feature = "tls")]
pub(crate) fn http_client() -> SharedHttpClient {
    use aws_smithy_http_client::tls::{Provider, rustls_provider::CryptoMode};
    aws_smithy_http_client::Builder::new()
        .pool_idle_timeout(IDLE_CONNECTION)
        .tls_provider(Provider::Rustls(CryptoMode::Ring))
        .build_https()
}

pub(crate) async fn credentials(
    settings: &AwsSettings,
    http: &SharedHttpClient,
) -> Result<SharedCredentialsProvider, PortError> {
    match (&settings.access_key_id, &settings.secret_access_key) {
        (Some(id), Some(secret)) => Ok(fixed(id, secret)),
        _ if settings.is_plain_http() => Ok(fixed("local", "local")),
        _ => default_chain(settings, http).await,
    }
}

fn fixed(id: &str, secret: &str) -> SharedCredentialsProvider {
    SharedCredentialsProvider::new(Credentials::new(id, secret, None, None, "delayq settings"))
}

#[cfg(feature = "tls")]
async fn default_chain(
    settings: &AwsSettings,
    http: &SharedHttpClient,
) -> Result<SharedCredentialsProvider, PortError> {
    let loaded = aws_config::defaults(BehaviorVersion::v2026_01_12())
        .region(Region::new(settings.region.clone()))
        .http_client(http.clone())
        .load()
        .await;
    loaded
        .credentials_provider()
        .ok_or_else(|| misconfigured("the default chain of credentials is empty"))
}

#[cfg(not(feature = "tls"))]
#[allow(clippy::unused_async, reason = "its twin with TLS asks the network")]
async fn default_chain(
    _: &AwsSettings,
    _: &SharedHttpClient,
) -> Result<SharedCredentialsProvider, PortError> {
    Err(misconfigured(
        "this build has no TLS and so no chain of credentials: build with --features tls, or set http endpoints",
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_fault_is_named_at_once() {
        let settings = AwsSettings {
            region: " ".to_owned(),
            sqs_endpoint: Some("localhost:9324".to_owned()),
            secret_access_key: Some("x".to_owned()),
            operation_timeout: Duration::from_secs(1),
            ..AwsSettings::local("", "http://localhost:8000")
        };
        let faults = settings.faults().join("\n");
        for part in [
            "region",
            "SQS endpoint",
            "belong together",
            "operation time-out",
        ] {
            assert!(faults.contains(part), "{part} in {faults}");
        }
        assert!(!faults.contains("DynamoDB"), "{faults}");
    }

    #[cfg(not(feature = "tls"))]
    #[test]
    fn without_tls_https_is_refused_with_a_way_out() {
        let faults = AwsSettings::for_region("eu-central-1").faults().join("\n");
        assert!(faults.contains("--features tls"), "{faults}");
    }

    #[test]
    fn secrets_are_not_printed() {
        let settings = AwsSettings {
            access_key_id: Some("AKIA".to_owned()),
            secret_access_key: Some("very-secret".to_owned()),
            ..AwsSettings::for_region("eu-central-1")
        };
        assert!(!format!("{settings:?}").contains("very-secret"));
    }
}
