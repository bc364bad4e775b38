//! Decisions about a PeonTask that a user created, until it is assigned (pure).
//!
//! The task about to be sent is recorded before it is sent, in `status.submission`, which users cannot write. So if the
//! process dies in between, its successor finds the record, sends the task again, and learns from the overlord's answer
//! whether the first request succeeded: an overlord accepts an id once, and the task names its PeonTask.

use serde_json::{Value, json};

use super::applied::Applied;
use crate::api::conditions::cut;
use crate::api::status_patch::remove_missing;
use crate::api::virtual_middle_manager::Submissions;
use crate::api::{PeonTask, Submission, SubmissionState as State};
use crate::druid::worker::{TaskState, TaskStatus};
use crate::middle_manager::assign::decide::provenance::{Document, Provenance};
use crate::middle_manager::overlord::decide::refusal::OverlordError;

/// Longest recorded message, in bytes.
const LONGEST_MESSAGE: usize = 768;
/// Most types named in a message.
const MOST_TYPES: usize = 16;

/// Which tasks are submitted: `spec.submissions`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Policy {
    /// Whether tasks are submitted.
    pub enabled: bool,
    /// Types of tasks that are submitted.
    pub types: Vec<String>,
}

impl Policy {
    /// Reads the policy; without `submissions` nothing is submitted.
    #[must_use]
    pub fn of(submissions: Option<&Submissions>) -> Self {
        submissions.map_or_else(Self::default, |s| Self {
            enabled: s.enabled,
            types: s.task_types.clone(),
        })
    }

    /// Whether tasks of this type are submitted.
    #[must_use]
    pub fn lists(&self, task_type: &str) -> bool {
        self.enabled && self.types.iter().any(|t| t == task_type)
    }

    /// Message for a task of another type.
    #[must_use]
    pub fn not_listed(&self, task_type: &str) -> String {
        let mut types: Vec<&str> = self.types.iter().take(MOST_TYPES).map(String::as_str).collect();
        if self.types.len() > MOST_TYPES {
            types.push("…");
        }
        let types = if types.is_empty() {
            "none".to_owned()
        } else {
            types.join(", ")
        };
        format!("tasks of type {task_type} are not submitted: submissions.taskTypes lists {types}")
    }
}

/// The next step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// Nothing, until something changes or the overlord is asked.
    Rest,
    /// Record this.
    Say(Submission),
    /// Read the task, and record that it is about to be submitted.
    Prepare,
    /// Submit the task, possibly again.
    Submit,
    /// The task may have been submitted, but should no longer be: ask what the overlord has.
    Look,
    /// The task has to end: ask what the overlord has, and end it there.
    End,
    /// The overlord assigned the task here, but its labels do not say so yet.
    Finish,
}

/// The next step for a PeonTask; `is_taken` says that another task with its id is assigned here.
#[must_use]
pub fn step(applied: &Applied, policy: &Policy, is_taken: bool) -> Step {
    let submission = applied.submission.as_ref();
    match submission.map(|s| s.state) {
        Some(State::Assigned) => Step::Finish,
        Some(state) if state.is_final() => Step::Rest,
        None | Some(State::Disabled | State::TypeNotListed) => unsent(applied, policy, is_taken),
        Some(State::NotAuthorized) if !is_recorded(submission) => unsent(applied, policy, is_taken),
        Some(_) if applied.ends => Step::End,
        Some(State::Submitted | State::RunsElsewhere) => Step::Rest,
        Some(_) if !policy.enabled => Step::Look,
        Some(_) => Step::Submit,
    }
}

/// Whether the task may have been sent.
fn is_recorded(submission: Option<&Submission>) -> bool {
    submission.is_some_and(|s| s.task_hash.is_some())
}

/// The next step for a task that was never sent.
fn unsent(applied: &Applied, policy: &Policy, is_taken: bool) -> Step {
    if applied.ends {
        return Step::Rest;
    }
    if is_taken {
        return Step::Say(id_conflict(applied.submission.as_ref()));
    }
    let next = match &applied.task_type {
        _ if !policy.enabled => Submission {
            state: State::Disabled,
            ..Submission::default()
        },
        Some(task_type) if !policy.lists(task_type) => not_listed(policy, task_type),
        _ if applied.suspend => return Step::Rest,
        _ => return Step::Prepare,
    };
    if applied.submission.as_ref() == Some(&next) {
        Step::Rest
    } else {
        Step::Say(next)
    }
}

/// Record: tasks of this type are not submitted.
#[must_use]
pub fn not_listed(policy: &Policy, task_type: &str) -> Submission {
    Submission {
        state: State::TypeNotListed,
        message: Some(cut(&policy.not_listed(task_type), LONGEST_MESSAGE)),
        ..Submission::default()
    }
}

/// Record: the task cannot be read here.
#[must_use]
pub fn forbidden(why: &str) -> Submission {
    next(None, State::NotAuthorized, Some(why))
}

/// Record: the task is about to be submitted.
#[must_use]
pub fn intent(document: &Document) -> Submission {
    Submission {
        state: State::Submitting,
        task_id: Some(document.task_id.clone()),
        task_hash: Some(document.hash.clone()),
        ..Submission::default()
    }
}

