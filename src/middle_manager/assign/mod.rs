//! The backend of a virtual MiddleManager's routes: each assignment is stored durably as a PeonTask before it is
//! acknowledged.

pub mod decide;
pub(crate) mod ensure_task;
pub(crate) mod match_submission;
pub(crate) mod repair_payload;
pub mod task_reader;
pub(crate) mod turns;

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use futures::StreamExt;
use kube::api::{ListParams, Patch, PatchParams};
use kube::{Api, Client, ResourceExt};
use serde_json::json;
use tokio::time::Instant;

use super::http::backend::{Announce, Backend, Refused, Unavailable};
use super::registry::history_items::Target;
use super::registry::identity::{Assigned, Ordinal};
use super::registry::view::{Seen, TaskView};
use super::sync::lists::Lists;
use super::sync::task_log::TaskLogs;
use super::sync::tasks::{GuardedTask, Tasks};
use crate::api::PeonTask;
use crate::apiserver::backoff::Backoff;
use crate::apiserver::classify::decode;
use crate::apiserver::request::{PROMPT, request_within};
use crate::clock::Clock;
use crate::druid::worker::TaskFacts;
use decide::assignment::Maker;
use decide::ensure::{Kept, pause};
use decide::not_now::NotNow;
use decide::requests::{self, Assignment, Listing, Shutdown};
use ensure_task::Attempt;
use repair_payload::PayloadRepair;
use task_reader::TaskReader;
use turns::Turns;

/// How long storing an assignment is tried. The overlord waits for a minute before it sends it again.
pub const ASSIGNMENT: Duration = Duration::from_secs(50);
/// Time limit of one list, including all pages: there may be thousands of PeonTasks.
const LIST: Duration = Duration::from_secs(60);
/// PeonTasks that are cancelled at the same time.
const CANCELS: usize = 8;

/// The backend of the routes.
pub struct Assigner<L> {
    client: Client,
    maker: Maker,
    tasks: Arc<Tasks<L>>,
    lists: Lists,
    completion: PayloadRepair,
    turns: Turns,
    logs: TaskLogs,
    /// Failures of verifying suspects, by uid.
    suspects: Backoff,
    /// Failures of cancelling, by uid.
    refused_cancels: Backoff,
}

impl<L: Announce> Assigner<L> {
    /// An assigner that adds to `tasks`.
    #[must_use]
    pub fn new(client: Client, maker: Maker, tasks: Arc<Tasks<L>>) -> Self {
        let logs = TaskLogs::new(client.clone(), &maker.namespace);
        let completion = PayloadRepair::new(client.clone(), &maker.namespace);
        Self {
            client,
            maker,
            tasks,
            lists: Lists::default(),
            completion,
            turns: Turns::default(),
            logs,
            suspects: Backoff::default(),
            refused_cancels: Backoff::default(),
        }
    }

    /// The tasks.
    #[must_use]
    pub fn tasks(&self) -> &Arc<Tasks<L>> {
        &self.tasks
    }

    pub(super) fn client(&self) -> &Client {
        &self.client
    }

    pub(super) fn suspects(&self) -> &Backoff {
        &self.suspects
    }

    pub(super) fn maker(&self) -> &Maker {
        &self.maker
    }

    /// Completes an earlier decision that an assignment belongs to this PeonTask.
    ///
    /// # Access control
    /// peontasks: patch. secrets, configmaps: get.
    ///
    /// # Errors
    /// When it is to be tried again.
    pub(super) async fn finish(&self, task: &PeonTask, task_reader: &TaskReader) -> Result<(), NotNow> {
        if let Some(task) = match_submission::finish(&self.client, &self.maker, task_reader, task).await? {
            self.acknowledge(task);
        }
        Ok(())
    }

    fn acknowledge(&self, task: PeonTask) {
        if let Some(seen) = Seen::of(&TaskView::from(task)) {
            self.tasks.tell(|known, now| known.acknowledge(seen, now));
        }
    }

    #[cfg(test)]
    pub(super) fn logs(&self) -> &TaskLogs {
        &self.logs
    }

