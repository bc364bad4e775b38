//! Gives an assignment to the PeonTask that it was submitted for.
//!
//! First the chunks of what was assigned, which the PeonTask owns; then `status.submission`, which users may not write, and
//! which is the decision; then labels and annotations, by which the task is found from then on. Whoever died in between is
//! followed by one who goes on: with the next try of the overlord, or, once it is decided, without it.

use kube::api::{Patch, PatchParams};
use kube::{Api, Client, ResourceExt};
use sha2::{Digest, Sha256};

use super::decide::assignment::{self, Maker};
use super::decide::provenance::Provenance;
use super::task_reader::{TaskReader, Unread};
use crate::api::virtual_middle_manager::PayloadPlace;
use crate::api::{PeonTask, Submission, SubmissionState};
use crate::apiserver::request::{PROMPT, request_within};
use crate::digest::hex;
use crate::druid::worker::TaskFacts;
use crate::middle_manager::registry::identity::{Assigned, Ordinal};
use crate::middle_manager::registry::{DELETED, announcement};
use crate::middle_manager::submit::decide::submission::{self, Owner};
use crate::payload::chunks::{Chunks, Kind};
use crate::payload::create;

/// What came of giving an assignment to its PeonTask.
#[derive(Debug)]
pub(crate) enum Matched {
    /// It has it.
    As(Box<PeonTask>),
    /// It was ended before, for this reason.
    Ended(String),
    /// It is not that PeonTask's.
    Other,
}

/// It cannot be done for now.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(crate) struct NotNow(pub(crate) String);

/// An assignment that says for which PeonTask it was submitted.
pub(crate) struct SubmissionMatch<'a> {
    pub(crate) client: &'a Client,
    pub(crate) maker: &'a Maker,
    pub(crate) task_reader: &'a TaskReader,
    pub(crate) identity: Ordinal,
    pub(crate) facts: &'a TaskFacts,
    pub(crate) json: &'a str,
    pub(crate) said: &'a Provenance,
}

impl SubmissionMatch<'_> {
    /// Does all of it. Saying it again completes what is missing.
    ///
    /// # Access control
    /// peontasks: get, patch. peontasks/status: patch. secrets, configmaps: get, create.
    ///
    /// # Errors
    /// When it is to be tried again.
    pub(crate) async fn adopt(&self) -> Result<Matched, NotNow> {
        let found = self.task_reader.task(&self.said.name, &self.said.uid).await;
        let Some(task) = found.map_err(|e| NotNow(e.to_string()))? else {
            return Ok(Matched::Ended(DELETED.to_owned()));
        };
        match Owner::of(&task, &self.maker.middle_manager, self.said) {
            Owner::Ended(why) => return Ok(Matched::Ended(why)),
            Owner::Other(why) => return self.refuse(&task, why).await,
            Owner::Ours => {}
        }
        let decided = task.submission().filter(|s| s.state == SubmissionState::Assigned);
        let identity = decided.and_then(|s| s.identity).map_or(self.identity, Ordinal);
        let task = if decided.is_some() {
            task
        } else {
            if let Some(why) = self.difference(&task).await? {
                return self.refuse(&task, &why).await;
            }
            self.decide(&task).await?
        };
        let labelled = label(self.client, self.maker, &task, identity, self.facts).await?;
        Ok(Matched::As(Box::new(labelled)))
    }

    /// In which respect the assigned task is not the one that the user wants; `None` where it is.
    async fn difference(&self, task: &PeonTask) -> Result<Option<String>, NotNow> {
        match self.task_reader.of(task).await {
            Ok(document) if document.hash == self.said.task_hash => Ok(document.is_kept_in(self.json).err()),
            Ok(_) => Ok(Some("its PeonTask has another task by now".to_owned())),
            Err(Unread::Unavailable(why)) => Err(NotNow(why)),
            Err(gone @ (Unread::Deficient(_) | Unread::Forbidden(_) | Unread::Unfit(_))) => {
                Ok(Some(gone.to_string()))
            }
        }
    }

    /// The assignment is another task's, which gets a PeonTask of its own; this one never gets its id.
    async fn refuse(&self, task: &PeonTask, why: &str) -> Result<Matched, NotNow> {
        let name = task.name_any();
        tracing::warn!(
            task = name,
            task_id = self.facts.id,
            why,
            "an assignment does not belong to the PeonTask that it names"
        );
        let submission = task.submission().filter(|s| {
            s.task_id.as_ref() == Some(&self.facts.id) && !s.state.is_final() && !task.is_final()
        });
        if let Some(submission) = submission {
            self.record(task, &submission::id_conflict(Some(submission)))
                .await?;
        }
        Ok(Matched::Other)
    }

    async fn decide(&self, task: &PeonTask) -> Result<PeonTask, NotNow> {
        let never = |e: &dyn std::fmt::Display| NotNow(format!("the assigned task cannot be kept: {e}"));
        let chunks = Chunks::split(self.json.as_bytes()).map_err(|e| never(&e))?;
        let kind = match self.maker.payload {
            PayloadPlace::Secret => Kind::Secret,
            PayloadPlace::Inline => Kind::ConfigMap,
        };
        let name = chunk_name(task, self.json);
        for chunk in chunks.objects_named(&name, task, kind) {
            let made = create::create(self.client, &self.maker.namespace, kind, chunk);
            let made = request_within(PROMPT, "create a chunk", made).await;
            made.map_err(|e| NotNow(format!("{name} cannot be created: {}", e.why())))?;
        }
        let next = Submission {
            state: SubmissionState::Assigned,
            message: None,
            identity: Some(self.identity.0),
            assigned: Some(chunks.task_from(&name, kind)),
            ..task.submission().cloned().unwrap_or_default()
        };
        self.record(task, &next).await
    }

    async fn record(&self, task: &PeonTask, next: &Submission) -> Result<PeonTask, NotNow> {
        let (uid, version) = (task.uid(), task.resource_version());
        let patch = submission::record(uid.as_deref(), version.as_deref(), task.submission(), next)
            .map_err(|e| NotNow(e.to_string()))?;
        let (name, params) = (task.name_any(), PatchParams::default());
        let tasks = tasks(self.client, self.maker);
        let patch = Patch::Merge(patch);
        let write = tasks.patch_status(&name, &params, &patch);
        let answer = request_within(PROMPT, "patch peontask/status", write).await;
        answer.map_err(|e| NotNow(format!("PeonTask {name}: {}", e.why())))
    }
}

