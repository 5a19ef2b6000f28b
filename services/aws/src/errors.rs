//! What a failed call to SQS or DynamoDB means: decided here, once, for every operation.
//!
//! SQS: <https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/CommonErrors.html>,
//! DynamoDB: <https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/Programming.Errors.html>.

use std::error::Error;
use std::time::Duration;

use aws_credential_types::provider::error::CredentialsError;
use aws_smithy_runtime_api::client::orchestrator::HttpResponse;
use aws_smithy_runtime_api::client::result::SdkError;
use aws_smithy_types::error::metadata::ProvideErrorMetadata;
use delayq_core::error::{ErrorClass, PortError};

use crate::metrics;

/// Longest text taken over from the other side: a signature error quotes the whole request.
const DETAIL_MAX_CHARS: usize = 400;
/// A name of a deleted queue is free again after a minute.
/// <https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/API_DeleteQueue.html>
const QUEUE_NAME_BLOCKED: Duration = Duration::from_secs(60);

/// A call about to be made, for the text of its error.
#[derive(Debug, Clone, Copy)]
pub(crate) struct CallSite<'a> {
    /// Such as `sqs SendMessageBatch`.
    pub(crate) operation: &'static str,
    /// The queue or table.
    pub(crate) resource: &'a str,
    /// The endpoint or region.
    pub(crate) endpoint: &'a str,
}

impl CallSite<'_> {
    /// Turns the SDK's result into the port's, and counts it.
    pub(crate) fn finish<T, E>(
        &self,
        result: Result<T, SdkError<E, HttpResponse>>,
    ) -> Result<T, PortError>
    where
        E: ProvideErrorMetadata + Error + 'static,
    {
        let result = result.map_err(|error| self.classify(&error));
        metrics::count_call(self.operation, &result);
        result
    }

    /// An error of this call that did not come from the SDK.
    pub(crate) fn error(&self, class: ErrorClass, detail: impl std::fmt::Display) -> PortError {
        PortError::new(
            class,
            self.operation,
            format!("{}: {detail}", self.resource),
        )
    }

    fn classify<E>(&self, error: &SdkError<E, HttpResponse>) -> PortError
    where
        E: ProvideErrorMetadata + Error + 'static,
    {
        match error {
            SdkError::ServiceError(failure) => {
                let answer = failure.raw();
                let status = answer.status().as_u16();
                let said = Said {
                    code: failure.err().code(),
                    message: failure.err().message(),
                };
                let mut classified = self.said(said, Fault::of_status(status));
                if let Some(wait) = answer.headers().get("retry-after").and_then(retry_after) {
                    classified.retry_after = Some(wait);
                }
                classified
            }
            SdkError::TimeoutError(_) => self.error(
                ErrorClass::Transient,
                format_args!("no answer in time from {}", self.endpoint),
            ),
            SdkError::ResponseError(_) => self.error(
                ErrorClass::Transient,
                format_args!(
                    "the answer of {} breaks off or is none of AWS's: {}",
                    self.endpoint,
                    root_cause(error)
                ),
            ),
            _ => self.not_sent(error, matches!(error, SdkError::ConstructionFailure(_))),
        }
    }

    /// Errors of building, signing and sending.
    fn not_sent(&self, error: &(dyn Error + 'static), not_built: bool) -> PortError {
        let cause = root_cause(error);
        let credentials = causes(error).find_map(|e| e.downcast_ref::<CredentialsError>());
        match credentials {
            Some(CredentialsError::ProviderTimedOut(_)) => self.error(
                ErrorClass::Transient,
                format_args!(
                    "the source of credentials does not answer: {cause}; check the task or instance role, or set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
                ),
            ),
            Some(_) => self.error(
                ErrorClass::Misconfigured,
                format_args!(
                    "no usable credentials: {cause}; set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, a profile, or a task or instance role"
                ),
            ),
            None if not_built => self.error(
                ErrorClass::Invalid,
                format_args!("the request cannot be built: {cause}"),
            ),
            None => self.error(
                ErrorClass::Transient,
                format_args!("no answer from {}: {cause}", self.endpoint),
            ),
        }
    }

    /// Classifies what AWS said, about a call or about an entry of a batch call.
    pub(crate) fn said(&self, said: Said<'_>, fault: Fault) -> PortError {
        let code = said.code.map_or("", short_code);
        let (class, remedy) = verdict(code, said.message.unwrap_or(""), fault);
        let mut detail = match (said.message, code) {
            (Some(message), "") => message.to_owned(),
            (Some(message), code) => format!("{message} ({code})"),
            (None, "") => format!("a refusal without a reason from {}", self.endpoint),
            (None, code) => code.to_owned(),
        };
        if detail.chars().count() > DETAIL_MAX_CHARS {
            detail = detail
                .chars()
                .take(DETAIL_MAX_CHARS)
                .chain("…".chars())
                .collect();
        }
        if !remedy.is_empty() {
            // IAM writes `sqs:SendMessage` what is called `sqs SendMessage` here.
            let action = self.operation.replacen(' ', ":", 1);
            detail = format!("{detail}; {}", remedy.replace("{action}", &action));
        }
        let mut error = self.error(class, detail);
        if code == "QueueDeletedRecently" {
            error.retry_after = Some(QUEUE_NAME_BLOCKED);
        }
        error
    }
}

