//! Messages between an overlord and its workers: the JSON and Smile of Druid's worker protocol (pure).
//!
//! The shapes are those of `ChangeRequestsSnapshot`, `WorkerHistoryItem` and `TaskAnnouncement` of Druid 33.0.0.
//! Unknown fields are ignored, as Druid does.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

/// Longest error message, in UTF-16 units as Java counts them: Druid cuts what is longer.
pub const LONGEST_ERROR: usize = 1024;

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
    /// A host that speaks plain HTTP.
    #[must_use]
    pub fn http(host: impl Into<String>, port: u16) -> Self {
        Self {
            host: Some(host.into()),
            port: port.into(),
            ..Self::unknown()
        }
    }

    /// A host that speaks TLS only.
    #[must_use]
    pub fn https(host: impl Into<String>, port: u16) -> Self {
        Self {
            host: Some(host.into()),
            tls_port: port.into(),
            ..Self::unknown()
        }
    }

    /// The same with the name of its pod.
    #[must_use]
    pub fn in_pod(self, name: impl Into<String>) -> Self {
        Self {
            k8s_pod_name: Some(name.into()),
            ..self
        }
    }

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
    /// Why it failed, at most [`LONGEST_ERROR`] long; absent where it did not.
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

impl TaskResource {
    /// What a task takes that says nothing of it: one slot, and no task is kept away.
    #[must_use]
    pub fn one(task_id: impl Into<String>) -> Self {
        Self {
            availability_group: task_id.into(),
            required_capacity: 1,
        }
    }
}

/// What of a task stays the same for as long as a worker has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TaskFacts {
    /// Its id.
    pub id: String,
    /// Its type.
    pub task_type: String,
    /// Its datasource.
    pub data_source: String,
    /// What it takes of the worker. The overlord counts with it: it is the task's own `resource`.
    pub resource: TaskResource,
}

/// How a task ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum End {
    /// Well.
    Success,
    /// Badly, and why. What matters most stands first: a message that is too long loses its middle.
    Failed(String),
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

impl TaskAnnouncement {
    /// A task that the worker has taken, from the assignment to its end. The location is unknown until its peon answers.
    #[must_use]
    pub fn running(task: TaskFacts, location: TaskLocation) -> Self {
        Self::new(task, TaskState::Running, -1, None, location)
    }

    /// A task that has ended, after `duration` milliseconds. The location is where it was.
    #[must_use]
    pub fn ended(task: TaskFacts, end: End, duration: i64, location: TaskLocation) -> Self {
        let (state, error) = match end {
            End::Success => (TaskState::Success, None),
            End::Failed(error) => (TaskState::Failed, Some(cut(error))),
        };
        Self::new(task, state, duration, error, location)
    }

    fn new(
        task: TaskFacts,
        status: TaskState,
        duration: i64,
        error_msg: Option<String>,
        task_location: TaskLocation,
    ) -> Self {
        Self {
            id: task.id.clone(),
            task_type: task.task_type,
            status,
            task_status: TaskStatus {
                id: task.id,
                status,
                duration,
                error_msg,
                location: TaskLocation::unknown(),
            },
            task_resource: task.resource,
            task_location,
            task_data_source: task.data_source,
        }
    }
}

/// A message of which only the middle is left out where it is too long. Druid itself keeps 512 units of each end and puts
/// its note between them, which makes the message too long again for the next who reads it: here the note is counted.
fn cut(message: String) -> String {
    let units = message.chars().map(char::len_utf16).sum::<usize>();
    if units <= LONGEST_ERROR {
        return message;
    }
    // As long as the note for as many as there are, of which some stay.
    let room = LONGEST_ERROR - note(units).len();
    let head: String = within(message.chars(), room / 2).collect();
    let tail: Vec<char> = within(message.chars().rev(), room / 2).collect();
    let kept = head.chars().chain(tail.iter().copied()).map(char::len_utf16);
    let left_out = units - kept.sum::<usize>();
    head + &note(left_out) + &tail.into_iter().rev().collect::<String>()
}

fn note(left_out: usize) -> String {
    format!("...{left_out} characters omitted...")
}

/// As many characters as fit into so many UTF-16 units.
fn within(characters: impl Iterator<Item = char>, units: usize) -> impl Iterator<Item = char> {
    characters.scan(units, |left, character| {
        *left = left.checked_sub(character.len_utf16())?;
        Some(character)
    })
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
        task_announcement: Arc<TaskAnnouncement>,
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

impl Answer {
    /// What has changed up to `counter`.
    #[must_use]
    pub fn changes(counter: Counter, changes: Vec<Change>) -> Self {
        Self {
            reset_counter: false,
            reset_cause: None,
            counter: Some(counter),
            requests: Some(changes),
        }
    }

    /// Whoever asked is to ask for everything, and why.
    #[must_use]
    pub fn reset(cause: String) -> Self {
        Self {
            reset_counter: true,
            reset_cause: Some(cause),
            counter: None,
            requests: None,
        }
    }
}

#[cfg(test)]
#[path = "worker_tests.rs"]
mod tests;
