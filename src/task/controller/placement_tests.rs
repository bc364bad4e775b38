//! Passes that are given an idle Indexer of a pool.

use std::collections::HashSet;

use super::*;
use crate::api::LABEL_IDENTITY;
use crate::task::aggregates::idle_indexers::Use;
use crate::task::fixtures::{idle_indexer, pool_offer};

/// A process whose pool has these Indexers, which are idle, and a task that the overlord assigned.
fn with_pool(idle: &[&str]) -> Operator {
    let mut operator = Operator::new();
    operator.template(QUIET);
    operator.caches.aggregates.listed();
    offers(&operator, idle, idle);
    let task = json!({"apiVersion": "peon.dev/v1alpha1", "kind": "PeonTask",
        "metadata": {"name": "t", "labels": {LABEL_IDENTITY: "identity"}},
        "spec": {"task": {"type": "index", "id": "t"}, "middleManagerRef": {"name": "ingestion"}},
        "status": {"phase": "Pending", "reason": "WaitingForOperator", "conditions": []}});
    operator.create(QUIET, Kind::Task, task);
    operator.tell(QUIET, "t");
    operator
}

/// The pool has these pods, of which these are idle.
fn offers(operator: &Operator, pods: &[&str], idle: &[&str]) {
    let indexer = |pod: &&str| idle_indexer(pod, pod);
    let pods: HashSet<String> = pods.iter().map(|pod| (*pod).to_owned()).collect();
    let indexers = &operator.caches.aggregates.indexers;
    let _ = indexers.offer(
        QUIET,
        pool_offer("warm"),
        idle.iter().map(indexer).collect(),
        pods,
    );
}

fn use_of(operator: &Operator, pod: &str) -> Use {
    operator.caches.aggregates.indexers.use_of(QUIET, "warm", pod)
}

/// Somebody else changes the task.
fn change(operator: &Operator, change: impl FnOnce(&mut Value)) {
    let mut tenants = operator.cluster.tenants.lock();
    tenants.get_mut(QUIET).unwrap().update(Kind::Task, "t", change);
}

/// A pass takes an Indexer, and cannot write the claim: the task was changed in between.
async fn takes_in_vain(operator: &mut Operator, changes: impl FnOnce(&mut Value)) {
    let stale: PeonTask = serde_json::from_value(operator.now(QUIET, "t")).unwrap();
    change(operator, changes);
    let outcome = Box::pin(operator.context.pass(&stale)).await;
    assert!(!matches!(outcome, Ok((true, _))), "{outcome:?}");
    assert_eq!(use_of(operator, "i0"), Use::Claimed);
    assert_eq!(operator.now(QUIET, "t")["status"]["run"], Value::Null);
    operator.tell(QUIET, "t");
}

#[tokio::test]
async fn the_claim_is_written_and_nothing_is_created() {
    let mut operator = with_pool(&["i0"]);
    let (wrote, _) = operator.pass(QUIET, "t").await.unwrap();
    assert!(wrote);
    let run = &operator.now(QUIET, "t")["status"]["run"];
    assert_eq!((&run["kind"], &run["podUID"]), (&json!("Worker"), &json!("i0")));
    assert_eq!(use_of(&operator, "i0"), Use::Claimed);
    operator.tell(QUIET, "t");
    assert_eq!(use_of(&operator, "i0"), Use::Claimed);
    assert_eq!(operator.asked("POST", ""), [""; 0]);
}

#[tokio::test]
async fn a_pass_that_could_not_write_its_claim_takes_the_same_indexer_again() {
    let mut operator = with_pool(&["i0", "i1"]);
    takes_in_vain(&mut operator, |task| {
        task["metadata"]["annotations"] = json!({"a": "b"});
    })
    .await;
    // For its pool, an Indexer that was given to a task is not idle any more.
    offers(&operator, &["i0", "i1"], &["i1"]);
    operator.pass(QUIET, "t").await.unwrap();
    assert_eq!(operator.now(QUIET, "t")["status"]["run"]["podUID"], "i0");
    assert_eq!(use_of(&operator, "i1"), Use::None);
}

#[tokio::test]
async fn a_pass_that_wrote_something_else_gives_its_indexer_back() {
    let changes: [fn(&mut Value); 2] = [
        |task| task["spec"]["placement"] = json!("Pod"),
        |task| task["spec"]["suspend"] = json!(true),
    ];
    for change in changes {
        let mut operator = with_pool(&["i0"]);
        takes_in_vain(&mut operator, change).await;
        let (wrote, _) = operator.pass(QUIET, "t").await.unwrap();
        assert!(wrote);
        assert_eq!(use_of(&operator, "i0"), Use::None);
        assert_ne!(operator.now(QUIET, "t")["status"]["run"]["kind"], "Worker");
    }
}

#[tokio::test]
async fn a_task_that_finds_none_runs_in_its_own_pod_and_says_why() {
    let mut operator = with_pool(&[]);
    operator.pass(QUIET, "t").await.unwrap();
    assert_eq!(
        operator.asked("POST", ""),
        [""; 0],
        "the decision is written first"
    );
    operator.tell(QUIET, "t");
    // What is idle by now is for others.
    offers(&operator, &["i0"], &["i0"]);
    operator.pass(QUIET, "t").await.unwrap();
    assert_eq!(operator.asked("POST", "pods").len(), 1);
    let run = operator.now(QUIET, "t")["status"]["run"].clone();
    assert_eq!(run["kind"], "Pod");
    assert_eq!(
        run["reason"],
        "no Indexer had room of the pools that may run the task: warm"
    );
    assert_eq!(use_of(&operator, "i0"), Use::None);
}
