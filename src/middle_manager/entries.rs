//! The entries of the book [`known`](super::known): PeonTasks and tasks (pure).

use super::announcement::Progress;
use super::backend::Ordinal;
use super::moves::{Move, Target};
use super::view::{PodSeen, Seen};
use crate::api::names;
use crate::druid::worker::{TaskAnnouncement, TaskLocation, TaskState};

/// A PeonTask.
#[derive(Debug)]
pub(super) struct Object {
    pub(super) seen: Seen,
    /// The attempt whose pod was ready last, and where it is.
    pub(super) place: Option<(u32, TaskLocation)>,
}

impl Object {
    pub(super) fn attempt(&self) -> u32 {
        self.seen.state.as_ref().map_or(1, |s| s.attempt)
    }

    pub(super) fn progress(&self) -> &Progress {
        self.seen
            .state
            .as_ref()
            .map_or(&Progress::Running, |s| &s.progress)
    }

    pub(super) fn has_verdict(&self) -> bool {
        *self.progress() != Progress::Running
    }

    /// The overlord wants nothing of it any more.
    pub(super) fn is_over(&self) -> bool {
        self.seen.forgotten && self.has_verdict()
    }

    pub(super) fn location(&self) -> Option<&TaskLocation> {
        self.place.as_ref().map(|(_, location)| location)
    }

    /// Name of the current attempt's pod.
    pub(super) fn pod_name(&self) -> String {
        names::attempt(&self.seen.name, self.attempt())
    }

    /// Takes the place of that pod once it was ready, and keeps it until the next attempt.
    pub(super) fn locate(&mut self, pod: Option<&PodSeen>) {
        let attempt = self.attempt();
        if self.place.as_ref().is_some_and(|(of, _)| *of != attempt) {
            self.place = None;
        }
        if let Some(location) = pod.and_then(|p| p.location.clone()) {
            self.place = Some((attempt, location));
        }
    }

    pub(super) fn target(&self) -> Target {
        Target {
            name: self.seen.name.clone(),
            uid: self.seen.uid.clone(),
            forgotten: self.seen.forgotten,
        }
    }
}

/// A task id.
#[derive(Debug)]
pub(super) struct Task {
    pub(super) identity: Ordinal,
    /// The PeonTask that counts; `None` where there is none (any more).
    pub(super) uid: Option<String>,
    /// Whether this process saw to it that the task and its payload are kept.
    pub(super) kept: bool,
    pub(super) said: Option<TaskAnnouncement>,
}

impl Task {
    pub(super) fn has_ended(&self) -> bool {
        self.said.as_ref().is_some_and(|s| s.status != TaskState::Running)
    }

    pub(super) fn say(&mut self, announcement: TaskAnnouncement, moves: &mut Vec<Move>) {
        if self.said.as_ref() != Some(&announcement) {
            self.said = Some(announcement.clone());
            moves.push(Move::Announce(self.identity, Box::new(announcement)));
        }
    }
}
