//! The Indexers that pools offer, and which task has which (pure).
//!
//! The index is in memory and is rebuilt after a restart: pools offer their idle Indexers again, and the statuses of
//! tasks say which Indexers have a task. An Indexer is given to one task, once: neither the end of the task nor its
//! deletion makes it idle again.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fmt;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use k8s_openapi::jiff::Timestamp;
use kube::ResourceExt;
use parking_lot::Mutex;

pub use super::pool_offer::{Given, Idle, PoolOffer};
use super::slots::Who;
use crate::api::{PeonTask, PeonTaskStatus, conditions};
use crate::task::run::worker::claim::WorkerClaim;

/// What an Indexer is used for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Use {
    /// The tasks have not been listed yet.
    Unknown,
    /// It has no task.
    None,
    /// A task has it.
    Claimed,
    /// Its task has its verdict and its log, or ended there, or is gone: nothing needs it.
    Over,
}

/// Called with namespace and name of a pool whose Indexers are used otherwise than before.
pub type Changed = Box<dyn Fn(&str, &str) + Send + Sync>;

/// The index.
#[derive(Default)]
pub struct IdleIndexers {
    inner: Mutex<Inner>,
    changed: OnceLock<Changed>,
}

impl fmt::Debug for IdleIndexers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("IdleIndexers").field(&self.inner).finish()
    }
}

/// Namespace and name of a pool.
type Key = (String, String);

#[derive(Debug, Default)]
struct Inner {
    listed: bool,
    opens: Option<Instant>,
    pools: BTreeMap<Key, Pool>,
    /// By uid of the Indexer's pod.
    claims: HashMap<String, Claim>,
    /// Uid of the Indexer's pod, by uid of the task.
    of_tasks: HashMap<String, String>,
    /// Tasks that wait for an Indexer, in the order of their creation, with the names of the pools, by namespace.
    waiting: BTreeMap<String, BTreeMap<Turn, Vec<String>>>,
    /// Namespace and turn of each of them, by uid.
    turns: HashMap<String, (String, Turn)>,
    /// Attempts for which this process began to create a pod, by uid of the task.
    in_pods: HashMap<String, u32>,
}

/// Creation time, name and uid: the order of waiting tasks. A deleted task may be created again in the same second.
type Turn = (Timestamp, String, String);

#[derive(Debug, Default)]
struct Pool {
    /// `None` while it offers nothing.
    offer: Option<Arc<PoolOffer>>,
    idle: BTreeMap<String, Idle>,
    /// Uids of the pods of the pool.
    pods: HashSet<String>,
    /// Uids of those that no task may be given any more: they are being deleted, or had a task that is gone.
    retired: HashSet<String>,
}

#[derive(Debug)]
struct Claim {
    pool: Key,
    task_uid: String,
    task: Who,
    /// The Indexer, until a status says that the task has it: the task's pass writes that.
    reserved: Option<Idle>,
    over: bool,
}

impl IdleIndexers {
    /// Sets what is called when Indexers of a pool are used otherwise than before. Only the first call has an effect.
    pub fn on_change(&self, changed: Changed) {
        let _ = self.changed.set(changed);
    }

    /// No Indexer is given to a task before this time, and none is deleted that a task may have: the last writes of a
    /// process that led before have to be seen.
    pub fn opens(&self, at: Instant) {
        self.inner.lock().opens = Some(at);
    }

    /// How long no Indexer is given to a task yet, nor deleted.
    #[must_use]
    pub fn opens_in(&self, now: Instant) -> Option<Duration> {
        let left = self.inner.lock().opens?.checked_duration_since(now)?;
        Some(left).filter(|left| !left.is_zero())
    }

    /// The pool has these idle Indexers, and these pods in all (by uid). Returns tasks that wait for one of them; all
    /// that wait, if the pool offers something new.
    #[must_use]
    pub fn offer(
        &self,
        namespace: &str,
        offer: PoolOffer,
        idle: Vec<Idle>,
        pods: HashSet<String>,
    ) -> Vec<Who> {
        let mut inner = self.inner.lock();
        let key = (namespace.to_owned(), offer.name.clone());
        let pool = inner.pools.entry(key.clone()).or_default();
        pool.retired.retain(|uid| pods.contains(uid));
        pool.idle = idle.into_iter().map(|i| (i.pod_uid.clone(), i)).collect();
        pool.pods = pods;
        let is_new = pool.offer.as_deref() != Some(&offer);
        pool.offer = Some(Arc::new(offer));
        if is_new {
            return inner.waiting(namespace, None).collect();
        }
        let free = inner.free(&key).count();
        inner.waiting(namespace, Some(&key.1)).take(free).collect()
    }

