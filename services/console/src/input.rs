//! What requests carry, read so that what cannot be read is answered as every other error.

use axum::extract::rejection::{JsonRejection, PathRejection, QueryRejection};
use axum::extract::{FromRequest, FromRequestParts};
use axum::http::StatusCode;

use crate::error::ApiError;

/// A body, JSON.
#[derive(FromRequest)]
#[from_request(via(axum::Json), rejection(ApiError))]
pub(crate) struct Body<T>(pub(crate) T);

/// The part after the question mark.
#[derive(FromRequestParts)]
#[from_request(via(axum::extract::Query), rejection(ApiError))]
pub(crate) struct Query<T>(pub(crate) T);

/// The variable parts of the path.
#[derive(FromRequestParts)]
#[from_request(via(axum::extract::Path), rejection(ApiError))]
pub(crate) struct Path<T>(pub(crate) T);

fn unread(status: StatusCode, message: String) -> ApiError {
    ApiError::new(status, "bad-request", message)
}

impl From<JsonRejection> for ApiError {
    fn from(why: JsonRejection) -> Self {
        unread(why.status(), why.body_text())
    }
}

impl From<QueryRejection> for ApiError {
    fn from(why: QueryRejection) -> Self {
        unread(why.status(), why.body_text())
    }
}

impl From<PathRejection> for ApiError {
    fn from(why: PathRejection) -> Self {
        unread(why.status(), why.body_text())
    }
}
