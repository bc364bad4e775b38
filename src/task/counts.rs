//! How many tasks there are of each kind, for the metrics (pure).

use std::collections::BTreeMap;

use crate::api::Phase;
use crate::api::reason::{Readiness, TaskReason};
use crate::metrics::Counts;
use crate::task::cached_task::CachedTask;

/// The reason of tasks whose own is of a newer version.
const OTHER: &str = "Other";

/// Counts the tasks by phase, and those without a verdict by reason.
pub(super) fn of<'a>(tasks: impl Iterator<Item = &'a CachedTask>) -> Counts {
    let mut phases = Phase::ALL.map(|phase| (phase, 0_usize));
    let mut unfinished = BTreeMap::new();
    for task in tasks {
        let phase = task.phase();
        if let Some((_, count)) = phases.iter_mut().find(|(p, _)| Some(*p) == phase) {
            *count += 1;
        }
        if let Some(task) = task.unfinished() {
            let reason = task.status.as_ref().and_then(|status| status.reason.as_deref());
            let reason = match reason {
                None => Readiness::WaitingForOperator.as_str(),
                Some(name) => TaskReason::parse(name, false).map_or(OTHER, TaskReason::as_str),
            };
            *unfinished.entry(reason).or_default() += 1;
        }
    }
    Counts {
        phases: phases.map(|(phase, count)| (phase.as_str(), count)).to_vec(),
        unfinished: unfinished.into_iter().collect(),
        slots: Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn tasks_without_a_verdict_are_counted_by_reason() {
        let task = |status: Value| -> CachedTask {
            let object = json!({
                "apiVersion": "peon.dev/v1alpha1", "kind": "PeonTask", "metadata": {"name": "t"}, "spec": {}, "status": status,
            });
            serde_json::from_value(object).unwrap()
        };
        let failed = json!([{
            "type": "Failed", "status": "True", "reason": "OOMKilled", "message": "m", "lastTransitionTime": "2026-11-21T09:55:37Z",
        }]);
        let tasks = [
            task(Value::Null),
            task(json!({"phase": "Pending", "reason": "QuotaExceeded", "conditions": []})),
            task(json!({"phase": "Running", "reason": "AwaitingNodeProof", "conditions": []})),
            task(json!({"phase": "Running", "reason": "AwaitingNodeProof", "conditions": []})),
            task(json!({"phase": "Running", "reason": "Running", "conditions": []})),
            task(json!({"phase": "Running", "reason": "OfANewerVersion", "conditions": []})),
            task(json!({"phase": "Failed", "reason": "OOMKilled", "conditions": failed})),
        ];
        let counts = of(tasks.iter());
        let expected = [
            ("AwaitingNodeProof", 2),
            ("Other", 1),
            ("QuotaExceeded", 1),
            ("Running", 1),
            ("WaitingForOperator", 1),
        ];
        assert_eq!(counts.unfinished, expected);
        assert!(counts.phases.contains(&("Running", 4)) && counts.phases.contains(&("Failed", 1)));
    }
}