    /// The pool offers nothing for now. Returns the tasks that wait for it: they may run elsewhere.
    #[must_use]
    pub fn withdraw(&self, namespace: &str, pool: &str) -> Vec<Who> {
        let mut inner = self.inner.lock();
        let key = (namespace.to_owned(), pool.to_owned());
        let offered = inner.pools.get_mut(&key).and_then(|pool| {
            pool.idle.clear();
            pool.offer.take()
        });
        let woken = offered.map(|_| inner.waiting(namespace, Some(&key.1)).collect());
        woken.unwrap_or_default()
    }

    /// The pool is gone. Returns the tasks that wait for it.
    #[must_use]
    pub fn forget(&self, namespace: &str, pool: &str) -> Vec<Who> {
        let woken = self.withdraw(namespace, pool);
        self.inner
            .lock()
            .pools
            .remove(&(namespace.to_owned(), pool.to_owned()));
        woken
    }

    /// What the pools of a namespace offer that run tasks of this VirtualMiddleManager.
    #[must_use]
    pub fn pools(&self, namespace: &str, manager: &str) -> Vec<Arc<PoolOffer>> {
        let inner = self.inner.lock();
        let from = (namespace.to_owned(), String::new());
        let of_namespace = inner
            .pools
            .range(from..)
            .take_while(|((ns, _), _)| ns == namespace);
        let offers = of_namespace.filter_map(|(_, pool)| pool.offer.clone());
        offers.filter(|offer| offer.manager == manager).collect()
    }

    /// What the pool of this name offers.
    #[must_use]
    pub fn pool(&self, namespace: &str, pool: &str) -> Option<Arc<PoolOffer>> {
        self.inner
            .lock()
            .pools
            .get(&(namespace.to_owned(), pool.to_owned()))?
            .offer
            .clone()
    }

    /// Gives the task an idle Indexer of the first of these pools that has more than older tasks wait for. A task that has
    /// one keeps it. A task that gets none and waits is among those that [`offer`](Self::offer) returns.
    #[must_use]
    pub fn take(
        &self,
        pools: &[String],
        task: &Who,
        task_uid: &str,
        created: Timestamp,
        waits: bool,
    ) -> Option<Given> {
        let (given, touched) = {
            let mut inner = self.inner.lock();
            let mut touched = Vec::new();
            let turn = (created, task.1.clone(), task_uid.to_owned());
            let given = inner.take(pools, &task.0, &turn, &mut touched);
            if given.is_none() && waits {
                inner.leave(task_uid);
                inner.wait(pools, &task.0, turn);
            } else {
                touched.extend(inner.leave(task_uid));
            }
            (given, touched)
        };
        self.report(touched);
        given
    }

    /// The task does not want an Indexer, or no longer: what it was given and its status does not claim is idle again.
    pub fn release(&self, task_uid: &str) {
        let touched = {
            let mut inner = self.inner.lock();
            let mut touched = inner.leave(task_uid);
            touched.extend(inner.release(task_uid));
            touched
        };
        self.report(touched);
    }

    /// Records what the status of a task says.
    pub(super) fn observe(&self, task: &PeonTask) {
        let (Some(uid), Some(namespace)) = (task.uid(), task.namespace()) else {
            return;
        };
        let claim = WorkerClaim::recorded(task);
        let who = (namespace, task.name_any());
        let touched = self.inner.lock().observe(task, &uid, who, claim);
        self.report(touched);
    }

    /// All tasks have been observed.
    pub(super) fn listed(&self) {
        self.inner.lock().listed = true;
    }

    /// A task is gone.
    pub(super) fn gone(&self, task_uid: &str) {
        let touched = {
            let mut inner = self.inner.lock();
            inner.in_pods.remove(task_uid);
            let mut touched = inner.leave(task_uid);
            touched.extend(inner.end(task_uid));
            touched
        };
        self.report(touched);
    }

