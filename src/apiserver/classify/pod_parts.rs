//! The fields of a pod that are read, decoded without the others: a pod from the API server has ten times as many.

use k8s_openapi::api::core::v1::{
    ContainerState, ContainerStatus, Pod, PodCondition, PodSchedulingGate, PodSpec, PodStatus,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use serde::Deserialize;

use super::decode::Known;

/// Conditions that are read: by the evidence about a task, and `Ready` by pools.
const CONDITIONS: [&str; 4] = ["PodScheduled", "DisruptionTarget", "TerminationTarget", "Ready"];

#[derive(Deserialize)]
struct Parts {
    #[serde(default)]
    metadata: Known,
    spec: Option<Spec>,
    status: Option<Status>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Spec {
    node_name: Option<String>,
    termination_grace_period_seconds: Option<i64>,
    active_deadline_seconds: Option<i64>,
    scheduling_gates: Option<Vec<PodSchedulingGate>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Status {
    phase: Option<String>,
    reason: Option<String>,
    message: Option<String>,
    #[serde(rename = "podIP")]
    pod_ip: Option<String>,
    start_time: Option<Time>,
    conditions: Option<Vec<PodCondition>>,
    container_statuses: Option<Vec<Container>>,
    init_container_statuses: Option<Vec<Container>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Container {
    name: String,
    #[serde(default)]
    restart_count: i32,
    state: Option<ContainerState>,
    last_state: Option<ContainerState>,
}

/// Reads a pod.
pub(super) fn read(json: &str) -> serde_json::Result<Pod> {
    let Parts {
        metadata,
        spec,
        status,
    } = serde_json::from_str(json)?;
    Ok(Pod {
        metadata: metadata.into(),
        spec: spec.map(|spec| PodSpec {
            node_name: spec.node_name,
            termination_grace_period_seconds: spec.termination_grace_period_seconds,
            active_deadline_seconds: spec.active_deadline_seconds,
            scheduling_gates: spec.scheduling_gates,
            ..PodSpec::default()
        }),
        status: status.map(Status::into),
    })
}

impl From<Status> for PodStatus {
    fn from(status: Status) -> Self {
        let containers = |containers: Option<Vec<Container>>| {
            containers.map(|all| all.into_iter().map(Container::into).collect())
        };
        let conditions = status.conditions.map(|mut conditions| {
            conditions.retain(|condition| CONDITIONS.contains(&condition.type_.as_str()));
            conditions
        });
        Self {
            phase: status.phase,
            reason: status.reason,
            message: status.message,
            pod_ip: status.pod_ip,
            start_time: status.start_time,
            conditions,
            container_statuses: containers(status.container_statuses),
            init_container_statuses: containers(status.init_container_statuses),
            ..Self::default()
        }
    }
}

impl From<Container> for ContainerStatus {
    fn from(container: Container) -> Self {
        Self {
            name: container.name,
            restart_count: container.restart_count,
            state: container.state,
            last_state: container.last_state,
            ..Self::default()
        }
    }
}
