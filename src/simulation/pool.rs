//! The pool of a history: its pods, the passes over it in each process, and what happens to it.

use std::collections::{BTreeSet, HashSet};
use std::sync::{Arc, OnceLock};

use serde_json::{Value, json};

use super::cluster::{name_of, uid_of};
use super::model_api::{Kind, Request, pod_ended};
use super::process::Process;
use super::world::{Truth, World};
use crate::api::indexer_pool::IndexerDiscovery;
use crate::api::reason::Cause;
use crate::api::{IndexerPool, LABEL_MANAGED_BY, LABEL_REVISION, OPERATOR};
use crate::druid::properties::RuntimeProperties;
use crate::indexer::polls::Polling;
use crate::pool::decide::connection::Connection;
use crate::pool::decide::failures::Failures;
use crate::pool::decide::indexer::{Duty, Indexer, Seen, WithTasks};
use crate::pool::decide::plan::{Delete, Observed, plan};
use crate::pool::decide::revision::Revision;
use crate::pool::fixtures::{POOL_UID, pool};
use crate::task::aggregates::idle_indexers::Idle;
use crate::task::fixtures::{asker, at, template};

/// Namespace and name of the pool.
pub const POOL: (&str, &str) = ("ns", "warm");
/// An Indexer with a task that is silent for so many seconds may be deleted by its pool.
const UNREACHABLE: i64 = 300;
/// What the names of other tasks begin with.
const OTHER: &str = "other-";
/// Grace period of an Indexer.
const GRACE: u32 = 70;

/// The pool.
#[derive(Clone)]
pub struct Pool {
    pub object: Arc<IndexerPool>,
    /// Users may delete it.
    pub exists: bool,
    pub revision: Arc<Revision>,
    /// How many pods it had, and how many other tasks were given one.
    pods: u32,
    others: u32,
}

/// What a pass over the pool does.
#[derive(Default)]
pub struct Pass {
    delete: Vec<Delete>,
    create: usize,
    /// Since when Indexers that have a task are silent.
    silent: Vec<(String, i64)>,
}

/// Making one takes longer than a pass.
fn revision() -> Revision {
    static REVISION: OnceLock<Revision> = OnceLock::new();
    let of = || {
        Revision::of(
            &pool(spec(1, 1)),
            &template(json!({})),
            &RuntimeProperties::default(),
            true,
            false,
        )
    };
    let revision = REVISION.get_or_init(|| of().expect("a usable pool"));
    revision.clone()
}

fn spec(replicas: u32, most: u32) -> Value {
    json!({"replicas": replicas, "maxIndexers": most, "resources": {"limits": {"memory": "8Gi", "cpu": "4"}}})
}

#[derive(Debug, Clone, Copy)]
enum InPool {
    Pass,
    Poll,
    Forgets,
    Silence,
    Address,
    Stranger,
    Revised,
    Goes,
    Comes,
    Known,
    OtherTask,
    OtherTaskEnds,
}

const OFTEN: [(u32, InPool); 12] = [
    (12, InPool::Pass),
    (22, InPool::Poll),
    (3, InPool::Forgets),
    (2, InPool::Silence),
    (1, InPool::Address),
    (1, InPool::Stranger),
    (1, InPool::Revised),
    (1, InPool::Goes),
    (2, InPool::Comes),
    (1, InPool::Known),
    (2, InPool::OtherTask),
    (2, InPool::OtherTaskEnds),
];

impl Process {
    /// Gives an idle Indexer to a task.
    fn take_for(&self, name: &str, uid: &str, now: u32) -> Option<Idle> {
        let indexers = &self.caches.aggregates.indexers;
        if indexers.opens_in(self.clock.instant()).is_some() {
            return None;
        }
        let task = (POOL.0.to_owned(), name.to_owned());
        let given = indexers.take(&[POOL.1.to_owned()], &asker(&task, uid, at(now.into()), false));
        given.map(|given| given.indexer)
    }