/// Completes what was decided before, by this process or another one.
///
/// # Access control
/// peontasks: patch. secrets, configmaps: get.
///
/// # Errors
/// When it is to be tried again.
pub(crate) async fn finish(
    client: &Client,
    maker: &Maker,
    task_reader: &TaskReader,
    task: &PeonTask,
) -> Result<Option<PeonTask>, NotNow> {
    let submission = task.submission().filter(|s| s.state == SubmissionState::Assigned);
    let Some((identity, from, id)) =
        submission.and_then(|s| Some((s.identity?, s.assigned.as_ref()?, s.task_id.clone()?)))
    else {
        return Ok(None);
    };
    let facts = match task_reader.text(task, from).await {
        Ok(json) => assignment::read(&Assigned { id, json }).0,
        Err(Unread::Unavailable(why)) => return Err(NotNow(why)),
        // What the operator read says nearly as much.
        Err(_) => {
            let status = task.status.clone().unwrap_or_default();
            let task_type = status.task_type.unwrap_or_default();
            announcement::facts(&id, &task_type, status.data_source.as_deref())
        }
    };
    label(client, maker, task, Ordinal(identity), &facts)
        .await
        .map(Some)
}

/// Labels and annotations of an assigned task, on the one that a user created.
async fn label(
    client: &Client,
    maker: &Maker,
    task: &PeonTask,
    identity: Ordinal,
    facts: &TaskFacts,
) -> Result<PeonTask, NotNow> {
    let patch = maker.label(task.uid().as_deref(), identity, facts);
    let (name, params) = (task.name_any(), PatchParams::default());
    let tasks = tasks(client, maker);
    let patch = Patch::Merge(patch);
    let answer = request_within(PROMPT, "patch peontask", tasks.patch(&name, &params, &patch)).await;
    answer.map_err(|e| NotNow(format!("PeonTask {name}: {}", e.why())))
}

/// The same for the same task, and another one for every other: chunks are never changed.
fn chunk_name(task: &PeonTask, json: &str) -> String {
    let hash = hex(&Sha256::digest(json.as_bytes()));
    format!("{}.{}", task.uid().unwrap_or_default(), &hash[..8])
}

fn tasks(client: &Client, maker: &Maker) -> Api<PeonTask> {
    Api::namespaced(client.clone(), &maker.namespace)
}
