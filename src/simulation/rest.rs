//! The end of a history: without faults every task comes to rest.

use super::cluster::name_of;
use super::model_api::Kind;
use super::process::TASK;
use super::world::{Jvm, World};
use crate::api::PeonTask;
use crate::api::reason::{Cause, Readiness, Suspension, TaskReason, Waiting};

/// Rounds of half a minute that a task may take to come to rest: deadlines and back-off included.
const ROUNDS: u32 = 80;

/// Where a task without a verdict may rest.
#[derive(Clone, Copy, PartialEq)]
enum Rest {
    Suspended,
    Runs,
    AwaitsProof,
    NoPool,
}

/// Where it rests, by its reason.
fn rest_of(task: &PeonTask) -> Option<Rest> {
    let reason = task.status.as_ref().and_then(|s| s.reason.as_deref())?;
    match TaskReason::parse(reason, false)? {
        TaskReason::Suspended(Suspension::Suspended) => Some(Rest::Suspended),
        TaskReason::Ready(Readiness::Running) => Some(Rest::Runs),
        TaskReason::Ready(Readiness::AwaitingNodeProof) => Some(Rest::AwaitsProof),
        TaskReason::Waits(Waiting::NoPool) => Some(Rest::NoPool),
        TaskReason::Ready(Readiness::WaitingForOperator | Readiness::RunsElsewhere | Readiness::Stopping)
        | TaskReason::Suspended(Suspension::NotRestartable | Suspension::Resumed)
        | TaskReason::Accepted(_)
        | TaskReason::Waits(_)
        | TaskReason::Complete(_)
        | TaskReason::Failed(_) => None,
    }
}

impl World {
    /// Whatever was in the way is mended; nothing but kubelets, watches and the operator goes on.
    pub async fn come_to_rest(&mut self) {
        self.note("the faults stop");
        self.api.quota = false;
        self.foreigners_go();
        if self.api.get(Kind::Template, "default").is_none() {
            self.write_template();
        }
        for at in 0..self.machines.len() {
            if self.is_written_off(at) {
                continue;
            }
            self.heal(at);
        }
        if (0..self.machines.len()).all(|m| self.is_written_off(m)) {
            self.heal(0);
        }
        self.flights.clear();
        self.change_pool(true);
        self.mend_indexers();
        self.end_others();
        for process in &mut self.processes {
            process.stopped = false;
        }
        let (mut quiet, mut is_quiet) = (0, false);
        for _ in 0..ROUNDS {
            let before = (self.writes, self.api.log[2].len());
            self.round(if quiet > 2 { 60 } else { 20 }).await;
            if self.violation.is_some() {
                return;
            }
            let due = self.leader.and_then(|l| self.processes[l].due());
            let soon = due.is_some_and(|d| d <= self.now() + 600) && !self.is_at_rest();
            quiet = if before == (self.writes, self.api.log[2].len()) && !soon && !self.kubelets_are_due() {
                quiet + 1
            } else {
                0
            };
            // Proof takes a grace period and more.
            let enough = if self.awaits_proof() { 12 } else { 3 };
            is_quiet = quiet >= enough;
            if is_quiet {
                break;
            }
        }
        self.hold("a task comes to rest", is_quiet, || {
            "it goes on and on".to_owned()
        });
        self.check_rest();
        let writes = self.writes;
        let was_final = self.task().is_none_or(|t| t.is_final());
        if let Some(leader) = self.leader {
            let now = self.now();
            self.processes[leader].nudge(TASK, now);
        }
        self.round(20).await;
        let more = self.writes - writes;
        // What a deadline does while the last look is taken, the kubelet's or the operator's, is no needless write.
        let ended = !was_final && self.task().is_none_or(|t| t.is_final());
        self.hold(
            "a pass at rest writes nothing",
            more == 0 || !self.is_at_rest() || ended || self.task().is_none(),
            || format!("{more} writes"),
        );
    }

    /// An Indexer lives whose pod is gone: its kubelet will end it.
    fn kubelets_are_due(&self) -> bool {
        let orphan = |j: &Jvm| j.live && j.indexing.is_some() && j.orphaned.is_some();
        let mut orphans = self.jvms.iter().filter(|j| orphan(j));
        orphans.any(|j| self.machines[j.machine].connected)
    }

