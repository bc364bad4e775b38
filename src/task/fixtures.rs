//! Objects as the API server returns them, for the tests of this controller.

#![allow(clippy::needless_pass_by_value)] // `json!` is handed over as it is written.

use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::jiff::Timestamp;
use serde_json::{Value, json};

use super::aggregates::idle_indexers::{Asker, Idle, PoolOffer};
use super::aggregates::slots::Who;
use super::decide::plan::{Step, plan};
use super::run::pod::evidence::Evidence;
use super::snapshot::{Outcomes, Snapshot, Template};
use crate::api::{PeonTask, PeonTaskStatus, PeonTemplate, TaskSlot};
use crate::apiserver::classify::refusal::Creation;
use crate::apiserver::classify::watched_pod::WatchedPod;
use crate::druid::indexer_ports::IndexerPorts;
use crate::druid::payload::Payload;
use crate::druid::properties::RuntimeProperties;
use crate::druid::rows_in_memory::RowsInMemory;

/// Uid of the task that the fixtures are about.
pub const TASK_UID: &str = "task-uid";
/// Uid of its pod.
pub const POD_UID: &str = "pod-uid";
/// Name of its pod and ConfigMap.
pub const POD: &str = "nightly-1";
/// Id of its payload.
pub const ID: &str = "the id";
/// When its peon ended, in seconds.
pub const ENDED: i64 = 200;

pub fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).unwrap()
}

/// A task with this spec.
pub fn task(spec: Value) -> PeonTask {
    serde_json::from_value(json!({
        "apiVersion": "peon.dev/v1alpha1",
        "kind": "PeonTask",
        "metadata": {"name": "nightly", "namespace": "ns", "uid": TASK_UID, "generation": 1},
        "spec": spec,
    }))
    .unwrap()
}

/// A task that runs without an overlord.
pub fn noop() -> PeonTask {
    task(json!({"task": {"type": "noop", "id": ID}}))
}

/// The task with this status.
pub fn with_status(mut task: PeonTask, status: PeonTaskStatus) -> PeonTask {
    task.status = Some(status);
    task
}

pub fn template(spec: Value) -> PeonTemplate {
    let object = json!({
        "apiVersion": "peon.dev/v1alpha1",
        "kind": "PeonTemplate",
        "metadata": {"name": "default", "namespace": "ns"},
        "spec": spec,
    });
    serde_json::from_value(object).unwrap()
}

pub fn payload(task: Value) -> Payload {
    let Value::Object(task) = task else {
        panic!("{task} is no object");
    };
    Payload::parse(&task, "nightly").unwrap()
}

/// What the pool of this name offers to tasks of the VirtualMiddleManager `ingestion`.
pub fn pool_offer(name: &str) -> PoolOffer {
    PoolOffer {
        name: name.into(),
        manager: "ingestion".into(),
        template: "default".into(),
        matches: None,
        serves_queries: false,
        is_shared: false,
        scales: false,
        longest: None,
        task_bytes: 0,
        quarantined: Vec::new(),
        overflows_after: Some(Duration::ZERO),
        priority: 0,
        memory: (4 << 30, "4Gi".into()),
        cpu_milli: (2000, "2".into()),
        kill_grace: Duration::from_secs(30),
        busy_cpu: None,
    }
}

/// A task that asks for an Indexer; its id is its name.
pub fn asker<'a>(task: &'a Who, task_uid: &'a str, created: Timestamp, waits: bool) -> Asker<'a> {
    Asker {
        task,
        task_uid,
        task_id: &task.1,
        created,
        waits,
        slot: TaskSlot::Heavy,
        rows: RowsInMemory::Share,
        group: None,
    }
}

/// An idle Indexer.
pub fn idle_indexer(pod: &str, pod_uid: &str) -> Idle {
    Idle {
        pod: pod.into(),
        pod_uid: pod_uid.into(),
        host: "10.0.0.9".into(),
        ports: IndexerPorts::Plain,
        node: Some("node".into()),
        slots: None,
    }
}

