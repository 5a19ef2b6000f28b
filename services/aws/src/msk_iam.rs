//! Tokens with which IAM lets a client into an MSK cluster: a signed request to connect, which the broker shows to IAM.
//!
//! Their form is that of AWS's own signers (`aws-msk-iam-sasl-signer-python` 1.0.2 and its siblings for Java, Go and JavaScript):
//! <https://docs.aws.amazon.com/msk/latest/developerguide/configure-clients-for-iam-access-control.html>.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use aws_credential_types::Credentials;
use aws_credential_types::provider::{ProvideCredentials as _, SharedCredentialsProvider};
use aws_sigv4::http_request::{
    SignableBody, SignableRequest, SignatureLocation, SigningSettings, sign,
};
use aws_sigv4::sign::v4;
use aws_smithy_runtime_api::client::identity::Identity;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use delayq_core::clock::EpochMs;
use delayq_core::error::{ErrorClass, PortError};

use crate::connect::{self, AwsSettings};

const OPERATION: &str = "sign in to MSK";
/// What brokers take at most.
const LIFE: Duration = Duration::from_secs(900);
const SERVICE: &str = "kafka-cluster";

/// A token, and the end of its life in ms since 1970.
pub struct IamToken {
    /// As it is sent by SASL/OAUTHBEARER.
    pub value: String,
    /// Not later than the credentials end that it was signed with.
    pub expires_ms: i64,
}

impl std::fmt::Debug for IamToken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("IamToken")
            .field("value", &"(hidden)")
            .field("expires_ms", &self.expires_ms)
            .finish()
    }
}

/// Signs tokens with the credentials of the settings: those of the task's role in ECS.
#[derive(Debug, Clone)]
pub struct IamSigner {
    credentials: SharedCredentialsProvider,
    region: String,
}

impl IamSigner {
    /// A signer for clusters in the settings' region.
    ///
    /// # Errors
    /// `Misconfigured` with every fault of the settings.
    pub async fn new(settings: &AwsSettings) -> Result<Self, PortError> {
        let faults = settings.faults();
        if !faults.is_empty() {
            return Err(connect::misconfigured(faults.join("; ")));
        }
        Ok(Self {
            credentials: connect::credentials(settings, &connect::http_client()).await?,
            region: settings.region.clone(),
        })
    }

    /// A token that begins at `now_ms`.
    ///
    /// # Errors
    /// `Transient` when the credentials cannot be had, or have already ended.
    pub async fn token(&self, now_ms: EpochMs) -> Result<IamToken, PortError> {
        let credentials = self
            .credentials
            .provide_credentials()
            .await
            .map_err(|error| {
                // The cause is in the source; the error itself says only which provider it was.
                let cause = std::error::Error::source(&error).map(ToString::to_string);
                failed(format!(
                    "no AWS credentials ({}); check the role of the task, or aws.access_key_id",
                    cause.unwrap_or_else(|| error.to_string())
                ))
            })?;
        let now = UNIX_EPOCH + Duration::from_millis(now_ms.unsigned_abs());
        token(&self.region, &credentials, now)
    }
}

fn failed(detail: impl Into<String>) -> PortError {
    PortError::new(ErrorClass::Transient, OPERATION, detail)
}

fn token(region: &str, credentials: &Credentials, now: SystemTime) -> Result<IamToken, PortError> {
    // The signature counts whole seconds.
    let ms = |at: SystemTime| {
        let since = at.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        i64::try_from(since)
            .unwrap_or(i64::MAX)
            .saturating_mul(1000)
    };
    let until = credentials.expiry().unwrap_or(now + LIFE).min(now + LIFE);
    if until <= now {
        return Err(failed(
            "the AWS credentials have ended, and no others are there",
        ));
    }
    let url = signed(region, credentials, now).map_err(|error| failed(error.to_string()))?;
    Ok(IamToken {
        value: URL_SAFE_NO_PAD.encode(url),
        expires_ms: ms(until),
    })
}

