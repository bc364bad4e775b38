//! The claim of an attempt on an Indexer, as the status records it (pure).
//!
//! The claim is a status write with the resource version of the task, so that two processes cannot both make it. It
//! names the uid of the Indexer's pod. No request that starts the task is sent without it, nor to another pod.

use crate::api::conditions::{self, STARTED};
use crate::api::{PeonTask, RunKind, TaskSlot};
use crate::indexer::decide::meaning::Claim;

/// The Indexer on which the current attempt of a task is claimed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct WorkerClaim {
    /// Name of the IndexerPool.
    pub pool: String,
    /// Name of the Indexer's pod.
    pub pod: String,
    /// Uid of that pod.
    pub pod_uid: String,
    /// The slot that the task has of it, if it runs several tasks.
    pub slot: Option<TaskSlot>,
    /// Whether it is recorded that the Indexer has announced the task.
    pub announced: bool,
    /// Whether a stop is recorded.
    pub stopped: bool,
}

impl WorkerClaim {
    /// The claim that the status of a task records; `None` if it records none, or one without a pod.
    #[must_use]
    pub fn recorded(task: &PeonTask) -> Option<Self> {
        let status = task.status.as_ref()?;
        let run = status.run.as_ref().filter(|run| run.kind == RunKind::Worker)?;
        let given = |text: &Option<String>| text.clone().filter(|text| !text.is_empty());
        Some(Self {
            pool: run.pool.clone().unwrap_or_default(),
            pod: given(&run.pod)?,
            pod_uid: given(&run.pod_uid)?,
            slot: run.slot,
            announced: conditions::is_true(&status.conditions, STARTED),
            stopped: status.stop.is_some(),
        })
    }

    /// The claim, for the task with this id.
    #[must_use]
    pub fn of<'a>(&'a self, task_id: &'a str) -> Claim<'a> {
        Claim {
            task_id,
            pod_uid: &self.pod_uid,
            announced: self.announced,
            stopped: self.stopped,
        }
    }
}
