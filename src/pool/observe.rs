//! Watches IndexerPools, and the VirtualMiddleManagers that they name.

use std::collections::HashSet;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;

use futures::{Stream, TryStreamExt};
use kube::runtime::reflector::{self, ObjectRef, Store};
use kube::runtime::{PredicateConfig, WatchStreamExt, watcher};
use kube::{Client, Resource, ResourceExt};

use super::controller::GuardedPool;
use super::pods::Wake;
use crate::api::VirtualMiddleManager;
use crate::apiserver::classify::decode::Guarded;
use crate::apiserver::request::request;
use crate::apiserver::watch::{in_scope, report, watching};
use crate::metrics::Metrics;

/// Why a watch yields no next object.
type Broken = watcher::Error;
/// A VirtualMiddleManager from the watch.
pub(super) type GuardedManager = Guarded<VirtualMiddleManager>;

/// The pools: a cache of them, and those with a change that needs a pass.
///
/// # Access control
/// indexerpools: list, watch.
pub(super) fn pools(
    client: &Client,
    namespace: Option<&str>,
    metrics: Metrics,
) -> (
    Store<GuardedPool>,
    impl Stream<Item = Result<GuardedPool, Broken>> + Send + 'static,
) {
    let (reader, writer) = reflector::store();
    let changes = watcher(in_scope::<GuardedPool>(client, namespace), watching())
        .default_backoff()
        .inspect_ok(move |event| report(event, &metrics))
        .reflect(writer)
        .applied_objects()
        .predicate_filter(needs_a_pass, PredicateConfig::default());
    (reader, changes)
}

/// The VirtualMiddleManagers: a cache of them, and those that came, went, or got another spec.
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
    let (reader, writer) = reflector::store();
    let changes = watcher(in_scope::<GuardedManager>(client, namespace), watching())
        .default_backoff()
        .inspect_ok(move |event| report(event, &metrics))
        .reflect(writer)
        .touched_objects()
        .predicate_filter(spec, PredicateConfig::default());
    (reader, changes)
}

/// Whether the API server can resize pods in place. If it does not say, it is taken not to: Indexers then have their
/// cpu from the start.
pub(super) async fn can_resize(client: &Client) -> bool {
    match request("list resources", client.list_core_api_resources("v1")).await {
        Ok(known) => known
            .resources
            .iter()
            .any(|resource| resource.name == "pods/resize"),
        Err(error) => {
            tracing::warn!(%error, "it is unknown whether the cluster resizes pods in place; Indexers are not resized");
            false
        }
    }
}

/// Uids of the pools.
pub(super) fn uids(pools: &Store<GuardedPool>) -> HashSet<String> {
    pools.state().iter().filter_map(|pool| pool.uid()).collect()
}

/// The pools that need a pass.
pub(super) fn woken(pools: &Store<GuardedPool>, wake: Wake) -> Vec<ObjectRef<GuardedPool>> {
    let matching = |is: &dyn Fn(&GuardedPool) -> bool| {
        let found = pools.state().into_iter().filter(|pool| is(pool));
        found.map(|pool| ObjectRef::from_obj(&*pool)).collect()
    };
    match wake {
        Wake::Pool(pool) => vec![pool],
        Wake::Template(namespace, name) => matching(&|pool| {
            let names = pool
                .0
                .as_ref()
                .is_ok_and(|pool| pool.spec.template_ref.name == name);
            names && pool.namespace().as_deref() == Some(&*namespace)
        }),
        Wake::All => matching(&|_| true),
    }
}

/// The pools that name a VirtualMiddleManager.
pub(super) fn naming(pools: &Store<GuardedPool>, manager: &GuardedManager) -> Vec<ObjectRef<GuardedPool>> {
    let (namespace, name) = (manager.namespace(), manager.name_any());
    let names = |pool: &&Arc<GuardedPool>| {
        pool.namespace() == namespace
            && pool
                .0
                .as_ref()
                .is_ok_and(|pool| pool.spec.middle_manager_ref.name == name)
    };
    let found = pools.state();
    found
        .iter()
        .filter(names)
        .map(|pool| ObjectRef::from_obj(&**pool))
        .collect()
}

/// A hash that changes when a pass is needed: not with the conditions and counts that passes write.
#[allow(clippy::unnecessary_wraps)] // As the predicate is called.
fn needs_a_pass(pool: &GuardedPool) -> Option<u64> {
    let mut hash = DefaultHasher::new();
    let meta = pool.meta();
    (&meta.uid, meta.generation, meta.deletion_timestamp.is_some()).hash(&mut hash);
    match &pool.0 {
        Ok(pool) => {
            let found = pool.status.as_ref().and_then(|status| status.discovery.as_ref());
            found.map(|d| (&d.hidden, &d.visible, &d.message)).hash(&mut hash);
        }
        Err(unreadable) => unreadable.error.hash(&mut hash),
    }
    Some(hash.finish())
}

/// A hash that changes when a manager came or went, or with its spec.
#[allow(clippy::unnecessary_wraps)] // As the predicate is called.
fn spec(manager: &GuardedManager) -> Option<u64> {
    let mut hash = DefaultHasher::new();
    let meta = manager.meta();
    (&meta.uid, meta.generation, meta.deletion_timestamp.is_some()).hash(&mut hash);
    Some(hash.finish())
}
