//! The entries of the registry: PeonTasks and tasks (pure).

use super::announcement::Progress;
use super::history_items::{HistoryItem, Target};
use super::identity::Ordinal;
use super::view::{PodSeen, Seen};
use crate::api::names;
use crate::druid::worker::{TaskAnnouncement, TaskLocation, TaskState};

/// A PeonTask in the registry.
#[derive(Debug)]
pub(crate) struct Object {
    pub(crate) seen: Seen,
    /// The last attempt whose pod was ready, and its location.
    pub(crate) place: Option<(u32, TaskLocation)>,
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
        self.place.as_ref().map(|(_, location)| location)
    }

    /// Name of the current attempt's pod.
    pub(crate) fn pod_name(&self) -> String {
        names::attempt(&self.seen.name, self.attempt())
    }

    /// Records the location of that pod once it was ready, until the next attempt.
    pub(crate) fn locate(&mut self, pod: Option<&PodSeen>) {
        let attempt = self.attempt();
        if self.place.as_ref().is_some_and(|(of, _)| *of != attempt) {
            self.place = None;
        }
        if let Some(location) = pod.and_then(|p| p.location.clone()) {
            self.place = Some((attempt, location));
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
