//! PeonTasks that are gone, so that outdated updates do not restore them (pure).

use std::collections::hash_map::Entry;
use std::collections::{HashMap, VecDeque};

use k8s_openapi::jiff::{SignedDuration, Timestamp};

/// Longer than any earlier list is under way, or any watch lags behind.
const REMEMBERED: SignedDuration = SignedDuration::from_mins(10);

/// Uids of the last minutes.
#[derive(Debug, Default)]
pub(crate) struct Tombstones {
    /// With the version of the deletion; the highest version if a read found nothing.
    uids: HashMap<String, u64>,
    by_age: VecDeque<(Timestamp, String)>,
}

impl Tombstones {
    /// Records that it is gone, with the version of its deletion if known. A deleted object has no newer versions; only
    /// one that had lost its label and has it again does.
    pub(crate) fn add(&mut self, uid: &str, version: Option<u64>, now: Timestamp) {
        self.expire(now);
        let version = version.unwrap_or(u64::MAX);
        match self.uids.entry(uid.to_owned()) {
            Entry::Occupied(mut known) => *known.get_mut() = version.max(*known.get()),
            Entry::Vacant(new) => {
                new.insert(version);
                self.by_age.push_back((now, uid.to_owned()));
            }
        }
    }

    /// Whether it is gone.
    pub(crate) fn has(&mut self, uid: &str, now: Timestamp) -> bool {
        self.expire(now);
        self.uids.contains_key(uid)
    }

    /// Whether this version precedes its deletion.
    pub(crate) fn has_version(&mut self, uid: &str, version: Option<u64>, now: Timestamp) -> bool {
        self.expire(now);
        let gone = self.uids.get(uid);
        gone.is_some_and(|gone| version.is_none_or(|v| v <= *gone))
    }

    /// Removes the record: it may exist after all.
    pub(crate) fn forget(&mut self, uid: &str) {
        if self.uids.remove(uid).is_some() {
            self.by_age.retain(|(_, departed)| departed != uid);
        }
    }

    #[cfg(test)]
    pub(crate) fn knows(&self, uid: &str) -> bool {
        self.uids.contains_key(uid)
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
        let mut departed = Tombstones::default();
        departed.add("a", None, at(0));
        departed.add("b", Some(7), at(300));
        departed.add("a", Some(1), at(500));
        assert!(departed.has_version("a", Some(9), at(599)), "somebody looked");
        assert!(departed.has_version("b", Some(7), at(599)) && departed.has_version("b", None, at(599)));
        assert!(!departed.has_version("b", Some(8), at(599)), "it is there again");
        assert!(departed.has("a", at(599)));
        assert!(!departed.has("a", at(600)));
        assert!(departed.has("b", at(600)));
        assert!(!departed.has("b", at(900)));
        departed.add("c", None, at(900));
        departed.forget("c");
        assert!(!departed.has("c", at(900)));
        assert!(departed.uids.is_empty() && departed.by_age.is_empty());
    }
}
