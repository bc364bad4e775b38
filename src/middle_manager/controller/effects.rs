//! Performs the steps that were decided for a `VirtualMiddleManager`.

use k8s_openapi::api::core::v1::Service;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, ObjectMeta};
use kube::api::{DeleteParams, Patch, PatchParams, Preconditions};
use kube::{Api, Client, Resource, ResourceExt};
use serde_json::{Value, json};

use super::GuardedManager;
use super::decide::plan::{Part, Step};
use super::decide::snapshot::{OwnedService, Snapshot};
use super::observe;
use crate::api::{OPERATOR, VirtualMiddleManager};
use crate::apiserver::apply::{Applied, ApplyError, apply};
use crate::apiserver::classify::owned::Owner;
use crate::apiserver::request::{RequestError, request};
use crate::process::leadership::{Leadership, NotLeader};

/// An effect failed and is retried.
#[derive(Debug, thiserror::Error)]
pub(super) enum EffectError {
    #[error("this process is not the leader")]
    NotLeader(#[from] NotLeader),
    #[error("{0}")]
    Apply(#[from] ApplyError),
    #[error(
        "discovery.kubernetes needs rights that the operator lacks ({0}): set middleManagers.kubernetesDiscovery of the \
         chart to true"
    )]
    NoAnnouncingPods(String),
    #[error("{what}: {}", source.why())]
    Request { what: String, source: RequestError },
}

/// The only part of the controller that changes the cluster. Each write needs the proof of leadership.
pub(super) struct Effects {
    pub(super) client: Client,
    pub(super) leadership: Leadership,
}

impl Effects {
    /// Performs a step and puts its outcome into the snapshot.
    ///
    /// # Access control
    /// deployments, serviceaccounts, rolebindings: get, create, patch; services: get, list, create, patch, delete;
    /// clusterroles: bind. statefulsets, roles: get, create, patch.
    ///
    /// # Errors
    /// When a request failed, or an object is refused.
    pub(super) async fn act(&self, step: Step, snapshot: &mut Snapshot<'_>) -> Result<(), EffectError> {
        match step {
            Step::Apply(part, object) => match self.apply(snapshot.manager, object).await? {
                Applied::NameConflict(why) => snapshot.name_conflict = Some(why),
                Applied::As(object) => {
                    let object = serde_json::to_value(*object).map_err(ApplyError::from)?;
                    match part {
                        Part::Service => snapshot.services.push(object),
                        Part::Account => snapshot.account.push(object),
                        Part::AnnouncingPods => snapshot.announcing_pods = Some(object),
                        Part::Deployment => snapshot.deployment = Some(object),
                    }
                }
            },
            Step::ListServices => {
                let owned = observe::owned_services(&self.client, snapshot.manager).await;
                snapshot.owned_services = Some(owned.map_err(|source| failed("services", source))?);
            }
            Step::DeleteService(service) => {
                self.delete_service(snapshot.manager, &service).await?;
                let owned = snapshot.owned_services.get_or_insert_default();
                owned.retain(|other| *other != service);
            }
            Step::Leave | Step::Settle(_) => {}
        }
        Ok(())
    }

    async fn apply(&self, manager: &VirtualMiddleManager, object: Value) -> Result<Applied, EffectError> {
        let may_write = || self.leadership.check().is_ok();
        // The chart gives the rights to these kinds only where they are wanted.
        let is_for_announcing = matches!(object["kind"].as_str(), Some("StatefulSet" | "Role"));
        match apply(&self.client, &Owner::of(manager), object, may_write).await {
            Err(ApplyError::MayNotWrite) => Err(NotLeader.into()),
            Err(refused) if is_for_announcing && refused.is_forbidden() => {
                Err(EffectError::NoAnnouncingPods(refused.to_string()))
            }
            applied => Ok(applied?),
        }
    }

    /// Deletes the Service with this uid. If it is gone or was replaced by another one, nothing is done.
    async fn delete_service(
        &self,
        manager: &VirtualMiddleManager,
        service: &OwnedService,
    ) -> Result<(), EffectError> {
        self.leadership.check()?;
        let namespace = manager.namespace().unwrap_or_default();
        let api: Api<Service> = Api::namespaced(self.client.clone(), &namespace);
        let params = DeleteParams {
            preconditions: Some(Preconditions {
                uid: service.uid.clone(),
                resource_version: None,
            }),
            ..DeleteParams::default()
        };
        match request("delete service", api.delete(&service.name, &params)).await {
            Err(error) if !matches!(error.code(), Some(404 | 409)) => Err(failed(&service.name, error)),
            _ => Ok(()),
        }
    }

    /// Writes the operator's part of the status.
    ///
    /// # Access control
    /// virtualmiddlemanagers/status: patch.
    ///
    /// # Errors
    /// When it cannot be written.
    pub(super) async fn write_status(
        &self,
        metadata: &ObjectMeta,
        conditions: &[Condition],
    ) -> Result<(), EffectError> {
        self.leadership.check()?;
        let namespace = metadata.namespace.as_deref().unwrap_or_default();
        let name = metadata.name.as_deref().unwrap_or_default();
        let api: Api<GuardedManager> = Api::namespaced(self.client.clone(), namespace);
        let status = json!({
            "apiVersion": VirtualMiddleManager::api_version(&()),
            "kind": VirtualMiddleManager::kind(&()),
            "status": {"conditions": conditions, "observedGeneration": metadata.generation},
        });
        let (params, patch) = (PatchParams::apply(OPERATOR).force(), Patch::Apply(&status));
        let written = request(
            "patch virtualmiddlemanagers/status",
            api.patch_status(name, &params, &patch),
        );
        written.await.map(drop).map_err(|source| failed("status", source))
    }
}

fn failed(what: &str, source: RequestError) -> EffectError {
    EffectError::Request {
        what: what.to_owned(),
        source,
    }
}
