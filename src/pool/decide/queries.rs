//! Whether brokers query what streaming tasks in a pool have not published (pure).

use kube::ResourceExt;

use crate::api::conditions::{Conditions, QUERIES_SERVED};
use crate::api::reason::QueriesServed;
use crate::api::{IndexerPool, PoolServing, VirtualMiddleManager};

/// What became of `serving: Queries`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Queries {
    /// The reason of `QueriesServed`.
    pub reason: QueriesServed,
    /// Its message.
    pub message: String,
}

impl Queries {
    /// With the VirtualMiddleManager that the pool names; `None` for a pool that is not to serve queries.
    #[must_use]
    pub fn of(pool: &IndexerPool, manager: &VirtualMiddleManager) -> Option<Self> {
        if pool.spec.serving != PoolServing::Queries {
            return None;
        }
        let name = manager.name_any();
        Some(if manager.spec.discovery.kubernetes.is_some() {
            Self {
                reason: QueriesServed::KubernetesDiscovery,
                message: format!(
                    "serving: Queries has no effect: the VirtualMiddleManager {name} has discovery.kubernetes, and Indexers \
                     can be announced to brokers in ZooKeeper only. Streaming tasks run in pods of their own, which \
                     announce themselves, unless match.types or the task's poolRef chooses the pool: then what they have \
                     not published cannot be queried"
                ),
            }
        } else {
            Self {
                reason: QueriesServed::ZooKeeperDiscovery,
                message: format!(
                    "the VirtualMiddleManager {name} announces Indexers to brokers and coordinators when they are proven \
                     hidden from the overlord"
                ),
            }
        })
    }

    /// Whether brokers find the Indexers.
    #[must_use]
    pub fn are_served(&self) -> bool {
        self.reason == QueriesServed::ZooKeeperDiscovery
    }

    /// Sets the condition, or removes it.
    pub(super) fn describe(queries: Option<&Self>, conditions: &mut Conditions) {
        match queries {
            Some(queries) => {
                conditions.set(
                    QUERIES_SERVED,
                    queries.are_served(),
                    &queries.reason,
                    &queries.message,
                );
            }
            None => conditions.remove(QUERIES_SERVED),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::pool::fixtures::{manager, pool};

    fn served(serving: Value, discovery: &Value) -> Option<(bool, &'static str)> {
        let (pool, manager) = (pool(serving), manager(json!({ "discovery": discovery })));
        Queries::of(&pool, &manager).map(|queries| (queries.are_served(), queries.reason.as_str()))
    }

    #[test]
    fn indexers_are_announced_in_zookeeper_only() {
        let [zookeeper, kubernetes] = [
            json!({"zookeeper": {"hosts": "z:2181"}}),
            json!({"kubernetes": {"clusterIdentifier": "analytics"}}),
        ];
        let queries = || json!({"serving": "Queries"});
        assert_eq!(served(queries(), &zookeeper), Some((true, "ZooKeeperDiscovery")));
        assert_eq!(
            served(queries(), &kubernetes),
            Some((false, "KubernetesDiscovery"))
        );
        for discovery in [zookeeper, kubernetes] {
            assert_eq!(served(json!({}), &discovery), None);
        }
    }
}
