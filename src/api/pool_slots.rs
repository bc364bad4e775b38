//! How tasks share the Indexers of an `IndexerPool`, and what those do that find no room.

use std::time::Duration;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::indexer_pool::{IndexerPoolSpec, PoolMode};
use super::schema;

/// How many tasks an Indexer runs at the same time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PoolSlots {
    /// Tasks that hold rows in memory. The memory of an Indexer is divided by this number. 1 to 64. Default: 4. Example:
    /// `2`.
    #[serde(default = "four")]
    #[schemars(range(min = 1, max = 64))]
    pub heavy: u32,

    /// Tasks that leave the rows to others: `kill`, and `index_parallel` and `compact` with `maxNumConcurrentSubTasks`
    /// above 1. They have slots of their own, so that a task never waits for its own subtasks. 0 to 64. Default: 4.
    /// Example: `8`.
    #[serde(default = "four")]
    #[schemars(range(min = 0, max = 64))]
    pub light: u32,
}

fn four() -> u32 {
    4
}

impl Default for PoolSlots {
    fn default() -> Self {
        Self { heavy: 4, light: 4 }
    }
}

/// What tasks have in common that need about the same memory.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct TaskKind {
    /// Their type. Example: `index_parallel`.
    #[schemars(length(max = 256))]
    pub task_type: String,

    /// Their datasource, if they have one. Example: `wikipedia`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 256))]
    pub data_source: Option<String>,
}

/// A kind of tasks that runs alone.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PoolQuarantine {
    /// The kind. Example: `{taskType: index, dataSource: wikipedia}`.
    #[schemars(schema_with = "schema::described::<TaskKind>")]
    pub kind: TaskKind,

    /// Until then. Example: `2026-11-30T12:00:00Z`.
    pub until: Time,
}

/// An Indexer that ran out of memory.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PoolOutOfMemory {
    /// Uid of its pod. Example: `8f3c2a52-6c0e-4a55-9d3d-2f1f7c1f0a11`.
    #[serde(rename = "podUID")]
    #[schemars(length(max = 64))]
    pub pod_uid: String,

    /// When it ended. Example: `2026-11-29T12:00:00Z`.
    pub time: Time,

    /// The kinds of the tasks that ran there. Example: `[{taskType: index, dataSource: wikipedia}]`.
    #[schemars(length(max = 10))]
    pub kinds: Vec<TaskKind>,
}

/// What a task does that no Indexer has room for.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PoolOverflow {
    /// `Pod`: it runs in its own pod after `afterSeconds`. `Wait`: it waits for an Indexer, unless it is a subtask, whose
    /// supervising task may hold the slot that it waits for. Default: `Pod`. Example: `Wait`.
    #[serde(default)]
    #[schemars(schema_with = "schema::described::<Overflow>")]
    pub to: Overflow,

    /// How long it waits for an Indexer before it runs in its own pod, in seconds. 0 to 86400. Default: 0 with `Single`, 5
    /// with `Shared`, 60 with `autoscaling`, since an Indexer may have to start. Example: `30`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 86_400))]
    pub after_seconds: Option<u32>,
}

/// Where a task runs that no Indexer has room for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Overflow {
    /// In its own pod.
    #[default]
    Pod,
    /// It waits.
    Wait,
}

/// How long a task of a shared Indexer may be expected to run, in seconds.
const LONGEST: u32 = 600;

impl IndexerPoolSpec {
    /// Tasks that are expected to run longer share no Indexer; `None` with `Single`.
    #[must_use]
    pub fn longest(&self) -> Option<Duration> {
        let seconds = self.max_expected_seconds.unwrap_or(LONGEST);
        (self.mode == PoolMode::Shared).then(|| Duration::from_secs(seconds.into()))
    }

    /// The slots of each Indexer; `None` with `Single`, where an Indexer runs one task.
    #[must_use]
    pub fn shared_slots(&self) -> Option<PoolSlots> {
        (self.mode == PoolMode::Shared).then(|| self.slots.unwrap_or_default())
    }

    /// How long a task waits for an Indexer before it runs in its own pod; `None`: until there is one.
    #[must_use]
    pub fn overflows_after(&self) -> Option<Duration> {
        let overflow = self.overflow.clone().unwrap_or_default();
        let default = match (self.mode, &self.autoscaling) {
            (PoolMode::Single, _) => 0,
            (PoolMode::Shared, None) => 5,
            (PoolMode::Shared, Some(_)) => 60,
        };
        let seconds = overflow.after_seconds.unwrap_or(default);
        (overflow.to == Overflow::Pod).then(|| Duration::from_secs(seconds.into()))
    }
}
