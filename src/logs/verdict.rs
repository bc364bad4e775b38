//! What the sidecar says at its end (pure): one line of JSON, its container's termination message.

use serde::{Deserialize, Serialize};

/// What became of the log. It is written anew with every step, so that a sidecar that is killed has said how far it came.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct LogVerdict {
    /// Bytes of the log that are kept, as parts or as a whole.
    pub log_bytes: u64,
    /// The whole log is in its place, and was found there.
    pub archived: bool,
    /// The report is too.
    pub report: bool,
    /// Most bytes of memory of the peon's container, as its cgroup counts them: the page cache is in it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub peak_memory_bytes: Option<u64>,
    /// What went wrong, or is worth knowing.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub message: String,
}

/// Longest message, in bytes: the pod's status holds 12,288 bytes of them divided by the number of its containers.
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
        let end = said.message.floor_char_boundary(LONGEST);
        said.message.truncate(end);
        // Numbers, truth values and a string always are JSON.
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
            archived: true,
            report: false,
            peak_memory_bytes: Some(9),
            message: "a\n\"b\"".into(),
        };
        let line = verdict.line();
        assert_eq!(
            line,
            r#"{"logBytes":7,"archived":true,"report":false,"peakMemoryBytes":9,"message":"a\n\"b\""}"#
        );
        assert_eq!(LogVerdict::parse(&format!("{line}\n")), Some(verdict));
        let short = LogVerdict::default().line();
        assert_eq!(short, r#"{"logBytes":0,"archived":false,"report":false}"#);
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
