//! Reads from the API server itself, past all caches.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use k8s_openapi::api::core::v1::{ConfigMap, Event as CoreEvent, Node};
use k8s_openapi::jiff::Timestamp;
use kube::api::ListParams;
use kube::core::PartialObjectMeta;
use kube::{Api, Client};
use parking_lot::Mutex;

use crate::api::PeonTask;
use crate::apiserver::classify::watched_pod::WatchedPod;
use crate::apiserver::request::{RequestError, request};
use crate::clock::Clock;
use crate::payload::read::PayloadReader;
use crate::task::decide::event_budget::{EventBudget, Pause};
use crate::task::decide::waiting::PodWarning;
use crate::task::run::death::NodeState;
use crate::task::run::pod::evidence::Evidence;
use crate::task::snapshot::Live;

/// Events read of one pod; they include its newest Warnings unless it has more Events than this.
const EVENTS: u32 = 100;
/// How long the state of a node, responsive or not, is reused for all tasks that ask: many may have been on one. A node
/// that was written off proves deaths at once, so this state is never reused for another pod, which may be younger than
/// the state.
const NODE_FRESH: Duration = Duration::from_secs(5);
/// Interval between two lists of Events about what a pod waits for: of the process, and for pods of one namespace.
const WARNINGS: Pause = Pause {
    process: Duration::from_secs(5),
    namespace: Duration::from_secs(20),
};
/// Interval between two lists of Events about the node on which a pod ran.
const NODE_EVENTS: Pause = Pause {
    process: Duration::from_secs(1),
    namespace: Duration::from_secs(2),
};
/// The taint by which an administrator declares that a node is off.
const OUT_OF_SERVICE: &str = "node.kubernetes.io/out-of-service";

/// Reads what a decision needs and no cache has.
#[derive(Clone)]
pub struct LiveReader {
    client: Client,
    nodes: Arc<Mutex<HashMap<String, (Instant, NodeState)>>>,
    /// Reads payloads.
    pub(super) payloads: PayloadReader,
    warnings: Arc<EventBudget>,
    /// An attempt waits for these, and not just a message: they may be listed more often.
    node_events: Arc<EventBudget>,
    clock: Clock,
}

impl LiveReader {
    /// Reads through this client.
    #[must_use]
    pub fn new(client: Client, clock: Clock) -> Self {
        Self {
            payloads: PayloadReader::new(client.clone()),
            client,
            nodes: Arc::default(),
            warnings: Arc::new(EventBudget::new(WARNINGS)),
            node_events: Arc::new(EventBudget::new(NODE_EVENTS)),
            clock,
        }
    }

    /// ConfigMap and pod of an attempt, and the version of its task.
    ///
    /// # Access control
    /// configmaps: get. pods: get. peontasks: get.
    ///
    /// # Errors
    /// When one of them cannot be read.
    pub async fn look_live(&self, namespace: &str, name: &str, task: &str) -> Result<Live, RequestError> {
        let config_maps: Api<ConfigMap> = Api::namespaced(self.client.clone(), namespace);
        let pods: Api<WatchedPod> = Api::namespaced(self.client.clone(), namespace);
        let config_map = request("get configmap", config_maps.get_opt(name)).await?;
        let pod = request("get pod", pods.get_opt(name)).await?;
        // Last: if the version still equals the cache's, the status was unchanged while the others were read.
        let tasks: Api<PartialObjectMeta<PeonTask>> = Api::namespaced(self.client.clone(), namespace);
        let task = request("get peontask", tasks.get_metadata_opt(task)).await?;
        let owner = |meta: &kube::core::ObjectMeta| {
            meta.owner_references
                .iter()
                .flatten()
                .find(|o| o.controller == Some(true))
                .map(|o| o.uid.clone())
        };
        Ok(Live {
            config_map_owner: config_map.and_then(|c| owner(&c.metadata)),
            pod: pod.as_ref().map(Evidence::of),
            task_version: task.and_then(|t| t.metadata.resource_version),
        })
    }

