//! Which nodes are cordoned.

use std::collections::BTreeSet;
use std::sync::Arc;

use futures::StreamExt;
use k8s_openapi::api::core::v1::Node;
use kube::core::PartialObjectMeta;
use kube::runtime::watcher::{Config, Error, Event};
use kube::runtime::{WatchStreamExt, watcher};
use kube::{Api, Client, ResourceExt};
use parking_lot::Mutex;

use super::pods::IndexerPods;
use crate::apiserver::error;

/// The names of the nodes that are cordoned; cheap to clone.
#[derive(Debug, Clone, Default)]
pub(super) struct Cordoned(Arc<Mutex<Nodes>>);

#[derive(Debug, Default)]
struct Nodes {
    /// None before the first list.
    known: Option<BTreeSet<String>>,
    forbidden: bool,
    /// While nodes are listed: what the list has so far.
    listed: BTreeSet<String>,
}

impl Cordoned {
    /// Whether it is known which nodes are cordoned; none before the first list.
    pub(super) fn is_known(&self) -> Option<bool> {
        let nodes = self.0.lock();
        (nodes.forbidden || nodes.known.is_some()).then_some(!nodes.forbidden)
    }

    /// Whether this node is known to be cordoned.
    pub(super) fn has(&self, node: &str) -> bool {
        self.0
            .lock()
            .known
            .as_ref()
            .is_some_and(|known| known.contains(node))
    }

    /// Watches the names of cordoned nodes and requests passes over all pools when they change. It ends if that is
    /// forbidden.
    ///
    /// # Access control
    /// nodes: list, watch.
    pub(super) async fn watch(&self, client: &Client, pods: &IndexerPods) {
        // A node that is cordoned comes into this watch, and leaves it when it is uncordoned.
        let selected = Config::default().fields("spec.unschedulable=true").any_semantic();
        let events = watcher(Api::<PartialObjectMeta<Node>>::all(client.clone()), selected).default_backoff();
        let mut events = std::pin::pin!(events);
        while let Some(event) = events.next().await {
            match event {
                Ok(event) => {
                    if self.note(event) {
                        pods.wake_all();
                    }
                }
                Err(broken) if is_forbidden(&broken) => {
                    tracing::info!(
                        "nodes may not be watched: IndexerPools have no PodDisruptionBudget, and idle Indexers stay on \
                         cordoned nodes until they are evicted"
                    );
                    *self.0.lock() = Nodes {
                        forbidden: true,
                        ..Nodes::default()
                    };
                    pods.wake_all();
                    return;
                }
                Err(broken) => tracing::warn!(
                    error = error::chain(&broken),
                    "the watch of cordoned nodes failed and is repeated"
                ),
            }
        }
    }

    /// Whether what is known has changed.
    fn note(&self, event: Event<PartialObjectMeta<Node>>) -> bool {
        let mut nodes = self.0.lock();
        match event {
            Event::Apply(node) => nodes.known.get_or_insert_default().insert(node.name_any()),
            Event::Delete(node) => nodes.known.get_or_insert_default().remove(&node.name_any()),
            Event::Init => {
                nodes.listed.clear();
                false
            }
            Event::InitApply(node) => {
                nodes.listed.insert(node.name_any());
                false
            }
            Event::InitDone => {
                let listed = Some(std::mem::take(&mut nodes.listed));
                let is_news = nodes.known != listed;
                nodes.known = listed;
                is_news
            }
        }
    }
}

fn is_forbidden(broken: &Error) -> bool {
    let (Error::InitialListFailed(error) | Error::WatchStartFailed(error) | Error::WatchFailed(error)) =
        broken
    else {
        return matches!(broken, Error::WatchError(status) if status.code == 403);
    };
    matches!(error, kube::Error::Api(status) if status.code == 403)
}

#[cfg(test)]
mod tests {
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

    use super::*;

    fn node(name: &str) -> PartialObjectMeta<Node> {
        PartialObjectMeta {
            metadata: ObjectMeta {
                name: Some(name.to_owned()),
                ..ObjectMeta::default()
            },
            ..PartialObjectMeta::default()
        }
    }

    impl Cordoned {
        /// As if these nodes had been listed.
        pub(in crate::pool) fn become_known(&self, names: &[&str]) {
            self.note(Event::Init);
            for name in names {
                self.note(Event::InitApply(node(name)));
            }
            self.note(Event::InitDone);
        }
    }

    #[test]
    fn nodes_come_and_go() {
        let cordoned = Cordoned::default();
        assert_eq!(cordoned.is_known(), None);
        assert!(!cordoned.note(Event::Init));
        assert!(!cordoned.note(Event::InitApply(node("a"))));
        assert_eq!(cordoned.is_known(), None, "the list is not complete");
        assert!(cordoned.note(Event::InitDone));
        assert!(cordoned.has("a") && !cordoned.has("b"));
        assert!(cordoned.note(Event::Apply(node("b"))));
        assert!(!cordoned.note(Event::Apply(node("b"))), "nothing new");
        assert!(cordoned.note(Event::Delete(node("a"))));
        assert!(!cordoned.has("a") && cordoned.has("b"));
        // The watch began anew, and missed that `b` was uncordoned.
        assert!(!cordoned.note(Event::Init));
        assert!(cordoned.has("b"));
        assert!(cordoned.note(Event::InitDone));
        assert_eq!((cordoned.is_known(), cordoned.has("b")), (Some(true), false));
    }
}
