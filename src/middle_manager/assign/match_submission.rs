//! Gives an assignment to the PeonTask that it was submitted for.
//!
//! It first writes the chunks of the assigned task, which the PeonTask owns; then `status.submission`, which users
//! cannot write and which is the decision; then labels and annotations, by which the task is found from then on. If the
//! process dies in between, another one continues: with the overlord's next try or, once the decision is written,
//! without it.

use kube::api::{Patch, PatchParams};
use kube::{Api, Client, ResourceExt};

use super::decide::assignment::{self, Maker};
use super::decide::ensure::Matched;
use super::decide::matching::{self, Assignment, Match};
use super::decide::not_now::{NotNow, Unread};
use super::decide::provenance::Provenance;
use super::task_reader::TaskReader;
use crate::api::{PeonTask, Submission, SubmissionState};
use crate::apiserver::request::{PROMPT, request_within};
use crate::druid::worker::TaskFacts;
use crate::middle_manager::registry::announcement;
use crate::middle_manager::registry::identity::{Assigned, Ordinal};
use crate::middle_manager::submit::decide::submission;
use crate::payload::create;

/// An assignment that names the PeonTask for which it was submitted.
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
    /// Performs all steps. Repeating it completes what is missing.
    ///
    /// # Access control
    /// peontasks: get, patch. peontasks/status: patch. secrets, configmaps: get, create.
    ///
    /// # Errors
    /// When it is to be tried again.
    pub(crate) async fn run(&self) -> Result<Matched, NotNow> {
        let found = self.task_reader.task(&self.said.name, &self.said.uid).await;
        let found = found.map_err(|e| NotNow(e.to_string()))?;
        match Match::of(found, &self.maker.middle_manager, self.said, self.identity) {
            Match::Ended(why) => Ok(Matched::Ended(why)),
            Match::Refuse(task, why) => self.refuse(&task, &why).await,
            Match::Label(task, identity) => self.label(&task, identity).await,
            Match::Compare(task) => {
                let wanted = self.task_reader.of(&task).await;
                match matching::difference(wanted, self.said, self.json)? {
                    Some(why) => self.refuse(&task, &why).await,
                    None => self.label(&self.assign(&task).await?, self.identity).await,
                }
            }
        }
    }

    async fn label(&self, task: &PeonTask, identity: Ordinal) -> Result<Matched, NotNow> {
        let labelled = label(self.client, self.maker, task, identity, self.facts).await?;
        Ok(Matched::As(Box::new(labelled)))
    }

    /// The assignment belongs to another task, which gets its own PeonTask; this PeonTask never gets the id.
    async fn refuse(&self, task: &PeonTask, why: &str) -> Result<Matched, NotNow> {
        let name = task.name_any();
        tracing::warn!(
            task = name,
            task_id = self.facts.id,
            why,
            "the assigned task does not match the PeonTask that it names: it gets a PeonTask of its own"
        );
        if let Some(refused) = matching::refused(task, &self.facts.id) {
            self.record(task, &refused).await?;
        }
        Ok(Matched::Other)
    }

    /// Stores the assigned task and records that it belongs to this PeonTask.
    async fn assign(&self, task: &PeonTask) -> Result<PeonTask, NotNow> {
        let assignment = Assignment::of(task, self.json, self.maker.payload, self.identity)
            .map_err(|e| NotNow(format!("the assigned task cannot be stored: {e}")))?;
        let Assignment {
            name, chunks, kind, ..
        } = &assignment;
        for chunk in chunks.objects_named(name, task, *kind) {
            let made = create::create(self.client, &self.maker.namespace, *kind, chunk);
            let made = request_within(PROMPT, "create a chunk", made).await;
            made.map_err(|e| NotNow(format!("{name} cannot be created: {}", e.why())))?;
        }
        self.record(task, &assignment.submission).await
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

/// Completes what this process or another one decided before.
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
        // The operator's reading of the task is nearly as complete.
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

/// Writes labels and annotations of an assigned task to a PeonTask that a user created.
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

fn tasks(client: &Client, maker: &Maker) -> Api<PeonTask> {
    Api::namespaced(client.clone(), &maker.namespace)
}
