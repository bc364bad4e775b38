//! What the operator would decide about a task, computed by the same pure code (pure).
//!
//! All uses of the controller's code by `explain` go through here.

use std::sync::Arc;

use k8s_openapi::jiff::Timestamp;
use kube::ResourceExt;
use serde_json::json;

use super::pools::Pools;
use crate::api::reason::Acceptance;
use crate::api::{IndexerPool, LABEL_IDENTITY, PeonTask, PeonTaskStatus, PeonTemplate, Registration};
use crate::druid::payload::Payload;
use crate::druid::properties::RuntimeProperties;
use crate::payload::chunks::Absent;
use crate::task::accept::placement::Case;
use crate::task::accept::settings::Settings;
use crate::task::accept::sizing::Sizing;
use crate::task::accept::template_choice::{Candidate, DEFAULT, select};
use crate::task::accept::{self, Refused, jvm, without_effect};
use crate::task::aggregates::durations::Expected;
use crate::task::aggregates::slots::Slot;
use crate::task::decide::plan::{Action, Step, plan};
use crate::task::snapshot::{Outcomes, Snapshot, Template};

/// The template of a task, and why it is that one.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Choice {
    pub(super) name: String,
    pub(super) why: &'static str,
    /// `None` where there is none of that name, or nobody could look.
    pub(super) template: Option<PeonTemplate>,
}

/// Which of these templates a task has. One that names none is matched by its payload, where that can be read.
pub(super) fn choose(task: &PeonTask, payload: Option<&Payload>, templates: &[PeonTemplate]) -> Choice {
    let candidates = templates.iter().map(|t| Candidate {
        name: t.metadata.name.as_deref().unwrap_or_default(),
        matches: t.spec.matches.as_ref(),
        priority: t.spec.priority.unwrap_or_default(),
    });
    let (name, why) = match (task.template_name(), payload.and_then(|p| select(p, candidates))) {
        (Some(name), _) => (name.to_owned(), "named by templateRef"),
        (None, Some(chosen)) if chosen.tied.is_empty() => (chosen.name, "the highest priority that matches"),
        (None, Some(chosen)) => (
            chosen.name,
            "the first by name of those that match with the highest priority",
        ),
        (None, None) => (DEFAULT.to_owned(), "the default: nothing else matches"),
    };
    Choice {
        template: templates.iter().find(|t| t.name_any() == name).cloned(),
        name,
        why,
    }
}

/// What the template says and what has no effect on its tasks.
pub(super) fn without_effect(choice: &Choice) -> Vec<String> {
    let template = choice.template.as_ref();
    template.map_or_else(Vec::new, |template| without_effect::of_template(&template.spec))
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
    /// What the pools say about the task.
    pub(super) pools: Option<Pools>,
}

/// What is known of the pools of the task's namespace.
#[derive(Debug, Clone, Default)]
pub(super) struct KnownPools {
    pub(super) pools: Vec<IndexerPool>,
    /// How long the task is expected to run.
    pub(super) expected: Option<Expected>,
}

/// The payload as the operator reads it; `chunks` are those of `taskFrom`, or what of them is missing.
///
/// # Errors
/// As the operator would refuse it.
pub(super) fn payload(
    task: &PeonTask,
    chunks: Result<Vec<Vec<u8>>, String>,
) -> Result<Arc<Payload>, Refused> {
    match task.task_from() {
        Some(from) => accept::chunked(task, from, chunks.map_err(Absent::Missing)),
        None => accept::payload(&snapshot(
            task,
            Template::Undecided,
            &RuntimeProperties::default(),
            None,
        )),
    }
}

/// A payload that stands for one that cannot be read: what the status says of it.
pub(super) fn unread(task: &PeonTask) -> Option<Arc<Payload>> {
    let status = task.status.as_ref()?;
    let known = json!({"type": status.task_type, "id": status.task_id, "dataSource": status.data_source});
    Payload::parse(known.as_object()?, &task.name_any())
        .ok()
        .map(Arc::new)
}

/// Judges a task as if it had no pod yet.
pub(super) fn judge(
    task: &PeonTask,
    choice: &Choice,
    operator: &RuntimeProperties,
    payload: Result<Arc<Payload>, Refused>,
    known: &KnownPools,
    now: Timestamp,
) -> Judged {
    let missing = || Template::Missing {
        name: choice.name.clone(),
    };
    let template = choice
        .template
        .clone()
        .map_or_else(missing, |t| Template::Found(Arc::new(t)));
    let mut snapshot = snapshot(task, template, operator, Some(payload));
    let mut refused = accept::accept(&snapshot).err();
    let mut before = String::new();
    if let (Some(Acceptance::NotAssigned), Some(manager)) =
        (refused.as_ref().map(|r| r.reason), task.middle_manager())
    {
        // What keeps every such task waiting at first is none of the file's faults: the task is judged as assigned.
        before = format!(
            "the VirtualMiddleManager {manager} would submit the task to its overlord, if its submissions allow that; once \
             it is assigned, "
        );
        let labels = Arc::make_mut(&mut snapshot.task).labels_mut();
        labels.insert(LABEL_IDENTITY.to_owned(), "0".to_owned());
        refused = accept::accept(&snapshot).err();
    }
    let pools = accept::accept(&snapshot).ok().and_then(|accepted| {
        let case = Case {
            // With its status, which says which attempts there were.
            task,
            accepted: &accepted,
            expected: known.expected,
        };
        Pools::of(&case, &known.pools)
    });
    let next = before
        + &match &pools {
            Some(_) => "the operator would decide where it runs, as said under Pools".to_owned(),
            None => next(&snapshot, now),
        };
    if refused
        .as_ref()
        .is_some_and(|r| r.reason == Acceptance::NeedsOverlord)
    {
        // Its settings are worth seeing all the same.
        Arc::make_mut(&mut snapshot.task).spec.registration = Registration::External;
    }
    let settings = accept::accept(&snapshot).ok().and_then(|accepted| {
        let sizing = jvm::size(&accepted.settings).ok()?;
        Some((accepted.settings, sizing))
    });
    Judged {
        settings,
        refused,
        next,
        pools,
    }
}

