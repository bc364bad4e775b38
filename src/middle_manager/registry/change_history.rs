//! What one identity has told its pollers, and what it has to tell each of them next (pure).
//!
//! As Druid's `ChangeRequestHistory`: changes are counted, and whoever polls says up to which change it knows. One hash
//! stands for the whole process, so that a counter of an earlier one is never taken for ours.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use crate::druid::worker::{Answer, Change, Counter, TaskAnnouncement, TaskState};

/// So many changes are remembered; whoever is further behind asks for everything.
pub const REMEMBERED: usize = 1024;

/// What to do with a poll.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reply {
    /// Answer it at once.
    Now(Answer),
    /// There is nothing to tell: hold it until there is.
    Hold,
}

/// A task and the number of the change that announced it as it is.
#[derive(Debug, Clone)]
struct Announced {
    at: i64,
    announcement: Arc<TaskAnnouncement>,
}

/// The announced tasks, whether tasks are taken, and the last changes of both.
#[derive(Debug)]
pub struct ChangeHistory {
    hash: i64,
    /// Number of the newest change; 0 for the state in which a process starts.
    newest: i64,
    /// The newest change that somebody has shown to know; -1 for none.
    confirmed: i64,
    disabled: bool,
    tasks: BTreeMap<String, Announced>,
    /// The last changes, the newest at the end.
    changes: VecDeque<Change>,
}

impl ChangeHistory {
    /// The history of a process that starts: no tasks, and tasks are taken. `hash` is one that no earlier process of
    /// this identity had.
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

    /// Says what there is to say of a task. True where that is news.
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

    /// Forgets a task. True where it was announced. To be called when [`Self::delivered`] says that its end is known:
    /// the overlord fails a task that it believes to run and that is gone.
    pub fn remove(&mut self, task_id: &str) -> bool {
        let known = self.tasks.remove(task_id).is_some();
        if known {
            self.add(Change::TaskRemoval {
                task_id: task_id.to_owned(),
            });
        }
        known
    }

    /// Says whether no tasks are taken. True where that is news.
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

    /// What whoever knows the changes up to `asked` is to be told; a negative counter knows nothing.
    ///
    /// That somebody asks from a change on is the proof that it was delivered, with all before it: by changes or by a
    /// complete state.
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

    /// What a poll is told that was held for long enough. Not Druid's 204: after a failure the overlord goes on to wait
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

    /// What was last announced of a task; `None` for one that was not, or that was removed.
    #[must_use]
    pub fn announced(&self, task_id: &str) -> Option<Arc<TaskAnnouncement>> {
        self.tasks.get(task_id).map(|task| task.announcement.clone())
    }

    /// Whether somebody knows what was last announced of a task; false for one that is not announced.
    ///
    /// Of two overlords that poll at the same time, it may be the one that no longer leads. Since each gets the changes
    /// in their order, neither sees a removal before the end; and whoever removes asks the leader first.
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

    /// The newest change that somebody knows, and with it all before it; -1 for none.
    #[must_use]
    pub fn confirmed(&self) -> i64 {
        self.confirmed
    }

    /// Whether no tasks are taken.
    #[must_use]
    pub fn disabled(&self) -> bool {
        self.disabled
    }

    /// The tasks that are announced as running.
    pub fn running(&self) -> impl Iterator<Item = &TaskAnnouncement> {
        let all = self.tasks.values().map(|task| &*task.announcement);
        all.filter(|task| task.status == TaskState::Running)
    }

    /// Slots that the running tasks take, as the overlord counts them.
    #[must_use]
    pub fn used(&self) -> u32 {
        self.running().fold(0, |sum: u32, task| {
            sum.saturating_add(task.task_resource.required_capacity)
        })
    }
}

/// A counter in the words of Druid, in whose log they end up.
fn plain(Counter { counter, hash }: Counter) -> String {
    format!("Counter{{counter={counter}, hash={hash}}}")
}

fn named(counter: Counter) -> String {
    format!("counter[{}]", plain(counter))
}

#[cfg(test)]
#[path = "change_history_tests.rs"]
mod tests;
