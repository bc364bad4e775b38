#![allow(clippy::needless_pass_by_value)] // `json!` is handed over as it is written.

use serde_json::{Value, json};

use super::*;
use crate::cli::tasks::tests::{at, condition, task};

fn pool(indexers: Value) -> IndexerPool {
    let pool = json!({
        "apiVersion": "peon.dev/v1alpha1", "kind": "IndexerPool",
        "metadata": {
            "name": "warm", "namespace": "druid", "uid": "pool", "creationTimestamp": "2026-11-21T08:00:00Z",
        },
        "spec": {
            "middleManagerRef": {"name": "vmm"}, "replicas": 2, "maxIndexers": 20,
            "resources": {"limits": {"memory": "2Gi"}},
        },
        "status": {
            "replicas": 3, "readyReplicas": 1, "indexers": indexers,
            "conditions": [condition("Ready", "False", "Starting", "warm-c waits:\nInsufficient memory")],
        },
    });
    serde_json::from_value(pool).unwrap()
}

fn indexers() -> Value {
    json!([
        {"pod": "warm-a", "state": "Ready"},
        {"pod": "warm-b", "state": "Ready"},
        {"pod": "warm-c", "state": "Starting", "reason": "0/3 nodes are available"},
    ])
}

fn pod(name: &str, uid: &str, owner: &str) -> Pod {
    let owner = json!({
        "apiVersion": "peon.dev/v1alpha1", "kind": "IndexerPool", "name": "warm", "uid": owner, "controller": true,
    });
    serde_json::from_value(json!({
        "metadata": {"name": name, "uid": uid, "ownerReferences": [owner]},
        "spec": {"nodeName": "n1", "containers": []},
    }))
    .unwrap()
}

fn pods(names: &[&str]) -> Vec<PodOf> {
    let pods = names.iter().map(|name| pod(name, &format!("uid-{name}"), "pool"));
    pods.filter_map(|pod| PodOf::of(&pod, &pool(json!([])))).collect()
}

fn in_indexer(name: &str, phase: &str, pod: &str, conditions: Value) -> IndexerTask {
    let status = json!({
        "phase": phase, "attempt": 1, "conditions": conditions,
        "run": {"kind": "Worker", "pool": "warm", "pod": pod, "podUID": format!("uid-{pod}")},
    });
    IndexerTask::of(&task(name, json!({}), status)).unwrap()
}

fn tasks() -> Vec<IndexerTask> {
    let succeeded = json!([condition("Complete", "True", "Succeeded", "")]);
    let mut elsewhere = in_indexer("elsewhere", "Running", "warm-a", json!([]));
    elsewhere.pool = "other".to_owned();
    vec![
        in_indexer("nightly", "Running", "warm-b", json!([])),
        in_indexer("lost", "Running", "warm-x", json!([])),
        in_indexer("old", "Succeeded", "warm-y", succeeded),
        elsewhere,
    ]
}

#[test]
fn a_pool_is_a_line() {
    let overview = Overview::of(&pool(indexers()), &tasks(), at(90));
    assert_eq!(
        table(std::slice::from_ref(&overview), false),
        "NAME   IDLE   MAX   INDEXERS   WARM   WITH-TASK   REASON     MEMORY   AGE\n\
         warm   2      20    3          1      2           Starting   2Gi      90s\n"
    );
    assert!(table(std::slice::from_ref(&overview), true).starts_with("NAMESPACE   NAME"));
    let new: IndexerPool = serde_json::from_value(json!({
        "apiVersion": "peon.dev/v1alpha1", "kind": "IndexerPool", "metadata": {"name": "new"},
        "spec": {"middleManagerRef": {"name": "vmm"}, "maxIndexers": 3, "resources": {}},
    }))
    .unwrap();
    let line = table(&[Overview::of(&new, &[], at(0))], false);
    assert!(
        line.ends_with("\nnew    1      3     0          0      0           -        -        -\n"),
        "{line}"
    );
}

