//! The Indexers that pools offer, and which task has which (pure).
//!
//! The index is in memory and is rebuilt after a restart: pools offer their Indexers again, and the statuses of tasks say
//! which Indexers have a task. An Indexer of a pool of mode `Single` is given to one task, once: neither the end of the
//! task nor its deletion makes it idle again. Of the others, slots are given (`shared_slots`).

use std::collections::HashSet;
use std::fmt;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use kube::ResourceExt;
use parking_lot::Mutex;

use super::indexer_claims::{Inner, Key};
pub use super::indexer_load::Load;
pub use super::pool_offer::{Asker, Demand, Given, GivenSlot, Idle, PoolOffer};
use super::slots::Who;
use crate::api::{PeonTask, TaskSlot};
use crate::indexer::decide::view::View;
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
        let (shared, idle): (Vec<Idle>, Vec<Idle>) = idle.into_iter().partition(|i| i.slots.is_some());
        pool.idle = idle.into_iter().map(|i| (i.pod_uid.clone(), i)).collect();
        let is_new = pool.offer.as_deref() != Some(&offer);
        pool.offer = Some(Arc::new(offer));
        let shared = shared.into_iter().filter_map(|i| Some((i.clone(), i.slots?)));
        inner.shared.offer(&key, shared.collect(), &pods);
        if let Some(pool) = inner.pools.get_mut(&key) {
            pool.pods = pods;
        }
        if is_new {
            return inner.waiting(namespace, None).collect();
        }
        let free = inner.free(&key).count() + inner.shared.room(&key, None);
        inner.waiting(namespace, Some(&key.1)).take(free).collect()
    }

    /// What a shared Indexer of the pool lists, before the pool [offers](Self::offer) it: no task is given to one that has had a
    /// task of the same id.
    pub fn listed_by(&self, namespace: &str, pool: &str, pod_uid: &str, view: &View) {
        let key = (namespace.to_owned(), pool.to_owned());
        self.inner.lock().shared.listed(&key, pod_uid, view);
    }

    /// The pool offers nothing for now. Returns the tasks that wait for it: they may run elsewhere.
    #[must_use]
    pub fn withdraw(&self, namespace: &str, pool: &str) -> Vec<Who> {
        let mut inner = self.inner.lock();
        let key = (namespace.to_owned(), pool.to_owned());
        inner.shared.withdraw(&key);
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
        let key = (namespace.to_owned(), pool.to_owned());
        let mut inner = self.inner.lock();
        inner.pools.remove(&key);
        inner.shared.forget(&key);
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
    pub fn take(&self, pools: &[String], asker: &Asker<'_>) -> Option<Given> {
        let (given, touched) = {
            let mut inner = self.inner.lock();
            let mut touched = Vec::new();
            let (namespace, name) = asker.task;
            let turn = (asker.created, name.clone(), asker.task_uid.to_owned());
            let given = inner.take(pools, asker, &turn, &mut touched);
            if given.is_none() && asker.waits {
                let is_new = !inner.turns.contains_key(asker.task_uid);
                inner.leave(asker.task_uid);
                inner.wait(pools, namespace, turn, asker.slot);
                let scaled = inner.scaled(namespace, pools).filter(|_| is_new);
                touched.extend(scaled.map(|pool| (namespace.clone(), pool.clone())));
            } else {
                touched.extend(inner.leave(asker.task_uid));
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
            touched.extend(inner.shared.release(task_uid));
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
    pub(crate) fn listed(&self) {
        self.inner.lock().listed = true;
    }

    /// A task is gone.
    pub(super) fn gone(&self, task_uid: &str) {
        let touched = {
            let mut inner = self.inner.lock();
            inner.in_pods.remove(task_uid);
            let mut touched = inner.leave(task_uid);
            touched.extend(inner.end(task_uid));
            touched.extend(inner.shared.end(task_uid));
            touched
        };
        self.report(touched);
    }

    /// The tasks that have an Indexer or wait for one, and those with a pod of this process.
    pub(super) fn uids(&self) -> Vec<String> {
        let inner = self.inner.lock();
        let known = inner.of_tasks.keys().chain(inner.turns.keys());
        let known = known.chain(inner.shared.uids());
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

    /// Whether the shared Indexer in this pod may have received the task; from now on it may, since the task is posted.
    #[must_use]
    pub fn posts(&self, task_uid: &str, pod_uid: &str) -> bool {
        self.inner.lock().shared.received(task_uid, pod_uid, Some(true))
    }

    /// The Indexer did not receive the task, neither now nor before.
    pub fn did_not_receive(&self, task_uid: &str, pod_uid: &str) {
        self.inner.lock().shared.received(task_uid, pod_uid, Some(false));
    }

    /// Whether the shared Indexer in this pod certainly never received the task.
    #[must_use]
    pub fn never_received(&self, task_uid: &str, pod_uid: &str) -> bool {
        !self.inner.lock().shared.received(task_uid, pod_uid, None)
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

    /// The tasks on the shared Indexer in the pod with this uid; `None` while the tasks have not been listed.
    #[must_use]
    pub fn load_of(&self, pod_uid: &str) -> Option<Load> {
        let inner = self.inner.lock();
        inner.listed.then(|| inner.shared.load(pod_uid))
    }

    /// The tasks that have a slot of this kind of the pool, and those that wait for one.
    #[must_use]
    pub fn demand(&self, namespace: &str, pool: &str, slot: TaskSlot) -> Demand {
        let key = (namespace.to_owned(), pool.to_owned());
        self.inner.lock().demand(&key, slot)
    }

    /// No task is given this Indexer from now on, since it is deleted. False if a task has it.
    #[must_use]
    pub fn retire(&self, namespace: &str, pool: &str, pod_uid: &str) -> bool {
        let mut inner = self.inner.lock();
        let key = (namespace.to_owned(), pool.to_owned());
        if !inner.shared.retire(&key, pod_uid, false) {
            return false;
        }
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

    /// As [`Self::retire`], of a shared Indexer: tasks that were asked to stop may have slots of it.
    #[must_use]
    pub fn retire_with_stopped(&self, namespace: &str, pool: &str, pod_uid: &str) -> bool {
        let key = (namespace.to_owned(), pool.to_owned());
        self.inner.lock().shared.retire(&key, pod_uid, true)
    }

    /// The tasks that have the Indexer in the pod with this uid, or a slot of it.
    #[must_use]
    pub fn tasks_on(&self, pod_uid: &str) -> Vec<Who> {
        let inner = self.inner.lock();
        match inner.claims.get(pod_uid) {
            Some(claim) => vec![claim.task.clone()],
            None => inner.shared.tasks_on(pod_uid).unwrap_or_default(),
        }
    }

    /// A mistake for the tests that random histories find it.
    #[cfg(test)]
    pub(crate) fn forget_ids(&self) {
        self.inner.lock().shared.forget_ids();
    }

    /// Used and free slots of the shared Indexers that are offered, by kind.
    #[must_use]
    pub fn slots(&self) -> Vec<(&'static str, usize, usize)> {
        self.inner.lock().shared.counts()
    }

    /// Takes what an Indexer answers. Returns the tasks that it concerns, with those that wait for a slot that became
    /// free, and whether its pool has to look.
    #[must_use]
    pub fn heard(&self, pod_uid: &str, view: Option<&View>) -> (Vec<Who>, bool) {
        let mut inner = self.inner.lock();
        if let Some(claim) = inner.claims.get(pod_uid) {
            return (vec![claim.task.clone()], false);
        }
        let Some(mut news) = view.and_then(|view| inner.shared.heard(pod_uid, view)) else {
            return (Vec::new(), true);
        };
        if let Some(key) = news.freed {
            let room = inner.shared.room(&key, None);
            news.tasks.extend(inner.waiting(&key.0, Some(&key.1)).take(room));
        }
        (news.tasks, news.pool)
    }

    fn report(&self, touched: impl IntoIterator<Item = Key>) {
        let Some(changed) = self.changed.get() else { return };
        for (namespace, pool) in touched {
            changed(&namespace, &pool);
        }
    }
}

#[cfg(test)]
#[path = "idle_indexers_tests.rs"]
mod tests;
