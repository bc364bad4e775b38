//! The overlord's queue of tasks, as far as PeonTasks of users are put into it.

use std::collections::BTreeMap;

use crate::druid::worker::TaskStatus;
use crate::middle_manager::overlord::decide::refusal::OverlordError;
use crate::middle_manager::overlord::{Overlord, SubmitError};

/// What an overlord is asked for submitted tasks.
pub trait TaskQueue: Send + Sync + 'static {
    /// Submits a task, as JSON.
    fn submit(&self, task: &str) -> impl Future<Output = Result<(), SubmitError>> + Send;

    /// The task of that id as the overlord has it; `None` where there is none.
    fn payload(&self, id: &str) -> impl Future<Output = Result<Option<String>, OverlordError>> + Send;

    /// Ends a task, where there is one.
    fn shutdown(&self, id: &str) -> impl Future<Output = Result<(), OverlordError>> + Send;

    /// What became of tasks. Those that it does not know are absent.
    fn states(
        &self,
        ids: &[String],
    ) -> impl Future<Output = Result<BTreeMap<String, TaskStatus>, OverlordError>> + Send;
}

/// The overlord as two users.
#[derive(Debug, Clone)]
pub struct Queue {
    /// As the user of `submissions.auth`, who needs `DATASOURCE` `READ` and `WRITE` on what the tasks name; nobody where
    /// there is none.
    pub submitter: Overlord,
    /// As the user of `auth`: it reads states, which needs `STATE` and no right on any data.
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
