//! Errors as the API answers them: a status that fits, a code for programs, a text for people.

use axum::Json;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use delayq_core::error::{ErrorClass, PortError};
use delayq_core::headers::Refusal;
use serde::Serialize;
use utoipa::ToSchema;

/// The body of an error.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct ErrorBody {
    /// What is wrong.
    pub error: ErrorDetail,
}

/// What is wrong.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct ErrorDetail {
    /// Stable, in words with hyphens: that of a refusal, or `bad-request`, `unknown`, `unavailable`, `unauthorized`, `forbidden`,
    /// `no-role`, `issuer-unavailable`.
    pub code: String,
    /// What is wrong, and what to do.
    pub message: String,
}

/// A request that could not be answered as asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ApiError {
    /// Status.
    pub status: StatusCode,
    /// Code.
    pub code: String,
    /// Text.
    pub message: String,
}

impl ApiError {
    /// An error.
    pub fn new(status: StatusCode, code: &str, message: impl Into<String>) -> Self {
        Self {
            status,
            code: code.to_owned(),
            message: message.into(),
        }
    }

    /// The request makes no sense.
    pub fn bad_request(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "bad-request", message)
    }

    /// There is no such record.
    pub fn unknown(message: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, "unknown", message)
    }
}

impl From<Refusal> for ApiError {
    fn from(refusal: Refusal) -> Self {
        Self::new(StatusCode::BAD_REQUEST, refusal.code, refusal.detail)
    }
}

impl From<PortError> for ApiError {
    fn from(error: PortError) -> Self {
        if error.class == ErrorClass::Invalid {
            return Self::bad_request(error.to_string());
        }
        let status = StatusCode::SERVICE_UNAVAILABLE;
        Self::new(status, "unavailable", error.to_string())
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let body = ErrorBody {
            error: ErrorDetail {
                code: self.code,
                message: self.message,
            },
        };
        (self.status, Json(body)).into_response()
    }
}
