//! PeonTasks and pods as far as the virtual MiddleManager looks at them (pure).
//!
//! What is not named here is dropped while it is read: neither payloads nor pod specs are kept.

use k8s_openapi::api::core::v1::{ContainerStatus, Pod, PodCondition};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use k8s_openapi::jiff::Timestamp;
use kube::{Resource, ResourceExt};
use serde::{Deserialize, Serialize};

use super::announcement::{Progress, facts_of};
use super::identity::Ordinal;
use crate::api::{
    ANNOTATION_CONTAINER, ANNOTATION_OVERLORD, FORGOTTEN, LABEL_IDENTITY, PEON_CONTAINER, PeonTask,
    PeonTaskStatus,
};
use crate::apiserver::classify::decode::{self, Guarded, Readable};
use crate::druid::properties::PEON_PORT;
use crate::druid::worker::{TaskFacts, TaskLocation};

/// A PeonTask without its payload.
#[derive(Debug, Clone, Serialize, Deserialize, Resource)]
#[resource(inherit = PeonTask)]
pub struct TaskView {
    /// Name, labels, annotations.
    pub metadata: ObjectMeta,
    /// What is wanted of it.
    #[serde(default)]
    pub spec: SpecView,
    /// What the operator says of it.
    #[serde(default)]
    pub status: Option<PeonTaskStatus>,
}

/// The spec of a PeonTask as far as it is looked at.
#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize)]
pub struct SpecView {
    /// It is to end.
    #[serde(default)]
    pub cancel: bool,
    /// It is held.
    #[serde(default)]
    pub suspend: bool,
}

impl Readable for TaskView {
    fn prune(metadata: &mut ObjectMeta) {
        decode::reduce_task(metadata);
    }
}

impl Readable for PodView {
    fn prune(metadata: &mut ObjectMeta) {
        decode::reduce_pod(metadata);
    }
}

impl From<PeonTask> for TaskView {
    fn from(task: PeonTask) -> Self {
        Self {
            metadata: task.metadata,
            spec: SpecView {
                cancel: task.spec.cancel,
                suspend: task.spec.suspend,
            },
            status: task.status,
        }
    }
}

/// A pod without its spec.
#[derive(Debug, Clone, Serialize, Deserialize, Resource)]
#[resource(inherit = Pod)]
pub struct PodView {
    /// Name, owner, annotations.
    pub metadata: ObjectMeta,
    /// What the kubelet says of it.
    #[serde(default)]
    pub status: Option<PodStatusView>,
}

/// The status of a pod as far as it is looked at.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PodStatusView {
    /// Its address.
    #[serde(default, rename = "podIP")]
    pub pod_ip: Option<String>,
    /// Its conditions.
    #[serde(default)]
    pub conditions: Vec<PodCondition>,
    /// Its containers.
    #[serde(default)]
    pub container_statuses: Vec<ContainerStatus>,
}

/// A PeonTask of this VirtualMiddleManager as it was seen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seen {
    /// Its name.
    pub name: String,
    /// Its uid.
    pub uid: String,
    /// Its resource version. They are compared as numbers, which Kubernetes documents since 1.35 and has done for ever;
    /// `None` for one that is no number.
    pub version: Option<u64>,
    /// When it was created.
    pub created: Option<Timestamp>,
    /// The identity that it was assigned to.
    pub identity: Ordinal,
    /// What the task says of itself.
    pub facts: TaskFacts,
    /// Whether it is to end.
    pub cancel: bool,
    /// Whether the overlord has heard of its end and asks no more.
    pub forgotten: bool,
    /// What its status says; `None` for one that cannot be read.
    pub state: Option<State>,
}

/// The status of a PeonTask.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct State {
    /// Number of the current attempt.
    pub attempt: u32,
    /// When its peon started.
    pub started: Option<Timestamp>,
    /// How far it has come.
    pub progress: Progress,
}

impl Seen {
    /// Reads a PeonTask; `None` for one without a task id or without an identity, which was not assigned.
    #[must_use]
    pub fn of(task: &TaskView) -> Option<Self> {
        let status = task.status.as_ref();
        let state = State {
            attempt: status.and_then(|s| s.attempt).unwrap_or(1),
            started: status.and_then(|s| s.start_time.as_ref()).map(|t| t.0),
            progress: Progress::of(status),
        };
        Self::of_meta(&task.metadata, task.spec.cancel, Some(state))
    }

