//! `status.submission`: how far a PeonTask that a user created for a VirtualMiddleManager has come with its overlord.

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::schema;
use super::task_from::TaskFrom;

/// How far a task that a user created has come with the overlord. The VirtualMiddleManager writes it, and nobody else; what
/// is assigned by the overlord without anybody's PeonTask has none.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("!has(oldSelf.assigned) || (has(self.assigned) && self.assigned == oldSelf.assigned)")
        .message("what the overlord assigned is not exchanged")
)]
pub struct Submission {
    /// How far it is.
    pub state: SubmissionState,

    /// What the overlord said, or what is missing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 1024))]
    pub message: Option<String>,

    /// The id under which the task is submitted; written before it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 255))]
    pub task_id: Option<String>,

    /// Hash of the task with its id, as it is submitted: `sha256:` and 64 hexadecimal digits. Written before it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 80))]
    pub task_hash: Option<String>,

    /// Ordinal of the identity to which the overlord assigned it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 65535))]
    pub identity: Option<u16>,

    /// The task as the overlord assigned it: this is what the peon runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::task_from")]
    pub assigned: Option<TaskFrom>,
}

/// How far a submission is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub enum SubmissionState {
    /// The VirtualMiddleManager submits nothing.
    #[default]
    Disabled,
    /// It does not submit tasks of this type.
    TypeNotListed,
    /// It is about to be submitted, or was a moment ago.
    Submitting,
    /// The overlord does not let the user of `submissions.auth` submit it. It is tried again.
    NotAuthorized,
    /// The overlord does not answer. It is tried again.
    Unreachable,
    /// The overlord has the task.
    Submitted,
    /// The overlord assigned it to another worker.
    RunsElsewhere,
    /// The overlord assigned it here. Final: from now on it is as any assigned task.
    Assigned,
    /// It ran elsewhere, and well. Final.
    Succeeded,
    /// It ran elsewhere, or nowhere, and failed. Final.
    Failed,
    /// The overlord refused it for good. Final.
    Refused,
    /// The overlord has another task of its id. Final.
    IdConflict,
    /// It was ended at the overlord before it was assigned. Final.
    ShutDown,
}

impl SubmissionState {
    /// Whether nothing is left to do.
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
