//! Looks at the API server itself, past all caches.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use k8s_openapi::api::core::v1::{ConfigMap, Event as CoreEvent, Node, Pod, Secret};
use k8s_openapi::jiff::Timestamp;
use kube::api::ListParams;
use kube::core::PartialObjectMeta;
use kube::{Api, Client};
use parking_lot::Mutex;

use super::act::{ActError, timed};
use super::death::NodeState;
use super::evidence::Evidence;
use super::snapshot::Live;
use super::waiting::PodWarning;
use crate::api::{PeonTask, TaskFrom};

/// Events read of one pod; its newest Warnings are among them unless it has more than these.
const EVENTS: u32 = 100;
/// For how long what was seen of a node serves all tasks that ask: many may have been on one.
const NODE_FRESH: Duration = Duration::from_secs(5);
/// The taint by which an administrator says that a node is off.
const OUT_OF_SERVICE: &str = "node.kubernetes.io/out-of-service";

/// Reads what a decision needs and no cache has.
#[derive(Clone)]
pub struct Eyes {
    client: Client,
    nodes: Arc<Mutex<HashMap<String, (Instant, NodeState)>>>,
}

impl Eyes {
    /// Reads through this client.
    #[must_use]
    pub fn new(client: Client) -> Self {
        Self {
            client,
            nodes: Arc::default(),
        }
    }

    /// ConfigMap and pod of an attempt, and the version of its task.
    ///
    /// # Access control
    /// configmaps: get. pods: get. peontasks: get.
    ///
    /// # Errors
    /// When one of them cannot be read.
    pub async fn look_live(&self, namespace: &str, name: &str, task: &str) -> Result<Live, ActError> {
        let config_maps: Api<ConfigMap> = Api::namespaced(self.client.clone(), namespace);
        let pods: Api<Pod> = Api::namespaced(self.client.clone(), namespace);
        let config_map = timed("get configmap", config_maps.get_opt(name)).await?;
        let pod = timed("get pod", pods.get_opt(name)).await?;
        // Last: a version that is still the cache's proves that the status said nothing else before the others
        // were read.
        let tasks: Api<PartialObjectMeta<PeonTask>> = Api::namespaced(self.client.clone(), namespace);
        let task = timed("get peontask", tasks.get_metadata_opt(task)).await?;
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

    /// The chunks of a payload, in order; or the first that is missing, by name.
    ///
    /// # Access control
    /// configmaps: get. secrets: get.
    ///
    /// # Errors
    /// When the API server fails.
    pub async fn read_chunks(
        &self,
        namespace: &str,
        from: &TaskFrom,
    ) -> Result<Result<Vec<Vec<u8>>, String>, ActError> {
        let config_maps: Api<ConfigMap> = Api::namespaced(self.client.clone(), namespace);
        let secrets: Api<Secret> = Api::namespaced(self.client.clone(), namespace);
        let mut parts = Vec::new();
        for chunk in &from.config_maps {
            let found = timed("get configmap", config_maps.get_opt(&chunk.name)).await?;
            let Some(found) = found else {
                return Ok(Err(format!("the ConfigMap {}", chunk.name)));
            };
            let binary = found
                .binary_data
                .and_then(|mut d| d.remove(&chunk.key))
                .map(|b| b.0);
            let text = || {
                found
                    .data
                    .and_then(|mut d| d.remove(&chunk.key))
                    .map(String::into_bytes)
            };
            match binary.or_else(text) {
                Some(part) => parts.push(part),
                None => {
                    return Ok(Err(format!(
                        "the key {} of the ConfigMap {}",
                        chunk.key, chunk.name
                    )));
                }
            }
        }
        for chunk in &from.secrets {
            let found = timed("get secret", secrets.get_opt(&chunk.name)).await?;
            let Some(found) = found else {
                return Ok(Err(format!("the Secret {}", chunk.name)));
            };
            match found.data.and_then(|mut d| d.remove(&chunk.key)) {
                Some(part) => parts.push(part.0),
                None => return Ok(Err(format!("the key {} of the Secret {}", chunk.key, chunk.name))),
            }
        }
        Ok(Ok(parts))
    }

    /// The Warning Events of a pod, newest first.
    ///
    /// # Access control
    /// events (core): list.
    ///
    /// # Errors
    /// When they cannot be read.
    pub async fn read_warnings(&self, namespace: &str, uid: &str) -> Result<Vec<PodWarning>, ActError> {
        let api: Api<CoreEvent> = Api::namespaced(self.client.clone(), namespace);
        let params = ListParams::default()
            .fields(&format!("involvedObject.uid={uid},type=Warning"))
            .limit(EVENTS);
        let mut events = timed("list events", api.list(&params)).await?.items;
        events.sort_by_key(|e| {
            let last = e.last_timestamp.as_ref().map(|t| t.0);
            std::cmp::Reverse(last.or_else(|| e.metadata.creation_timestamp.as_ref().map(|t| t.0)))
        });
        let warning = |e: CoreEvent| PodWarning {
            reason: e.reason.unwrap_or_default(),
            message: e.message.unwrap_or_default(),
        };
        Ok(events.into_iter().map(warning).collect())
    }

    /// The node of a pod. Where nobody knows which it is, the scheduler's Events do, for as long as the cluster keeps
    /// them.
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
    ) -> Result<NodeState, ActError> {
        let node = match node {
            Some(node) => node,
            None => match self.scheduled(namespace, pod_uid).await? {
                Scheduled::On(node) => node,
                Scheduled::Never => return Ok(NodeState::NeverBound),
                Scheduled::Unknown => return Ok(NodeState::Unknown),
            },
        };
        let now = Instant::now();
        if let Some((seen, state)) = self.nodes.lock().get(&node)
            && now.duration_since(*seen) < NODE_FRESH
        {
            return Ok(state.clone());
        }
        let api: Api<Node> = Api::all(self.client.clone());
        let state = match timed("get node", api.get_opt(&node)).await {
            Ok(None) => NodeState::Deleted,
            Ok(Some(found)) => state_of(&found),
            Err(ActError::Api { source, .. }) if matches!(&*source, kube::Error::Api(s) if s.code == 403) => {
                NodeState::Forbidden
            }
            Err(error) => return Err(error),
        };
        let mut nodes = self.nodes.lock();
        nodes.retain(|_, (seen, _)| now.duration_since(*seen) < NODE_FRESH);
        nodes.insert(node, (now, state.clone()));
        Ok(state)
    }

    async fn scheduled(&self, namespace: &str, pod_uid: &str) -> Result<Scheduled, ActError> {
        let api: Api<CoreEvent> = Api::namespaced(self.client.clone(), namespace);
        let params = ListParams::default()
            .fields(&format!("involvedObject.uid={pod_uid}"))
            .limit(EVENTS);
        let events = timed("list events", api.list(&params)).await?.items;
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

/// What the Events of a pod tell of its node.
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
