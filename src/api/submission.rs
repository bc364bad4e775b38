//! `status.submission`: progress with the overlord of a PeonTask that a user created for a VirtualMiddleManager.

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::schema;
use super::task_from::TaskFrom;

/// Progress with the overlord of a task that a user created. Written by the VirtualMiddleManager only. Absent for tasks
/// that the overlord assigned without a user's PeonTask.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("!has(oldSelf.assigned) || (has(self.assigned) && self.assigned == oldSelf.assigned)")
        .message("what the overlord assigned is not exchanged")
)]
pub struct Submission {
    /// State of the submission. `Disabled`: the VirtualMiddleManager submits no tasks. `TypeNotListed`: it submits none
    /// of this type. `Submitting`: the task is about to be submitted, or was just submitted. `NotAuthorized`: the
    /// overlord does not let the user of `submissions.authRef` submit it; it is tried again. `Unreachable`: the overlord
    /// does not answer; it is tried again. `Submitted`: the overlord has the task. `RunsElsewhere`: another worker runs
    /// it. `Assigned`: this VirtualMiddleManager runs it; final. `Succeeded`: it succeeded on another worker; final.
    /// `Failed`: it failed on another worker or before any ran it; final. `Refused`: the overlord refused it for good;
    /// final. `IdConflict`: the overlord has another task with this id; final. `ShutDown`: it was ended at the overlord
    /// before it was assigned; final. Example: `Submitted`.
    #[schemars(schema_with = "schema::described::<SubmissionState>")]
    pub state: SubmissionState,

    /// The overlord's message, or what is missing. Example: `the overlord does not answer`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 1024))]
    pub message: Option<String>,

    /// The id under which the task is submitted; written before the submission. Example: `nightly_6a4e1c0e`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 255))]
    pub task_id: Option<String>,

    /// Hash of the submitted task with its id: `sha256:` and 64 hexadecimal digits. Written before the submission.
    /// Example: `sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 80))]
    pub task_hash: Option<String>,

    /// Ordinal of the identity to which the overlord assigned the task. Example: `0`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 65535))]
    pub identity: Option<u16>,

    /// The task as assigned by the overlord: the peon runs this one. Example: `{secrets: [{name: a, key: chunk}]}`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::task_from")]
    pub assigned: Option<TaskFrom>,
}

/// State of a submission.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub enum SubmissionState {
    /// The VirtualMiddleManager submits no tasks.
    #[default]
    Disabled,
    /// The VirtualMiddleManager does not submit tasks of this type.
    TypeNotListed,
    /// The task is about to be submitted, or was just submitted.
    Submitting,
    /// The overlord does not let the user of `submissions.authRef` submit the task. It is tried again.
    NotAuthorized,
    /// The overlord does not answer. It is tried again.
    Unreachable,
    /// The overlord has the task.
    Submitted,
    /// The overlord assigned the task to another worker.
    RunsElsewhere,
    /// The overlord assigned the task to this VirtualMiddleManager. Final: from now on it is treated as any assigned
    /// task.
    Assigned,
    /// The task succeeded on another worker. Final.
    Succeeded,
    /// The task failed, on another worker or before any worker ran it. Final.
    Failed,
    /// The overlord refused the task for good. Final.
    Refused,
    /// The overlord has another task with this id. Final.
    IdConflict,
    /// The task was ended at the overlord before it was assigned. Final.
    ShutDown,
}

impl SubmissionState {
    /// Whether the state is final.
    #[must_use]
    pub fn is_final(self) -> bool {
        matches!(
            self,
            Self::Assigned
                | Self::Succeeded
                | Self::Failed
                | Self::Refused
                | Self::IdConflict
                | Self::ShutDown
        )
    }
}
