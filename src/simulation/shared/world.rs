//! The model: the API server, pods with their JVMs, the pool, and two processes of the operator.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use serde_json::{Value, json};

use super::super::cluster::uid_of;
use super::super::coverage::Coverage;
use super::super::model_api::{Kind, ModelApi, Request};
use super::super::process::{MANAGER, Process};
use super::super::rng::Dice;
use super::super::world::Violation;
use super::Operator;
use super::indexers::Jvm;
use crate::api::{IndexerPool, LABEL_IDENTITY, LABEL_REVISION, PeonTask};
use crate::druid::properties::RuntimeProperties;
use crate::pool::decide::revision::Revision;
use crate::pool::fixtures::pool;
use crate::task::fixtures::{at, template};

/// Slots of an Indexer.
pub const SLOTS: (usize, usize) = (2, 1);
/// The nodes.
pub const NODES: [&str; 2] = ["node-1", "node-2"];
/// Ids that are easily taken for one another.
const IDS: [&str; 8] = [
    "load", "load-2", "load]", "[load", "load 2", "oad", "[load]", "load-",
];

/// A process: its place, and how many there were before.
pub type Writer = (usize, u32);

/// A task, as its user made it.
#[derive(Debug, Clone)]
pub struct Known {
    /// Name of the PeonTask.
    pub name: String,
    pub id: String,
    pub is_heavy: bool,
    /// The object, as it was created.
    object: Value,
}

/// The pool.
pub struct Pool {
    pub object: Arc<IndexerPool>,
    pub revision: Revision,
    /// How many pods it had.
    pods: u32,
}

pub struct World {
    pub api: ModelApi,
    pub dice: Dice,
    pub seen: Coverage,
    pub jvms: Vec<Jvm>,
    pub tasks: Vec<Known>,
    /// How many tasks there are in the end.
    pub many: usize,
    pub processes: Vec<Process>,
    pub leader: Option<usize>,
    /// Requests of dead processes that may still arrive.
    pub flights: Vec<Request>,
    pub pool: Pool,
    pub cordoned: BTreeSet<String>,
    /// Task and pod of every claim that was written, and the process that wrote the last one.
    pub claims: BTreeMap<(String, String), Option<Writer>>,
    /// The ids that came a second time.
    pub recreated: BTreeSet<String>,
    /// For how many rounds a task runs that nobody needs, beside one that is needed, by pod and id.
    pub strangers: BTreeMap<(String, String), u32>,
    /// The ids of which each process had heard SUCCESS when its pass began.
    pub heard: [BTreeSet<String>; 2],
    /// How many processes there were in the place of each.
    pub generations: [u32; 2],
    /// Conditions of each verdict, by name of the task.
    pub verdicts: BTreeMap<String, String>,
    pub writes: u32,
    pub violation: Option<Violation>,
    pub trail: Vec<String>,
    pub operator: Operator,
    seconds: Arc<AtomicU32>,
    serial: u32,
}

fn revision(object: &IndexerPool) -> Revision {
    static REVISION: std::sync::OnceLock<Revision> = std::sync::OnceLock::new();
    let of = || {
        let properties = RuntimeProperties::default();
        Revision::of(object, &template(json!({})), &properties, true, false)
    };
    REVISION.get_or_init(|| of().expect("a usable pool")).clone()
}

