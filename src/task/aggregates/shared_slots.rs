//! The slots of Indexers that run several tasks, and which task has which (pure).
//!
//! | a slot is taken | a slot is free again |
//! |---|---|
//! | by a reservation, or by a status that claims the Indexer | when the Indexer has announced the task's end, or the task has its verdict and its log |
//!
//! A task that is gone while it may still run keeps its slot until the pod is gone: the Indexer gets no further task and is
//! deleted when the others have ended ([`Load::orphans`]). A task that the Indexer certainly never received keeps none.

use std::collections::{BTreeMap, HashMap, HashSet};

use k8s_openapi::jiff::Timestamp;

use super::indexer_claims::Key;
use super::indexer_load::Load;
use super::pool_offer::{Asker, GivenSlot, Idle};
use super::slots::Who;
use crate::api::{PoolSlots, TaskKind, TaskSlot};
use crate::indexer::decide::meaning::strangers;
use crate::indexer::decide::view::View;

/// The index, by uid of the Indexer's pod.
#[derive(Debug, Default)]
pub(super) struct SharedSlots {
    pods: HashMap<String, OnPod>,
    /// Uid of the pod, by uid of the task.
    of_tasks: HashMap<String, String>,
}

/// What is known of one Indexer.
#[derive(Debug, Default)]
struct OnPod {
    pool: Key,
    /// While its pool offers it.
    offered: Option<(Idle, PoolSlots)>,
    /// Whether the pool has the pod.
    there: bool,
    /// Whether it is being deleted.
    retired: bool,
    /// By uid of the task.
    claims: BTreeMap<String, Claim>,
    /// The ids that were there: none of them may come a second time, since the Indexer would run it again, or an end that it
    /// announced long ago would be taken for the new one.
    ids: HashSet<String>,
    told: Option<Told>,
    /// The kinds of the tasks whose end it did not announce, by id.
    kinds: BTreeMap<String, TaskKind>,
}

#[derive(Debug)]
struct Claim {
    task: Who,
    id: String,
    slot: GivenSlot,
    /// The Indexer, until a status says that the task has the slot: the task's pass writes that.
    reserved: Option<Idle>,
    /// Whether the Indexer has announced the task's end, or no longer lists it.
    ended: bool,
    /// Whether the PeonTask is gone.
    gone: bool,
    /// Whether the Indexer may have received the task. What another process sent is not known.
    received: bool,
    /// When a stop was recorded.
    stopped: Option<Timestamp>,
    told: Option<Of>,
}

/// What an Indexer says of itself, as far as all of its tasks are concerned by it.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(clippy::struct_excessive_bools)] // Each says something else of it.
struct Told {
    complete: bool,
    disabled: bool,
    replaced: bool,
    silent: bool,
    strangers: bool,
}

/// What an Indexer says of a task.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Of {
    Running,
    Ended,
    Lost,
}

/// What a task has of the slots.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Held {
    /// None.
    Nothing,
    /// One that no status records yet.
    Reserved {
        pool: Key,
        indexer: Idle,
        slot: GivenSlot,
    },
    /// One of an Indexer that is gone, or being deleted.
    Lost,
    /// One that its status records.
    Recorded,
}

/// What follows from an answer of an Indexer.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct News {
    /// The tasks that it concerns.
    pub(super) tasks: Vec<Who>,
    /// Whether its pool has to look.
    pub(super) pool: bool,
    /// The pool of the Indexer, if a slot became free.
    pub(super) freed: Option<Key>,
}

/// What a status says.
#[derive(Debug, Clone)]
pub(super) struct Recorded<'a> {
    pub(super) pool: &'a Key,
    pub(super) pod_uid: &'a str,
    pub(super) task: &'a Who,
    pub(super) id: &'a str,
    pub(super) kind: TaskKind,
    pub(super) slot: GivenSlot,
    pub(super) stopped: Option<Timestamp>,
    /// Whether the task has its verdict and its log.
    pub(super) over: bool,
}

impl SharedSlots {
    /// The pool has these pods, and offers slots of these Indexers.
    pub(super) fn offer(&mut self, key: &Key, offered: Vec<(Idle, PoolSlots)>, pods: &HashSet<String>) {
        self.withdraw(key);
        for (idle, slots) in offered {
            let pod = self.pods.entry(idle.pod_uid.clone()).or_default();
            pod.pool = key.clone();
            pod.offered = Some((idle, slots)).filter(|_| !pod.retired);
        }
        for (uid, pod) in self.pods.iter_mut().filter(|(_, pod)| pod.pool == *key) {
            pod.there = pods.contains(uid);
        }
        let of_pool = |pod: &OnPod| pod.pool == *key;
        self.pods
            .retain(|_, pod| !of_pool(pod) || pod.there || pod.claims.values().any(|c| !c.gone));
    }

