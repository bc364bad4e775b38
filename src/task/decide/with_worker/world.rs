//! The world of random histories of a task that is claimed on Indexers.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use k8s_openapi::jiff::Timestamp;
use serde_json::json;

use super::CLAIMED;
use crate::api::reason::Waiting;
use crate::api::{PeonTask, Phase, RunStatus, conditions};
use crate::indexer::decide::post::Posted;
use crate::indexer::decide::view::{Trouble, View};
use crate::indexer::fixtures::{Jvm, failed, running as announced, succeeded, target};
use crate::task::decide::plan::{Action, Step};
use crate::task::decide::status::Draft;
use crate::task::fixtures::{ID, at, ended, evidence, noop, running, snapshot, template};
use crate::task::run::death::NodeState;
use crate::task::run::pod::evidence::{Container, Evidence};
use crate::task::run::worker::IndexerSeen;
use crate::task::snapshot::{Live, Snapshot, Template};

pub(super) type Plan = fn(&Snapshot, Timestamp) -> Step;

/// An Indexer's pod, and the JVM in it.
struct Indexer {
    /// What answers at its address.
    answers: Jvm,
    /// Whether that is another JVM.
    replaced: bool,
    alive: bool,
    /// How often the JVM in the pod has started the task, and whether it still runs there.
    started: u32,
    runs: bool,
    /// What the API server has of the pod.
    object: Option<Evidence>,
    last: Evidence,
}

#[derive(Default)]
struct Operator {
    task: Option<PeonTask>,
    pods: BTreeMap<String, Evidence>,
    departed: BTreeMap<String, Evidence>,
    views: BTreeMap<String, View>,
}

pub(super) struct World {
    dice: fastrand::Rng,
    plan: Plan,
    now: i64,
    version: u64,
    pub(super) task: PeonTask,
    indexers: BTreeMap<String, Indexer>,
    operators: [Operator; 2],
    leader: usize,
    /// Pods that give no answer.
    silent: BTreeSet<String>,
    /// Pods to which a POST is on its way.
    wire: Vec<String>,
    pub(super) posts: u32,
    pub(super) attempts: u32,
    pub(super) broken: Option<String>,
}

fn uid(attempt: u32) -> String {
    format!("indexer-{attempt}")
}

impl World {
    pub(super) fn new(seed: u64, plan: Plan) -> Self {
        let mut world = Self {
            dice: fastrand::Rng::with_seed(seed),
            plan,
            now: 100,
            version: 0,
            task: noop(),
            indexers: BTreeMap::new(),
            operators: [Operator::default(), Operator::default()],
            leader: 0,
            silent: BTreeSet::new(),
            wire: Vec::new(),
            posts: 0,
            attempts: 0,
            broken: None,
        };
        let status = world.task.status.get_or_insert_default();
        status.task_id = Some(ID.into());
        status.attempt = Some(1);
        status.safe_to_rerun = Some(true);
        world.place();
        world
    }

    fn changed(&mut self) {
        self.version += 1;
        self.task.metadata.resource_version = Some(self.version.to_string());
    }

    /// Claims a fresh Indexer for an attempt that has none.
    fn place(&mut self) {
        let status = self.task.status.clone().unwrap_or_default();
        let waits = matches!(status.phase, None | Some(Phase::Pending));
        if status.run.is_some() || !waits || self.task.spec.suspend || self.task.spec.cancel {
            return;
        }
        self.attempts += 1;
        let pod_uid = uid(self.attempts);
        let pod = Evidence {
            pod_name: pod_uid.clone(),
            pod_uid: pod_uid.clone(),
            owner_uid: Some("pool".into()),
            grace: Some(100),
            ..evidence(running())
        };
        let indexer = Indexer {
            answers: Jvm::started(self.now * 1000),
            replaced: false,
            alive: true,
            started: 0,
            runs: false,
            object: Some(pod.clone()),
            last: pod,
        };
        self.indexers.insert(pod_uid.clone(), indexer);
        let mut status =
            Draft::of(&self.task, at(self.now)).wait(Phase::Starting, Waiting::Starting, CLAIMED);
        status.run = Some(RunStatus::in_indexer(
            "warm",
            &pod_uid,
            &pod_uid,
            ("10.0.0.9", 8091),
        ));
        self.task.status = Some(status);
        self.changed();
    }

