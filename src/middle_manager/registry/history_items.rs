//! Results of updates to the registry (data only).

use super::identity::Ordinal;
use crate::druid::worker::{TaskAnnouncement, TaskFacts};
use crate::logs::format::shared_log::TaskLines;

/// A change to send on the long poll of an identity.
#[derive(Debug, Clone, PartialEq)]
pub enum HistoryItem {
    /// This announcement of a task.
    Announce(Ordinal, Box<TaskAnnouncement>),
    /// The task is forgotten.
    Remove(Ordinal, String),
    /// No announcement: a second PeonTask has the id of a task. It is left alone.
    Clash {
        /// The task.
        id: String,
        /// The PeonTask that does not count.
        name: String,
    },
}

/// A PeonTask to write to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// Name of the PeonTask.
    pub name: String,
    /// Uid of the PeonTask.
    pub uid: String,
    /// Whether it is already marked as forgotten by the overlord.
    pub forgotten: bool,
}

/// A PeonTask that seems to be gone, or whose labels were removed, while its task runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Suspect {
    /// The PeonTask.
    pub target: Target,
    /// The identity that its task was assigned to.
    pub identity: Ordinal,
    /// Facts about the task.
    pub facts: TaskFacts,
    /// Number of the suspicion: another one may arise while this one is verified.
    pub number: u64,
}

/// State found by an assignment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Before {
    /// Nothing certain: store the task.
    New,
    /// The task: it was stored before, or has ended.
    Taken,
    /// An order to shut the task down.
    ShutDown,
}

/// State found by a shutdown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Order {
    /// Nothing to do: the task has ended, is ending, or belongs to another identity.
    Nothing,
    /// Cancel this PeonTask.
    Cancel(Target),
    /// No such task. The order remains in force.
    Unknown,
}

/// Where a task's log is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Log {
    /// Not here: the task is unknown, or has ended and its log is in the archive.
    Elsewhere,
    /// There is none yet.
    NotBegun,
    /// In the container of a pod.
    Pod {
        /// Name of the pod.
        pod: String,
        /// Name of the container.
        container: String,
        /// Which of its lines are the task's, if not all.
        lines: Option<Box<TaskLines>>,
    },
}
