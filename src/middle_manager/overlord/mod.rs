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
use std::collections::BTreeMap;
use std::fmt::Write as _;
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
use super::http::credentials::Credentials;
use super::sync::forget;
use crate::druid::worker::{TaskLocation, TaskState, TaskStatus};
use decide::refusal::{OverlordError, Trouble};

/// Who leads is said at once, or it is a failure.
const PROMPTLY: Duration = Duration::from_secs(10);

/// How the overlord is reached.
#[derive(Debug, Clone)]
pub struct Settings {
    /// `http` or `https`, host, port, and where a proxy wants one a path: an overlord, a Service or router before it.
    pub url: String,
    /// Certificates in PEM that are trusted instead of the system's.
    pub ca: Option<Vec<u8>>,
    /// Whom to be. Needs `STATE` `READ` and `WRITE`, and to submit, read or end tasks `DATASOURCE` `WRITE`.
    pub credentials: Option<Credentials>,
    /// Who asks the given address which overlord leads, where that is not whom to be. Needs `STATE` `READ`.
    pub observer: Option<Credentials>,
}

/// Settings that cannot be right.
#[derive(Debug, thiserror::Error)]
pub enum InvalidSettings {
    /// The address.
    #[error("spec.overlord.url {url:?}: {why}")]
    Url {
        /// As it was given.
        url: String,
        /// What is wrong, and how it should be.
        why: String,
    },
    /// The certificates.
    #[error("spec.overlord.ca: {0}; its key `ca.crt` has to hold certificates in PEM")]
    Ca(String),
}

/// A task that was not submitted.
#[derive(Debug, thiserror::Error)]
pub enum SubmitError {
    /// There is a task of that id, perhaps this one: read its payload.
    #[error("{0}")]
    AlreadyExists(String),
    /// The overlord will never take it.
    #[error("the overlord refuses the task: {0}")]
    Refused(String),
    /// It does not let us.
    #[error(transparent)]
    NotAuthorized(OverlordError),
    /// It may or may not have been submitted: try again.
    #[error(transparent)]
    Unavailable(OverlordError),
}

/// A task that the overlord has taken.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Submitted {
    /// Its id, which Druid made up unless the task had one.
    #[serde(rename = "task")]
    pub id: String,
}

/// `TaskStatusPlus` of Druid: a task as the overlord sees it.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TaskReport {
    /// Its id.
    pub id: String,
    /// Its state.
    #[serde(rename = "statusCode")]
    pub state: TaskState,
    /// What the runner does with it: `WAITING`, `PENDING`, `RUNNING` or `NONE`.
    pub runner_status_code: Option<String>,
    /// Milliseconds that it ran; -1 while it runs.
    pub duration: Option<i64>,
    /// Where it is.
    pub location: Option<TaskLocation>,
    /// Why it failed.
    pub error_msg: Option<String>,
}

/// Asks the overlord.
#[derive(Debug, Clone)]
pub struct Overlord {
    way: HttpClient,
    answers: Answers,
}

impl Overlord {
    /// Asks the overlord at that address; nothing is connected yet.
    ///
    /// # Errors
    /// When the address or the certificates cannot be read.
    pub fn new(settings: &Settings) -> Result<Self, InvalidSettings> {
        Ok(Self {
            way: HttpClient::new(settings)?,
            answers: Answers::default(),
        })
    }

    /// What keeps the overlord, or a clone of this value, from answering what it is asked again and again: who leads, and
    /// what became of tasks. `None` where it answered the last time, or was not asked yet.
    #[must_use]
    pub fn trouble(&self) -> Option<Trouble> {
        self.answers.trouble()
    }

    /// The address of the overlord that leads; `None` while none does.
    ///
    /// # Errors
    /// When nobody says.
    pub async fn leader(&self) -> Result<Option<String>, OverlordError> {
        let leader = timeout(PROMPTLY, self.ask_for_the_leader()).await;
        let late = || format!("nobody said who leads for {} s", PROMPTLY.as_secs());
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
            other => {
                Err(answer.unexpected(&format!("the leader is said to be {}", refusal::shortened(other))))
            }
        }
    }

    /// The states of those tasks. One that is missing is unknown to the overlord, and may be forgotten; so are all where
    /// it knows nothing of such questions (404).
    ///
    /// # Errors
    /// When the overlord does not say.
    pub async fn task_status(&self, ids: &[String]) -> Result<BTreeMap<String, TaskStatus>, OverlordError> {
        if ids.is_empty() {
            // Druid refuses this question.
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

    /// Submits a task, as JSON.
    ///
    /// # Errors
    /// When it was not taken, or that is not sure.
    pub async fn submit(&self, task: &str) -> Result<Submitted, SubmitError> {
        let body = Bytes::copy_from_slice(task.as_bytes());
        let answer = self.way.ask(Method::POST, "task", Some(body)).await?;
        if answer.is_final_refusal() {
            // Another's refusal is not in these words, and says nothing of the task.
            match refusal::Refusal::read(&answer.body) {
                Some(said) if said.already_exists() => return Err(SubmitError::AlreadyExists(said.message)),
                Some(said) => return Err(SubmitError::Refused(said.message)),
                None => {}
            }
        }
        Ok(answer.success()?.json()?)
    }

    /// The task of that id as the overlord has it, as JSON with every number as it was; `None` where there is none.
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

    /// What the overlord knows of a task; `None` where there is none.
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

    /// Ends a task. Says whether there is one of that id.
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
        let path = format!("task/{}{what}", encoded(id));
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

/// An id as a part of a path. Everything that could mean something there is encoded: Druid takes `;` for the beginning
/// of a parameter.
fn encoded(id: &str) -> String {
    id.bytes().fold(String::new(), |mut text, byte| {
        if byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte) {
            text.push(char::from(byte));
        } else {
            let _ = write!(text, "%{byte:02X}");
        }
        text
    })
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
