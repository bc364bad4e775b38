//! Whether an assignment belongs to the PeonTask that it names, and what is recorded about it (pure).

use kube::ResourceExt;
use sha2::{Digest, Sha256};

use super::not_now::{NotNow, Unread};
use super::provenance::{Document, Provenance};
use crate::api::virtual_middle_manager::PayloadPlace;
use crate::api::{PeonTask, Submission, SubmissionState};
use crate::digest::hex;
use crate::middle_manager::registry::DELETED;
use crate::middle_manager::registry::identity::Ordinal;
use crate::middle_manager::submit::decide::submission::{self, Owner};
use crate::payload::chunks::{Chunks, Kind, TooLarge};

/// What to do about the PeonTask that an assignment names.
#[derive(Debug, Clone, PartialEq)]
pub enum Match {
    /// Nothing: the task was ended before, for this reason.
    Ended(String),
    /// The assignment does not belong to the PeonTask, for this reason.
    Refuse(Box<PeonTask>, String),
    /// The assignment was recorded before, with this identity: only labels and annotations remain to be written.
    Label(Box<PeonTask>, Ordinal),
    /// Compare the PeonTask's task with the assigned one.
    Compare(Box<PeonTask>),
}

impl Match {
    /// Decides for the PeonTask as it is now; `task` is `None` if it is gone.
    #[must_use]
    pub fn of(task: Option<PeonTask>, middle_manager: &str, said: &Provenance, assigned: Ordinal) -> Self {
        let Some(task) = task.map(Box::new) else {
            return Self::Ended(DELETED.to_owned());
        };
        match Owner::of(&task, middle_manager, said) {
            Owner::Ended(why) => Self::Ended(why),
            Owner::Other(why) => Self::Refuse(task, why.to_owned()),
            Owner::Ours => {
                let recorded = task.submission().filter(|s| s.state == SubmissionState::Assigned);
                match recorded.map(|s| s.identity.map_or(assigned, Ordinal)) {
                    Some(identity) => Self::Label(task, identity),
                    None => Self::Compare(task),
                }
            }
        }
    }
}

/// How the assigned task differs from the user's task; `None` if it does not.
///
/// # Errors
/// When the user's cannot be read for now.
pub fn difference(
    wanted: Result<Document, Unread>,
    said: &Provenance,
    json: &str,
) -> Result<Option<String>, NotNow> {
    match wanted {
        Ok(document) if document.hash == said.task_hash => Ok(document.is_kept_in(json).err()),
        Ok(_) => Ok(Some("the payload of its PeonTask has changed since".to_owned())),
        Err(Unread::Unavailable(why)) => Err(NotNow(why)),
        Err(gone @ (Unread::Deficient(_) | Unread::Forbidden(_) | Unread::Unfit(_))) => {
            Ok(Some(gone.to_string()))
        }
    }
}

/// The record for a PeonTask whose id another task has; `None` if nothing is recorded.
#[must_use]
pub fn refused(task: &PeonTask, task_id: &str) -> Option<Submission> {
    let submission = task.submission()?;
    let is_open = !submission.state.is_final() && !task.is_final();
    (is_open && submission.task_id.as_deref() == Some(task_id))
        .then(|| submission::id_conflict(Some(submission)))
}

/// What is stored and recorded for an assignment that belongs to its PeonTask.
#[derive(Debug, Clone)]
pub struct Assignment {
    /// Name of the chunks.
    pub name: String,
    /// The assigned task.
    pub chunks: Chunks,
    /// Kind of objects that store it.
    pub kind: Kind,
    /// The record.
    pub submission: Submission,
}

impl Assignment {
    /// The assignment of this task to this identity.
    ///
    /// # Errors
    /// When the task is larger than any may be.
    pub fn of(task: &PeonTask, json: &str, place: PayloadPlace, identity: Ordinal) -> Result<Self, TooLarge> {
        let chunks = Chunks::split(json.as_bytes())?;
        let kind = match place {
            PayloadPlace::Secret => Kind::Secret,
            PayloadPlace::Inline => Kind::ConfigMap,
        };
        let name = chunk_name(task, json);
        let submission = Submission {
            state: SubmissionState::Assigned,
            message: None,
            identity: Some(identity.0),
            assigned: Some(chunks.task_from(&name, kind)),
            ..task.submission().cloned().unwrap_or_default()
        };
        Ok(Self {
            name,
            chunks,
            kind,
            submission,
        })
    }
}

/// The same name for the same task, and another one for every other task: chunks are never changed.
fn chunk_name(task: &PeonTask, json: &str) -> String {
    let hash = hex(&Sha256::digest(json.as_bytes()));
    format!("{}.{}", task.uid().unwrap_or_default(), &hash[..8])
}

#[cfg(test)]
#[path = "matching_tests.rs"]
mod tests;
