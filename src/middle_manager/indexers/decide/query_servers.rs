//! Which Indexers are announced to brokers and coordinators (pure).

use std::collections::BTreeMap;

use super::checks::Checks;
use super::pod::IndexerPod;
use crate::druid::query_server::QueryServer;

/// The Indexers of pools that serve queries, by uid of the pod: from the proof that the overlord does not see it until its
/// pod has ended. One that is not ready for a while stays: brokers notice themselves whether it answers.
#[derive(Debug, Default)]
pub struct QueryServers {
    known: BTreeMap<String, QueryServer>,
}

impl QueryServers {
    /// Takes note of the pods that have not ended, and of what is known of them. Returns what is to be announced, by
    /// `host:port`.
    #[must_use]
    pub fn see(&mut self, pods: &[IndexerPod], checks: &Checks) -> BTreeMap<String, QueryServer> {
        let mut known = std::mem::take(&mut self.known);
        for pod in pods.iter().filter(|pod| pod.serves_queries) {
            let before = known.remove(&pod.uid);
            let ready = pod.ready.as_ref().filter(|_| checks.is_hidden(&pod.uid));
            let server = ready.map(|endpoint| QueryServer {
                ip: endpoint.ip.clone(),
                ports: endpoint.ports,
            });
            if let Some(server) = server.or(before) {
                self.known.insert(pod.uid.clone(), server);
            }
        }
        let servers = self.known.values();
        servers.map(|server| (server.address(), server.clone())).collect()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::time::Instant;

    use super::*;
    use crate::druid::indexer_ports::IndexerPorts;
    use crate::middle_manager::indexers::decide::finding::Finding;
    use crate::middle_manager::indexers::decide::pod::{Endpoint, PoolId};
    use crate::middle_manager::object_fixtures::at;

    fn pod(uid: u8, serves_queries: bool) -> IndexerPod {
        IndexerPod {
            uid: uid.to_string(),
            pool: PoolId {
                name: "warm".into(),
                uid: "pool".into(),
            },
            serves_queries,
            is_terminating: false,
            ready: Some(Endpoint {
                ports: IndexerPorts::default(),
                ip: format!("10.0.0.{uid}"),
                started: at(110),
            }),
        }
    }

    /// Checks that found all of them hidden.
    fn proven(pods: &[IndexerPod]) -> Checks {
        let (mut checks, now) = (Checks::default(), Instant::now());
        checks.see(pods, now);
        for read in checks.reads(now) {
            checks.read(&read, Finding::Hidden, now);
        }
        let asked = checks.ask(now);
        checks.listed(asked, Ok(&BTreeSet::new()), now);
        checks
    }

    fn addresses(servers: &BTreeMap<String, QueryServer>) -> Vec<&str> {
        servers.keys().map(String::as_str).collect()
    }

    #[test]
    fn one_that_is_proven_hidden_is_announced_until_its_pod_has_ended() {
        let mut servers = QueryServers::default();
        let mut pods = vec![pod(1, true), pod(2, false), pod(3, true)];
        let mut unproven = Checks::default();
        unproven.see(&pods, Instant::now());
        assert!(servers.see(&pods, &unproven).is_empty());
        let checks = proven(&pods);
        let expected = ["10.0.0.1:8091", "10.0.0.3:8091"];
        assert_eq!(addresses(&servers.see(&pods, &checks)), expected);
        // Its rows stay visible while it is being deleted, while it is not ready, and while all is checked anew.
        pods[0].ready = None;
        pods[2].is_terminating = true;
        assert_eq!(addresses(&servers.see(&pods, &checks)), expected);
        assert_eq!(addresses(&servers.see(&pods, &unproven)), expected);
        pods.remove(0);
        assert_eq!(addresses(&servers.see(&pods, &checks)), ["10.0.0.3:8091"]);
        assert!(servers.see(&[], &checks).is_empty());
        assert!(
            servers.see(&pods, &unproven).is_empty(),
            "another pod, for all that is known"
        );
    }
}