/// A task of which nothing is known but itself. Of its status the step of the memory ladder counts.
fn snapshot(
    task: &PeonTask,
    template: Template,
    operator: &RuntimeProperties,
    payload: Option<Result<Arc<Payload>, Refused>>,
) -> Snapshot {
    let mut task = task.clone();
    task.status = task.status.map(|status| PeonTaskStatus {
        memory_step: status.memory_step,
        ..PeonTaskStatus::default()
    });
    Snapshot {
        task: Arc::new(task),
        template,
        operator: Arc::new(operator.clone()),
        cached: None,
        others: Vec::new(),
        departed: None,
        indexer: None,
        pools: Vec::new(),
        pools_open_in: None,
        may_have_pod: false,
        held: None,
        inline: std::sync::OnceLock::new(),
        keeps_logs: false,
        outcomes: Outcomes {
            payload,
            slot: Some(Slot::Taken),
            rung: Some(0),
            // The history is not asked.
            success: Some(Ok(None)),
            ..Outcomes::default()
        },
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
        Step::Act(_) => "the operator would read more from the API server before it creates the pod".into(),
        Step::Settle(settled) => {
            let status = settled.status.as_ref();
            let reason = status
                .and_then(|s| s.reason.clone())
                .unwrap_or_else(|| "nothing new".into());
            format!("the operator would report {reason}")
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::needless_pass_by_value)] // `json!` is handed over as it is written.

    use super::*;
    use crate::cli::tasks::tests::{at, task};
    use serde_json::Value;

    fn template(name: &str, spec: Value) -> PeonTemplate {
        let template = json!({
            "apiVersion": "peon.dev/v1alpha1", "kind": "PeonTemplate", "metadata": {"name": name}, "spec": spec,
        });
        serde_json::from_value(template).unwrap()
    }

    fn judged(spec: Value, templates: &[PeonTemplate]) -> Judged {
        let task = task("a", spec, Value::Null);
        let payload = payload(&task, Err(String::new()));
        let choice = choose(&task, payload.as_deref().ok(), templates);
        let known = KnownPools::default();
        judge(
            &task,
            &choice,
            &RuntimeProperties::default(),
            payload,
            &known,
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

    /// The documentation recommends it for pipelines.
    #[test]
    fn a_task_for_an_overlord_is_judged_as_if_it_were_assigned() {
        let templates = [template("default", json!({}))];
        let spec = |javaopts: Value| json!({"task": {"type": "index_parallel"}, "middleManagerRef": {"name": "druid"}, "javaOpts": javaopts});
        let good = judged(spec(json!([])), &templates);
        assert_eq!(good.refused, None);
        assert_eq!(
            good.next,
            "the VirtualMiddleManager druid would submit the task to its overlord, if its submissions allow that; once it is \
             assigned, the operator would create the ConfigMap and then the pod a-1"
        );
        assert!(good.settings.is_some());
        let wrong = judged(spec(json!(["-Xmx9g"])), &templates);
        assert_eq!(wrong.refused.unwrap().reason, Acceptance::InvalidTask);
    }

    #[test]
    fn the_template_is_chosen_as_the_operator_chooses() {
        let task = task("a", json!({"task": {"type": "noop"}}), Value::Null);
        let payload = payload(&task, Err(String::new())).unwrap();
        let any = |name: &str, priority: i32| {
            template(name, json!({"match": {"types": ["noop"]}, "priority": priority}))
        };
        let of = |templates: &[PeonTemplate]| {
            let choice = choose(&task, Some(&payload), templates);
            (choice.name, choice.why, choice.template.is_some())
        };
        let default = "the default: nothing else matches";
        assert_eq!(of(&[]), ("default".into(), default, false));
        assert_eq!(
            of(&[template("default", json!({}))]),
            ("default".into(), default, true)
        );
        assert_eq!(
            of(&[any("b", 1), any("a", 0)]),
            ("b".into(), "the highest priority that matches", true)
        );
        let tied = "the first by name of those that match with the highest priority";
        assert_eq!(of(&[any("b", 0), any("a", 0)]), ("a".into(), tied, true));
    }

    #[test]
    fn a_refusal_has_its_reason_and_settings_where_there_are_any() {
        let templates = [template("default", json!({}))];
        let overlord = judged(json!({"task": {"type": "index"}}), &templates);
        assert_eq!(overlord.refused.unwrap().reason, Acceptance::NeedsOverlord);
        assert!(overlord.settings.is_some());
        let no_template = judged(json!({"task": {"type": "noop"}}), &[]);
        assert_eq!(no_template.refused.unwrap().reason, Acceptance::NoTemplate);
        assert!(no_template.settings.is_none());
        let broken = judged(json!({"taskJson": "{"}), &templates);
        assert_eq!(broken.refused.unwrap().reason, Acceptance::InvalidTask);
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
            payload(&task, Err("x".into())).unwrap_err().reason,
            Acceptance::PayloadIncomplete
        );
        let known = unread(&task).unwrap();
        assert_eq!((known.type_.as_str(), known.id.as_str()), ("index_parallel", "x"));
    }
}
