//! What follows from news of a task (data only).

use super::identity::Ordinal;
use crate::druid::worker::{TaskAnnouncement, TaskFacts};

/// What is to be said on the line of an identity.
#[derive(Debug, Clone, PartialEq)]
pub enum HistoryItem {
    /// This, of a task.
    Announce(Ordinal, Box<TaskAnnouncement>),
    /// That the task is forgotten.
    Remove(Ordinal, String),
    /// Nothing: a second PeonTask has the id of a task. It is left alone.
    Clash {
        /// The task.
        id: String,
        /// The PeonTask that does not count.
        name: String,
    },
}

/// A PeonTask that is to be written to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// Its name.
    pub name: String,
    /// Its uid.
    pub uid: String,
    /// Whether it says already that the overlord has forgotten it.
    pub forgotten: bool,
}

/// A PeonTask that seems to be gone, or that somebody took its marks from, while its task runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Suspect {
    /// The PeonTask.
    pub target: Target,
    /// The identity that its task was assigned to.
    pub identity: Ordinal,
    /// What the task says of itself.
    pub facts: TaskFacts,
    /// Which doubt it is: another one may come while this one is looked into.
    pub number: u64,
}

/// What an assignment finds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Before {
    /// Nothing that is sure: the task is to be kept.
    New,
    /// The task: it was kept before, or has ended.
    Taken,
    /// An order to end it.
    ShutDown,
}

/// What a shutdown finds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Order {
    /// Nothing is to be done: the task has ended, is about to, or is another identity's.
    Nothing,
    /// This PeonTask is to be cancelled.
    Cancel(Target),
    /// No such task. The order stands.
    Unknown,
}

/// Where the log of a task is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Log {
    /// Not here: the task is unknown, or has ended and its log is in the archive.
    Elsewhere,
    /// Nowhere yet.
    NotBegun,
    /// In the container of a pod.
    Pod {
        /// Name of the pod.
        pod: String,
        /// Name of the container.
        container: String,
    },
}
