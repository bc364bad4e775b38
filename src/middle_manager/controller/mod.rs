//! Keeps the objects of every `VirtualMiddleManager` as they should be, and says in its status whether it is served.
//!
//! What the overlord sees is said by the pod that it sees, in other fields of the same status.

pub mod decide;

mod owned;

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures::{FutureExt, StreamExt, TryStreamExt};
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::Service;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, ObjectMeta};
use k8s_openapi::jiff::Timestamp;
use kube::api::{ApiResource, DeleteParams, DynamicObject, Patch, PatchParams, PostParams};
use kube::runtime::controller::{Action, Controller, Error as Unreconciled};
use kube::runtime::{PredicateConfig, WatchStreamExt, reflector, watcher};
use kube::{Api, Client, Resource, ResourceExt};
use serde_json::{Value, json};

use crate::api::{OPERATOR, VirtualMiddleManager};
use crate::apiserver::classify::decode::{Guarded, Unreadable};
use crate::apiserver::error;
use crate::metrics::Metrics;
use crate::process::decide::lease::{Leadership, NotLeader};
use decide::objects::{self, LABEL_SERVES, Objects, Surroundings};
use decide::ready_condition::{self, Seen};

/// Objects that somebody changed are put right after so long, at the latest.
const AGAIN: Duration = Duration::from_secs(300);
/// An effect that failed is repeated after so long.
const RETRY: Duration = Duration::from_secs(10);
/// An object of somebody else that has a needed name is looked at again after so long.
const CONFLICT: Duration = Duration::from_secs(15);
/// So often it is tried to change an object that others change at the same time; then it is left to the next pass.
const TRIES: usize = 3;
/// No answer within this time is a failure.
const TIMEOUT: Duration = Duration::from_secs(20);

