//! Indexes over all tasks, so that a pass over one task need not read the others.
//!
//! They are in memory, follow the watch of PeonTasks and are rebuilt whenever the watch lists. Updating them costs the
//! same whatever the number of tasks.

pub mod durations;
pub mod fair_share;
pub mod idle_indexers;
mod indexer_claims;
mod indexer_load;
pub mod live_subtasks;
pub mod payload_budget;
pub mod pool_offer;
pub mod ranked_set;
mod recently_used;
pub mod retention;
mod shared_slots;
pub mod slots;
pub mod subtask_memory;

use std::collections::HashSet;

use kube::ResourceExt;

use crate::api::reason::Cause;
use crate::api::{PeonTask, Phase};
use durations::Durations;
use idle_indexers::IdleIndexers;
use live_subtasks::LiveSubtasks;
use retention::Retention;
use slots::{Slots, Who};
use subtask_memory::SubtaskMemory;

/// The indexes.
#[derive(Debug, Default)]
pub struct TaskAggregates {
    /// Which of a template's tasks may have a pod.
    pub slots: Slots,
    /// Finished tasks, oldest first, if their number is limited.
    pub retention: Retention,
    /// How much memory subtasks needed.
    pub subtask_memory: SubtaskMemory,
    /// How long tasks took that succeeded.
    pub durations: Durations,
    /// The Indexers of pools, and which task has which.
    pub indexers: IdleIndexers,
    /// Subtasks without a verdict.
    pub live_subtasks: LiveSubtasks,
}

impl TaskAggregates {
    /// Records a task's current state. Returns the tasks that may continue because of it.
    pub fn observe(&self, task: &PeonTask) -> Vec<Who> {
        let (Some(uid), Some(namespace)) = (task.uid(), task.namespace()) else {
            return Vec::new();
        };
        self.indexers.observe(task);
        let mut woken = self.live_subtasks.observe(task);
        woken.append(&mut self.observe_slot(task, &uid, &namespace));
        woken
    }

    fn observe_slot(&self, task: &PeonTask, uid: &str, namespace: &str) -> Vec<Who> {
        let Some(status) = &task.status else {
            return Vec::new();
        };
        if task.is_final() {
            self.durations.observe(namespace, uid, status);
            if let Some(completed) = &status.completion_time
                && !task.overlord_waits()
            {
                self.retention
                    .finished(namespace, &task.name_any(), uid, completed.0);
            }
            if let Some(key) = &status.subtask
                && status
                    .reason
                    .as_deref()
                    .and_then(Cause::parse)
                    .is_some_and(Cause::needs_memory)
            {
                let failed = status.memory_step.unwrap_or_default();
                self.subtask_memory
                    .learned(namespace, key, failed.saturating_add(1));
            }
            return self.slots.forget(uid);
        }
        if status.phase == Some(Phase::Suspended) {
            return self.slots.forget(uid);
        }
        if let (Some(_), Some(template)) = (status.pod_uid(), &status.template) {
            self.slots.hold(namespace, template, uid);
        }
        Vec::new()
    }

    /// All tasks have been observed.
    pub fn listed(&self) {
        self.indexers.listed();
    }

    /// Removes every task that is not among these.
    pub fn keep_only(&self, uids: &HashSet<String>) {
        let known = [
            self.slots.uids(),
            self.retention.uids(),
            self.indexers.uids(),
            self.live_subtasks.uids(),
        ];
        for uid in known.into_iter().flatten() {
            if !uids.contains(&uid) {
                self.gone(&uid);
            }
        }
    }

    /// A task is gone. Returns the tasks that may continue because of it.
    pub fn gone(&self, uid: &str) -> Vec<Who> {
        self.retention.gone(uid);
        self.indexers.gone(uid);
        let mut woken = self.live_subtasks.gone(uid);
        woken.append(&mut self.slots.forget(uid));
        woken
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::slots::Slot;
    use super::*;
    use crate::task::fixtures::{TASK_UID, at, noop};

    fn with(status: serde_json::Value) -> PeonTask {
        let mut task = noop();
        task.status = Some(serde_json::from_value(status).unwrap());
        task
    }

    fn failed(reason: &str) -> PeonTask {
        with(json!({
            "phase": "Failed", "reason": reason, "subtask": "key", "memoryStep": 1, "template": "t",
            "completionTime": "2026-01-01T00:00:00Z",
            "conditions": [{"type": "Failed", "status": "True", "reason": reason, "message": "",
                "lastTransitionTime": "2026-01-01T00:00:00Z"}],
        }))
    }

    fn take(aggregates: &TaskAggregates, uid: &str) -> Slot {
        aggregates.slots.take("ns", "t", 1, uid, at(1), uid)
    }

    #[test]
    fn a_task_with_a_pod_holds_its_place_until_it_is_finished_suspended_or_gone() {
        let started =
            with(json!({"phase": "Starting", "run": {"kind": "Pod", "podUID": "p"}, "template": "t"}));
        let endings: [fn(&TaskAggregates) -> Vec<Who>; 3] = [
            |l| l.observe(&failed("TaskFailed")),
            |l| l.observe(&with(json!({"phase": "Suspended", "template": "t"}))),
            |l| l.gone(TASK_UID),
        ];
        for ending in endings {
            let aggregates = TaskAggregates::default();
            assert_eq!(aggregates.observe(&started), []);
            assert!(matches!(
                take(&aggregates, "other"),
                Slot::Wait { running: 1, .. }
            ));
            assert_eq!(ending(&aggregates), [("ns".to_owned(), "other".to_owned())]);
            assert_eq!(take(&aggregates, "other"), Slot::Taken);
        }
    }

    #[test]
    fn finished_tasks_are_retained_by_age_until_they_are_gone() {
        let aggregates = TaskAggregates::default();
        aggregates.retention.limit(Some(0));
        aggregates.observe(&failed("TaskFailed"));
        assert_eq!(aggregates.retention.excess("ns").len(), 1);
        aggregates.gone(TASK_UID);
        assert_eq!(aggregates.retention.excess("ns"), []);
    }

    #[test]
    fn a_task_that_is_gone_after_a_list_has_no_indexer() {
        let claimed = json!({"kind": "Worker", "pool": "warm", "pod": "warm-x", "podUID": "x"});
        let aggregates = TaskAggregates::default();
        aggregates.observe(&with(
            json!({"phase": "Starting", "run": claimed, "template": "t"}),
        ));
        aggregates.listed();
        assert!(matches!(
            take(&aggregates, "other"),
            Slot::Wait { running: 1, .. }
        ));
        aggregates.keep_only(&HashSet::from([TASK_UID.to_owned()]));
        assert_eq!(aggregates.indexers.tasks_on("x").len(), 1);
        aggregates.keep_only(&HashSet::new());
        assert_eq!(aggregates.indexers.tasks_on("x"), []);
        assert_eq!(aggregates.indexers.uids(), [""; 0]);
    }

    #[test]
    fn a_subtask_that_ran_out_of_memory_teaches_the_next_one() {
        let aggregates = TaskAggregates::default();
        aggregates.observe(&failed("TaskFailed"));
        assert_eq!(aggregates.subtask_memory.step("ns", "key"), 0);
        aggregates.observe(&failed("OOMKilled"));
        assert_eq!(aggregates.subtask_memory.step("ns", "key"), 2);
    }
}
