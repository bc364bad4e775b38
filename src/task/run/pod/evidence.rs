//! The evidence that a pod shows about its peon (pure).

use k8s_openapi::api::core::v1::ContainerState;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::{SignedDuration, Timestamp};

use super::log_plan::CONTAINER as LOG_SIDECAR;
use crate::api::{ANNOTATION_CONTAINER, ANNOTATION_ENDPOINT, PEON_CONTAINER, PeonEndpoint};
use crate::apiserver::classify::watched_pod::{WatchedContainer, WatchedPod};
use crate::logs::format::sidecar_message::LogVerdict;

/// The fields of a pod that decide on its task.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Evidence {
    /// Name of the pod.
    pub pod_name: String,
    /// Uid of the pod.
    pub pod_uid: String,
    /// Resource version of the pod.
    pub version: Option<String>,
    /// Uid of the controlling owner.
    pub owner_uid: Option<String>,
    /// When the pod was bound to its node.
    pub scheduled: Option<Timestamp>,
    /// The node, once the pod is bound to one.
    pub node: Option<String>,
    /// Address of the pod: `status.podIP`.
    pub host: Option<String>,
    /// Where other processes call the peon, once the pod has an address.
    pub endpoint: PeonEndpoint,
    /// Whether its readiness probe says that the peon's server has not answered yet.
    pub unanswered: bool,
    /// `status.phase`.
    pub phase: String,
    /// `status.reason` and `status.message`.
    pub reason: Option<String>,
    /// See [`Self::reason`].
    pub message: String,
    /// When the deletion of the pod was requested.
    pub deletion_requested: Option<Timestamp>,
    /// When its grace period ends: `deletionTimestamp`.
    pub deletion_due: Option<Timestamp>,
    /// The condition `DisruptionTarget`, or that by which Kueue says why it deletes a pod.
    pub disruption: Option<Disruption>,
    /// Names of the gates that keep the pod from being scheduled.
    pub gates: Vec<String>,
    /// The message of `PodScheduled=False`.
    pub unschedulable: Option<String>,
    /// Name of the peon's container.
    pub container: String,
    /// The peon's container.
    pub peon: Container,
    /// Whether the peon's container is known to have run, whatever its state is now: a kubelet that ends a pod may
    /// report a container that it removed as waiting to be created.
    pub ran: bool,
    /// The first init container that waits or failed: its name and state.
    pub init: Option<(String, Container)>,
    /// What the sidecar that reads the log reported.
    pub sidecar: SidecarReport,
    /// Whether an ordinary container beside the peon's runs.
    pub sidecars: bool,
    /// When the kubelet accepted the pod: its `activeDeadlineSeconds` counts from here.
    pub taken: Option<Timestamp>,
    /// `terminationGracePeriodSeconds`.
    pub grace: Option<i64>,
    /// `activeDeadlineSeconds`.
    pub active_deadline: Option<i64>,
}

/// The condition `DisruptionTarget` of a pod.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Disruption {
    /// Its reason.
    pub reason: String,
    /// Its message.
    pub message: String,
    /// When it was set.
    pub since: Timestamp,
}

/// State of a container.
#[derive(Debug, Clone, Default, PartialEq)]
pub enum Container {
    /// The kubelet has reported nothing about it.
    #[default]
    Unknown,
    /// It does not run yet.
    Waiting {
        /// Why.
        reason: String,
        /// The details.
        message: String,
    },
    /// It runs.
    Running {
        /// Since when.
        started: Option<Timestamp>,
    },
    /// It ended.
    Terminated(Terminated),
}

/// How a container ended.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Terminated {
    /// Its exit code.
    pub exit_code: i32,
    /// The runtime's reason: `Completed`, `Error`, `OOMKilled`, `StartError`.
    pub reason: String,
    /// The termination message.
    pub message: String,
    /// When it had started.
    pub started: Option<Timestamp>,
    /// When it ended.
    pub finished: Option<Timestamp>,
}

