//! Where a PeonTask is to run.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Reference to an IndexerPool of the same namespace.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct PoolRef {
    /// Name of the IndexerPool. No default. Example: `warm`.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
}

/// Where a task runs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Placement {
    /// In an idle Indexer of an IndexerPool that may run it, else in its own pod.
    #[default]
    Auto,
    /// In its own pod.
    Pod,
    /// In an Indexer of an IndexerPool.
    Pool,
}