/// Code and message of an answer.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Said<'a> {
    /// Such as `AWS.SimpleQueueService.NonExistentQueue`.
    pub(crate) code: Option<&'a str>,
    /// For people.
    pub(crate) message: Option<&'a str>,
}

/// Whose fault the answer says it is: decides where the code is not known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    /// The caller's (HTTP 4xx, `SenderFault`).
    Ours,
    /// The service's.
    Theirs,
    /// The caller may not (HTTP 401, 403).
    Forbidden,
    /// Too much (HTTP 429).
    TooMuch,
}

impl Fault {
    fn of_status(status: u16) -> Self {
        match status {
            401 | 403 => Self::Forbidden,
            408 => Self::Theirs,
            429 => Self::TooMuch,
            400..=499 => Self::Ours,
            _ => Self::Theirs,
        }
    }
}

/// `com.amazonaws.sqs#QueueDoesNotExist`, `AWS.SimpleQueueService.NonExistentQueue` and
/// `ValidationException:` come down to their last word.
pub(crate) fn short_code(code: &str) -> &str {
    let code = code.split(':').next().unwrap_or(code);
    code.rsplit(['#', '.']).next().unwrap_or(code)
}

fn verdict(code: &str, message: &str, fault: Fault) -> (ErrorClass, &'static str) {
    const MISSING: &str =
        "create it with `delayq init`, or check the configured prefix, region and account";
    const DENIED: &str = "allow {action} in the policy of the role that delayq runs as";
    const CREDENTIALS: &str = "check the access key, its secret and the region";
    const CLOCK: &str = "this machine's clock is off: check its time synchronisation";
    const KMS: &str = "check the KMS key of the queue or table and the role's right to use it";
    const NOT_AWS: &str = "check the endpoint, and whether a proxy answers in its place";
    const OTHER_SETTINGS: &str = "it exists with other settings: change or delete it";

    match code {
        "Throttling"
        | "ThrottlingException"
        | "ThrottledException"
        | "RequestThrottled"
        | "RequestThrottledException"
        | "TooManyRequestsException"
        | "ProvisionedThroughputExceededException"
        | "RequestLimitExceeded"
        | "LimitExceededException"
        | "BandwidthLimitExceeded"
        | "SlowDown"
        | "OverLimit"
        | "KmsThrottled" => (ErrorClass::Throttled, ""),

        "ConditionalCheckFailedException" => (ErrorClass::Conflict, ""),
        _ if is_stale_handle(code, message) => (ErrorClass::Conflict, ""),

        "QueueDoesNotExist"
        | "NonExistentQueue"
        | "ResourceNotFoundException"
        | "TableNotFoundException" => (ErrorClass::Misconfigured, MISSING),
        "QueueNameExists" | "QueueAlreadyExists" | "ResourceInUseException" => {
            (ErrorClass::Misconfigured, OTHER_SETTINGS)
        }
        "RequestTimeTooSkewed" | "RequestExpired" => (ErrorClass::Misconfigured, CLOCK),
        "SignatureDoesNotMatch" | "InvalidSignatureException" => {
            // The one code covers a wrong secret and a wrong clock; only the text tells them apart.
            let clock = message.contains("expired") || message.contains("not yet current");
            (
                ErrorClass::Misconfigured,
                if clock { CLOCK } else { CREDENTIALS },
            )
        }
        "UnrecognizedClientException"
        | "InvalidClientTokenId"
        | "InvalidAccessKeyId"
        | "IncompleteSignature"
        | "IncompleteSignatureException"
        | "MissingAuthenticationToken"
        | "MissingAuthenticationTokenException"
        | "ExpiredToken"
        | "ExpiredTokenException"
        | "AuthFailure"
        | "InvalidSecurity" => (ErrorClass::Misconfigured, CREDENTIALS),
        "AccessDenied"
        | "AccessDeniedException"
        | "AccessDeniedFault"
        | "NotAuthorized"
        | "OptInRequired"
        | "SubscriptionRequiredException" => (ErrorClass::Misconfigured, DENIED),
        "DisabledException"
        | "InvalidStateException"
        | "KMSInvalidStateException"
        | "InvalidKeyUsageException"
        | "NotFoundException" => (ErrorClass::Misconfigured, KMS),
        _ if code.starts_with("Kms") => (ErrorClass::Misconfigured, KMS),

        "TransactionConflictException"
        | "ReplicatedWriteConflictException"
        | "QueueDeletedRecently"
        | "RequestTimeout"
        | "RequestTimeoutException" => (ErrorClass::Transient, ""),

        _ => match fault {
            Fault::Theirs => (ErrorClass::Transient, ""),
            Fault::TooMuch => (ErrorClass::Throttled, ""),
            Fault::Forbidden => (ErrorClass::Misconfigured, DENIED),
            // AWS names its refusals. Taking a proxy's 404 for one would dead-letter good records.
            Fault::Ours if code.is_empty() => (ErrorClass::Misconfigured, NOT_AWS),
            Fault::Ours => (ErrorClass::Invalid, ""),
        },
    }
}

