//! The only effects of the PeonTask controller.

use std::fmt::Debug;
use std::sync::{Arc, OnceLock};

use k8s_openapi::api::core::v1::{ConfigMap, Pod};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use k8s_openapi::jiff::Timestamp;
use kube::api::{DeleteParams, Patch, PatchParams, PostParams, Preconditions, PropagationPolicy};
use kube::core::{NamespaceResourceScope, Request};
use kube::runtime::events::{Event, EventType, Recorder};
use kube::{Api, Client, Resource, ResourceExt};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::live_read::LiveReader;
use crate::api::status_patch::replacing;
use crate::api::{PeonTask, PeonTaskStatus, TaskKind, TaskSlot};
use crate::apiserver::classify::refusal::Creation;
use crate::apiserver::create_pod::create_pod;
use crate::apiserver::identity::{self, Identity};
use crate::apiserver::request::{RequestError, TIMEOUT, create_within, request};
use crate::apiserver::status::patch_status;
use crate::clock::Clock;
use crate::druid::rows_in_memory::RowsInMemory;
use crate::logs::follower::{Followers, Owner};
use crate::process::leadership::{Leadership, NotLeader};
use crate::task::accept::{self, placement};
use crate::task::aggregates::fair_share::{Shares, Wake};
use crate::task::aggregates::idle_indexers::Asker;
use crate::task::aggregates::slots::Who;
use crate::task::aggregates::{TaskAggregates, payload_budget};
use crate::task::cached_task::GuardedTask;
use crate::task::decide::plan::{Action, task_id};
use crate::task::indexers::Indexers;
use crate::task::run::pod::run::StopPod;
use crate::task::run::worker::IndexerSeen;
use crate::task::run::worker::claim::WorkerClaim;
use crate::task::snapshot::Snapshot;

mod accepted_posts;
mod read;
mod worker;

use accepted_posts::AcceptedPosts;

/// An effect failed: the pass is repeated later.
#[derive(Debug, thiserror::Error)]
pub enum ActError {
    /// This process no longer leads: nothing was done.
    #[error("this process is not the leader")]
    NotLeader,
    /// A request failed.
    #[error(transparent)]
    Request(#[from] RequestError),
    /// The plan did not settle: a bug.
    #[error("the plan returned more than {0} actions in one pass: please report this bug")]
    Unsettled(usize),
    /// A pass panicked: a bug.
    #[error("a bug in the operator ended the pass: {0}; please report it")]
    Panicked(String),
}

impl From<NotLeader> for ActError {
    fn from(_: NotLeader) -> Self {
        Self::NotLeader
    }
}

impl ActError {
    /// A label for metrics.
    #[must_use]
    pub fn label(&self) -> &'static str {
        match self {
            Self::NotLeader => "not_leader",
            Self::Request(error) => error.label(),
            Self::Unsettled(_) => "unsettled",
            Self::Panicked(_) => "panicked",
        }
    }
}

/// Performs actions while this process leads.
#[derive(Clone)]
pub struct Actor {
    client: Client,
    recorder: Recorder,
    leadership: Leadership,
    live: LiveReader,
    aggregates: Arc<TaskAggregates>,
    logs: Arc<OnceLock<Followers>>,
    indexers: Option<Arc<dyn Indexers>>,
    posts: AcceptedPosts,
    clock: Clock,
    pub(crate) room: Shares,
}

impl Actor {
    /// An actor that acts only under this leadership.
    #[must_use]
    pub fn new(
        client: Client,
        recorder: Recorder,
        leadership: Leadership,
        aggregates: Arc<TaskAggregates>,
    ) -> Self {
        Self {
            live: LiveReader::new(client.clone(), Clock::default()),
            aggregates,
            logs: Arc::default(),
            indexers: None,
            posts: AcceptedPosts::default(),
            clock: Clock::default(),
            client,
            recorder,
            leadership,
            // There are no other tasks to wake yet.
            room: Shares::new(payload_budget::LIMITS, Arc::new(|_, _| {})),
        }
    }

    /// Sets the clock.
    #[must_use]
    pub fn with_clock(mut self, clock: Clock) -> Self {
        self.live = LiveReader::new(self.client.clone(), clock.clone());
        self.clock = clock;
        self
    }

    /// Sets how tasks are woken when there is room for their payload.
    #[must_use]
    pub fn waking(mut self, wake: Wake) -> Self {
        self.room = Shares::new(payload_budget::LIMITS, wake);
        self
    }

    /// Sets the followers that read logs.
    #[must_use]
    pub fn with_logs(mut self, logs: Arc<OnceLock<Followers>>) -> Self {
        self.logs = logs;
        self
    }

