//! Errors as the SDK hands them over, classified.

use std::sync::Arc;

use super::*;
use crate::connect::{AwsSettings, connect};
use aws_credential_types::provider::{ProvideCredentials, future};
use aws_sdk_dynamodb::operation::put_item::PutItemError;
use aws_sdk_sqs::operation::send_message_batch::SendMessageBatchError;
use aws_smithy_runtime_api::client::result::ConnectorError;
use aws_smithy_runtime_api::http::StatusCode;
use aws_smithy_types::body::SdkBody;
use aws_smithy_types::error::ErrorMetadata;
use delayq_core::clock::ManualClock;

const SITE: CallSite<'_> = CallSite {
    operation: "sqs SendMessageBatch",
    resource: "queue delayq-high",
    endpoint: "http://127.0.0.1:9324",
};

fn answer(status: u16) -> HttpResponse {
    HttpResponse::new(StatusCode::try_from(status).unwrap(), SdkBody::empty())
}

fn sqs(code: &str, message: &str, status: u16) -> PortError {
    let meta = ErrorMetadata::builder().code(code).message(message).build();
    let error = SendMessageBatchError::generic(meta);
    SITE.classify(&SdkError::service_error(error, answer(status)))
}

#[test]
fn codes_decide_before_the_status() {
    use ErrorClass::{Conflict, Invalid, Misconfigured, Throttled, Transient};
    for (code, status, class) in [
        (
            "AWS.SimpleQueueService.NonExistentQueue",
            400,
            Misconfigured,
        ),
        ("com.amazonaws.sqs#QueueDoesNotExist", 400, Misconfigured),
        ("OverLimit", 403, Throttled),
        ("RequestThrottled", 403, Throttled),
        ("KMS.ThrottlingException", 400, Throttled),
        ("KmsThrottled", 400, Throttled),
        ("KMS.DisabledException", 400, Misconfigured),
        ("KmsInvalidState", 400, Misconfigured),
        ("InvalidClientTokenId", 403, Misconfigured),
        ("AccessDeniedException", 400, Misconfigured),
        ("ConditionalCheckFailedException", 400, Conflict),
        ("TransactionConflictException", 400, Transient),
        ("ValidationException", 400, Invalid),
        ("BatchRequestTooLong", 400, Invalid),
        ("InternalServerError", 500, Transient),
        ("SomethingNew", 503, Transient),
        ("SomethingNew", 400, Invalid),
        ("SomethingNew", 403, Misconfigured),
        ("SomethingNew", 429, Throttled),
    ] {
        assert_eq!(sqs(code, "…", status).class, class, "{code} {status}");
    }
}

#[test]
fn a_denied_call_names_the_action_to_allow() {
    let error = sqs("AccessDenied", "Access to the resource is denied.", 403);
    assert!(
        error.detail.ends_with(
            "; allow sqs:SendMessageBatch in the policy of the role that delayq runs as"
        ),
        "{error}"
    );
}

#[test]
fn texts_name_resource_reason_and_remedy() {
    let error = sqs(
        "AWS.SimpleQueueService.NonExistentQueue",
        "The specified queue does not exist.",
        400,
    );
    assert_eq!(
        error.to_string(),
        "sqs SendMessageBatch: queue delayq-high: The specified queue does not exist. (NonExistentQueue); \
         create it with `delayq init`, or check the configured prefix, region and account"
    );
    let clock = sqs(
        "SignatureDoesNotMatch",
        "Signature expired: 20261123T1 is now earlier than",
        403,
    );
    assert!(clock.detail.contains("clock is off"), "{clock}");
    let secret = sqs("SignatureDoesNotMatch", &"x".repeat(5_000), 403);
    assert!(
        secret.detail.contains("access key") && secret.detail.len() < 700,
        "{secret}"
    );
}

#[test]
fn modelled_errors_have_codes_too() {
    let inner = aws_sdk_dynamodb::types::error::ConditionalCheckFailedException::builder()
        .meta(
            ErrorMetadata::builder()
                .code("ConditionalCheckFailedException")
                .build(),
        )
        .build();
    let error = PutItemError::ConditionalCheckFailedException(inner);
    let error = SITE.classify(&SdkError::service_error(error, answer(400)));
    assert_eq!(error.class, ErrorClass::Conflict);
}