    /// The tasks that have an Indexer or wait for one, and those with a pod of this process.
    pub(super) fn uids(&self) -> Vec<String> {
        let inner = self.inner.lock();
        let known = inner.of_tasks.keys().chain(inner.turns.keys());
        known.chain(inner.in_pods.keys()).cloned().collect()
    }

    /// Objects for a pod of its own are about to be created for this attempt of the task. No status says so where no pool
    /// was known.
    pub fn runs_in_pod(&self, task_uid: &str, attempt: u32) {
        self.inner.lock().in_pods.insert(task_uid.to_owned(), attempt);
    }

    /// Whether this process has begun to create a pod for this attempt.
    #[must_use]
    pub fn may_have_pod(&self, task_uid: &str, attempt: u32) -> bool {
        self.inner.lock().in_pods.get(task_uid) == Some(&attempt)
    }

    /// What the Indexer in the pod with this uid is used for.
    #[must_use]
    pub fn use_of(&self, namespace: &str, pool: &str, pod_uid: &str) -> Use {
        let inner = self.inner.lock();
        if !inner.listed {
            return Use::Unknown;
        }
        match inner.claims.get(pod_uid) {
            Some(claim) if claim.over => Use::Over,
            Some(_) => Use::Claimed,
            None => {
                let pool = inner.pools.get(&(namespace.to_owned(), pool.to_owned()));
                if pool.is_some_and(|pool| pool.retired.contains(pod_uid)) {
                    Use::Over
                } else {
                    Use::None
                }
            }
        }
    }

    /// No task is given this Indexer from now on, since it is deleted. False if a task has it.
    #[must_use]
    pub fn retire(&self, namespace: &str, pool: &str, pod_uid: &str) -> bool {
        let mut inner = self.inner.lock();
        if inner.claims.get(pod_uid).is_some_and(|claim| !claim.over) {
            return false;
        }
        let pool = inner
            .pools
            .entry((namespace.to_owned(), pool.to_owned()))
            .or_default();
        pool.retired.insert(pod_uid.to_owned());
        true
    }

    /// The task that has the Indexer in the pod with this uid.
    #[must_use]
    pub fn task_on(&self, pod_uid: &str) -> Option<Who> {
        self.inner
            .lock()
            .claims
            .get(pod_uid)
            .map(|claim| claim.task.clone())
    }

    fn report(&self, touched: impl IntoIterator<Item = Key>) {
        let Some(changed) = self.changed.get() else { return };
        for (namespace, pool) in touched {
            changed(&namespace, &pool);
        }
    }
}

