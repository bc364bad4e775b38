//! Performs what was decided for a pool.

use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::api::{DeleteParams, Patch, PatchParams, Preconditions};
use kube::runtime::events::{Event, EventType, Recorder};
use kube::{Api, Client, Resource, ResourceExt};
use serde::Serialize;
use serde_json::{Value, json};

use super::controller::GuardedPool;
use super::decide::budget;
use super::decide::plan::Delete;
use crate::api::conditions::cut;
use crate::api::{IndexerPool, OPERATOR};
use crate::apiserver::classify::refusal::Posted;
use crate::apiserver::create_pod::create_pod;
use crate::apiserver::request::{RequestError, request};
use crate::process::leadership::{Leadership, NotLeader};
use crate::task::run::worker::GRACE_SECONDS;

/// An effect failed; the pass is repeated.
#[derive(Debug, thiserror::Error)]
pub(super) enum EffectError {
    #[error("this process is not the leader")]
    NotLeader(#[from] NotLeader),
    #[error(transparent)]
    Request(#[from] RequestError),
}

/// Outcome of creating a pod.
#[derive(Debug)]
pub(super) enum Created {
    /// The pod has this uid.
    As(String),
    /// The API server refuses it, with this message.
    Refused(String),
}

/// The only part of the controller that changes the cluster. Each write needs the proof of leadership.
pub(super) struct Effects {
    pub(super) client: Client,
    pub(super) leadership: Leadership,
    pub(super) recorder: Recorder,
}

impl Effects {
    /// Creates a pod, to which the API server gives a name.
    ///
    /// # Access control
    /// pods: create.
    ///
    /// # Errors
    /// When it is unknown whether the pod exists; the watch reports it then.
    pub(super) async fn create(&self, namespace: &str, pod: Value) -> Result<Created, EffectError> {
        self.leadership.check()?;
        Ok(match create_pod(&self.client, namespace, &pod).await? {
            Posted::Created(uid) => Created::As(uid),
            // Of several thousand names the API server chose one in use.
            Posted::Exists => Created::Refused("the generated name is in use".to_owned()),
            Posted::Refused(refusal) => Created::Refused(refusal.message().to_owned()),
        })
    }

    /// Deletes the pod with this uid. If it is gone or was replaced by another one, nothing is done.
    ///
    /// # Access control
    /// pods: delete.
    ///
    /// # Errors
    /// When the API server refuses, or does not answer.
    pub(super) async fn delete(&self, namespace: &str, pod: &Delete) -> Result<(), EffectError> {
        self.leadership.check()?;
        let api: Api<Pod> = Api::namespaced(self.client.clone(), namespace);
        let params = DeleteParams {
            grace_period_seconds: Some(GRACE_SECONDS),
            preconditions: Some(Preconditions {
                uid: Some(pod.uid.clone()),
                resource_version: None,
            }),
            ..DeleteParams::default()
        };
        match request("delete pod", api.delete(&pod.pod, &params)).await {
            Err(error) if !matches!(error.code(), Some(404 | 409)) => Err(error.into()),
            _ => Ok(()),
        }
    }

    /// Writes the `PodDisruptionBudget` of a pool, or deletes the one with its name.
    ///
    /// # Access control
    /// poddisruptionbudgets: create, patch, delete.
    ///
    /// # Errors
    /// When the API server refuses, or does not answer.
    pub(super) async fn budget(&self, pool: &IndexerPool, wanted: bool) -> Result<(), EffectError> {
        self.leadership.check()?;
        let namespace = pool.namespace().unwrap_or_default();
        let api: Api<PodDisruptionBudget> = Api::namespaced(self.client.clone(), &namespace);
        let name = budget::name(pool);
        if !wanted {
            return match request(
                "delete poddisruptionbudget",
                api.delete(&name, &DeleteParams::default()),
            )
            .await
            {
                Err(error) if error.code() != Some(404) => Err(error.into()),
                _ => Ok(()),
            };
        }
        let (params, patch) = (
            PatchParams::apply(OPERATOR).force(),
            Patch::Apply(budget::of(pool)),
        );
        let written = api.patch(&name, &params, &patch);
        request("patch poddisruptionbudget", written).await?;
        Ok(())
    }

    /// Publishes an Event about a pool. A failure is only logged: the status says the same.
    ///
    /// # Access control
    /// events (events.k8s.io): create, patch.
    pub(super) async fn tell(&self, pool: &IndexerPool, reason: &str, note: &str) {
        if self.leadership.check().is_err() {
            return;
        }
        let event = Event {
            type_: EventType::Normal,
            reason: reason.to_owned(),
            note: Some(cut(note, 1000)),
            action: "Scale".into(),
            secondary: None,
        };
        let reference = pool.object_ref(&());
        if let Err(error) = request("publish event", self.recorder.publish(&event, &reference)).await {
            tracing::warn!(pool = pool.name_any(), %error, "the Event of the IndexerPool cannot be published");
        }
    }

    /// Writes the operator's part of the status.
    ///
    /// # Access control
    /// indexerpools/status: patch.
    ///
    /// # Errors
    /// When it cannot be written.
    pub(super) async fn write_status(
        &self,
        metadata: &ObjectMeta,
        status: &impl Serialize,
    ) -> Result<(), EffectError> {
        self.leadership.check()?;
        let namespace = metadata.namespace.as_deref().unwrap_or_default();
        let name = metadata.name.as_deref().unwrap_or_default();
        let api: Api<GuardedPool> = Api::namespaced(self.client.clone(), namespace);
        let status = json!({
            "apiVersion": IndexerPool::api_version(&()),
            "kind": IndexerPool::kind(&()),
            "status": status,
        });
        let (params, patch) = (PatchParams::apply(OPERATOR).force(), Patch::Apply(&status));
        let written = api.patch_status(name, &params, &patch);
        match request("patch indexerpools/status", written).await {
            // It was deleted meanwhile.
            Err(error) if error.code() == Some(404) => Ok(()),
            written => Ok(written.map(drop)?),
        }
    }
}
