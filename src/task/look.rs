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
use super::chunks::{Absent, MOST};
use super::death::NodeState;
use super::evidence::Evidence;
use super::payload_consent::may_be_read;
use super::snapshot::Live;
use super::waiting::PodWarning;
use crate::api::{Chunk, PeonTask, TaskFrom, names};
use crate::run::clock::Clock;

/// Events read of one pod; its newest Warnings are among them unless it has more than these.
const EVENTS: u32 = 100;
/// For how long a node that does not answer, or answers, serves all tasks that ask: many may have been on one. That it
/// was written off proves deaths at once, so it never serves another pod, which may be younger than what was seen.
const NODE_FRESH: Duration = Duration::from_secs(5);
/// The taint by which an administrator says that a node is off.
const OUT_OF_SERVICE: &str = "node.kubernetes.io/out-of-service";

/// Reads what a decision needs and no cache has.
#[derive(Clone)]
pub struct Eyes {
    client: Client,
    nodes: Arc<Mutex<HashMap<String, (Instant, NodeState)>>>,
    clock: Clock,
}

impl Eyes {
    /// Reads through this client.
    #[must_use]
    pub fn new(client: Client, clock: Clock) -> Self {
        Self {
            client,
            nodes: Arc::default(),
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

    /// The chunks of the payload of the PeonTask with this uid, in order; or why one of them cannot be had. Where they are
    /// too large, no more of them than show it. An object that is not for this task is as good as missing.
    ///
    /// # Access control
    /// configmaps: get. secrets: get.
    ///
    /// # Errors
    /// When the API server fails.
    pub async fn read_chunks(
        &self,
        namespace: &str,
        task_uid: Option<&str>,
        from: &TaskFrom,
    ) -> Result<Result<Vec<Vec<u8>>, Absent>, ActError> {
        let config_maps: Api<ConfigMap> = Api::namespaced(self.client.clone(), namespace);
        let secrets: Api<Secret> = Api::namespaced(self.client.clone(), namespace);
        let chunks = from.config_maps.iter().map(|c| ("ConfigMap", c));
        let chunks = chunks.chain(from.secrets.iter().map(|c| ("Secret", c)));
        let (mut parts, mut size) = (Vec::new(), 0);
        for (kind, Chunk { name, key }) in chunks {
            let object = format!("the {kind} {name}");
            // The name becomes a part of a path.
            if !names::is_object_name(name) {
                return Ok(Err(Absent::Missing(object)));
            }
            let entry = if kind == "Secret" {
                let found = timed("get secret", secrets.get_opt(name)).await;
                let found = found.map(|f| f.filter(|s| may_be_read(&s.metadata, task_uid)));
                found.map(|f| f.map(|s| s.data.and_then(|mut d| d.remove(key)).map(|b| b.0)))
            } else {
                let found = timed("get configmap", config_maps.get_opt(name)).await;
                let found = found.map(|f| f.filter(|c| may_be_read(&c.metadata, task_uid)));
                found.map(|f| f.map(|c| entry_of(c, key)))
            };
            let part = match entry {
                Ok(Some(Some(part))) => part,
                Ok(Some(None)) => return Ok(Err(Absent::Missing(format!("the key {key} of {object}")))),
                Ok(None) => return Ok(Err(Absent::Missing(object))),
                Err(error) if is_forbidden(&error) => return Ok(Err(Absent::Forbidden(object))),
                Err(error) => return Err(error),
            };
            size += part.len();
            parts.push(part);
            if size > MOST {
                break;
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
        let now = self.clock.instant();
        if let Some((seen, state)) = self.nodes.lock().get(&node)
            && now.duration_since(*seen) < NODE_FRESH
        {
            return Ok(state.clone());
        }
        let api: Api<Node> = Api::all(self.client.clone());
        let state = match timed("get node", api.get_opt(&node)).await {
            Ok(None) => NodeState::Deleted,
            Ok(Some(found)) => state_of(&found),
            Err(error) if is_forbidden(&error) => NodeState::Forbidden,
            Err(error) => return Err(error),
        };
        let mut nodes = self.nodes.lock();
        nodes.retain(|_, (seen, _)| now.duration_since(*seen) < NODE_FRESH);
        if matches!(state, NodeState::NotReady | NodeState::Ready(_)) {
            nodes.insert(node, (now, state.clone()));
        }
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

fn is_forbidden(error: &ActError) -> bool {
    matches!(error, ActError::Api { source, .. } if matches!(&**source, kube::Error::Api(s) if s.code == 403))
}

fn entry_of(config_map: ConfigMap, key: &str) -> Option<Vec<u8>> {
    let binary = config_map.binary_data.and_then(|mut d| d.remove(key));
    let text = config_map.data.and_then(|mut d| d.remove(key));
    binary.map(|b| b.0).or_else(|| text.map(String::into_bytes))
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
#[path = "look_tests.rs"]
mod tests;
