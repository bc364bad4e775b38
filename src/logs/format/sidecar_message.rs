//! The sidecar's result (pure): one line of JSON, its container's termination message.

use serde::{Deserialize, Serialize};

/// State of the log. It is rewritten with every step, so that a sidecar that is killed has reported its progress.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[allow(clippy::struct_excessive_bools)] // Each says something else of the log.
pub struct LogVerdict {
    /// Bytes of the log in the store, as parts or as a whole.
    pub log_bytes: u64,
    /// Whether everything that the peon wrote is stored, except for bytes beyond the limit.
    #[serde(default)]
    pub complete: bool,
    /// Whether the log says that the task published segments.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub published: bool,
    /// Whether the log says that memory ran out.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub out_of_memory: bool,
    /// Whether the whole log was stored in its place and verified.
    pub archived: bool,
    /// Whether the report was, too.
    pub report: bool,
    /// Peak memory of the peon's container in bytes, as its cgroup counts it, including the page cache.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub peak_memory_bytes: Option<u64>,
    /// An error or a notice.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub message: String,
    /// A notice, which is the message as long as there is no error.
    #[serde(skip)]
    pub notice: Option<String>,
}

/// Longest message, in bytes: the pod's status holds 12,288 bytes of messages, divided by the number of its containers.
const LONGEST: usize = 500;

impl LogVerdict {
    /// Reads a termination message.
    #[must_use]
    pub fn parse(message: &str) -> Option<Self> {
        serde_json::from_str(message.trim()).ok()
    }

    /// The termination message.
    #[must_use]
    pub fn line(&self) -> String {
        let mut said = self.clone();
        if let Some(notice) = said.notice.take()
            && said.message.is_empty()
        {
            said.message = notice;
        }
        let end = (0..=LONGEST).rev().find(|at| said.message.is_char_boundary(*at));
        said.message.truncate(end.unwrap_or_default());
        // Numbers, booleans and a string are always valid JSON.
        serde_json::to_string(&said).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_said_is_one_line_that_can_be_read_again() {
        let verdict = LogVerdict {
            log_bytes: 7,
            complete: true,
            published: true,
            out_of_memory: true,
            archived: true,
            report: false,
            peak_memory_bytes: Some(9),
            message: "a\n\"b\"".into(),
            notice: None,
        };
        let line = verdict.line();
        assert_eq!(
            line,
            r#"{"logBytes":7,"complete":true,"published":true,"outOfMemory":true,"archived":true,"report":false,"peakMemoryBytes":9,"message":"a\n\"b\""}"#
        );
        assert_eq!(LogVerdict::parse(&format!("{line}\n")), Some(verdict));
        let short = LogVerdict::default().line();
        assert_eq!(
            short,
            r#"{"logBytes":0,"complete":false,"archived":false,"report":false}"#
        );
        assert_eq!(LogVerdict::parse(&short), Some(LogVerdict::default()));
    }

    #[test]
    fn it_fits_and_nothing_else_is_one() {
        let long = LogVerdict {
            message: "ü".repeat(3000),
            ..LogVerdict::default()
        };
        let read = LogVerdict::parse(&long.line()).unwrap();
        assert_eq!(read.message.len(), 500);
        let mut noticed = LogVerdict {
            message: "wrong".into(),
            notice: Some("known".into()),
            ..LogVerdict::default()
        };
        let message = |verdict: &LogVerdict| LogVerdict::parse(&verdict.line()).unwrap().message;
        assert_eq!(message(&noticed), "wrong");
        noticed.message.clear();
        assert_eq!(message(&noticed), "known");
        for other in [
            "",
            "{}",
            "panicked",
            r#"{"logBytes":-1,"archived":true,"report":true}"#,
        ] {
            assert_eq!(LogVerdict::parse(other), None, "{other}");
        }
    }
}