    fn break_rule(&mut self, rule: &str) {
        self.broken
            .get_or_insert_with(|| format!("{rule} at {}", self.now));
    }

    /// Two JVMs that have the task, the thread of which may have ended while it publishes, never live at a time.
    fn check(&mut self) {
        let live = self
            .indexers
            .values()
            .filter(|i| i.alive && i.started > 0)
            .count();
        if live > 1 {
            self.break_rule("two JVMs that had started the task live");
        }
        if self.indexers.values().any(|i| i.started > 1) {
            self.break_rule("a JVM started the task twice");
        }
    }

    fn arrive(&mut self, pod_uid: &str) {
        let Some(indexer) = self.indexers.get_mut(pod_uid) else {
            return;
        };
        // Another JVM at the address takes it, too; it has no claim, and its pool shuts it down.
        if !indexer.alive || indexer.replaced || indexer.answers.lists(ID) {
            return;
        }
        indexer.started += 1;
        indexer.runs = true;
        indexer.answers.announce(announced(ID));
        self.check();
    }

    fn snapshot(&self, of: usize) -> Option<Snapshot> {
        let operator = &self.operators[of];
        let task = operator.task.clone()?;
        let status = task.status.as_ref()?;
        let pod = status.run.as_ref()?.pod_uid.clone()?;
        if task.is_final() {
            return None;
        }
        let seen = IndexerSeen {
            view: operator.views.get(&pod).cloned().map(Arc::new),
            pod: operator.pods.get(&pod).cloned(),
            departed: operator.departed.get(&pod).cloned(),
            ..IndexerSeen::default()
        };
        let retry = json!({"retry": {"limits": {"TaskFailed": 1}}});
        Some(Snapshot {
            template: Template::Found(Arc::new(template(retry))),
            indexer: Some(Box::new(seen)),
            ..snapshot(task)
        })
    }

    fn pass(&mut self, of: usize) {
        let Some(mut snapshot) = self.snapshot(of) else {
            return;
        };
        for _ in 0..12 {
            match (self.plan)(&snapshot, at(self.now)) {
                Step::Act(action) => self.act(of, action, &mut snapshot),
                Step::Settle(settlement) => {
                    if let Some(status) = settlement.status
                        && self.leader == of
                        && snapshot.task.metadata.resource_version == self.task.metadata.resource_version
                        && self.task.status.as_ref() != Some(&status)
                    {
                        if self.task.is_final() {
                            self.break_rule("a verdict was changed");
                        }
                        self.task.status = Some(status);
                        self.changed();
                    }
                    return;
                }
            }
        }
        self.break_rule("a pass did not settle");
    }

    fn act(&mut self, of: usize, action: Action, snapshot: &mut Snapshot) {
        let leads = self.leader == of;
        match action {
            Action::PostTask { pod_uid } => {
                self.posts += 1;
                snapshot.outcomes.posted = Some(match self.dice.u8(0..4) {
                    _ if !leads => Posted::NotReceived("this process does not lead".into()),
                    0 => Posted::Unknown("it was lost".into()),
                    1 => {
                        self.wire.push(pod_uid);
                        Posted::Unknown("it is late".into())
                    }
                    _ => {
                        self.arrive(&pod_uid);
                        Posted::Accepted
                    }
                });
            }
            Action::ShutDown { pod_uid, task_id } => {
                let heard = leads && self.dice.u8(0..4) > 0;
                let indexer = self
                    .indexers
                    .get_mut(&pod_uid)
                    .filter(|i| i.alive && i.runs && heard);
                if let Some(indexer) = indexer.filter(|_| task_id == ID) {
                    indexer.runs = false;
                    indexer.answers.announce(failed(ID));
                }
                snapshot.outcomes.shut_down.push(task_id);
            }
            Action::DeletePod(stop) => {
                if let Some(pod) = self.indexers.get_mut(&stop.uid).and_then(|i| i.object.as_mut())
                    && leads
                    && pod.deletion_requested.is_none()
                {
                    pod.deletion_requested = Some(at(self.now));
                    pod.deletion_due = Some(at(self.now + 100));
                }
                snapshot.outcomes.ended.push(stop.pod);
            }
            Action::LookIndexer { pod } => {
                snapshot.outcomes.indexer = Some(Box::new(Live {
                    config_map_owner: None,
                    pod: self.indexers.get(&pod).and_then(|i| i.object.clone()),
                    task_version: self.task.metadata.resource_version.clone(),
                }));
            }
            Action::LookNode { .. } => snapshot.outcomes.node = Some(NodeState::Ready(at(0))),
            other => self.break_rule(&format!("{other:?}")),
        }
    }

