//! Reads PeonTasks and their payloads from the API server.

use kube::{Api, Client, ResourceExt};

use super::decide::not_now::Unread;
use super::decide::provenance::Document;
use crate::api::{PeonTask, TaskFrom};
use crate::apiserver::error::chain;
use crate::apiserver::request::{PROMPT, request_within};
use crate::payload::chunks::{self, Absent};
use crate::payload::read::PayloadReader;

/// Reads PeonTasks of one namespace.
#[derive(Clone)]
pub struct TaskReader {
    tasks: Api<PeonTask>,
    payloads: PayloadReader,
    namespace: String,
}

impl TaskReader {
    /// A reader for this namespace.
    #[must_use]
    pub fn new(client: Client, namespace: &str) -> Self {
        Self {
            tasks: Api::namespaced(client.clone(), namespace),
            payloads: PayloadReader::new(client),
            namespace: namespace.to_owned(),
        }
    }

    /// The current PeonTask with this name and uid; `None` if there is none.
    ///
    /// # Access control
    /// peontasks: get.
    ///
    /// # Errors
    /// When the API server does not answer, or refuses.
    pub async fn task(&self, name: &str, uid: &str) -> Result<Option<PeonTask>, Unread> {
        let found = request_within(PROMPT, "get peontask", self.tasks.get_opt(name)).await;
        let found = found.map_err(|e| Unread::Unavailable(format!("PeonTask {name}: {}", e.why())))?;
        Ok(found.filter(|task| task.metadata.uid.as_deref() == Some(uid)))
    }

    /// The task that a user wants to run.
    ///
    /// # Access control
    /// configmaps, secrets: get.
    ///
    /// # Errors
    /// When it cannot be had, or cannot be submitted.
    pub async fn of(&self, task: &PeonTask) -> Result<Document, Unread> {
        let spec = &task.spec;
        let json = match (&spec.task, &spec.task_json, &spec.task_from) {
            (Some(given), _, _) => {
                let text = given.text();
                text.map_err(|beyond| Unread::Deficient(beyond.to_string()))?
                    .to_owned()
            }
            (None, Some(json), _) => json.clone(),
            (None, None, Some(from)) => self.text(task, from).await?,
            (None, None, None) => {
                let name = task.name_any();
                return Err(Unread::Deficient(format!("the PeonTask {name} has no payload")));
            }
        };
        Ok(Document::read(&json, &task.default_task_id())?)
    }

    /// The text in chunks of this task.
    ///
    /// # Access control
    /// configmaps, secrets: get.
    ///
    /// # Errors
    /// When it cannot be had.
    pub async fn text(&self, task: &PeonTask, from: &TaskFrom) -> Result<String, Unread> {
        let uid = task.metadata.uid.as_deref();
        let parts = self.payloads.read(&self.namespace, uid, from).await;
        let parts = parts.map_err(|e| Unread::Unavailable(chain(&e)))?;
        let parts = parts.map_err(|absent| match absent {
            Absent::Missing(_) => Unread::Deficient(absent.to_string()),
            Absent::Forbidden(what) => Unread::Forbidden(format!(
                "the pod of the VirtualMiddleManager may not read {what} of the payload: its role must allow get \
                 (middleManagers.submissions of the chart)"
            )),
        })?;
        let json = chunks::assemble(from, &parts).map_err(Unread::Deficient)?;
        String::from_utf8(json).map_err(|e| Unread::Deficient(e.to_string()))
    }
}
