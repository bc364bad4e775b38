//! PeonTasks that seem to be gone while their tasks run (pure).
//!
//! A watch that selects by label tells of an object that lost its label as of one that was deleted, and so does a list.
//! So whoever would fail a task for it looks first, past all caches, whether its PeonTask is there.

use std::collections::BTreeMap;

use super::history_items::Suspect;
use super::view::Seen;

/// What is to be looked at, by uid.
#[derive(Debug, Default)]
pub(crate) struct Suspects {
    of: BTreeMap<String, (u64, Option<Seen>)>,
    next: u64,
}

impl Suspects {
    /// There is a reason to look, and what the PeonTask was last. One that comes while somebody looks counts anew.
    pub(crate) fn add(&mut self, uid: &str, last: Option<Seen>) {
        let number = self.next;
        self.next += 1;
        let known = self.of.entry(uid.to_owned()).or_insert((number, None));
        *known = (number, last.or(known.1.take()));
    }

    /// Nothing is to be looked at.
    pub(crate) fn is_empty(&self) -> bool {
        self.of.is_empty()
    }

    /// All of them, with their numbers.
    pub(crate) fn all(&self) -> impl Iterator<Item = (&String, u64)> {
        self.of.iter().map(|(uid, (number, _))| (uid, *number))
    }

    /// It is there, as was seen when the doubt had this number.
    pub(crate) fn refute(&mut self, doubt: &Suspect) {
        let is_same = |(number, _): &(u64, _)| *number == doubt.number;
        if self.of.get(&doubt.target.uid).is_some_and(is_same) {
            self.of.remove(&doubt.target.uid);
        }
    }

    /// It is gone; what it was last.
    pub(crate) fn confirm(&mut self, uid: &str) -> Option<Seen> {
        self.of.remove(uid).and_then(|(_, last)| last)
    }
}
