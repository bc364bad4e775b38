//! PeonTasks of a VirtualMiddleManager that users created: the fields read before they are assigned (pure).

use k8s_openapi::jiff::Timestamp;
use kube::ResourceExt;

use crate::api::conditions::{COMPLETE, FAILED, is_true};
use crate::api::{LABEL_IDENTITY, Submission};
use crate::apiserver::classify::decode::Guarded;
use crate::middle_manager::registry::view::TaskView;

/// A PeonTask that no overlord has assigned yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Applied {
    /// Name of the PeonTask.
    pub name: String,
    /// Uid of the PeonTask.
    pub uid: String,
    /// Resource version of the PeonTask, as text.
    pub version: String,
    /// When the PeonTask was created.
    pub created: Option<Timestamp>,
    /// Whether it is suspended.
    pub suspend: bool,
    /// Whether it is cancelled or deleted, or has ended.
    pub ends: bool,
    /// Id of its task, if the operator has read it.
    pub task_id: Option<String>,
    /// Type of its task, if the operator has read it.
    pub task_type: Option<String>,
    /// Its submission, as recorded.
    pub submission: Option<Submission>,
}

impl Applied {
    /// Reads a PeonTask; `None` for one that an overlord assigned, or that cannot be read.
    #[must_use]
    pub fn of(task: &TaskView) -> Option<Self> {
        if task.labels().contains_key(LABEL_IDENTITY) {
            return None;
        }
        let status = task.status.as_ref();
        let is_final =
            status.is_some_and(|s| is_true(&s.conditions, COMPLETE) || is_true(&s.conditions, FAILED));
        Some(Self {
            name: task.metadata.name.clone()?,
            uid: task.metadata.uid.clone()?,
            version: task.metadata.resource_version.clone()?,
            created: task.metadata.creation_timestamp.as_ref().map(|t| t.0),
            suspend: task.spec.suspend,
            ends: task.spec.cancel || is_final || task.metadata.deletion_timestamp.is_some(),
            task_id: status.and_then(|s| s.task_id.clone()),
            task_type: status.and_then(|s| s.task_type.clone()),
            submission: status.and_then(|s| s.submission.clone()),
        })
    }

    /// Reads a PeonTask from a watch.
    #[must_use]
    pub fn guarded(task: &Guarded<TaskView>) -> Option<Self> {
        task.0.as_ref().ok().and_then(Self::of)
    }

    /// Whether this version is newer than `that`.
    #[must_use]
    pub fn is_newer(&self, that: &Self) -> bool {
        let [ours, theirs] = [&self.version, &that.version].map(|v| v.parse::<u64>().ok());
        match (ours, theirs) {
            (Some(ours), Some(theirs)) => ours > theirs,
            _ => self.version != that.version,
        }
    }
}
