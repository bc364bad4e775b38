//! Effects of scheduler, kubelets, machines and the control plane on pods and JVMs.

use serde_json::{Value, json};

use super::indexers::Indexing;
use super::model_api::{Kind, pod_ended};
use super::pool::is_indexer;
use super::world::{Jvm, World};
use crate::api::reason::Cause;
use crate::task::fixtures::{ID, at, task_status};

/// For how long a node that is cut off still seems Ready.
const UNNOTICED: u32 = 50;
/// What a kubelet needs at most to notice, and to kill after the grace period.
const SLOW_KUBELET: u32 = 10;

pub fn name_of(object: &Value) -> String {
    object["metadata"]["name"].as_str().unwrap_or_default().to_owned()
}

pub fn uid_of(object: &Value) -> String {
    object["metadata"]["uid"].as_str().unwrap_or_default().to_owned()
}

/// How a JVM ends.
#[derive(Debug, Clone, Copy)]
pub enum End {
    Success,
    SuccessThenKilled,
    Failed,
    OutOfMemory,
    JavaOutOfMemory,
    NoStatus,
    Terminated,
}

impl World {
    pub fn machine_of(&self, pod: &Value) -> Option<usize> {
        let node = pod["spec"]["nodeName"].as_str()?;
        self.machines.iter().position(|m| m.name == node)
    }

    fn reachable(&self, pod: &Value) -> Option<usize> {
        self.machine_of(pod)
            .filter(|m| self.machines[*m].on && self.machines[*m].connected)
    }

    pub fn allow(&mut self, pod_uid: &str, cause: Cause) {
        if let Some(truth) = self.truths.get_mut(pod_uid) {
            truth.allowed.insert(cause);
        }
        self.seen.count("what truly happened", cause.as_str());
    }

    /// The node's object, as its kubelet registers it.
    pub fn register(&mut self, machine: usize) {
        let name = self.machines[machine].name.clone();
        let ready = json!([{"type": "Ready", "status": "True", "lastTransitionTime": self.clock()}]);
        if self.api.get(Kind::Node, &name).is_none() {
            self.api.create(
                Kind::Node,
                json!({"metadata": {"name": name}, "spec": {}, "status": {"conditions": ready}}),
            );
        } else {
            self.api.update(Kind::Node, &name, |node| {
                node["spec"] = json!({});
                if node["status"]["conditions"][0]["status"] != "True" {
                    node["status"]["conditions"] = ready;
                }
            });
        }
    }

    pub fn node_is_ready(&self, machine: usize) -> bool {
        let node = self.api.get(Kind::Node, &self.machines[machine].name);
        node.is_some_and(|n| n["status"]["conditions"][0]["status"] == "True")
    }

    pub fn is_written_off(&self, machine: usize) -> bool {
        self.api
            .get(Kind::Node, &self.machines[machine].name)
            .is_none_or(|n| n["spec"]["taints"].is_array())
    }

    pub fn schedule(&mut self, pod: &Value, machine: usize) {
        let (name, uid, now) = (name_of(pod), uid_of(pod), self.clock());
        if !self.node_is_ready(machine) || self.is_written_off(machine) || !pod["spec"]["nodeName"].is_null()
        {
            return;
        }
        if let Some(truth) = self.truths.get_mut(&uid) {
            truth.machine = Some(machine);
        }
        let node = self.machines[machine].name.clone();
        self.api.update(Kind::Pod, &name, |pod| {
            pod["spec"]["nodeName"] = json!(node);
            pod["status"]["conditions"] =
                json!([{"type": "PodScheduled", "status": "True", "lastTransitionTime": now}]);
        });
        // An Event is told as well as may be.
        if !self.dice.one_in(6) {
            let message = format!("Successfully assigned ns/{name} to {node}");
            self.event(&uid, "Normal", "Scheduled", &message);
        }
    }

    pub fn event(&mut self, uid: &str, type_: &str, reason: &str, message: &str) {
        let now = self.clock();
        self.api.events.push(
            json!({"metadata": {"name": format!("e{}", self.api.events.len())}, "type": type_,
            "involvedObject": {"uid": uid}, "reason": reason, "message": message, "lastTimestamp": now}),
        );
    }

    pub fn fail_scheduling(&mut self, pod: &Value) {
        if !pod["spec"]["nodeName"].is_null() {
            return;
        }
        let said = "0/2 nodes are available";
        self.api.update(Kind::Pod, &name_of(pod), |pod| {
            pod["status"]["conditions"] = json!([{"type": "PodScheduled", "status": "False",
                "reason": "Unschedulable", "message": said}]);
        });
        self.event(&uid_of(pod), "Warning", "FailedScheduling", said);
    }

