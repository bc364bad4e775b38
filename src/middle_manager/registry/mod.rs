//! What one process knows of the tasks assigned to it, and what it has announced of them (pure).
//!
//! Updates come from a watch that lags, from lists, and from the answers to own writes, in any order: resource versions
//! say which is newer. For each task id one PeonTask counts. All announcements of a task follow from it, with three
//! rules:
//!
//! * an acknowledged task is announced until the overlord has forgotten it: a list that is older than the
//!   acknowledgement retracts nothing, and a deleted PeonTask leaves its task's end behind;
//! * after a task's end nothing else is announced of it;
//! * a task is removed only by [`Registry::forget`].

pub mod announcement;
pub mod change_history;
pub(crate) mod drain;
pub mod early_shutdowns;
pub(crate) mod entries;
pub mod history_items;
pub mod identity;
pub mod indexer_run;
pub mod pods;
pub mod reachability;
pub(crate) mod suspects;
pub(crate) mod tombstones;
pub mod view;

mod queries;

use std::collections::{BTreeSet, HashMap, HashSet};

use k8s_openapi::jiff::Timestamp;

use crate::druid::worker::TaskFacts;
use announcement::{Ended, Progress};
use early_shutdowns::EarlyShutdowns;
use entries::{Object, Task};
use history_items::{Before, HistoryItem, Order, Suspect, Target};
use identity::Ordinal;
use pods::Pods;
use suspects::Suspects;
use tombstones::Tombstones;
use view::{Owner, PodSeen, Seen};

/// Failure message of a task whose PeonTask is gone.
pub const DELETED: &str = "the PeonTask was deleted";
/// Failure message of a task that was shut down before it began.
pub const SHUT_DOWN: &str = "the overlord shut the task down before it was assigned";

/// The tasks of all identities of one process.
#[derive(Debug, Default)]
pub struct Registry {
    /// PeonTasks by uid.
    objects: HashMap<String, Object>,
    /// Tasks by id.
    tasks: HashMap<String, Task>,
    /// By task id, the uids of PeonTasks that do not count for it, since another one does or did.
    others: HashMap<String, BTreeSet<String>>,
    pods: Pods,
    orders: EarlyShutdowns,
    /// PeonTasks to cancel, by uid.
    cancels: BTreeSet<String>,
    /// When to announce ends that are held back, by uid.
    late: BTreeSet<(Timestamp, String)>,
    departed: Tombstones,
    doubts: Suspects,
    /// Version of the newest list: a PeonTask that is not in it and not newer does not exist.
    floor: Option<u64>,
    /// Uids of a watch's initial list, while it is received.
    listing: Option<HashSet<String>>,
}

impl Registry {
    /// A PeonTask was seen.
    pub fn see(&mut self, mut seen: Seen, now: Timestamp) -> Vec<HistoryItem> {
        if let Some(listing) = &mut self.listing {
            listing.insert(seen.uid.clone());
        }
        let mut moves = Vec::new();
        if self.is_stale(&seen, now) {
            return moves;
        }
        let uid = seen.uid.clone();
        if let Some(known) = self.objects.get(&uid).map(|o| o.seen.identity)
            && known != seen.identity
        {
            // A user moved it to an identity to which it was not assigned.
            seen.identity = known;
            self.doubts.add(&uid, None);
        }
        self.store(seen);
        self.follow(&uid, now, &mut moves);
        moves
    }

    /// This process stored a task and its payload as this PeonTask.
    pub fn acknowledge(&mut self, seen: Seen, now: Timestamp) -> Vec<HistoryItem> {
        let (uid, facts) = (seen.uid.clone(), seen.facts.clone());
        let mut moves = self.see(seen.clone(), now);
        match self.tasks.get_mut(&facts.id) {
            Some(task) if task.uid.as_ref() == Some(&uid) => task.kept = true,
            Some(task) if !task.has_ended() && !task.kept && self.objects.contains_key(&uid) => {
                // Another PeonTask was taken for it.
                let others = self.others.entry(facts.id).or_default();
                others.remove(&uid);
                others.extend(task.uid.replace(uid.clone()));
                task.kept = true;
                self.follow(&uid, now, &mut moves);
            }
            Some(_) => {}
            None if self.objects.contains_key(&uid) => {}
            // A watch or a list that was ahead of the answer did not contain it.
            None => {
                self.departed.forget(&uid);
                self.store(seen);
                self.follow(&uid, now, &mut moves);
                self.doubts.add(&uid, None);
            }
        }
        moves
    }

