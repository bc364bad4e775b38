//! An API server for random histories, as far as the virtual MiddleManager asks it.

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::jiff::Timestamp;
use serde_json::{Value, json};

use crate::middle_manager::object_fixtures::{task, view};
use crate::middle_manager::registry::announcement::Progress;
use crate::middle_manager::registry::history_items::Target;
use crate::middle_manager::registry::view::Seen;

pub(super) type List = (Vec<(String, Option<Seen>)>, Option<u64>);

/// The API server.
#[derive(Default)]
pub(super) struct Server {
    /// By task id: their names are made of it, so there is one at a time.
    pub(super) tasks: BTreeMap<usize, Value>,
    pub(super) version: u64,
    pub(super) uids: u64,
    /// What watches tell, with whether it is a deletion.
    pub(super) log: Vec<(bool, Seen)>,
    /// Versions at which PeonTasks of an id were deleted.
    pub(super) deleted: Vec<(usize, u64)>,
    /// Ids whose PeonTask nobody selects.
    pub(super) unlabelled: BTreeSet<usize>,
    /// Ids whose PeonTask nobody selected for a while: for longer than an order stands, perhaps.
    pub(super) relabelled: BTreeSet<usize>,
    /// Ids of which some PeonTask had a SUCCESS.
    pub(super) succeeded: BTreeSet<usize>,
}

pub(super) fn read(task: &Value) -> Seen {
    Seen::of(&view(task.clone())).unwrap()
}

pub(super) fn name(id: usize) -> String {
    format!("task-{id}")
}

impl Server {
    pub(super) fn create(&mut self, id: usize, now: Timestamp) -> Seen {
        if !self.tasks.contains_key(&id) {
            self.uids += 1;
            let mut new = task(&name(id), &format!("uid-{}", self.uids), 0, json!({}));
            new["metadata"]["creationTimestamp"] = json!(now);
            self.tasks.insert(id, new);
            self.change(id, |_| {});
        }
        read(&self.tasks[&id])
    }

    pub(super) fn change(&mut self, id: usize, change: impl FnOnce(&mut Value)) -> Option<Seen> {
        let task = self.tasks.get_mut(&id)?;
        change(task);
        self.version += 1;
        task["metadata"]["resourceVersion"] = json!(self.version.to_string());
        let seen = read(task);
        if !self.unlabelled.contains(&id) {
            self.log.push((false, seen.clone()));
        }
        Some(seen)
    }

    /// For who selects by it, it is as if it were deleted; what is told is what it was.
    pub(super) fn take_label(&mut self, id: usize) {
        if let Some(task) = self.tasks.get(&id)
            && self.unlabelled.insert(id)
        {
            self.log.push((true, read(task)));
            self.version += 1;
            self.relabelled.insert(id);
        }
    }

    pub(super) fn patch(&mut self, target: &Target, change: impl FnOnce(&mut Value)) -> Option<Seen> {
        let of = |task: &Value| task["metadata"]["uid"] == target.uid.as_str();
        let id = self.tasks.iter().find(|(_, t)| of(t)).map(|(id, _)| *id)?;
        self.change(id, change)
    }

    pub(super) fn delete(&mut self, id: usize) {
        if let Some(mut task) = self.tasks.remove(&id) {
            self.version += 1;
            task["metadata"]["resourceVersion"] = json!(self.version.to_string());
            if !self.unlabelled.remove(&id) {
                self.log.push((true, read(&task)));
            }
            self.deleted.push((id, self.version));
        }
    }

    pub(super) fn list(&self) -> List {
        let selected = self.tasks.iter().filter(|(id, _)| !self.unlabelled.contains(id));
        let seen = selected.map(|(_, task)| read(task));
        (
            seen.map(|s| (s.uid.clone(), Some(s))).collect(),
            Some(self.version),
        )
    }

    pub(super) fn has_verdict(&self, id: usize) -> bool {
        let task = self.tasks.get(&id).map(read);
        task.and_then(|t| t.state)
            .is_some_and(|s| s.progress != Progress::Running)
    }
}