    /// Sets the Indexers on which tasks may be claimed.
    #[must_use]
    pub fn with_indexers(mut self, indexers: Arc<dyn Indexers>) -> Self {
        self.indexers = Some(indexers);
        self
    }

    /// What the caches have of the Indexer on which the status of the task claims it.
    #[must_use]
    pub fn indexer_seen(&self, task: &PeonTask) -> Option<IndexerSeen> {
        let claim = WorkerClaim::recorded(task)?;
        let namespace = task.namespace().unwrap_or_default();
        let indexers = self.indexers.as_ref()?;
        let uid = task.uid().unwrap_or_default();
        Some(IndexerSeen {
            never_received: self.aggregates.indexers.never_received(&uid, &claim.pod_uid),
            ..indexers.seen(&namespace, &claim)
        })
    }

    /// The task does not wait, or no longer waits, for room for its payload.
    pub fn leave_room(&self, who: &Who) {
        self.room.leave(who);
    }

    /// Whether logs are archived.
    #[must_use]
    pub fn keeps_logs(&self) -> bool {
        self.logs.get().is_some()
    }

    /// Performs one action and puts its outcome into the snapshot.
    ///
    /// # Access control
    /// configmaps: create. pods: create.
    ///
    /// # Errors
    /// When the action could not be performed at all; a refusal is an outcome.
    pub async fn perform(&self, action: Action, snapshot: &mut Snapshot) -> Result<(), ActError> {
        let namespace = snapshot.task.namespace().unwrap_or_default();
        match action {
            Action::ReadPayload { just_created } => {
                self.read_payload(&namespace, just_created, snapshot).await?;
            }
            Action::CreateConfigMap(config_map) => {
                let uid = snapshot.task.uid().unwrap_or_default();
                self.aggregates.indexers.runs_in_pod(&uid, snapshot.attempt());
                snapshot.outcomes.claim = Some(self.create_config_map(&namespace, &config_map).await?);
            }
            Action::CreatePod(pod) => {
                snapshot.outcomes.creation = Some(self.create_pod(&namespace, *pod).await?);
            }
            Action::LookLive { name } => {
                let task = snapshot.task.name_any();
                snapshot.outcomes.live = Some(self.live.look_live(&namespace, &name, &task).await?);
            }
            Action::ReadWarnings { pod: _, uid } => {
                snapshot.outcomes.warnings = Some(self.warnings(&namespace, &uid).await);
            }
            Action::LookIndexer { pod } => {
                let task = snapshot.task.name_any();
                let live = self.live.look_live(&namespace, &pod, &task).await?;
                snapshot.outcomes.indexer = Some(Box::new(live));
            }
            Action::TakeIndexer { pools, waits } => self.take_indexer(&pools, waits, snapshot),
            Action::PostTask { pod_uid } => self.post_task(&namespace, &pod_uid, snapshot).await?,
            Action::ResizePod {
                pod,
                uid,
                container,
                cpu,
            } => {
                self.resize_pod(&namespace, &pod, &uid, &container, &cpu).await?;
                self.posts.resized(&snapshot.task.uid().unwrap_or_default());
                snapshot.outcomes.resized = true;
            }
            Action::ShutDown { pod_uid, task_id } => {
                self.shut_down(&pod_uid, &task_id).await?;
                snapshot.outcomes.shut_down.push(task_id);
            }
            Action::LookNode { node, pod_uid } => {
                snapshot.outcomes.node = Some(self.live.look_node(&namespace, node, &pod_uid).await?);
            }
            Action::TakeSlot { template, max } => {
                let created = snapshot.task.metadata.creation_timestamp.as_ref();
                snapshot.outcomes.slot = Some(self.aggregates.slots.take(
                    &namespace,
                    &template,
                    max,
                    &snapshot.task.uid().unwrap_or_default(),
                    created.map_or(Timestamp::UNIX_EPOCH, |t| t.0),
                    &snapshot.task.name_any(),
                ));
            }
            Action::CountSubtasks { task_id } => {
                let task = &snapshot.task;
                let uid = task.uid().unwrap_or_default();
                let alive = &self.aggregates.live_subtasks;
                snapshot.outcomes.live_subtasks =
                    Some(alive.wait(&task_id, &(namespace, task.name_any()), &uid));
            }
            Action::RecallRung { subtask } => {
                snapshot.outcomes.rung = Some(self.aggregates.subtask_memory.step(&namespace, &subtask));
            }
            Action::RecallDuration { kind } => self.recall_duration(&namespace, &kind, snapshot),
            Action::FindSuccess { success } => {
                snapshot.outcomes.success = Some(match self.logs.get() {
                    Some(logs) => logs.success(&namespace, &success).await.map(|r| r.map(Box::new)),
                    None => Err("the log store is not open yet".to_owned()),
                });
            }
            Action::KeepLog(ask) => {
                snapshot.outcomes.log = self.logs.get().map(|logs| logs.keep(&owner(snapshot), &ask));
            }
            Action::Record(entry) => {
                // A deposed leader's entry would replace another leader's.
                self.leadership.check()?;
                if let Some(logs) = self.logs.get() {
                    snapshot.outcomes.recorded = Some(logs.record(*entry).await);
                }
            }
            Action::DeletePod(stop) => {
                self.delete_pod(&namespace, &stop).await?;
                snapshot.outcomes.ended.push(stop.pod);
            }
            Action::EndPod { pod, uid } => {
                self.end_pod(&namespace, &pod, &uid).await?;
                snapshot.outcomes.ended.push(pod);
            }
            Action::DeleteTask { uid } => {
                let name = snapshot.task.name_any();
                self.delete::<PeonTask>("delete peontask", &namespace, &name, uid)
                    .await?;
                snapshot.outcomes.ended.push(name);
            }
        }
        Ok(())
    }