    /// The Warning Events of a pod, newest first; `None` if Events cannot be listed again yet.
    ///
    /// # Access control
    /// events (core): list.
    ///
    /// # Errors
    /// When they cannot be read.
    pub async fn read_warnings(
        &self,
        namespace: &str,
        uid: &str,
    ) -> Result<Option<Vec<PodWarning>>, RequestError> {
        if !self.warnings.take(namespace, self.clock.instant()) {
            return Ok(None);
        }
        let api: Api<CoreEvent> = Api::namespaced(self.client.clone(), namespace);
        let params = ListParams::default()
            .fields(&format!("involvedObject.uid={uid},type=Warning"))
            .limit(EVENTS);
        let mut events = request("list events", api.list(&params)).await?.items;
        events.sort_by_key(|e| {
            let last = e.last_timestamp.as_ref().map(|t| t.0);
            std::cmp::Reverse(last.or_else(|| e.metadata.creation_timestamp.as_ref().map(|t| t.0)))
        });
        let warning = |e: CoreEvent| PodWarning {
            reason: e.reason.unwrap_or_default(),
            message: e.message.unwrap_or_default(),
        };
        Ok(Some(events.into_iter().map(warning).collect()))
    }

    /// The node of a pod. If its name is unknown, it is looked up in the scheduler's Events, for as long as the cluster
    /// keeps them.
    ///
    /// # Access control
    /// nodes: get. events (core): list.
    ///
    /// # Errors
    /// When the API server fails; a node that may not be read is an answer.
    pub async fn look_node(
        &self,
        namespace: &str,
        node: Option<String>,
        pod_uid: &str,
    ) -> Result<NodeState, RequestError> {
        let node = match node {
            Some(node) => node,
            None if !self.node_events.take(namespace, self.clock.instant()) => return Ok(NodeState::Later),
            None => match self.scheduled(namespace, pod_uid).await? {
                Scheduled::On(node) => node,
                Scheduled::Never => return Ok(NodeState::NeverBound),
                Scheduled::Unknown => return Ok(NodeState::Unknown),
            },
        };
        let now = self.clock.instant();
        if let Some((seen, state)) = self.nodes.lock().get(&node)
            && now.duration_since(*seen) < NODE_FRESH
        {
            return Ok(state.clone());
        }
        let api: Api<Node> = Api::all(self.client.clone());
        let state = match request("get node", api.get_opt(&node)).await {
            Ok(None) => NodeState::Deleted,
            Ok(Some(found)) => state_of(&found),
            Err(error) if error.code() == Some(403) => NodeState::Forbidden,
            Err(error) => return Err(error),
        };
        let mut nodes = self.nodes.lock();
        nodes.retain(|_, (seen, _)| now.duration_since(*seen) < NODE_FRESH);
        if matches!(state, NodeState::NotReady | NodeState::Ready(_)) {
            nodes.insert(node, (now, state.clone()));
        }
        Ok(state)
    }

    async fn scheduled(&self, namespace: &str, pod_uid: &str) -> Result<Scheduled, RequestError> {
        let api: Api<CoreEvent> = Api::namespaced(self.client.clone(), namespace);
        let params = ListParams::default()
            .fields(&format!("involvedObject.uid={pod_uid}"))
            .limit(EVENTS);
        let events = request("list events", api.list(&params)).await?.items;
        let bound = events.iter().find(|e| e.reason.as_deref() == Some("Scheduled"));
        let node = bound
            .and_then(|e| e.message.as_deref())
            .and_then(|m| m.rsplit_once(" to "));
        Ok(match node {
            Some((_, node)) => Scheduled::On(node.trim().to_owned()),
            None if events
                .iter()
                .any(|e| e.reason.as_deref() == Some("FailedScheduling")) =>
            {
                Scheduled::Never
            }
            None => Scheduled::Unknown,
        })
    }
}

/// What the Events of a pod say about its node.
enum Scheduled {
    On(String),
    Never,
    Unknown,
}

fn state_of(node: &Node) -> NodeState {
    let taints = node.spec.as_ref().and_then(|s| s.taints.as_ref());
    if taints.into_iter().flatten().any(|t| t.key == OUT_OF_SERVICE) {
        return NodeState::OutOfService;
    }
    let conditions = node.status.as_ref().and_then(|s| s.conditions.as_ref());
    let ready = conditions
        .into_iter()
        .flatten()
        .find(|c| c.type_ == "Ready" && c.status == "True");
    match ready {
        Some(c) => NodeState::Ready(
            c.last_transition_time
                .as_ref()
                .map_or(Timestamp::UNIX_EPOCH, |t| t.0),
        ),
        None => NodeState::NotReady,
    }
}

#[cfg(test)]
#[path = "live_read_tests.rs"]
mod tests;
