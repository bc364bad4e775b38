//! How many Indexers an `IndexerPool` of mode `Shared` has, if it finds that out itself.

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Bounds and target of the number of Indexers.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = kube::core::Rule::new("self.min <= self.max").message("min must be at most max"))]
pub struct PoolAutoscaling {
    /// Least Indexers. With 0, the pool has none while it has no task and none waits. 0 to 200. Default: 0. Example: `1`.
    #[serde(default)]
    #[schemars(range(min = 0, max = super::indexer_pool::MOST_IDLE))]
    pub min: u32,

    /// Most Indexers. 1 to 200. Required. No default. Example: `10`.
    #[schemars(range(min = 1, max = super::indexer_pool::MOST_IDLE))]
    pub max: u32,

    /// How much of the slots is to be in use, in percent: the rest is for tasks that come next. 10 to 100. Default: 80.
    /// Example: `100`.
    #[serde(default = "target")]
    #[schemars(range(min = 10, max = 100))]
    pub target_percent: u32,

    /// Seconds for which fewer Indexers must be enough before surplus ones are drained. 0 to 86400. Default: 300. Example: `60`.
    #[serde(default = "stable")]
    #[schemars(range(min = 0, max = 86_400))]
    pub scale_down_after_seconds: u32,
}

fn target() -> u32 {
    80
}

fn stable() -> u32 {
    300
}

/// What the operator made of `autoscaling`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PoolScaling {
    /// Number of Indexers that is aimed at. Example: `4`.
    pub desired_replicas: u32,

    /// Why it is this number. Example: `from 1 to 4 Indexers: 4 tasks have slots, and 9 wait for one`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 256))]
    pub message: Option<String>,
}
