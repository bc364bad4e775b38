//! Which history entry a task that is gone gets, and who writes it.

use std::time::Duration;

use k8s_openapi::jiff::Timestamp;

use super::{Follower, Owner, finish};
use crate::logs::format::record::{Entry, LastWord};
use crate::logs::format::state::LogState;

/// Delay after a follower panicked, as it may panic again.
const AFTER_PANIC: Duration = Duration::from_secs(60);

/// Coordinates the two parties that may end a job: the last one writes the history of a task that is gone.
#[derive(Debug, Default)]
pub(super) struct Farewell {
    /// What is known of the task once it is gone.
    pub(super) word: Option<LastWord>,
    /// The history entry that was written for the task, with or without its log.
    pub(super) recorded: Option<Entry>,
    /// The follower has finished.
    pub(super) over: bool,
}

impl Farewell {
    /// The history entry of a task that is gone when its log is archived; `None` if the history has it, or the task is
    /// not gone.
    pub(super) fn entry(&self, owner: &Owner) -> Option<Entry> {
        let deleted = || finish::deleted(owner, Timestamp::now());
        match self.word.clone()? {
            LastWord::Recorded => None,
            LastWord::NoVerdict => Some(deleted()),
            LastWord::Final(entry) => Some(*entry),
            // Its verdict may be known all the same: the history does not get a different one.
            LastWord::None => Some(self.recorded.clone().unwrap_or_else(deleted)),
        }
    }
}

impl LastWord {
    /// The entry of a task whose log was archived before its object went; `None` if the history has it, or probably has
    /// it.
    pub(super) fn entry(self, owner: &Owner) -> Option<Entry> {
        match self {
            Self::None | Self::Recorded => None,
            Self::NoVerdict => Some(finish::deleted(owner, Timestamp::now())),
            Self::Final(entry) => Some(*entry),
        }
    }
}

impl Drop for Follower {
    /// A panic ends the work, too: a task that is gone is written to the history, and one that exists is tried again.
    fn drop(&mut self) {
        if !std::thread::panicking() {
            return;
        }
        let (is_gone, entry) = {
            let mut farewell = self.farewell.lock();
            if std::mem::replace(&mut farewell.over, true) {
                return;
            }
            (farewell.word.is_some(), farewell.entry(&self.owner))
        };
        tracing::error!(
            namespace = self.owner.namespace,
            task = self.owner.name,
            "the follower of the task's log panicked"
        );
        let state = LogState::Failing {
            message: "a bug in the operator ended the reading of the log: please report it".to_owned(),
        };
        self.state.lock().clone_from(&state);
        let Ok(runtime) = tokio::runtime::Handle::try_current() else {
            return;
        };
        let (shared, owner) = (self.shared.clone(), self.owner.clone());
        runtime.spawn(async move {
            if let Some(entry) = entry {
                finish::record_gone(&shared, entry, &state).await;
            } else if !is_gone {
                tokio::time::sleep(AFTER_PANIC).await;
                (shared.wake)(&owner.namespace, &owner.name);
            }
        });
    }
}