    /// A pass over the pool: what it offers changes at once, what it creates and deletes is the history's.
    fn pass_over_pool(&mut self, pool: &Pool, now: u32) -> Pass {
        let Some(work) = &self.work else {
            return Pass::default();
        };
        if !pool.exists {
            work.forget(&pool.object);
            return Pass::default();
        }
        let of_pool = |p: &crate::apiserver::classify::watched_pod::WatchedPod| {
            let owners = p.metadata.owner_references.as_ref();
            owners.is_some_and(|o| o.iter().any(|o| o.kind == "IndexerPool"))
        };
        let pods = self.caches.pods.state_filter(of_pool);
        let mut indexers: Vec<Indexer> = pods.iter().map(|pod| Indexer::of(pod)).collect();
        indexers.sort_by(|a, b| a.name().cmp(b.name()));
        let uids: HashSet<String> = indexers.iter().map(|i| i.evidence.pod_uid.clone()).collect();
        self.unseen
            .retain(|(uid, since)| since + 30 > now && !uids.contains(uid));
        work.call_with(POOL_UID, Connection::default()).unwrap();
        work.observe(POOL.0, POOL.1, &mut indexers, at(0));
        // The VirtualMiddleManager has looked at all of them.
        let seen = Seen::from(Some(&IndexerDiscovery {
            hidden: uids.into_iter().collect(),
            ..IndexerDiscovery::default()
        }));
        let mut plan = plan(&Observed {
            pool: &pool.object.spec,
            revision: Ok(&pool.revision),
            indexers: &indexers,
            unseen: self.unseen.len(),
            seen: &seen,
            failures: &Failures::default(),
            refused: None,
            draining: &BTreeSet::new(),
            now: at(now.into()),
        });
        let instant = self.clock.instant();
        let retired = std::mem::take(&mut plan.delete)
            .into_iter()
            .filter(|d| work.retire(POOL.0, POOL.1, d, instant));
        let delete = retired.collect();
        work.offer(
            &pool.object,
            &indexers,
            &seen,
            &plan,
            pool.revision.busy_cpu.clone(),
            &[],
        );
        let silent = indexers.iter().filter_map(|i| match i.duty {
            Duty::Busy(Some(since)) => Some((i.evidence.pod_uid.clone(), since.as_second())),
            _ => None,
        });
        Pass {
            delete,
            create: plan.create,
            silent: silent.collect(),
        }
    }
}

impl World {
    /// A pool with its first Indexers, which are ready.
    pub fn found_pool(&mut self) {
        let replicas = 1 + self.dice.below(2);
        let most = replicas + self.dice.below(3);
        let resizes = self.dice.one_in(3);
        let mut revision = revision();
        revision.busy_cpu = resizes.then(|| "1".to_owned());
        self.pool = Some(Pool {
            object: Arc::new(pool(spec(replicas, most))),
            exists: true,
            revision: Arc::new(revision),
            pods: 0,
            others: 0,
        });
        for _ in 0..replicas {
            self.create_indexer();
        }
        for pod in self.pods() {
            let machine = self.dice.below(2) as usize;
            self.schedule(&pod, machine);
        }
        for pod in self.pods() {
            self.start(&pod);
            self.report(&name_of(&pod));
        }
    }

    fn create_indexer(&mut self) -> Option<String> {
        let pool = self.pool.as_mut()?;
        pool.pods += 1;
        let (name, revision) = (format!("warm-{}", pool.pods), pool.revision.hash.clone());
        let owner = json!([{"apiVersion": "peon.dev/v1alpha1", "kind": "IndexerPool", "name": POOL.1,
            "uid": POOL_UID, "controller": true}]);
        let labels = json!({LABEL_MANAGED_BY: OPERATOR, LABEL_REVISION: revision});
        let pod = json!({"metadata": {"name": name, "labels": labels, "ownerReferences": owner},
            "spec": {"containers": [], "terminationGracePeriodSeconds": GRACE}, "status": {"phase": "Pending"}});
        let uid = uid_of(&self.api.create(Kind::Pod, pod));
        let truth = Truth {
            recorded: true,
            ..Truth::default()
        };
        self.truths.insert(uid.clone(), truth);
        Some(uid)
    }

    /// A pass over the pool in this process, which has no effect but on its own memory if it does not lead.
    pub fn pass_over_pool(&mut self, process: usize, faults: bool) {
        let now = self.now();
        let Some(pool) = self.pool.clone() else { return };
        if !self.processes[process].led || self.processes[process].stopped {
            return;
        }
        let pass = self.processes[process].pass_over_pool(&pool, now);
        if self.leader != Some(process) {
            return;
        }
        for delete in &pass.delete {
            self.delete_indexer(delete, &pass, faults);
        }
        for _ in 0..pass.create {
            if self.api.quota || faults && self.dice.one_in(10) {
                continue;
            }
            if let Some(uid) = self.create_indexer() {
                self.note(format!("{process}: the pool creates {uid}"));
                self.processes[process].unseen.push((uid, now));
            }
        }
    }

