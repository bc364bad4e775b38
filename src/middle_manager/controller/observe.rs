//! Watches VirtualMiddleManagers, and reads their objects in a pass.

use futures::{Stream, TryStreamExt};
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::Service;
use kube::api::ListParams;
use kube::runtime::reflector::{self, Store};
use kube::runtime::{PredicateConfig, WatchStreamExt, watcher};
use kube::{Api, Client, ResourceExt};

use super::GuardedManager;
use super::decide::objects::LABEL_SERVES;
use super::decide::ready_condition;
use super::decide::snapshot::OwnedService;
use crate::api::{VirtualMiddleManager, names};
use crate::apiserver::classify::decode::Guarded;
use crate::apiserver::classify::owned::Owner;
use crate::apiserver::request::{RequestError, request};
use crate::apiserver::watch::{in_scope, report, watching};
use crate::metrics::Metrics;

/// Why a watch yields no next object.
type Broken = watcher::Error;

/// The VirtualMiddleManagers: a cache of them, and those with a change that needs a pass.
///
/// # Access control
/// virtualmiddlemanagers: list, watch.
pub(super) fn managers(
    client: &Client,
    namespace: Option<&str>,
    metrics: Metrics,
) -> (
    Store<GuardedManager>,
    impl Stream<Item = Result<GuardedManager, Broken>> + Send + 'static,
) {
    let managers: Api<GuardedManager> = in_scope(client, namespace);
    let (reader, writer) = reflector::store();
    let changes = watcher(managers, watching())
        .default_backoff()
        .inspect_ok(move |event| report(event, &metrics))
        .reflect(writer)
        .applied_objects()
        .predicate_filter(looked_at, PredicateConfig::default());
    (reader, changes)
}

/// The Deployments of VirtualMiddleManagers that changed.
///
/// # Access control
/// deployments: list, watch.
pub(super) fn deployments(
    client: &Client,
    namespace: Option<&str>,
    metrics: Metrics,
) -> impl Stream<Item = Result<Guarded<Deployment>, Broken>> + Send + 'static {
    let deployments: Api<Guarded<Deployment>> = in_scope(client, namespace);
    watcher(deployments, watching().labels(LABEL_SERVES))
        .default_backoff()
        .inspect_ok(move |event| report(event, &metrics))
        .touched_objects()
}

/// The Services that a `VirtualMiddleManager` owns, from the API server.
///
/// # Access control
/// services: list.
///
/// # Errors
/// When the API server does not answer, or refuses.
pub(super) async fn owned_services(
    client: &Client,
    manager: &VirtualMiddleManager,
) -> Result<Vec<OwnedService>, RequestError> {
    let namespace = manager.namespace().unwrap_or_default();
    let api: Api<Service> = Api::namespaced(client.clone(), &namespace);
    let label = names::label_value(&manager.name_any());
    let params = ListParams::default().labels(&format!("{LABEL_SERVES}={label}"));
    let there = request("list services", api.list_metadata(&params)).await?;
    let owner = Owner::of(manager);
    let services = there.items.into_iter().filter(|service| owner.owns(service));
    let services = services.map(|service| OwnedService {
        name: service.name_any(),
        uid: service.uid(),
    });
    Ok(services.collect())
}

/// See [`ready_condition::looked_at`]; an object that cannot be read gets a pass at every change.
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