    fn recall_duration(&self, namespace: &str, kind: &TaskKind, snapshot: &mut Snapshot) {
        snapshot.outcomes.expected = Some(self.aggregates.durations.expected(namespace, kind));
    }

    fn take_indexer(&self, pools: &[String], waits: bool, snapshot: &mut Snapshot) {
        let task = &snapshot.task;
        // It was accepted, so there is one.
        let payload = accept::payload(snapshot).ok();
        let created = task.metadata.creation_timestamp.as_ref();
        let group = payload.as_ref().and_then(|payload| payload.group_key());
        let asker = Asker {
            task: &(task.namespace().unwrap_or_default(), task.name_any()),
            task_uid: &task.uid().unwrap_or_default(),
            task_id: &task_id(snapshot),
            created: created.map_or(Timestamp::UNIX_EPOCH, |t| t.0),
            waits,
            slot: payload
                .as_ref()
                .map_or(TaskSlot::Heavy, |payload| placement::slot(payload)),
            rows: payload
                .as_ref()
                .map_or(RowsInMemory::Share, |payload| payload.rows),
            group: group.as_deref(),
        };
        snapshot.outcomes.given = Some(self.aggregates.indexers.take(pools, &asker));
    }

    /// Writes the status, unless the object was changed since it was read.
    ///
    /// # Access control
    /// peontasks/status: patch.
    ///
    /// # Errors
    /// [`RequestError::Conflict`] when the object has another resource version by now.
    pub async fn write_status(&self, task: &PeonTask, status: &PeonTaskStatus) -> Result<Identity, ActError> {
        const VERB: &str = "patch peontasks/status";
        self.leadership.check()?;
        let api: Api<GuardedTask> =
            Api::namespaced(self.client.clone(), &task.namespace().unwrap_or_default());
        let status = replacing(task.status.as_ref(), status)
            .map_err(|e| RequestError::api(VERB, kube::Error::SerdeError(e)))?;
        let version = task.resource_version();
        Ok(patch_status(VERB, &api, &task.name_any(), version.as_deref(), &status).await?)
    }

    /// Reports in the status that an object cannot be read, unless it was changed since it was seen.
    ///
    /// # Access control
    /// peontasks/status: patch.
    ///
    /// # Errors
    /// When the status cannot be written.
    pub async fn write_raw_status(&self, metadata: &ObjectMeta, status: &Value) -> Result<(), ActError> {
        self.leadership.check()?;
        let namespace = metadata.namespace.as_deref().unwrap_or_default();
        let api: Api<GuardedTask> = Api::namespaced(self.client.clone(), namespace);
        let name = metadata.name.as_deref().unwrap_or_default();
        let version = metadata.resource_version.as_deref();
        patch_status("patch peontasks/status", &api, name, version, status).await?;
        Ok(())
    }

    /// Publishes a Warning about a task. A failure is only logged: it must not delay the task.
    ///
    /// # Access control
    /// events (events.k8s.io): create, patch.
    pub async fn warn(&self, task: &PeonTask, reason: String, message: &str) {
        if self.leadership.check().is_err() {
            return;
        }
        let event = Event {
            type_: EventType::Warning,
            reason,
            note: Some(crate::api::conditions::cut(message, 1000)),
            action: "Run".into(),
            secondary: None,
        };
        let reference = task.object_ref(&());
        if let Err(error) = request("publish event", self.recorder.publish(&event, &reference)).await {
            tracing::warn!(task = task.name_any(), %error, "the Event of the PeonTask cannot be published");
        }
    }

