//! The whole model: the API server, machines, JVMs, processes of the operator, and their true state.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use serde_json::{Value, json};

use super::claims::Claims;
use super::coverage::Coverage;
use super::indexers::Indexing;
use super::model_api::{Kind, ModelApi, Request};
use super::pool::{Pool, has_pool};
use super::process::{MANAGER, Process, TASK};
use super::rng::Dice;
use crate::api::reason::Cause;
use crate::api::{LABEL_IDENTITY, PeonTask, PeonTemplate};
use crate::task::accept::retry_policy::Policy;
use crate::task::controller::Plan;
use crate::task::fixtures::{ID, at};

/// A machine: its kubelet acts while it is on, and talks to the API server while it is connected.
pub struct Machine {
    pub name: String,
    pub on: bool,
    pub connected: bool,
    /// Since when it is connected, or is not.
    pub since: u32,
}

/// The JVM of a peon or of an Indexer. It lives on its machine, whatever the API server knows of it.
pub struct Jvm {
    pub pod_uid: String,
    pub machine: usize,
    pub live: bool,
    pub grace: u32,
    /// How its container ended.
    pub end: Option<Value>,
    pub started: u32,
    /// Of a pod that was made by a request that was on its way when its attempt was over, or that went before anybody
    /// recorded it: what no client of the API can rule out.
    pub late: bool,
    /// When its pod's object went.
    pub orphaned: Option<u32>,
    /// What an Indexer does.
    pub indexing: Option<Indexing>,
}

impl Jvm {
    /// Whether it has, or had, the task: publishing goes on in other threads when the task's own has ended.
    pub fn has_task(&self) -> bool {
        self.indexing.as_ref().is_none_or(|i| i.begun > 0)
    }
}

/// The operator of a history: what it plans, and a bug that is not in its plan.
#[derive(Clone, Copy)]
pub struct Operator {
    pub plan: Plan,
    /// It posts a task while its claim is being written, and not after that.
    pub is_hasty: bool,
    /// It does not wait until the claims of the process that led before are seen.
    pub is_impatient: bool,
}

/// What truly happened to an attempt's pod.
#[derive(Default)]
#[allow(clippy::struct_excessive_bools)] // Each may be so or not, whatever the others are.
pub struct Truth {
    pub attempt: u32,
    pub machine: Option<usize>,
    pub success: bool,
    pub began: bool,
    /// The status named it.
    pub recorded: bool,
    pub late: bool,
    /// The causes that a verdict on it may have.
    pub allowed: BTreeSet<Cause>,
}

/// What a history began with.
pub struct Setting {
    /// The task may be run twice.
    pub safe: bool,
    /// The template says that it may.
    pub always: bool,
    pub sidecar: bool,
}

/// A broken invariant.
#[derive(Debug, Clone)]
pub struct Violation {
    pub invariant: &'static str,
    pub detail: String,
    pub trail: Vec<String>,
}

pub struct World {
    pub api: ModelApi,
    pub dice: Dice,
    pub seen: Coverage,
    pub machines: Vec<Machine>,
    pub jvms: Vec<Jvm>,
    pub truths: BTreeMap<String, Truth>,
    pub processes: Vec<Process>,
    pub leader: Option<usize>,
    /// Requests of dead processes that may still arrive.
    pub flights: Vec<(Request, u32)>,
    pub setting: Setting,
    pub budgets: BTreeMap<Cause, u32>,
    pub task_uid: String,
    pub suspended_once: bool,
    pub writes: u32,
    pub violation: Option<Violation>,
    pub trail: Vec<String>,
    pub operator: Operator,
    pub seconds: Arc<AtomicU32>,
    pub pool: Option<Pool>,
    pub claims: Claims,
    /// How many processes there were.
    serial: u32,
}

