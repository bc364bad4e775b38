//! The entries of the registry: PeonTasks and tasks (pure).

use super::announcement::Progress;
use super::history_items::{HistoryItem, Target};
use super::identity::Ordinal;
use super::indexer_run::IndexerRun;
use super::view::{PodSeen, Seen};
use crate::api::names;
use crate::druid::worker::{TaskAnnouncement, TaskLocation, TaskState};

/// A PeonTask in the registry.
#[derive(Debug)]
pub(crate) struct Object {
    pub(crate) seen: Seen,
    /// The last location.
    pub(crate) last_location: Option<AttemptLocation>,
}

/// Where an attempt can be called.
#[derive(Debug)]
pub(crate) struct AttemptLocation {
    /// Number of the attempt.
    attempt: u32,
    /// Uid of the Indexer's pod; `None` for an attempt in its own pod.
    indexer: Option<String>,
    location: TaskLocation,
}

impl Object {
    pub(crate) fn attempt(&self) -> u32 {
        self.seen.state.as_ref().map_or(1, |s| s.attempt)
    }

    pub(crate) fn progress(&self) -> &Progress {
        self.seen
            .state
            .as_ref()
            .map_or(&Progress::Running, |s| &s.progress)
    }

    pub(crate) fn has_verdict(&self) -> bool {
        *self.progress() != Progress::Running
    }

    /// Whether the overlord no longer needs it.
    pub(crate) fn is_over(&self) -> bool {
        self.seen.forgotten && self.has_verdict()
    }

    pub(crate) fn location(&self) -> Option<&TaskLocation> {
        self.last_location.as_ref().map(|last| &last.location)
    }

    /// Name of the current attempt's pod.
    pub(crate) fn pod_name(&self) -> String {
        names::attempt(&self.seen.name, self.attempt())
    }

    /// The Indexer of the current attempt; `None` if that has a pod of its own.
    pub(crate) fn indexer(&self) -> Option<&IndexerRun> {
        self.seen.state.as_ref()?.indexer.as_ref()
    }

    /// Records the location of the current attempt, until the next one: that of its own pod once it was ready, or that of
    /// its Indexer once the task ran there. `pod` is the attempt's own.
    pub(crate) fn locate(&mut self, pod: Option<&PodSeen>) {
        let attempt = self.attempt();
        let run = self.indexer();
        let indexer = run.map(|run| run.pod_uid.clone());
        let location = match run {
            Some(run) => run.location.clone(),
            None => pod.and_then(|pod| pod.location.clone()),
        };
        let is_of_it = |last: &AttemptLocation| last.attempt == attempt && last.indexer == indexer;
        if !self.last_location.as_ref().is_some_and(is_of_it) {
            self.last_location = None;
        }
        if let Some(location) = location {
            self.last_location = Some(AttemptLocation {
                attempt,
                indexer,
                location,
            });
        }
    }

    pub(crate) fn target(&self) -> Target {
        Target {
            name: self.seen.name.clone(),
            uid: self.seen.uid.clone(),
            forgotten: self.seen.forgotten,
        }
    }
}

/// A task id in the registry.
#[derive(Debug)]
pub(crate) struct Task {
    pub(crate) identity: Ordinal,
    /// The PeonTask that counts for the id; `None` if there is none (any more).
    pub(crate) uid: Option<String>,
    /// Whether this process stored the task and its payload.
    pub(crate) kept: bool,
    pub(crate) said: Option<TaskAnnouncement>,
}

impl Task {
    pub(crate) fn has_ended(&self) -> bool {
        self.said.as_ref().is_some_and(|s| s.status != TaskState::Running)
    }

    pub(crate) fn say(&mut self, announcement: TaskAnnouncement, moves: &mut Vec<HistoryItem>) {
        if self.said.as_ref() != Some(&announcement) {
            self.said = Some(announcement.clone());
            moves.push(HistoryItem::Announce(self.identity, Box::new(announcement)));
        }
    }
}