    async fn create_config_map(&self, namespace: &str, config_map: &ConfigMap) -> Result<Creation, ActError> {
        const VERB: &str = "create configmap";
        self.leadership.check()?;
        let failed = |error| RequestError::api(VERB, error);
        let body = serde_json::to_vec(config_map).map_err(|e| failed(kube::Error::SerdeError(e)))?;
        let request = Request::new(ConfigMap::url_path(&(), Some(namespace)))
            .create(&PostParams::default(), body)
            .map_err(|e| failed(kube::Error::BuildRequest(e)))?;
        let created = create_within(TIMEOUT, VERB, identity::send(&self.client, request)).await?;
        Ok(created.map(|config_map| config_map.uid))
    }

    /// The pod is sent to the API server as JSON, with fields that this build may not know.
    async fn create_pod(&self, namespace: &str, pod: Value) -> Result<Creation, ActError> {
        self.leadership.check()?;
        Ok(create_pod(&self.client, namespace, &pod).await?)
    }

    /// Deletes the object with this name and uid, if it still exists.
    ///
    /// # Access control
    /// peontasks: delete.
    ///
    /// # Errors
    /// When it could not be deleted.
    pub async fn delete<K>(
        &self,
        verb: &'static str,
        namespace: &str,
        name: &str,
        uid: String,
    ) -> Result<(), ActError>
    where
        K: Resource<Scope = NamespaceResourceScope, DynamicType = ()> + Clone + Debug + DeserializeOwned,
    {
        let params = only(uid, None);
        gone_is_fine(self.remove::<K>(verb, namespace, name, params).await)
    }

    /// Deletes a pod that is as it was seen. A pod that changed meanwhile may have ended, and the report of its end
    /// would be lost: the pass is repeated with its current state.
    ///
    /// # Access control
    /// pods: delete.
    async fn delete_pod(&self, namespace: &str, stop: &StopPod) -> Result<(), ActError> {
        let params = DeleteParams {
            grace_period_seconds: stop.grace_seconds,
            ..only(stop.uid.clone(), stop.version.clone())
        };
        let result = self
            .remove::<Pod>("delete pod", namespace, &stop.pod, params)
            .await;
        match result {
            Err(error @ ActError::Request(RequestError::Conflict(..))) => Err(error),
            other => gone_is_fine(other),
        }
    }

    async fn remove<K>(
        &self,
        verb: &'static str,
        namespace: &str,
        name: &str,
        params: DeleteParams,
    ) -> Result<(), ActError>
    where
        K: Resource<Scope = NamespaceResourceScope, DynamicType = ()> + Clone + Debug + DeserializeOwned,
    {
        self.leadership.check()?;
        let api: Api<K> = Api::namespaced(self.client.clone(), namespace);
        match request(verb, api.delete(name, &params)).await {
            // It was deleted, or is being deleted: the answer is the object, which need not be readable.
            Ok(_) => Ok(()),
            Err(error) if error.is_undecodable() => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// A deadline of one second is the only way to end a pod's containers without losing its logs.
    ///
    /// # Access control
    /// pods: patch.
    async fn end_pod(&self, namespace: &str, pod: &str, uid: &str) -> Result<(), ActError> {
        self.leadership.check()?;
        let api: Api<Pod> = Api::namespaced(self.client.clone(), namespace);
        // The uid in the body makes the patch conditional.
        let body = json!({"metadata": {"uid": uid}, "spec": {"activeDeadlineSeconds": 1}});
        let params = PatchParams::default();
        let patch = Patch::Merge(&body);
        gone_is_fine(
            request("patch pod", api.patch(pod, &params, &patch))
                .await
                .map(drop)
                .map_err(ActError::from),
        )
    }
}

/// Only the object with this uid, and with this resource version if one is given.
fn only(uid: String, resource_version: Option<String>) -> DeleteParams {
    DeleteParams {
        preconditions: Some(Preconditions {
            uid: Some(uid),
            resource_version,
        }),
        propagation_policy: Some(PropagationPolicy::Background),
        ..DeleteParams::default()
    }
}

fn owner(snapshot: &Snapshot) -> Owner {
    Owner {
        namespace: snapshot.task.namespace().unwrap_or_default(),
        name: snapshot.task.name_any(),
        uid: snapshot.task.uid().unwrap_or_default(),
        task_id: task_id(snapshot),
        created: snapshot.task.metadata.creation_timestamp.as_ref().map(|t| t.0),
    }
}

/// An object that is gone, or was replaced by another one, needs nothing done.
fn gone_is_fine(result: Result<(), ActError>) -> Result<(), ActError> {
    match result {
        Err(ActError::Request(error)) if matches!(error.code(), Some(404 | 409)) => Ok(()),
        other => other,
    }
}