    pub(super) fn api(&self) -> Api<GuardedTask> {
        Api::namespaced(self.client.clone(), &self.maker.namespace)
    }

    /// Lists the current PeonTasks of all identities, and announces changes on the identities' long polls.
    ///
    /// # Access control
    /// peontasks: list.
    ///
    /// # Errors
    /// When the API server does not answer, or refuses.
    pub async fn list(&self) -> Result<(), Unavailable> {
        let list = self.lists.one_from_now(async {
            let listed = request_within(LIST, "list peontasks", self.pages()).await;
            let Listing { tasks, version } = listed.map_err(|e| e.why())?;
            self.tasks.tell(|known, now| known.listed(tasks, version, now));
            Ok(())
        });
        let listed: Result<(), String> = list.await;
        listed.map_err(|why| Unavailable(format!("the PeonTasks cannot be listed: {why}")))
    }

    async fn pages(&self) -> kube::Result<Listing> {
        // Without a resource version the API server answers with the most recent state.
        let mut params = ListParams::default()
            .labels(&self.maker.selector())
            .limit(decode::PAGE);
        let mut listing = Listing::default();
        loop {
            params.continue_token = listing.add(self.api().list(&params).await?);
            if params.continue_token.is_none() {
                return Ok(listing);
            }
        }
    }

    /// Cancels a PeonTask. Idempotent.
    ///
    /// # Access control
    /// peontasks: patch.
    ///
    /// # Errors
    /// When the API server does not answer, or refuses.
    pub(super) async fn cancel(&self, target: &Target) -> Result<(), Unavailable> {
        let patch = json!({"metadata": {"uid": target.uid}, "spec": {"cancel": true}});
        self.patch(target, patch).await
    }

    /// Applies a merge patch to exactly this PeonTask and records the result.
    ///
    /// # Access control
    /// peontasks: patch.
    pub(super) async fn patch(&self, target: &Target, patch: serde_json::Value) -> Result<(), Unavailable> {
        let (api, params, patch) = (self.api(), PatchParams::default(), Patch::Merge(patch));
        let write = api.patch(&target.name, &params, &patch);
        match request_within(PROMPT, "patch peontask", write).await {
            Ok(task) => {
                if let Some(seen) = Seen::guarded(&task) {
                    self.tasks.tell(|known, now| known.see(seen, now));
                }
                Ok(())
            }
            Err(error) if error.code() == Some(404) => {
                self.tasks.tell(|known, now| known.gone(&target.uid, None, now));
                Ok(())
            }
            Err(error) => Err(Unavailable(format!("PeonTask {}: {}", target.name, error.why()))),
        }
    }

    /// Cancels all PeonTasks that are due to be cancelled. A request that is refused, or not answered, does not delay
    /// the others.
    pub(super) async fn cancel_all(&self) {
        let now = self.tasks.clock().instant();
        let mut targets = self.tasks.ask(|known, _| known.to_cancel());
        targets.retain(|target| self.refused_cancels.held(&target.uid, now).is_none());
        futures::stream::iter(targets)
            .for_each_concurrent(CANCELS, |target| async move {
                // The outage is not logged for each task.
                if !self.tasks.gate(|gate, now| gate.is_lost(now)) {
                    self.try_cancel(&target).await;
                }
            })
            .await;
    }

    async fn try_cancel(&self, target: &Target) {
        match self.cancel(target).await {
            Ok(()) => self.refused_cancels.clear(&target.uid),
            Err(error) => {
                let now = self.tasks.clock().instant();
                self.refused_cancels.failed(&target.uid, now);
                tracing::warn!(%error, "the PeonTask of a task that the overlord shut down cannot be \
                    cancelled; it is tried again");
            }
        }
    }

    fn fail(&self, identity: Ordinal, facts: &TaskFacts, message: &str) {
        tracing::warn!(
            task_id = facts.id,
            message,
            "the assigned task is reported as FAILED"
        );
        self.tasks
            .tell(|known, now| known.fail(identity, facts, message, now));
    }

