//! Lanes: Druids of their own for cases that change or kill workers and overlord.

use std::sync::{Arc, Mutex, PoisonError};

use anyhow::Result;

use crate::testbed::fixture::Fixture;

/// Lanes of one fixture. They are made when they are needed, as many as cases run beside each other.
pub(super) struct Lanes {
    fixture: Arc<Fixture>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    free: Vec<Arc<Fixture>>,
    made: usize,
}

impl Lanes {
    /// None yet.
    pub(super) fn new(fixture: &Arc<Fixture>) -> Self {
        Self {
            fixture: Arc::clone(fixture),
            state: Mutex::default(),
        }
    }

    /// Runs a case in a lane that no other case has.
    pub(super) fn run(&self, case: fn(&Fixture) -> Result<()>) -> Result<()> {
        let taken = Taken {
            lane: self.take()?,
            lanes: self,
        };
        case(&taken.lane)
    }

    fn take(&self) -> Result<Arc<Fixture>> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(free) = state.free.pop() {
            return Ok(free);
        }
        state.made += 1;
        let name = state.made.to_string();
        drop(state);
        self.fixture.lane(&name).map(Arc::new)
    }
}

/// A lane that a case has; others may have it afterwards, however the case ends.
struct Taken<'a> {
    lane: Arc<Fixture>,
    lanes: &'a Lanes,
}

impl Drop for Taken<'_> {
    fn drop(&mut self) {
        let mut state = self.lanes.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.free.push(Arc::clone(&self.lane));
    }
}
