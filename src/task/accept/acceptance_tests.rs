#![allow(clippy::needless_pass_by_value)] // `json!` is handed over as it is written.

use serde_json::{Value, json};

use super::*;
use crate::apiserver::classify::refusal::Creation;
use crate::task::decide::plan::{Action, Step, plan};
use crate::task::fixtures::{POD_UID, snapshot, task, template};

thread_local! {
    /// How many payloads this thread has parsed.
    pub(super) static PARSED: std::cell::Cell<usize> = const { std::cell::Cell::new(0) };
}

#[test]
fn a_pass_parses_the_payload_once() {
    let inline = |spec: Value| with(spec, json!({"maxRunning": 3}));
    for spec in [
        json!({"task": {"type": "noop"}}),
        json!({"taskJson": r#"{"type": "noop"}"#}),
    ] {
        let mut snapshot = inline(spec);
        let before = PARSED.get();
        let mut actions = Vec::new();
        let now = crate::task::fixtures::at(100);
        while let Step::Act(action) = plan(&snapshot, now) {
            actions.push(action.name());
            let created = |uid: &str| Some(Creation::Created(uid.into()));
            match action {
                Action::TakeSlot { .. } => {
                    snapshot.outcomes.slot = Some(crate::task::aggregates::slots::Slot::Taken);
                }
                Action::CreateConfigMap(_) => snapshot.outcomes.claim = created("map"),
                Action::CreatePod(_) => snapshot.outcomes.creation = created(POD_UID),
                other => panic!("{other:?}"),
            }
        }
        assert_eq!(actions, ["take slot", "create configmap", "create pod"]);
        assert_eq!(PARSED.get() - before, 1);
    }
}

fn with(spec: Value, template_spec: Value) -> Snapshot {
    let mut snapshot = snapshot(task(spec));
    snapshot.template = Template::Found(Arc::new(template(template_spec)));
    snapshot
}

fn index(tuning: Value) -> Value {
    json!({"task": {"type": "index", "id": "i", "spec": {"tuningConfig": tuning}}, "registration": "External"})
}

#[test]
fn a_task_that_exceeds_its_template_waits() {
    let snapshot = with(
        json!({"task": {"type": "noop"}, "resources": {"limits": {"memory": "4Gi"}}}),
        json!({"overrides": {"maxMemory": "2Gi"}}),
    );
    let refused = accept(&snapshot).unwrap_err();
    assert_eq!(refused.reason, Acceptance::LimitExceeded);
    assert!(!refused.is_final());
    assert!(
        refused.message.ends_with("PeonTemplate default"),
        "{}",
        refused.message
    );
}

#[test]
fn the_step_of_the_status_is_climbed() {
    let mut task = task(json!({"task": {"type": "noop"}, "resources": {"limits": {"memory": "1Gi"}}}));
    task.status.get_or_insert_default().memory_step = Some(1);
    let snapshot = snapshot(task);
    let accepted = accept(&snapshot).unwrap();
    assert_eq!(accepted.settings.memory.0, "1536Mi");
    assert_eq!(accepted.next_memory_step(1, None), Some(2));
    assert_eq!(accepted.next_memory_step(20, None), None);
}

#[test]
fn memory_in_bytes_is_what_the_peon_is_given() {
    let bytes =
        || json!({"sizing": {"ingestionMemory": "Bytes"}, "resources": {"limits": {"memory": "1Gi"}}});
    let given = |snapshot: &Snapshot| {
        let accepted = accept(snapshot).unwrap();
        let names = accepted.names();
        let json = accepted.attempt(1, &names).config_map().data.unwrap()["task.json"].clone();
        (
            json,
            accepted.payload.clone(),
            accepted.effective_hash().map(str::to_owned),
        )
    };
    let (json, payload, hash) = given(&with(index(json!({"maxRowsInMemory": 5})), bytes()));
    // 1 GiB less an eighth of direct memory and a fifth for the rest leaves 691 MiB of heap.
    let expected = json!({"maxRowsInMemory": i32::MAX, "maxBytesInMemory": (691_u64 << 20) / 6});
    let json: Value = serde_json::from_str(&json).unwrap();
    assert_eq!(json["spec"]["tuningConfig"], expected);
    assert!(
        payload.json.contains(r#""maxRowsInMemory":5"#),
        "{}",
        payload.json
    );
    assert!(hash.is_some_and(|hash| hash != payload.hash));
    let (json, payload, hash) = given(&with(index(json!({"maxRowsInMemory": 5})), json!({})));
    assert_eq!((json, hash), (payload.json.clone(), None));
}

/// As an overlord's tasks are stored by default.
#[test]
fn memory_in_bytes_is_put_into_a_payload_in_chunks() {
    let json = r#"{"type":"index_kafka","id":"i","tuningConfig":{"type":"kafka"}}"#;
    let edits = |template_spec: Value| {
        let mut snapshot = with(index(json!({})), template_spec);
        let mut task = (*snapshot.task).clone();
        task.spec.task = None;
        let chunks = json!({"sha256": "0".repeat(64), "configMaps": [{"name": "c", "key": "k"}]});
        task.spec.task_from = serde_json::from_value(chunks).unwrap();
        snapshot.task = Arc::new(task);
        let payload = Payload::parse_chunked(json.as_bytes(), "i").unwrap();
        snapshot.outcomes.payload = Some(Ok(Arc::new(payload)));
        let accepted = accept(&snapshot).unwrap();
        assert_eq!(accepted.effective_hash(), None);
        let names = accepted.names();
        let data = accepted.attempt(1, &names).config_map().data.unwrap();
        data.get("payload.edit.0").cloned()
    };
    let memory = json!({"sizing": {"ingestionMemory": "Bytes"}, "resources": {"limits": {"memory": "1Gi"}}});
    let bytes = (691_u64 << 20) / 6;
    assert_eq!(
        edits(memory),
        Some(format!(
            r#""maxBytesInMemory":{bytes},"maxRowsInMemory":2147483647,"#
        ))
    );
    assert_eq!(edits(json!({})), None);
}
