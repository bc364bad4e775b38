//! How much memory the subtasks of one spec needed (pure).
//!
//! A subtask that ran out of memory is never run again under its id: its supervisor creates another one of the same
//! spec, which begins at the memory step that the failed one would have continued with.

use parking_lot::Mutex;

use super::recently_used::RecentlyUsed;

/// Most specs remembered; beyond that, the least recently used one of the namespace with the most is removed.
const MOST: usize = 4096;

/// Steps of the memory ladder by namespace and subtask key.
#[derive(Debug)]
pub struct SubtaskMemory(Mutex<RecentlyUsed<u32>>);

impl Default for SubtaskMemory {
    fn default() -> Self {
        Self(Mutex::new(RecentlyUsed::with_most(MOST)))
    }
}

impl SubtaskMemory {
    /// Records that a subtask of this spec needs at least this step; a step lower than the known one changes nothing.
    pub fn learned(&self, namespace: &str, subtask_key: &str, step: u32) {
        if step == 0 {
            return;
        }
        let steps = &mut *self.0.lock();
        let known = steps.get(namespace, subtask_key).copied().unwrap_or_default();
        steps.put(namespace, subtask_key, step.max(known));
    }

    /// The step that subtasks of this spec begin with; 0 if nothing is known.
    #[must_use]
    pub fn step(&self, namespace: &str, subtask_key: &str) -> u32 {
        let steps = &mut *self.0.lock();
        steps.get(namespace, subtask_key).copied().unwrap_or_default()
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
        assert_eq!(subtask_memory.0.lock().len(), MOST);
    }
}
