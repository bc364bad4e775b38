//! What a pool offers to tasks.

use std::time::Duration;

use k8s_openapi::jiff::Timestamp;

use super::slots::Who;
use crate::api::{Match, PoolQuarantine, PoolSlots, TaskSlot};
use crate::druid::indexer_ports::IndexerPorts;
use crate::druid::rows_in_memory::RowsInMemory;

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
    /// Whether its Indexers run several tasks at the same time.
    pub is_shared: bool,
    /// Whether the number of its Indexers follows the tasks that wait.
    pub scales: bool,
    /// Tasks that are expected to run longer share none of its Indexers.
    pub longest: Option<Duration>,
    /// Bytes of rows that Druid lets each task of an Indexer hold before it persists them.
    pub task_bytes: u64,
    /// Kinds of tasks that share none of its Indexers for now.
    pub quarantined: Vec<PoolQuarantine>,
    /// How long a task waits for one before it runs in its own pod; `None`: until there is one.
    pub overflows_after: Option<Duration>,
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

/// An Indexer that can take a task.
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
    /// Its node. The claim records it: an Indexer is older than the Events that tell where it was scheduled, and without
    /// its node nothing proves the death of a pod that is gone.
    pub node: Option<String>,
    /// Its slots, if it runs several tasks.
    pub slots: Option<PoolSlots>,
}

/// Tasks that have a slot of one kind of a pool, or wait for one.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Demand {
    /// Those that have one.
    pub used: usize,
    /// Those that wait for one.
    pub waiting: usize,
}

/// A task that asks for an Indexer.
#[derive(Debug, Clone, Copy)]
pub struct Asker<'a> {
    /// Namespace and name.
    pub task: &'a Who,
    /// Uid of the PeonTask.
    pub task_uid: &'a str,
    /// The task's id.
    pub task_id: &'a str,
    /// When the PeonTask was created.
    pub created: Timestamp,
    /// Whether it waits for one.
    pub waits: bool,
    /// The kind of slot that it needs of a shared one.
    pub slot: TaskSlot,
    /// What it may hold in memory, in a shared one.
    pub rows: RowsInMemory,
    /// Stands for its availability group: two tasks of one group are never on the same Indexer.
    pub group: Option<&'a str>,
}

/// An Indexer that was given to a task.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Given {
    /// Name of its pool.
    pub pool: String,
    /// The Indexer.
    pub indexer: Idle,
    /// The slot, of a shared one.
    pub slot: Option<GivenSlot>,
}

/// A slot of a shared Indexer that was given to a task.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GivenSlot {
    /// Its kind.
    pub kind: TaskSlot,
    /// Bytes of rows that the task is estimated to hold in memory.
    pub bytes: u64,
    /// Stands for the availability group of the task.
    pub group: Option<String>,
}