    /// Reads a PeonTask as it comes from a watch: one that cannot be read as a whole is there all the same.
    #[must_use]
    pub fn guarded(task: &Guarded<TaskView>) -> Option<Self> {
        match &task.0 {
            Ok(task) => Self::of(task),
            Err(invalid) => Self::of_meta(&invalid.metadata, false, None),
        }
    }

    fn of_meta(metadata: &ObjectMeta, cancel: bool, state: Option<State>) -> Option<Self> {
        let label = metadata.labels.as_ref()?.get(LABEL_IDENTITY)?;
        let annotations = metadata.annotations.as_ref();
        let overlord = annotations.and_then(|a| a.get(ANNOTATION_OVERLORD));
        Some(Self {
            name: metadata.name.clone()?,
            uid: metadata.uid.clone()?,
            version: metadata.resource_version.as_ref().and_then(|v| v.parse().ok()),
            created: metadata.creation_timestamp.as_ref().map(|t| t.0),
            identity: Ordinal(label.parse().ok()?),
            facts: facts_of(metadata)?,
            cancel,
            forgotten: overlord.is_some_and(|o| o == FORGOTTEN),
            state,
        })
    }
}

/// The pod of an attempt as it was seen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PodSeen {
    /// Its name.
    pub name: String,
    /// Its uid.
    pub uid: String,
    /// Uid of its PeonTask.
    pub owner: String,
    /// The peon's container.
    pub container: String,
    /// Whether that container has begun: it has a log.
    pub begun: bool,
    /// Where its peon is called, once it was ready.
    pub location: Option<TaskLocation>,
}

impl PodSeen {
    /// Reads a pod; `None` for one that belongs to no PeonTask.
    #[must_use]
    pub fn of(pod: &PodView) -> Option<Self> {
        let owners = pod.owner_references().iter();
        let owner = owners
            .filter(|o| o.controller == Some(true) && o.kind == "PeonTask")
            .map(|o| o.uid.clone())
            .next()?;
        let container = pod.annotations().get(ANNOTATION_CONTAINER);
        let container = container.map_or(PEON_CONTAINER, String::as_str);
        let status = pod.status.clone().unwrap_or_default();
        let peon = status.container_statuses.iter().find(|c| c.name == container);
        Some(Self {
            name: pod.metadata.name.clone()?,
            uid: pod.metadata.uid.clone()?,
            owner,
            container: container.to_owned(),
            begun: peon.is_some_and(|c| started(c).is_some()),
            location: location(&status),
        })
    }
}

/// Where a peon is called. Its pod's name would stand in the console for its address, and means nothing outside the
/// cluster; Druid 33 is not known to send one.
fn location(status: &PodStatusView) -> Option<TaskLocation> {
    was_ready(status).then_some(())?;
    let address = status.pod_ip.clone().filter(|ip| !ip.is_empty())?;
    Some(TaskLocation::http(address, PEON_PORT))
}

/// Whether a pod is ready, or was. A condition that went to False after a container had started was True before: it is
/// False from the beginning, and its time is that of its last change. So a peon that is silent for a moment keeps its
/// location when this process is another one.
fn was_ready(status: &PodStatusView) -> bool {
    let Some(ready) = status.conditions.iter().find(|c| c.type_ == "Ready") else {
        return false;
    };
    if ready.status == "True" {
        return true;
    }
    let first = status.container_statuses.iter().filter_map(started).min();
    let changed = ready.last_transition_time.as_ref().map(|t| t.0);
    matches!((first, changed), (Some(first), Some(changed)) if changed > first)
}

/// When a container began, whatever it does now.
fn started(container: &ContainerStatus) -> Option<Timestamp> {
    let state = container.state.as_ref()?;
    let running = state.running.as_ref().and_then(|r| r.started_at.as_ref());
    let terminated = state.terminated.as_ref().and_then(|t| t.started_at.as_ref());
    // Of a container that never started the runtime says the beginning of all time.
    let at = running.or(terminated).map(|t| t.0);
    at.filter(|at| *at > Timestamp::UNIX_EPOCH)
}

#[cfg(test)]
#[path = "view_tests.rs"]
mod tests;
