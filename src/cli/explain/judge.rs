//! What the operator itself would say of a task, asked of the same pure code (pure).
//!
//! Everything that `explain` takes from the controller goes through here.

use std::sync::Arc;

use k8s_openapi::jiff::Timestamp;
use kube::ResourceExt;
use serde_json::json;

use crate::api::conditions::accepted;
use crate::api::{PeonTask, PeonTemplate};
use crate::druid::payload::Payload;
use crate::druid::properties::RuntimeProperties;
use crate::task::admit::{Refused, admit};
use crate::task::jvm;
use crate::task::plan::{Action, Step, plan};
use crate::task::select::{Candidate, DEFAULT, select};
use crate::task::settings::Settings;
use crate::task::sizing::Sizing;
use crate::task::slots::Slot;
use crate::task::snapshot::{Snapshot, Template};

/// The template of a task, and why it is that one.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Choice {
    pub(super) name: String,
    pub(super) why: &'static str,
    /// `None` where there is none of that name, or nobody could look.
    pub(super) template: Option<PeonTemplate>,
}

/// Which of these templates a task with this payload has.
pub(super) fn choose(task: &PeonTask, payload: Option<&Payload>, templates: &[PeonTemplate]) -> Choice {
    let named = |name: &str| templates.iter().find(|t| t.name_any() == name).cloned();
    if let Some(name) = task.template_name() {
        return Choice {
            name: name.to_owned(),
            why: "named by templateRef",
            template: named(name),
        };
    }
    let candidates = templates.iter().map(|t| Candidate {
        name: t.metadata.name.as_deref().unwrap_or_default(),
        matches: t.spec.matches.as_ref(),
        priority: t.spec.priority.unwrap_or(0),
    });
    let chosen = payload.and_then(|payload| select(payload, candidates));
    let (name, why) = match chosen {
        Some(chosen) if chosen.tied.is_empty() => (chosen.name, "it matches the task"),
        Some(chosen) => (chosen.name, "the first by name of those that match the task"),
        None => (
            DEFAULT.to_owned(),
            "the default: the task names none and no other matches",
        ),
    };
    Choice {
        template: named(&name),
        name,
        why,
    }
}

/// The judgement on a task.
#[derive(Debug, Clone)]
pub(super) struct Judged {
    /// Settings and sizes, where the task has any.
    pub(super) settings: Option<(Settings, Sizing)>,
    /// Why it would not be accepted.
    pub(super) refused: Option<Refused>,
    /// What would be done next.
    pub(super) next: String,
}

/// The payload as the operator reads it.
///
/// # Errors
/// As the operator would refuse it.
pub(super) fn payload(task: &PeonTask, chunks: Option<&str>) -> Result<Payload, Refused> {
    let invalid = |message: String| Refused {
        reason: accepted::INVALID_TASK,
        message,
    };
    let name = task.name_any();
    let payload = match (&task.spec.task, &task.spec.task_json, chunks) {
        (Some(given), _, _) => Payload::parse(given, &name),
        (None, Some(text), _) => Payload::parse_inline(text, &name),
        (None, None, Some(chunks)) => Payload::parse_chunked(chunks.as_bytes(), &name),
        (None, None, None) => {
            return Err(Refused {
                reason: accepted::PAYLOAD_INCOMPLETE,
                message: "the chunks of the payload are not there".into(),
            });
        }
    };
    payload.map_err(|e| invalid(e.to_string()))
}

/// A payload that stands for one that cannot be read: what the status says of it.
pub(super) fn unread(task: &PeonTask) -> Option<Payload> {
    let status = task.status.as_ref()?;
    let known = json!({"type": status.task_type, "id": status.task_id, "dataSource": status.data_source});
    Payload::parse(known.as_object()?, &task.name_any()).ok()
}

/// Judges a task as if it had no pod yet.
pub(super) fn judge(
    task: &PeonTask,
    choice: &Choice,
    operator: &RuntimeProperties,
    payload: Result<Payload, Refused>,
    now: Timestamp,
) -> Judged {
    let mut snapshot = snapshot(task, choice, operator, payload);
    let refused = admit(&snapshot).err();
    let next = next(&snapshot, now);
    if refused
        .as_ref()
        .is_some_and(|r| r.reason == accepted::NEEDS_OVERLORD)
    {
        // Its settings are worth seeing all the same.
        let mut as_if = task.clone();
        as_if.spec.unmanaged = true;
        snapshot.task = Arc::new(as_if);
    }
    let settings = admit(&snapshot).ok().and_then(|admitted| {
        let sizing = jvm::size(&admitted.settings).ok()?;
        Some((admitted.settings, sizing))
    });
    Judged {
        settings,
        refused,
        next,
    }
}