fn signed(
    region: &str,
    credentials: &Credentials,
    now: SystemTime,
) -> Result<String, Box<dyn std::error::Error>> {
    let identity: Identity = credentials.clone().into();
    let mut settings = SigningSettings::default();
    settings.signature_location = SignatureLocation::QueryParams;
    settings.expires_in = Some(LIFE);
    let params = v4::SigningParams::builder()
        .identity(&identity)
        .region(region)
        .name(SERVICE)
        .time(now)
        .settings(settings)
        .build()?
        .into();
    let url = format!("https://kafka.{region}.amazonaws.com/?Action=kafka-cluster%3AConnect");
    let request = SignableRequest::new("GET", &url, std::iter::empty(), SignableBody::Bytes(&[]))?;
    let (instructions, _) = sign(request, &params)?.into_parts();
    let mut request = http::Request::builder().uri(url).body(())?;
    instructions.apply_to_request_http1x(&mut request);
    // Not signed: for AWS's statistics.
    let agent = concat!("delayq%2F", env!("CARGO_PKG_VERSION"));
    Ok(format!("{}&User-Agent={agent}", request.uri()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> SystemTime {
        UNIX_EPOCH + Duration::from_secs(seconds)
    }

    fn parts(token: &IamToken) -> Vec<(String, String)> {
        let url = URL_SAFE_NO_PAD.decode(&token.value).expect("base64");
        let url = String::from_utf8(url).expect("text");
        let (host, query) = url.split_once('?').expect("a query");
        let mut parts = vec![("host".to_owned(), host.to_owned())];
        for part in query.split('&') {
            let (name, value) = part.split_once('=').expect("name=value");
            parts.push((name.to_owned(), value.to_owned()));
        }
        parts.sort();
        parts
    }

    /// What AWS's signer for Python made of the same credentials at the same time.
    #[test]
    fn a_token_is_what_awss_own_signer_makes() {
        let common = [
            ("Action", "kafka-cluster%3AConnect"),
            ("X-Amz-Algorithm", "AWS4-HMAC-SHA256"),
            (
                "X-Amz-Credential",
                "AKIDEXAMPLE%2F20270115%2Feu-central-1%2Fkafka-cluster%2Faws4_request",
            ),
            ("X-Amz-Date", "20270115T080000Z"),
            ("X-Amz-Expires", "900"),
            ("X-Amz-SignedHeaders", "host"),
            ("host", "https://kafka.eu-central-1.amazonaws.com/"),
        ];
        let cases = [
            (
                None,
                "101527141195710aba76088dca401e3c562524a59e7b7c8e8bf087f2836f8225",
            ),
            (
                Some("session/token+with=signs"),
                "d14e64b1fbc0dda94a8a8b322babcac0e5e9778db0de7a2c0ec96e668f3f34a0",
            ),
        ];
        for (session, signature) in cases {
            let credentials = Credentials::new(
                "AKIDEXAMPLE",
                "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY",
                session.map(str::to_owned),
                None,
                "test",
            );
            let token = token("eu-central-1", &credentials, at(1_800_000_000)).expect("a token");
            assert_eq!(token.expires_ms, 1_800_000_900_000);
            let mut expected: Vec<_> = common.to_vec();
            expected.push(("X-Amz-Signature", signature));
            expected.push((
                "User-Agent",
                concat!("delayq%2F", env!("CARGO_PKG_VERSION")),
            ));
            if session.is_some() {
                expected.push(("X-Amz-Security-Token", "session%2Ftoken%2Bwith%3Dsigns"));
            }
            expected.sort_unstable();
            let expected: Vec<_> = expected
                .into_iter()
                .map(|(name, value)| (name.to_owned(), value.to_owned()))
                .collect();
            assert_eq!(parts(&token), expected);
        }
    }

    #[test]
    fn a_token_ends_with_its_credentials() {
        let credentials = Credentials::new("AKID", "secret", None, Some(at(1_800_000_100)), "test");
        let token = token("eu-central-1", &credentials, at(1_800_000_000)).expect("a token");
        assert_eq!(token.expires_ms, 1_800_000_100_000);
        let ended = super::token("eu-central-1", &credentials, at(1_800_000_100));
        assert!(ended.is_err_and(|error| error.detail.contains("have ended")));
    }

    #[test]
    fn a_token_is_not_printed() {
        let credentials = Credentials::new("AKID", "secret", None, None, "test");
        let token = token("eu-central-1", &credentials, at(1_800_000_000)).expect("a token");
        assert!(!format!("{token:?}").contains(&token.value));
    }
}
