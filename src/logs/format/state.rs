//! Requests to the components that archive logs, and their answers (data only).

use k8s_openapi::jiff::Timestamp;

use super::shared_log::TaskLines;

/// Requests the log of one attempt. Idempotent.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(clippy::struct_excessive_bools)] // Each says something else of the attempt.
pub struct KeepLog {
    /// Number of the attempt.
    pub attempt: u32,
    /// Name of the attempt's pod.
    pub pod: String,
    /// Uid of that pod, if known.
    pub pod_uid: String,
    /// Whether the pod was just seen.
    pub seen: bool,
    /// The peon's container.
    pub container: String,
    /// When that container started, if its log begins with the attempt: an Indexer's began before.
    pub started: Option<Timestamp>,
    /// Whether a sidecar reads the log, and is expected to produce parts only.
    pub sidecar: bool,
    /// Whether the container has ended; for a pod with a sidecar, whether both have.
    pub ended: bool,
    /// Whether the sidecar reported the log as complete.
    pub complete: bool,
    /// Whether no attempt follows: the log can be composed.
    pub last: bool,
    /// What the last line of the attempt contains, if its container goes on: an Indexer outlives its task.
    pub last_line: Option<String>,
    /// Which lines of the container's log are the attempt's, if not all: an Indexer may run several tasks.
    pub lines: Option<TaskLines>,
}

/// A request and the log's state.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kept {
    /// Whether the whole log was requested.
    pub last: bool,
    /// State of the log.
    pub state: LogState,
    /// What is known of the log of the requested attempt.
    pub heard: Heard,
}

/// What is known of the log of an attempt.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Heard {
    /// Whether it was read to its end.
    pub whole: bool,
    /// Whether a line says that the task published segments ([`published`](super::published)). A log that a sidecar
    /// reads is not examined here.
    pub published: bool,
    /// Whether a line says that memory ran out ([`out_of_memory`](crate::druid::out_of_memory)), likewise.
    pub out_of_memory: bool,
}

/// State of a task's log.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum LogState {
    /// Waiting: as many logs are being read as the operator reads at a time.
    #[default]
    Queued,
    /// The log is being read, and the bytes read are being written.
    Collecting,
    /// The store refuses requests, or does not answer.
    Failing {
        /// What to do about it.
        message: String,
    },
    /// The whole log is in the store.
    Archived {
        /// URL of the log.
        url: String,
        /// Number of gaps.
        gaps: u32,
        /// Why the log is not where an overlord reads it, if another task has the keys of its id.
        conflict: Option<String>,
    },
    /// The peon wrote nothing.
    Nothing,
}
