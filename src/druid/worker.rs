//! What an overlord and its workers tell each other: the JSON and Smile of Druid's worker protocol (pure).
//!
//! The shapes are those of `ChangeRequestsSnapshot`, `WorkerHistoryItem` and `TaskAnnouncement` of Druid 33.0.0.
//! Unknown fields are ignored, as Druid does.

use serde::{Deserialize, Serialize};

/// Where a task can be called. Either whole or [`TaskLocation::unknown`]: half a location breaks callers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TaskLocation {
    /// Host name or address; absent where nothing is known.
    pub host: Option<String>,
    /// Port for plain HTTP; -1 where there is none.
    pub port: i32,
    /// Port for TLS; -1 where there is none. Callers prefer it.
    pub tls_port: i32,
    /// Name of the pod, which Druid's console shows instead of the host.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub k8s_pod_name: Option<String>,
}

impl TaskLocation {
    /// Nowhere yet, or nowhere any more.
    #[must_use]
    pub fn unknown() -> Self {
        Self {
            host: None,
            port: -1,
            tls_port: -1,
            k8s_pod_name: None,
        }
    }
}

/// `TaskState` of Druid.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum TaskState {
    /// Assigned, from then on, whether its peon runs or not.
    Running,
    /// Ended well.
    Success,
    /// Ended badly.
    Failed,
}

/// `TaskStatus` of Druid.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TaskStatus {
    /// The task's id.
    pub id: String,
    /// Its state.
    pub status: TaskState,
    /// Milliseconds that it ran; -1 while it runs.
    pub duration: i64,
    /// Why it failed. Druid keeps 1024 characters of it.
    pub error_msg: Option<String>,
    /// Where it is; workers leave this unknown and say it in the announcement.
    pub location: TaskLocation,
}

/// `TaskResource` of Druid.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TaskResource {
    /// No two tasks of a group are put on the same worker. The task's id unless the task says otherwise.
    pub availability_group: String,
    /// Slots that it takes, at least 1.
    pub required_capacity: u32,
}

/// `TaskAnnouncement` of Druid: what a worker says of one task.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TaskAnnouncement {
    /// The task's id.
    pub id: String,
    /// The task's type.
    #[serde(rename = "type")]
    pub task_type: String,
    /// The same as in `task_status`.
    pub status: TaskState,
    /// Its status, which counts.
    pub task_status: TaskStatus,
    /// What it takes of the worker.
    pub task_resource: TaskResource,
    /// Where its chat handlers answer.
    pub task_location: TaskLocation,
    /// Its datasource.
    pub task_data_source: String,
}

/// One item of a worker's history.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "camelCase", rename_all_fields = "camelCase")]
pub enum Change {
    /// Whether the worker takes tasks.
    Metadata {
        /// It takes none.
        disabled: bool,
    },
    /// A task is new, or is somewhere else, or has ended.
    TaskUpdate {
        /// What there is to say of it.
        task_announcement: Box<TaskAnnouncement>,
    },
    /// The worker has forgotten a task. Never before its end was delivered.
    TaskRemoval {
        /// The task.
        task_id: String,
    },
}

/// A place in a worker's history.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counter {
    /// Number of the last change; negative asks for everything.
    pub counter: i64,
    /// Tells the histories of two processes apart.
    pub hash: i64,
}

/// `ChangeRequestsSnapshot` of Druid: the answer to a poll.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Answer {
    /// Whoever asked is to ask for everything.
    pub reset_counter: bool,
    /// Why. Never absent with `reset_counter`.
    pub reset_cause: Option<String>,
    /// Where the history stands; absent with `reset_counter`.
    pub counter: Option<Counter>,
    /// What changed; absent with `reset_counter`.
    pub requests: Option<Vec<Change>>,
}
