//! The possible events, and their frequencies.

use crate::api::AfterNodeLoss;
use crate::api::reason::Cause;
use serde_json::json;

use super::cluster::{End, name_of, push_condition, uid_of};
use super::model_api::{Kind, pod_ended};
use super::pool::is_indexer;
use super::process::TASK;
use super::world::World;

/// One thing that happens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Happening {
    /// A process begins a pass that is due, or its request goes on.
    Operate,
    Deliver,
    Repeat,
    Relist,
    Time,
    Schedule,
    FailScheduling,
    Start,
    Wait,
    Kubelet,
    JvmEnds,
    Evict,
    PreemptByKubelet,
    NodeShutdown,
    Reject,
    StartError,
    DeletePod,
    ForceDeletePod,
    Drain,
    Preempt,
    TaintManager,
    PodGc,
    OwnerGc,
    Cut,
    Heal,
    PowerOff,
    DeleteNode,
    OutOfService,
    Suspend,
    Resume,
    Cancel,
    SetDeadline,
    DeleteTask,
    TemplateComesOrChanges,
    TemplateGoes,
    QuotaOn,
    QuotaOff,
    ForeignGoes,
    LeaderChanges,
    Crash,
    Stop,
    Continue,
    LateRequest,
}

use Happening::{
    Cancel, Continue, Crash, Cut, DeleteNode, DeletePod, DeleteTask, Deliver, Drain, Evict, FailScheduling,
    ForceDeletePod, ForeignGoes, Heal, JvmEnds, Kubelet, LateRequest, LeaderChanges, NodeShutdown, Operate,
    OutOfService, OwnerGc, PodGc, PowerOff, Preempt, PreemptByKubelet, QuotaOff, QuotaOn, Reject, Relist,
    Repeat, Resume, Schedule, SetDeadline, Start, StartError, Stop, Suspend, TaintManager,
    TemplateComesOrChanges, TemplateGoes, Time, Wait,
};

const OFTEN: [(u32, Happening); 43] = [
    (60, Operate),
    (40, Deliver),
    (1, Repeat),
    (3, Relist),
    (16, Time),
    (14, Schedule),
    (2, FailScheduling),
    (16, Start),
    (2, Wait),
    (12, Kubelet),
    (8, JvmEnds),
    (2, Evict),
    (1, PreemptByKubelet),
    (1, NodeShutdown),
    (1, Reject),
    (1, StartError),
    (2, DeletePod),
    (2, ForceDeletePod),
    (2, Drain),
    (1, Preempt),
    (1, TaintManager),
    (3, PodGc),
    (1, OwnerGc),
    (4, Cut),
    (2, Heal),
    (1, PowerOff),
    (2, DeleteNode),
    (1, OutOfService),
    (1, Suspend),
    (2, Resume),
    (1, Cancel),
    (1, SetDeadline),
    (1, DeleteTask),
    (2, TemplateComesOrChanges),
    (1, TemplateGoes),
    (1, QuotaOn),
    (2, QuotaOff),
    (1, ForeignGoes),
    (2, LeaderChanges),
    (2, Crash),
    (2, Stop),
    (2, Continue),
    (2, LateRequest),
];

impl World {
    /// Something happens.
    pub async fn happen(&mut self) {
        if self.pool.is_some() && self.dice.one_in(2) {
            self.happen_in_pool();
            self.watch(Deliver);
            self.operate(true).await;
        }
        let is_busy = self.jvms.iter().any(|j| j.live && j.has_task());
        let happening = match self.dice.weighted(&OFTEN) {
            // What would change nothing gives way to what may.
            Start | Schedule if is_busy && self.claimed().is_some() => JvmEnds,
            Start | Schedule | Kubelet if is_busy => self.dice.pick(&[Kubelet, JvmEnds, Time]),
            JvmEnds if !is_busy => self.dice.pick(&[Schedule, Start]),
            Heal if self.machines.iter().all(|m| m.connected) => Deliver,
            QuotaOff if !self.api.quota => Operate,
            LateRequest if self.flights.is_empty() => Operate,
            other => other,
        };
        if !matches!(happening, Operate | Deliver | Time) {
            self.seen.count("happenings", &format!("{happening:?}"));
            self.note(format!("{happening:?}"));
        }
        match happening {
            Operate => {
                self.operate(true).await;
            }
            Deliver | Repeat | Relist => self.watch(happening),
            Time => {
                let seconds = self.dice.pick(&[1, 2, 5, 10, 15, 30, 60]);
                self.pass_time(seconds);
            }
            LeaderChanges | Crash | Stop | Continue | LateRequest => self.processes_change(happening),
            Cut | Heal | PowerOff | DeleteNode | OutOfService => self.machines_change(happening),
            JvmEnds => {
                let how = self.dice.pick(&[
                    End::Success,
                    End::Success,
                    End::SuccessThenKilled,
                    End::Failed,
                    End::OutOfMemory,
                    End::JavaOutOfMemory,
                    End::NoStatus,
                ]);
                self.one_jvm_ends(how);
            }
            Suspend
            | Resume
            | Cancel
            | SetDeadline
            | DeleteTask
            | TemplateComesOrChanges
            | TemplateGoes
            | QuotaOn
            | QuotaOff
            | ForeignGoes => self.users_act(happening),
            OwnerGc => self.collect(),
            _ => self.pods_change(happening),
        }
        self.mark_orphans();
        self.check_lives();
    }

