//! The history record of a finished task (data only).
//!
//! It outlives its `PeonTask` and versions of this program: a reader ignores fields that it does not know, and treats
//! missing fields as unknown. A record contains nothing of the payload, of contexts or of secrets.

use std::collections::BTreeMap;

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use serde::{Deserialize, Serialize};

use crate::api::AttemptRecord;

/// Version of the format written. Later versions only add fields.
pub const VERSION: u32 = 1;

/// The record of a finished task: less than 4 KiB of JSON.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Record {
    /// Version of the format.
    pub version: u32,
    /// Namespace of the `PeonTask`.
    pub namespace: String,
    /// Name of the `PeonTask`.
    pub name: String,
    /// Uid of the `PeonTask`, which distinguishes tasks with the same name.
    pub uid: String,
    /// Id of the Druid task, if it was read before the end.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub task_id: Option<String>,
    /// Type of the Druid task.
    #[serde(rename = "type", skip_serializing_if = "Option::is_none")]
    pub task_type: Option<String>,
    /// SHA-256 of the payload as it was given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub task_hash: Option<String>,
    /// The datasource that the task writes to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub data_source: Option<String>,
    /// The PeonTemplate of the last attempt.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub template: Option<String>,
    /// `Succeeded` or `Failed`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub phase: Option<String>,
    /// `Succeeded`, or the cause of the failure.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// The verdict's message, cut to 1 KiB.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// When the `PeonTask` was created.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub creation_time: Option<Time>,
    /// When the last attempt's peon began, if it did.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub start_time: Option<Time>,
    /// When the task was complete.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub completion_time: Option<Time>,
    /// Number of the last attempt, from 1; absent if there was none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub attempt: Option<u32>,
    /// The earlier attempts, at most the last ten.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub attempts: Vec<AttemptRecord>,
    /// Number of attempts that ended and were followed by another one, by cause.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub retries: BTreeMap<String, u32>,
    /// Exit code of the last peon.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub exit_code: Option<i32>,
    /// Node of the last attempt.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub node: Option<String>,
    /// Memory limit of the last attempt, in bytes as a Kubernetes quantity.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memory: Option<String>,
    /// Cpu limit of the last attempt, in cores as a Kubernetes quantity.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cpu: Option<String>,
    /// State of the log, if it was collected.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub log: Option<LogRecord>,
    /// Where the report is, if the peon wrote one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub report_url: Option<String>,
}

/// State of a log.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct LogRecord {
    /// Whether everything obtainable of the log is in the store.
    pub archived: bool,
    /// The reason of `LogsArchived`: `Gap` if something is missing.
    pub reason: String,
    /// URL of the log.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
}

/// A record and its position in the history.
#[derive(Debug, Clone, PartialEq)]
pub struct Entry {
    /// When the task was complete, in whole seconds as in a status.
    pub completed: Timestamp,
    /// The record.
    pub record: Record,
    /// By which name ([`super::success::key`]) the success is found again; `None` of other ends, and of tasks of an
    /// overlord.
    pub success: Option<String>,
}

/// Result of writing an entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recorded {
    /// The entry's time of completion.
    pub completed: Timestamp,
    /// Success, or why the entry was not written and what to do.
    pub outcome: Result<(), String>,
}

impl Record {
    /// Whether `name` is the name of the `PeonTask` or the Druid id.
    #[must_use]
    pub fn is_called(&self, name: &str) -> bool {
        self.name == name || self.task_id.as_deref() == Some(name)
    }
}

/// What is known of a task when its object is gone.
#[derive(Debug, Clone, Default)]
pub enum LastWord {
    /// Nothing: no process saw its deletion.
    #[default]
    None,
    /// The task had no verdict.
    NoVerdict,
    /// The task had a verdict; this is its history entry.
    Final(Box<Entry>),
    /// The history has the task, including its log.
    Recorded,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_later_version_adds_is_passed_over() {
        let later = r#"{"version": 7, "name": "a", "phase": "Vanished", "more": {"x": 1},
            "log": {"archived": true, "reason": "New", "parts": 3},
            "attempts": [{"number": 1, "cause": "Bored", "mood": "bad"}]}"#;
        let record: Record = serde_json::from_str(later).unwrap();
        assert_eq!((record.version, record.name.as_str()), (7, "a"));
        assert_eq!(record.phase.as_deref(), Some("Vanished"));
        assert_eq!(record.attempts[0].cause, "Bored");
        assert!(record.log.is_some_and(|l| l.archived && l.url.is_none()));
        assert_eq!(serde_json::from_str::<Record>("{}").unwrap(), Record::default());
    }

    #[test]
    fn a_task_has_two_names() {
        let record = Record {
            name: "nightly".into(),
            task_id: Some("index_x".into()),
            ..Record::default()
        };
        assert!(record.is_called("nightly") && record.is_called("index_x"));
        assert!(!record.is_called("x"));
    }
}