    /// Stores a task, and tries until `deadline`, for as long as the overlord waits.
    async fn keep(
        &self,
        identity: Ordinal,
        facts: &TaskFacts,
        json: &str,
        deadline: Instant,
    ) -> Result<Kept, Refused> {
        let clock: &Clock = self.tasks.clock();
        let mut attempt = Attempt::new(&self.client, &self.maker, clock, identity, facts, json);
        let mut why = "the API server does not answer".to_owned();
        for tries in 0.. {
            match tokio::time::timeout_at(deadline, attempt.go_on()).await {
                Ok(Ok(kept)) => {
                    self.tasks.gate(|gate, _| gate.kept());
                    return Ok(kept);
                }
                Ok(Err(not_now)) => {
                    why = not_now.to_string();
                    self.tasks.gate(super::registry::reachability::Gate::not_kept);
                    tracing::warn!(
                        task_id = facts.id,
                        why,
                        "the assigned task cannot be stored as a PeonTask yet"
                    );
                }
                Err(_) => {}
            }
            match pause(tries, deadline.saturating_duration_since(Instant::now())) {
                Some(pause) => tokio::time::sleep(pause).await,
                None => break,
            }
        }
        if let Some(new) = attempt.incomplete() {
            self.completion.start(new);
        }
        Err(Refused::Unavailable(why))
    }
}

/// # Access control
/// peontasks: create, get, list, patch. secrets, configmaps: create.
/// pods/log: get.
impl<L: Announce> Backend for Assigner<L> {
    async fn refresh(&self, _: Ordinal) -> Result<(), Unavailable> {
        self.tasks.pods_listed().await?;
        self.list().await
    }

    async fn assign(&self, identity: Ordinal, task: Assigned) -> Result<(), Refused> {
        let deadline = Instant::now() + ASSIGNMENT;
        let turn = tokio::time::timeout_at(deadline, self.turns.take(&task.id)).await;
        let _turn = turn.map_err(|_| {
            Refused::Unavailable("the same task is being stored for an earlier assignment".to_owned())
        })?;
        let before = self.tasks.ask(|known, now| known.before(identity, &task.id, now));
        let facts = match requests::assignment(before, &task) {
            Assignment::Known => return Ok(()),
            Assignment::Fail(facts, why) => {
                self.fail(identity, &facts, &why);
                return Ok(());
            }
            Assignment::Store(facts) => facts,
        };
        match self.keep(identity, &facts, &task.json, deadline).await? {
            Kept::Never(message) => self.fail(identity, &facts, &message),
            Kept::As(task) => {
                let uid = task.uid().unwrap_or_default();
                self.acknowledge(*task);
                // The task may have been shut down meanwhile. The overlord need not wait for other tasks.
                let own = self.tasks.ask(|known, _| known.to_cancel());
                if let Some(own) = own.iter().find(|target| target.uid == uid) {
                    self.try_cancel(own).await;
                }
            }
        }
        Ok(())
    }

    async fn shutdown(&self, identity: Ordinal, task_id: &str) -> Result<(), Unavailable> {
        for is_listed in [false, true] {
            let order = self.tasks.ask(|known, now| known.order(identity, task_id, now));
            match requests::shutdown(order, is_listed) {
                Shutdown::Done => break,
                Shutdown::Cancel(target) => return self.cancel(&target).await,
                Shutdown::List => self.list().await?,
            }
        }
        Ok(())
    }

    async fn enable(&self, identity: Ordinal, enabled: bool) -> Result<(), Unavailable> {
        self.tasks.gate(|gate, _| gate.enable(identity, enabled));
        Ok(())
    }

    async fn log(&self, identity: Ordinal, task_id: &str, offset: i64) -> Option<Body> {
        let log = self.tasks.ask(|known, _| known.log(identity, task_id));
        self.logs.read(log, offset).await
    }
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;

#[cfg(test)]
#[path = "cancel_tests.rs"]
mod cancel_tests;

#[cfg(test)]
#[path = "overlap_tests.rs"]
mod overlap_tests;
