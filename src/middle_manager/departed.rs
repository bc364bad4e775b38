//! PeonTasks that are gone, so that old news does not bring them back (pure).

use std::collections::{HashSet, VecDeque};

use k8s_openapi::jiff::{SignedDuration, Timestamp};

/// Longer than any list that was asked for before is on its way, or any watch lags behind it.
const REMEMBERED: SignedDuration = SignedDuration::from_mins(10);

/// Uids of the last minutes.
#[derive(Debug, Default)]
pub(super) struct Departed {
    uids: HashSet<String>,
    by_age: VecDeque<(Timestamp, String)>,
}

impl Departed {
    /// It is gone.
    pub(super) fn add(&mut self, uid: &str, now: Timestamp) {
        self.expire(now);
        if self.uids.insert(uid.to_owned()) {
            self.by_age.push_back((now, uid.to_owned()));
        }
    }

    /// Whether it is gone.
    pub(super) fn has(&mut self, uid: &str, now: Timestamp) -> bool {
        self.expire(now);
        self.uids.contains(uid)
    }

    /// It may not be gone after all.
    pub(super) fn forget(&mut self, uid: &str) {
        if self.uids.remove(uid) {
            self.by_age.retain(|(_, departed)| departed != uid);
        }
    }

    #[cfg(test)]
    pub(super) fn uids(&self) -> &HashSet<String> {
        &self.uids
    }

    fn expire(&mut self, now: Timestamp) {
        while let Some((since, uid)) = self.by_age.front()
            && now.duration_since(*since) >= REMEMBERED
        {
            self.uids.remove(uid);
            self.by_age.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_gone_is_remembered_for_a_while() {
        let at = |second| Timestamp::from_second(second).unwrap();
        let mut departed = Departed::default();
        departed.add("a", at(0));
        departed.add("b", at(300));
        departed.add("a", at(500));
        assert!(departed.has("a", at(599)));
        assert!(!departed.has("a", at(600)));
        assert!(departed.has("b", at(600)));
        assert!(!departed.has("b", at(900)));
        departed.add("c", at(900));
        departed.forget("c");
        assert!(!departed.has("c", at(900)));
        assert!(departed.uids.is_empty() && departed.by_age.is_empty());
    }
}