    fn delete_indexer(&mut self, delete: &Delete, pass: &Pass, faults: bool) {
        let now = i64::from(self.now());
        let claimed = self.claimed().as_ref() == Some(&delete.uid) || self.is_of_another(&delete.uid);
        let silent = pass
            .silent
            .iter()
            .any(|(uid, since)| *uid == delete.uid && since + UNREACHABLE <= now);
        self.hold(
            "no Indexer with a task is deleted by its pool",
            !claimed || silent && delete.with == WithTasks::Any,
            || format!("{delete:?}"),
        );
        self.note(format!("the pool deletes {}", delete.uid));
        self.seen.count("happenings in a pool", "its pass deletes");
        // Of one that is silent, or that is given to a task before a late request arrives.
        self.allow(&delete.uid, Cause::PodDeleted);
        let request = Request {
            method: "DELETE".into(),
            path: format!("/api/v1/namespaces/ns/pods/{}", delete.pod),
            query: String::new(),
            body: json!({"gracePeriodSeconds": 1, "preconditions": {"uid": delete.uid}}),
        };
        match faults.then(|| self.dice.below(8)) {
            Some(0) => {}
            Some(1) => self.flights.push((request, 0)),
            _ => {
                self.serve(&request, 0, None);
            }
        }
    }

    /// This process polls the Indexers that its last pass over the pool wants polled.
    pub fn poll(&mut self, process: usize, faults: bool) {
        if self.processes[process].stopped {
            return;
        }
        let now = at(self.now().into());
        for target in self.processes[process].polls.targets() {
            let polls = self.processes[process].polls.clone();
            let (mut asked, mut news) = polls.asks(&target.pod_uid);
            // After a reset, everything is asked for.
            for _ in 0..2 {
                let late = faults && self.dice.one_in(6);
                if self.is_of_other_pod(&target.host, &target.pod_uid) {
                    self.allow(&target.pod_uid, Cause::NoVerdict);
                }
                news |= match self.poll_at(&target.host, asked) {
                    Ok(answer) => polls.answered(&target.pod_uid, asked, answer, late),
                    Err(()) => polls.unanswered(&target.pod_uid, now),
                };
                let next = polls.view(&target.pod_uid).and_then(|view| view.asks());
                if late || next.is_some() {
                    break;
                }
                asked = next;
            }
            if news {
                self.processes[process].heard(&target.pod_uid);
            }
        }
    }

    /// Something happens to the pool.
    pub fn happen_in_pool(&mut self) {
        let process = self.leader.filter(|_| !self.dice.one_in(6));
        let process = process.unwrap_or_else(|| self.dice.below(2) as usize);
        match self.dice.weighted(&OFTEN) {
            InPool::Pass => self.pass_over_pool(process, true),
            InPool::Poll => {
                self.poll(process, true);
                if !self.dice.one_in(4) {
                    self.pass_over_pool(process, true);
                }
            }
            InPool::Forgets => self.forget(),
            InPool::Silence => self.change_silence(),
            InPool::Address => self.take_address(),
            InPool::Stranger => self.bring_stranger(),
            InPool::Revised => {
                if let Some(pool) = &mut self.pool {
                    Arc::make_mut(&mut pool.revision).hash.push('x');
                }
            }
            InPool::Goes if self.dice.one_in(4) => self.change_pool(false),
            InPool::Goes => {}
            InPool::Comes => self.change_pool(true),
            InPool::Known => self.end_registration(),
            InPool::OtherTask => self.place_another(process),
            InPool::OtherTaskEnds => self.end_another(),
        }
    }

