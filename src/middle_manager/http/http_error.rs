//! Error answers of the worker protocol.

use axum::extract::rejection::{PathRejection, QueryRejection};
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};

use super::backend::{Refused, Unavailable};
use super::body::InvalidAssignment;
use crate::druid::smile::SmileError;

/// An error, in the format of a real worker.
pub(crate) struct HttpError {
    code: StatusCode,
    message: String,
}

impl HttpError {
    pub(crate) fn new(code: StatusCode, message: impl Into<String>) -> Self {
        let message = message.into();
        Self { code, message }
    }
}

impl IntoResponse for HttpError {
    fn into_response(self) -> Response {
        let mut response = (self.code, json_body(&json!({"error": self.message}))).into_response();
        if self.code == StatusCode::SERVICE_UNAVAILABLE {
            // A client that reuses connections would come back to this process, even when another one can serve it.
            let close = HeaderValue::from_static("close");
            response.headers_mut().insert(header::CONNECTION, close);
        }
        response
    }
}

impl From<QueryRejection> for HttpError {
    fn from(error: QueryRejection) -> Self {
        Self::new(StatusCode::BAD_REQUEST, error.body_text())
    }
}

impl From<PathRejection> for HttpError {
    fn from(error: PathRejection) -> Self {
        Self::new(StatusCode::BAD_REQUEST, error.body_text())
    }
}

impl From<Unavailable> for HttpError {
    fn from(error: Unavailable) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, error.to_string())
    }
}

impl From<Refused> for HttpError {
    fn from(refused: Refused) -> Self {
        let code = match refused {
            Refused::Unavailable(_) => StatusCode::SERVICE_UNAVAILABLE,
            Refused::Invalid(_) => StatusCode::BAD_REQUEST,
        };
        Self::new(code, refused.to_string())
    }
}

impl From<InvalidAssignment> for HttpError {
    fn from(error: InvalidAssignment) -> Self {
        let code = match error {
            InvalidAssignment::Smile(SmileError::TooLong(_)) => StatusCode::PAYLOAD_TOO_LARGE,
            _ => StatusCode::BAD_REQUEST,
        };
        Self::new(code, error.to_string())
    }
}

/// A JSON answer.
pub(crate) fn json_body(value: &Value) -> Response {
    ([(header::CONTENT_TYPE, "application/json")], value.to_string()).into_response()
}

/// An internal error, which the client did not cause.
pub(crate) fn broken(error: impl std::fmt::Display) -> HttpError {
    tracing::error!(%error, "an internal error prevents the response to a request");
    HttpError::new(StatusCode::INTERNAL_SERVER_ERROR, error.to_string())
}
