//! The tasks whose logs this process reads or writes.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;

/// The uids of all tasks that have a follower, including deleted ones. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub(super) struct Writers(Arc<Mutex<HashMap<String, usize>>>);

/// Registration of one follower, until it is dropped.
#[derive(Debug)]
pub(super) struct Writer {
    of: Writers,
    uid: String,
}

impl Writers {
    pub(super) fn begin(&self, uid: &str) -> Writer {
        // A task may have two for a moment: a follower that was given up, and the next one.
        *self.0.lock().entry(uid.to_owned()).or_default() += 1;
        Writer {
            of: self.clone(),
            uid: uid.to_owned(),
        }
    }

    pub(super) fn contains(&self, uid: &str) -> bool {
        self.0.lock().contains_key(uid)
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        let mut uids = self.of.0.lock();
        if let Some(count) = uids.get_mut(&self.uid) {
            *count -= 1;
            if *count == 0 {
                uids.remove(&self.uid);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_task_writes_until_the_last_of_its_followers_ends() {
        let writers = Writers::default();
        let (one, other) = (writers.begin("1"), writers.begin("1"));
        drop(one);
        assert!(writers.contains("1") && !writers.contains("2"));
        drop(other);
        assert!(!writers.contains("1"));
    }
}