/// What a pass knows before it acted: the task and an empty template, and no pod.
pub fn snapshot(task: PeonTask) -> Snapshot {
    Snapshot {
        task: Arc::new(task),
        template: Template::Found(Arc::new(template(json!({})))),
        operator: Arc::new(RuntimeProperties::default()),
        cached: None,
        others: Vec::new(),
        departed: None,
        indexer: None,
        pools: Vec::new(),
        pools_open_in: None,
        may_have_pod: false,
        held: None,
        keeps_logs: false,
        inline: std::sync::OnceLock::new(),
        outcomes: Outcomes {
            // It has no subtasks.
            live_subtasks: Some(0),
            ..Outcomes::default()
        },
    }
}

/// The task's pod, bound to a node at second 100 unless the status says something else of that.
pub fn pod(mut status: Value) -> WatchedPod {
    let mut conditions = status["conditions"].as_array().cloned().unwrap_or_default();
    if !conditions.iter().any(|c| c["type"] == "PodScheduled") {
        let bound =
            json!({"type": "PodScheduled", "status": "True", "lastTransitionTime": at(100).to_string()});
        conditions.push(bound);
    }
    status["conditions"] = Value::Array(conditions);
    serde_json::from_value(json!({
        "metadata": {
            "name": POD, "namespace": "ns", "uid": POD_UID,
            "ownerReferences": [{
                "apiVersion": "peon.dev/v1alpha1", "kind": "PeonTask", "name": "nightly", "uid": TASK_UID,
                "controller": true,
            }],
        },
        "spec": {"nodeName": "node", "containers": []},
        "status": status,
    }))
    .unwrap()
}

/// What the task's pod shows.
pub fn evidence(status: Value) -> Evidence {
    Evidence::of(&pod(status))
}

/// The status of a pod in this phase whose peon's container is in this state.
pub fn in_state(phase: &str, state: Value) -> Value {
    json!({"phase": phase, "containerStatuses": [{
        "name": "peon", "image": "i", "imageID": "i", "ready": false, "restartCount": 0, "state": state,
    }]})
}

/// The status of a pod whose peon runs.
pub fn running() -> Value {
    in_state("Running", json!({"running": {"startedAt": at(110).to_string()}}))
}

/// The status of a pod whose peon ended at [`ENDED`].
pub fn ended(exit_code: i32, reason: &str, message: &str) -> Value {
    let phase = if exit_code == 0 { "Succeeded" } else { "Failed" };
    in_state(
        phase,
        json!({"terminated": {
            "exitCode": exit_code, "reason": reason, "message": message,
            "startedAt": at(110).to_string(), "finishedAt": at(ENDED).to_string(),
        }}),
    )
}

/// Adds the condition `DisruptionTarget` to a pod's status.
pub fn disrupted(mut status: Value, reason: &str, since: i64) -> Value {
    status["conditions"] = json!([{
        "type": "DisruptionTarget", "status": "True", "reason": reason, "message": "as was asked",
        "lastTransitionTime": at(since).to_string(),
    }]);
    status
}

/// A `TaskStatus` as Druid writes it.
pub fn task_status(id: &str, status: &str, error: Option<&str>) -> String {
    let (id, error) = (json!(id), json!(error));
    format!(
        "{{\"id\":{id},\"status\":\"{status}\",\"duration\":3617,\"errorMsg\":{error},\
         \"location\":{{\"host\":null,\"port\":-1,\"tlsPort\":-1}}}}"
    )
}

/// A task whose status names its pod since second 100.
pub fn recorded() -> PeonTask {
    let created = Snapshot {
        outcomes: Outcomes {
            claim: Some(Creation::Created("map".into())),
            creation: Some(Creation::Created(POD_UID.into())),
            ..Outcomes::default()
        },
        ..snapshot(noop())
    };
    match plan(&created, at(100)) {
        Step::Settle(settlement) => with_status(noop(), settlement.status.unwrap()),
        other @ Step::Act(_) => panic!("{other:?}"),
    }
}
