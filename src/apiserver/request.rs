//! A request to the API server: its time limit, and how it can fail.

use std::future::Future;
use std::time::Duration;

use kube::Resource;

use super::classify::refusal::{self, Creation};

/// A request that gets no answer within this time has failed.
pub const TIMEOUT: Duration = Duration::from_secs(20);

/// A request failed. It may be repeated later; whether it took effect is not known.
#[derive(Debug, thiserror::Error)]
pub enum RequestError {
    /// The API server did not answer in time.
    #[error("{0}: no answer within {1:?}")]
    TimedOut(&'static str, Duration),
    /// The object was changed by somebody else meanwhile.
    #[error("{0}: the object was changed meanwhile")]
    Conflict(&'static str),
    /// The API server failed or cannot be reached.
    #[error("{verb}: {source}")]
    Api {
        /// What was to be done.
        verb: &'static str,
        /// Why it was not.
        source: Box<kube::Error>,
    },
}

impl RequestError {
    /// Any failure but a time-out and a conflict.
    #[must_use]
    pub fn api(verb: &'static str, source: kube::Error) -> Self {
        let source = Box::new(source);
        Self::Api { verb, source }
    }

    /// A label for metrics.
    #[must_use]
    pub fn label(&self) -> &'static str {
        match self {
            Self::TimedOut(..) => "timed_out",
            Self::Conflict(_) => "conflict",
            Self::Api { .. } => "api",
        }
    }

    /// The status code of the answer, if there was one.
    #[must_use]
    pub fn code(&self) -> Option<u16> {
        match self {
            Self::Conflict(_) => Some(409),
            Self::Api { source, .. } => match &**source {
                kube::Error::Api(status) => Some(status.code),
                _ => None,
            },
            Self::TimedOut(..) => None,
        }
    }

    /// Whether the request succeeded and its answer could not be decoded.
    #[must_use]
    pub fn is_undecodable(&self) -> bool {
        matches!(self, Self::Api { source, .. } if matches!(**source, kube::Error::SerdeError(_)))
    }
}

/// Waits for the answer, at most [`TIMEOUT`]. `verb` names the request in errors: `get pod`.
///
/// # Errors
/// When it fails, is refused, or is not answered in time.
pub async fn request<T>(
    verb: &'static str,
    request: impl Future<Output = kube::Result<T>>,
) -> Result<T, RequestError> {
    match tokio::time::timeout(TIMEOUT, request).await {
        Ok(Ok(answer)) => Ok(answer),
        Ok(Err(kube::Error::Api(status))) if status.code == 409 => Err(RequestError::Conflict(verb)),
        Ok(Err(error)) => Err(RequestError::api(verb, error)),
        Err(_) => Err(RequestError::TimedOut(verb, TIMEOUT)),
    }
}

/// As [`request`], for one that creates an object: that it exists already, or is refused, is an outcome and no error.
///
/// # Errors
/// When the answer says nothing about the object: the request is to be repeated.
pub async fn create<K: Resource>(
    verb: &'static str,
    request: impl Future<Output = kube::Result<K>>,
) -> Result<Creation, RequestError> {
    match tokio::time::timeout(TIMEOUT, request).await {
        Ok(Ok(object)) => Ok(Creation::Created {
            uid: object.meta().uid.clone().unwrap_or_default(),
        }),
        Ok(Err(kube::Error::Api(status))) => match refusal::creation(&status) {
            Some(outcome) => Ok(outcome),
            None => Err(RequestError::api(verb, kube::Error::Api(status))),
        },
        Ok(Err(error)) => Err(RequestError::api(verb, error)),
        Err(_) => Err(RequestError::TimedOut(verb, TIMEOUT)),
    }
}
