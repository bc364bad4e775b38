//! Fields of a PeonTask that commands read (pure).

use k8s_openapi::jiff::Timestamp;
use kube::ResourceExt;

use super::duration;
use crate::api::{PeonTask, PeonTaskStatus, Phase, RunKind, conditions, names};

/// The status, where there is one yet.
pub(super) fn status(task: &PeonTask) -> PeonTaskStatus {
    task.status.clone().unwrap_or_default()
}

/// The phase.
pub(super) fn phase(task: &PeonTask) -> Phase {
    let status = task.status.as_ref();
    status.and_then(|s| s.phase).unwrap_or_default()
}

/// Reason and message of the condition that the phase stands for.
pub(super) fn standing(status: &PeonTaskStatus) -> (String, String) {
    let is_true = |t: &&&str| conditions::is_true(&status.conditions, t);
    let verdict = [conditions::FAILED, conditions::COMPLETE, conditions::SUSPENDED];
    let type_ = verdict.iter().find(is_true).unwrap_or(&conditions::READY);
    match conditions::find(&status.conditions, type_) {
        Some(condition) => (condition.reason.clone(), condition.message.trim().to_owned()),
        None => (status.reason.clone().unwrap_or_default(), String::new()),
    }
}

/// Why a task is where it is, in one line.
pub(super) fn why(status: &PeonTaskStatus) -> String {
    let (reason, message) = standing(status);
    match (reason.is_empty(), message.is_empty()) {
        (true, _) => "no operator has processed it yet".into(),
        (false, true) => reason,
        (false, false) => format!("{reason}: {message}"),
    }
}

/// Number of the current attempt; `None` before the first.
pub(super) fn attempt(status: &PeonTaskStatus) -> Option<u32> {
    status.attempt.or(status.pod_name().map(|_| 1))
}

/// The pod of attempt `number`.
pub(super) fn pod_of(task: &PeonTask, number: u32) -> String {
    let recorded = task.status.as_ref().and_then(|s| s.pod_name().map(str::to_owned));
    let of_number = recorded.filter(|_| task.attempt() == number);
    of_number.unwrap_or_else(|| names::attempt(&task.name_any(), number))
}

/// Whether the current attempt runs in an Indexer of an IndexerPool, or the last one did.
pub(super) fn is_in_indexer(task: &PeonTask) -> bool {
    let run = task.status.as_ref().and_then(|status| status.run.as_ref());
    run.is_some_and(|run| run.kind == RunKind::Worker)
}

/// How long the peon ran, or has been running.
pub(super) fn duration(status: &PeonTaskStatus, now: Timestamp) -> Option<String> {
    let start = status.start_time.as_ref()?.0;
    let end = status.completion_time.as_ref().map_or(now, |t| t.0);
    Some(duration::between(start, end))
}

/// How long ago the task was created.
pub(super) fn age(task: &PeonTask, now: Timestamp) -> String {
    let created = task.metadata.creation_timestamp.as_ref();
    created.map_or_else(|| "?".into(), |t| duration::between(t.0, now))
}

/// The verdict of a finished task.
pub(super) fn verdict(task: &PeonTask) -> Option<Phase> {
    let of = |type_| {
        let status = task.status.as_ref();
        status.is_some_and(|s| conditions::is_true(&s.conditions, type_))
    };
    if of(conditions::COMPLETE) {
        Some(Phase::Succeeded)
    } else {
        of(conditions::FAILED).then_some(Phase::Failed)
    }
}

#[cfg(test)]
pub(super) mod tests {
    #![allow(clippy::needless_pass_by_value)] // `json!` is handed over as it is written.

    use super::*;
    use serde_json::{Value, json};

    /// A PeonTask with this spec and status.
    pub(in crate::cli) fn task(name: &str, spec: Value, status: Value) -> PeonTask {
        let task = json!({
            "apiVersion": "peon.dev/v1alpha1", "kind": "PeonTask",
            "metadata": {
                "name": name, "namespace": "druid", "uid": "u", "creationTimestamp": "2026-11-21T08:00:00Z",
            },
            "spec": spec, "status": status,
        });
        serde_json::from_value(task).unwrap()
    }

    /// A condition as it stands in a status.
    pub(in crate::cli) fn condition(type_: &str, is: &str, reason: &str, message: &str) -> Value {
        json!({
            "type": type_, "status": is, "reason": reason, "message": message,
            "lastTransitionTime": "2026-11-21T08:00:10Z",
        })
    }

    pub(in crate::cli) fn at(second: i64) -> Timestamp {
        let start: Timestamp = "2026-11-21T08:00:00Z".parse().unwrap();
        Timestamp::from_second(start.as_second() + second).unwrap()
    }

    #[test]
    fn the_verdict_outranks_what_is_said_of_readiness() {
        let status = json!({
            "phase": "Failed", "reason": "OOMKilled",
            "conditions": [condition("Ready", "False", "x", "y"), condition("Failed", "True", "OOMKilled", "too much")],
        });
        let task = task("a", json!({"task": {"type": "noop"}}), status);
        assert_eq!(why(task.status.as_ref().unwrap()), "OOMKilled: too much");
        assert_eq!(verdict(&task), Some(Phase::Failed));
        assert_eq!(
            why(&PeonTaskStatus::default()),
            "no operator has processed it yet"
        );
    }

    #[test]
    fn every_attempt_has_its_pod() {
        let task = task(
            "a",
            json!({}),
            json!({"attempt": 3, "run": {"kind": "Pod", "pod": "a-3"}}),
        );
        assert_eq!(pod_of(&task, 3), "a-3");
        assert_eq!(pod_of(&task, 2), "a-2");
        assert_eq!(attempt(&status(&task)), Some(3));
    }

    #[test]
    fn an_attempt_in_an_indexer_has_the_pod_of_that() {
        let run = json!({"kind": "Worker", "pool": "warm", "pod": "warm-a", "podUID": "i"});
        let task = task("a", json!({}), json!({"attempt": 2, "run": run}));
        assert!(is_in_indexer(&task));
        assert_eq!(
            (pod_of(&task, 2), pod_of(&task, 1)),
            ("warm-a".into(), "a-1".into())
        );
    }

    #[test]
    fn a_running_task_has_a_duration_too() {
        let running = json!({"startTime": "2026-11-21T08:00:10Z"});
        let task = task("a", json!({}), running);
        assert_eq!(duration(&status(&task), at(40)).as_deref(), Some("30s"));
        assert_eq!(age(&task, at(40)), "40s");
    }
}
