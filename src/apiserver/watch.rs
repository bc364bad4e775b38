//! Configuration of watches: the first list in small pages, each object guarded against decoding errors.

use std::sync::Arc;

use kube::core::NamespaceResourceScope;
use kube::runtime::watcher::{self, Event};
use kube::{Api, Client, Resource};

use super::classify::decode::{Guarded, PAGE, Readable};
use crate::apiserver::classify::watched_pod::WatchedPod;
use crate::metrics::Metrics;

/// The configuration of all our watches, which begin with a most recent list in small pages.
#[must_use]
pub fn watching() -> watcher::Config {
    watcher::Config::default().page_size(PAGE)
}

/// The objects of a namespace, or of all namespaces.
#[must_use]
pub fn in_scope<K>(client: &Client, namespace: Option<&str>) -> Api<K>
where
    K: Resource<Scope = NamespaceResourceScope, DynamicType = ()>,
{
    match namespace {
        Some(namespace) => Api::namespaced(client.clone(), namespace),
        None => Api::all(client.clone()),
    }
}

/// Several tasks that wait for the first list of caches, one after the other: `Store::wait_until_ready` wakes only the
/// task that polled it last (`kube_runtime::utils::delayed_init`, 5.0.0), and the others would wait for ever.
#[derive(Debug, Clone, Default)]
pub struct FirstList(Arc<tokio::sync::Mutex<()>>);

impl FirstList {
    /// Waits for `ready`, which waits for the stores of these caches.
    pub async fn wait<T>(&self, ready: impl Future<Output = T>) -> T {
        let _turn = self.0.lock().await;
        ready.await
    }
}

/// Logs and counts an object that cannot be read.
pub fn report_object<K: Readable>(object: &Guarded<K>, metrics: &Metrics) {
    let Err(unreadable) = &object.0 else { return };
    let kind = K::kind(&());
    metrics.undecodable(&kind);
    tracing::warn!(
        kind = &*kind,
        namespace = unreadable.metadata.namespace,
        name = unreadable.metadata.name,
        error = unreadable.error,
        "an object cannot be decoded: it is skipped, other objects are not affected"
    );
}

/// Logs and counts objects of a watch event that cannot be read.
pub fn report<K: Readable>(event: &Event<Guarded<K>>, metrics: &Metrics) {
    if let Event::Apply(object) | Event::InitApply(object) = event {
        report_object(object, metrics);
    }
}

/// Pods of a watch event. A pod that cannot be read counts as one without a status: it may live, and nothing is known
/// of it.
#[must_use]
pub fn pods(event: Event<Guarded<WatchedPod>>) -> Event<WatchedPod> {
    let pod = |pod: Guarded<WatchedPod>| {
        pod.0.unwrap_or_else(|unreadable| {
            let mut pod = WatchedPod {
                metadata: unreadable.metadata,
                ..WatchedPod::default()
            };
            // Pods have no size limits of their own.
            let _ = pod.keep();
            pod
        })
    };
    match event {
        Event::Apply(object) => Event::Apply(pod(object)),
        Event::Delete(object) => Event::Delete(pod(object)),
        Event::Init => Event::Init,
        Event::InitApply(object) => Event::InitApply(pod(object)),
        Event::InitDone => Event::InitDone,
    }
}
