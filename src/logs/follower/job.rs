//! The follower of one task, as the others see it.

use std::collections::BTreeMap;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::watch;

use super::collect::Goal;
use super::last_word::Farewell;
use super::{Follower, Owner, Shared};
use crate::logs::format::claim::Claimant;
use crate::logs::format::state::{Heard, LogState};

/// What is known of the logs of a task's attempts, by their numbers.
pub(super) type HeardOf = Arc<Mutex<BTreeMap<u32, Heard>>>;

pub(super) struct Job {
    pub(super) owner: Owner,
    pub(super) goal: watch::Sender<Goal>,
    pub(super) state: Arc<Mutex<LogState>>,
    pub(super) farewell: Arc<Mutex<Farewell>>,
    pub(super) heard: HeardOf,
}

impl Job {
    /// Whether the log is no longer read or written, whatever its last state.
    pub(super) fn is_over(&self) -> bool {
        self.goal.is_closed()
    }

    pub(super) fn is_settled(&self) -> bool {
        matches!(*self.state.lock(), LogState::Archived { .. } | LogState::Nothing)
    }
}

/// Begins to follow a task.
pub(super) fn begin(shared: &Arc<Shared>, owner: Owner) -> Job {
    let (sender, goal) = watch::channel(Goal::default());
    let state = Arc::new(Mutex::new(LogState::Queued));
    let farewell: Arc<Mutex<Farewell>> = Arc::default();
    let heard = HeardOf::default();
    let claimant = Claimant {
        namespace: owner.namespace.clone(),
        name: owner.name.clone(),
        uid: owner.uid.clone(),
        created: owner.created,
    };
    match shared.archive.of_claimant(&owner.task_id, claimant) {
        Ok(archive) => {
            let follower = Follower {
                shared: shared.clone(),
                state: state.clone(),
                farewell: farewell.clone(),
                heard: heard.clone(),
                owner: owner.clone(),
                archive,
                goal,
                writer: Some(shared.writers.begin(&owner.uid)),
            };
            tokio::spawn(follower.run());
        }
        Err(error) => {
            farewell.lock().over = true;
            *state.lock() = LogState::Failing {
                message: error.to_string(),
            };
        }
    }
    Job {
        owner,
        goal: sender,
        state,
        farewell,
        heard,
    }
}
