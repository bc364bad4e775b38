//! Which task has which Indexer of those that run one task, and which tasks wait (pure): the state behind
//! `IdleIndexers`.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;
use std::time::Instant;

use k8s_openapi::jiff::Timestamp;

use super::pool_offer::{Asker, Demand, Given, GivenSlot, Idle, PoolOffer};
use super::shared_slots::{Held, Recorded, SharedSlots};
use super::slots::Who;
use crate::api::{PeonTask, PeonTaskStatus, TaskKind, TaskSlot, conditions};
use crate::druid::rows_in_memory::RowsInMemory;
use crate::task::run::worker::claim::WorkerClaim;

/// Namespace and name of a pool.
pub(super) type Key = (String, String);

#[derive(Debug, Default)]
pub(super) struct Inner {
    pub(super) listed: bool,
    pub(super) opens: Option<Instant>,
    pub(super) pools: BTreeMap<Key, Pool>,
    pub(super) shared: SharedSlots,
    /// By uid of the Indexer's pod.
    pub(super) claims: HashMap<String, Claim>,
    /// Uid of the Indexer's pod, by uid of the task.
    pub(super) of_tasks: HashMap<String, String>,
    /// Tasks that wait for an Indexer, in the order of their creation, with the names of the pools, by namespace.
    pub(super) waiting: BTreeMap<String, BTreeMap<Turn, Waits>>,
    /// Namespace and turn of each of them, by uid.
    pub(super) turns: HashMap<String, (String, Turn)>,
    /// Attempts for which this process began to create a pod, by uid of the task.
    pub(super) in_pods: HashMap<String, u32>,
}

/// Creation time, name and uid: the order of waiting tasks. A deleted task may be created again in the same second.
pub(super) type Turn = (Timestamp, String, String);

/// What a task waits for.
#[derive(Debug)]
pub(super) struct Waits {
    /// Names of the pools.
    pub(super) pools: Vec<String>,
    pub(super) slot: TaskSlot,
}

#[derive(Debug, Default)]
pub(super) struct Pool {
    /// `None` while it offers nothing.
    pub(super) offer: Option<Arc<PoolOffer>>,
    pub(super) idle: BTreeMap<String, Idle>,
    /// Uids of the pods of the pool.
    pub(super) pods: HashSet<String>,
    /// Uids of those that no task may be given any more: they are being deleted, or had a task that is gone.
    pub(super) retired: HashSet<String>,
}

#[derive(Debug)]
pub(super) struct Claim {
    pub(super) pool: Key,
    pub(super) task_uid: String,
    pub(super) task: Who,
    /// The Indexer, until a status says that the task has it: the task's pass writes that.
    pub(super) reserved: Option<Idle>,
    pub(super) over: bool,
}