impl World {
    /// A pool of two or three Indexers that are ready, and no task yet.
    pub fn new(seed: u64, operator: Operator) -> Self {
        let mut dice = Dice::new(seed ^ 0x5aa5);
        let seconds = Arc::new(AtomicU32::new(1000));
        let mut api = ModelApi::default();
        api.now = 1000;
        for node in NODES {
            let ready =
                json!([{"type": "Ready", "status": "True", "lastTransitionTime": at(1000).to_string()}]);
            api.create(
                Kind::Node,
                json!({"metadata": {"name": node}, "spec": {}, "status": {"conditions": ready}}),
            );
        }
        let spec = json!({"retry": {"backoffSeconds": dice.below(10)}});
        api.create(
            Kind::Template,
            json!({"apiVersion": "peon.dev/v1alpha1", "kind": "PeonTemplate",
                "metadata": {"name": "default"}, "spec": spec}),
        );
        let replicas = 2 + dice.below(2);
        let mut object = pool(json!({"mode": "Shared", "replicas": replicas,
            "slots": {"heavy": SLOTS.0, "light": SLOTS.1}, "resources": {"limits": {"memory": "8Gi", "cpu": "4"}}}));
        object.spec.max_indexers = None;
        let mut world = Self {
            api,
            seen: Coverage::default(),
            jvms: Vec::new(),
            tasks: Vec::new(),
            many: 4 + dice.below(5) as usize,
            processes: Vec::new(),
            leader: None,
            flights: Vec::new(),
            pool: Pool {
                revision: revision(&object),
                object: Arc::new(object),
                pods: 0,
            },
            cordoned: BTreeSet::new(),
            claims: BTreeMap::new(),
            recreated: BTreeSet::new(),
            strangers: BTreeMap::new(),
            generations: [0; 2],
            heard: Default::default(),
            verdicts: BTreeMap::new(),
            writes: 0,
            violation: None,
            trail: Vec::new(),
            operator,
            seconds,
            serial: 0,
            dice,
        };
        for _ in 0..replicas {
            world.create_indexer();
        }
        for _ in 0..3 {
            world.kubelets();
        }
        for _ in 0..2 {
            let process = world.fresh_process();
            world.processes.push(process);
        }
        world.lead(0);
        world.pass_over_pool(0, false);
        world.poll(0, false);
        world.pass_over_pool(0, false);
        world
    }

    pub fn create_indexer(&mut self) -> String {
        let pool = &mut self.pool;
        pool.pods += 1;
        let mut pod = pool.revision.pod();
        pod["metadata"]["name"] = json!(format!("warm-{}", pool.pods));
        pod["metadata"]["labels"][LABEL_REVISION] = json!(pool.revision.hash);
        pod["spec"] = json!({"containers": [], "terminationGracePeriodSeconds": 70});
        pod["status"] = json!({"phase": "Pending"});
        uid_of(&self.api.create(Kind::Pod, pod))
    }

    /// A user, or the overlord, creates a task.
    pub fn create_task(&mut self) {
        let number = self.tasks.len();
        if number >= self.many {
            return;
        }
        let type_ = self.dice.pick(&["noop", "noop", "kill", "index_parallel"]);
        let (name, id) = (format!("task-{number}"), IDS[number % IDS.len()].to_owned());
        let placement = self.dice.pick(&["Auto", "Pool", "Pool"]);
        let mut spec = json!({"task": {"type": type_, "id": id, "dataSource": "wiki"},
            "middleManagerRef": {"name": MANAGER}, "placement": placement});
        if self.dice.one_in(8) {
            spec["activeDeadlineSeconds"] = json!(60 + self.dice.below(200));
        }
        let status = json!({"phase": "Pending", "reason": "WaitingForOperator", "conditions": []});
        let object = json!({"apiVersion": "peon.dev/v1alpha1", "kind": "PeonTask",
            "metadata": {"name": name, "labels": {LABEL_IDENTITY: "0"}}, "spec": spec, "status": status});
        self.api.create(Kind::Task, object.clone());
        let is_heavy = type_ != "kill";
        self.tasks.push(Known {
            name,
            id,
            is_heavy,
            object,
        });
    }