    /// The pool offers nothing.
    pub(super) fn withdraw(&mut self, key: &Key) {
        for pod in self.pods.values_mut().filter(|pod| pod.pool == *key) {
            pod.offered = None;
        }
    }

    /// The pool is gone.
    pub(super) fn forget(&mut self, key: &Key) {
        self.pods
            .retain(|_, pod| pod.pool != *key || !pod.claims.is_empty());
    }

    /// Free slots of a kind, of all Indexers of the pool; of both kinds, if none is given.
    pub(super) fn room(&self, key: &Key, slot: Option<TaskSlot>) -> usize {
        let pods = self.pods.values().filter(|pod| pod.pool == *key);
        let kinds = [TaskSlot::Heavy, TaskSlot::Light];
        let kinds = || {
            kinds
                .into_iter()
                .filter(|kind| slot.is_none_or(|slot| slot == *kind))
        };
        pods.map(|pod| kinds().map(|kind| pod.free(kind)).sum::<usize>())
            .sum()
    }

    /// Tasks that have slots of a kind, of all Indexers of the pool.
    pub(super) fn used(&self, key: &Key, slot: TaskSlot) -> usize {
        let pods = self.pods.values().filter(|pod| pod.pool == *key);
        pods.map(|pod| pod.running(slot)).sum()
    }

    /// Whether the pool offers Indexers of this sort.
    pub(super) fn has(&self, key: &Key) -> bool {
        self.pods
            .values()
            .any(|pod| pod.pool == *key && pod.offered.is_some())
    }

    /// Gives the task a slot. Heavy tasks are spread by the bytes that they are estimated to hold in memory, of which this
    /// one is estimated to hold `bytes`; light ones are packed, so that Indexers without any can go.
    pub(super) fn take(&mut self, key: &Key, asker: &Asker<'_>, bytes: u64) -> Option<(Idle, GivenSlot)> {
        let fits = |pod: &OnPod| {
            let apart = asker.group.is_none()
                || pod
                    .claims
                    .values()
                    .all(|claim| claim.ended || claim.slot.group.as_deref() != asker.group);
            pod.pool == *key && pod.free(asker.slot) > 0 && apart && !pod.ids.contains(asker.task_id)
        };
        let rank = |pod: &OnPod| {
            let (heavy, light) = (pod.running(TaskSlot::Heavy), pod.running(TaskSlot::Light));
            match asker.slot {
                TaskSlot::Heavy => (pod.bytes(), heavy, light),
                TaskSlot::Light => (0, usize::MAX - light, heavy),
            }
        };
        let pods = self.pods.iter().filter(|(_, pod)| fits(pod));
        let (uid, _) = pods.min_by(|(a_uid, a), (b_uid, b)| (rank(a), a_uid).cmp(&(rank(b), b_uid)))?;
        let uid = uid.clone();
        let pod = self.pods.get_mut(&uid)?;
        let (idle, _) = pod.offered.clone()?;
        pod.ids.insert(asker.task_id.to_owned());
        let slot = GivenSlot {
            kind: asker.slot,
            bytes,
            group: asker.group.map(str::to_owned),
        };
        let claim = Claim {
            task: asker.task.clone(),
            id: asker.task_id.to_owned(),
            slot: slot.clone(),
            reserved: Some(idle.clone()),
            ended: false,
            gone: false,
            received: false,
            stopped: None,
            told: None,
        };
        pod.claims.insert(asker.task_uid.to_owned(), claim);
        self.of_tasks.insert(asker.task_uid.to_owned(), uid);
        Some((idle, slot))
    }

    /// Forgets which ids were on the Indexers.
    #[cfg(test)]
    pub(super) fn forget_ids(&mut self) {
        for pod in self.pods.values_mut() {
            pod.ids.clear();
        }
    }

    /// What the task has.
    pub(super) fn held_by(&self, task_uid: &str) -> Held {
        let pod = self.of_tasks.get(task_uid).and_then(|uid| self.pods.get(uid));
        let Some((pod, claim)) = pod.and_then(|pod| Some((pod, pod.claims.get(task_uid)?))) else {
            return Held::Nothing;
        };
        match &claim.reserved {
            None => Held::Recorded,
            Some(indexer) if pod.there && !pod.retired => Held::Reserved {
                pool: pod.pool.clone(),
                indexer: indexer.clone(),
                slot: claim.slot.clone(),
            },
            Some(_) => Held::Lost,
        }
    }