impl Inner {
    /// The tasks that wait for this pool, or for any.
    pub(super) fn waiting<'a>(
        &'a self,
        namespace: &'a str,
        pool: Option<&'a String>,
    ) -> impl Iterator<Item = Who> + 'a {
        let all = self.waiting.get(namespace).into_iter().flatten();
        let for_it = all.filter(move |(_, waits)| pool.is_none_or(|pool| waits.pools.contains(pool)));
        for_it.map(|((_, name, _), _)| (namespace.to_owned(), name.clone()))
    }

    /// Of the pools that a task may run in, the one that has more Indexers if the task waits.
    pub(super) fn scaled<'a>(&self, namespace: &str, pools: &'a [String]) -> Option<&'a String> {
        let scales = |pool: &&String| {
            let known = self.pools.get(&(namespace.to_owned(), (*pool).clone()));
            known
                .and_then(|pool| pool.offer.as_ref())
                .is_some_and(|offer| offer.scales)
        };
        pools.iter().find(scales)
    }

    /// Tasks that have a slot of this kind of the pool, and those that wait for one of its own.
    pub(super) fn demand(&self, key: &Key, slot: TaskSlot) -> Demand {
        let waiting = self.waiting.get(&key.0).into_iter().flat_map(BTreeMap::values);
        let waits = |waits: &&Waits| waits.slot == slot && self.scaled(&key.0, &waits.pools) == Some(&key.1);
        Demand {
            used: self.shared.used(key, slot),
            waiting: waiting.filter(waits).count(),
        }
    }

    /// The idle Indexers of a pool that no task has.
    pub(super) fn free<'a>(&'a self, pool: &Key) -> impl Iterator<Item = &'a Idle> + 'a {
        let pool = self.pools.get(pool).into_iter();
        pool.flat_map(|pool| {
            let free = |uid: &str| !pool.retired.contains(uid) && !self.claims.contains_key(uid);
            pool.idle.values().filter(move |idle| free(&idle.pod_uid))
        })
    }

    /// The first idle Indexer of a pool, if no older task waits for it.
    pub(super) fn next(&self, pool: &Key, turn: &Turn) -> Option<&Idle> {
        let idle = self.free(pool).next()?;
        let Some(waiting) = self.waiting.get(&pool.0) else {
            return Some(idle);
        };
        let free = self.free(pool).count();
        let older = waiting
            .range(..turn)
            .filter(|(_, waits)| waits.pools.contains(&pool.1));
        (older.take(free).count() < free).then_some(idle)
    }

    /// A slot of a shared Indexer of a pool, if no older task waits for it.
    pub(super) fn slot(&mut self, pool: &Key, turn: &Turn, asker: &Asker<'_>) -> Option<(Idle, GivenSlot)> {
        let free = self.shared.room(pool, Some(asker.slot));
        let waiting = self.waiting.get(&pool.0).into_iter();
        let older = waiting.flat_map(|waiting| waiting.range(..turn));
        let older = older.filter(|(_, waits)| waits.pools.contains(&pool.1) && waits.slot == asker.slot);
        if older.take(free).count() >= free {
            return None;
        }
        let offer = self.pools.get(pool).and_then(|pool| pool.offer.as_ref());
        let share = offer.map_or(0, |offer| offer.task_bytes);
        self.shared.take(pool, asker, asker.rows.bytes(share))
    }

    pub(super) fn take(
        &mut self,
        pools: &[String],
        asker: &Asker<'_>,
        turn: &Turn,
        touched: &mut Vec<Key>,
    ) -> Option<Given> {
        let (namespace, name) = asker.task;
        let task_uid = &turn.2;
        match self.shared.held_by(task_uid) {
            Held::Reserved { pool, indexer, slot } if pools.contains(&pool.1) => {
                let (pool, slot) = (pool.1, Some(slot));
                return Some(Given { pool, indexer, slot });
            }
            // A slot that a status records is for the attempt before.
            Held::Recorded => return None,
            // The status may record it all the same, if the answer to the write was lost.
            Held::Reserved { .. } | Held::Lost => touched.extend(self.shared.end(task_uid)),
            Held::Nothing => {}
        }
        if let Some(pod_uid) = self.of_tasks.get(task_uid) {
            let claim = self.claims.get(pod_uid)?;
            // One that a status records is for the attempt before: the task is given no second one beside it.
            let indexer = claim.reserved.clone()?;
            let pool = self
                .pools
                .get(&claim.pool)
                .filter(|_| pools.contains(&claim.pool.1));
            if pool.is_some_and(|pool| pool.pods.contains(pod_uid)) {
                let (pool, slot) = (claim.pool.1.clone(), None);
                return Some(Given { pool, indexer, slot });
            }
            // The status may record it all the same, if the answer to the write was lost.
            touched.extend(self.end(task_uid));
        }
        if !self.listed {
            return None;
        }
        for pool in pools {
            let key = (namespace.to_owned(), pool.clone());
            if self.shared.has(&key)
                && let Some((indexer, slot)) = self.slot(&key, turn, asker)
            {
                touched.push(key);
                let (pool, slot) = (pool.clone(), Some(slot));
                return Some(Given { pool, indexer, slot });
            }
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
                slot: None,
            });
        }
        None
    }

    /// Removes a claim that no status records.
    pub(super) fn release(&mut self, task_uid: &str) -> Option<Key> {
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

    pub(super) fn observe(
        &mut self,
        task: &PeonTask,
        uid: &str,
        who: Who,
        recorded: Option<WorkerClaim>,
    ) -> Option<Key> {
        let Some(recorded) = recorded else {
            if self.shared.held_by(uid) == Held::Recorded {
                return self.shared.end(uid);
            }
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
        if let Some(kind) = recorded.slot {
            self.of_tasks.contains_key(uid).then(|| self.end(uid));
            let status = task.status.as_ref();
            let run = status.and_then(|status| status.run.as_ref());
            let offer = self.pools.get(&key).and_then(|pool| pool.offer.as_ref());
            // A claim that has no estimate was written by an earlier version.
            let unknown = || match kind {
                TaskSlot::Heavy => RowsInMemory::Share.bytes(offer.map_or(0, |offer| offer.task_bytes)),
                TaskSlot::Light => 0,
            };
            let bytes = run.and_then(|run| u64::try_from(run.estimated_bytes?).ok());
            let slot = GivenSlot {
                kind,
                bytes: bytes.unwrap_or_else(unknown),
                group: run.and_then(|run| run.availability_group.clone()),
            };
            return self.shared.observe(
                uid,
                &Recorded {
                    pool: &key,
                    pod_uid: &recorded.pod_uid,
                    task: &who,
                    id: status.and_then(|s| s.task_id.as_deref()).unwrap_or_default(),
                    kind: TaskKind {
                        task_type: status.and_then(|s| s.task_type.clone()).unwrap_or_default(),
                        data_source: status.and_then(|s| s.data_source.clone()),
                    },
                    slot,
                    stopped: status.and_then(|s| s.stop.as_ref()).map(|stop| stop.time.0),
                    over,
                },
            );
        }
        let touched = self.shared.end(uid);
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
        (before != Some(over)).then_some(key).or(touched)
    }

    /// The task needs its Indexer no longer.
    pub(super) fn end(&mut self, task_uid: &str) -> Option<Key> {
        let pod_uid = self.of_tasks.remove(task_uid)?;
        let claim = self.claims.remove(&pod_uid)?;
        if let Some(pool) = self.pools.get_mut(&claim.pool) {
            pool.retired.insert(pod_uid);
        }
        Some(claim.pool)
    }

    pub(super) fn wait(&mut self, pools: &[String], namespace: &str, turn: Turn, slot: TaskSlot) {
        let of_namespace = self.waiting.entry(namespace.to_owned()).or_default();
        let pools = pools.to_vec();
        of_namespace.insert(turn.clone(), Waits { pools, slot });
        self.turns.insert(turn.2.clone(), (namespace.to_owned(), turn));
    }

    /// The task does not wait any more. Returns the pools whose idle Indexers it may have been woken for.
    pub(super) fn leave(&mut self, task_uid: &str) -> Vec<Key> {
        let Some((namespace, turn)) = self.turns.remove(task_uid) else {
            return Vec::new();
        };
        let waiting = self.waiting.entry(namespace.clone()).or_default();
        let pools = waiting.remove(&turn).map(|waits| waits.pools).unwrap_or_default();
        if waiting.is_empty() {
            self.waiting.remove(&namespace);
        }
        let keys = pools.into_iter().map(|pool| (namespace.clone(), pool));
        keys.filter(|key| self.free(key).next().is_some() || self.shared.room(key, None) > 0)
            .collect()
    }
}
