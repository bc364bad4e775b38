//! An API server for random histories, as far as the virtual MiddleManager asks it.

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::jiff::Timestamp;
use serde_json::{Value, json};

use crate::middle_manager::object_fixtures::{in_indexer, task, view};
use crate::middle_manager::registry::Registry;
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
    /// Where tasks ran in Indexers: the uid of the PeonTask and the number of the attempt.
    pub(super) locations: BTreeSet<String>,
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

    /// The current attempt is claimed on an Indexer, or runs there.
    pub(super) fn put_in_indexer(&mut self, id: usize, runs: bool) {
        if self.has_verdict(id) || !self.tasks.contains_key(&id) {
            return;
        }
        let seen = read(&self.tasks[&id]);
        let attempt = seen.state.map_or(1, |s| s.attempt);
        let host = format!("{}.{attempt}", seen.uid);
        let mut status = in_indexer(attempt, &format!("pod-of-{host}"), &host);
        if runs {
            self.locations.insert(host);
        } else {
            status["phase"] = json!("Starting");
        }
        self.change(id, |task| task["status"] = status);
    }

    /// The attempt ends and another one follows.
    pub(super) fn retry(&mut self, id: usize) {
        if !self.has_verdict(id) {
            self.change(id, |task| {
                let attempt = task["status"]["attempt"].as_u64().unwrap_or(1);
                task["status"] = json!({"phase": "Pending", "attempt": attempt + 1});
            });
        }
    }

    /// The task ends in its current attempt: its location is removed.
    pub(super) fn end(&mut self, id: usize, mut status: Value) {
        self.change(id, |task| {
            let last = &task["status"];
            status["attempt"] = json!(last["attempt"].as_u64().unwrap_or(1));
            status["run"] = last["run"].clone();
            if let Some(run) = status["run"].as_object_mut() {
                run.retain(|key, _| !matches!(key.as_str(), "host" | "port"));
            }
            task["status"] = status;
        });
    }

    pub(super) fn has_verdict(&self, id: usize) -> bool {
        let task = self.tasks.get(&id).map(read);
        task.and_then(|t| t.state)
            .is_some_and(|s| s.progress != Progress::Running)
    }
}

/// A task is announced where it runs, or ran in this attempt, and nowhere else.
pub(super) fn check_locations(known: &Registry, list: &List) {
    for seen in list.0.iter().filter_map(|(_, seen)| seen.as_ref()) {
        let is_current = known
            .objects
            .get(&seen.uid)
            .is_some_and(|o| o.seen.version == seen.version);
        let task = known.tasks.get(&seen.facts.id);
        let task = task.filter(|t| t.uid.as_ref() == Some(&seen.uid) && !t.has_ended());
        let (true, Some(said)) = (is_current, task.and_then(|t| t.said.as_ref())) else {
            continue;
        };
        let state = seen.state.as_ref().unwrap();
        let now = state.indexer.as_ref().and_then(|run| run.location.as_ref());
        let now = now.and_then(|location| location.host.as_ref());
        match (&said.task_location.host, now) {
            (Some(host), None) => {
                let of_attempt = format!("{}.{}", seen.uid, state.attempt);
                assert!(state.indexer.is_some() && *host == of_attempt, "{host}: {seen:?}");
            }
            (host, now) => assert_eq!(host.as_ref(), now, "{seen:?}"),
        }
    }
}