    /// The process gives an Indexer to another task, writes the claim and posts it.
    fn place_another(&mut self, process: usize) {
        if self.leader != Some(process) || self.processes[process].stopped {
            return;
        }
        let Some(pool) = &mut self.pool else { return };
        let (name, uid) = (
            format!("{OTHER}{}", pool.others),
            format!("other-{}", pool.others),
        );
        let given = self.processes[process].take_for(&name, &uid, self.api.now);
        let Some(indexer) = given else { return };
        pool.others += 1;
        let run = json!({"kind": "Worker", "pool": POOL.1, "pod": indexer.pod, "podUID": indexer.pod_uid});
        let task = json!({"apiVersion": "peon.dev/v1alpha1", "kind": "PeonTask", "metadata": {"name": name},
            "spec": {"task": {"type": "noop", "id": name}},
            "status": {"phase": "Running", "attempt": 1, "run": run, "conditions": []}});
        let task = self.api.create_as(Kind::Task, task, Some(&uid));
        self.note(format!("{} is given to {}", indexer.pod_uid, name_of(&task)));
        self.seen.count("places", "an Indexer for another task");
        self.check_other_claim(&indexer.pod_uid);
    }

    fn others(&self) -> impl Iterator<Item = &Value> {
        let runs = |t: &&Value| name_of(t).starts_with(OTHER) && t["status"]["phase"] == "Running";
        self.api.all(Kind::Task).filter(runs)
    }

    fn is_of_another(&self, pod_uid: &str) -> bool {
        self.others().any(|t| t["status"]["run"]["podUID"] == pod_uid)
    }

    /// All other tasks end.
    pub fn end_others(&mut self) {
        for _ in 0..self.others().count() {
            self.end_another();
        }
    }

    fn end_another(&mut self) {
        let Some(name) = self.others().next().map(name_of) else {
            return;
        };
        let ended = json!([{"type": "Complete", "status": "True", "reason": "Succeeded", "message": "",
            "lastTransitionTime": self.clock()}]);
        self.api.update(Kind::Task, &name, |task| {
            task["status"]["phase"] = json!("Succeeded");
            task["status"]["conditions"] = ended;
        });
    }

    pub fn change_pool(&mut self, exists: bool) {
        let Some(pool) = &mut self.pool else { return };
        if pool.exists == exists {
            return;
        }
        pool.exists = exists;
        self.note(format!("the pool exists: {exists}"));
        self.seen.count(
            "happenings in a pool",
            if exists { "it comes" } else { "it goes" },
        );
    }

    /// The overlord has forgotten the task: it may be deleted.
    fn end_registration(&mut self) {
        if self.is_final() {
            let forgotten = json!({crate::api::ANNOTATION_OVERLORD: crate::api::FORGOTTEN});
            self.api.update(Kind::Task, super::process::TASK, |task| {
                task["metadata"]["annotations"] = forgotten;
            });
        }
    }

    /// The garbage collector deletes the pods of a pool that is gone.
    pub fn collect_indexers(&mut self) {
        if self.pool.as_ref().is_none_or(|pool| pool.exists) {
            return;
        }
        for pod in self.pods().iter().filter(|p| is_indexer(p)) {
            self.allow(&uid_of(pod), Cause::PodDeleted);
            self.api.delete_pod(&name_of(pod), None);
        }
    }

    /// Of all pods the one to which something happens: mostly the one that has the task.
    pub fn some_pod(&mut self, pods: &[Value], can_start: bool) -> usize {
        let many = u32::try_from(pods.len()).unwrap_or_default();
        let known = |uid: &str| self.jvms.iter().any(|j| j.pod_uid == uid);
        if can_start {
            let waits = |p: &Value| !pod_ended(p) && !known(&uid_of(p));
            let waiting = pods.iter().position(waits);
            return waiting.unwrap_or(self.dice.below(many) as usize);
        }
        let has = |p: &Value| {
            let uid = uid_of(p);
            let mut with = self.jvms.iter().filter(|j| j.live && j.has_task());
            with.any(|j| j.pod_uid == uid)
        };
        let claimed = self.claimed();
        let with = pods
            .iter()
            .position(|p| has(p) || claimed.as_deref() == Some(&uid_of(p)));
        let random = self.dice.below(many) as usize;
        with.filter(|_| !self.dice.one_in(4)).unwrap_or(random)
    }
}

/// Whether the history with this seed has a pool: a third of them, since one with a pool takes twice the time.
pub fn has_pool(seed: u64) -> bool {
    seed % 3 == 2
}

/// Whether a pod is an Indexer's.
pub fn is_indexer(pod: &Value) -> bool {
    pod["metadata"]["ownerReferences"][0]["kind"] == "IndexerPool"
}
