//! What is known of one Indexer from its answers, and how an answer changes it (pure).

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use k8s_openapi::jiff::Timestamp;

use super::answer::{MOST_ITEMS, Nonsense, Usable, check};
use crate::druid::worker::{Answer, Change, Counter, TaskAnnouncement, TaskState};

/// How many changes Druid's `ChangeRequestHistory` keeps: a poller that is further behind has to ask for everything,
/// though the JVM is the same.
pub const HISTORY: i64 = 1000;
/// Most tasks of an Indexer that are remembered; a pool replaces an Indexer long before.
pub const MOST_REMEMBERED: usize = 4096;

/// An Indexer that is polled.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Target {
    /// Uid of its pod. With `restartPolicy: Never` a pod has one JVM at most.
    pub pod_uid: String,
    /// Address of the pod.
    pub host: String,
    /// Port of the Indexer.
    pub port: u16,
    /// Whether the port speaks HTTPS.
    pub tls: bool,
}

/// What is known of one Indexer.
///
/// Readers may miss any number of versions in between, so a version has everything that ever mattered: the first end of
/// each task, that a task was announced and then missing, and that the JVM was replaced.
#[derive(Debug, Clone, PartialEq)]
pub struct View {
    target: Target,
    counter: Option<Counter>,
    /// The Indexer asked for a request for everything, for this cause.
    reset: Option<String>,
    replaced: Option<Replaced>,
    disabled: bool,
    tasks: BTreeMap<String, Task>,
    /// Tasks of the first JVM, once it was replaced.
    former: BTreeMap<String, Task>,
    gap: bool,
    silence: Option<Silence>,
    ran_again: Option<String>,
}

/// A task that the Indexer has announced.
#[derive(Debug, Clone, PartialEq)]
pub struct Task {
    /// Its last announcement; of an ended task the first that said so.
    pub announcement: Arc<TaskAnnouncement>,
    /// Whether the Indexer lists it now.
    pub listed: bool,
    /// Whether it was missing before its end was announced.
    pub lost: bool,
}

impl Task {
    /// Whether its end was announced. Later announcements change nothing, as at the overlord.
    #[must_use]
    pub fn ended(&self) -> bool {
        self.announcement.status != TaskState::Running
    }
}

/// Another JVM answers at the address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Replaced {
    /// The words of the JVM that answered, or ours.
    pub cause: String,
}

/// The Indexer gives no usable answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Silence {
    /// Since when.
    pub since: Timestamp,
    /// The last error.
    pub trouble: Trouble,
}

/// Why there is no usable answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Trouble {
    /// No answer.
    #[error("{0}")]
    Unreachable(String),
    /// An answer with another status than 200 or 204.
    #[error("it answers with {status}: {why}")]
    Refused {
        /// The status.
        status: u16,
        /// Druid's message.
        why: String,
    },
    /// An answer that is no answer of an Indexer, or contradicts earlier ones.
    #[error("it does not answer as an Indexer does: {0}")]
    Nonsense(String),
    /// A bug in the operator ended the poll.
    #[error("a bug in the operator ended the poll: {0}; please report it")]
    Panicked(String),
}

impl Trouble {
    /// Whether the user of the requests is not known to the Indexer, or lacks rights.
    #[must_use]
    pub fn is_refused(&self) -> bool {
        matches!(
            self,
            Self::Refused {
                status: 401 | 403,
                ..
            }
        )
    }
}

impl View {
    /// Nothing is known yet.
    #[must_use]
    pub fn new(target: Target) -> Self {
        Self {
            target,
            counter: None,
            reset: None,
            replaced: None,
            disabled: false,
            tasks: BTreeMap::new(),
            former: BTreeMap::new(),
            gap: false,
            silence: None,
            ran_again: None,
        }
    }

    /// The Indexer.
    #[must_use]
    pub fn target(&self) -> &Target {
        &self.target
    }

    /// Place in the history up to which it is known; `None` before the first full list.
    #[must_use]
    pub fn counter(&self) -> Option<Counter> {
        self.counter
    }

    /// What the next poll asks with; `None` asks for everything.
    #[must_use]
    pub fn asks(&self) -> Option<Counter> {
        self.counter.filter(|_| self.reset.is_none())
    }

    /// Whether a full list was read, and none is awaited after a reset.
    #[must_use]
    pub fn complete(&self) -> bool {
        self.asks().is_some()
    }

    /// Whether it announces that it takes no tasks.
    #[must_use]
    pub fn disabled(&self) -> bool {
        self.disabled
    }

    /// Set if another JVM answered at the address than the first.
    #[must_use]
    pub fn replaced(&self) -> Option<&Replaced> {
        self.replaced.as_ref()
    }

    /// Set while it gives no usable answer.
    #[must_use]
    pub fn silence(&self) -> Option<&Silence> {
        self.silence.as_ref()
    }

    /// Whether changes were missed, so that a task which is not listed may have been announced and forgotten.
    #[must_use]
    pub fn has_gap(&self) -> bool {
        self.gap
    }

    /// The first task that was announced as running after its end or after it was missing: an id was run again there.
    #[must_use]
    pub fn ran_again(&self) -> Option<&str> {
        self.ran_again.as_deref()
    }

    /// The tasks that it lists, and those that it listed before.
    pub fn tasks(&self) -> impl Iterator<Item = (&str, &Task)> {
        self.tasks.iter().map(|(id, task)| (id.as_str(), task))
    }

