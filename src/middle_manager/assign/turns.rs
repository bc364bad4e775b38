//! Assignments of one task follow each other; those of different tasks do not wait for each other.
//!
//! The same assignment may arrive twice at the same time. If both stored it, each would take the other's chunks for those
//! of an earlier PeonTask.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::OwnedMutexGuard;

type Lock = Arc<tokio::sync::Mutex<()>>;

/// The tasks that are being assigned, by id.
#[derive(Debug, Default)]
pub(crate) struct Turns(Mutex<HashMap<String, Lock>>);

impl Turns {
    /// Waits until no other assignment of the task has its turn. Cancel-safe.
    pub(crate) async fn take(&self, id: &str) -> Turn<'_> {
        let lock = self.0.lock().entry(id.to_owned()).or_default().clone();
        let mut turn = Turn {
            turns: self,
            id: id.to_owned(),
            lock,
            guard: None,
        };
        turn.guard = Some(turn.lock.clone().lock_owned().await);
        turn
    }
}

/// The turn of one assignment, or its place among those that wait. It ends with this value.
#[derive(Debug)]
pub(crate) struct Turn<'a> {
    turns: &'a Turns,
    id: String,
    lock: Lock,
    guard: Option<OwnedMutexGuard<()>>,
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        let mut tasks = self.turns.0.lock();
        self.guard = None;
        // The map's own, and this one: nobody waits.
        if Arc::strong_count(&self.lock) == 2 {
            tasks.remove(&self.id);
        }
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;

    use super::*;

    #[tokio::test]
    async fn one_follows_the_other_and_nothing_is_left() {
        let turns = Turns::default();
        let first = turns.take("a").await;
        let mut second = Box::pin(turns.take("a"));
        let mut third = Box::pin(turns.take("a"));
        assert!(second.as_mut().now_or_never().is_none());
        assert!(third.as_mut().now_or_never().is_none());
        assert!(turns.take("b").now_or_never().is_some(), "another task");
        drop(second);
        assert!(third.as_mut().now_or_never().is_none());
        drop(first);
        let third = third.now_or_never().unwrap();
        assert_eq!(turns.0.lock().len(), 1);
        drop(third);
        assert!(turns.0.lock().is_empty());
        // One that leaves after its turn has come, and before it has taken it.
        let first = turns.take("a").await;
        let mut second = Box::pin(turns.take("a"));
        assert!(second.as_mut().now_or_never().is_none());
        drop(first);
        drop(second);
        assert!(turns.0.lock().is_empty());
    }
}
