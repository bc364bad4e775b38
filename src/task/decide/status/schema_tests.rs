//! Whatever payload and pod there are, the API server takes the status that is written.

use std::sync::LazyLock;

use kube::CustomResourceExt;
use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::api::PeonTask;
use crate::api::reason::Acceptance;
use crate::apiserver::classify::refusal::Creation;
use crate::task::decide::plan::{Step, plan};
use crate::task::fixtures::{self, ID, at, in_state, snapshot, task, task_status, with_status};
use crate::task::snapshot::{Snapshot, Template};

/// The schema of a PeonTask's status, as an API server has it.
static SCHEMA: LazyLock<Value> = LazyLock::new(|| {
    let crd = serde_json::to_value(PeonTask::crd()).unwrap();
    crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["status"].clone()
});

/// What of a value breaks the schema; of the rules in CEL nothing is known here.
fn breaks(schema: &Value, value: &Value, path: &str) -> Option<String> {
    let no = |what: &str| Some(format!("{path}: {what}: {value}"));
    let least = |key: &str| schema[key].as_f64();
    match (schema["type"].as_str(), value) {
        (_, Value::Null) => return (schema["nullable"] != true).then(|| format!("{path} is null")),
        (Some("object"), Value::Object(fields)) => {
            for name in schema["required"].as_array().into_iter().flatten() {
                if !name.as_str().is_some_and(|name| fields.contains_key(name)) {
                    return no(&format!("{name} is missing"));
                }
            }
            if schema["maxProperties"]
                .as_u64()
                .is_some_and(|most| fields.len() as u64 > most)
            {
                return no("too many fields");
            }
            return fields.iter().find_map(|(name, value)| {
                let path = format!("{path}.{name}");
                match (&schema["properties"][name], &schema["additionalProperties"]) {
                    (Value::Null, Value::Null) => Some(format!("{path} is unknown")),
                    (Value::Null, more) => breaks(more, value, &path),
                    (known, _) => breaks(known, value, &path),
                }
            });
        }
        (Some("array"), Value::Array(items)) => {
            if schema["maxItems"]
                .as_u64()
                .is_some_and(|most| items.len() as u64 > most)
            {
                return no("too many items");
            }
            return items
                .iter()
                .find_map(|item| breaks(&schema["items"], item, &format!("{path}[]")));
        }
        (Some("string"), Value::String(text)) => {
            let length = text.chars().count() as u64;
            if schema["maxLength"].as_u64().is_some_and(|most| length > most) {
                return no("too long");
            }
            if schema["minLength"].as_u64().is_some_and(|least| length < least) {
                return no("too short");
            }
            if let Some(pattern) = schema["pattern"].as_str()
                && !regex::Regex::new(pattern).is_ok_and(|pattern| pattern.is_match(text))
            {
                return no("another pattern");
            }
        }
        (Some("integer"), Value::Number(number)) => {
            let Some(number) = number.as_i64() else {
                return no("not an integer");
            };
            #[allow(clippy::cast_precision_loss)] // Bounds are small.
            let is_outside = least("minimum").is_some_and(|least| (number as f64) < least)
                || least("maximum").is_some_and(|most| (number as f64) > most);
            if is_outside || (schema["format"] != "int64" && i32::try_from(number).is_err()) {
                return no("out of range");
            }
        }
        (Some("boolean"), Value::Bool(_)) => {}
        (expected, _) => return no(&format!("no {expected:?}")),
    }
    let allowed = schema["enum"].as_array();
    allowed
        .is_some_and(|allowed| !allowed.contains(value))
        .then(|| format!("{path}: no such value: {value}"))
}

#[test]
fn the_schema_is_looked_at() {
    let long = "x".repeat(256);
    for (status, expected) in [
        (json!({"taskType": long}), ".taskType: too long"),
        (json!({"attempt": 0}), ".attempt: out of range"),
        (json!({"exitCode": 1_u64 << 40}), ".exitCode: out of range"),
        (json!({"phase": "Odd"}), ".phase: no such value"),
        (
            json!({"attempts": [{"number": 1}]}),
            ".attempts[]: \"cause\" is missing",
        ),
        (
            json!({"conditions": [{"type": "a", "status": "Maybe", "reason": "r", "message": "", "lastTransitionTime": ""}]}),
            ".conditions[].status: no such value",
        ),
        (json!({"odd": 1}), ".odd is unknown"),
    ] {
        let found = breaks(&SCHEMA, &status, "");
        assert!(
            found.as_ref().is_some_and(|f| f.starts_with(expected)),
            "{status}: {found:?}"
        );
    }
}

/// Text that is short mostly, and now and then longer than any field.
fn text() -> impl Strategy<Value = String> {
    prop_oneof![
        4 => "[a-z]{1,12}",
        1 => any::<String>(),
        1 => (250_usize..700).prop_map(|n| "ü".repeat(n)),
        1 => (0_usize..9000).prop_map(|n| "x".repeat(n)),
    ]
}