    /// A task failed without a PeonTask.
    pub fn fail(
        &mut self,
        identity: Ordinal,
        facts: &TaskFacts,
        message: &str,
        now: Timestamp,
    ) -> Vec<HistoryItem> {
        let mut moves = Vec::new();
        let task = self.tasks.entry(facts.id.clone()).or_insert(Task {
            identity,
            uid: None,
            kept: true,
            said: None,
        });
        if task.said.is_none() {
            let failed = Ended::failed(message, None, now);
            task.say(announcement::ended(facts, None, &failed), &mut moves);
        }
        moves
    }

    /// A PeonTask disappeared from the watch, or lost the labels that identify it as ours; `last` is its last state. If
    /// that would fail its task, the PeonTask is verified first.
    pub fn vanished(&mut self, uid: &str, last: Option<Seen>, now: Timestamp) -> Vec<HistoryItem> {
        let seen = self.objects.get(uid).and_then(|o| o.seen.version);
        if last.as_ref().is_some_and(|l| l.version < seen) {
            // It was seen later than that: a watch lags, and the label was restored.
            self.doubts.add(uid, None);
            return Vec::new();
        }
        let said = last.as_ref().and_then(|l| l.state.as_ref());
        if self.counts(uid) && said.is_none_or(|s| s.progress == Progress::Running) {
            self.doubts.add(uid, last);
            return Vec::new();
        }
        self.gone(uid, last, now)
    }

    /// A PeonTask was seen without readable labels that identify it as ours.
    pub fn unmarked(&mut self, uid: &str) {
        if self.counts(uid) {
            self.doubts.add(uid, None);
        }
    }

    /// Whether a task runs as this PeonTask.
    fn counts(&self, uid: &str) -> bool {
        let object = self.objects.get(uid).filter(|o| !o.has_verdict());
        let task = object.and_then(|o| self.tasks.get(&o.seen.facts.id));
        task.is_some_and(|t| t.uid.as_deref() == Some(uid) && !t.has_ended())
    }

    /// The PeonTask exists, with all labels that identify it as ours.
    pub fn refute(&mut self, doubt: &Suspect) {
        self.doubts.refute(doubt);
    }

    /// A PeonTask is gone; `last` is its last state.
    pub fn gone(&mut self, uid: &str, last: Option<Seen>, now: Timestamp) -> Vec<HistoryItem> {
        let mut moves = Vec::new();
        self.departed.add(uid, last.as_ref().and_then(|l| l.version), now);
        self.pods.forget(uid);
        self.cancels.remove(uid);
        let last = last.or(self.doubts.confirm(uid));
        let Some(mut object) = self.objects.remove(uid) else {
            return moves;
        };
        if let Some(others) = self.others.get_mut(&object.seen.facts.id) {
            others.remove(uid);
            if others.is_empty() {
                self.others.remove(&object.seen.facts.id);
            }
        }
        // A verdict may have been seen since.
        let last = last.filter(|l| l.version >= object.seen.version);
        if let Some(state) = last.and_then(|l| l.state) {
            object.seen.state = Some(state);
        }
        let Some(task) = self.tasks.get_mut(&object.seen.facts.id) else {
            return moves;
        };
        if task.uid.as_deref() != Some(uid) {
            return moves;
        }
        task.uid = None;
        if !task.has_ended() {
            let ended = match object.progress() {
                Progress::Ended { ended, .. } => ended.clone(),
                Progress::Running => {
                    let since = object.seen.state.as_ref().and_then(|s| s.started);
                    Ended::failed(DELETED, since, now)
                }
            };
            let facts = &object.seen.facts;
            task.say(announcement::ended(facts, object.location(), &ended), &mut moves);
        }
        moves
    }

    /// A list of all PeonTasks, which was the most recent state when it was requested; of some only the uid may be
    /// known.
    pub fn listed(
        &mut self,
        mut list: Vec<(String, Option<Seen>)>,
        version: Option<u64>,
        now: Timestamp,
    ) -> Vec<HistoryItem> {
        // Of several with one id the oldest counts.
        list.sort_by_cached_key(|(_, seen)| seen.as_ref().map(|s| (s.created, s.name.clone())));
        let mut listed = HashSet::with_capacity(list.len());
        let mut moves = Vec::new();
        for (uid, seen) in list {
            match seen {
                Some(seen) => moves.extend(self.see(seen, now)),
                None => self.unmarked(&uid),
            }
            listed.insert(uid);
        }
        let Some(version) = version else {
            return moves;
        };
        let is_missing =
            |o: &&Object| !listed.contains(&o.seen.uid) && o.seen.version.is_some_and(|v| v <= version);
        let missing = self.objects.values().filter(is_missing);
        let missing: Vec<String> = missing.map(|o| o.seen.uid.clone()).collect();
        for uid in missing {
            moves.extend(self.vanished(&uid, None, now));
        }
        self.floor = self.floor.max(Some(version));
        moves
    }

