//! Rate limit for lists of Events (pure).
//!
//! A list of Events reads all Events that the cluster has in a namespace, whatever its selector: Events have no index
//! and, in an API server with default settings, no cache. So the number of lists must not follow the number of waiting
//! pods.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use parking_lot::Mutex;

/// Interval from one list to the next.
#[derive(Debug, Clone, Copy)]
pub struct Pause {
    /// For the process.
    pub process: Duration,
    /// For pods of one namespace; several times that of the process, so that other namespaces get their turn.
    pub namespace: Duration,
}

/// When Events may be listed again.
#[derive(Debug)]
pub struct EventBudget {
    pause: Pause,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    next: Option<Instant>,
    namespaces: HashMap<String, Instant>,
}

impl EventBudget {
    /// A budget with these pauses.
    #[must_use]
    pub fn new(pause: Pause) -> Self {
        Self {
            pause,
            state: Mutex::default(),
        }
    }

    /// Takes the right to list the Events of this namespace once, if they may be listed now.
    pub fn take(&self, namespace: &str, now: Instant) -> bool {
        let state = &mut *self.state.lock();
        if state.next.is_some_and(|next| now < next) {
            return false;
        }
        state.namespaces.retain(|_, next| now < *next);
        if state.namespaces.contains_key(namespace) {
            return false;
        }
        state.next = Some(now + self.pause.process);
        state
            .namespaces
            .insert(namespace.to_owned(), now + self.pause.namespace);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_namespace_that_asks_without_end_has_a_quarter() {
        let pause = Pause {
            process: Duration::from_secs(5),
            namespace: Duration::from_secs(20),
        };
        let (budget, start) = (EventBudget::new(pause), Instant::now());
        let (mut greedy, mut modest) = (0, 0);
        for tenth in 0..6000 {
            let now = start + Duration::from_millis(100 * tenth);
            greedy += u32::from(budget.take("greedy", now));
            // Somebody else asks now and then.
            modest += u32::from(tenth % 100 == 99 && budget.take("modest", now));
        }
        assert_eq!((greedy, modest), (30, 30));
        assert_eq!(budget.state.lock().namespaces.len(), 2);
    }
}