/// An effect failed, and is repeated.
#[derive(Debug, thiserror::Error)]
enum ReconcileError {
    #[error("this process is not the leader")]
    NotLeader(#[from] NotLeader),
    #[error("{what}: {}", error::chain(source))]
    Api { what: String, source: Box<kube::Error> },
    #[error("{0}: no answer within {TIMEOUT:?}")]
    TimedOut(String),
    #[error("the object cannot be written as JSON: {0}")]
    Json(#[from] serde_json::Error),
    /// An object of that name is somebody else's.
    #[error("{0}")]
    Conflict(String),
    #[error("a fault in the operator ended the look at it: {0}")]
    Panicked(String),
}

type GuardedManager = Guarded<VirtualMiddleManager>;

struct Context {
    client: Client,
    leadership: Leadership,
    surroundings: Surroundings,
}

/// Runs until it is asked to stop.
///
/// # Access control
/// virtualmiddlemanagers: list, watch; virtualmiddlemanagers/status: patch; deployments: get, list, watch, create, patch;
/// services: get, list, create, patch, delete; serviceaccounts, rolebindings: get, create, patch; clusterroles: bind.
pub async fn run(
    client: Client,
    namespace: Option<&str>,
    leadership: Leadership,
    surroundings: Surroundings,
    metrics: Metrics,
    stop: impl Future<Output = ()> + Send + Sync + 'static,
) {
    let context = Context {
        client: client.clone(),
        leadership,
        surroundings,
    };
    let managers: Api<GuardedManager> = api(&client, namespace);
    let deployments: Api<Guarded<Deployment>> = api(&client, namespace);
    let (reader, writer) = reflector::store();
    let counted = metrics.clone();
    let changes = watcher(managers, crate::apiserver::watch::watching())
        .default_backoff()
        .inspect_ok(move |event| crate::apiserver::watch::report(event, &counted))
        .reflect(writer)
        .applied_objects()
        .predicate_filter(looked_at, PredicateConfig::default());
    let served = watcher(
        deployments,
        crate::apiserver::watch::watching().labels(LABEL_SERVES),
    )
    .default_backoff()
    .inspect_ok(move |event| crate::apiserver::watch::report(event, &metrics))
    .touched_objects();
    Controller::for_stream(changes, reader)
        .owns_stream(served)
        .graceful_shutdown_on(stop)
        .run(reconcile, on_error, Arc::new(context))
        .for_each(|ended| async move {
            match ended {
                // A failure is logged where it is: `on_error`.
                Ok(_) | Err(Unreconciled::ObjectNotFound(_) | Unreconciled::ReconcilerFailed(..)) => {}
                Err(broken) => tracing::warn!(
                    error = error::chain(&broken),
                    "a watch of VirtualMiddleManagers, or of their Deployments, failed and is repeated"
                ),
            }
        })
        .await;
}

/// See [`ready_condition::looked_at`]; one that cannot be read is looked at whenever it changes.
fn looked_at(manager: &GuardedManager) -> Option<u64> {
    use std::hash::{DefaultHasher, Hash, Hasher};
    match &manager.0 {
        Ok(manager) => ready_condition::looked_at(manager),
        Err(unreadable) => {
            let mut hash = DefaultHasher::new();
            let meta = &unreadable.metadata;
            (&meta.uid, meta.generation, &unreadable.error).hash(&mut hash);
            Some(hash.finish())
        }
    }
}

fn api<K>(client: &Client, namespace: Option<&str>) -> Api<K>
where
    K: Resource<Scope = kube::core::NamespaceResourceScope, DynamicType = ()>,
{
    match namespace {
        Some(namespace) => Api::namespaced(client.clone(), namespace),
        None => Api::all(client.clone()),
    }
}

#[allow(clippy::needless_pass_by_value)] // As the controller calls it.
fn on_error(manager: Arc<GuardedManager>, error: &ReconcileError, _: Arc<Context>) -> Action {
    tracing::warn!(
        namespace = manager.namespace(),
        name = manager.name_any(),
        %error,
        "a VirtualMiddleManager is not as it should be"
    );
    Action::requeue(RETRY)
}

async fn reconcile(manager: Arc<GuardedManager>, context: Arc<Context>) -> Result<Action, ReconcileError> {
    match &manager.0 {
        // A fault that one object finds must not end the process for all.
        Ok(manager) => match AssertUnwindSafe(context.look_after(manager)).catch_unwind().await {
            Ok(outcome) => outcome,
            Err(panic) => Err(ReconcileError::Panicked(error::panicked(&*panic))),
        },
        Err(unreadable) => context.say_unreadable(unreadable).await,
    }
}

impl Context {
    async fn look_after(&self, manager: &VirtualMiddleManager) -> Result<Action, ReconcileError> {
        if manager.metadata.deletion_timestamp.is_some() {
            // What belongs to it is collected with it.
            return Ok(Action::await_change());
        }
        let objects = Objects::of(manager, &self.surroundings);
        let made = self.make(manager, &objects).await;
        let seen = match &made {
            Ok(seen) => seen.clone(),
            Err(ReconcileError::Conflict(why)) => Seen::Conflict(why.clone()),
            Err(error) => Seen::Failed(error.to_string()),
        };
        self.say(manager, &seen).await?;
        match made {
            Ok(_) => Ok(Action::requeue(AGAIN)),
            // The condition says it, and nobody tells when that object goes.
            Err(ReconcileError::Conflict(_)) => Ok(Action::requeue(CONFLICT)),
            Err(error) => Err(error),
        }
    }

    /// Makes everything that there should be, and removes the Services of identities that have drained.
    async fn make(
        &self,
        manager: &VirtualMiddleManager,
        objects: &Objects<'_>,
    ) -> Result<Seen, ReconcileError> {
        if let Some(missing) = ready_condition::lacks_authentication(&manager.spec) {
            return Ok(Seen::NoAuthentication(missing.to_owned()));
        }
        if let Some(wrong) = objects::invalid_label(&manager.spec.task_labels) {
            // With it every task would be refused, and so every assignment fail.
            return Ok(Seen::Failed(wrong));
        }
        let mut hosts = Vec::new();
        for (ordinal, service) in (0..).zip(objects.services()) {
            let kept = self.keep(manager, service).await?;
            match objects.host(ordinal, &kept) {
                Some(host) => hosts.push(host),
                None => return Ok(Seen::NoAddress),
            }
        }
        for object in objects.account() {
            self.keep(manager, object).await?;
        }
        let deployment = self.keep(manager, objects.deployment(&hosts)).await?;
        self.remove_services(manager, objects).await?;
        Ok(Seen::of(&deployment))
    }

    /// Makes an object what it should be: created where there is none, changed where it is the `VirtualMiddleManager`'s.
    async fn keep(&self, manager: &VirtualMiddleManager, object: Value) -> Result<Value, ReconcileError> {
        let mut object: DynamicObject = serde_json::from_value(object)?;
        let Some(types) = object.types.clone() else {
            return Ok(Value::Null);
        };
        let (group, version) = types
            .api_version
            .split_once('/')
            .unwrap_or(("", &types.api_version));
        let gvk = kube::core::GroupVersionKind::gvk(group, version, &types.kind);
        let namespace = object.namespace().unwrap_or_default();
        let api: Api<DynamicObject> =
            Api::namespaced_with(self.client.clone(), &namespace, &ApiResource::from_gvk(&gvk));
        let name = object.name_any();
        let what = format!("{} {name}", types.kind);
        let found = timely(&what, api.get_opt(&name)).await?;
        let is_new = found.is_none();
        let found = match found {
            Some(found) => found,
            None => self.create(&what, &api, &object).await?,
        };
        if let Some(why) = owned::conflict(&found, &types.kind, manager) {
            return Err(ReconcileError::Conflict(why));
        }
        if is_new {
            // Others write it at once, as the Deployment controller does: the next pass is early enough.
            return Ok(serde_json::to_value(found)?);
        }
        if !self.count_as_applied(&what, &api, found.clone()).await? {
            return Ok(serde_json::to_value(found)?);
        }
        // Another one that has the name by now is not changed.
        object.metadata.uid.clone_from(&found.metadata.uid);
        self.leadership.check()?;
        let params = PatchParams::apply(OPERATOR).force();
        let kept = timely(&what, api.patch(&name, &params, &Patch::Apply(&object))).await?;
        Ok(serde_json::to_value(kept)?)
    }

    /// Has what was created count as applied. Says whether it does: it does not, for now, where others write the object
    /// all the time.
    async fn count_as_applied(
        &self,
        what: &str,
        api: &Api<DynamicObject>,
        mut found: DynamicObject,
    ) -> Result<bool, ReconcileError> {
        let name = found.name_any();
        for _ in 0..TRIES {
            let Some(patch) = owned::as_applied(&found) else {
                return Ok(true);
            };
            self.leadership.check()?;
            let params = PatchParams::default();
            match timely(what, api.patch(&name, &params, &Patch::Merge(&patch))).await {
                Err(ReconcileError::Api { source, .. }) if is_conflict(&source) => {}
                patched => return patched.map(|_| true),
            }
            let uid = found.uid();
            match timely(what, api.get_opt(&name)).await? {
                Some(now) if now.uid() == uid => found = now,
                _ => return Ok(false),
            }
        }
        Ok(false)
    }

    async fn create(
        &self,
        what: &str,
        api: &Api<DynamicObject>,
        object: &DynamicObject,
    ) -> Result<DynamicObject, ReconcileError> {
        self.leadership.check()?;
        let params = PostParams {
            field_manager: Some(OPERATOR.to_owned()),
            ..PostParams::default()
        };
        match timely(what, api.create(&params, object)).await {
            Err(ReconcileError::Api { source, .. }) if exists(&source) => Err(ReconcileError::Conflict(
                format!("{what} was created by somebody else a moment ago: it is looked at again"),
            )),
            created => created,
        }
    }

    async fn remove_services(
        &self,
        manager: &VirtualMiddleManager,
        objects: &Objects<'_>,
    ) -> Result<(), ReconcileError> {
        let wanted: Vec<String> = (0..objects.identities())
            .map(|ordinal| objects.service_name(ordinal))
            .collect();
        let namespace = manager.namespace().unwrap_or_default();
        let api: Api<Service> = Api::namespaced(self.client.clone(), &namespace);
        let label = crate::api::names::label_value(&manager.name_any());
        let params = kube::api::ListParams::default().labels(&format!("{LABEL_SERVES}={label}"));
        let there = timely("services", api.list_metadata(&params)).await?;
        for service in there.items {
            let name = service.name_any();
            let is_ours = service
                .owner_references()
                .iter()
                .any(|owner| Some(&owner.uid) == manager.metadata.uid.as_ref());
            if is_ours && !wanted.contains(&name) {
                self.leadership.check()?;
                let params = DeleteParams {
                    preconditions: Some(kube::api::Preconditions {
                        uid: service.uid(),
                        resource_version: None,
                    }),
                    ..DeleteParams::default()
                };
                match timely(&name, api.delete(&name, &params)).await {
                    Err(ReconcileError::Api { source, .. }) if is_gone(&source) => {}
                    other => drop(other?),
                }
            }
        }
        Ok(())
    }

    /// Says of an object that cannot be read that it cannot. What there is of it goes on as it is.
    async fn say_unreadable(&self, unreadable: &Unreadable) -> Result<Action, ReconcileError> {
        let meta = &unreadable.metadata;
        let (Some(name), None) = (&meta.name, &meta.deletion_timestamp) else {
            return Ok(Action::await_change());
        };
        let conditions = ready_condition::unreadable(unreadable, meta.creation_timestamp.as_ref());
        self.write_status(meta, name, &conditions).await?;
        Ok(Action::await_change())
    }

    /// Writes the status where it has changed.
    async fn say(&self, manager: &VirtualMiddleManager, seen: &Seen) -> Result<(), ReconcileError> {
        let Some(conditions) = ready_condition::conditions(manager, seen, Timestamp::now()) else {
            return Ok(());
        };
        self.write_status(&manager.metadata, &manager.name_any(), &conditions)
            .await
    }

    async fn write_status(
        &self,
        meta: &ObjectMeta,
        name: &str,
        conditions: &[Condition],
    ) -> Result<(), ReconcileError> {
        self.leadership.check()?;
        let namespace = meta.namespace.as_deref().unwrap_or_default();
        let api: Api<GuardedManager> = Api::namespaced(self.client.clone(), namespace);
        let status = json!({
            "apiVersion": VirtualMiddleManager::api_version(&()),
            "kind": VirtualMiddleManager::kind(&()),
            "status": {"conditions": conditions, "observedGeneration": meta.generation},
        });
        let params = PatchParams::apply(OPERATOR).force();
        timely("status", api.patch_status(name, &params, &Patch::Apply(&status))).await?;
        Ok(())
    }
}

fn exists(error: &kube::Error) -> bool {
    matches!(error, kube::Error::Api(status) if status.code == 409 && status.reason == "AlreadyExists")
}

fn is_conflict(error: &kube::Error) -> bool {
    matches!(error, kube::Error::Api(status) if status.code == 409)
}

fn is_gone(error: &kube::Error) -> bool {
    matches!(error, kube::Error::Api(status) if matches!(status.code, 404 | 409))
}

async fn timely<T>(
    what: &str,
    request: impl Future<Output = Result<T, kube::Error>>,
) -> Result<T, ReconcileError> {
    match tokio::time::timeout(TIMEOUT, request).await {
        Err(_) => Err(ReconcileError::TimedOut(what.to_owned())),
        Ok(Ok(answer)) => Ok(answer),
        Ok(Err(source)) => Err(ReconcileError::Api {
            what: what.to_owned(),
            source: Box::new(source),
        }),
    }
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
