//! Subtasks that have no verdict yet, by the task that supervises them (pure).
//!
//! A parallel task publishes what its subtasks report to it, and takes a report by the id of the task alone (Druid's
//! `TaskMonitor`). A second run of it under the same id would publish what subtasks of the first one report, too: so it
//! begins when these have ended.

use std::collections::{HashMap, HashSet};

use kube::ResourceExt;
use parking_lot::Mutex;

use super::slots::Who;
use crate::api::PeonTask;

/// The index.
#[derive(Debug, Default)]
pub struct LiveSubtasks(Mutex<Inner>);

/// Namespace, and id of the supervising task.
type Key = (String, String);

#[derive(Debug, Default)]
struct Inner {
    families: HashMap<Key, Family>,
    /// The supervising task, by uid of the subtask.
    of_subtasks: HashMap<String, Key>,
    /// What a task waits for, by its uid.
    of_waiting: HashMap<String, Key>,
}

#[derive(Debug, Default)]
struct Family {
    /// Uids of subtasks without a verdict.
    alive: HashSet<String>,
    /// Tasks that wait until there is none, by uid.
    waiting: HashMap<String, Who>,
}

impl LiveSubtasks {
    /// How many subtasks of this task have no verdict. If there are any, the task is among those that
    /// are woken when there are none.
    #[must_use]
    pub fn wait(&self, supervisor: &str, task: &Who, uid: &str) -> usize {
        let mut inner = self.0.lock();
        inner.leave(uid);
        let key = (task.0.clone(), supervisor.to_owned());
        let Some(family) = inner
            .families
            .get_mut(&key)
            .filter(|family| !family.alive.is_empty())
        else {
            return 0;
        };
        family.waiting.insert(uid.to_owned(), task.clone());
        let alive = family.alive.len();
        inner.of_waiting.insert(uid.to_owned(), key);
        alive
    }

    /// Records the state of a task. Returns the tasks that may continue because of it.
    pub(super) fn observe(&self, task: &PeonTask) -> Vec<Who> {
        let (Some(uid), Some(namespace), Some(status)) = (task.uid(), task.namespace(), &task.status) else {
            return Vec::new();
        };
        let Some(supervisor) = &status.supervisor_task_id else {
            return Vec::new();
        };
        let mut inner = self.0.lock();
        if task.is_final() {
            return inner.end(&uid);
        }
        let key = (namespace, supervisor.clone());
        inner
            .families
            .entry(key.clone())
            .or_default()
            .alive
            .insert(uid.clone());
        inner.of_subtasks.insert(uid, key);
        Vec::new()
    }

    /// A task is gone. Returns the tasks that may continue because of it.
    pub(super) fn gone(&self, uid: &str) -> Vec<Who> {
        let mut inner = self.0.lock();
        inner.leave(uid);
        inner.end(uid)
    }

    /// The subtasks without a verdict, and the tasks that wait for them.
    pub(super) fn uids(&self) -> Vec<String> {
        let inner = self.0.lock();
        inner
            .of_subtasks
            .keys()
            .chain(inner.of_waiting.keys())
            .cloned()
            .collect()
    }
}

impl Inner {
    fn end(&mut self, uid: &str) -> Vec<Who> {
        let Some(key) = self.of_subtasks.remove(uid) else {
            return Vec::new();
        };
        let Some(family) = self.families.get_mut(&key) else {
            return Vec::new();
        };
        family.alive.remove(uid);
        if !family.alive.is_empty() {
            return Vec::new();
        }
        let family = self.families.remove(&key).unwrap_or_default();
        for uid in family.waiting.keys() {
            self.of_waiting.remove(uid);
        }
        family.waiting.into_values().collect()
    }

    fn leave(&mut self, task_uid: &str) {
        let key = self.of_waiting.remove(task_uid);
        if let Some(family) = key.and_then(|key| self.families.get_mut(&key)) {
            family.waiting.remove(task_uid);
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::task::fixtures::noop;

    fn subtask(uid: &str, phase: &str) -> PeonTask {
        let mut task = noop();
        task.metadata.uid = Some(uid.into());
        let mut status = json!({"phase": phase, "supervisorTaskId": "parent"});
        if phase == "Failed" {
            status["conditions"] = json!([{
                "type": "Failed", "status": "True", "reason": "TaskFailed", "message": "",
                "lastTransitionTime": "2026-01-01T00:00:00Z",
            }]);
        }
        task.status = Some(serde_json::from_value(status).unwrap());
        task
    }

    fn who() -> Who {
        ("ns".into(), "parent".into())
    }

    #[test]
    fn a_parent_waits_for_the_last_of_its_subtasks() {
        let index = LiveSubtasks::default();
        assert_eq!(index.wait("parent", &who(), "p"), 0);
        index.observe(&subtask("a", "Running"));
        index.observe(&subtask("b", "Pending"));
        assert_eq!(index.wait("other", &who(), "p"), 0);
        assert_eq!(index.wait("parent", &who(), "p"), 2);
        assert_eq!(index.observe(&subtask("a", "Failed")), []);
        assert_eq!(index.gone("b"), [who()]);
        assert_eq!(index.wait("parent", &who(), "p"), 0);
        assert_eq!(index.uids(), Vec::<String>::new());
    }

    #[test]
    fn nothing_leaks() {
        let index = LiveSubtasks::default();
        index.observe(&subtask("a", "Running"));
        index.observe(&subtask("a", "Running"));
        assert_eq!(index.wait("parent", &who(), "p"), 1);
        assert_eq!(index.gone("p"), []);
        assert_eq!(index.gone("a"), []);
        let inner = index.0.lock();
        assert!(inner.families.is_empty() && inner.of_subtasks.is_empty() && inner.of_waiting.is_empty());
    }
}
