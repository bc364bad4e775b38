//! A task that a user created for a VirtualMiddleManager, until its overlord has assigned it here (pure): the status
//! shows its progress with the overlord.

use crate::api::reason::{Acceptance, Cause};
use crate::api::{PeonTask, Submission, SubmissionState};

/// State of a task that is not assigned.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Standing {
    /// The task waits, with this reason of `Accepted`.
    Waits(Acceptance, String),
    /// Another worker runs the task.
    Elsewhere(String),
    /// The task succeeded on another worker.
    Succeeded(String),
    /// The task is not accepted, and never will be.
    Refused(Acceptance, String),
    /// The task failed, for this cause.
    Failed(Cause, String),
}

impl Standing {
    /// Reads the submission recorded by the VirtualMiddleManager with this name.
    #[must_use]
    pub fn of(task: &PeonTask, manager: &str) -> Self {
        let Some(submission) = task.submission() else {
            let message = if task.spec.suspend {
                format!("spec.suspend is set: the VirtualMiddleManager {manager} does not submit the task")
            } else {
                format!("the overlord has not assigned the task to the VirtualMiddleManager {manager} yet")
            };
            return Self::Waits(Acceptance::NotAssigned, message);
        };
        let said = |otherwise: &str| submission.message.clone().unwrap_or_else(|| otherwise.to_owned());
        match submission.state {
            SubmissionState::Disabled => Self::Waits(
                Acceptance::SubmissionsDisabled,
                format!(
                    "the VirtualMiddleManager {manager} submits no tasks: set its submissions.enabled to true"
                ),
            ),
            SubmissionState::TypeNotListed => Self::Waits(
                Acceptance::TypeNotListed,
                said("submissions.taskTypes of the VirtualMiddleManager does not list the task's type"),
            ),
            SubmissionState::Submitting => {
                Self::Waits(Acceptance::NotAssigned, "the task is being submitted".to_owned())
            }
            SubmissionState::NotAuthorized => Self::Waits(
                Acceptance::NotAuthorized,
                said("the overlord does not allow the user of submissions.auth to submit the task"),
            ),
            SubmissionState::Unreachable => Self::Waits(
                Acceptance::OverlordUnreachable,
                said("the overlord does not answer"),
            ),
            SubmissionState::Submitted | SubmissionState::Assigned => Self::Waits(
                Acceptance::NotAssigned,
                format!(
                    "the overlord has the task under the id {}, but has not assigned it yet",
                    submission.task_id.as_deref().unwrap_or_default()
                ),
            ),
            SubmissionState::RunsElsewhere => {
                Self::Elsewhere(said("another worker of the overlord runs the task"))
            }
            SubmissionState::Succeeded => {
                Self::Succeeded("Druid reported SUCCESS; another worker ran the task".to_owned())
            }
            SubmissionState::Failed => Self::failed(task, submission),
            SubmissionState::Refused => Self::Refused(
                Acceptance::SubmissionRefused,
                said("the overlord refuses the task"),
            ),
            SubmissionState::IdConflict => Self::Refused(
                Acceptance::IdConflict,
                said("the overlord has another task with this id: create the PeonTask with another id"),
            ),
            SubmissionState::ShutDown => {
                Self::Failed(Cause::Cancelled, said("the overlord has shut the task down"))
            }
        }
    }

    fn failed(task: &PeonTask, submission: &Submission) -> Self {
        let message = submission
            .message
            .clone()
            .unwrap_or_else(|| "Druid reported FAILED".to_owned());
        let cause = if task.spec.cancel {
            Cause::Cancelled
        } else {
            Cause::TaskFailed
        };
        Self::Failed(cause, message)
    }
}
