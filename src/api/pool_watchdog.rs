//! `spec.watchdog` and `spec.recycle` of an `IndexerPool`.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Default of `cordonLivePercent`.
pub const LIVE_PERCENT: u8 = 80;
/// Default of `cordonGcPercent`.
pub const GC_PERCENT: u8 = 20;
/// Default of `recycle.liveHeapPercent`.
pub const LIVE_HEAP_PERCENT: u8 = 70;

/// When a shared Indexer gets no task for now, by what its garbage collector writes into its log. Its tasks go on.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PoolWatchdog {
    /// How much of the heap the last full collection leaves in use, of G1 also the last marking, in percent; the Indexer gets
    /// tasks again at 5 less, or when it has no task. 10 to 100; 100 never cordons. Default: 80. Example: `90`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 10, max = 100))]
    pub cordon_live_percent: Option<u8>,

    /// How much of the last ten seconds collections took, in percent; the Indexer gets tasks again at half of it. 5 to 100;
    /// 100 never cordons. Default: 20. Example: `30`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 5, max = 100))]
    pub cordon_gc_percent: Option<u8>,
}

/// When an Indexer is replaced by a new one.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PoolRecycle {
    /// Age of an Indexer in seconds at which it is replaced, if it has no task. 600 to 31536000. Default: 86400.
    /// Example: `43200`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 600, max = 31_536_000))]
    pub max_age_seconds: Option<u32>,

    /// Number of tasks after which an Indexer is replaced, so that what tasks leave in a JVM does not add up: it gets no
    /// further task when a new one is ready, and is deleted when its tasks have ended. A process of the operator counts the
    /// tasks whose PeonTasks exist when it begins, and those that come. Only with `Shared`. 1 to 4000. Default: 2000.
    /// Example: `500`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 4000))]
    pub max_tasks: Option<u32>,

    /// How much of the heap a full garbage collection may leave in use, in percent, beside what the tasks of that time may hold
    /// (twice `taskBytes` each). With more, earlier tasks left something behind: the Indexer is replaced as with `maxTasks`.
    /// Only with `Shared`. 10 to 100; 100 never replaces. Default: 70. Example: `80`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 10, max = 100))]
    pub live_heap_percent: Option<u8>,
}
