//! A pod as it is cached: the fields that are read, without the others.
//!
//! A pod from the API server has ten times as many fields, and the type of the Kubernetes client has room for all of them:
//! 2,248 bytes for each pod where this one has 632, and 752 for each container where this one has 448.

use k8s_openapi::api::core::v1::{ContainerState, Pod, PodCondition, PodSchedulingGate};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time};
use kube::Resource;
use serde::{Deserialize, Deserializer, Serialize};

use super::decode::Known;

/// Conditions that are read: by the evidence about a task, and the last two by pools.
const CONDITIONS: [&str; 5] = [
    "PodScheduled",
    "DisruptionTarget",
    "TerminationTarget",
    "Ready",
    "ContainersReady",
];

/// A pod of the operator.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, Resource)]
#[resource(inherit = Pod)]
pub struct WatchedPod {
    /// Its metadata.
    #[serde(default, deserialize_with = "known")]
    pub metadata: ObjectMeta,
    /// What was asked for.
    pub spec: Option<WatchedSpec>,
    /// What the kubelet and the scheduler say.
    pub status: Option<WatchedStatus>,
}

/// The fields of `spec` that are read.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct WatchedSpec {
    /// Name of the node.
    pub node_name: Option<String>,
    /// Seconds between the request to end and the kill.
    pub termination_grace_period_seconds: Option<i64>,
    /// Seconds that the pod may run.
    pub active_deadline_seconds: Option<i64>,
    /// Gates without which the scheduler does not look at the pod.
    pub scheduling_gates: Option<Vec<PodSchedulingGate>>,
}

/// The fields of `status` that are read.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct WatchedStatus {
    /// Phase of the pod.
    pub phase: Option<String>,
    /// Why it is in this phase, in one word.
    pub reason: Option<String>,
    /// The same in a sentence.
    pub message: Option<String>,
    /// Address of the pod.
    #[serde(rename = "podIP")]
    pub pod_ip: Option<String>,
    /// When the kubelet took the pod.
    pub start_time: Option<Time>,
    /// The conditions that are read.
    #[serde(default, deserialize_with = "conditions")]
    pub conditions: Option<Vec<PodCondition>>,
    /// The containers.
    pub container_statuses: Option<Vec<WatchedContainer>>,
    /// The init containers, with the sidecars.
    pub init_container_statuses: Option<Vec<WatchedContainer>>,
}

/// The fields of a container's status that are read.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct WatchedContainer {
    /// Its name.
    pub name: String,
    /// How often it was started again.
    #[serde(default)]
    pub restart_count: i32,
    /// Its state.
    pub state: Option<ContainerState>,
    /// Its state before it was started again.
    pub last_state: Option<ContainerState>,
}

fn known<'de, D: Deserializer<'de>>(deserializer: D) -> Result<ObjectMeta, D::Error> {
    Known::deserialize(deserializer).map(Known::into)
}

fn conditions<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Vec<PodCondition>>, D::Error> {
    let mut conditions: Option<Vec<PodCondition>> = Option::deserialize(deserializer)?;
    if let Some(conditions) = &mut conditions {
        conditions.retain(|condition| CONDITIONS.contains(&condition.type_.as_str()));
    }
    Ok(conditions)
}