fn snapshot(
    task: &PeonTask,
    choice: &Choice,
    operator: &RuntimeProperties,
    payload: Result<Payload, Refused>,
) -> Snapshot {
    let mut task = task.clone();
    task.status = None;
    let missing = || Template::Missing {
        name: choice.name.clone(),
    };
    Snapshot {
        task: Arc::new(task),
        template: choice
            .template
            .clone()
            .map_or_else(missing, |t| Template::Found(Arc::new(t))),
        operator: Arc::new(operator.clone()),
        cached: None,
        others: Vec::new(),
        departed: None,
        held: None,
        payload: Some(payload.map(Arc::new)),
        claim: None,
        live: None,
        creation: None,
        warnings: None,
        node: None,
        slot: Some(Slot::Taken),
        rung: Some(0),
        ended: Vec::new(),
    }
}

/// The operator's next step, in words.
fn next(snapshot: &Snapshot, now: Timestamp) -> String {
    match plan(snapshot, now) {
        Step::Act(Action::CreateConfigMap(object)) => {
            format!(
                "the operator would create the ConfigMap and then the pod {}",
                object.name_any()
            )
        }
        Step::Act(Action::CreatePod(_)) => "the operator would create the pod".into(),
        Step::Act(_) => "the operator would look further before it creates the pod".into(),
        Step::Settle(settled) => {
            let status = settled.status.as_ref();
            let reason = status
                .and_then(|s| s.reason.clone())
                .unwrap_or_else(|| "nothing new".into());
            format!("the operator would say {reason}")
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::needless_pass_by_value)] // `json!` is handed over as it is written.

    use super::super::super::tasks::tests::{at, task};
    use super::*;
    use serde_json::Value;

    pub(super) fn template(name: &str, spec: Value) -> PeonTemplate {
        let template = json!({
            "apiVersion": "peon.dev/v1alpha1", "kind": "PeonTemplate", "metadata": {"name": name}, "spec": spec,
        });
        serde_json::from_value(template).unwrap()
    }

    fn judged(spec: Value, templates: &[PeonTemplate]) -> Judged {
        let task = task("a", spec, Value::Null);
        let choice = choose(&task, payload(&task, None).as_ref().ok(), templates);
        judge(
            &task,
            &choice,
            &RuntimeProperties::default(),
            payload(&task, None),
            at(0),
        )
    }

    #[test]
    fn a_task_is_judged_as_the_operator_would() {
        let templates = [
            template("default", json!({})),
            template("large", json!({"resources": {"limits": {"memory": "8Gi"}}})),
        ];
        let good = judged(json!({"taskJson": "{\"type\":\"noop\"}"}), &templates);
        assert_eq!(good.refused, None);
        assert_eq!(
            good.next,
            "the operator would create the ConfigMap and then the pod a-1"
        );
        assert_eq!(good.settings.unwrap().0.memory.0, "2G");
        let large = judged(
            json!({"task": {"type": "noop"}, "templateRef": {"name": "large"}}),
            &templates,
        );
        assert_eq!(large.settings.unwrap().0.memory.0, "8Gi");
    }

    #[test]
    fn a_refusal_has_its_reason_and_settings_where_there_are_any() {
        let templates = [template("default", json!({}))];
        let overlord = judged(json!({"task": {"type": "index"}}), &templates);
        assert_eq!(overlord.refused.unwrap().reason, accepted::NEEDS_OVERLORD);
        assert!(overlord.settings.is_some());
        let no_template = judged(json!({"task": {"type": "noop"}}), &[]);
        assert_eq!(no_template.refused.unwrap().reason, accepted::NO_TEMPLATE);
        assert!(no_template.settings.is_none());
        let broken = judged(json!({"taskJson": "{"}), &templates);
        assert_eq!(broken.refused.unwrap().reason, accepted::INVALID_TASK);
    }

    #[test]
    fn a_payload_that_cannot_be_read_is_known_by_the_status() {
        let status = json!({"taskType": "index_parallel", "taskId": "x", "dataSource": "w"});
        let task = task(
            "a",
            json!({"taskFrom": {"sha256": "", "secrets": [{"name": "s", "key": "k"}]}}),
            status,
        );
        assert_eq!(
            payload(&task, None).unwrap_err().reason,
            accepted::PAYLOAD_INCOMPLETE
        );
        let known = unread(&task).unwrap();
        assert_eq!((known.type_.as_str(), known.id.as_str()), ("index_parallel", "x"));
    }
}
