//! Kubelets and the garbage collector: pods start, end and go.

use serde_json::{Value, json};

use super::super::cluster::{container, name_of, push_condition, set_ready, uid_of};
use super::super::model_api::{Kind, pod_ended};
use super::super::pool::is_indexer;
use super::indexers::Jvm;
use super::world::{NODES, World};
use crate::task::fixtures::at;

impl World {
    /// All kubelets do what is to be done now.
    pub fn kubelets(&mut self) {
        for pod in self.pods() {
            self.kubelet(&name_of(&pod));
        }
        self.collect();
    }

    /// A kubelet takes the next step with a pod.
    pub fn kubelet(&mut self, name: &str) {
        let Some(pod) = self.api.get(Kind::Pod, name).cloned() else {
            return;
        };
        let uid = uid_of(&pod);
        if pod["spec"]["nodeName"].is_null() {
            return self.schedule(&pod);
        }
        let is_going = !pod["metadata"]["deletionTimestamp"].is_null();
        let jvm = self.jvms.iter().position(|j| j.pod_uid == uid);
        match jvm {
            None if is_going => self.api.remove(Kind::Pod, name),
            None => self.start(&pod),
            Some(jvm) if is_going => {
                if self.jvms[jvm].live {
                    let now = self.now();
                    self.note(format!("the kubelet ends {uid}"));
                    self.jvms[jvm].end_with(143, "Error", "", now);
                    self.report(name);
                } else {
                    self.report(name);
                    self.api.remove(Kind::Pod, name);
                }
            }
            Some(_) => self.report(name),
        }
    }

    fn schedule(&mut self, pod: &Value) {
        let free: Vec<&str> = NODES
            .into_iter()
            .filter(|n| !self.cordoned.contains(*n))
            .collect();
        if free.is_empty() {
            return;
        }
        let node = self.dice.pick(&free);
        let now = at(self.now().into()).to_string();
        self.api.update(Kind::Pod, &name_of(pod), |pod| {
            pod["spec"]["nodeName"] = json!(node);
            push_condition(
                pod,
                json!({"type": "PodScheduled", "status": "True", "lastTransitionTime": now}),
            );
        });
    }

    fn start(&mut self, pod: &Value) {
        if pod_ended(pod) {
            return;
        }
        let host = format!("10.0.0.{}", self.jvms.len() + 1);
        let is_peon = !is_indexer(pod);
        self.jvms.push(Jvm::new(uid_of(pod), host, self.now(), is_peon));
        if is_peon {
            let owner = pod["metadata"]["ownerReferences"][0]["name"]
                .as_str()
                .unwrap_or_default();
            let known = self.tasks.iter().find(|t| t.name == owner).map(|t| t.id.clone());
            let at = self.jvms.len() - 1;
            let id = known.expect("peons are of tasks");
            self.note(format!("   {id} begins in its own pod {}", uid_of(pod)));
            self.seen.count("places", "a pod");
            self.begin(at, &id, false);
        }
        self.report(&name_of(pod));
    }

    fn report(&mut self, name: &str) {
        let Some(pod) = self.api.get(Kind::Pod, name).cloned() else {
            return;
        };
        let Some(jvm) = self.jvms.iter().find(|j| j.pod_uid == uid_of(&pod)) else {
            return;
        };
        if pod_ended(&pod) {
            return;
        }
        let started = at(jvm.started.into()).to_string();
        let (phase, state) = match &jvm.end {
            None => ("Running", json!({"running": {"startedAt": started}})),
            Some(end) if end["exitCode"] == 0 => ("Succeeded", json!({"terminated": end})),
            Some(end) => ("Failed", json!({"terminated": end})),
        };
        let (host, live) = (jvm.host.clone(), jvm.live);
        self.api.update(Kind::Pod, name, |pod| {
            pod["status"]["phase"] = json!(phase);
            pod["status"]["startTime"] = json!(started);
            pod["status"]["podIP"] = json!(host);
            pod["status"]["containerStatuses"] = json!([container("peon", state)]);
            set_ready(pod, live);
        });
    }

    /// A JVM ends by itself.
    pub fn end_some_jvm(&mut self, code: i32, reason: &str) {
        let Some(jvm) = self.some_jvm() else { return };
        let now = self.now();
        self.note(format!(
            "the JVM of {} ends: {code} {reason}",
            self.jvms[jvm].pod_uid
        ));
        self.jvms[jvm].end_with(code, reason, "", now);
    }

    /// A JVM that lives; mostly an Indexer with tasks.
    pub fn some_jvm(&mut self) -> Option<usize> {
        let live: Vec<usize> = (0..self.jvms.len()).filter(|at| self.jvms[*at].live).collect();
        let busy = |at: &&usize| self.jvms[**at].runs_now().next().is_some();
        let busy: Vec<usize> = live.iter().filter(busy).copied().collect();
        let of = if busy.is_empty() || self.dice.one_in(4) {
            live
        } else {
            busy
        };
        (!of.is_empty()).then(|| self.dice.pick(&of))
    }

    /// Somebody deletes a pod.
    pub fn delete_some_pod(&mut self) {
        let Some(jvm) = self.some_jvm() else { return };
        let uid = self.jvms[jvm].pod_uid.clone();
        let pod = self.api.pod_by_uid(&uid).map(name_of);
        self.note(format!("{uid} is deleted"));
        if let Some(pod) = pod {
            self.api.delete_pod(&pod, None);
        }
    }

    /// The garbage collector deletes the pods of tasks that are gone.
    fn collect(&mut self) {
        for pod in self.pods().iter().filter(|p| !is_indexer(p)) {
            let owner = pod["metadata"]["ownerReferences"][0].clone();
            let task = owner["name"]
                .as_str()
                .and_then(|name| self.api.get(Kind::Task, name));
            if task.is_none_or(|t| t["metadata"]["uid"] != owner["uid"]) {
                self.api.delete_pod(&name_of(pod), None);
            }
        }
    }
}
