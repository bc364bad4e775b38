#![allow(clippy::needless_pass_by_value)] // `json!` is handed over as it is written.

use std::time::Duration;

use serde_json::{Value, json};

use super::super::findings::{KnownPools, choose, judge, payload};
use super::*;
use crate::api::PeonTemplate;
use crate::cli::tasks::tests::{at, task};
use crate::druid::properties::RuntimeProperties;
use crate::task::aggregates::durations::Expected;

fn pool(name: &str, spec: Value, status: Value) -> IndexerPool {
    let mut all = json!({
        "middleManagerRef": {"name": "ingestion"}, "resources": {"limits": {"memory": "4Gi", "cpu": "2"}},
    });
    all.as_object_mut()
        .unwrap()
        .extend(spec.as_object().unwrap().clone());
    let object = json!({
        "apiVersion": "peon.dev/v1alpha1", "kind": "IndexerPool", "metadata": {"name": name, "namespace": "druid"},
        "spec": all, "status": status,
    });
    serde_json::from_value(object).unwrap()
}

fn small(status: Value) -> IndexerPool {
    pool("small", json!({"mode": "Shared"}), status)
}

fn warm(spec: Value) -> IndexerPool {
    let mut all = json!({"maxIndexers": 3});
    all.as_object_mut()
        .unwrap()
        .extend(spec.as_object().unwrap().clone());
    pool("warm", all, Value::Null)
}

/// What is printed of a task with this spec.
fn said(spec: Value, pools: Vec<IndexerPool>, expected: Option<u64>) -> String {
    let template: PeonTemplate = serde_json::from_value(json!({
        "apiVersion": "peon.dev/v1alpha1", "kind": "PeonTemplate", "metadata": {"name": "default"}, "spec": {},
    }))
    .unwrap();
    let task = task("nightly", spec, Value::Null);
    let payload = payload(&task, Err(String::new()));
    let choice = choose(&task, payload.as_deref().ok(), &[template]);
    let known = KnownPools {
        pools,
        expected: expected.map(|seconds| Expected {
            mean: Duration::from_secs(seconds),
            tasks: 2,
        }),
    };
    let judged = judge(
        &task,
        &choice,
        &RuntimeProperties::default(),
        payload,
        &known,
        at(0),
    );
    judged.pools.map_or_else(String::new, |pools| pools.text())
}

fn spec(druid: Value, more: Value) -> Value {
    let mut spec = json!({"task": druid, "middleManagerRef": {"name": "ingestion"}});
    spec.as_object_mut()
        .unwrap()
        .extend(more.as_object().unwrap().clone());
    spec
}

#[test]
fn each_pool_says_whether_it_may_run_the_task() {
    let index = || json!({"type": "index", "id": "x"});
    let text = said(
        spec(index(), json!({})),
        vec![warm(json!({})), small(Value::Null)],
        None,
    );
    let lines: Vec<&str> = text.lines().map(str::trim_end).collect();
    assert_eq!(lines.len(), 5, "{text}");
    assert_eq!(
        lines[0],
        "it runs in an Indexer of small, else of warm; if none has room, in its own pod"
    );
    assert!(
        lines[3].starts_with("small   Shared   -      may run it, in a heavy slot: about ")
            && lines[3].ends_with(" MiB of rows in memory"),
        "{text}"
    );
    assert_eq!(lines[4], "warm    Single   -      may run it");
    let kill = json!({"type": "kill", "id": "x"});
    let text = said(
        spec(kill, json!({"placement": "Pool"})),
        vec![small(Value::Null)],
        None,
    );
    assert!(
        text.starts_with("it runs in an Indexer of small; it waits while none has room\n")
            && text.contains("may run it, in a light slot"),
        "{text}"
    );
}

#[test]
fn each_rule_that_refuses_the_task_is_named() {
    let kill_only = warm(json!({"match": {"types": ["kill"]}, "templateRef": {"name": "large"}}));
    let mut other = pool("other", json!({"mode": "Shared"}), Value::Null);
    other.spec.middle_manager_ref.name = "elsewhere".into();
    let index = json!({"type": "index", "id": "x"});
    let text = said(
        spec(index, json!({})),
        vec![kill_only, other, small(Value::Null)],
        Some(900),
    );
    for said in [
        "it runs in its own pod\n",
        "other   Shared   middleManagerRef    it runs tasks of the VirtualMiddleManager elsewhere, the task is for ingestion",
        "small   Shared   expected duration   the last 2 tasks of its type and datasource took 900 s on average, and its \
         maxExpectedSeconds is 600",
        "warm    Single   match               its match does not fit the task",
        "template            its Indexers are made from the PeonTemplate large, the task's is default",
    ] {
        assert!(text.contains(said), "{said}\n{text}");
    }
}

#[test]
fn what_the_task_says_of_its_place_comes_first() {
    let noop = || json!({"type": "noop", "id": "x"});
    let of = |more: Value| said(spec(noop(), more), vec![small(Value::Null)], None);
    assert!(of(json!({"placement": "Pod"})).contains("placement   the task's placement is Pod"));
    assert!(of(json!({"poolRef": {"name": "x"}})).contains("poolRef   the task names the pool x"));
    let alone = said(json!({"task": noop()}), vec![small(Value::Null)], None);
    assert!(alone.contains("no overlord assigned the task"), "{alone}");
    assert_eq!(said(spec(noop(), json!({})), Vec::new(), None), "");
}

#[test]
fn a_pool_of_a_cluster_says_whether_it_is_ready() {
    let condition = |type_: &str, reason: &str| {
        json!({"type": type_, "status": "False", "reason": reason, "message": "an Indexer starts",
            "lastTransitionTime": "2026-11-29T12:00:00Z"})
    };
    let quarantine = json!([{"kind": {"taskType": "index"}, "until": "2026-11-30T12:00:00Z"}]);
    let status = json!({"conditions": [condition("Ready", "Starting")], "quarantine": quarantine});
    let text = said(
        spec(json!({"type": "index", "id": "x"}), json!({})),
        vec![small(status)],
        None,
    );
    assert!(
        text.contains("quarantine   two of the last three Indexers that ran out of memory")
            && text.contains("is not ready: Starting: an Indexer starts"),
        "{text}"
    );
}
