//! PeonTasks and pods as the API server returns them, for the tests of the virtual MiddleManager.

#![allow(clippy::needless_pass_by_value)] // `json!` is handed over as it is written.

use k8s_openapi::jiff::Timestamp;
use serde_json::{Value, json};

use super::registry::announcement::{annotations, facts};
use super::registry::identity::Ordinal;
use super::registry::view::{PodSeen, PodView, Seen, TaskView};
use crate::api::names;
use crate::druid::worker::TaskFacts;

/// The identity that the fixtures are assigned to.
pub const FIRST: Ordinal = Ordinal(0);

pub fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).unwrap()
}

/// A task that writes to a datasource.
pub fn indexing(id: &str) -> TaskFacts {
    facts(id, "index", Some("wiki"))
}

/// A PeonTask named after its uid.
pub fn task(id: &str, uid: &str, version: u64, status: Value) -> Value {
    json!({
        "apiVersion": "peon.dev/v1alpha1", "kind": "PeonTask",
        "metadata": {
            "name": format!("task-{uid}"), "namespace": "ns", "uid": uid, "resourceVersion": version.to_string(),
            "labels": {"peon.dev/identity": "0", "peon.dev/middle-manager": "vmm"},
            "annotations": annotations(&indexing(id)),
        },
        "spec": {},
        "status": status,
    })
}

pub fn view(task: Value) -> TaskView {
    serde_json::from_value(task).unwrap()
}

pub fn seen(id: &str, uid: &str, version: u64, status: Value) -> Seen {
    Seen::of(&view(task(id, uid, version, status))).unwrap()
}

/// The status of a task whose peon runs.
pub fn running() -> Value {
    json!({"phase": "Running", "attempt": 1, "startTime": at(100)})
}

/// The status of a task that runs in an Indexer of the IndexerPool `warm`, whose pod has this uid.
pub fn in_indexer(attempt: u32, pod_uid: &str, host: &str) -> Value {
    let mut status = running();
    status["attempt"] = json!(attempt);
    status["run"] = json!({
        "kind": "Worker", "pool": "warm", "pod": format!("warm-{pod_uid}"), "podUID": pod_uid,
        "host": host, "port": 8091,
    });
    status
}

/// The status of a task with a verdict: started at 100, complete at 142.
pub fn ended(condition: &str, reason: &str) -> Value {
    json!({
        "attempt": 1, "startTime": at(100), "completionTime": at(142),
        "conditions": [{
            "type": condition, "status": "True", "reason": reason, "message": "as it was",
            "lastTransitionTime": at(143),
        }],
    })
}

/// The same with what is said of its log.
pub fn with_log(mut status: Value, archived: bool, reason: &str) -> Value {
    let condition = json!({
        "type": "LogsArchived", "status": if archived { "True" } else { "False" }, "reason": reason,
        "message": "", "lastTransitionTime": at(143),
    });
    status["conditions"].as_array_mut().unwrap().push(condition);
    status
}

pub fn succeeded() -> Value {
    ended("Complete", "Succeeded")
}

pub fn failed() -> Value {
    ended("Failed", "OOMKilled")
}

/// The pod of an attempt of the PeonTask of this uid; its container started at 110.
pub fn pod(owner: &str, attempt: u32, ready: bool, ready_since: i64) -> Value {
    let name = names::attempt(&format!("task-{owner}"), attempt);
    json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {
            "name": name, "namespace": "ns", "uid": format!("pod-{owner}-{attempt}"),
            "ownerReferences": [{
                "apiVersion": "peon.dev/v1alpha1", "kind": "PeonTask", "name": format!("task-{owner}"), "uid": owner,
                "controller": true,
            }],
            "annotations": {"kubectl.kubernetes.io/default-container": "main"},
        },
        "spec": {"containers": [{"name": "main", "image": "i"}]},
        "status": {
            "phase": "Running", "podIP": format!("10.0.0.{attempt}"),
            "conditions": [{
                "type": "Ready", "status": if ready { "True" } else { "False" },
                "lastTransitionTime": at(ready_since),
            }],
            "containerStatuses": [{
                "name": "main", "image": "i", "imageID": "i", "ready": ready, "restartCount": 0,
                "state": {"running": {"startedAt": at(110)}},
            }],
        },
    })
}

pub fn pod_view(pod: Value) -> PodView {
    serde_json::from_value(pod).unwrap()
}

/// A pod that has been ready.
pub fn ready(owner: &str, attempt: u32) -> PodSeen {
    PodSeen::of(&pod_view(pod(owner, attempt, true, 120))).unwrap()
}

/// A ready pod of the IndexerPool `warm`; its container started at 110.
pub fn indexer(uid: &str, ip: &str) -> Value {
    let mut pod = pod("", 1, true, 120);
    pod["metadata"]["name"] = json!(format!("warm-{uid}"));
    pod["metadata"]["uid"] = json!(uid);
    pod["metadata"]["ownerReferences"] = json!([{
        "apiVersion": "peon.dev/v1alpha1", "kind": "IndexerPool", "name": "warm", "uid": "pool", "controller": true,
    }]);
    pod["status"]["podIP"] = json!(ip);
    pod
}

/// What an Indexer announces whose process began at that second.
pub fn indexer_announcement(ip: &str, second: i64, services: Value) -> Vec<u8> {
    let announcement = json!({
        "druidNode": {
            "service": "druid/indexer", "host": ip, "bindOnHost": true, "plaintextPort": 8091, "port": -1,
            "tlsPort": -1, "enablePlaintextPort": true, "enableTlsPort": false, "labels": null,
        },
        "nodeType": "indexer", "services": services, "startTime": at(second),
    });
    announcement.to_string().into_bytes()
}
