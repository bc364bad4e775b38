//! `retry`: when a failed attempt is followed by another one.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::schema;

/// When a failed attempt is followed by another one. Each cause has its own budget, so that a drained node does not use
/// up the attempts meant for memory.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RetryPolicy {
    /// Which tasks are run again after their peon began. `Safe`: those that cannot write anything twice (`noop`,
    /// `kill`, streaming tasks and `index` that does not append). `Always`: every task but the subtasks of another
    /// task. `Never`: none. An attempt whose peon never began is followed by another one in any case. Default: `Safe`.
    /// Example: `Always`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::described::<Rerun>")]
    pub rerun: Option<Rerun>,

    /// Retries per cause. Default: `Drained`, `Preempted`, `NodeShutdown` and `PodRejected` 10; `OOMKilled` and
    /// `JavaOutOfMemory` 4; `Evicted`, `NodeLost`, `PodDeleted` and `ContainerStart` 3; `NoVerdict` 1; `TaskFailed` 0.
    /// Example: `{TaskFailed: 2, OOMKilled: 0}`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(schema_with = "schema::retry_limits")]
    pub limits: BTreeMap<String, u32>,

    /// How the memory grows after `OOMKilled` and `JavaOutOfMemory`. Example: `{factorPercent: 200}`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory: Option<MemoryLadder>,

    /// Seconds before the second attempt, 0 to 3600. The wait doubles with each later attempt, up to ten minutes or
    /// this value, whichever is more. Default: 10. Example: `30`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 3600))]
    pub backoff_seconds: Option<u32>,

    /// What happens when the peon's node was deleted, or tainted `node.kubernetes.io/out-of-service`. `Wait`: the task
    /// waits for proof that its peon is dead, with the reason `AwaitingNodeProof`. `Rerun`: the loss of the node is that
    /// proof, and another attempt may follow. Only the administrator of the nodes can know this: a node that is merely
    /// cut off goes on running the peon. Default: `Wait`. Example: `Rerun`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::described::<AfterNodeLoss>")]
    pub after_node_loss: Option<AfterNodeLoss>,
}

/// What happens when a peon's node was deleted or tainted out-of-service.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum AfterNodeLoss {
    /// The task waits for proof that its peon is dead.
    #[default]
    Wait,
    /// The loss is that proof.
    Rerun,
}

/// Which tasks are run again after their peon began.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Rerun {
    /// Tasks that cannot write anything twice.
    #[default]
    Safe,
    /// Every task but the subtasks of another task.
    Always,
    /// No task.
    Never,
}

/// How the memory of the next attempt grows after an attempt ran out of memory. Limit, request, heap, direct memory and
/// buffers grow together, and stay grown for all later attempts.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct MemoryLadder {
    /// The next limit in percent of the last one, 101 to 1000. Default: 150. Example: `200`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 101, max = 1000))]
    pub factor_percent: Option<u32>,

    /// The largest limit, in bytes as a Kubernetes quantity. Default: four times the first attempt's, or the template's
    /// `overrides.maxMemory` if that is less. Example: `16Gi`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::quantity")]
    pub max: Option<Quantity>,
}