impl Terminated {
    /// Whether it ended within a second: Druid needs longer to begin anything.
    #[must_use]
    pub fn lasted_a_second(&self) -> bool {
        match (self.started, self.finished) {
            // The kubelet reports whole seconds.
            (Some(started), Some(finished)) => finished.as_second() - started.as_second() <= 1,
            _ => false,
        }
    }
}

/// What the sidecar that reads the log reported when it ended.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct SidecarReport {
    /// Whether all of the log is in the store.
    pub complete: bool,
    /// Whether the log says that the task published segments.
    pub published: bool,
    /// Whether the log says that memory ran out.
    pub out_of_memory: bool,
}

/// The condition that Kueue sets on a pod before it deletes it; the message says why.
const KUEUES_STOP: &str = "TerminationTarget";
/// The reason of that condition.
pub const STOPPED_BY_KUEUE: &str = "StoppedByKueue";

/// Reasons of containers that the runtime could not start.
pub const NEVER_RAN: [&str; 2] = ["StartError", "ContainerCannotRun"];

/// Whether a pod that is unready since then was never ready: the condition is False from the beginning, so it was True if
/// it became False after the container had started.
fn unanswered(unready: Option<Time>, peon: Option<&WatchedContainer>) -> bool {
    let state = peon.and_then(|peon| peon.state.as_ref());
    let started = state.and_then(|s| s.running.as_ref()?.started_at.as_ref());
    matches!((unready, started), (Some(unready), Some(started)) if unready.0 <= started.0)
}

impl Evidence {
    /// Reads a pod. A pod without container statuses, as after node pressure and rejections, is a normal input.
    #[must_use]
    pub fn of(pod: &WatchedPod) -> Self {
        let status = pod.status.clone().unwrap_or_default();
        let conditions = status.conditions.unwrap_or_default();
        let condition = |type_: &str, value: &str| {
            conditions
                .iter()
                .find(|c| c.type_ == type_ && c.status == value)
                .cloned()
        };
        let containers = status.container_statuses.unwrap_or_default();
        // The template names the peon's container, and a webhook may put others before it.
        let annotations = pod.metadata.annotations.as_ref();
        let peon_name = annotations
            .and_then(|a| a.get(ANNOTATION_CONTAINER))
            .map_or(PEON_CONTAINER, String::as_str);
        let init = status.init_container_statuses.unwrap_or_default();
        let sidecar = init.iter().find(|c| c.name == LOG_SIDECAR).map(container);
        let said = match &sidecar {
            Some(Container::Terminated(ended)) => LogVerdict::parse(&ended.message),
            _ => None,
        };
        Self {
            sidecar: said.map_or_else(SidecarReport::default, |said| SidecarReport {
                complete: said.complete,
                published: said.published,
                out_of_memory: said.out_of_memory,
            }),
            container: peon_name.to_owned(),
            endpoint: PeonEndpoint::read(
                annotations
                    .and_then(|a| a.get(ANNOTATION_ENDPOINT))
                    .map(String::as_str),
            ),
            pod_name: pod.metadata.name.clone().unwrap_or_default(),
            pod_uid: pod.metadata.uid.clone().unwrap_or_default(),
            version: pod.metadata.resource_version.clone(),
            owner_uid: pod
                .metadata
                .owner_references
                .iter()
                .flatten()
                .find(|o| o.controller == Some(true))
                .map(|o| o.uid.clone()),
            unanswered: unanswered(
                condition("Ready", "False").and_then(|c| c.last_transition_time),
                containers.iter().find(|c| c.name == peon_name),
            ),
            taken: status.start_time.map(|t| t.0),
            grace: pod.spec.as_ref().and_then(|s| s.termination_grace_period_seconds),
            active_deadline: pod.spec.as_ref().and_then(|s| s.active_deadline_seconds),
            sidecars: containers
                .iter()
                .filter(|c| c.name != peon_name)
                .any(|c| matches!(container(c), Container::Running { .. })),
            scheduled: condition("PodScheduled", "True")
                .and_then(|c| c.last_transition_time)
                .map(|t| t.0),
            node: pod.spec.as_ref().and_then(|s| s.node_name.clone()),
            host: status.pod_ip.filter(|ip| !ip.is_empty()),
            phase: status.phase.unwrap_or_default(),
            reason: status.reason,
            message: status.message.unwrap_or_default(),
            deletion_requested: deletion_requested(pod),
            deletion_due: pod.metadata.deletion_timestamp.as_ref().map(|t| t.0),
            disruption: condition("DisruptionTarget", "True")
                .or_else(|| {
                    let stop = condition(KUEUES_STOP, "True");
                    stop.filter(|c| c.reason.as_deref() == Some(STOPPED_BY_KUEUE))
                })
                .map(|c| Disruption {
                    reason: c.reason.unwrap_or_default(),
                    message: c.message.unwrap_or_default(),
                    since: c.last_transition_time.map_or(Timestamp::UNIX_EPOCH, |t| t.0),
                }),
            gates: pod
                .spec
                .as_ref()
                .and_then(|spec| spec.scheduling_gates.as_ref())
                .map(|gates| gates.iter().map(|gate| gate.name.clone()).collect())
                .unwrap_or_default(),
            unschedulable: condition("PodScheduled", "False").map(|c| {
                let message = c.message.unwrap_or_default();
                match c.reason.as_deref() {
                    None | Some("Unschedulable") => message,
                    // A failing scheduler.
                    Some(reason) => format!("{reason}: {message}"),
                }
            }),
            peon: containers
                .iter()
                .find(|c| c.name == peon_name)
                .map_or(Container::Unknown, container),
            ran: containers.iter().find(|c| c.name == peon_name).is_some_and(|c| {
                c.restart_count > 0 || c.last_state.as_ref().is_some_and(|s| s.terminated.is_some())
            }),
            init: init
                .iter()
                .map(|c| (c.name.clone(), container(c)))
                .find(|(_, c)| c.blocks()),
        }
    }