/// The merge patch that replaces the record `current` by `next` in the PeonTask with this uid, if it still has this
/// version.
///
/// # Errors
/// When a submission cannot be written as JSON.
pub fn record(
    uid: Option<&str>,
    version: Option<&str>,
    current: Option<&Submission>,
    next: &Submission,
) -> serde_json::Result<Value> {
    let current = serde_json::to_value(current)?;
    let mut submission = serde_json::to_value(next)?;
    remove_missing(&current, &mut submission);
    Ok(json!({
        "metadata": {"uid": uid, "resourceVersion": version},
        "status": {"submission": submission},
    }))
}

/// Record: the overlord has another task with the id.
#[must_use]
pub fn id_conflict(current: Option<&Submission>) -> Submission {
    let message = "the overlord has another task with this id: create the PeonTask with another id";
    next(current, State::IdConflict, Some(message))
}

/// Record with this state and message.
#[must_use]
pub fn next(current: Option<&Submission>, state: State, message: Option<&str>) -> Submission {
    Submission {
        state,
        message: message.map(|m| cut(m.trim(), LONGEST_MESSAGE)),
        ..current.cloned().unwrap_or_default()
    }
}

/// The task that the overlord has under the id of a submission.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Held {
    /// No task.
    Nothing,
    /// The task that was submitted for this PeonTask.
    Ours,
    /// Another task.
    Other,
}

impl Held {
    /// Compares the payload that the overlord has.
    #[must_use]
    pub fn of(payload: Option<&str>, ours: &Provenance) -> Self {
        match payload {
            None => Self::Nothing,
            Some(json) if Provenance::read(json, &ours.task_id).as_ref() == Some(ours) => Self::Ours,
            Some(_) => Self::Other,
        }
    }
}

/// The record that follows from the overlord's task; `refused` is its message, if it refused the task.
#[must_use]
pub fn looked(current: &Submission, held: Held, refused: Option<&str>) -> Submission {
    match (held, refused) {
        (Held::Ours, _) => next(Some(current), State::Submitted, None),
        (Held::Other, _) => id_conflict(Some(current)),
        (Held::Nothing, Some(words)) => next(Some(current), State::Refused, Some(words)),
        (Held::Nothing, None) => Submission {
            state: State::Disabled,
            ..Submission::default()
        },
    }
}

/// Record: the overlord cannot be asked, or denies access; `None` if this is recorded already.
#[must_use]
pub fn trouble(current: &Submission, error: &OverlordError) -> Option<Submission> {
    let state = match error {
        OverlordError::NotAuthorized { .. } => State::NotAuthorized,
        OverlordError::Unavailable { .. } | OverlordError::Unexpected { .. } => State::Unreachable,
    };
    let may_be_said = matches!(
        current.state,
        State::Submitting | State::NotAuthorized | State::Unreachable
    );
    (may_be_said && current.state != state).then(|| next(Some(current), state, Some(&error.to_string())))
}

/// The record that follows from the overlord's status of a task that is not assigned here; `None` if it is unchanged.
#[must_use]
pub fn polled(current: &Submission, status: Option<&TaskStatus>) -> Option<Submission> {
    if !matches!(current.state, State::Submitted | State::RunsElsewhere) {
        return None;
    }
    let Some(status) = status else {
        let message = "the overlord no longer knows the task";
        return Some(next(Some(current), State::Failed, Some(message)));
    };
    let (state, message) = match status.status {
        TaskState::Success => (State::Succeeded, None),
        TaskState::Failed => (State::Failed, status.error_msg.clone()),
        TaskState::Running => {
            let host = status.location.host.as_ref()?;
            let port = status.location.tls_port.max(status.location.port);
            let message = format!("another worker of the overlord runs the task, at {host}:{port}");
            (State::RunsElsewhere, Some(message))
        }
    };
    let next = next(Some(current), state, message.as_deref());
    (next != *current).then_some(next)
}

/// The owner of an assignment that names a PeonTask.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Owner {
    /// This PeonTask.
    Ours,
    /// This PeonTask, which was ended before.
    Ended(String),
    /// Not this PeonTask.
    Other(&'static str),
}

impl Owner {
    /// Decides by the PeonTask that the assignment names.
    ///
    /// Users who may submit tasks to Druid may write any context, and users who may create PeonTasks may write any
    /// labels. Only the record in the status, written before the submission, counts.
    #[must_use]
    pub fn of(task: &PeonTask, middle_manager: &str, said: &Provenance) -> Self {
        if task.metadata.uid.as_deref() != Some(&said.uid) || task.middle_manager() != Some(middle_manager) {
            return Self::Other("it names a PeonTask of another VirtualMiddleManager");
        }
        let Some(submission) = task.submission() else {
            return Self::Other("its PeonTask was not submitted");
        };
        let is_recorded = submission.task_id.as_ref() == Some(&said.task_id)
            && submission.task_hash.as_ref() == Some(&said.task_hash);
        if !is_recorded {
            return Self::Other("its id or payload is not that of the submission");
        }
        let is_over = submission.state.is_final() && submission.state != State::Assigned;
        if task.is_final() || task.spec.cancel || task.metadata.deletion_timestamp.is_some() || is_over {
            let reason = task.status.as_ref().and_then(|s| s.reason.as_deref());
            return Self::Ended(format!(
                "its PeonTask {} has already ended: {}",
                said.name,
                reason.unwrap_or("cancelled")
            ));
        }
        Self::Ours
    }
}

#[cfg(test)]
#[path = "submission_tests.rs"]
mod tests;