    /// A pod was seen. That of an Indexer changes no announcement: the status of a PeonTask says where that is.
    pub fn see_pod(&mut self, pod: PodSeen, now: Timestamp) -> Vec<HistoryItem> {
        let mut moves = Vec::new();
        let Owner::Task(owner) = pod.owner.clone() else {
            self.pods.see(pod);
            return moves;
        };
        if !self.departed.has(&owner, now) {
            self.pods.see(pod);
            self.locate(&owner);
            self.tell(&owner, now, &mut moves);
        }
        moves
    }

    /// The pods. A pod that is gone does not change the announced location until the next attempt.
    pub fn pods(&mut self) -> &mut Pods {
        &mut self.pods
    }

    /// The watch begins with a list.
    pub fn list_begins(&mut self) {
        self.listing = Some(HashSet::new());
    }

    /// That list is complete. Returns whether a PeonTask is not in it: it may be gone, or younger than the list.
    pub fn list_ends(&mut self) -> bool {
        let Some(listing) = self.listing.take() else {
            return false;
        };
        self.objects.keys().any(|uid| !listing.contains(uid))
    }

    /// Announces the ends that were held back long enough.
    pub fn due(&mut self, now: Timestamp) -> Vec<HistoryItem> {
        let mut moves = Vec::new();
        while self.late.first().is_some_and(|(then, _)| *then <= now) {
            if let Some((_, uid)) = self.late.pop_first() {
                self.tell(&uid, now, &mut moves);
            }
        }
        moves
    }

    /// State found by an assignment.
    pub fn before(&mut self, identity: Ordinal, id: &str, now: Timestamp) -> Before {
        let object = |task: &Task| self.objects.get(task.uid.as_ref()?);
        match self.tasks.get(id) {
            Some(task) if task.kept || task.has_ended() => Before::Taken,
            Some(task) if object(task).is_some_and(|o| o.seen.cancel) => Before::Taken,
            None if self.orders.stands(identity, id, now) => Before::ShutDown,
            Some(_) | None => Before::New,
        }
    }

    /// Orders the end of a task.
    pub fn order(&mut self, identity: Ordinal, id: &str, now: Timestamp) -> Order {
        let Some(task) = self.tasks.get(id) else {
            self.orders.give(identity, id, now);
            return Order::Unknown;
        };
        let object = task.uid.as_ref().and_then(|uid| self.objects.get(uid));
        match object {
            Some(object) if task.identity == identity && !object.has_verdict() && !object.seen.cancel => {
                self.cancels.insert(object.seen.uid.clone());
                Order::Cancel(object.target())
            }
            _ => Order::Nothing,
        }
    }

    /// The PeonTasks that are due to be cancelled and are not cancelled yet.
    pub fn to_cancel(&mut self) -> Vec<Target> {
        let objects = &self.objects;
        let due = |uid: &String| {
            objects
                .get(uid)
                .filter(|o| !o.seen.cancel && !o.has_verdict())
                .map(Object::target)
        };
        self.cancels.retain(|uid| due(uid).is_some());
        self.cancels.iter().filter_map(due).collect()
    }

    /// The overlord has forgotten a task whose end it received. The id may be assigned again.
    pub fn forget(&mut self, id: &str, now: Timestamp) -> Vec<HistoryItem> {
        if !self.tasks.get(id).is_some_and(Task::has_ended) {
            return Vec::new();
        }
        let Some(task) = self.tasks.remove(id) else {
            return Vec::new();
        };
        self.orders.take_back(task.identity, id);
        if let Some(object) = task.uid.and_then(|uid| self.objects.get_mut(&uid)) {
            object.seen.forgotten = true;
        }
        let mut moves = vec![HistoryItem::Remove(task.identity, id.to_owned())];
        for uid in self.others.remove(id).unwrap_or_default() {
            self.follow(&uid, now, &mut moves);
        }
        moves
    }

    #[cfg(test)]
    fn departed_for_test(&self, uid: &str) -> bool {
        self.departed.knows(uid)
    }

