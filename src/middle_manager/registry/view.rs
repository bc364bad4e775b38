//! The fields of PeonTasks and pods that the virtual MiddleManager reads (pure).
//!
//! All other fields are dropped during decoding: neither payloads nor pod specs are held in memory.

use k8s_openapi::api::core::v1::{ContainerStatus, Pod, PodCondition};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use k8s_openapi::jiff::Timestamp;
use kube::{Resource, ResourceExt};
use serde::{Deserialize, Serialize};

use super::announcement::{Progress, facts_of};
use super::identity::Ordinal;
use super::indexer_run::IndexerRun;
use crate::api::{
    ANNOTATION_CONTAINER, ANNOTATION_ENDPOINT, ANNOTATION_OVERLORD, FORGOTTEN, LABEL_IDENTITY,
    PEON_CONTAINER, PeonEndpoint, PeonTask, PeonTaskStatus,
};
use crate::apiserver::classify::decode::{self, Guarded, Readable};
use crate::druid::worker::{TaskFacts, TaskLocation};

/// A PeonTask without its payload.
#[derive(Debug, Clone, Serialize, Deserialize, Resource)]
#[resource(inherit = PeonTask)]
pub struct TaskView {
    /// Name, labels, annotations.
    pub metadata: ObjectMeta,
    /// The spec.
    #[serde(default)]
    pub spec: SpecView,
    /// The status, written by the operator.
    #[serde(default)]
    pub status: Option<PeonTaskStatus>,
}

/// The fields of a PeonTask's spec that are read.
#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize)]
pub struct SpecView {
    /// Whether the task is cancelled.
    #[serde(default)]
    pub cancel: bool,
    /// Whether the task is suspended.
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
    /// The status, written by the kubelet.
    #[serde(default)]
    pub status: Option<PodStatusView>,
}

/// The fields of a pod's status that are read.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PodStatusView {
    /// Phase of the pod.
    #[serde(default)]
    pub phase: Option<String>,
    /// Address of the pod.
    #[serde(default, rename = "podIP")]
    pub pod_ip: Option<String>,
    /// Conditions of the pod.
    #[serde(default)]
    pub conditions: Vec<PodCondition>,
    /// Containers of the pod.
    #[serde(default)]
    pub container_statuses: Vec<ContainerStatus>,
}

/// A PeonTask of this VirtualMiddleManager, as it was seen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seen {
    /// Name of the PeonTask.
    pub name: String,
    /// Uid of the PeonTask.
    pub uid: String,
    /// Resource version of the PeonTask. Versions are compared as numbers, which Kubernetes documents since 1.35 and
    /// has always supported; `None` if it is not a number.
    pub version: Option<u64>,
    /// When it was created.
    pub created: Option<Timestamp>,
    /// The identity that it was assigned to.
    pub identity: Ordinal,
    /// Facts about the task.
    pub facts: TaskFacts,
    /// Whether the task is cancelled.
    pub cancel: bool,
    /// Whether the overlord knows the task's end and no longer asks about it.
    pub forgotten: bool,
    /// State in its status; `None` if it cannot be read.
    pub state: Option<State>,
}

/// The status of a PeonTask.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct State {
    /// Number of the current attempt.
    pub attempt: u32,
    /// When its peon started.
    pub started: Option<Timestamp>,
    /// Progress of the task.
    pub progress: Progress,
    /// The Indexer in which that attempt runs; `None` if it has a pod of its own, or none yet.
    pub indexer: Option<IndexerRun>,
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
            indexer: status.and_then(IndexerRun::of),
        };
        Self::of_meta(&task.metadata, task.spec.cancel, Some(state))
    }

    /// Reads a PeonTask from a watch: one that cannot be decoded as a whole exists all the same.
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

/// The controller of a pod.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Owner {
    /// The PeonTask with this uid: the pod is that of an attempt.
    Task(String),
    /// An IndexerPool: the pod is that of an Indexer.
    Pool,
}

/// The pod of an attempt or of an Indexer, as it was seen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PodSeen {
    /// Name of the pod.
    pub name: String,
    /// Uid of the pod.
    pub uid: String,
    /// Its controller.
    pub owner: Owner,
    /// The peon's container.
    pub container: String,
    /// Whether that container has started, and so has a log.
    pub begun: bool,
    /// Location of the peon, once the pod was ready; `None` for an Indexer.
    pub location: Option<TaskLocation>,
}

impl PodSeen {
    /// Reads a pod; `None` for one that belongs neither to a PeonTask nor to an IndexerPool.
    #[must_use]
    pub fn of(pod: &PodView) -> Option<Self> {
        let mut owners = pod.owner_references().iter();
        let controller = owners.find(|owner| owner.controller == Some(true))?;
        let owner = match controller.kind.as_str() {
            "PeonTask" => Owner::Task(controller.uid.clone()),
            "IndexerPool" => Owner::Pool,
            _ => return None,
        };
        let container = pod.annotations().get(ANNOTATION_CONTAINER);
        let container = container.map_or(PEON_CONTAINER, String::as_str);
        let status = pod.status.clone().unwrap_or_default();
        let peon = status.container_statuses.iter().find(|c| c.name == container);
        Some(Self {
            name: pod.metadata.name.clone()?,
            uid: pod.metadata.uid.clone()?,
            location: location(pod, &status).filter(|_| owner != Owner::Pool),
            owner,
            container: container.to_owned(),
            begun: peon.is_some_and(|c| started(c).is_some()),
        })
    }
}

/// Location of a peon. The pod's name is left out: Druid's console would show it in place of the address, and it means
/// nothing outside of the cluster; Druid 33 is not known to send one.
fn location(pod: &PodView, status: &PodStatusView) -> Option<TaskLocation> {
    was_ready(status).then_some(())?;
    let address = status.pod_ip.as_deref().filter(|ip| !ip.is_empty())?;
    let endpoint = pod.annotations().get(ANNOTATION_ENDPOINT);
    Some(PeonEndpoint::read(endpoint.map(String::as_str)).location(address))
}

/// Whether a pod is ready, or was. The condition is False from the beginning, and its time is that of its last change.
/// So if it became False after a container had started, it was True before. A peon that is unready for a moment thus
/// keeps its location after a restart of this process.
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

/// When a container started, whatever its current state.
pub(crate) fn started(container: &ContainerStatus) -> Option<Timestamp> {
    let state = container.state.as_ref()?;
    let running = state.running.as_ref().and_then(|r| r.started_at.as_ref());
    let terminated = state.terminated.as_ref().and_then(|t| t.started_at.as_ref());
    // For a container that never started the runtime reports the zero time.
    let at = running.or(terminated).map(|t| t.0);
    at.filter(|at| *at > Timestamp::UNIX_EPOCH)
}

#[cfg(test)]
#[path = "view_tests.rs"]
mod tests;
