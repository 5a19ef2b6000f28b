//! What SQS and DynamoDB would answer, made up by the proxy; and what the ledger must know of real answers.

use bytes::Bytes;
use delayq_core::batch;
use delayq_core::record::Source;
use http_body_util::Full;
use hyper::{Response, StatusCode};
use serde_json::{Value, json};

use crate::plan::Line;

/// An answer with this status and body.
pub(super) fn answer(status: StatusCode, body: &Value) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(body.to_string())));
    *response.status_mut() = status;
    let kind = hyper::header::HeaderValue::from_static("application/x-amz-json-1.0");
    response
        .headers_mut()
        .insert(hyper::header::CONTENT_TYPE, kind);
    response
}

/// "Too fast", as each service says it.
pub(super) fn throttled(line: Line, other: bool) -> Response<Full<Bytes>> {
    let code = match (line, other) {
        (Line::DynamoDb, false) => {
            "com.amazonaws.dynamodb.v20120810#ProvisionedThroughputExceededException"
        }
        (Line::DynamoDb, true) => "com.amazon.coral.availability#ThrottlingException",
        (_, false) => "com.amazonaws.sqs#OverLimit",
        (_, true) => "com.amazonaws.sqs#ThrottlingException",
    };
    let message = "injected: slow down";
    answer(
        StatusCode::BAD_REQUEST,
        &json!({"__type": code, "message": message}),
    )
}

/// A failure on the service's side.
pub(super) fn server_error(other: bool) -> Response<Full<Bytes>> {
    let (status, code) = if other {
        (StatusCode::SERVICE_UNAVAILABLE, "ServiceUnavailable")
    } else {
        (StatusCode::INTERNAL_SERVER_ERROR, "InternalServerError")
    };
    answer(status, &json!({"__type": code, "message": "injected"}))
}

/// An entry in the list of the failed ones.
pub(super) fn failed_entry(id: &Value, other: bool) -> Value {
    let code = if other {
        "InternalError"
    } else {
        "ThrottlingException"
    };
    json!({"Id": id, "SenderFault": false, "Code": code, "Message": "injected"})
}

/// A list in a body; none is an empty one.
pub(super) fn list<'v>(body: &'v Value, name: &str) -> &'v [Value] {
    body.get(name)
        .and_then(Value::as_array)
        .map_or(&[], Vec::as_slice)
}

/// A text in a body.
pub(super) fn text<'v>(body: &'v Value, name: &str) -> &'v str {
    body.get(name).and_then(Value::as_str).unwrap_or_default()
}

/// The records of a message, or of a batch as DynamoDB's JSON has it; none if it is not one of ours (a tick).
pub(super) fn sources(message_body: &str) -> Vec<Source> {
    batch::from_text(message_body)
        .map(|records| records.into_iter().map(|one| one.source).collect())
        .unwrap_or_default()
}
