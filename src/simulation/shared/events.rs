//! What happens, and the end of a history: without faults every task has its verdict.

use std::sync::Arc;

use serde_json::json;

use super::super::model_api::Kind;
use super::world::{NODES, World};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Happening {
    Operate,
    Deliver,
    Relist,
    Time,
    NewTask,
    Pass,
    Poll,
    Kubelet,
    Writes,
    TaskEnds,
    OutOfMemory,
    JavaOutOfMemory,
    Killed,
    DeletePod,
    Cancel,
    DeleteTask,
    Silence,
    Cordon,
    Uncordon,
    Scale,
    Revise,
    LeaderChanges,
    Crash,
    Stop,
    Continue,
    Late,
    Forget,
    Again,
}
use Happening::{
    Again, Cancel, Continue, Cordon, Crash, DeletePod, DeleteTask, Deliver, Forget, JavaOutOfMemory, Killed,
    Kubelet, Late, LeaderChanges, NewTask, Operate, OutOfMemory, Pass, Poll, Relist, Revise, Scale, Silence,
    Stop, TaskEnds, Time, Uncordon, Writes,
};

const OFTEN: [(u32, Happening); 28] = [
    (80, Operate),
    (40, Deliver),
    (3, Relist),
    (14, Time),
    (24, NewTask),
    (14, Pass),
    (24, Poll),
    (14, Kubelet),
    (8, Writes),
    (6, TaskEnds),
    (1, OutOfMemory),
    (1, JavaOutOfMemory),
    (1, Killed),
    (1, DeletePod),
    (4, Cancel),
    (1, DeleteTask),
    (2, Silence),
    (1, Cordon),
    (2, Uncordon),
    (2, Scale),
    (1, Revise),
    (1, LeaderChanges),
    (2, Crash),
    (1, Stop),
    (3, Continue),
    (3, Late),
    (2, Forget),
    (3, Again),
];

/// Rounds after which a task is stopped that nobody needs: each time, it takes notice three times in four.
const STRANGE: u32 = 12;
/// Rounds of 20 s in which all tasks have to come to their verdicts.
const ROUNDS: u32 = 120;

impl World {
    /// Something happens.
    pub async fn happen(&mut self) {
        let happening = self.dice.weighted(&OFTEN);
        let process = self.leader.filter(|_| !self.dice.one_in(6));
        let process = process.unwrap_or_else(|| self.dice.below(2) as usize);
        if !matches!(
            happening,
            Operate | Deliver | Time | Poll | Pass | Kubelet | Writes
        ) {
            self.seen.count("happenings", &format!("{happening:?}"));
            self.note(format!("{happening:?}"));
        }
        match happening {
            Operate => {
                for _ in 0..3 {
                    self.operate(true).await;
                }
            }
            Deliver => self.deliver_some(),
            Relist => {
                let kind = self.dice.pick(&[Kind::Task, Kind::Template, Kind::Pod]);
                self.processes[process].relist(&self.api, kind);
            }
            Time => {
                let seconds = self.dice.pick(&[1, 2, 5, 10, 15, 30, 60]);
                self.pass_time(seconds);
            }
            NewTask => {
                for _ in 0..=self.dice.below(3) {
                    self.create_task();
                }
            }
            Pass => self.pass_over_pool(process, true),
            Poll => {
                self.poll(process, true);
                if self.dice.one_in(2) {
                    self.pass_over_pool(process, true);
                }
            }
            Kubelet => {
                let pods = self.pods();
                if let Some(many) = u32::try_from(pods.len()).ok().filter(|many| *many > 0) {
                    let at = self.dice.below(many) as usize;
                    self.kubelet(&super::super::cluster::name_of(&pods[at]));
                }
            }
            Writes => self.some_task_goes_on(false),
            TaskEnds => self.some_task_goes_on(true),
            OutOfMemory => self.end_some_jvm(137, "OOMKilled"),
            JavaOutOfMemory => self.end_some_jvm(3, "Error"),
            Killed => self.end_some_jvm(1, "Error"),
            DeletePod => self.delete_some_pod(),
            Cancel => {
                if let Some(name) = self.some_task_that_runs() {
                    self.edit(&name, |spec| spec["cancel"] = json!(true));
                }
            }
            DeleteTask => {
                if let Some(name) = self.some_task() {
                    self.api.remove(Kind::Task, &name);
                }
            }
            Silence => {
                if let Some(jvm) = self.some_jvm() {
                    self.jvms[jvm].silent = !self.jvms[jvm].silent;
                }
            }
            Cordon => {
                self.cordoned.insert(self.dice.pick(&NODES).to_owned());
            }
            Uncordon => self.cordoned.clear(),
            Scale => {
                let replicas = self.dice.below(4);
                Arc::make_mut(&mut self.pool.object).spec.replicas = replicas;
            }
            Revise => self.pool.revision.hash.push('x'),
            LeaderChanges | Crash => {
                let process = self.dice.below(2) as usize;
                if happening == Crash {
                    self.restart(process);
                }
                if happening == LeaderChanges || self.leader.is_none() {
                    let next = self.leader.map_or(process, |leader| 1 - leader);
                    self.lead(next);
                }
            }
            Stop => self.processes[process].stopped = true,
            Continue => {
                for process in &mut self.processes {
                    process.stopped = false;
                }
            }
            Late => self.land(),
            Forget => self.forget(),
            Again => self.recreate(),
        }
    }