    /// The kubelet starts the peon.
    pub fn start(&mut self, pod: &Value) {
        let (name, uid) = (name_of(pod), uid_of(pod));
        let Some(machine) = self.reachable(pod) else {
            return;
        };
        let known = self.jvms.iter().any(|j| j.pod_uid == uid);
        if known || pod_ended(pod) || !pod["metadata"]["deletionTimestamp"].is_null() {
            return;
        }
        let grace = pod["spec"]["terminationGracePeriodSeconds"]
            .as_u64()
            .unwrap_or(30);
        let indexing = is_indexer(pod).then(|| Indexing::new(self.now(), self.free_host()));
        let truth = self.truths.entry(uid.clone()).or_default();
        truth.began |= indexing.is_none();
        let late = truth.late;
        self.jvms.push(Jvm {
            pod_uid: uid,
            machine,
            live: true,
            grace: u32::try_from(grace).unwrap_or(u32::MAX),
            end: None,
            started: self.api.now,
            late,
            orphaned: None,
            indexing,
        });
        // It may be cut off before it says so.
        if !self.dice.one_in(5) {
            self.report(&name);
        }
        if !is_indexer(pod) {
            self.check_started(self.jvms.len() - 1);
        }
    }

    /// The kubelet says what became of a pod's containers.
    pub fn report(&mut self, name: &str) {
        self.report_with(name, |_| {});
    }

    /// As [`Self::report`], with more in the same write.
    fn report_with(&mut self, name: &str, more: impl FnOnce(&mut Value)) {
        let Some(pod) = self.api.get(Kind::Pod, name).cloned() else {
            return;
        };
        let uid = uid_of(&pod);
        let Some(jvm) = self.jvms.iter().find(|j| j.pod_uid == uid) else {
            return;
        };
        if self.reachable(&pod).is_none() || pod_ended(&pod) {
            return;
        }
        let started = at(jvm.started.into()).to_string();
        let state = match &jvm.end {
            None => json!({"running": {"startedAt": started}}),
            Some(end) => json!({"terminated": end}),
        };
        let ended = jvm.end.as_ref().map(|e| e["exitCode"] == 0);
        let deadline = pod["spec"]["activeDeadlineSeconds"].as_i64();
        let sidecar =
            self.setting.sidecar && deadline != Some(1) && pod["metadata"]["deletionTimestamp"].is_null();
        let phase = match ended {
            Some(true) if !sidecar => "Succeeded",
            Some(false) if !sidecar => "Failed",
            _ => "Running",
        };
        let mut statuses = vec![container("peon", state)];
        if self.setting.sidecar {
            let state = if sidecar || ended.is_none() {
                json!({"running": {"startedAt": started}})
            } else {
                json!({"terminated": {"exitCode": 137}})
            };
            statuses.push(container("sidecar", state));
        }
        let ready = jvm.indexing.as_ref().map(|i| (i.host.clone(), jvm.live));
        self.api.update(Kind::Pod, name, |pod| {
            pod["status"]["phase"] = json!(phase);
            pod["status"]["startTime"] = json!(started);
            pod["status"]["containerStatuses"] = json!(statuses);
            if let Some((host, ready)) = ready {
                pod["status"]["podIP"] = json!(host);
                set_ready(pod, ready);
            }
            more(pod);
        });
    }

    /// The kubelet cannot start the peon yet.
    pub fn make_wait(&mut self, pod: &Value, reason: &str) {
        let uid = uid_of(pod);
        if self.reachable(pod).is_none() || self.jvms.iter().any(|j| j.pod_uid == uid) || pod_ended(pod) {
            return;
        }
        if reason == "InvalidImageName" {
            self.allow(&uid, Cause::ImagePull);
        }
        let started = self.clock();
        self.api.update(Kind::Pod, &name_of(pod), |pod| {
            pod["status"]["startTime"] = json!(started);
            pod["status"]["containerStatuses"] = json!([container(
                "peon",
                json!({"waiting": {"reason": reason, "message": "why"}})
            )]);
        });
    }