    /// A task whose end is known, or that was deleted, comes again with the same id, as the overlord allows when it has
    /// forgotten it. Nothing of it is on its way any more.
    pub fn recreate(&mut self) {
        if self.processes.iter().any(Process::is_passing) || !self.flights.is_empty() {
            return;
        }
        let is_over = |t: &Known| self.task(&t.name).is_none_or(|task| task.is_final());
        let runs = |t: &Known| self.jvms.iter().any(|j| j.runs_now().any(|id| *id == t.id));
        let has_pod = |t: &Known| {
            let owned = |pod: &Value| pod["metadata"]["ownerReferences"][0]["name"] == t.name.as_str();
            self.api.all(Kind::Pod).any(owned)
        };
        let over = |at: &usize| {
            let task = &self.tasks[*at];
            is_over(task) && !runs(task) && !has_pod(task) && !self.recreated.contains(&task.id)
        };
        let over: Vec<usize> = (0..self.tasks.len()).filter(over).collect();
        if over.is_empty() {
            return;
        }
        let task = self.dice.pick(&over);
        let Known { name, id, object, .. } = &mut self.tasks[task];
        self.api.remove(Kind::Task, name);
        *name = format!("{name}-again");
        object["metadata"]["name"] = json!(name);
        self.api.create(Kind::Task, object.clone());
        let id = id.clone();
        for jvm in self.jvms.iter_mut().filter(|j| j.runs.contains_key(&id)) {
            jvm.former.insert(id.clone());
        }
        self.note(format!("{id} comes again"));
        self.seen.count("happenings", "an id comes again");
        self.recreated.insert(id);
    }

    pub fn now(&self) -> u32 {
        self.api.now
    }

    pub fn task(&self, name: &str) -> Option<PeonTask> {
        let task = self.api.get(Kind::Task, name)?;
        Some(serde_json::from_value(task.clone()).expect("a task"))
    }

    /// The object of the task with this id.
    pub fn task_of(&self, id: &str) -> Option<PeonTask> {
        let known = self.tasks.iter().find(|t| t.id == id)?;
        self.task(&known.name)
    }

    pub fn some_task(&mut self) -> Option<String> {
        let at = self.dice.below(u32::try_from(self.tasks.len()).ok()?) as usize;
        Some(self.tasks.get(at)?.name.clone())
    }

    /// Mostly one that runs.
    pub fn some_task_that_runs(&mut self) -> Option<String> {
        let running = |t: &&Known| {
            self.api
                .get(Kind::Task, &t.name)
                .is_some_and(|t| t["status"]["phase"] == "Running")
        };
        let names: Vec<String> = self
            .tasks
            .iter()
            .filter(running)
            .map(|t| t.name.clone())
            .collect();
        if names.is_empty() || self.dice.one_in(3) {
            return self.some_task();
        }
        let at = self.dice.below(u32::try_from(names.len()).ok()?) as usize;
        names.get(at).cloned()
    }

    /// The operator's pods.
    pub fn pods(&self) -> Vec<Value> {
        self.api.all(Kind::Pod).cloned().collect()
    }

    pub fn pass_time(&mut self, seconds: u32) {
        self.api.now += seconds;
        self.seconds.store(self.api.now, Ordering::Relaxed);
        for process in &mut self.processes {
            process.settle(&self.api);
        }
    }

    pub fn note(&mut self, what: impl Into<String>) {
        let line = format!("{:>5} {}", self.now(), what.into());
        self.trail.push(line);
    }

    /// Checks an invariant.
    pub fn hold(&mut self, invariant: &'static str, holds: bool, detail: impl FnOnce() -> String) {
        self.seen.count("invariants checked", invariant);
        if !holds && self.violation.is_none() {
            self.violation = Some(Violation {
                invariant,
                detail: detail(),
                trail: self.trail.clone(),
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
        self.note(format!("{process} leads"));
        self.processes[process].lead(&self.api, followed);
        self.leader = Some(process);
    }

    fn fresh_process(&mut self) -> Process {
        self.serial += 1;
        let mut process = Process::new(&self.api, &self.seconds, self.operator.plan, true, self.serial);
        process.follow_all();
        process
    }

    /// A process dies and another one takes its place, with fresh caches and no memory.
    pub fn restart(&mut self, process: usize) {
        self.generations[process] += 1;
        let fresh = self.fresh_process();
        let dead = std::mem::replace(&mut self.processes[process], fresh);
        self.flights.extend(dead.die().map(|(request, _)| request));
        if self.leader == Some(process) {
            self.leader = None;
        }
    }
}
