//! The interface between the worker protocol's routes and the code that serves them.

use std::sync::Arc;

use axum::body::Body;

use crate::druid::worker::TaskAnnouncement;
use crate::middle_manager::registry::identity::{Assigned, Ordinal};
use crate::middle_manager::sync::long_poll::LongPoll;

/// Why an assignment was not accepted. The overlord repeats it twice and then waits for the announcement all the same.
#[derive(Debug, thiserror::Error)]
pub enum Refused {
    /// The task cannot be stored now. Answered with 503.
    #[error("{0}")]
    Unavailable(String),
    /// The task can never be stored. Answered with 400.
    #[error("{0}")]
    Invalid(String),
}

/// The API server cannot be asked.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct Unavailable(pub String);

/// The code behind the routes of every identity.
pub trait Backend: Send + Sync + 'static {
    /// Updates the identity's long poll from the cluster's current state, not from a cache. A complete state is
    /// answered only afterwards.
    fn refresh(&self, identity: Ordinal) -> impl Future<Output = Result<(), Unavailable>> + Send;

    /// Stores a task durably and announces it as running on the identity's long poll. A task that is already known is
    /// accepted without a change.
    fn assign(&self, identity: Ordinal, task: Assigned) -> impl Future<Output = Result<(), Refused>> + Send;

    /// Ends a task, which may be unknown; the order is in force when this returns. A task that is assigned after its
    /// shutdown does not run.
    fn shutdown(
        &self,
        identity: Ordinal,
        task_id: &str,
    ) -> impl Future<Output = Result<(), Unavailable>> + Send;

    /// Enables or disables the identity, and announces that on its long poll.
    fn enable(
        &self,
        identity: Ordinal,
        enabled: bool,
    ) -> impl Future<Output = Result<(), Unavailable>> + Send;

    /// The log of a task from `offset`: 0 for the whole log, positive for an offset, negative for the last bytes.
    /// `None` for a task that is not here; an empty body if nothing was written yet.
    fn log(&self, identity: Ordinal, task_id: &str, offset: i64)
    -> impl Future<Output = Option<Body>> + Send;
}

/// The change history of an identity: its pollers receive the changes at once and in this order.
pub trait Announce: Send + Sync + 'static {
    /// Announces the state of a task.
    fn announce(&self, announcement: TaskAnnouncement);

    /// Announces that the worker has forgotten a task. Never before its end was [`delivered`](Self::delivered).
    fn remove(&self, task_id: &str);

    /// Announces whether the worker takes tasks.
    fn disable(&self, disabled: bool);

    /// Whether an overlord has received the last announcement of a task.
    fn delivered(&self, task_id: &str) -> bool;
}

impl<L: Announce> Announce for Arc<L> {
    fn announce(&self, announcement: TaskAnnouncement) {
        (**self).announce(announcement);
    }

    fn remove(&self, task_id: &str) {
        (**self).remove(task_id);
    }

    fn disable(&self, disabled: bool) {
        (**self).disable(disabled);
    }

    fn delivered(&self, task_id: &str) -> bool {
        (**self).delivered(task_id)
    }
}

impl Announce for LongPoll {
    fn announce(&self, announcement: TaskAnnouncement) {
        self.announce(announcement);
    }

    fn remove(&self, task_id: &str) {
        self.remove(task_id);
    }

    fn disable(&self, disabled: bool) {
        self.disable(disabled);
    }

    fn delivered(&self, task_id: &str) -> bool {
        self.delivered(task_id)
    }
}