    /// The kubelet ends a pod for a reason of its own, with or without what became of its containers.
    pub fn end_by_kubelet(&mut self, pod: &Value, reason: &str, cause: Cause) {
        let (name, uid) = (name_of(pod), uid_of(pod));
        if self.reachable(pod).is_none() || pod_ended(pod) {
            return;
        }
        let jvm = self.jvms.iter().position(|j| j.pod_uid == uid);
        let refused = cause == Cause::PodRejected || cause == Cause::ContainerStart;
        let waits = !pod["status"]["containerStatuses"].is_null() || jvm.is_some();
        if refused && waits {
            return;
        }
        self.allow(&uid, cause);
        let now = self.clock();
        if !refused && self.dice.one_in(2) {
            self.api.update(Kind::Pod, &name, |pod| {
                let condition = json!({"type": "DisruptionTarget", "status": "True",
                    "reason": "TerminationByKubelet", "message": "m", "lastTransitionTime": now});
                push_condition(pod, condition);
            });
        }
        let end = |pod: &mut Value| {
            pod["status"]["phase"] = json!("Failed");
            if cause == Cause::ContainerStart {
                pod["status"]["containerStatuses"] = json!([container(
                    "peon",
                    json!({"terminated": {"exitCode": 128, "reason": "StartError", "message": "m"}})
                )]);
            } else {
                pod["status"]["reason"] = json!(reason);
            }
        };
        if let Some(jvm) = jvm {
            self.kill(jvm);
        }
        if jvm.is_some() && !self.dice.one_in(3) {
            self.report_with(&name, end);
        } else {
            self.api.update(Kind::Pod, &name, end);
        }
    }

    /// The JVM ends, and does what a JVM does then.
    pub fn end_jvm(&mut self, jvm: usize, how: End) {
        if !self.jvms[jvm].live {
            return;
        }
        let uid = self.jvms[jvm].pod_uid.clone();
        let is_peon = self.jvms[jvm].indexing.is_none();
        let status = |status: &str| {
            if is_peon {
                task_status(ID, status, None)
            } else {
                String::new()
            }
        };
        let (code, reason, message, cause) = match how {
            End::Success => (0, "Completed", status("SUCCESS"), None),
            End::SuccessThenKilled => (137, "OOMKilled", status("SUCCESS"), None),
            End::Failed => (0, "Completed", status("FAILED"), Some(Cause::TaskFailed)),
            End::OutOfMemory => (137, "OOMKilled", String::new(), Some(Cause::OomKilled)),
            End::JavaOutOfMemory => (3, "Error", String::new(), Some(Cause::JavaOutOfMemory)),
            End::NoStatus => (
                self.dice.pick(&[0, 1]),
                "Error",
                String::new(),
                Some(Cause::NoVerdict),
            ),
            End::Terminated if !is_peon => (143, "Error", String::new(), None),
            End::Terminated => match self.dice.below(8) {
                0 => (0, "Completed", status("SUCCESS"), None),
                1..=4 => (143, "Error", status("FAILED"), None),
                _ => (143, "Error", String::new(), None),
            },
        };
        if let Some(truth) = self.truths.get_mut(&uid) {
            truth.success |= message.contains("SUCCESS");
        }
        if let Some(cause) = cause {
            self.allow(&uid, cause);
        }
        let (started, now) = (at(self.jvms[jvm].started.into()).to_string(), self.clock());
        self.jvms[jvm].live = false;
        if let Some(indexing) = &mut self.jvms[jvm].indexing {
            indexing.runs = false;
        }
        self.jvms[jvm].end = Some(json!({"exitCode": code, "reason": reason, "message": message,
            "startedAt": started, "finishedAt": now}));
    }

    pub fn kill(&mut self, jvm: usize) {
        self.end_jvm(jvm, End::Terminated);
    }

    /// The kubelet does what is asked of it: a pod that is to go is ended and goes, one whose time is up ends.
    pub fn obey(&mut self, pod: &Value) {
        let (name, uid) = (name_of(pod), uid_of(pod));
        if self.reachable(pod).is_none() {
            return;
        }
        let jvm = self.jvms.iter().position(|j| j.pod_uid == uid);
        let now = i64::from(self.now());
        let taken = pod["status"]["startTime"]
            .as_str()
            .and_then(|t| t.parse::<k8s_openapi::jiff::Timestamp>().ok());
        let due = taken
            .zip(pod["spec"]["activeDeadlineSeconds"].as_i64())
            .is_some_and(|(t, seconds)| t.as_second() + seconds <= now);
        if !pod["metadata"]["deletionTimestamp"].is_null() {
            let told = jvm.is_none_or(|j| !self.jvms[j].live);
            if let Some(jvm) = jvm {
                self.kill(jvm);
                self.report(&name);
            }
            if told || self.dice.one_in(2) {
                self.remove_pod(&name);
            }
        } else if due && !pod_ended(pod) {
            self.allow(&uid, Cause::Deadline);
            if let Some(jvm) = jvm {
                self.kill(jvm);
                self.report(&name);
            }
            self.api.update(Kind::Pod, &name, |pod| {
                pod["status"]["phase"] = json!("Failed");
                pod["status"]["reason"] = json!("DeadlineExceeded");
            });
        } else if !jvm.is_some_and(|j| self.jvms[j].live && is_ready(pod)) {
            self.report(&name);
        }
    }