    fn deliver_some(&mut self) {
        for process in 0..2 {
            for kind in 0..3 {
                for _ in 0..=self.dice.below(4) {
                    if self.processes[process].lag(&self.api, kind) > 0 && !self.dice.one_in(4) {
                        self.processes[process].deliver(&self.api, kind, false);
                    }
                }
            }
        }
    }

    /// The faults stop, and all tasks end.
    pub async fn come_to_rest(&mut self) {
        self.note("the faults stop");
        while self.tasks.len() < self.many {
            self.create_task();
        }
        for jvm in &mut self.jvms {
            jvm.silent = false;
        }
        self.cordoned.clear();
        self.flights.clear();
        Arc::make_mut(&mut self.pool.object).spec.replicas = 2;
        for process in &mut self.processes {
            process.stopped = false;
        }
        let mut quiet = 0;
        for _ in 0..ROUNDS {
            let before = (self.writes, self.api.log[2].len());
            self.round().await;
            if self.violation.is_some() {
                return;
            }
            let is_quiet = before == (self.writes, self.api.log[2].len()) && self.unfinished().is_empty();
            quiet = if is_quiet { quiet + 1 } else { 0 };
            if quiet > 5 {
                break;
            }
        }
        let lost = self.unfinished();
        self.hold("no task is lost", lost.is_empty(), || format!("{lost:?}"));
        let goes_on: Vec<_> = self
            .jvms
            .iter()
            .flat_map(|j| j.runs_now().map(|id| (j.pod_uid.clone(), id.clone())))
            .collect();
        self.hold(
            "nothing runs when all have their verdicts",
            goes_on.is_empty(),
            || format!("{goes_on:?}"),
        );
        let ready = self.jvms.iter().filter(|j| j.live && !j.is_peon).count();
        self.hold("the pool has as many Indexers as wanted", ready == 2, || {
            format!("{ready}")
        });
    }

    /// Whether a task runs in an Indexer that nobody needs, beside one that is needed: the first is to be stopped, and the
    /// other does not end before.
    fn is_with_stranger(&self, jvm: usize) -> bool {
        let uid = &self.jvms[jvm].pod_uid;
        self.strangers.keys().any(|(pod, _)| pod == uid)
    }

    /// A task that nobody needs is stopped, unless it takes no notice of that.
    fn watch_strangers(&mut self) {
        let mut found = std::collections::BTreeMap::new();
        for jvm in self.jvms.iter().filter(|j| j.live && !j.is_peon) {
            let needed = self.needing(&jvm.pod_uid);
            let beside = jvm.runs_now().any(|id| needed.contains(id));
            let strange = jvm.runs_now().filter(|id| !self.has_claim(id, &jvm.pod_uid));
            for id in strange.filter(|id| beside && !jvm.runs[*id].is_deaf) {
                let key = (jvm.pod_uid.clone(), id.clone());
                let rounds = self.strangers.get(&key).copied().unwrap_or_default();
                found.insert(key, rounds + 1);
            }
        }
        let worst = found.iter().max_by_key(|(_, rounds)| **rounds);
        let lives = worst
            .filter(|(_, rounds)| **rounds > STRANGE)
            .map(|(key, _)| key.clone());
        if !found.is_empty() {
            self.seen.count("happenings", "a stranger beside a task");
        }
        self.strangers = found;
        self.hold(
            "no id lives on an Indexer without a claim",
            lives.is_none(),
            || format!("{lives:?}"),
        );
    }

    /// What the statuses say of tasks without a verdict.
    fn unfinished(&self) -> Vec<String> {
        let tasks = self.tasks.iter().filter_map(|t| self.task(&t.name));
        let unfinished = tasks.filter(|t| !t.is_final());
        unfinished
            .map(|t| serde_json::to_string(&t.status).unwrap_or_default())
            .collect()
    }

    async fn round(&mut self) {
        self.pass_time(20);
        self.watch_strangers();
        for at in 0..self.jvms.len() {
            if self.is_with_stranger(at) {
                continue;
            }
            let running: Vec<String> = self.jvms[at].runs_now().cloned().collect();
            for id in running {
                // One that was asked to stop, and does not, does not end either.
                let stopped =
                    self.needing(&self.jvms[at].pod_uid.clone()).contains(&id) || self.jvms[at].is_peon;
                let is_deaf = self.jvms[at].runs[&id].is_deaf && !stopped;
                if !is_deaf && self.dice.one_in(2) {
                    let success = !self.dice.one_in(4);
                    self.end_run(at, &id, success);
                }
            }
        }
        self.kubelets();
        for step in 0..80 {
            if let Some(leader) = self.leader.filter(|_| step % 20 == 0) {
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
    }
}
