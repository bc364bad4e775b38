//! What is to be done for a PeonTask that a user created, until it is assigned (pure).
//!
//! What is about to be sent is recorded before it is sent, in `status.submission`, which users may not write. So whoever
//! died in between finds it, sends it again, and reads from the overlord's answer whether the first time had counted: an
//! overlord takes an id once, and its task says for which PeonTask it is.

use serde_json::{Value, json};

use super::applied::Applied;
use crate::api::conditions::cut;
use crate::api::status_patch::remove_missing;
use crate::api::virtual_middle_manager::Submissions;
use crate::api::{PeonTask, Submission, SubmissionState as State};
use crate::druid::worker::{TaskState, TaskStatus};
use crate::middle_manager::assign::decide::provenance::{Document, Provenance};
use crate::middle_manager::overlord::decide::refusal::OverlordError;

/// Longest message that is recorded, in bytes.
const LONGEST_MESSAGE: usize = 768;
/// Types that are named in a message.
const MOST_TYPES: usize = 16;

/// Which tasks are submitted: `spec.submissions`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Policy {
    /// Whether any are.
    pub enabled: bool,
    /// Of which types.
    pub types: Vec<String>,
}

impl Policy {
    /// Reads it; without it nothing is submitted.
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

    /// What is said of a task of another type.
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
        format!("tasks of type {task_type} are not submitted; submissions.taskTypes has {types}")
    }
}

/// What is to be done next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// Nothing, until something changes or the overlord is asked.
    Rest,
    /// Record this.
    Say(Submission),
    /// Read the task, and record that it is about to be submitted.
    Prepare,
    /// Submit it, perhaps again.
    Submit,
    /// It may have been submitted, and is not to be: see what the overlord has.
    Look,
    /// It is to end: see what the overlord has, and end it there.
    End,
    /// The overlord assigned it here, and its labels do not say so yet.
    Finish,
}

/// What is to be done for a PeonTask; `is_taken` says that another task of its id is assigned here.
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

/// Whether it may have been sent.
fn is_recorded(submission: Option<&Submission>) -> bool {
    submission.is_some_and(|s| s.task_hash.is_some())
}

/// It was never sent.
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

/// Tasks of this type are not submitted.
#[must_use]
pub fn not_listed(policy: &Policy, task_type: &str) -> Submission {
    Submission {
        state: State::TypeNotListed,
        message: Some(cut(&policy.not_listed(task_type), LONGEST_MESSAGE)),
        ..Submission::default()
    }
}

/// It cannot be read here.
#[must_use]
pub fn forbidden(why: &str) -> Submission {
    next(None, State::NotAuthorized, Some(why))
}

/// It is about to be submitted.
#[must_use]
pub fn intent(document: &Document) -> Submission {
    Submission {
        state: State::Submitting,
        task_id: Some(document.task_id.clone()),
        task_hash: Some(document.hash.clone()),
        ..Submission::default()
    }
}

/// The merge patch that records `next` in the PeonTask of this uid, where `current` stands, if it still has this version.
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

/// The overlord has another task of the id.
#[must_use]
pub fn id_conflict(current: Option<&Submission>) -> Submission {
    let message = "the overlord has another task of this id: create the PeonTask with another id";
    next(current, State::IdConflict, Some(message))
}

/// It is now so.
#[must_use]
pub fn next(current: Option<&Submission>, state: State, message: Option<&str>) -> Submission {
    Submission {
        state,
        message: message.map(|m| cut(m.trim(), LONGEST_MESSAGE)),
        ..current.cloned().unwrap_or_default()
    }
}

/// What the overlord has under the id of a submission.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Held {
    /// Nothing.
    Nothing,
    /// What was submitted for this PeonTask.
    Ours,
    /// Something else.
    Other,
}

impl Held {
    /// Reads the payload that the overlord has.
    #[must_use]
    pub fn of(payload: Option<&str>, ours: &Provenance) -> Self {
        match payload {
            None => Self::Nothing,
            Some(json) if Provenance::read(json, &ours.task_id).as_ref() == Some(ours) => Self::Ours,
            Some(_) => Self::Other,
        }
    }
}

/// What follows from what the overlord has; `refused` are its words, where it refused the task.
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

/// What is said while the overlord cannot be asked, or does not let us; `None` where that is said already.
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

/// What follows from the overlord's word on a task that is not assigned here; `None` where nothing is new.
#[must_use]
pub fn polled(current: &Submission, status: Option<&TaskStatus>) -> Option<Submission> {
    if !matches!(current.state, State::Submitted | State::RunsElsewhere) {
        return None;
    }
    let Some(status) = status else {
        let message = "the overlord does not know the task any more";
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

/// Whose an assignment is that says it was submitted for a PeonTask.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Owner {
    /// This PeonTask's.
    Ours,
    /// This PeonTask's, which was ended before.
    Ended(String),
    /// Not this PeonTask's.
    Other(&'static str),
}

impl Owner {
    /// Judges it by the PeonTask that it names.
    ///
    /// Everybody who may submit tasks to Druid may write any context, and who may create PeonTasks any labels. What counts
    /// is what was recorded in the status before the submit.
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
            return Self::Other("it is not what was submitted");
        }
        let is_over = submission.state.is_final() && submission.state != State::Assigned;
        if task.is_final() || task.spec.cancel || task.metadata.deletion_timestamp.is_some() || is_over {
            let reason = task.status.as_ref().and_then(|s| s.reason.as_deref());
            return Self::Ended(format!(
                "its PeonTask {} was ended before: {}",
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