    /// The pod's object goes; its JVM is the kubelet's to end.
    pub fn remove_pod(&mut self, name: &str) {
        self.api.remove(Kind::Pod, name);
        self.mark_orphans();
    }

    pub fn mark_orphans(&mut self) {
        let now = self.now();
        for (uid, truth) in self.truths.iter_mut().filter(|(_, t)| !t.late && !t.recorded) {
            if self.api.pod_by_uid(uid).is_none() {
                truth.late = true;
                self.seen
                    .count("tolerated", "a pod that went before anybody recorded it");
                for jvm in self.jvms.iter_mut().filter(|j| j.pod_uid == *uid) {
                    jvm.late = true;
                }
            }
        }
        for jvm in self.jvms.iter_mut().filter(|j| j.live && j.orphaned.is_none()) {
            if self.api.pod_by_uid(&jvm.pod_uid).is_none() {
                jvm.orphaned = Some(now);
            }
        }
    }

    pub fn power_off(&mut self, machine: usize) {
        self.cut(machine);
        self.machines[machine].on = false;
        for jvm in self.jvms.iter_mut().filter(|j| j.machine == machine) {
            jvm.live = false;
            jvm.end
                .get_or_insert(json!({"exitCode": 255, "reason": "Unknown"}));
        }
        for pod in self.pods() {
            // When it is on again its kubelet says what it still knows: that the container ended.
            if self.machine_of(&pod) == Some(machine) {
                self.allow(&uid_of(&pod), Cause::NoVerdict);
            }
        }
    }

    pub fn cut(&mut self, machine: usize) {
        let now = self.now();
        let machine = &mut self.machines[machine];
        if machine.connected {
            (machine.connected, machine.since) = (false, now);
        }
    }

    pub fn heal(&mut self, machine: usize) {
        let now = self.now();
        let it = &mut self.machines[machine];
        if !it.connected {
            (it.on, it.connected, it.since) = (true, true, now);
            self.register(machine);
        }
    }

    /// What the control plane and the kubelets do no later than now.
    pub fn enforce_time(&mut self) {
        let now = self.now();
        for machine in 0..self.machines.len() {
            let it = &self.machines[machine];
            if !it.connected && it.since + UNNOTICED <= now && self.node_is_ready(machine) {
                let (name, clock) = (it.name.clone(), self.clock());
                self.api.update(Kind::Node, &name, |node| {
                    node["status"]["conditions"] =
                        json!([{"type": "Ready", "status": "Unknown", "lastTransitionTime": clock}]);
                });
                for pod in self
                    .pods()
                    .iter()
                    .filter(|p| is_indexer(p) && p["spec"]["nodeName"] == *name)
                {
                    self.api
                        .update(Kind::Pod, &name_of(pod), |pod| set_ready(pod, false));
                }
            }
        }
        for at in 0..self.jvms.len() {
            let jvm = &self.jvms[at];
            let machine = &self.machines[jvm.machine];
            let Some(orphaned) = jvm.orphaned.filter(|_| jvm.live && machine.connected) else {
                continue;
            };
            if orphaned.max(machine.since) + jvm.grace + SLOW_KUBELET <= now {
                self.kill(at);
            }
        }
    }
}

/// Whether an Indexer's pod is ready: its kubelet has nothing new to say while its JVM lives. Of peons nothing says so.
fn is_ready(pod: &Value) -> bool {
    let all = pod["status"]["conditions"].as_array();
    let mut ready = all.into_iter().flatten().filter(|c| c["type"] == "Ready");
    is_indexer(pod) && ready.any(|c| c["status"] == "True")
}

pub fn set_ready(pod: &mut Value, ready: bool) {
    let status = if ready { "True" } else { "False" };
    push_condition(pod, json!({"type": "Ready", "status": status}));
}

pub fn push_condition(pod: &mut Value, condition: Value) {
    match pod["status"]["conditions"].as_array_mut() {
        Some(conditions) => {
            conditions.retain(|c| c["type"] != condition["type"]);
            conditions.push(condition);
        }
        None => pod["status"]["conditions"] = json!([condition]),
    }
}

#[allow(clippy::needless_pass_by_value)] // `json!` is handed over as it is written.
pub fn container(name: &str, state: Value) -> Value {
    json!({"name": name, "image": "i", "imageID": "i", "ready": false, "restartCount": 0, "state": state})
}