impl World {
    /// A task, with or without a template, on two machines; two processes of the operator, one of which leads.
    pub fn new(seed: u64, operator: Operator) -> Self {
        let mut dice = Dice::new(seed);
        let pooled = has_pool(seed);
        let seconds = Arc::new(AtomicU32::new(1000));
        let mut api = ModelApi::default();
        api.now = 1000;
        let machine = |name: &str| Machine {
            name: name.into(),
            on: true,
            connected: true,
            since: 0,
        };
        let setting = Setting {
            safe: !dice.one_in(3),
            always: dice.one_in(6),
            sidecar: dice.one_in(6) && !pooled,
        };
        let mut spec = if pooled {
            let type_ = if setting.safe { "noop" } else { "index_parallel" };
            let placement = dice.pick(&["Auto", "Auto", "Pool", "Pool", "Pool", "Pod"]);
            json!({"task": {"type": type_, "id": ID}, "middleManagerRef": {"name": MANAGER}, "placement": placement})
        } else if setting.safe {
            json!({"task": {"type": "noop", "id": ID}})
        } else {
            json!({"task": {"type": "index_parallel", "id": ID}, "registration": "External"})
        };
        for field in [
            "startDeadlineSeconds",
            "activeDeadlineSeconds",
            "ttlSecondsAfterFinished",
        ] {
            if dice.one_in(8) {
                spec[field] = json!(30 + dice.below(300));
            }
        }
        let born = json!({"phase": "Pending", "reason": "WaitingForOperator", "conditions": []});
        let mut task = json!({"apiVersion": "peon.dev/v1alpha1", "kind": "PeonTask", "metadata": {"name": TASK},
            "spec": spec, "status": born});
        if pooled {
            task["metadata"]["labels"] = json!({LABEL_IDENTITY: "0"});
        }
        let task = api.create(Kind::Task, task);
        let mut world = Self {
            api,
            dice,
            seen: Coverage::default(),
            machines: vec![machine("node-1"), machine("node-2")],
            jvms: Vec::new(),
            truths: BTreeMap::new(),
            processes: Vec::new(),
            leader: None,
            flights: Vec::new(),
            setting,
            budgets: BTreeMap::new(),
            task_uid: task["metadata"]["uid"].as_str().unwrap_or_default().into(),
            suspended_once: false,
            writes: 0,
            violation: None,
            trail: Vec::new(),
            operator,
            seconds,
            pool: None,
            claims: Claims::default(),
            serial: 0,
        };
        for machine in 0..2 {
            world.register(machine);
        }
        if world.dice.one_in(12) {
            world.foreign_objects();
        }
        if !world.dice.one_in(8) {
            world.write_template();
        }
        world.raise_budgets();
        if pooled {
            world.found_pool();
        }
        for _ in 0..2 {
            let process = world.fresh_process();
            world.processes.push(process);
        }
        world.lead(0);
        if pooled && !world.dice.one_in(4) {
            // It has offered its Indexers before the task comes.
            world.pass_over_pool(0, false);
            world.poll(0, false);
            world.pass_over_pool(0, false);
        }
        world
    }

    /// Objects of the user's that bear the names of the first attempt.
    fn foreign_objects(&mut self) {
        let kind = self.dice.pick(&[Kind::Pod, Kind::ConfigMap]);
        let owner =
            json!([{"apiVersion": "v1", "kind": "Other", "name": "x", "uid": "other", "controller": true}]);
        self.api.create(
            kind,
            json!({"metadata": {"name": format!("{TASK}-1"), "ownerReferences": owner,
                "labels": {"app.kubernetes.io/managed-by": "peon-operator"}}, "spec": {"containers": []},
                "status": {"phase": "Pending"}}),
        );
    }

    /// A template, and what it allows.
    pub fn write_template(&mut self) {
        let limit = |dice: &mut Dice| dice.below(3);
        let mut limits = json!({});
        for cause in Cause::retried() {
            if self.dice.one_in(3) {
                limits[cause.as_str()] = json!(limit(&mut self.dice));
            }
        }
        let after_node_loss = self.dice.one_in(2);
        let mut spec = json!({"retry": {"limits": limits, "afterNodeLoss": if after_node_loss { "Rerun" } else { "Wait" },
            "backoffSeconds": self.dice.below(20)}});
        if self.setting.always {
            spec["retry"]["rerun"] = json!("Always");
        }
        if self.dice.one_in(3) {
            let grace = self.dice.pick(&[1, 10, 120]);
            spec["template"] = json!({"spec": {"terminationGracePeriodSeconds": grace}});
        }
        if after_node_loss {
            // Whoever says so sees to it.
            for at in 0..self.machines.len() {
                if self.is_written_off(at) {
                    self.power_off(at);
                }
            }
        }
        if self.api.get(Kind::Template, "default").is_some() {
            self.api.update(Kind::Template, "default", |t| t["spec"] = spec);
        } else {
            let template = json!({"apiVersion": "peon.dev/v1alpha1", "kind": "PeonTemplate",
                "metadata": {"name": "default"}, "spec": spec});
            self.api.create(Kind::Template, template);
        }
        self.raise_budgets();
    }