    /// Whether a process of the peon may be alive.
    #[must_use]
    pub fn may_live(&self) -> bool {
        !matches!(self.peon, Container::Terminated(_)) && !self.pod_ended()
    }

    /// Whether the peon may have begun its work, unless that is ruled out.
    #[must_use]
    pub fn may_have_begun(&self) -> bool {
        if self.ran {
            return true;
        }
        // Nothing is known of a pod that was never seen, not even that it had no node.
        let bound = self.node.is_some() || self.pod_uid.is_empty();
        match &self.peon {
            Container::Running { .. } => true,
            Container::Terminated(t) => !NEVER_RAN.contains(&t.reason.as_str()),
            // When the pod ends, the kubelet leaves containers that it never created as waiting.
            Container::Waiting { .. } => !self.pod_ended() && bound,
            Container::Unknown => bound && self.init.is_none() && !self.was_rejected(),
        }
    }

    /// Whether the kubelet refused the pod: it has one of the kubelet's reasons, and no container of it was ever
    /// created.
    #[must_use]
    pub fn was_rejected(&self) -> bool {
        const OTHERS: [&str; 7] = [
            "Evicted",
            "Preempting",
            "Terminated",
            "NodeShutdown",
            "Shutdown",
            "NodeLost",
            "DeadlineExceeded",
        ];
        let reason = self.reason.as_deref().unwrap_or_default();
        self.pod_ended() && self.peon == Container::Unknown && !reason.is_empty() && !OTHERS.contains(&reason)
    }

    /// Whether the pod as a whole has ended.
    #[must_use]
    pub fn pod_ended(&self) -> bool {
        matches!(self.phase.as_str(), "Failed" | "Succeeded")
    }
}

impl Container {
    /// Whether an init container in this state prevents the pod from starting.
    fn blocks(&self) -> bool {
        match self {
            Self::Waiting { reason, .. } => reason != "PodInitializing",
            Self::Terminated(t) => t.exit_code != 0,
            Self::Unknown | Self::Running { .. } => false,
        }
    }
}

