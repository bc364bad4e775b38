//! Requests to the overlord: the state and payload of tasks, submitting and shutting down tasks.
//!
//! Every request goes to the configured address. An overlord that does not lead redirects to the one that does, and a
//! router forwards; so no state is needed when the leader changes.

pub mod decide;

#[cfg(test)]
mod fixtures;
mod health;
mod http_client;

use decide::refusal;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use bytes::Bytes;
use http::{Method, StatusCode};
use reqwest::Url;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::value::RawValue;
use tokio::time::timeout;

use self::health::Answers;
use self::http_client::HttpClient;
use super::sync::forget;
use crate::druid::worker::{TaskLocation, TaskState, TaskStatus};
use crate::druid::{error_body, task_id};
use crate::druid_http::connection::InvalidCa;
use crate::druid_http::credentials::Credentials;
use decide::refusal::{OverlordError, Trouble};

/// Time limit for asking which overlord leads, and for its workers.
const PROMPTLY: Duration = Duration::from_secs(10);

/// Most bytes of the list of workers, which names their running tasks: some 80,000 of them.
const MOST_OF_WORKERS: usize = 8 << 20;

/// Connection settings of the overlord.
#[derive(Debug, Clone)]
pub struct Settings {
    /// `http` or `https`, host, port and, if a proxy requires one, a path: an overlord, or a Service or router in front
    /// of it.
    pub url: String,
    /// Certificates in PEM that are trusted instead of the system's.
    pub ca: Option<Vec<u8>>,
    /// Credentials. The user needs `STATE` `READ` and `WRITE` and, to submit, read or end tasks, `DATASOURCE` `WRITE`.
    pub credentials: Option<Credentials>,
    /// Credentials for asking the given address which overlord leads, if they differ. The user needs `STATE` `READ`.
    pub observer: Option<Credentials>,
}

/// Invalid settings.
#[derive(Debug, thiserror::Error)]
pub enum InvalidSettings {
    /// The address.
    #[error("spec.overlord.url {url:?}: {why}")]
    Url {
        /// The given value.
        url: String,
        /// The error, and the expected form.
        why: String,
    },
    /// The certificates.
    #[error("spec.overlord.caRef: {0}; its key `ca.crt` must contain certificates in PEM")]
    Ca(#[from] InvalidCa),
}

/// Why a task was not submitted.
#[derive(Debug, thiserror::Error)]
pub enum SubmitError {
    /// A task with that id exists, perhaps this one: read its payload.
    #[error("{0}")]
    AlreadyExists(String),
    /// The overlord will never accept the task.
    #[error("the overlord refuses the task: {0}")]
    Refused(String),
    /// The overlord denies access.
    #[error(transparent)]
    NotAuthorized(OverlordError),
    /// The task may or may not have been submitted: try again.
    #[error(transparent)]
    Unavailable(OverlordError),
}

/// A task that the overlord has accepted.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Submitted {
    /// Id of the task, which Druid generated unless the task had one.
    #[serde(rename = "task")]
    pub id: String,
}

/// `TaskStatusPlus` of Druid: a task as the overlord sees it.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TaskReport {
    /// Id of the task.
    pub id: String,
    /// State of the task.
    #[serde(rename = "statusCode")]
    pub state: TaskState,
    /// State of the task in the runner: `WAITING`, `PENDING`, `RUNNING` or `NONE`.
    pub runner_status_code: Option<String>,
    /// Duration in milliseconds; -1 while the task runs.
    pub duration: Option<i64>,
    /// Location of the task.
    pub location: Option<TaskLocation>,
    /// Why the task failed.
    pub error_msg: Option<String>,
}

/// Client of the overlord.
#[derive(Debug, Clone)]
pub struct Overlord {
    way: HttpClient,
    answers: Answers,
}

impl Overlord {
    /// A client of the overlord at that address; it does not connect yet.
    ///
    /// # Errors
    /// When the address or the certificates cannot be read.
    pub fn new(settings: &Settings) -> Result<Self, InvalidSettings> {
        Ok(Self {
            way: HttpClient::new(settings)?,
            answers: Answers::default(),
        })
    }

    /// The error, if this value or a clone of it got no answer to its last periodic request: which overlord leads, or
    /// the state of tasks. `None` if the last one was answered, or there was none yet.
    #[must_use]
    pub fn trouble(&self) -> Option<Trouble> {
        self.answers.trouble()
    }

    /// The address of the leading overlord; `None` while none leads.
    ///
    /// # Errors
    /// When nobody says.
    pub async fn leader(&self) -> Result<Option<String>, OverlordError> {
        let leader = timeout(PROMPTLY, self.ask_for_the_leader()).await;
        let late = || {
            format!(
                "no answer within {} s to the question which overlord leads",
                PROMPTLY.as_secs()
            )
        };
        let leader = leader.unwrap_or_else(|_| Err(self.way.unavailable(&late())));
        self.answers.note("leader", leader.as_ref().err());
        leader
    }

    async fn ask_for_the_leader(&self) -> Result<Option<String>, OverlordError> {
        let answer = self.way.ask(Method::GET, "leader", None).await?.success()?;
        let text = String::from_utf8_lossy(&answer.body);
        match text.trim() {
            "" => Ok(None),
            url if Url::parse(url).is_ok_and(|u| u.has_host()) => Ok(Some(url.to_owned())),
            other => Err(answer.unexpected(&format!(
                "it names {} as the leader",
                error_body::shortened(other)
            ))),
        }
    }

