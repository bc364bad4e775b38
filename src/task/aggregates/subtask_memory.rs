//! How much memory the subtasks of one spec needed (pure).
//!
//! A subtask that ran out of memory is never run again under its id: its supervisor creates another one of the same
//! spec, which begins at the memory step that the failed one would have continued with.

use std::collections::{BTreeMap, HashMap};

use parking_lot::Mutex;

/// Most specs remembered; beyond that, the least recently used one of the namespace with the most is removed.
const MOST: usize = 4096;

/// Steps of the memory ladder by namespace and subtask key.
#[derive(Debug, Default)]
pub struct SubtaskMemory(Mutex<Inner>);

#[derive(Debug, Default)]
struct Inner {
    steps: HashMap<Key, (u32, u64)>,
    /// By last use, oldest first.
    order: BTreeMap<u64, Key>,
    uses: u64,
}

/// Namespace and subtask key.
type Key = (String, String);

impl SubtaskMemory {
    /// Records that a subtask of this spec needs at least this step; a step lower than the known one changes nothing.
    pub fn learned(&self, namespace: &str, subtask_key: &str, step: u32) {
        if step == 0 {
            return;
        }
        let key = (namespace.to_owned(), subtask_key.to_owned());
        let inner = &mut *self.0.lock();
        let known = inner.steps.get(&key).map_or(0, |(known, _)| *known);
        inner.put(key, step.max(known));
        if inner.steps.len() > MOST {
            inner.remove_one();
        }
    }

    /// The step that subtasks of this spec begin with; 0 if nothing is known.
    #[must_use]
    pub fn step(&self, namespace: &str, subtask_key: &str) -> u32 {
        let key = (namespace.to_owned(), subtask_key.to_owned());
        let inner = &mut *self.0.lock();
        let Some((step, _)) = inner.steps.get(&key).copied() else {
            return 0;
        };
        inner.put(key, step);
        step
    }
}

impl Inner {
    fn put(&mut self, key: Key, step: u32) {
        self.uses += 1;
        self.order.insert(self.uses, key.clone());
        if let Some((_, used)) = self.steps.insert(key, (step, self.uses)) {
            self.order.remove(&used);
        }
    }

    /// One namespace's entries do not displace those of another.
    fn remove_one(&mut self) {
        let mut specs: HashMap<&str, usize> = HashMap::new();
        for (namespace, _) in self.steps.keys() {
            *specs.entry(namespace).or_default() += 1;
        }
        let most = specs.into_iter().max_by_key(|(_, specs)| *specs);
        let oldest =
            most.and_then(|(most, _)| self.order.iter().find(|(_, (namespace, _))| namespace == most));
        if let Some((used, key)) = oldest.map(|(used, key)| (*used, key.clone())) {
            self.order.remove(&used);
            self.steps.remove(&key);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_highest_step_stays() {
        let subtask_memory = SubtaskMemory::default();
        assert_eq!(subtask_memory.step("ns", "a"), 0);
        for step in [1, 3, 2, 0] {
            subtask_memory.learned("ns", "a", step);
        }
        assert_eq!(subtask_memory.step("ns", "a"), 3);
        assert_eq!(subtask_memory.step("other", "a"), 0);
    }

    #[test]
    fn what_was_used_longest_ago_leaves() {
        let subtask_memory = SubtaskMemory::default();
        for n in 0..MOST {
            subtask_memory.learned("ns", &n.to_string(), 1);
        }
        assert_eq!(subtask_memory.step("ns", "0"), 1, "used again");
        subtask_memory.learned("ns", "new", 2);
        assert_eq!(subtask_memory.step("ns", "1"), 0);
        assert_eq!(
            (subtask_memory.step("ns", "0"), subtask_memory.step("ns", "new")),
            (1, 2)
        );
        subtask_memory.learned("quiet", "0", 3);
        for n in 0..MOST {
            subtask_memory.learned("ns", &format!("more-{n}"), 1);
        }
        assert_eq!(subtask_memory.step("quiet", "0"), 3);
        let inner = subtask_memory.0.lock();
        assert_eq!((inner.steps.len(), inner.order.len()), (MOST, MOST));
    }
}