impl Inner {
    /// The tasks that wait for this pool, or for any.
    fn waiting<'a>(&'a self, namespace: &'a str, pool: Option<&'a String>) -> impl Iterator<Item = Who> + 'a {
        let all = self.waiting.get(namespace).into_iter().flatten();
        let for_it = all.filter(move |(_, pools)| pool.is_none_or(|pool| pools.contains(pool)));
        for_it.map(|((_, name, _), _)| (namespace.to_owned(), name.clone()))
    }

    /// The idle Indexers of a pool that no task has.
    fn free<'a>(&'a self, pool: &Key) -> impl Iterator<Item = &'a Idle> + 'a {
        let pool = self.pools.get(pool).into_iter();
        pool.flat_map(|pool| {
            let free = |uid: &str| !pool.retired.contains(uid) && !self.claims.contains_key(uid);
            pool.idle.values().filter(move |idle| free(&idle.pod_uid))
        })
    }

    /// The first idle Indexer of a pool, if no older task waits for it.
    fn next(&self, pool: &Key, turn: &Turn) -> Option<&Idle> {
        let idle = self.free(pool).next()?;
        let Some(waiting) = self.waiting.get(&pool.0) else {
            return Some(idle);
        };
        let free = self.free(pool).count();
        let older = waiting.range(..turn).filter(|(_, pools)| pools.contains(&pool.1));
        (older.take(free).count() < free).then_some(idle)
    }

    fn take(
        &mut self,
        pools: &[String],
        namespace: &str,
        turn: &Turn,
        touched: &mut Vec<Key>,
    ) -> Option<Given> {
        let (_, name, task_uid) = turn;
        if let Some(pod_uid) = self.of_tasks.get(task_uid) {
            let claim = self.claims.get(pod_uid)?;
            // One that a status records is for the attempt before: the task is given no second one beside it.
            let indexer = claim.reserved.clone()?;
            let pool = self
                .pools
                .get(&claim.pool)
                .filter(|_| pools.contains(&claim.pool.1));
            if pool.is_some_and(|pool| pool.pods.contains(pod_uid)) {
                let pool = claim.pool.1.clone();
                return Some(Given { pool, indexer });
            }
            // The status may record it all the same, if the answer to the write was lost.
            touched.extend(self.end(task_uid));
        }
        if !self.listed {
            return None;
        }
        for pool in pools {
            let key = (namespace.to_owned(), pool.clone());
            let Some(idle) = self.next(&key, turn).cloned() else {
                continue;
            };
            let claim = Claim {
                pool: key.clone(),
                task_uid: task_uid.clone(),
                task: (namespace.to_owned(), name.clone()),
                reserved: Some(idle.clone()),
                over: false,
            };
            self.claims.insert(idle.pod_uid.clone(), claim);
            self.of_tasks.insert(task_uid.clone(), idle.pod_uid.clone());
            touched.push(key);
            return Some(Given {
                pool: pool.clone(),
                indexer: idle,
            });
        }
        None
    }

    /// Removes a claim that no status records.
    fn release(&mut self, task_uid: &str) -> Option<Key> {
        let pod_uid = self.of_tasks.get(task_uid)?;
        let claim = self
            .claims
            .get(pod_uid)
            .filter(|claim| claim.reserved.is_some())?;
        let key = claim.pool.clone();
        self.claims.remove(pod_uid);
        self.of_tasks.remove(task_uid);
        Some(key)
    }

    fn observe(
        &mut self,
        task: &PeonTask,
        uid: &str,
        who: Who,
        recorded: Option<WorkerClaim>,
    ) -> Option<Key> {
        let Some(recorded) = recorded else {
            let known = self.of_tasks.get(uid).and_then(|pod| self.claims.get(pod));
            // The status that records the claim may be on its way.
            return known
                .is_some_and(|claim| claim.reserved.is_none())
                .then(|| self.end(uid))?;
        };
        let settled = |status: &PeonTaskStatus| conditions::log_is_settled(&status.conditions);
        let over = task.is_final() && task.status.as_ref().is_none_or(settled);
        if self.of_tasks.get(uid).is_some_and(|pod| *pod != recorded.pod_uid) {
            self.end(uid);
        }
        let key = (who.0.clone(), recorded.pool);
        let before = self.claims.get(&recorded.pod_uid).map(|claim| claim.over);
        let claim = Claim {
            pool: key.clone(),
            task_uid: uid.to_owned(),
            task: who,
            reserved: None,
            over,
        };
        if let Some(other) = self.claims.insert(recorded.pod_uid.clone(), claim)
            && other.task_uid != uid
        {
            self.of_tasks.remove(&other.task_uid);
        }
        self.of_tasks.insert(uid.to_owned(), recorded.pod_uid);
        (before != Some(over)).then_some(key)
    }

    /// The task needs its Indexer no longer.
    fn end(&mut self, task_uid: &str) -> Option<Key> {
        let pod_uid = self.of_tasks.remove(task_uid)?;
        let claim = self.claims.remove(&pod_uid)?;
        if let Some(pool) = self.pools.get_mut(&claim.pool) {
            pool.retired.insert(pod_uid);
        }
        Some(claim.pool)
    }

    fn wait(&mut self, pools: &[String], namespace: &str, turn: Turn) {
        let of_namespace = self.waiting.entry(namespace.to_owned()).or_default();
        of_namespace.insert(turn.clone(), pools.to_vec());
        self.turns.insert(turn.2.clone(), (namespace.to_owned(), turn));
    }

    /// The task does not wait any more. Returns the pools whose idle Indexers it may have been woken for.
    fn leave(&mut self, task_uid: &str) -> Vec<Key> {
        let Some((namespace, turn)) = self.turns.remove(task_uid) else {
            return Vec::new();
        };
        let waiting = self.waiting.entry(namespace.clone()).or_default();
        let pools = waiting.remove(&turn).unwrap_or_default();
        if waiting.is_empty() {
            self.waiting.remove(&namespace);
        }
        let keys = pools.into_iter().map(|pool| (namespace.clone(), pool));
        keys.filter(|key| self.free(key).next().is_some()).collect()
    }
}

#[cfg(test)]
#[path = "idle_indexers_tests.rs"]
mod tests;
