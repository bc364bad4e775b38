//! What the controller of tasks needs of the Indexers of all pools.

use crate::indexer::polls::Indexer;
use crate::task::run::worker::IndexerSeen;
use crate::task::run::worker::claim::WorkerClaim;

/// The Indexers of all pools, from the caches of their controller.
pub trait Indexers: Send + Sync {
    /// What the caches have of the Indexer that a task of this namespace claims.
    fn seen(&self, namespace: &str, claim: &WorkerClaim) -> IndexerSeen;

    /// Where requests to the Indexer in the pod with this uid go; `None` if it is not polled.
    fn indexer(&self, pod_uid: &str) -> Option<Indexer>;
}
