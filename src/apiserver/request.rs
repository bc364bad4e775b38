//! A request to the API server: its time limit, and how it can fail.

use std::future::Future;
use std::time::Duration;

use kube::core::Status;

use super::classify::refusal::{self, Posted};
use super::error::chain;

/// Time limit of a request; without an answer it has failed.
pub const TIMEOUT: Duration = Duration::from_secs(20);

/// Time limit of requests that an overlord waits for. It sends an assignment again after a minute: a request that hangs
/// must leave time for others.
pub const PROMPT: Duration = Duration::from_secs(10);

/// Time limit for the beginning of a log. The API server asks the kubelet for it, and a kubelet under load is slow to
/// answer.
pub const LOG: Duration = Duration::from_secs(30);

/// A request failed. It may be repeated later; whether it took effect is not known.
#[derive(Debug, thiserror::Error)]
pub enum RequestError {
    /// The API server did not answer in time.
    #[error("{0}: no answer within {1:?}")]
    TimedOut(&'static str, Duration),
    /// The object was changed meanwhile.
    #[error("{0}: the object was changed in the meantime")]
    Conflict(&'static str, Box<Status>),
    /// The API server failed or cannot be reached.
    #[error("{verb}: {source}")]
    Api {
        /// The request.
        verb: &'static str,
        /// The cause.
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
            Self::Conflict(..) => "conflict",
            Self::Api { .. } => "api",
        }
    }

    /// The status code of the answer, if there was one.
    #[must_use]
    pub fn code(&self) -> Option<u16> {
        match self {
            Self::Conflict(..) => Some(409),
            Self::Api { source, .. } => match &**source {
                kube::Error::Api(status) => Some(status.code),
                _ => None,
            },
            Self::TimedOut(..) => None,
        }
    }

    /// The cause, without the verb: for a message that names the object itself.
    #[must_use]
    pub fn why(&self) -> String {
        match self {
            Self::TimedOut(_, limit) => format!("no answer within {limit:?}"),
            Self::Conflict(_, status) => status.message.trim().to_owned(),
            Self::Api { source, .. } => chain(&**source),
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
pub fn request<T>(
    verb: &'static str,
    request: impl Future<Output = kube::Result<T>>,
) -> impl Future<Output = Result<T, RequestError>> {
    request_within(TIMEOUT, verb, request)
}

/// As [`request`], with another time limit.
///
/// # Errors
/// When it fails, is refused, or is not answered in time.
pub async fn request_within<T>(
    limit: Duration,
    verb: &'static str,
    request: impl Future<Output = kube::Result<T>>,
) -> Result<T, RequestError> {
    match tokio::time::timeout(limit, request).await {
        Ok(Ok(answer)) => Ok(answer),
        Ok(Err(kube::Error::Api(status))) if status.code == 409 => Err(RequestError::Conflict(verb, status)),
        Ok(Err(error)) => Err(RequestError::api(verb, error)),
        Err(_) => Err(RequestError::TimedOut(verb, limit)),
    }
}

/// As [`request_within`], for creating an object: that it exists already, or is refused, is an outcome and not an
/// error.
///
/// # Errors
/// When the answer says nothing about the object: the request is to be repeated.
pub async fn create_within<K>(
    limit: Duration,
    verb: &'static str,
    request: impl Future<Output = kube::Result<K>>,
) -> Result<Posted<K>, RequestError> {
    match tokio::time::timeout(limit, request).await {
        Ok(Ok(object)) => Ok(Posted::Created(object)),
        Ok(Err(kube::Error::Api(status))) => {
            refusal::creation(&status).ok_or_else(|| RequestError::api(verb, kube::Error::Api(status)))
        }
        Ok(Err(error)) => Err(RequestError::api(verb, error)),
        Err(_) => Err(RequestError::TimedOut(verb, limit)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::apiserver::classify::refusal::Refusal;

    async fn ends(answer: kube::Result<u8>) -> RequestError {
        request("get pod", async { answer }).await.unwrap_err()
    }

    fn refused(code: u16, reason: &str) -> kube::Error {
        kube::Error::Api(Box::new(Status::failure("said", reason).with_code(code)))
    }

    #[tokio::test(start_paused = true)]
    async fn a_failure_says_what_was_asked_and_why_it_failed() {
        let conflict = ends(Err(refused(409, "Conflict"))).await;
        assert_eq!((conflict.code(), conflict.why().as_str()), (Some(409), "said"));
        assert_eq!(
            conflict.to_string(),
            "get pod: the object was changed in the meantime"
        );
        let forbidden = ends(Err(refused(403, "Forbidden"))).await;
        assert_eq!(forbidden.code(), Some(403));
        assert!(forbidden.why().contains("said") && forbidden.to_string().starts_with("get pod: "));
        let silent = request_within(PROMPT, "get pod", std::future::pending::<kube::Result<()>>());
        let silent = silent.await.unwrap_err();
        assert_eq!((silent.code(), silent.label()), (None, "timed_out"));
        assert_eq!(silent.why(), "no answer within 10s");
    }

    #[tokio::test]
    async fn what_the_answer_to_a_creation_says_of_the_object_is_no_failure() {
        let create = |answer| create_within(TIMEOUT, "create pod", async { answer });
        assert!(matches!(create(Ok(1)).await, Ok(Posted::Created(1))));
        let exists = create(Err(refused(409, "AlreadyExists"))).await;
        assert!(matches!(exists, Ok(Posted::Exists)));
        let invalid = create(Err(refused(422, "Invalid"))).await;
        assert!(matches!(invalid, Ok(Posted::Refused(Refusal::ForGood(_)))));
        // A quota's own conflict.
        let conflict = create(Err(refused(409, "Conflict"))).await.unwrap_err();
        assert_eq!((conflict.label(), conflict.code()), ("api", Some(409)));
    }
}