    /// The largest budgets that ever were in force.
    pub fn raise_budgets(&mut self) {
        let policy = self.policy();
        for cause in Cause::retried() {
            let budget = self.budgets.entry(cause).or_default();
            *budget = (*budget).max(policy.budget(cause));
        }
    }

    pub fn policy(&self) -> Policy {
        let template = self.api.get(Kind::Template, "default");
        let template: Option<PeonTemplate> = template.and_then(|t| serde_json::from_value(t.clone()).ok());
        Policy::effective(None, template.and_then(|t| t.spec.retry).as_ref())
    }

    pub fn now(&self) -> u32 {
        self.api.now
    }

    pub fn clock(&self) -> String {
        at(self.now().into()).to_string()
    }

    pub fn task(&self) -> Option<PeonTask> {
        let task = self.api.get(Kind::Task, TASK)?;
        Some(serde_json::from_value(task.clone()).expect("a task"))
    }

    /// The number of the current attempt; of a task that is gone, none that there could be.
    pub fn attempt(&self) -> u32 {
        let Some(task) = self.api.get(Kind::Task, TASK) else {
            return u32::MAX;
        };
        let number = task["status"]["attempt"].as_u64();
        number.and_then(|n| u32::try_from(n).ok()).unwrap_or(1)
    }

    pub fn is_final(&self) -> bool {
        self.task().is_none_or(|t| t.is_final())
    }

    /// The operator's pods, by name.
    pub fn pods(&self) -> Vec<Value> {
        let kind = |p: &Value| p["metadata"]["ownerReferences"][0]["kind"].clone();
        let ours = |p: &&Value| kind(p) == "PeonTask" || kind(p) == "IndexerPool";
        self.api.all(Kind::Pod).filter(ours).cloned().collect()
    }

    /// Time passes. What has to be done by then is done.
    pub fn pass_time(&mut self, seconds: u32) {
        self.api.now += seconds;
        self.seconds.store(self.api.now, Ordering::Relaxed);
        self.enforce_time();
        for process in &mut self.processes {
            process.settle(&self.api);
        }
    }

    /// Notes what happens.
    pub fn note(&mut self, what: impl Into<String>) {
        let line = format!("{:>5} {}", self.now(), what.into());
        self.trail.push(line);
    }

    /// Checks an invariant.
    pub fn hold(&mut self, invariant: &'static str, holds: bool, detail: impl FnOnce() -> String) {
        self.seen.count("invariants checked", invariant);
        if !holds && self.violation.is_none() {
            let (detail, trail) = (detail(), self.trail.clone());
            self.violation = Some(Violation {
                invariant,
                detail,
                trail,
            });
        }
    }

    /// A process leads, and the one before it does not.
    pub fn lead(&mut self, process: usize) {
        if let Some(before) = self.leader.take() {
            self.processes[before].depose();
        }
        if self.processes[process].led {
            self.restart(process);
        }
        let followed = self.processes.iter().any(|p| p.led) || self.serial > 2;
        let waits = followed && !self.operator.is_impatient;
        self.processes[process].lead(&self.api, waits);
        self.leader = Some(process);
    }

    fn fresh_process(&mut self) -> Process {
        self.serial += 1;
        let Operator { plan, .. } = self.operator;
        Process::new(&self.api, &self.seconds, plan, self.pool.is_some(), self.serial)
    }

    /// A process dies and another one takes its place, with fresh caches and no memory.
    pub fn restart(&mut self, process: usize) {
        let fresh = self.fresh_process();
        let dead = std::mem::replace(&mut self.processes[process], fresh);
        self.flights.extend(dead.die());
        if self.leader == Some(process) {
            self.leader = None;
        }
    }
}