fn quantity() -> impl Strategy<Value = String> {
    prop_oneof![
        3 => Just("3G".to_owned()),
        1 => (1_usize..200).prop_map(|n| format!("2e{}9", "0".repeat(n))),
        1 => "[0-9]{1,18}\\.[0-9]{1,18}",
        1 => text(),
    ]
}

fn payload() -> impl Strategy<Value = Value> {
    let type_ =
        prop_oneof![3 => Just("noop".to_owned()), 2 => Just("index_parallel".to_owned()), 2 => text()];
    let id = prop_oneof![3 => Just(ID.to_owned()), 1 => text()];
    (type_, id, text(), quantity(), quantity(), text(), text()).prop_map(
        |(type_, id, source, memory, cpu, supervisor, tag)| {
            json!({
                "type": type_, "id": id, "dataSource": source, "supervisorTaskId": supervisor, "subtaskSpecId": tag,
                "context": {"druid.peon.pod.memory": memory, "druid.peon.pod.cpu": cpu, "tags": {"a": tag}},
            })
        },
    )
}

fn pod() -> impl Strategy<Value = Value> {
    let message = prop_oneof![
        text(),
        text().prop_map(|why| task_status(ID, "FAILED", Some(&why))),
        Just(task_status(ID, "SUCCESS", None)),
    ];
    let state = prop_oneof![
        (any::<i32>(), text(), message).prop_map(|(code, reason, message)| json!({"terminated": {
            "exitCode": code, "reason": reason, "message": message,
            "startedAt": at(110).to_string(), "finishedAt": at(200).to_string(),
        }})),
        (text(), text())
            .prop_map(|(reason, message)| json!({"waiting": {"reason": reason, "message": message}})),
        Just(json!({"running": {"startedAt": at(110).to_string()}})),
    ];
    (
        prop_oneof!["Pending", "Running", "Failed", "Succeeded"],
        state,
        text(),
        text(),
    )
        .prop_map(|(phase, state, reason, message)| {
            let mut status = in_state(&phase, state);
            (status["reason"], status["message"]) = (json!(reason), json!(message));
            status
        })
}

/// The statuses that passes write, one after the other: the task is new, then has a pod.
fn written(task: &PeonTask, template: &Value, pods: &[Value]) -> Vec<PeonTaskStatus> {
    let mut task = task.clone();
    let mut written = Vec::new();
    for (pod, now) in [None].into_iter().chain(pods.iter().map(Some)).zip(100..) {
        let mut known = Snapshot {
            template: Template::Found(std::sync::Arc::new(fixtures::template(template.clone()))),
            cached: pod.map(|status| fixtures::evidence(status.clone())),
            ..snapshot(task.clone())
        };
        for _ in 0..3 {
            match plan(&known, at(now * 100)) {
                Step::Settle(settlement) => {
                    if let Some(status) = settlement.status {
                        task = with_status(task, status.clone());
                        written.push(status);
                    }
                    break;
                }
                // Whatever it was, it went well.
                Step::Act(_) => {
                    known.outcomes.claim = Some(Creation::Created("map".into()));
                    known.outcomes.creation = Some(Creation::Created(fixtures::POD_UID.into()));
                }
            }
        }
    }
    written
}

/// What the properties below are about, one by one: each of these made a status that could never be written.
#[test]
fn what_is_too_long_for_a_status_is_no_task() {
    let long = format!("2e{}9", "0".repeat(100));
    for (payload, said) in [
        (json!({"type": "x".repeat(256)}), "256 characters"),
        (
            json!({"type": "noop", "context": {"druid.peon.pod.memory": long}}),
            "103 bytes is too long",
        ),
        (
            json!({"type": "noop", "context": {"druid.peon.pod.cpu": long}}),
            "103 bytes is too long",
        ),
    ] {
        let task = task(json!({"taskJson": payload.to_string(), "registration": "External"}));
        let written = written(&task, &json!({"image": "i"}), &[]);
        let status = written.last().unwrap();
        assert_eq!(
            status.reason.as_deref(),
            Some(Acceptance::InvalidTask.as_str()),
            "{status:?}"
        );
        assert!(status.conditions[0].message.contains(said), "{status:?}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 600, ..ProptestConfig::default() })]
    #[test]
    fn the_api_server_takes_every_status(
        payload in payload(),
        pods in prop::collection::vec(pod(), 0..3),
        memory in prop::option::of(quantity()),
        cancel in prop::bool::weighted(0.2),
    ) {
        let task = task(json!({"taskJson": payload.to_string(), "registration": "External", "cancel": cancel}));
        let template = json!({"image": "i", "resources": memory.map(|m| json!({"limits": {"memory": m}}))});
        let written = written(&task, &template, &pods);
        for status in written {
            let broken = breaks(&SCHEMA, &serde_json::to_value(&status).unwrap(), "");
            prop_assert_eq!(broken, None);
        }
    }
}