/// The deletion timestamp is the time of the request plus the grace period.
fn deletion_requested(pod: &WatchedPod) -> Option<Timestamp> {
    let at = pod.metadata.deletion_timestamp.as_ref()?.0;
    let grace = SignedDuration::from_secs(pod.metadata.deletion_grace_period_seconds.unwrap_or_default());
    Some(at.checked_sub(grace).unwrap_or(at))
}

fn container(status: &WatchedContainer) -> Container {
    // A runtime that does not know the time reports the start of the epoch.
    let time = |t: Option<Time>| t.map(|t| t.0).filter(|t| *t > Timestamp::UNIX_EPOCH);
    match status.state.clone() {
        Some(ContainerState {
            terminated: Some(t), ..
        }) => Container::Terminated(Terminated {
            exit_code: t.exit_code,
            reason: t.reason.unwrap_or_default(),
            message: t.message.unwrap_or_default(),
            started: time(t.started_at),
            finished: time(t.finished_at),
        }),
        Some(ContainerState { running: Some(r), .. }) => Container::Running {
            started: time(r.started_at),
        },
        Some(ContainerState { waiting: Some(w), .. }) => Container::Waiting {
            reason: w.reason.unwrap_or_default(),
            message: w.message.unwrap_or_default(),
        },
        _ => Container::Unknown,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::apiserver::classify::decode::Guarded;
    use crate::task::fixtures::{TASK_UID, at, ended, evidence, in_state, pod, running};

    #[test]
    fn a_cached_pod_shows_what_the_whole_pod_shows() {
        let time = "2026-01-01T00:00:00Z";
        let condition = |type_: &str, status: &str| json!({"type": type_, "status": status, "reason": "r", "message": "m", "lastTransitionTime": time});
        let ended = json!({"terminated": {"exitCode": 3, "reason": "Error", "message": "m", "startedAt": time, "finishedAt": time}});
        let container = |name: &str, state: &serde_json::Value| {
            json!({
                "name": name, "image": "i", "imageID": "i", "ready": false, "restartCount": 1, "state": state,
                "lastState": ended, "containerID": "c", "volumeMounts": [{"name": "v", "mountPath": "/v"}],
            })
        };
        let whole = json!({
            "metadata": {
                "name": "a-1", "namespace": "ns", "uid": "u", "resourceVersion": "7", "deletionTimestamp": time,
                "deletionGracePeriodSeconds": 30, "annotations": {ANNOTATION_CONTAINER: "druid", "other": "o"},
                "managedFields": [{"manager": "m", "fieldsV1": {"f:spec": {}}}],
                "ownerReferences": [{"apiVersion": "v", "kind": "PeonTask", "name": "a", "uid": "t", "controller": true}],
            },
            "spec": {
                "nodeName": "n", "terminationGracePeriodSeconds": 30, "activeDeadlineSeconds": 60,
                "schedulingGates": [{"name": "example.com/gate"}], "containers": [{"name": "druid", "image": "i"}],
            },
            "status": {
                "phase": "Failed", "reason": "Evicted", "message": "m", "podIP": "10.0.0.1", "hostIP": "10.0.0.2",
                "startTime": time, "qosClass": "Burstable",
                "conditions": [
                    condition("PodScheduled", "True"), condition("DisruptionTarget", "True"),
                    condition("Initialized", "True"), condition("Ready", "False"),
                ],
                "containerStatuses": [container("druid", &ended), container("other", &json!({"running": {}}))],
                "initContainerStatuses": [container("init", &ended)],
            },
        });
        let cached = Guarded::<WatchedPod>::read(&whole.to_string()).0.unwrap();
        let shown = Evidence::of(&cached);
        assert_eq!(shown, Evidence::of(&serde_json::from_value(whole).unwrap()));
        assert_eq!(shown.gates, ["example.com/gate"]);
        assert!(shown.disruption.is_some() && shown.sidecars && shown.init.is_some());
    }

    #[test]
    fn reads_what_decides_a_tasks_fate() {
        let read = evidence(running());
        assert_eq!(read.owner_uid.as_deref(), Some(TASK_UID));
        assert_eq!(
            (read.scheduled, read.node.as_deref()),
            (Some(at(100)), Some("node"))
        );
        assert_eq!(
            read.peon,
            Container::Running {
                started: Some(at(110))
            }
        );
        assert!(read.may_live());
        assert!(!evidence(ended(0, "Completed", "")).may_live());
        assert!(!evidence(json!({"phase": "Failed"})).may_live());
        assert!(evidence(json!({})).may_live());
    }

    /// As a kubelet wrote it that had evicted a pod and removed its containers.
    #[test]
    fn a_container_that_waits_after_it_ran_has_begun() {
        let waiting = json!({"waiting": {"reason": "ContainerCreating"}});
        let never = in_state("Failed", waiting.clone());
        assert!(!evidence(never.clone()).may_have_begun());
        let mut removed = never;
        removed["containerStatuses"][0]["lastState"] = json!({"terminated": {
            "exitCode": 137, "reason": "ContainerStatusUnknown",
            "message": "The container could not be located when the pod was deleted.  The container used to be Running",
        }});
        assert!(evidence(removed).may_have_begun());
    }

    #[test]
    fn an_owner_that_does_not_control_is_none() {
        let mut pod = pod(running());
        if let Some(owners) = &mut pod.metadata.owner_references {
            owners[0].controller = None;
        }
        assert_eq!(Evidence::of(&pod).owner_uid, None);
    }

    #[test]
    fn the_annotation_names_the_peons_container() {
        let mut status = in_state("Running", json!({"waiting": {}}));
        let mut main = running()["containerStatuses"][0].clone();
        main["name"] = json!("main");
        status["containerStatuses"].as_array_mut().unwrap().push(main);
        let mut pod = pod(status);
        assert!(matches!(Evidence::of(&pod).peon, Container::Waiting { .. }));
        let named = (ANNOTATION_CONTAINER.to_owned(), "main".to_owned());
        pod.metadata.annotations = Some([named].into());
        assert!(matches!(Evidence::of(&pod).peon, Container::Running { .. }));
    }

    /// Whatever keeps the scheduler from it: no node, a scheduling gate, a scheduler that fails.
    #[test]
    fn a_pod_that_is_not_scheduled_says_why() {
        let unscheduled = |reason: &str, message: &str| {
            let condition =
                json!({"type": "PodScheduled", "status": "False", "reason": reason, "message": message});
            evidence(json!({"phase": "Pending", "conditions": [condition]})).unschedulable
        };
        assert_eq!(
            unscheduled("Unschedulable", "0/3 nodes").as_deref(),
            Some("0/3 nodes")
        );
        for reason in ["SchedulingGated", "SchedulerError"] {
            assert_eq!(
                unscheduled(reason, "why").as_deref(),
                Some(format!("{reason}: why").as_str())
            );
        }
        let scheduled = json!({"conditions": [{"type": "PodScheduled", "status": "True"}]});
        assert_eq!(evidence(scheduled).unschedulable, None);
    }

    #[test]
    fn the_init_container_that_blocks_is_found() {
        let init = |state: &serde_json::Value| {
            let one = json!({"name": "i", "image": "i", "imageID": "i", "ready": false, "restartCount": 0, "state": state});
            evidence(json!({"initContainerStatuses": [one]})).init
        };
        assert_eq!(init(&json!({"running": {}})), None);
        assert_eq!(init(&json!({"terminated": {"exitCode": 0}})), None);
        assert_eq!(init(&json!({"waiting": {"reason": "PodInitializing"}})), None);
        assert!(init(&json!({"terminated": {"exitCode": 1}})).is_some());
        assert!(init(&json!({"waiting": {"reason": "ErrImagePull"}})).is_some());
    }
}