    fn is_stale(&mut self, seen: &Seen, now: Timestamp) -> bool {
        if self.departed.has_version(&seen.uid, seen.version, now) {
            return true;
        }
        let known = self.objects.get(&seen.uid);
        let (old, same_is_old) = match known {
            Some(object) => (object.seen.version, false),
            None => (self.floor, true),
        };
        matches!((seen.version, old), (Some(new), Some(old)) if new < old || same_is_old && new == old)
    }

    fn store(&mut self, mut seen: Seen) {
        let old = self.objects.remove(&seen.uid);
        let last_location = old.and_then(|old| {
            // This version cannot read the status: the last known one remains.
            seen.state = seen.state.take().or(old.seen.state);
            seen.forgotten |= old.seen.forgotten;
            seen.cancel |= old.seen.cancel;
            old.last_location
        });
        self.objects
            .insert(seen.uid.clone(), Object { seen, last_location });
    }

    /// Updates everything that depends on a PeonTask's current state.
    fn follow(&mut self, uid: &str, now: Timestamp, moves: &mut Vec<HistoryItem>) {
        self.bind(uid, moves);
        self.locate(uid);
        self.obey(uid, now);
        self.tell(uid, now, moves);
    }

    /// Lets a PeonTask count for its id, if none does.
    fn bind(&mut self, uid: &str, moves: &mut Vec<HistoryItem>) {
        let Some(object) = self.objects.get(uid) else {
            return;
        };
        let seen = &object.seen;
        let id = &seen.facts.id;
        let Some(task) = self.tasks.get_mut(id) else {
            if !object.is_over() {
                let task = Task {
                    identity: seen.identity,
                    uid: Some(uid.to_owned()),
                    kept: false,
                    said: None,
                };
                self.tasks.insert(id.clone(), task);
            }
            return;
        };
        if task.uid.as_deref() == Some(uid) {
            return;
        }
        let other = task.uid.as_ref().and_then(|uid| self.objects.get(uid));
        let is_older = other.filter(|o| (seen.created, &seen.name) < (o.seen.created, &o.seen.name));
        let loser = match is_older {
            Some(other) if !task.kept && !task.has_ended() && task.identity == seen.identity => {
                task.uid = Some(uid.to_owned());
                &other.seen
            }
            _ => seen,
        };
        let is_new = self
            .others
            .entry(id.clone())
            .or_default()
            .insert(loser.uid.clone());
        if is_new && !object.is_over() {
            let (id, name) = (id.clone(), loser.name.clone());
            moves.push(HistoryItem::Clash { id, name });
        }
    }

    /// Records the location of the current attempt, see [`Object::locate`].
    fn locate(&mut self, uid: &str) {
        let Some(object) = self.objects.get_mut(uid) else {
            return;
        };
        let pod = self.pods.of(uid, &object.pod_name());
        object.locate(pod);
    }

    /// Cancels a task that was shut down before it was known.
    fn obey(&mut self, uid: &str, now: Timestamp) {
        let Some(object) = self.objects.get(uid) else {
            return;
        };
        let id = &object.seen.facts.id;
        let Some(task) = self.tasks.get(id).filter(|t| t.uid.as_deref() == Some(uid)) else {
            return;
        };
        let runs_on = !object.has_verdict() && !object.seen.cancel;
        if runs_on && self.orders.stands(task.identity, id, now) {
            self.cancels.insert(uid.to_owned());
        }
    }

    /// Announces the changes of the task that this PeonTask counts for.
    fn tell(&mut self, uid: &str, now: Timestamp, moves: &mut Vec<HistoryItem>) {
        let Some(object) = self.objects.get(uid) else {
            return;
        };
        let facts = &object.seen.facts;
        let Some(task) = self.tasks.get_mut(&facts.id) else {
            return;
        };
        if task.uid.as_deref() != Some(uid) || task.has_ended() {
            return;
        }
        let next = match object.progress() {
            Progress::Ended { ended, not_before } if not_before.is_none_or(|then| then <= now) => {
                announcement::ended(facts, object.location(), ended)
            }
            Progress::Ended {
                not_before: Some(then),
                ..
            } => {
                self.late.insert((*then, uid.to_owned()));
                announcement::running(facts, object.location())
            }
            _ => announcement::running(facts, object.location()),
        };
        task.say(next, moves);
    }
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;

#[cfg(test)]
#[path = "simulation_tests.rs"]
mod histories;
