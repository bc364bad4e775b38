//! The changes that one identity has sent to its pollers, and those to send to each of them next (pure).
//!
//! As Druid's `ChangeRequestHistory`: changes are numbered, and each poll names the last change that its sender knows.
//! One hash identifies the process, so that a counter of an earlier process is never mistaken for one of this process.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use crate::druid::worker::{Answer, Change, Counter, TaskAnnouncement, TaskState};

/// Number of changes remembered; pollers that are further behind request the complete state.
pub const REMEMBERED: usize = 1024;

/// How to answer a poll.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reply {
    /// Answer at once.
    Now(Answer),
    /// There is nothing new: hold the poll until there is.
    Hold,
}

/// A task, and the number of the change that last announced it.
#[derive(Debug, Clone)]
struct Announced {
    at: i64,
    announcement: Arc<TaskAnnouncement>,
}

/// The announced tasks, whether tasks are taken, and the last changes of both.
#[derive(Debug)]
pub struct ChangeHistory {
    hash: i64,
    /// Number of the newest change; 0 is the initial state of a process.
    newest: i64,
    /// The newest change that a poller has confirmed; -1 for none.
    confirmed: i64,
    disabled: bool,
    tasks: BTreeMap<String, Announced>,
    /// The last changes, oldest first.
    changes: VecDeque<Change>,
}

impl ChangeHistory {
    /// The history of a process that starts: no tasks, and tasks are accepted. `hash` must differ from those of all
    /// earlier processes of this identity.
    #[must_use]
    pub fn new(hash: i64) -> Self {
        Self {
            hash,
            newest: 0,
            confirmed: -1,
            disabled: false,
            tasks: BTreeMap::new(),
            changes: VecDeque::new(),
        }
    }

    /// Records the announcement of a task. True if it differs from the last one.
    pub fn announce(&mut self, announcement: TaskAnnouncement) -> bool {
        let known = self.tasks.get(&announcement.id);
        if known.is_some_and(|known| *known.announcement == announcement) {
            return false;
        }
        let announcement = Arc::new(announcement);
        let at = self.add(Change::TaskUpdate {
            task_announcement: announcement.clone(),
        });
        let id = announcement.id.clone();
        self.tasks.insert(id, Announced { at, announcement });
        true
    }

    /// Removes a task. True if it was announced. Call it only when [`Self::delivered`] says that its end is known: the
    /// overlord fails a task that it believes to run and that is gone.
    pub fn remove(&mut self, task_id: &str) -> bool {
        let known = self.tasks.remove(task_id).is_some();
        if known {
            self.add(Change::TaskRemoval {
                task_id: task_id.to_owned(),
            });
        }
        known
    }

    /// Records whether the identity is disabled. True if that changed.
    pub fn disable(&mut self, disabled: bool) -> bool {
        let news = self.disabled != disabled;
        if news {
            self.disabled = disabled;
            self.add(Change::Metadata { disabled });
        }
        news
    }

    fn add(&mut self, change: Change) -> i64 {
        if self.changes.len() == REMEMBERED {
            self.changes.pop_front();
        }
        self.changes.push_back(change);
        self.newest += 1;
        self.newest
    }

    /// The answer to a poller that knows the changes up to `asked`; a negative counter knows nothing.
    ///
    /// A poll from a change on proves that this change and all earlier ones were delivered, as changes or as a complete
    /// state.
    pub fn answer(&mut self, asked: Counter) -> Reply {
        if asked.counter < 0 {
            return Reply::Now(self.everything());
        }
        if asked.counter > self.newest {
            return Reply::Now(Answer::reset(format!(
                "{} > last {}",
                named(asked),
                named(self.counter())
            )));
        }
        if asked.hash != self.hash {
            return Reply::Now(Answer::reset(format!(
                "{} failed to match with [{}]",
                named(asked),
                plain(self.counter())
            )));
        }
        self.confirmed = self.confirmed.max(asked.counter);
        let behind = usize::try_from(self.newest - asked.counter).unwrap_or(usize::MAX);
        let Some(known) = self.changes.len().checked_sub(behind) else {
            return Reply::Now(Answer::reset(format!(
                "can't serve request, not enough history is kept. given {} and current last {}",
                named(asked),
                named(self.counter())
            )));
        };
        if behind == 0 {
            return Reply::Hold;
        }
        let changes = self.changes.range(known..).cloned().collect();
        Reply::Now(Answer::changes(self.counter(), changes))
    }

    fn everything(&self) -> Answer {
        let metadata = Change::Metadata {
            disabled: self.disabled,
        };
        let tasks = self.tasks.values().map(|task| Change::TaskUpdate {
            task_announcement: task.announcement.clone(),
        });
        Answer::changes(self.counter(), std::iter::once(metadata).chain(tasks).collect())
    }

    /// The answer to a poll that was held long enough. Not Druid's 204: after a failure the overlord keeps its delay
    /// between polls until an answer has a body.
    #[must_use]
    pub fn nothing_new(&self) -> Answer {
        Answer::changes(self.counter(), Vec::new())
    }

    fn counter(&self) -> Counter {
        Counter {
            counter: self.newest,
            hash: self.hash,
        }
    }

    /// The last announcement of a task; `None` if it was not announced, or was removed.
    #[must_use]
    pub fn announced(&self, task_id: &str) -> Option<Arc<TaskAnnouncement>> {
        self.tasks.get(task_id).map(|task| task.announcement.clone())
    }

    /// Whether a poller knows the last announcement of a task; false if the task is not announced.
    ///
    /// If two overlords poll at the same time, it may be the one that no longer leads. Since each gets the changes in
    /// their order, neither sees a removal before the end; and the leader is asked before a removal.
    #[must_use]
    pub fn delivered(&self, task_id: &str) -> bool {
        self.tasks
            .get(task_id)
            .is_some_and(|task| task.at <= self.confirmed)
    }

    /// The newest change.
    #[must_use]
    pub fn newest(&self) -> i64 {
        self.newest
    }

    /// The newest change that a poller has confirmed, and with it all earlier ones; -1 for none.
    #[must_use]
    pub fn confirmed(&self) -> i64 {
        self.confirmed
    }

    /// Whether the identity is disabled.
    #[must_use]
    pub fn disabled(&self) -> bool {
        self.disabled
    }

    /// The tasks that are announced as running.
    pub fn running(&self) -> impl Iterator<Item = &TaskAnnouncement> {
        let all = self.tasks.values().map(|task| &*task.announcement);
        all.filter(|task| task.status == TaskState::Running)
    }

    /// Slots used by the running tasks, as the overlord counts them.
    #[must_use]
    pub fn used(&self) -> u32 {
        self.running().fold(0, |sum: u32, task| {
            sum.saturating_add(task.task_resource.required_capacity)
        })
    }
}

/// A counter in Druid's format, which appears in Druid's log.
fn plain(Counter { counter, hash }: Counter) -> String {
    format!("Counter{{counter={counter}, hash={hash}}}")
}

fn named(counter: Counter) -> String {
    format!("counter[{}]", plain(counter))
}

#[cfg(test)]
#[path = "change_history_tests.rs"]
mod tests;
