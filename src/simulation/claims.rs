//! Which attempt has which place, and the invariants of places: one decision an attempt, one claim an Indexer, nothing
//! posted or created before it was decided.

use std::collections::{BTreeMap, BTreeSet};

use super::indexers::pod_of;
use super::model_api::{Kind, Request};
use super::process::TASK;
use super::world::World;
use crate::api::conditions::{STARTED, is_true};
use crate::api::{PeonTask, RunKind, RunStatus};

/// What was ever decided.
#[derive(Default)]
pub struct Claims {
    /// Attempt, and the process that wrote it, by uid of the Indexer's pod; 0 stands for another task.
    indexers: BTreeMap<String, (u32, Option<u32>)>,
    /// Attempts for a pod of their own.
    pods: BTreeSet<u32>,
}

impl Claims {
    /// Whether the task ever claimed the Indexer in this pod.
    pub fn has(&self, pod_uid: &str) -> bool {
        self.indexers
            .get(pod_uid)
            .is_some_and(|(attempt, _)| *attempt > 0)
    }
}

fn run_of(task: &PeonTask) -> Option<RunStatus> {
    task.status.as_ref().and_then(|s| s.run.clone())
}

impl World {
    /// The Indexer that the task claims now; none once it has its verdict.
    pub fn claimed(&self) -> Option<String> {
        let status = &self.api.get(Kind::Task, TASK)?["status"];
        let over = matches!(status["phase"].as_str(), Some("Succeeded" | "Failed"));
        let run = Some(&status["run"]).filter(|run| run["kind"] == "Worker" && !over)?;
        run["podUID"].as_str().map(str::to_owned)
    }

    pub fn stop_is_recorded(&self) -> bool {
        let task = self.api.get(Kind::Task, TASK);
        task.is_some_and(|t| t["status"]["stop"].is_object())
    }

    /// Whether it is recorded that the Indexer in this pod announced the task.
    pub fn is_announced(&self, pod_uid: &str) -> bool {
        let task = self.task();
        task.and_then(|t| t.status)
            .is_some_and(|s| is_true(&s.conditions, STARTED) && s.pod_uid() == Some(pod_uid))
    }

    /// When a process sent a request.
    pub fn check_issued(&mut self, process: usize) {
        if self.pool.is_none() {
            return;
        }
        let new = self.processes[process]
            .parked(|p| (!std::mem::replace(&mut p.checked, true)).then(|| p.request.clone()));
        let Some(request) = new.flatten() else { return };
        if request.path.ends_with("assignTask") {
            let uid = pod_of(&request).to_owned();
            self.hold("a POST follows a claim", self.claims.has(&uid), || {
                format!("{uid} was never claimed")
            });
            if self.processes[process].knows_all(&self.api) {
                let (claimed, stopped) = (self.claimed(), self.stop_is_recorded());
                let right = claimed.as_ref() == Some(&uid) && !stopped;
                self.hold("nothing is posted after a stop", right, || {
                    format!("{uid}, claimed is {claimed:?}, stopped: {stopped}")
                });
            }
        }
        if request.method == "POST" && request.path.ends_with("/configmaps") {
            let attempt = number(&request);
            let decided = self.claims.pods.contains(&attempt);
            let unpooled = self.processes[process].creates(attempt);
            self.hold("a place is decided first", decided || unpooled, || {
                format!("a pod of attempt {attempt} is begun, and pools are known")
            });
        }
    }

    /// After another task has claimed the Indexer in this pod.
    pub fn check_other_claim(&mut self, pod_uid: &str) {
        let before = self.claims.indexers.insert(pod_uid.to_owned(), (0, None));
        // Who did not see the claim of a task that is gone, and was never posted, cannot know of it.
        let gone = self.api.get(Kind::Task, TASK).is_none();
        let first = before.is_none_or(|(attempt, _)| attempt > 0 && gone);
        self.hold("an Indexer is claimed once", first, || {
            format!("{pod_uid} by attempt {before:?} and by another task")
        });
    }

    /// After a status was written.
    pub fn check_place(&mut self, before: &PeonTask, after: &PeonTask, process: Option<usize>) {
        if self.pool.is_none() {
            return;
        }
        let (was, is) = (before.attempt(), after.attempt());
        let (old, new) = (run_of(before), run_of(after));
        if let (Some(old), true) = (&old, is == was) {
            let same = new
                .as_ref()
                .is_some_and(|new| new.kind == old.kind && new.pod == old.pod);
            let uid = |run: &RunStatus| run.pod_uid.clone();
            let same_uid = old.kind == RunKind::Pod || new.as_ref().and_then(uid) == uid(old);
            self.hold("an attempt has one place", same && same_uid, || {
                format!("attempt {is}: {old:?}, then {new:?}")
            });
        }
        let Some(new) = new else { return };
        if new.kind == RunKind::Pod && self.claims.pods.insert(is) {
            self.seen.count("places", "a pod");
        }
        if new.kind != RunKind::Worker {
            return;
        }
        let uid = new.pod_uid.unwrap_or_default();
        let writer = process.and_then(|p| self.processes.get(p)).map(|p| p.serial);
        let (attempt, claimer) = *self.claims.indexers.entry(uid.clone()).or_insert_with(|| {
            self.seen.count("places", "an Indexer");
            (is, writer)
        });
        self.hold("an Indexer is claimed once", attempt == is, || {
            format!("{uid} by the attempts {attempt} and {is}")
        });
        if writer != claimer {
            self.seen
                .count("places", "an Indexer that another process had claimed");
        }
        if let Some(truth) = self.truths.get_mut(&uid) {
            (truth.attempt, truth.late) = (is, false);
        }
        for jvm in self.jvms.iter_mut().filter(|j| j.pod_uid == uid) {
            jvm.late = false;
        }
    }
}

/// The number of the attempt that an object is of.
fn number(request: &Request) -> u32 {
    let name = request.body["metadata"]["name"].as_str().unwrap_or_default();
    name.rsplit('-').next().and_then(|n| n.parse().ok()).unwrap_or(0)
}
