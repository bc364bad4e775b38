#![allow(clippy::needless_pass_by_value)] // `json!` is handed over as it is written.

use super::*;
use crate::cli::tasks::tests::{at, condition, task};
use serde_json::{Value, json};

use crate::api::PeonTemplate;

fn template(spec: Value) -> PeonTemplate {
    let template = json!({
        "apiVersion": "peon.dev/v1alpha1", "kind": "PeonTemplate", "metadata": {"name": "default"}, "spec": spec,
    });
    serde_json::from_value(template).unwrap()
}

fn gathered(spec: Value, status: Value, templates: Option<Vec<PeonTemplate>>) -> Gathered {
    Gathered {
        task: task("nightly", spec, status),
        templates,
        chunks: None,
        warnings: Vec::new(),
        log: None,
        pools: KnownPools::default(),
        notes: Vec::new(),
    }
}

fn explained(gathered: Gathered) -> Report {
    live(gathered, &RuntimeProperties::default(), true, at(60))
}

#[test]
fn a_waiting_task_is_explained_from_its_conditions() {
    let message = "exceeded quota: none";
    let status = json!({
        "phase": "Pending", "reason": "QuotaExceeded", "template": "default",
        "conditions": [condition("Accepted", "True", "Valid", ""), condition("Ready", "False", "QuotaExceeded", message)],
    });
    let spec = json!({"task": {"type": "noop"}});
    let report = explained(gathered(
        spec,
        status,
        Some(vec![template(json!({"image": "druid:1"}))]),
    ));
    let text = report.text(Style::none());
    assert!(
        text.starts_with(
            "PeonTask druid/nightly: Pending (QuotaExceeded)\n\nState\n  template default ✓ → accepted ✓ → quota ✗ \
             QuotaExceeded: exceeded quota: none\n\nWhat it means\n  a ResourceQuota has nothing left\n\nWhat to do\n  \
             wait, or raise it; it is tried again at least every minute\n\nSettings\n  SETTING "
        ),
        "{text}"
    );
    assert!(
        text.contains("\n  image ") && text.contains(" druid:1 "),
        "{text}"
    );
    assert!(
        !text.contains("Attempts") && !text.contains("Not known"),
        "{text}"
    );
}

#[test]
fn of_a_task_that_makes_no_progress_what_is_known_is_said() {
    let message = "the peon runs, but its server did not answer";
    let status = json!({
        "phase": "Running", "attempt": 1, "run": {"kind": "Pod", "pod": "nightly-1", "podUID": "i"},
        "conditions": [condition("Ready", "True", "Running", message)],
    });
    let log = LogEnd::read(b"2026-11-21T08:00:10Z WARN [main] a.B - no \x1b[31mZooKeeper\n");
    let task = gathered(json!({"task": {"type": "noop"}}), status, Some(Vec::new()));
    let report = explained(Gathered { log, ..task });
    let text = report.text(Style::none());
    assert!(
        text.contains(&format!("running …: {message}\n"))
            && text.contains("\nThe end of its log\n  the last line is 50s old: WARN [main] a.B - no \\u001b[31mZooKeeper\n"),
        "{text}"
    );
    assert_eq!(json!(report)["log"]["warnings"][0]["times"], 1);
}

#[test]
fn a_task_that_runs_is_somewhere_for_a_reason() {
    let status = json!({
        "phase": "Running", "attempt": 1, "memory": "3G", "nodeName": "n1",
        "run": {"kind": "Worker", "pool": "warm", "pod": "warm-a", "podUID": "i", "reason": "warm-a was\u{1b} idle"},
        "conditions": [condition("Ready", "True", "Running", "the peon runs")],
    });
    let spec = json!({"task": {"type": "noop"}});
    let report = explained(gathered(spec, status, Some(vec![template(json!({}))])));
    let text = report.text(Style::none());
    assert!(
        text.contains(
            "\nWhere it runs\n  in the Indexer warm-a of the IndexerPool warm on the node n1: warm-a was\\u001b idle\n  cpu, \
             memory and JVM are those of the pool (kubectl peon pool warm); the settings below are those of a pod of its \
             own\n"
        ),
        "{text}"
    );
    assert!(!text.contains("3G of memory"), "{text}");
    assert_eq!(json!(report)["run"]["kind"], "Worker");
}

