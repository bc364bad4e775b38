//! The overlord's error answers.

use crate::api::reason::OverlordAnswers;
use http::StatusCode;
use serde::Deserialize;

/// Most characters of the overlord's message that are repeated in ours.
const MOST: usize = 1000;

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

/// A refusal with Druid's message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Refusal {
    pub(crate) message: String,
    code: Option<String>,
}

impl Refusal {
    /// Parses it; `None` if the body is not in Druid's format.
    pub(crate) fn read(body: &[u8]) -> Option<Self> {
        // `DruidException` has an error code and "druidException" in `error`, where older error formats have the
        // message; missing rights have their own format.
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Said {
            error: Option<String>,
            error_message: Option<String>,
            error_code: Option<String>,
            #[serde(rename = "Access-Check-Result")]
            access: Option<String>,
        }
        let said: Said = serde_json::from_slice(body).ok()?;
        let message = said.error_message.or(said.access).or(said.error)?;
        Some(Self {
            message: shortened(&message),
            code: said.error_code,
        })
    }

    /// Whether a task with that id exists.
    pub(crate) fn already_exists(&self) -> bool {
        self.code.as_deref() == Some("entryAlreadyExists")
    }
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

/// The message of any answer, shortened to one line.
pub(crate) fn message(body: &[u8]) -> String {
    if let Some(refusal) = Refusal::read(body) {
        return refusal.message;
    }
    let text = String::from_utf8_lossy(body);
    // An HTML page has its message in the title.
    let title = text
        .split_once("<title>")
        .and_then(|(_, rest)| rest.split_once("</title>"));
    match title.map_or(text.trim(), |(title, _)| title.trim()) {
        "" => "no reason is given".to_owned(),
        said => shortened(said),
    }
}

/// An external message on one line, shortened.
pub(crate) fn shortened(text: &str) -> String {
    let mut short: String = text
        .chars()
        .take(MOST)
        .map(|c| if c.is_control() { ' ' } else { c })
        .collect();
    if text.chars().nth(MOST).is_some() {
        short.push('…');
    }
    short
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_every_way_in_which_druid_refuses() {
        let table = [
            // A `DruidException`.
            (
                r#"{"error":"druidException","errorCode":"entryAlreadyExists","persona":"USER",
                    "category":"INVALID_INPUT","errorMessage":"Task[t] already exists","context":{}}"#,
                "Task[t] already exists",
                true,
            ),
            (
                r#"{"error":"druidException","errorCode":"invalidInput","persona":"USER","category":"INVALID_INPUT",
                    "errorMessage":"Task[t] has payload of size[2]","context":{}}"#,
                "Task[t] has payload of size[2]",
                false,
            ),
            // Recorded: a task that cannot be read.
            (
                r#"{"error":"Cannot construct instance of `org.apache.druid.indexing.common.task.NoopTask`, problem: Invalid value for field [task ID]: Value [with/slash] cannot contain '/'."}"#,
                "Cannot construct instance of `org.apache.druid.indexing.common.task.NoopTask`, problem: Invalid value for field [task ID]: Value [with/slash] cannot contain '/'.",
                false,
            ),
            (r#"{"Access-Check-Result":"Unauthorized"}"#, "Unauthorized", false),
            (
                r#"{"error":"Unauthorized request","errorMessage":null,"errorClass":null,"host":"h"}"#,
                "Unauthorized request",
                false,
            ),
        ];
        for (body, message, exists) in table {
            let refusal = Refusal::read(body.as_bytes()).unwrap();
            assert_eq!(
                (refusal.message.as_str(), refusal.already_exists()),
                (message, exists)
            );
        }
        for body in ["", "{}", "[]", "<html>", r#"{"error":null}"#, r#"{"error":{}}"#] {
            assert_eq!(Refusal::read(body.as_bytes()), None, "{body}");
        }
    }

    #[test]
    fn says_what_a_page_says_in_its_title() {
        let page = "<html>\n<head><title>Error 404 Not Found</title></head><body>…</body></html>";
        for (body, said) in [
            (page, "Error 404 Not Found"),
            ("", "no reason is given"),
            (" a\r\nb ", "a  b"),
        ] {
            assert_eq!(message(body.as_bytes()), said);
        }
        let long = message("ä".repeat(5000).as_bytes());
        assert_eq!(long.chars().count(), MOST + 1);
    }

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