    fn one_jvm_ends(&mut self, how: End) {
        if let Some(at) = self.jvms.iter().position(|j| j.live && j.has_task()) {
            self.note(format!("JVM of {} ends: {how:?}", self.jvms[at].pod_uid));
            if self.jvms[at].indexing.is_some() {
                self.end_indexer(at, how);
            } else {
                self.end_jvm(at, how);
            }
        }
    }

    /// A process goes on: with the request that it waits for, or with a pass that is due.
    pub async fn operate(&mut self, faults: bool) -> bool {
        let first = usize::from(faults && self.dice.one_in(4));
        for process in [first, 1 - first] {
            if self.processes[process].is_passing() {
                self.move_request(process, faults).await;
                return true;
            }
            let (now, attempt) = (self.now(), self.attempt());
            if self.processes[process].begin(now) {
                self.seen.count("happenings", "a pass begins");
                self.processes[process].go_on(now, attempt).await;
                self.check_issued(process);
                return true;
            }
        }
        false
    }

    fn watch(&mut self, happening: Happening) {
        let process = usize::from(self.dice.one_in(3));
        let kind = self.dice.below(3);
        match happening {
            Relist => {
                let kind = [Kind::Task, Kind::Template, Kind::Pod][kind as usize];
                self.processes[process].relist(&self.api, kind);
            }
            Repeat => self.processes[process].deliver(&self.api, kind as usize, true),
            _ => {
                let many = 1 + self.dice.below(3);
                for at in 0..3 {
                    for _ in 0..many {
                        if self.processes[process].lag(&self.api, at) > 0 && !self.dice.one_in(4) {
                            self.processes[process].deliver(&self.api, at, false);
                        }
                    }
                }
            }
        }
    }

    fn processes_change(&mut self, happening: Happening) {
        let process = self.dice.below(2) as usize;
        match happening {
            LeaderChanges => {
                let next = self.leader.map_or(process, |l| 1 - l);
                self.lead(next);
            }
            Crash => {
                self.restart(process);
                if self.leader.is_none() {
                    let next = self.dice.below(2) as usize;
                    self.lead(next);
                }
            }
            Stop => self.processes[process].stopped = true,
            Continue => self.processes[process].stopped = false,
            _ => self.land(),
        }
    }

    fn machines_change(&mut self, happening: Happening) {
        let at = self.dice.below(2) as usize;
        let name = self.machines[at].name.clone();
        let promised = self.policy().after_node_loss() == AfterNodeLoss::Rerun;
        match happening {
            Cut => self.cut(at),
            Heal => self.heal(at),
            PowerOff => self.power_off(at),
            _ if self.machines[at].connected => {}
            _ => {
                // An administrator who sets afterNodeLoss: Rerun makes sure that the machine is off.
                if promised {
                    self.power_off(at);
                }
                let lost = self.truths.iter().filter(|(_, t)| t.machine == Some(at));
                for uid in lost.map(|(uid, _)| uid.clone()).collect::<Vec<_>>() {
                    self.allow(&uid, Cause::NodeLost);
                }
                if happening == DeleteNode {
                    self.api.remove(Kind::Node, &name);
                } else {
                    self.api.update(Kind::Node, &name, |node| {
                        node["spec"]["taints"] = json!([{"key": "node.kubernetes.io/out-of-service"}]);
                    });
                }
            }
        }
    }

    fn pods_change(&mut self, happening: Happening) {
        let pods = self.pods();
        let many = u32::try_from(pods.len()).unwrap_or_default();
        if many == 0 {
            return;
        }
        // Mostly the newest: the others have ended.
        let at = if self.pool.is_some() {
            self.some_pod(&pods, matches!(happening, Schedule | Start | FailScheduling))
        } else if self.dice.one_in(4) {
            self.dice.below(many) as usize
        } else {
            many as usize - 1
        };
        let pod = &pods[at];
        let (name, uid) = (name_of(pod), uid_of(pod));
        let machine = self.dice.below(2) as usize;
        match happening {
            Schedule => self.schedule(pod, machine),
            FailScheduling => self.fail_scheduling(pod),
            Start => self.start(pod),
            Wait => {
                let reason = self.dice.pick(&[
                    "ErrImagePull",
                    "ContainerCreating",
                    "CreateContainerConfigError",
                    "CreateContainerError",
                    "InvalidImageName",
                ]);
                self.make_wait(pod, reason);
            }
            Kubelet => self.obey(pod),
            Evict => self.end_by_kubelet(pod, "Evicted", Cause::Evicted),
            PreemptByKubelet => self.end_by_kubelet(pod, "Preempting", Cause::Preempted),
            NodeShutdown => self.end_by_kubelet(pod, "Terminated", Cause::NodeShutdown),
            Reject => self.end_by_kubelet(pod, "OutOfcpu", Cause::PodRejected),
            StartError => self.end_by_kubelet(pod, "", Cause::ContainerStart),
            DeletePod | ForceDeletePod => {
                self.allow(&uid, Cause::PodDeleted);
                self.api
                    .delete_pod(&name, (happening == ForceDeletePod).then_some(0));
            }
            Drain => self.disrupt(pod, "EvictionByEvictionAPI", Cause::Drained),
            Preempt => self.disrupt(pod, "PreemptionByScheduler", Cause::Preempted),
            TaintManager => {
                if self.machine_of(pod).is_some_and(|m| !self.node_is_ready(m)) {
                    self.disrupt(pod, "DeletionByTaintManager", Cause::NodeLost);
                }
            }
            _ => self.collect_pod(pod),
        }
    }