    /// Gives back what no status says. It was not posted, so its id may come again.
    pub(super) fn release(&mut self, task_uid: &str) -> Option<Key> {
        let pod = self.pods.get_mut(self.of_tasks.get(task_uid)?)?;
        pod.claims
            .get(task_uid)
            .filter(|claim| claim.reserved.is_some())?;
        let claim = pod.claims.remove(task_uid)?;
        pod.ids.remove(&claim.id);
        let key = pod.pool.clone();
        self.of_tasks.remove(task_uid);
        Some(key)
    }

    /// Records what the status of a task says. Returns the pool, if that is new.
    pub(super) fn observe(&mut self, task_uid: &str, says: &Recorded<'_>) -> Option<Key> {
        let moved = self.of_tasks.get(task_uid).filter(|pod| *pod != says.pod_uid);
        let moved = moved.is_some().then(|| self.end(task_uid)).flatten();
        let pod = self.pods.entry(says.pod_uid.to_owned()).or_default();
        pod.pool = says.pool.clone();
        pod.ids.insert(says.id.to_owned());
        if says.over {
            self.of_tasks.remove(task_uid);
            let was_there = pod.claims.remove(task_uid).is_some();
            return was_there.then(|| says.pool.clone()).or(moved);
        }
        self.of_tasks.insert(task_uid.to_owned(), says.pod_uid.to_owned());
        if !pod.claims.get(task_uid).is_some_and(|claim| claim.ended) {
            pod.kinds.insert(says.id.to_owned(), says.kind.clone());
        }
        let new = || Claim {
            task: says.task.clone(),
            id: says.id.to_owned(),
            slot: says.slot.clone(),
            reserved: None,
            ended: false,
            gone: false,
            received: true,
            stopped: None,
            told: None,
        };
        let is_new = !pod.claims.contains_key(task_uid);
        let claim = pod.claims.entry(task_uid.to_owned()).or_insert_with(new);
        let changed = is_new || claim.reserved.take().is_some() || claim.stopped != says.stopped;
        claim.stopped = says.stopped;
        changed.then(|| says.pool.clone()).or(moved)
    }

    /// The task has no slot any more: it is gone, or has another attempt. Where its end is not known, it may still run.
    pub(super) fn end(&mut self, task_uid: &str) -> Option<Key> {
        let uid = self.of_tasks.remove(task_uid)?;
        let pod = self.pods.get_mut(&uid)?;
        match pod.claims.get_mut(task_uid) {
            // A reservation may be recorded all the same, if the answer to the write was lost.
            Some(claim) if !claim.ended && (claim.received || claim.reserved.is_some()) => claim.gone = true,
            _ => {
                if let Some(claim) = pod.claims.remove(task_uid) {
                    pod.kinds.remove(&claim.id);
                }
            }
        }
        Some(pod.pool.clone())
    }

    /// Whether the Indexer in this pod, of which the task has a slot, may have received it. With `received`, it may from now
    /// on, or it did not.
    pub(super) fn received(&mut self, task_uid: &str, pod_uid: &str, received: Option<bool>) -> bool {
        let claims = self.pods.get_mut(pod_uid).map(|pod| &mut pod.claims);
        let Some(claim) = claims.and_then(|claims| claims.get_mut(task_uid)) else {
            return true;
        };
        let before = claim.received;
        claim.received = received.unwrap_or(before);
        before
    }

    /// The tasks on an Indexer.
    pub(super) fn load(&self, pod_uid: &str) -> Load {
        let Some(pod) = self.pods.get(pod_uid) else {
            return Load::default();
        };
        let claims = || pod.claims.values();
        let stopping = |claim: &&Claim| claim.stopped.is_some() || claim.gone;
        Load {
            tasks: pod.claims.len(),
            unstopped: claims().filter(|claim| !stopping(claim)).count(),
            orphans: claims().filter(|claim| claim.gone).count(),
            stopping_since: claims().filter_map(|claim| claim.stopped).min(),
            ids: claims()
                .filter(|c| !c.gone)
                .map(|claim| claim.id.clone())
                .collect(),
            kinds: pod.kinds.values().cloned().collect(),
            had: pod.ids.len(),
            retired: pod.retired,
        }
    }