    fn poll(&mut self, of: usize) {
        for (pod_uid, indexer) in &self.indexers {
            let view = self.operators[of].views.entry(pod_uid.clone());
            let view = view.or_insert_with(|| View::new(target(pod_uid)));
            if (indexer.alive || indexer.replaced) && !self.silent.contains(pod_uid) {
                while let Some(answer) = indexer.answers.answer(view.asks()) {
                    let _ = view.answered(view.asks(), &answer);
                }
                view.nothing_new();
            } else {
                view.unanswered(Trouble::Unreachable("no connection".into()), at(self.now));
            }
        }
    }

    fn read_pods(&mut self, of: usize) {
        let operator = &mut self.operators[of];
        for (pod_uid, indexer) in &self.indexers {
            match &indexer.object {
                Some(pod) => drop(operator.pods.insert(pod_uid.clone(), pod.clone())),
                None => {
                    if operator.pods.remove(pod_uid).is_some() {
                        operator.departed.insert(pod_uid.clone(), indexer.last.clone());
                    }
                }
            }
        }
    }

    /// The JVM ends, and the kubelet says so.
    fn end(&mut self, pod_uid: &str, exit_code: i32) {
        let now = self.now;
        let Some(indexer) = self.indexers.get_mut(pod_uid).filter(|i| i.alive) else {
            return;
        };
        (indexer.alive, indexer.runs) = (false, false);
        let mut dead = evidence(ended(exit_code, "Error", ""));
        if let Container::Terminated(terminated) = &mut dead.peon {
            terminated.finished = Some(at(now));
        }
        if let Some(pod) = &mut indexer.object {
            (pod.peon, pod.phase) = (dead.peon, dead.phase);
            indexer.last = pod.clone();
        }
    }

    /// A kubelet ends what is to be deleted, and the object goes.
    fn kubelet(&mut self) {
        let deleted = |i: &Indexer| {
            i.object
                .as_ref()
                .is_some_and(|pod| pod.deletion_requested.is_some())
        };
        let deleted: Vec<String> = self
            .indexers
            .iter()
            .filter(|(_, i)| deleted(i))
            .map(|(uid, _)| uid.clone())
            .collect();
        for pod_uid in deleted {
            let alive = self.indexers.get(&pod_uid).is_some_and(|i| i.alive);
            if alive {
                self.end(&pod_uid, 143);
            } else if let Some(indexer) = self.indexers.get_mut(&pod_uid) {
                indexer.object = None;
            }
        }
    }

    fn current(&self) -> Option<String> {
        self.task.status.as_ref()?.run.as_ref()?.pod_uid.clone()
    }

    /// Whether all know that the Indexer announced the task. It asks its overlord before it forgets a task, which holds
    /// it RUNNING until the operator has written a verdict or a stop, so this takes longer than a poll.
    fn is_known(&self, pod_uid: &str) -> bool {
        let recorded = |task: &PeonTask| {
            task.status
                .as_ref()
                .is_some_and(|s| conditions::is_true(&s.conditions, conditions::STARTED))
        };
        let knows = |operator: &Operator| {
            let view = operator.views.get(pod_uid);
            view.is_some_and(|view| view.task(ID).is_some()) || operator.task.as_ref().is_some_and(recorded)
        };
        recorded(&self.task) && self.operators.iter().all(knows)
    }

