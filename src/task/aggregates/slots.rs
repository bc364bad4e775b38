//! Which of a template's tasks may have a pod: `maxRunning` (pure).
//!
//! The index is in memory and is rebuilt after a restart: tasks that have a pod [`Slots::hold`] theirs, the others ask
//! again. Slots are given in the order of creation, and no waiting task is overtaken.

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::sync::OnceLock;

use k8s_openapi::jiff::Timestamp;
use parking_lot::Mutex;

use super::ranked_set::RankedSet;

/// Slots by template.
#[derive(Default)]
pub struct Slots {
    inner: Mutex<Inner>,
    changed: OnceLock<Changed>,
}

/// Called with namespace and name of a template whose counts changed.
pub type Changed = Box<dyn Fn(&str, &str) + Send + Sync>;

/// How many tasks of a template have a slot, and how many wait for one.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Tasks that have a pod, or a slot for one.
    pub running: u32,
    /// Tasks that wait for a slot.
    pub waiting: u32,
}

impl fmt::Debug for Slots {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Slots").field(&self.inner).finish()
    }
}

/// A task: namespace and name.
pub type Who = (String, String);

/// Answer to a task that wants a slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Slot {
    /// The task has a slot.
    Taken,
    /// The task waits for a slot.
    Wait {
        /// How many tasks have one.
        running: u32,
        /// How many tasks wait before it.
        ahead: u32,
    },
}

#[derive(Debug, Default)]
struct Inner {
    templates: HashMap<Key, Template>,
    /// The template of each task, by uid.
    places: HashMap<String, Place>,
    /// Templates whose counts changed under the current lock.
    touched: Vec<Key>,
}

/// Namespace and name of a template.
type Key = (String, String);
/// Creation time, name and uid: the order of waiting tasks.
type Turn = (Timestamp, String, String);

#[derive(Debug)]
struct Place {
    key: Key,
    /// `None` for a task that has a slot.
    waits: Option<Turn>,
}

#[derive(Debug, Default)]
struct Template {
    max: u32,
    holders: HashSet<String>,
    waiting: RankedSet<Turn>,
}

impl Template {
    /// How many slots are free.
    fn free(&self) -> usize {
        usize::try_from(self.max)
            .unwrap_or(usize::MAX)
            .saturating_sub(self.holders.len())
    }
}

impl Slots {
    /// Asks for a slot among the `max` of a template, for a task with this uid, creation time and name. A task that has
    /// one keeps it. A task that has to wait is queued, and is among those that [`release`](Self::release),
    /// [`forget`](Self::forget) and [`waiting`](Self::waiting) return when it may ask again.
    ///
    /// A task that is registered with another template leaves that one; [`leave_other`](Self::leave_other) returns
    /// which tasks may ask there then.
    #[must_use]
    pub fn take(
        &self,
        namespace: &str,
        template: &str,
        max: u32,
        task_uid: &str,
        created: Timestamp,
        name: &str,
    ) -> Slot {
        let key = (namespace.to_owned(), template.to_owned());
        self.with(|inner| inner.take(key, max, task_uid, created, name))
    }

    /// Sets what is called when the counts of a template changed. Only the first call has an effect.
    pub fn on_change(&self, changed: Changed) {
        let _ = self.changed.set(changed);
    }

    /// How many tasks of a template run and wait; costs the same whatever their number.
    #[must_use]
    pub fn counts(&self, namespace: &str, template: &str) -> Counts {
        let key = (namespace.to_owned(), template.to_owned());
        let inner = self.inner.lock();
        let of = inner.templates.get(&key);
        of.map_or_else(Counts::default, |of| Counts {
            running: u32::try_from(of.holders.len()).unwrap_or(u32::MAX),
            waiting: u32::try_from(of.waiting.len()).unwrap_or(u32::MAX),
        })
    }

    /// Changes the index, and reports afterwards whose counts changed.
    fn with<R>(&self, change: impl FnOnce(&mut Inner) -> R) -> R {
        let (result, touched) = {
            let mut inner = self.inner.lock();
            let result = change(&mut inner);
            (result, std::mem::take(&mut inner.touched))
        };
        if let Some(changed) = self.changed.get() {
            for (namespace, name) in touched {
                changed(&namespace, &name);
            }
        }
        result
    }

    /// Records that a task with a pod has a slot, whatever the limit.
    pub fn hold(&self, namespace: &str, template: &str, task_uid: &str) {
        let key = (namespace.to_owned(), template.to_owned());
        self.with(|inner| inner.hold(key, task_uid));
    }

