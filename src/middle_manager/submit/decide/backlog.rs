//! The PeonTasks of users that are not assigned yet, and when work is due for each (pure).

use std::collections::{HashMap, HashSet};
use std::time::{Duration, Instant};

use super::applied::Applied;
use super::submission::{self, Policy, Step};
use crate::api::SubmissionState;

/// Delay between two tries for one PeonTask: first and longest.
const PAUSES: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(60));
/// Failures beyond this number do not lengthen the delay.
const MOST_FAILURES: u32 = 6;
/// How often ending a task is tried whose PeonTask is gone: for about three hours.
const MOST_TRIES: u32 = 200;

/// Work that is due for a PeonTask.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Due {
    /// Decide on this PeonTask.
    Step(Step),
    /// It was assigned or deleted: read which.
    Verify,
}

/// The PeonTasks of users that are not assigned yet.
#[derive(Debug, Default)]
pub struct Backlog {
    /// By uid.
    entries: HashMap<String, Entry>,
    /// Uids of a watch's initial list, while it is received.
    listing: Option<HashSet<String>>,
}

#[derive(Debug)]
struct Entry {
    applied: Applied,
    presence: Presence,
    failures: u32,
    not_before: Option<Instant>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Presence {
    There,
    /// The watch no longer has it: it has an identity, or is deleted.
    Unseen,
    Deleted,
}

impl Backlog {
    /// A PeonTask was seen.
    pub fn see(&mut self, applied: Applied) {
        if let Some(listing) = &mut self.listing {
            listing.insert(applied.uid.clone());
        }
        match self.entries.get_mut(&applied.uid) {
            Some(entry) if entry.presence == Presence::Deleted || !applied.is_newer(&entry.applied) => {}
            Some(entry) => {
                // A change makes it due at once, unless it is our own record of a failure.
                if entry.applied.submission == applied.submission {
                    entry.not_before = None;
                }
                entry.presence = Presence::There;
                entry.applied = applied;
            }
            None => {
                let entry = Entry {
                    presence: Presence::There,
                    failures: 0,
                    not_before: None,
                    applied,
                };
                self.entries.insert(entry.applied.uid.clone(), entry);
            }
        }
    }

    /// The watch no longer has a PeonTask.
    pub fn unsee(&mut self, uid: &str) {
        if let Some(entry) = self
            .entries
            .get_mut(uid)
            .filter(|e| e.presence == Presence::There)
        {
            entry.presence = Presence::Unseen;
            entry.not_before = None;
        }
    }

    /// The watch begins with a list.
    pub fn list_begins(&mut self) {
        self.listing = Some(HashSet::new());
    }

    /// That list is complete.
    pub fn list_ends(&mut self) {
        let listing = self.listing.take().unwrap_or_default();
        let missing: Vec<String> = self
            .entries
            .keys()
            .filter(|uid| !listing.contains(*uid))
            .cloned()
            .collect();
        for uid in missing {
            self.unsee(&uid);
        }
    }

    /// A PeonTask is assigned, or no longer ours: it is removed.
    pub fn forget(&mut self, uid: &str) {
        self.entries.remove(uid);
    }

    /// A PeonTask is deleted. The task that the overlord may have of it has to be ended.
    pub fn deleted(&mut self, uid: &str) {
        if let Some(entry) = self.entries.get_mut(uid) {
            entry.presence = Presence::Deleted;
            entry.applied.ends = true;
            (entry.failures, entry.not_before) = (0, None);
        }
    }

    /// Records the answer to our write of a PeonTask. It does not prove that the PeonTask still exists: the answer may
    /// have taken longer than the watch.
    pub fn written(&mut self, applied: Applied) {
        if let Some(entry) = self
            .entries
            .get_mut(&applied.uid)
            .filter(|e| e.presence != Presence::Deleted && applied.is_newer(&e.applied))
        {
            entry.applied = applied;
        }
    }

    /// Work that is due, with uids. PeonTasks with the fewest failures come first; among these, tasks to end whose
    /// PeonTask was deleted, then the oldest: those that fail all the time take no place that another one needs. Busy
    /// ones are left out, and remain in the backlog.
    pub fn due(
        &mut self,
        now: Instant,
        policy: &Policy,
        is_taken: impl Fn(&str) -> bool,
        is_busy: impl Fn(&str) -> bool,
    ) -> Vec<(Applied, Due)> {
        let due = |entry: &Entry| {
            let applied = &entry.applied;
            if entry.not_before.is_some_and(|then| then > now) {
                return None;
            }
            if entry.presence == Presence::Unseen {
                return Some(Due::Verify);
            }
            let is_taken = applied.task_id.as_deref().is_some_and(&is_taken);
            match submission::step(applied, policy, is_taken) {
                Step::Rest => None,
                step => Some(Due::Step(step)),
            }
        };
        let is_over = |entry: &Entry| {
            let rests = submission::step(&entry.applied, policy, false) != Step::End;
            entry.presence == Presence::Deleted && (rests || entry.failures > MOST_TRIES)
        };
        self.entries.retain(|uid, entry| is_busy(uid) || !is_over(entry));
        let mut all: Vec<((u32, bool), Applied, Due)> = self
            .entries
            .values()
            .filter(|e| !is_busy(&e.applied.uid))
            .filter_map(|e| {
                let rank = (e.failures.min(MOST_FAILURES), e.presence == Presence::There);
                Some((rank, e.applied.clone(), due(e)?))
            })
            .collect();
        all.sort_by(|(one, a, _), (other, b, _)| (one, a.created, &a.uid).cmp(&(other, b.created, &b.uid)));
        all.into_iter().map(|(_, applied, due)| (applied, due)).collect()
    }

    /// The work for a PeonTask is done.
    pub fn done(&mut self, uid: &str) {
        if let Some(entry) = self.entries.get_mut(uid) {
            (entry.failures, entry.not_before) = (0, None);
        }
    }

    /// The work failed: it is retried after a delay that grows each time.
    pub fn failed(&mut self, uid: &str, now: Instant) {
        if let Some(entry) = self.entries.get_mut(uid) {
            let (first, most) = PAUSES;
            let pause = first
                .saturating_mul(1 << entry.failures.min(MOST_FAILURES))
                .min(most);
            entry.failures = entry.failures.saturating_add(1);
            entry.not_before = now.checked_add(pause);
        }
    }

    /// Whether a PeonTask is known to be deleted.
    #[must_use]
    pub fn is_deleted(&self, uid: &str) -> bool {
        let entry = self.entries.get(uid);
        entry.is_some_and(|e| e.presence == Presence::Deleted)
    }

    /// The PeonTask with this uid.
    #[must_use]
    pub fn get(&self, uid: &str) -> Option<&Applied> {
        self.entries.get(uid).map(|e| &e.applied)
    }

    /// Uid and id of the tasks that the overlord is asked about.
    #[must_use]
    pub fn asked(&self) -> Vec<(String, String)> {
        let asked = |e: &Entry| {
            let submission = e.applied.submission.as_ref().filter(|s| {
                matches!(
                    s.state,
                    SubmissionState::Submitted | SubmissionState::RunsElsewhere
                )
            })?;
            let id = submission.task_id.clone()?;
            Some((e.applied.uid.clone(), id))
        };
        let there = self.entries.values().filter(|e| e.presence == Presence::There);
        there.filter_map(asked).collect()
    }
}

#[cfg(test)]
#[path = "backlog_tests.rs"]
mod tests;