    /// The states of these tasks. A missing task is unknown to the overlord, and may be forgotten; so are all tasks if
    /// the overlord does not know the request (404).
    ///
    /// # Errors
    /// When the overlord does not say.
    pub async fn task_status(&self, ids: &[String]) -> Result<BTreeMap<String, TaskStatus>, OverlordError> {
        if ids.is_empty() {
            // Druid refuses an empty list.
            return Ok(BTreeMap::new());
        }
        let states = self.ask_for_states(ids).await;
        self.answers.note("taskStatus", states.as_ref().err());
        states
    }

    async fn ask_for_states(&self, ids: &[String]) -> Result<BTreeMap<String, TaskStatus>, OverlordError> {
        let ids = serde_json::to_vec(ids).map_err(|e| self.way.unavailable(&e.to_string()))?;
        let answer = self.way.ask(Method::POST, "taskStatus", Some(ids.into())).await?;
        if answer.status == StatusCode::NOT_FOUND {
            return Ok(BTreeMap::new());
        }
        answer.success()?.json()
    }

    /// `host:port` of all workers that the overlord assigns tasks to, or would if they were enabled:
    /// `GET /druid/indexer/v1/workers`. The user needs `STATE` `READ`.
    ///
    /// # Errors
    /// When the overlord does not say within ten seconds, or in more than 8 MiB.
    pub async fn workers(&self) -> Result<BTreeSet<String>, OverlordError> {
        #[derive(Deserialize)]
        struct Listed {
            worker: Worker,
        }
        #[derive(Deserialize)]
        struct Worker {
            host: String,
        }
        let way = &self.way;
        let answer = way.ask_within(PROMPTLY, MOST_OF_WORKERS, Method::GET, "workers", None);
        let workers: Vec<Listed> = answer.await?.success()?.json()?;
        Ok(workers.into_iter().map(|listed| listed.worker.host).collect())
    }

    /// Submits a task, as JSON.
    ///
    /// # Errors
    /// When it was not taken, or that is not sure.
    pub async fn submit(&self, task: &str) -> Result<Submitted, SubmitError> {
        let body = Bytes::copy_from_slice(task.as_bytes());
        let answer = self.way.ask(Method::POST, "task", Some(body)).await?;
        if answer.is_final_refusal() {
            // A refusal by another server is not in this format, and says nothing about the task.
            match error_body::Refusal::read(&answer.body) {
                Some(said) if said.already_exists() => return Err(SubmitError::AlreadyExists(said.message)),
                Some(said) => return Err(SubmitError::Refused(said.message)),
                None => {}
            }
        }
        Ok(answer.success()?.json()?)
    }

    /// The overlord's payload of the task with that id, as JSON with unchanged numbers; `None` if there is none.
    ///
    /// # Errors
    /// When the overlord does not say.
    pub async fn payload(&self, id: &str) -> Result<Option<String>, OverlordError> {
        #[derive(Deserialize)]
        struct Held {
            payload: Option<Box<RawValue>>,
        }
        let held: Option<Held> = self.of_task(Method::GET, id, "").await?;
        Ok(held
            .and_then(|held| held.payload)
            .map(|payload| payload.get().to_owned()))
    }

    /// The overlord's status of a task; `None` if there is none.
    ///
    /// # Errors
    /// When the overlord does not say.
    pub async fn status(&self, id: &str) -> Result<Option<TaskReport>, OverlordError> {
        #[derive(Deserialize)]
        struct Held {
            status: Option<TaskReport>,
        }
        let held: Option<Held> = self.of_task(Method::GET, id, "/status").await?;
        Ok(held.and_then(|held| held.status))
    }

    /// Ends a task. Returns whether a task with that id exists.
    ///
    /// # Errors
    /// When it may not have been ended.
    pub async fn shutdown(&self, id: &str) -> Result<bool, OverlordError> {
        let ended: Option<Submitted> = self.of_task(Method::POST, id, "/shutdown").await?;
        Ok(ended.is_some())
    }

    async fn of_task<T: DeserializeOwned>(
        &self,
        method: Method,
        id: &str,
        what: &str,
    ) -> Result<Option<T>, OverlordError> {
        let path = format!("task/{}{what}", task_id::path_segment(id));
        let answer = self.way.ask(method, &path, None).await?;
        if answer.status == StatusCode::NOT_FOUND && refusal::is_of_unknown_task(&answer.body) {
            return Ok(None);
        }
        answer.success()?.json().map(Some)
    }
}

impl forget::Overlord for Overlord {
    type Error = OverlordError;

    async fn task_status(
        &self,
        ids: &[String],
    ) -> Result<Option<BTreeMap<String, TaskState>>, OverlordError> {
        let known = self.task_status(ids).await?;
        Ok(Some(
            known
                .into_iter()
                .map(|(id, status)| (id, status.status))
                .collect(),
        ))
    }
}

impl From<OverlordError> for SubmitError {
    fn from(error: OverlordError) -> Self {
        match error {
            OverlordError::NotAuthorized { .. } => Self::NotAuthorized(error),
            OverlordError::Unavailable { .. } | OverlordError::Unexpected { .. } => Self::Unavailable(error),
        }
    }
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