    /// No task is given a slot of this Indexer from now on, since it is deleted. False if a task needs it; one that was asked
    /// to stop does not, `with_stopped`.
    pub(super) fn retire(&mut self, key: &Key, pod_uid: &str, with_stopped: bool) -> bool {
        let pod = self.pods.entry(pod_uid.to_owned()).or_default();
        pod.pool = key.clone();
        let needs = |claim: &Claim| !(claim.gone || with_stopped && claim.stopped.is_some());
        if pod.claims.values().any(needs) {
            return false;
        }
        pod.offered = None;
        pod.retired = true;
        true
    }

    /// What an Indexer of the pool lists, before it is offered: another process may have given it tasks whose PeonTasks are gone.
    pub(super) fn listed(&mut self, key: &Key, pod_uid: &str, view: &View) {
        let pod = self.pods.entry(pod_uid.to_owned()).or_default();
        pod.pool = key.clone();
        pod.had(view);
    }

    /// Takes what an Indexer answers; `None` if this is none that runs several tasks.
    pub(super) fn heard(&mut self, pod_uid: &str, view: &View) -> Option<News> {
        let pod = self.pods.get_mut(pod_uid)?;
        pod.had(view);
        let ids: HashSet<&str> = pod.claims.values().map(|claim| claim.id.as_str()).collect();
        let told = Told {
            complete: view.complete(),
            disabled: view.disabled(),
            replaced: view.replaced().is_some(),
            silent: view.silence().is_some(),
            strangers: !strangers(view, |id| ids.contains(id)).is_empty(),
        };
        let all = pod.told.as_ref() != Some(&told);
        pod.told = Some(told);
        let mut news = News {
            pool: all,
            ..News::default()
        };
        for claim in pod.claims.values_mut() {
            let of = view.task(&claim.id).map(|task| {
                if task.ended() {
                    Of::Ended
                } else if task.lost {
                    Of::Lost
                } else {
                    Of::Running
                }
            });
            if matches!(of, Some(Of::Ended | Of::Lost)) && !claim.ended {
                claim.ended = true;
                pod.kinds.remove(&claim.id);
                news.freed = Some(pod.pool.clone());
                news.pool |= claim.gone;
            }
            if (all || of != claim.told) && !claim.gone {
                news.tasks.push(claim.task.clone());
            }
            claim.told = of;
        }
        pod.claims.retain(|_, claim| !(claim.gone && claim.ended));
        Some(news)
    }

    /// The tasks on an Indexer; `None` if this is none that runs several.
    pub(super) fn tasks_on(&self, pod_uid: &str) -> Option<Vec<Who>> {
        let claims = self.pods.get(pod_uid)?.claims.values();
        Some(
            claims
                .filter(|claim| !claim.gone)
                .map(|claim| claim.task.clone())
                .collect(),
        )
    }

    /// Used and free slots of the Indexers that are offered, by kind.
    pub(super) fn counts(&self) -> Vec<(&'static str, usize, usize)> {
        let kinds = [("heavy", TaskSlot::Heavy), ("light", TaskSlot::Light)];
        let count = |(name, kind)| {
            let offered = self.pods.values().filter(|pod| pod.offered.is_some());
            offered.fold((name, 0, 0), |(name, used, free), pod| {
                (name, used + pod.running(kind), free + pod.free(kind))
            })
        };
        kinds.map(count).to_vec()
    }

    /// Uids of the tasks with slots.
    pub(super) fn uids(&self) -> impl Iterator<Item = &String> {
        self.of_tasks.keys()
    }
}

impl OnPod {
    /// It had the tasks that it lists, whoever gave them to it.
    fn had(&mut self, view: &View) {
        for (id, _) in view.tasks() {
            if !self.ids.contains(id) {
                self.ids.insert(id.to_owned());
            }
        }
    }

    fn running(&self, slot: TaskSlot) -> usize {
        let runs = |claim: &&Claim| claim.slot.kind == slot && !claim.ended;
        self.claims.values().filter(runs).count()
    }

    /// Bytes of rows that its tasks are estimated to hold in memory.
    fn bytes(&self) -> u64 {
        let running = self.claims.values().filter(|claim| !claim.ended);
        running.fold(0, |sum, claim| sum.saturating_add(claim.slot.bytes))
    }

    fn free(&self, slot: TaskSlot) -> usize {
        let slots = self.offered.as_ref().map_or(0, |(_, slots)| match slot {
            TaskSlot::Heavy => slots.heavy,
            TaskSlot::Light => slots.light,
        });
        usize::try_from(slots)
            .unwrap_or(usize::MAX)
            .saturating_sub(self.running(slot))
    }
}

#[cfg(test)]
#[path = "shared_slots_tests.rs"]
mod tests;