    /// A task that this JVM has announced.
    #[must_use]
    pub fn task(&self, id: &str) -> Option<&Task> {
        self.tasks.get(id)
    }

    /// A task that the first JVM announced, which was [replaced](Self::replaced) then.
    #[must_use]
    pub fn former_task(&self, id: &str) -> Option<&Task> {
        self.former.get(id)
    }

    /// Applies the answer to a poll that asked with `asked`. An answer to an older poll is dropped. Returns whether
    /// there is something new besides the place in the history.
    ///
    /// # Errors
    /// [`Nonsense`]: nothing was applied.
    pub fn answered(&mut self, asked: Option<Counter>, answer: &Answer) -> Result<bool, Nonsense> {
        if asked != self.asks() {
            return Ok(false);
        }
        let news = match check(asked, answer)? {
            Usable::Reset(cause) => {
                self.reset = Some(cause.to_owned());
                true
            }
            Usable::Full(counter, list) => {
                self.full(counter, list);
                true
            }
            Usable::Changes(counter, changes) => {
                let more = changes.iter().filter_map(updated);
                let more = more.filter(|id| !self.tasks.contains_key(*id)).count();
                let listed = self.tasks.values().filter(|task| task.listed).count();
                if listed + more > MOST_ITEMS {
                    return Err(Nonsense::TooMany(listed + more));
                }
                for change in changes {
                    self.change(change);
                }
                self.counter = Some(counter);
                !changes.is_empty()
            }
        };
        self.forget_most();
        Ok(self.silence.take().is_some() || news)
    }

    /// Nothing has changed until the poll's time limit. Returns whether that is news: it was silent before.
    pub fn nothing_new(&mut self) -> bool {
        self.silence.take().is_some()
    }

    /// There was no usable answer. Returns whether that is news.
    pub fn unanswered(&mut self, trouble: Trouble, now: Timestamp) -> bool {
        match &mut self.silence {
            Some(silence) => std::mem::replace(&mut silence.trouble, trouble.clone()) != trouble,
            none => {
                *none = Some(Silence { since: now, trouble });
                true
            }
        }
    }

    fn full(&mut self, counter: Counter, list: &[Change]) {
        if let (Some(known), Some(cause)) = (self.counter, self.reset.take()) {
            match History::of(known, counter) {
                History::Same => {}
                History::Behind => self.gap = true,
                History::Other => self.replace(cause),
            }
        }
        self.counter = Some(counter);
        let listed = |change: &&Change| matches!(change, Change::TaskUpdate { .. } | Change::Metadata { .. });
        let ids: BTreeSet<&str> = list.iter().filter_map(updated).collect();
        for (id, task) in &mut self.tasks {
            if !ids.contains(id.as_str()) {
                task.remove();
            }
        }
        for change in list.iter().filter(listed) {
            self.change(change);
        }
    }

    /// What the first JVM announced stays known, and its first end counts. Nothing is kept of the others: no claim is on
    /// them.
    fn replace(&mut self, cause: String) {
        let tasks = std::mem::take(&mut self.tasks);
        if self.replaced.is_none() {
            self.replaced = Some(Replaced { cause });
            self.former = tasks;
            for task in self.former.values_mut() {
                task.remove();
            }
        }
    }

    fn change(&mut self, change: &Change) {
        match change {
            Change::Metadata { disabled } => self.disabled = *disabled,
            Change::TaskRemoval { task_id } => {
                if let Some(task) = self.tasks.get_mut(task_id) {
                    task.remove();
                }
            }
            Change::TaskUpdate { task_announcement } => self.update(task_announcement),
        }
    }

    fn update(&mut self, announcement: &Arc<TaskAnnouncement>) {
        let Some(task) = self.tasks.get_mut(&announcement.id) else {
            let task = Task {
                announcement: announcement.clone(),
                listed: true,
                lost: false,
            };
            self.tasks.insert(announcement.id.clone(), task);
            return;
        };
        let runs = announcement.status == TaskState::Running;
        if runs && (task.ended() || task.lost) && self.ran_again.is_none() {
            self.ran_again = Some(announcement.id.clone());
        }
        task.listed = true;
        if !task.ended() {
            task.announcement = announcement.clone();
        }
    }

    /// Of more tasks than are remembered, those that ended and are not listed are forgotten.
    fn forget_most(&mut self) {
        for tasks in [&mut self.tasks, &mut self.former] {
            let all = tasks.len();
            if all > MOST_REMEMBERED {
                tasks.retain(|_, task| task.listed);
                self.gap |= tasks.len() < all;
            }
        }
    }
}

impl Task {
    fn remove(&mut self) {
        self.lost |= self.listed && !self.ended();
        self.listed = false;
    }
}

fn updated(change: &Change) -> Option<&str> {
    match change {
        Change::TaskUpdate { task_announcement } => Some(&task_announcement.id),
        Change::Metadata { .. } | Change::TaskRemoval { .. } => None,
    }
}

/// Whether a full list that followed a reset is of the JVM whose history was known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum History {
    /// The same place.
    Same,
    /// So far ahead that the same JVM had to reset, too: changes were missed.
    Behind,
    /// A JVM that had our place in its history would have answered with changes.
    Other,
}

impl History {
    fn of(known: Counter, now: Counter) -> Self {
        if now == known {
            return Self::Same;
        }
        // Hashes are times.
        if now.counter.saturating_sub(known.counter) >= HISTORY && now.hash >= known.hash {
            return Self::Behind;
        }
        Self::Other
    }
}

#[cfg(test)]
#[path = "view_tests.rs"]
mod tests;
