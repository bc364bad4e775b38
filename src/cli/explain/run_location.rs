//! Where the current attempt of a task runs, and why there (pure).

use serde::Serialize;

use crate::api::{PeonTask, RunKind};
use crate::cli::tasks;

/// Where the current attempt runs, or where the last one ran.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct RunLocation {
    kind: RunKind,
    #[serde(skip_serializing_if = "Option::is_none")]
    pool: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pod: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    node: Option<String>,
    /// Why there.
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
    /// Whether the task has a verdict.
    #[serde(skip)]
    has_ended: bool,
}

impl RunLocation {
    /// Reads the status; `None` for a task that runs nowhere yet.
    pub(super) fn of(task: &PeonTask) -> Option<Self> {
        let status = tasks::status(task);
        let run = status.run?;
        Some(Self {
            kind: run.kind,
            pool: run.pool,
            pod: run.pod,
            node: status.node_name,
            reason: run.reason.filter(|reason| !reason.trim().is_empty()),
            has_ended: tasks::verdict(task).is_some(),
        })
    }

    /// The heading of [`RunLocation::text`].
    pub(super) fn title(&self) -> &'static str {
        if self.has_ended {
            "Where it ran"
        } else {
            "Where it runs"
        }
    }

    /// In words.
    pub(super) fn text(&self) -> String {
        let name = |name: &Option<String>| name.as_ref().map_or_else(String::new, |n| format!(" {n}"));
        let node = self
            .node
            .as_ref()
            .map_or_else(String::new, |n| format!(" on the node {n}"));
        let location = match self.kind {
            RunKind::Pod => format!("in its own pod{}{node}", name(&self.pod)),
            RunKind::Worker => format!(
                "in the Indexer{} of the IndexerPool{}{node}",
                name(&self.pod),
                name(&self.pool)
            ),
            RunKind::Elsewhere => "on another worker of its overlord".to_owned(),
        };
        let reason = self
            .reason
            .as_ref()
            .map_or_else(String::new, |reason| format!(": {}", reason.trim()));
        let settings = match self.kind {
            RunKind::Worker => format!(
                "\ncpu, memory and JVM are those of the pool (kubectl peon pool{}); the settings below are those of a pod of \
                 its own",
                name(&self.pool)
            ),
            RunKind::Pod | RunKind::Elsewhere => String::new(),
        };
        format!("{location}{reason}{settings}")
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::cli::tasks::tests::{condition, task};

    fn location(run: &Value, conditions: &Value) -> Option<RunLocation> {
        let status = json!({"nodeName": "n1", "run": run, "conditions": conditions});
        RunLocation::of(&task("nightly", json!({}), status))
    }

    #[test]
    fn says_where_and_why() {
        let worker = json!({
            "kind": "Worker", "pool": "warm", "pod": "warm-a", "podUID": "i", "reason": "it was idle",
        });
        for (run, expected) in [
            (
                json!({"kind": "Pod", "pod": "nightly-1", "reason": "no Indexer of the pool warm was idle"}),
                "in its own pod nightly-1 on the node n1: no Indexer of the pool warm was idle",
            ),
            (
                json!({"kind": "Pod", "pod": "nightly-1", "reason": " "}),
                "in its own pod nightly-1 on the node n1",
            ),
            (
                worker.clone(),
                "in the Indexer warm-a of the IndexerPool warm on the node n1: it was idle\ncpu, memory and JVM are \
                 those of the pool (kubectl peon pool warm); the settings below are those of a pod of its own",
            ),
            (json!({"kind": "Elsewhere"}), "on another worker of its overlord"),
        ] {
            let found = location(&run, &json!([])).unwrap();
            assert_eq!(
                (found.title(), found.text().as_str()),
                ("Where it runs", expected)
            );
        }
        assert_eq!(location(&json!(null), &json!([])), None);
        let ended = location(&worker, &json!([condition("Complete", "True", "Succeeded", "")])).unwrap();
        assert_eq!(ended.title(), "Where it ran");
        assert_eq!(
            json!(ended),
            json!({"kind": "Worker", "pool": "warm", "pod": "warm-a", "node": "n1", "reason": "it was idle"})
        );
    }
}
