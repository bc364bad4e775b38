#![allow(clippy::needless_pass_by_value)] // `json!` is handed over as it is written.

use super::*;
use crate::cli::tasks::tests::{condition, task};
use serde_json::{Value, json};

const DEFAULT: Known<'static> = Known {
    template: Some("default"),
    bounded: false,
};

fn of(phase: &str, conditions: Value) -> String {
    line(&live(
        &task(
            "a",
            json!({"task": {"type": "noop"}}),
            json!({"phase": phase, "conditions": conditions}),
        ),
        DEFAULT,
    ))
}

fn waits(reason: &str, message: &str) -> String {
    of("Pending", json!([condition("Ready", "False", reason, message)]))
}

#[test]
fn a_waiting_task_stands_where_its_reason_says() {
    assert_eq!(
        waits("QuotaExceeded", "exceeded quota: none"),
        "template default ✓ → accepted ✓ → quota ✗ QuotaExceeded: exceeded quota: none"
    );
    assert_eq!(waits("NoTemplate", "m"), "template default ✗ NoTemplate: m");
    assert_eq!(
        waits("ImagePull", "m"),
        "template default ✓ → accepted ✓ → quota ✓ → pod ✓ → node ✓ → image ✗ ImagePull: m"
    );
    assert_eq!(
        waits("Starting", ""),
        "template default ✓ → accepted ✓ → quota ✓ → pod ✓ → node ✓ → image ✓ → configuration ✓ → container … Starting"
    );
    assert_eq!(waits("NeedsOverlord", "m"), "accepted ✗ NeedsOverlord: m");
    assert_eq!(
        line(&live(&task("a", json!({}), json!({})), DEFAULT)),
        "operator ✗ WaitingForOperator"
    );
}

#[test]
fn a_task_in_an_indexer_waits_for_no_pod() {
    let of = |phase: &str, condition: Value| {
        let run = json!({"kind": "Worker", "pool": "warm", "pod": "warm-a", "podUID": "i"});
        let status = json!({"phase": phase, "conditions": [condition], "run": run});
        line(&live(
            &task("a", json!({"task": {"type": "noop"}}), status),
            DEFAULT,
        ))
    };
    assert_eq!(
        of(
            "Starting",
            condition("Ready", "False", "Starting", "it was given to an Indexer")
        ),
        "template default ✓ → accepted ✓ → Indexer ✓ → start … Starting: it was given to an Indexer"
    );
    assert_eq!(
        of("Running", condition("Ready", "True", "Running", "")),
        "template default ✓ → accepted ✓ → Indexer ✓ → running …"
    );
}

#[test]
fn a_bound_shows_the_slot_and_chunks_the_payload() {
    let known = Known {
        bounded: true,
        ..DEFAULT
    };
    let spec = json!({"taskFrom": {"sha256": "", "configMaps": []}});
    let conditions = json!([condition("Ready", "False", "MaxRunning", "2 run")]);
    let task = task("a", spec, json!({"conditions": conditions}));
    assert_eq!(
        line(&live(&task, known)),
        "payload ✓ → template default ✓ → accepted ✓ → slot … MaxRunning: 2 run"
    );
}

#[test]
fn an_end_is_the_end_of_the_chain() {
    let run = "template default ✓ → accepted ✓ → quota ✓ → pod ✓ → node ✓ → image ✓ → configuration ✓ → container ✓";
    let started = || condition("Started", "True", "Started", "");
    assert_eq!(of("Running", json!([started()])), format!("{run} → running …"));
    assert_eq!(
        of(
            "Succeeded",
            json!([started(), condition("Complete", "True", "Succeeded", "m")])
        ),
        format!("{run} → running ✓ → succeeded ✓")
    );
    assert_eq!(
        of(
            "Failed",
            json!([started(), condition("Failed", "True", "OOMKilled", "m")])
        ),
        format!("{run} → running ✓ → succeeded ✗ OOMKilled: m")
    );
    let deadline = json!([
        condition("Started", "False", "Unschedulable", "0/1 nodes"),
        condition("Failed", "True", "StartDeadline", "m"),
    ]);
    assert_eq!(
        of("Failed", deadline),
        "template default ✓ → accepted ✓ → quota ✓ → pod ✓ → node ✗ StartDeadline: m"
    );
    let refused = json!([
        condition("Accepted", "False", "InvalidTask", "m"),
        condition("Failed", "True", "InvalidTask", "m"),
    ]);
    assert_eq!(of("Failed", refused), "accepted ✗ InvalidTask: m");
}

#[test]
fn offline_the_chain_ends_where_the_cluster_begins() {
    let task = |spec| task("a", spec, Value::Null);
    let noop = || json!({"task": {"type": "noop"}});
    assert_eq!(
        line(&offline(&task(noop()), DEFAULT, None, "it would be created")),
        "template default ✓ → accepted ✓ → quota …: it would be created"
    );
    assert_eq!(
        line(&offline(
            &task(noop()),
            DEFAULT,
            Some((Acceptance::NoTemplate, "m")),
            ""
        )),
        "template default ✗ NoTemplate: m"
    );
    let held = task(json!({"task": {"type": "noop"}, "suspend": true}));
    assert!(
        line(&offline(&held, DEFAULT, None, "")).ends_with("not suspended ✗ Suspended: spec.suspend is true")
    );
}

#[test]
fn every_stage_is_in_its_place() {
    assert!(STAGES.is_sorted_by_key(|(stage, _)| *stage));
}
