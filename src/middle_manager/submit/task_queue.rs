//! The overlord's requests that submitting needs.

use std::collections::BTreeMap;

use crate::druid::worker::TaskStatus;
use crate::middle_manager::overlord::decide::refusal::OverlordError;
use crate::middle_manager::overlord::{Overlord, SubmitError};

/// Requests to an overlord about submitted tasks.
pub trait TaskQueue: Send + Sync + 'static {
    /// Submits a task, as JSON.
    fn submit(&self, task: &str) -> impl Future<Output = Result<(), SubmitError>> + Send;

    /// The overlord's payload of the task with that id; `None` if there is none.
    fn payload(&self, id: &str) -> impl Future<Output = Result<Option<String>, OverlordError>> + Send;

    /// Ends a task, if it exists.
    fn shutdown(&self, id: &str) -> impl Future<Output = Result<(), OverlordError>> + Send;

    /// The state of tasks. Unknown tasks are absent.
    fn states(
        &self,
        ids: &[String],
    ) -> impl Future<Output = Result<BTreeMap<String, TaskStatus>, OverlordError>> + Send;
}

/// The overlord, called as two users.
#[derive(Debug, Clone)]
pub struct Queue {
    /// Called as the user of `submissions.authRef`, who needs `DATASOURCE` `READ` and `WRITE` on the tasks' datasources;
    /// without it no credentials are sent.
    pub submitter: Overlord,
    /// Called as the user of `authRef`: it reads states, which needs `STATE` and no right on any data.
    pub observer: Overlord,
}

impl TaskQueue for Queue {
    async fn submit(&self, task: &str) -> Result<(), SubmitError> {
        self.submitter.submit(task).await.map(drop)
    }

    async fn payload(&self, id: &str) -> Result<Option<String>, OverlordError> {
        self.submitter.payload(id).await
    }

    async fn shutdown(&self, id: &str) -> Result<(), OverlordError> {
        self.submitter.shutdown(id).await.map(drop)
    }

    async fn states(&self, ids: &[String]) -> Result<BTreeMap<String, TaskStatus>, OverlordError> {
        self.observer.task_status(ids).await
    }
}