#[test]
fn an_indexer_has_the_task_that_names_its_pod() {
    let pods = pods(&["warm-a", "warm-b", "warm-c"]);
    let details = Details::of(&pool(indexers()), Some(&pods), &tasks(), at(90));
    assert_eq!(
        details.text(Style::none()),
        "IndexerPool druid/warm: Starting\n  warm-c waits: Insufficient memory\n  idle wanted 2, at most 20; \
         3 Indexers, 1 warm, 2 with a task, 2Gi each\n\n\
         POD      STATE      TASK      PHASE     NODE   REASON\n\
         warm-a   Ready      -         -         n1     -\n\
         warm-b   Ready      nightly   Running   n1     -\n\
         warm-c   Starting   -         -         n1     0/3 nodes are available\n\
         warm-x   Gone       lost      Running   -      -\n"
    );
    assert_eq!(
        json!(details)["indexers"][1],
        json!({"pod": "warm-b", "state": "Ready", "task": "nightly", "phase": "Running", "node": "n1"})
    );
    let found = json!(details);
    assert_eq!((&found["withTask"], &found["total"]), (&json!(2), &json!(3)));
}

#[test]
fn a_pool_says_that_queries_are_not_served() {
    let mut pool = pool(json!([]));
    let mut with = |status: &str| {
        let served: k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition =
            serde_json::from_value(condition("QueriesServed", status, "x", "no effect:\nwhy")).unwrap();
        let conditions = &mut pool.status.as_mut().unwrap().conditions;
        conditions.truncate(1);
        conditions.push(served);
        Details::of(&pool, None, &[], at(90))
    };
    let text = with("False").text(Style::none());
    assert!(
        text.starts_with(
            "IndexerPool druid/warm: Starting\n  warm-c waits: Insufficient memory\n  no effect: why\n  idle"
        ),
        "{text}"
    );
    assert_eq!(json!(with("False"))["queriesNotServed"], "no effect:\nwhy");
    assert!(!with("True").text(Style::none()).contains("no effect"));
}

#[test]
fn pods_that_the_status_does_not_list_are_shown_and_those_that_are_gone_are_not() {
    let mut pods = pods(&["warm-b", "warm-z"]);
    pods[1].is_terminating = true;
    let tasks = [in_indexer("nightly", "Running", "warm-z", json!([]))];
    let details = Details::of(&pool(indexers()), Some(&pods), &tasks, at(90));
    let rows: Vec<_> = details
        .indexers
        .iter()
        .map(|row| (row.pod.as_str(), row.state.as_deref(), row.task.as_deref()))
        .collect();
    assert_eq!(
        rows,
        [
            ("warm-b", Some("Ready"), None),
            ("warm-z", Some("Terminating"), Some("nightly"))
        ]
    );
}

/// A pod with the name of an earlier one is another Indexer.
#[test]
fn the_uid_of_the_pod_counts() {
    let mut pods = pods(&["warm-b"]);
    "another".clone_into(&mut pods[0].uid);
    let ended = json!([condition("Failed", "True", "NoVerdict", "")]);
    let tasks = [in_indexer("nightly", "Failed", "warm-b", ended)];
    let details = Details::of(&pool(indexers()), Some(&pods), &tasks, at(90));
    assert_eq!(details.indexers[0].task, None);
    assert_eq!(PodOf::of(&pod("p", "u", "other"), &pool(json!([]))), None);
}

#[test]
fn without_the_right_to_list_pods_the_status_is_shown() {
    let details = Details::of(&pool(indexers()), None, &tasks(), at(90));
    let rows: Vec<_> = details
        .indexers
        .iter()
        .map(|row| (row.pod.as_str(), row.state.as_deref(), row.task.as_deref()))
        .collect();
    assert_eq!(
        rows,
        [
            ("warm-a", Some("Ready"), None),
            ("warm-b", Some("Ready"), Some("nightly")),
            ("warm-c", Some("Starting"), None),
            ("warm-x", None, Some("lost")),
        ]
    );
}

#[test]
fn a_task_in_its_own_pod_is_in_no_pool() {
    for run in [json!({"kind": "Pod", "pod": "a-1", "podUID": "u"}), json!(null)] {
        assert_eq!(IndexerTask::of(&task("a", json!({}), json!({"run": run}))), None);
    }
}

#[test]
fn what_others_wrote_controls_no_terminal() {
    let odd = json!([{"pod": "warm-a", "state": "Failed", "reason": "\u{1b}[31m\nred"}]);
    let details = Details::of(&pool(odd), None, &[], at(0));
    let text = details.text(Style::none());
    assert!(text.ends_with("   \\u001b[31m red\n"), "{text}");
}
