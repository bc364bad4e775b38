//! PeonTasks that seem to be gone while their tasks run (pure).
//!
//! For a watch that selects by label, an object that lost its label looks deleted, and so it does in a list. So before
//! a task is failed for this, its PeonTask is read from the API server, past all caches.

use std::collections::BTreeMap;

use super::history_items::Suspect;
use super::view::Seen;

/// PeonTasks to verify, by uid.
#[derive(Debug, Default)]
pub(crate) struct Suspects {
    of: BTreeMap<String, (u64, Option<Seen>)>,
    next: u64,
}

impl Suspects {
    /// Adds a suspicion, with the PeonTask's last state. One that is added during verification gets a new number.
    pub(crate) fn add(&mut self, uid: &str, last: Option<Seen>) {
        let number = self.next;
        self.next += 1;
        let known = self.of.entry(uid.to_owned()).or_insert((number, None));
        *known = (number, last.or(known.1.take()));
    }

    /// Whether there is nothing to verify.
    pub(crate) fn is_empty(&self) -> bool {
        self.of.is_empty()
    }

    /// All suspects, with their numbers.
    pub(crate) fn all(&self) -> impl Iterator<Item = (&String, u64)> {
        self.of.iter().map(|(uid, (number, _))| (uid, *number))
    }

    /// The PeonTask existed when the suspicion had this number.
    pub(crate) fn refute(&mut self, doubt: &Suspect) {
        let is_same = |(number, _): &(u64, _)| *number == doubt.number;
        if self.of.get(&doubt.target.uid).is_some_and(is_same) {
            self.of.remove(&doubt.target.uid);
        }
    }

    /// The PeonTask is gone; returns its last state.
    pub(crate) fn confirm(&mut self, uid: &str) -> Option<Seen> {
        self.of.remove(uid).and_then(|(_, last)| last)
    }
}
