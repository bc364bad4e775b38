//! The pods of IndexerPools (pure).

use k8s_openapi::api::core::v1::ContainerStatus;
use k8s_openapi::jiff::Timestamp;
use kube::{Resource, ResourceExt};

use crate::api::{ANNOTATION_INDEXER_PORTS, ANNOTATION_SERVING, IndexerPool, PoolServing};
use crate::druid::indexer_ports::IndexerPorts;
use crate::middle_manager::registry::view::{PodStatusView, PodView, started};

/// Longest name of an IndexerPool.
const LONGEST_NAME: usize = 52;

/// An IndexerPool, as its pods name it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PoolId {
    /// Name of the IndexerPool.
    pub name: String,
    /// Uid of the IndexerPool.
    pub uid: String,
}

/// A pod that runs an Indexer and has not ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IndexerPod {
    /// Uid of the pod.
    pub uid: String,
    /// Its IndexerPool.
    pub pool: PoolId,
    /// Whether its pool has brokers query what its tasks have not published.
    pub serves_queries: bool,
    /// Whether it is being deleted.
    pub is_terminating: bool,
    /// Where its Indexer can be called; `None` while it is not ready.
    pub ready: Option<Endpoint>,
}

/// Where a process can be called, and since when it may have been there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoint {
    /// Address of the pod.
    pub ip: String,
    /// Its ports, as the operator had them set.
    pub ports: IndexerPorts,
    /// When the pod's first container started: no process at this address that began earlier is one of this pod.
    /// Whole seconds.
    pub started: Timestamp,
}

impl Endpoint {
    /// `host:port`, by which Druid knows the Indexer.
    #[must_use]
    pub fn address(&self) -> String {
        self.ports.address(&self.ip)
    }
}

impl IndexerPod {
    /// Reads a pod; `None` for one of no IndexerPool that could exist, and for one that has ended: its address may be
    /// another's.
    #[must_use]
    pub fn of(pod: &PodView) -> Option<Self> {
        let owners = pod.owner_references().iter();
        let pool = owners
            .filter(|o| o.controller == Some(true) && o.kind == IndexerPool::kind(&()) && is_name(&o.name))
            .map(|o| PoolId {
                name: o.name.clone(),
                uid: o.uid.clone(),
            })
            .next()?;
        let status = pod.status.clone().unwrap_or_default();
        if matches!(status.phase.as_deref(), Some("Succeeded" | "Failed")) {
            return None;
        }
        let said = pod.annotations().get(ANNOTATION_INDEXER_PORTS);
        let ports = IndexerPorts::read(said.map(String::as_str));
        Some(Self {
            uid: pod.metadata.uid.clone()?,
            pool,
            serves_queries: pod.annotations().get(ANNOTATION_SERVING).map(String::as_str)
                == Some(PoolServing::Queries.as_str()),
            is_terminating: pod.metadata.deletion_timestamp.is_some(),
            ready: endpoint(&status, ports),
        })
    }
}

/// Whether an IndexerPool may have the name. Whoever creates a pod writes its owner references, and the name becomes a
/// part of a path.
fn is_name(name: &str) -> bool {
    let is_possible = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
    !name.is_empty() && name.len() <= LONGEST_NAME && name.bytes().all(is_possible)
}

fn endpoint(status: &PodStatusView, ports: IndexerPorts) -> Option<Endpoint> {
    let is_ready = |c: &k8s_openapi::api::core::v1::PodCondition| c.type_ == "Ready" && c.status == "True";
    status.conditions.iter().any(is_ready).then_some(())?;
    let containers: &[ContainerStatus] = &status.container_statuses;
    Some(Endpoint {
        ip: status.pod_ip.clone().filter(|ip| !ip.is_empty())?,
        ports,
        started: containers.iter().filter_map(started).min()?,
    })
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::apiserver::classify::decode::Readable as _;
    use crate::middle_manager::object_fixtures::{at, indexer, pod, pod_view};

    fn of(change: impl FnOnce(&mut Value)) -> Option<IndexerPod> {
        let mut pod = indexer("u", "10.1.2.3");
        change(&mut pod);
        IndexerPod::of(&pod_view(pod))
    }

    #[test]
    fn a_ready_pod_has_an_address() {
        let expected = IndexerPod {
            uid: "u".into(),
            pool: PoolId {
                name: "warm".into(),
                uid: "pool".into(),
            },
            serves_queries: false,
            is_terminating: false,
            ready: Some(Endpoint {
                ip: "10.1.2.3".into(),
                ports: IndexerPorts::Plain,
                started: at(110),
            }),
        };
        assert_eq!(of(|_| ()), Some(expected.clone()));
        assert_eq!(expected.ready.unwrap().address(), "10.1.2.3:8091");
        // As the operator annotates a pod whose Indexer has a port for TLS.
        let tls = of(|pod| pod["metadata"]["annotations"] = json!({ANNOTATION_INDEXER_PORTS: "http,https"}));
        assert_eq!(tls.unwrap().ready.unwrap().address(), "10.1.2.3:8291");
        // As the watch keeps it.
        let mut pod = indexer("u", "10.1.2.3");
        pod["metadata"]["annotations"] = json!({ANNOTATION_INDEXER_PORTS: "https"});
        let mut pod = pod_view(pod);
        pod.keep().unwrap();
        assert_eq!(
            IndexerPod::of(&pod).unwrap().ready.unwrap().ports,
            IndexerPorts::Tls
        );
        // A container beside the Indexer's may have started earlier.
        let two = of(|pod| {
            let mut other = pod["status"]["containerStatuses"][0].clone();
            other["state"]["running"]["startedAt"] = json!(at(108));
            pod["status"]["containerStatuses"]
                .as_array_mut()
                .unwrap()
                .push(other);
        });
        assert_eq!(two.unwrap().ready.unwrap().started, at(108));
    }

    #[test]
    fn without_readiness_address_or_start_there_is_nothing_to_check() {
        let changes: [fn(&mut Value); 4] = [
            |pod| pod["status"]["conditions"][0]["status"] = json!("False"),
            |pod| pod["status"]["podIP"] = json!(""),
            |pod| pod["status"]["containerStatuses"] = json!([]),
            |pod| pod["status"] = json!({}),
        ];
        for change in changes {
            assert_eq!(of(change).unwrap().ready, None);
        }
        let terminating = of(|pod| pod["metadata"]["deletionTimestamp"] = json!(at(200)));
        assert!(terminating.unwrap().is_terminating);
    }

    #[test]
    fn other_pods_and_those_that_ended_are_none() {
        assert_eq!(IndexerPod::of(&pod_view(pod("u", 1, true, 120))), None);
        for phase in ["Succeeded", "Failed"] {
            assert_eq!(of(|pod| pod["status"]["phase"] = json!(phase)), None);
        }
        assert_eq!(of(|pod| pod["metadata"]["ownerReferences"] = json!([])), None);
        assert_eq!(
            of(|pod| pod["metadata"]["ownerReferences"][0]["controller"] = json!(false)),
            None
        );
        for name in ["../peontasks/a", "a/b", "a?b", "a.b", "", &"a".repeat(53)] {
            assert_eq!(
                of(|pod| pod["metadata"]["ownerReferences"][0]["name"] = json!(name)),
                None
            );
        }
    }
}