#[test]
fn retry_after_is_kept() {
    let mut throttled = answer(503);
    throttled.headers_mut().insert("retry-after", "7");
    let error =
        SendMessageBatchError::generic(ErrorMetadata::builder().code("Unavailable").build());
    let error = SITE.classify(&SdkError::service_error(error, throttled));
    assert_eq!(error.retry_after, Some(Duration::from_secs(7)));
}

#[test]
fn failures_to_reach_name_endpoint_and_root_cause() {
    type E = SdkError<SendMessageBatchError, HttpResponse>;
    let refused = std::io::Error::new(std::io::ErrorKind::ConnectionRefused, "connection refused");
    let error = SITE.classify(&E::dispatch_failure(ConnectorError::io(refused.into())));
    assert_eq!(error.class, ErrorClass::Transient);
    assert_eq!(
        error.detail,
        "queue delayq-high: no answer from http://127.0.0.1:9324: connection refused"
    );
    let error = SITE.classify(&E::timeout_error("slow"));
    assert_eq!(error.class, ErrorClass::Transient);
    assert!(error.detail.contains("http://127.0.0.1:9324"), "{error}");
    let none = CredentialsError::not_loaded("no providers in chain");
    let error = SITE.classify(&E::dispatch_failure(ConnectorError::other(
        none.into(),
        None,
    )));
    assert_eq!(error.class, ErrorClass::Misconfigured);
    let error = SITE.classify(&E::construction_failure("a field is missing"));
    assert_eq!(error.class, ErrorClass::Invalid);
}

#[test]
fn stale_handles_are_told_from_other_mistakes() {
    let class = |code, message| sqs(code, message, 400).class;
    let aws = "Value AQEB for parameter ReceiptHandle is invalid. Reason: The receipt handle has expired.";
    let visibility = "Total VisibilityTimeout for the message is beyond the limit [43200 seconds]";
    assert_eq!(class("ReceiptHandleIsInvalid", ""), ErrorClass::Conflict);
    assert_eq!(
        class("com.amazonaws.sqs#MessageNotInflight", ""),
        ErrorClass::Conflict
    );
    assert_eq!(class("InvalidParameterValue", aws), ErrorClass::Conflict);
    assert_eq!(
        class("InvalidParameterValue", visibility),
        ErrorClass::Invalid
    );
}

#[test]
fn a_refusal_that_is_not_of_aws_blames_no_record() {
    let error = SendMessageBatchError::generic(ErrorMetadata::builder().build());
    let error = SITE.classify(&SdkError::service_error(error, answer(404)));
    assert_eq!(error.class, ErrorClass::Misconfigured);
    assert!(error.detail.contains("proxy"), "{error}");
}

#[derive(Debug)]
struct NoCredentials;

impl ProvideCredentials for NoCredentials {
    fn provide_credentials<'a>(&'a self) -> future::ProvideCredentials<'a>
    where
        Self: 'a,
    {
        future::ProvideCredentials::ready(Err(CredentialsError::not_loaded("nobody has any")))
    }
}

#[tokio::test]
async fn the_sdk_s_own_words_for_missing_credentials_are_understood() {
    let settings = AwsSettings::local("http://127.0.0.1:1", "http://127.0.0.1:1");
    let mut clients = connect(&settings, Arc::new(ManualClock::at(0)))
        .await
        .unwrap();
    let config = clients
        .sqs
        .config()
        .to_builder()
        .credentials_provider(NoCredentials);
    clients.sqs = aws_sdk_sqs::Client::from_conf(config.build());
    let answer = clients.sqs.get_queue_url().queue_name("q").send().await;
    let error = SITE.finish(answer).unwrap_err();
    assert_eq!(error.class, ErrorClass::Misconfigured, "{error}");
    assert!(error.detail.contains("nobody has any"), "{error}");
}
