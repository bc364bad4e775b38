//! Sizes in the JVMs of an `IndexerPool`.

use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::schema;

/// Sizes of an Indexer's JVM. What is not given is computed from the memory limit.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PoolSizing {
    /// Memory for rows of a task that are not persisted yet (`druid.worker.globalIngestionHeapLimitBytes` is this times the
    /// slots), in bytes as a Kubernetes quantity. It replaces a task's own `maxRowsInMemory` and `maxBytesInMemory`. At least
    /// 16 MiB. Default: a sixth of the heap, divided by the heavy slots. Example: `256Mi`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::quantity")]
    pub task_bytes: Option<Quantity>,

    /// Heap (`-Xmx`), in bytes as a Kubernetes quantity. Default: the memory limit without direct memory and what the
    /// JVM needs besides. Example: `1Gi`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::quantity")]
    pub heap: Option<Quantity>,

    /// Direct memory (`-XX:MaxDirectMemorySize`), in bytes as a Kubernetes quantity. Default: an eighth of the limit,
    /// 32 MiB to 4 GiB. Example: `256Mi`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::quantity")]
    pub direct: Option<Quantity>,

    /// Size of a processing buffer (`druid.processing.buffer.sizeBytes`), in bytes as a Kubernetes quantity. Default:
    /// what direct memory holds, at most 1 GiB. Example: `32Mi`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::quantity")]
    pub buffer_size_bytes: Option<Quantity>,

    /// Processing threads (`druid.processing.numThreads`). 1 to 1024. Default: the cpu limit less one, at least 1.
    /// Example: `2`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1024))]
    pub num_threads: Option<u32>,

    /// Merge buffers (`druid.processing.numMergeBuffers`). 1 to 1024. Default: a quarter of the threads, at least 2.
    /// Example: `2`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1024))]
    pub num_merge_buffers: Option<u32>,

    /// Merges at the same time (`druid.worker.numConcurrentMerges`), each with a processing buffer and 64 MiB of heap. 1 to
    /// 64. Default: half of the heavy slots, at least 1. Example: `1`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 64))]
    pub num_concurrent_merges: Option<u32>,

    /// Heap that lookups take, in bytes as a Kubernetes quantity. Default: none. Example: `100Mi`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::quantity")]
    pub lookups: Option<Quantity>,

    /// Whether a pool whose memory cannot hold its task is refused. Default: true. Example: `false`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub enforce: Option<bool>,
}
