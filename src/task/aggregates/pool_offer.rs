//! What a pool offers to tasks.

use std::time::Duration;

use crate::api::Match;
use crate::druid::indexer_ports::IndexerPorts;

/// What a pool offers.
#[derive(Debug, Clone, PartialEq)]
pub struct PoolOffer {
    /// Name of the pool.
    pub name: String,
    /// Name of the VirtualMiddleManager whose tasks it runs.
    pub manager: String,
    /// Name of the PeonTemplate that its Indexers are made from.
    pub template: String,
    /// Which tasks may run in it.
    pub matches: Option<Match>,
    /// Whether brokers query what its tasks have not published.
    pub serves_queries: bool,
    /// Of several pools the one with the highest is used.
    pub priority: i32,
    /// Memory limit of an Indexer, in bytes and as written.
    pub memory: (u64, String),
    /// Cpu limit of an Indexer, in thousandths of a core and as written.
    pub cpu_milli: (u64, String),
    /// How long a task that is shut down may go on.
    pub kill_grace: Duration,
    /// The cpu request that an Indexer is given with its task, where it is not the one that it begins with.
    pub busy_cpu: Option<String>,
}

/// An idle Indexer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Idle {
    /// Name of its pod.
    pub pod: String,
    /// Uid of its pod.
    pub pod_uid: String,
    /// Address of its pod.
    pub host: String,
    /// Its ports.
    pub ports: IndexerPorts,
}

/// An Indexer that was given to a task.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Given {
    /// Name of its pool.
    pub pool: String,
    /// The Indexer.
    pub indexer: Idle,
}