    /// A task gives its slot back and may ask for one again. Returns the tasks that may ask now, in order; a waiting
    /// task remains queued.
    pub fn release(&self, task_uid: &str) -> Vec<Who> {
        self.with(|inner| {
            if inner.places.get(task_uid).is_none_or(|p| p.waits.is_some()) {
                return Vec::new();
            }
            inner.leave(task_uid)
        })
    }

    /// A task is finished, deleted, suspended, or no longer has a template: it has no slot and waits for none. Returns
    /// the tasks that may ask now, in order.
    pub fn forget(&self, task_uid: &str) -> Vec<Who> {
        self.with(|inner| inner.leave(task_uid))
    }

    /// Removes a task from the queue and slots of all templates but this one. Returns the tasks that may ask there now.
    pub fn leave_other(&self, namespace: &str, template: &str, task_uid: &str) -> Vec<Who> {
        let key = (namespace.to_owned(), template.to_owned());
        self.with(|inner| inner.leave_other(&key, task_uid))
    }

    /// The tasks that have a slot or wait for one.
    #[must_use]
    pub fn uids(&self) -> Vec<String> {
        self.inner.lock().places.keys().cloned().collect()
    }

    /// All tasks that wait for a slot of this template, in order: they ask again when its limit changes.
    #[must_use]
    pub fn waiting(&self, namespace: &str, template: &str) -> Vec<Who> {
        let key = (namespace.to_owned(), template.to_owned());
        let inner = self.inner.lock();
        let Some(of) = inner.templates.get(&key) else {
            return Vec::new();
        };
        of.waiting
            .iter()
            .map(|(_, name, _)| (namespace.to_owned(), name.clone()))
            .collect()
    }
}

impl Inner {
    fn take(&mut self, key: Key, max: u32, task_uid: &str, created: Timestamp, name: &str) -> Slot {
        self.leave_other(&key, task_uid);
        let of = self.templates.entry(key.clone()).or_default();
        of.max = max;
        let held = self.places.get(task_uid).is_some_and(|p| p.waits.is_none());
        if held {
            return Slot::Taken;
        }
        let turn = (created, name.to_owned(), task_uid.to_owned());
        let ahead = of.waiting.before(&turn);
        let waited = of.waiting.len();
        // Tasks queued before it that were not woken yet still find a slot.
        let waits = if ahead < of.free() {
            of.waiting.remove(&turn);
            of.holders.insert(task_uid.to_owned());
            None
        } else {
            of.waiting.insert(turn.clone());
            Some(turn)
        };
        if waits.is_none() || of.waiting.len() != waited {
            self.touched.push(key.clone());
        }
        let slot = if waits.is_none() {
            Slot::Taken
        } else {
            Slot::Wait {
                running: u32::try_from(of.holders.len()).unwrap_or(u32::MAX),
                ahead: u32::try_from(ahead).unwrap_or(u32::MAX),
            }
        };
        self.places.insert(task_uid.to_owned(), Place { key, waits });
        slot
    }

    fn hold(&mut self, key: Key, task_uid: &str) {
        let held = self
            .places
            .get(task_uid)
            .is_some_and(|p| p.key == key && p.waits.is_none());
        if held {
            return;
        }
        self.leave(task_uid);
        let of = self.templates.entry(key.clone()).or_default();
        of.holders.insert(task_uid.to_owned());
        self.touched.push(key.clone());
        self.places
            .insert(task_uid.to_owned(), Place { key, waits: None });
    }

    fn leave_other(&mut self, key: &Key, task_uid: &str) -> Vec<Who> {
        if self.places.get(task_uid).is_none_or(|p| p.key == *key) {
            return Vec::new();
        }
        self.leave(task_uid)
    }

    /// Removes a task; returns the tasks that may ask now.
    fn leave(&mut self, task_uid: &str) -> Vec<Who> {
        let Some(place) = self.places.remove(task_uid) else {
            return Vec::new();
        };
        let Some(of) = self.templates.get_mut(&place.key) else {
            return Vec::new();
        };
        match &place.waits {
            Some(turn) => of.waiting.remove(turn),
            None => of.holders.remove(task_uid),
        };
        let next = of
            .waiting
            .iter()
            .take(of.free())
            .map(|(_, name, _)| (place.key.0.clone(), name.clone()))
            .collect();
        self.touched.push(place.key.clone());
        if of.holders.is_empty() && of.waiting.is_empty() {
            self.templates.remove(&place.key);
        }
        next
    }
}

#[cfg(test)]
#[path = "slots_tests.rs"]
mod tests;
