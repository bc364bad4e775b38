//! What an overlord of Druid knows of its workers, by the rules of its Kubernetes extension.
//!
//! It lists and watches pods with the labels of cluster and role. A pod counts while all of its containers are ready; an
//! event `DELETED`, which a watch also gets for a pod that lost its labels, removes it. Workers are told apart by
//! `host:port`, and one that is known is not changed.

use std::collections::BTreeMap;

use serde_json::Value;

pub(super) const CLUSTER: &str = "analytics";

/// A worker as the overlord knows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Seen {
    pub(super) capacity: u64,
    pub(super) instance: String,
}

/// What the overlord noticed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Change {
    Added(String, Seen),
    Removed(String),
}

/// What the overlord knows by following every state of every pod.
#[derive(Debug, Default)]
pub(super) struct DruidReader {
    pub(super) workers: BTreeMap<String, Seen>,
    pub(super) changes: Vec<Change>,
    /// Addresses by pod, of the pods that the selector had.
    selected: BTreeMap<String, String>,
}

impl DruidReader {
    /// Follows a whole history.
    ///
    /// # Panics
    /// Where a list of Druid would fail: a pod that the selector has and that cannot be read.
    pub(super) fn of(history: &[(String, Option<Value>)]) -> Self {
        let mut reader = Self::default();
        for (pod, state) in history {
            reader.see(pod, state.as_ref());
        }
        reader
    }

    fn see(&mut self, pod: &str, state: Option<&Value>) {
        let Some(state) = state.filter(|pod| is_selected(pod)) else {
            if let Some(address) = self.selected.remove(pod) {
                self.remove(&address);
            }
            return;
        };
        let (address, worker) = read(state);
        self.selected.insert(pod.to_owned(), address.clone());
        let containers = state["status"]["containerStatuses"].as_array().unwrap();
        if containers.is_empty() || !containers.iter().all(|c| c["ready"] == true) {
            self.remove(&address);
        } else if !self.workers.contains_key(&address) {
            self.changes.push(Change::Added(address.clone(), worker.clone()));
            self.workers.insert(address, worker);
        }
    }

    fn remove(&mut self, address: &str) {
        if self.workers.remove(address).is_some() {
            self.changes.push(Change::Removed(address.to_owned()));
        }
    }
}

fn is_selected(pod: &Value) -> bool {
    let labels = &pod["metadata"]["labels"];
    labels["druidDiscoveryAnnouncement-cluster-identifier"] == CLUSTER
        && labels["druidDiscoveryAnnouncement-middleManager"] == "true"
}

/// `DiscoveryDruidNode`, with what an overlord cannot do without.
fn read(pod: &Value) -> (String, Seen) {
    let node = pod["metadata"]["annotations"]["druidNodeInfo-middleManager"].as_str();
    let node: Value = serde_json::from_str(node.expect("a pod with the labels and no annotation")).unwrap();
    assert_eq!(node["nodeType"], "middleManager");
    let (druid, worker) = (&node["druidNode"], &node["services"]["workerNodeService"]);
    assert_eq!(druid["service"], "druid/middleManager");
    assert_eq!(worker["type"], "workerNodeService");
    for field in ["ip", "version", "category"] {
        assert!(worker[field].is_string(), "{node}");
    }
    let port = if druid["enableTlsPort"] == true {
        &druid["tlsPort"]
    } else {
        &druid["plaintextPort"]
    };
    let address = format!("{}:{port}", druid["host"].as_str().unwrap());
    let seen = Seen {
        capacity: worker["capacity"].as_u64().unwrap(),
        instance: druid["labels"]["peon.dev/instance"].as_str().unwrap().to_owned(),
    };
    (address, seen)
}
