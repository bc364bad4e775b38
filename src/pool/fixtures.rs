//! Objects as the API server returns them, for the tests of pools.

#![allow(clippy::needless_pass_by_value)] // `json!` is handed over as it is written.

use std::collections::BTreeSet;

use k8s_openapi::jiff::Timestamp;
use serde_json::{Value, json};

use super::decide::indexer::{Duty, Indexer};
use super::decide::plan::Plan;
use crate::api::reason::PoolReadiness;
use crate::api::{IndexerPool, LABEL_REVISION, VirtualMiddleManager};
use crate::apiserver::classify::watched_pod::WatchedPod;

/// Uid of the pool of the fixtures.
pub const POOL_UID: &str = "pool-uid";

pub fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).unwrap()
}

/// A pool with these fields of its spec besides those that are required.
pub fn pool(spec: Value) -> IndexerPool {
    let mut object = json!({
        "apiVersion": "peon.dev/v1alpha1",
        "kind": "IndexerPool",
        "metadata": {"name": "warm", "namespace": "ns", "uid": POOL_UID, "generation": 1},
        "spec": {
            "middleManagerRef": {"name": "ingestion"},
            "maxIndexers": 5,
            "resources": {"limits": {"memory": "1Gi", "cpu": "1"}},
        },
    });
    object["spec"]
        .as_object_mut()
        .unwrap()
        .extend(spec.as_object().unwrap().clone());
    serde_json::from_value(object).unwrap()
}

/// The VirtualMiddleManager that the pool names, with these fields of its spec besides those that are required.
pub fn manager(spec: Value) -> VirtualMiddleManager {
    let mut object = json!({
        "apiVersion": "peon.dev/v1alpha1", "kind": "VirtualMiddleManager",
        "metadata": {"name": "ingestion", "namespace": "ns"},
        "spec": {"discovery": {}, "overlord": {"url": "http://o:8090"}},
    });
    object["spec"]
        .as_object_mut()
        .unwrap()
        .extend(spec.as_object().unwrap().clone());
    serde_json::from_value(object).unwrap()
}

/// A plan that does nothing.
pub fn plan(reason: PoolReadiness) -> Plan {
    Plan {
        drain: BTreeSet::new(),
        create: 0,
        delete: Vec::new(),
        reason,
        message: "m".into(),
        look_again: None,
        scaling: None,
        ended: Vec::new(),
        quarantine: Vec::new(),
        queries: None,
    }
}

/// A pod of the pool, created at this second.
pub fn pod(name: &str, revision: &str, created: i64, status: Value) -> WatchedPod {
    serde_json::from_value(json!({
        "metadata": {
            "name": name, "namespace": "ns", "uid": name,
            "creationTimestamp": at(created).to_string(),
            "labels": {LABEL_REVISION: revision},
            "ownerReferences": [{
                "apiVersion": "peon.dev/v1alpha1", "kind": "IndexerPool", "name": "warm", "uid": POOL_UID,
                "controller": true,
            }],
        },
        "spec": {"nodeName": "node", "containers": []},
        "status": status,
    }))
    .unwrap()
}

pub fn indexer(name: &str, revision: &str, created: i64, status: Value) -> Indexer {
    Indexer {
        duty: Duty::Idle,
        ..Indexer::of(&pod(name, revision, created, status))
    }
}

/// The status of a pod whose Indexer is in this state.
pub fn in_state(phase: &str, ready: bool, state: Value) -> Value {
    json!({
        "phase": phase,
        "conditions": [{"type": "Ready", "status": if ready { "True" } else { "False" }}],
        "containerStatuses": [{
            "name": "peon", "image": "i", "imageID": "i", "ready": ready, "restartCount": 0, "state": state,
        }],
    })
}

pub fn starting() -> Value {
    in_state(
        "Running",
        false,
        json!({"running": {"startedAt": at(5).to_string()}}),
    )
}

pub fn ready() -> Value {
    in_state(
        "Running",
        true,
        json!({"running": {"startedAt": at(5).to_string()}}),
    )
}

pub fn ended(code: i32, message: &str) -> Value {
    let state = json!({"terminated": {"exitCode": code, "reason": "Error", "message": message}});
    in_state("Failed", false, state)
}
