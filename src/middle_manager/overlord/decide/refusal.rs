//! The overlord's error answers.

use crate::api::reason::OverlordAnswers;
use http::StatusCode;
use serde::Deserialize;

/// The overlord could not be asked, or did not give the requested answer.
#[derive(Debug, thiserror::Error)]
pub enum OverlordError {
    /// No answer, no leader, or the answer failed: try again later.
    #[error("the overlord is not available ({url}): {why}. The request is repeated")]
    Unavailable {
        /// URL of the request.
        url: String,
        /// The error.
        why: String,
    },
    /// Not authorized: the credentials are missing, wrong, or lack rights.
    #[error(
        "the overlord denies access ({url}, {status}): {why}. Check the credentials, and the rights of \
         their user in Druid"
    )]
    NotAuthorized {
        /// URL of the request.
        url: String,
        /// 401 or 403.
        status: StatusCode,
        /// Druid's message.
        why: String,
    },
    /// The server that answered is not an overlord.
    #[error("{url} does not answer as an overlord does: {why}. Check spec.overlord.url")]
    Unexpected {
        /// URL of the request.
        url: String,
        /// The answer.
        why: String,
    },
}

/// A problem with the overlord.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trouble {
    /// The reason of `OverlordAnswers`.
    pub reason: OverlordAnswers,
    /// The error, and what to do.
    pub message: String,
}

/// Whether the body says that the task is unknown, and not that the page is.
pub(crate) fn is_of_unknown_task(body: &[u8]) -> bool {
    #[derive(Deserialize)]
    struct Said {
        #[expect(dead_code, reason = "that it is there is enough")]
        task: String,
    }
    body.starts_with(b"Cannot find any task with id") || serde_json::from_slice::<Said>(body).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_task_that_is_unknown_is_no_page_that_is_missing() {
        for body in [
            "Cannot find any task with id: [x]",
            r#"{"task":"x","payload":null}"#,
        ] {
            assert!(is_of_unknown_task(body.as_bytes()), "{body}");
        }
        for body in ["", "<html>", "{}", r#"{"error":"x"}"#] {
            assert!(!is_of_unknown_task(body.as_bytes()), "{body}");
        }
    }
}