    async fn round(&mut self, seconds: u32) {
        self.pass_time(seconds);
        if self.pool.is_some() && self.dice.one_in(3) {
            self.some_task_ends();
        }
        for pod in self.pods() {
            let at = usize::from(!self.node_is_ready(0) || self.is_written_off(0));
            self.schedule(&pod, at);
        }
        for pod in self.pods() {
            self.start(&pod);
        }
        for pod in self.pods() {
            self.obey(&pod);
            if self.machine_of(&pod).is_some_and(|m| self.is_written_off(m)) {
                self.disrupt(&pod, "DeletionByTaintManager", Cause::NodeLost);
            }
        }
        for pod in self.pods() {
            self.collect_pod(&pod);
        }
        self.collect();
        self.mark_orphans();
        self.check_lives();
        for step in 0..40 {
            if let Some(leader) = self.leader.filter(|_| self.pool.is_some() && step % 16 == 0) {
                self.poll(leader, false);
                self.pass_over_pool(leader, false);
            }
            for process in 0..2 {
                for kind in 0..3 {
                    while self.processes[process].lag(&self.api, kind) > 0 {
                        self.processes[process].deliver(&self.api, kind, false);
                    }
                }
            }
            if !self.operate(false).await {
                break;
            }
        }
        self.check_lives();
    }

    fn is_at_rest(&self) -> bool {
        self.task().is_none_or(|t| t.is_final() || rest_of(&t).is_some())
    }

    /// It waits for proof, which may be had.
    fn awaits_proof(&self) -> bool {
        self.task()
            .is_some_and(|t| rest_of(&t) == Some(Rest::AwaitsProof))
    }

    fn check_rest(&mut self) {
        // Who did not see the claim of a task that is gone, and was never posted, cannot know of it.
        let is_there = self.api.get(Kind::Task, TASK).is_some();
        let lives: Vec<_> = self
            .jvms
            .iter()
            .filter(|j| j.live && self.machines[j.machine].connected)
            .filter(|j| j.has_task() || is_there && self.claims.has(&j.pod_uid))
            .map(|j| j.pod_uid.clone())
            .collect();
        let strangers = |j: &Jvm| j.indexing.as_ref().is_some_and(|i| !i.strangers.is_empty());
        let reached = |j: &Jvm| j.live && self.machines[j.machine].connected;
        let runs = self.jvms.iter().any(|j| reached(j) && strangers(j));
        self.hold("no stranger runs at rest", !runs, String::new);
        let Some(task) = self.task() else {
            self.seen.count("at rest", "deleted");
            return self.hold("no JVM outlives its task", lives.is_empty(), || {
                format!("{lives:?}")
            });
        };
        let status = task.status.clone().unwrap_or_default();
        let reason = status.reason.clone().unwrap_or_default();
        if task.is_final() {
            self.seen.count("at rest", "final");
            return self.hold("no JVM outlives its verdict", lives.is_empty(), || {
                format!("{lives:?}")
            });
        }
        self.seen.count("at rest", &reason);
        let right = match rest_of(&task) {
            Some(Rest::Suspended) => task.spec.suspend && lives.is_empty(),
            Some(Rest::Runs) => lives.len() == 1 && status.pod_uid() == lives.first().map(String::as_str),
            Some(Rest::AwaitsProof) => self.proof_is_wanting(&task),
            // None has more memory than an attempt that ran out of it had.
            Some(Rest::NoPool) => {
                let mut ended = status.attempts.iter().filter_map(|a| Cause::parse(&a.cause));
                lives.is_empty() && ended.any(Cause::needs_memory)
            }
            // A pod that the kubelet cannot start, of a reason that is still there.
            None => false,
        };
        let pods: Vec<_> = self.pods().iter().map(name_of).collect();
        self.hold("rest is where it should be", right, || {
            format!("{reason}, {pods:?}, live {lives:?}: {status:?}")
        });
    }

    /// Whether there is a reason to wait for proof: a node that was written off, or that nobody knows.
    fn proof_is_wanting(&self, task: &PeonTask) -> bool {
        let status = task.status.clone().unwrap_or_default();
        let pod = status.pod_uid().and_then(|u| self.api.pod_by_uid(u));
        let node = pod
            .and_then(|p| p["spec"]["nodeName"].as_str().map(str::to_owned))
            .or(status.node_name);
        let Some(node) = node else { return pod.is_none() };
        let machine = self.machines.iter().position(|m| m.name == node);
        machine.is_some_and(|m| self.is_written_off(m))
    }
}