    /// Something happens in the Indexer of the current attempt.
    fn indexer_event(&mut self) {
        let what = self.dice.u8(0..12);
        let Some(pod_uid) = self.current() else {
            return;
        };
        if what == 11 {
            return self.end(&pod_uid, 137);
        }
        let (now, known) = (self.now, self.is_known(&pod_uid));
        let Some(indexer) = self.indexers.get_mut(&pod_uid).filter(|i| i.alive) else {
            return;
        };
        match what {
            0..=1 if indexer.runs => {
                indexer.runs = false;
                indexer.answers.announce(succeeded(ID));
            }
            2 if indexer.runs => {
                indexer.runs = false;
                indexer.answers.announce(failed(ID));
            }
            // It forgets only what has ended, and a minute after that: what was on its way has arrived.
            3 if known && !indexer.runs && !indexer.replaced => {
                indexer.answers.forget(ID);
                self.wire.retain(|to| *to != pod_uid);
            }
            4..=5 => {
                let was_silent = self.silent.remove(&pod_uid);
                if !was_silent {
                    self.silent.insert(pod_uid);
                }
            }
            6 if !indexer.replaced => {
                indexer.answers = Jvm::started(now * 1000 + 7);
                (indexer.replaced, indexer.runs) = (true, false);
            }
            _ => {}
        }
    }

    pub(super) fn happen(&mut self) {
        self.now += self.dice.i64(0..20);
        let of = self.dice.usize(0..2);
        match self.dice.u8(0..30) {
            0..=7 => self.pass(of),
            8..=10 => self.operators[of].task = Some(self.task.clone()),
            11..=14 => self.poll(of),
            15..=17 => self.read_pods(of),
            18..=22 => self.indexer_event(),
            23 => self.kubelet(),
            24 => {
                if let Some(to) = self.wire.pop() {
                    self.arrive(&to);
                }
            }
            25 => self.leader = of,
            // A process that starts anew.
            26 => {
                self.operators[of] = Operator::default();
                self.operators[of].task = Some(self.task.clone());
            }
            27 => self.place(),
            28 if self.dice.u8(0..4) == 0 => {
                self.task.spec.cancel = true;
                self.changed();
            }
            28 => {
                self.task.spec.suspend = !self.task.spec.suspend;
                self.changed();
            }
            _ => {
                self.task.status.get_or_insert_default().observed_generation = Some(1);
                self.changed();
            }
        }
        self.check();
    }

    /// The faults are over: the task has to come to its verdict.
    pub(super) fn come_to_rest(&mut self) {
        self.task.spec.suspend = false;
        self.changed();
        for _ in 0..200 {
            if self.task.is_final() || self.broken.is_some() {
                return;
            }
            let of = self.leader;
            self.now += 30;
            while let Some(to) = self.wire.pop() {
                self.arrive(&to);
            }
            let current = self.current().unwrap_or_default();
            if self
                .indexers
                .get(&current)
                .is_some_and(|indexer| indexer.replaced)
            {
                // A process that started anew does not know that it is another JVM. Its pool does.
                self.end(&current, 143);
            }
            let runs = self.indexers.get_mut(&current).filter(|indexer| indexer.runs);
            if let Some(indexer) = runs
                && self.dice.bool()
            {
                indexer.runs = false;
                indexer.answers.announce(succeeded(ID));
            }
            self.silent.clear();
            self.kubelet();
            self.poll(of);
            self.read_pods(of);
            self.operators[of].task = Some(self.task.clone());
            self.pass(of);
            if self.task.spec.cancel && self.current().is_none() {
                return;
            }
            self.place();
        }
        if !self.task.is_final() {
            self.break_rule(&format!("no verdict: {:?}", self.task.status));
        }
    }
}
