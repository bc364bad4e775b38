//! What the worker protocol is served from.

use std::sync::Arc;

use axum::body::Body;

use crate::druid::worker::TaskAnnouncement;
use crate::middle_manager::registry::identity::{Assigned, Ordinal};
use crate::middle_manager::sync::long_poll::LongPoll;

/// Why an assignment was not taken. The overlord repeats it twice and then waits for the announcement all the same.
#[derive(Debug, thiserror::Error)]
pub enum Refused {
    /// The task cannot be kept now. Answered with 503.
    #[error("{0}")]
    Unavailable(String),
    /// The task can never be kept. Answered with 400.
    #[error("{0}")]
    Invalid(String),
}

/// The cluster cannot be asked.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct Unavailable(pub String);

/// What stands behind the routes of every identity.
pub trait Backend: Send + Sync + 'static {
    /// Makes the identity's line say what the cluster knows at this moment, not what a cache remembers. A complete
    /// state is answered only after it.
    fn refresh(&self, identity: Ordinal) -> impl Future<Output = Result<(), Unavailable>> + Send;

    /// Keeps a task, durably, and announces it as running on the identity's line. A task that is known is taken again
    /// without a change.
    fn assign(&self, identity: Ordinal, task: Assigned) -> impl Future<Output = Result<(), Refused>> + Send;

    /// Ends a task, which may be unknown; the order stands when this returns. A task that is assigned after its
    /// shutdown does not run.
    fn shutdown(
        &self,
        identity: Ordinal,
        task_id: &str,
    ) -> impl Future<Output = Result<(), Unavailable>> + Send;

    /// Enables or disables the identity, and announces that on its line.
    fn enable(
        &self,
        identity: Ordinal,
        enabled: bool,
    ) -> impl Future<Output = Result<(), Unavailable>> + Send;

    /// The log of a task from `offset`: 0 the whole, positive from there, negative the last bytes. `None` for a task
    /// that is not here; an empty body where nothing was written yet.
    fn log(&self, identity: Ordinal, task_id: &str, offset: i64)
    -> impl Future<Output = Option<Body>> + Send;
}

/// The line of an identity: what is said here is told to whoever polls its worker, at once and in this order.
pub trait Announce: Send + Sync + 'static {
    /// Says this of a task, from now on.
    fn announce(&self, announcement: TaskAnnouncement);

    /// Says that the worker has forgotten a task. Never before its end was [`delivered`](Self::delivered).
    fn remove(&self, task_id: &str);

    /// Says whether the worker takes tasks.
    fn disable(&self, disabled: bool);

    /// Whether an overlord has received what was last said of a task.
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
