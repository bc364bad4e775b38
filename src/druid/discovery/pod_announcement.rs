//! The announcement of a process on a pod, as Druid's `druid-kubernetes-extensions` writes and reads it
//! (`druid.discovery.type=k8s`): three labels and an annotation.
//!
//! Overlords select pods by the labels of cluster and role, and read the process from the annotation. One pod that has the
//! labels without the annotation makes them lose sight of *all* processes of the role, so both are set and removed
//! together. A pod has one announcement of a role, and one id: two processes cannot share it.

use super::{Process, Worker};

/// Label with the Druid cluster: `druid.discovery.k8s.clusterIdentifier`.
pub const CLUSTER_LABEL: &str = "druidDiscoveryAnnouncement-cluster-identifier";
/// Label with the hash of `host:port`, since a value of a label cannot have a colon.
pub const ID_HASH_LABEL: &str = "druidDiscoveryAnnouncement-id-hash";
/// Label of the role MiddleManager.
pub const WORKER_LABEL: &str = "druidDiscoveryAnnouncement-middleManager";
/// Annotation with the announcement of a MiddleManager.
pub const WORKER_ANNOTATION: &str = "druidNodeInfo-middleManager";
/// Label of the role Indexer.
const INDEXER_LABEL: &str = "druidDiscoveryAnnouncement-indexer";
/// Annotation with the announcement of an Indexer.
pub const INDEXER_ANNOTATION: &str = "druidNodeInfo-indexer";

/// The value of the label of a role.
const IS_ANNOUNCED: &str = "true";

/// The announcement of a worker as it is on a pod.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PodAnnouncement {
    /// The labels.
    pub labels: [(&'static str, String); 3],
    /// The value of [`WORKER_ANNOTATION`].
    pub node: String,
}

impl PodAnnouncement {
    /// The announcement of a worker of that Druid cluster by that process.
    ///
    /// # Errors
    /// When it cannot be written as JSON.
    pub fn of(worker: &Worker, process: &Process, cluster: &str) -> serde_json::Result<Self> {
        Ok(Self {
            labels: [
                (WORKER_LABEL, IS_ANNOUNCED.to_owned()),
                (ID_HASH_LABEL, id_hash(&worker.address())),
                (CLUSTER_LABEL, cluster.to_owned()),
            ],
            node: serde_json::to_string(&worker.announcement(process))?,
        })
    }
}

/// The selector of the pods on which the Indexer at that `host:port` announces itself.
#[must_use]
pub fn indexer_selector(cluster: &str, address: &str) -> String {
    let hash = id_hash(address);
    format!("{CLUSTER_LABEL}={cluster},{INDEXER_LABEL}={IS_ANNOUNCED},{ID_HASH_LABEL}={hash}")
}

/// The absolute value of Java's `String.hashCode` of `host:port`.
fn id_hash(address: &str) -> String {
    let add = |hash: i32, unit: u16| hash.wrapping_mul(31).wrapping_add(i32::from(unit));
    address.encode_utf16().fold(0, add).unsigned_abs().to_string()
}

#[cfg(test)]
#[path = "pod_announcement_tests.rs"]
mod tests;