/// Whether SQS says that a receipt handle is no longer good: the message was deleted, received again, or
/// its invisibility has ended. AWS and ElasticMQ word it differently.
fn is_stale_handle(code: &str, message: &str) -> bool {
    match code {
        "ReceiptHandleIsInvalid" | "MessageNotInflight" => true,
        "InvalidParameterValue" | "InvalidParameterValueException" => {
            let message = message.to_ascii_lowercase();
            ["receipthandle", "receipt handle", "message does not exist"]
                .iter()
                .any(|part| message.contains(part))
        }
        _ => false,
    }
}

/// `Retry-After` in seconds; the form with a date is not used by AWS.
fn retry_after(text: &str) -> Option<Duration> {
    text.trim().parse().ok().map(Duration::from_secs)
}

fn causes<'a>(error: &'a (dyn Error + 'static)) -> impl Iterator<Item = &'a (dyn Error + 'static)> {
    let mut next = Some(error);
    std::iter::from_fn(move || {
        let this = next?;
        next = this.source();
        Some(this)
    })
}

/// The innermost error: the SDK wraps "connection refused" in five layers that say nothing.
fn root_cause(error: &(dyn Error + 'static)) -> String {
    causes(error)
        .last()
        .map_or_else(|| error.to_string(), ToString::to_string)
}

#[cfg(test)]
mod tests;