    /// The control plane marks a pod and deletes it.
    pub fn disrupt(&mut self, pod: &serde_json::Value, reason: &str, cause: Cause) {
        if pod_ended(pod) || pod["spec"]["nodeName"].is_null() {
            return;
        }
        let (name, now) = (name_of(pod), self.clock());
        self.allow(&uid_of(pod), cause);
        self.allow(&uid_of(pod), Cause::PodDeleted);
        self.api.update(Kind::Pod, &name, |pod| {
            let condition = json!({"type": "DisruptionTarget", "status": "True", "reason": reason,
                "message": "m", "lastTransitionTime": now});
            push_condition(pod, condition);
        });
        self.api.delete_pod(&name, None);
    }

    /// The garbage collector of pods: of those whose node is gone, and of those that are to go from a node that is off.
    pub fn collect_pod(&mut self, pod: &serde_json::Value) {
        let Some(machine) = self.machine_of(pod) else {
            return;
        };
        let gone = self.api.get(Kind::Node, &self.machines[machine].name).is_none();
        let to_go = !pod["metadata"]["deletionTimestamp"].is_null();
        let off = self.is_written_off(machine) && !self.node_is_ready(machine);
        if !(gone || off && to_go) {
            return;
        }
        let (name, now) = (name_of(pod), self.clock());
        self.allow(&uid_of(pod), Cause::NodeLost);
        // Whoever did not see it marked sees it gone.
        self.allow(&uid_of(pod), Cause::PodDeleted);
        if pod_ended(pod) {
            return self.remove_pod(&name);
        }
        self.api.update(Kind::Pod, &name, |pod| {
            pod["status"]["phase"] = json!("Failed");
            let condition = json!({"type": "DisruptionTarget", "status": "True", "reason": "DeletionByPodGC",
                "message": "PodGC: node no longer exists", "lastTransitionTime": now});
            push_condition(pod, condition);
        });
        if self.dice.one_in(2) {
            self.remove_pod(&name);
        }
    }

    /// The garbage collector of objects: of those whose task is gone.
    pub fn collect(&mut self) {
        let task = self.api.get(Kind::Task, TASK).map(uid_of);
        for pod in self.pods().iter().filter(|p| !is_indexer(p)) {
            if Some(&pod["metadata"]["ownerReferences"][0]["uid"]) != task.as_ref().map(|t| json!(t)).as_ref()
            {
                self.api.delete_pod(&name_of(pod), None);
            }
        }
        self.collect_indexers();
    }

    fn users_act(&mut self, happening: Happening) {
        match happening {
            Suspend => {
                self.suspended_once = true;
                self.edit(|spec| spec["suspend"] = json!(true));
            }
            Resume => self.edit(|spec| {
                spec.as_object_mut().map(|s| s.remove("suspend"));
            }),
            Cancel => self.edit(|spec| spec["cancel"] = json!(true)),
            SetDeadline => {
                let field = self.dice.pick(&["startDeadlineSeconds", "activeDeadlineSeconds"]);
                let seconds = 10 + self.dice.below(300);
                self.edit(|spec| spec[field] = json!(seconds));
            }
            DeleteTask if self.dice.one_in(3) => self.api.remove(Kind::Task, TASK),
            TemplateComesOrChanges => self.write_template(),
            TemplateGoes => {
                self.api.remove(Kind::Template, "default");
                self.raise_budgets();
            }
            QuotaOn => self.api.quota = true,
            QuotaOff => self.api.quota = false,
            ForeignGoes => self.foreigners_go(),
            _ => {}
        }
    }

    pub fn foreigners_go(&mut self) {
        let first = format!("{TASK}-1");
        for kind in [Kind::Pod, Kind::ConfigMap] {
            let foreign = |o: &serde_json::Value| o["metadata"]["ownerReferences"][0]["kind"] == "Other";
            if self.api.get(kind, &first).is_some_and(foreign) {
                self.api.remove(kind, &first);
            }
        }
    }
}