#[test]
fn attempts_are_a_history() {
    let status = json!({
        "phase": "Running", "attempt": 2, "memory": "3G", "run": {"kind": "Pod", "pod": "nightly-2"}, "startTime": "2026-11-21T08:00:50Z",
        "attempts": [{
            "number": 1, "cause": "OOMKilled", "memory": "2G", "exitCode": 137,
            "startTime": "2026-11-21T08:00:00Z", "completionTime": "2026-11-21T08:00:40Z",
        }],
        "conditions": [condition("Started", "True", "Started", ""), condition("Ready", "True", "Running", "the peon runs")],
    });
    let report = explained(gathered(
        json!({"task": {"type": "noop"}}),
        status,
        Some(vec![template(json!({}))]),
    ));
    let text = report.text(Style::none());
    assert!(text.starts_with("PeonTask druid/nightly: Running\n"), "{text}");
    assert!(
        text.contains(
            "  ATTEMPT   STATE       MEMORY   EXIT   DURATION\n  1         OOMKilled   2G       137    40s\n  \
             2         Running     3G       -      10s\n"
        ),
        "{text}"
    );
    assert!(text.contains("the current attempt has 3G of memory"), "{text}");
}

#[test]
fn missing_rights_leave_gaps_and_say_so() {
    let mut gathered = gathered(json!({"task": {"type": "noop"}}), Value::Null, None);
    gathered
        .notes
        .push("you may not list peontemplates in the namespace druid: x".into());
    let report = explained(gathered);
    let text = report.text(Style::none());
    assert!(
        text.contains("State\n  operator ✗ WaitingForOperator\n"),
        "{text}"
    );
    assert!(
        text.contains("Not known\n  you may not list peontemplates"),
        "{text}"
    );
    assert!(!text.contains("heap"), "{text}");
    let json = serde_json::to_value(&report).unwrap();
    assert_eq!(json["chain"][0]["state"], "Blocked");
    assert_eq!(json["settings"][0]["setting"], "template");
}

#[test]
fn a_payload_in_a_secret_is_not_shown() {
    let payload = r#"{"type":"noop","context":{"password":"hunter2"}}"#;
    let chunks = crate::payload::chunks::Chunks::split(payload.as_bytes()).unwrap();
    let spec = json!({"taskFrom": chunks.task_from("nightly", crate::payload::chunks::Kind::Secret)});
    let status = json!({
        "phase": "Pending", "reason": "NoTemplate", "taskType": "noop", "taskId": "x",
        "conditions": [condition("Ready", "False", "NoTemplate", "m")],
    });
    let mut gathered = gathered(spec, status, Some(vec![template(json!({}))]));
    gathered.chunks = Some(Ok(vec![payload.into()]));
    let report = explained(gathered);
    let json = serde_json::to_string(&report).unwrap();
    assert!(json.contains("heap") && !json.contains("hunter2"), "{json}");
}

#[test]
fn offline_a_task_is_judged_with_the_templates_at_hand() {
    let of = |spec: Value, templates: &[PeonTemplate]| {
        offline(
            &task("a", spec, Value::Null),
            templates,
            &KnownPools::default(),
            &RuntimeProperties::default(),
            at(0),
        )
    };
    let good = of(json!({"task": {"type": "noop"}}), &[template(json!({}))]);
    assert!(!good.refused);
    let text = good.text(Style::none());
    assert!(
        text.starts_with(
            "PeonTask druid/a: would be accepted\n\nState\n  template default ✓ → accepted ✓ → quota …: the operator \
             would create the ConfigMap and then the pod a-1\n"
        ),
        "{text}"
    );
    let overlord = of(json!({"task": {"type": "index"}}), &[template(json!({}))]);
    assert!(overlord.refused);
    let text = overlord.text(Style::none());
    assert!(
        text.contains("would not be accepted (NeedsOverlord)") && text.contains("What to do"),
        "{text}"
    );
    assert!(of(json!({"task": {"type": "noop"}}), &[]).refused);
}

/// The status has the memory of the attempt before until the next one is created.
#[test]
fn an_attempt_that_is_about_to_be_made_has_the_memory_that_it_will_have() {
    let status = json!({
        "phase": "Pending", "reason": "Retrying", "attempt": 2, "memory": "1Gi", "memoryStep": 1,
        "attempts": [{"number": 1, "cause": "OOMKilled", "memory": "1Gi"}],
        "conditions": [condition("Ready", "False", "Retrying", "again")],
    });
    let spec = json!({"task": {"type": "noop"}, "resources": {"limits": {"memory": "1Gi"}}});
    let report = explained(gathered(spec, status, Some(vec![template(json!({}))])));
    let memory = report.attempts.iter().map(|attempt| attempt.memory.as_deref());
    assert_eq!(memory.collect::<Vec<_>>(), [Some("1Gi"), Some("1536Mi")]);
    let text = report.text(Style::none());
    assert!(
        text.contains("the memory ladder, from 1Gi of the PeonTask's spec"),
        "{text}"
    );
}

#[test]
fn what_has_no_effect_is_shown() {
    let spec = json!({"task": {"type": "noop"}});
    let template = template(json!({"properties": {"druid.worker.capacity": "4"}}));
    let text = explained(gathered(spec, json!({}), Some(vec![template]))).text(Style::none());
    let said = "property druid.worker.capacity: set capacity of the VirtualMiddleManager";
    assert!(text.contains(said), "{text}");
}
