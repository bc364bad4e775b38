//! A run in an Indexer of an IndexerPool, as the status of its PeonTask records it (pure).
//!
//! The status has the Indexer's address from the claim on. The Indexer is the task's location once the operator has heard
//! from it that the task runs: then the phase is `Running`.

use crate::api::{PeonTaskStatus, Phase, RunKind, RunStatus};
use crate::druid::worker::TaskLocation;

/// The run of the current attempt in an Indexer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IndexerRun {
    /// Uid of the Indexer's pod.
    pub pod_uid: String,
    /// Whether other tasks run in it, too.
    pub is_shared: bool,
    /// Where the task can be called: `None` until it runs, and after its end.
    pub location: Option<TaskLocation>,
}

impl IndexerRun {
    /// Reads the status of a PeonTask; `None` if its attempt runs elsewhere, or nowhere yet.
    #[must_use]
    pub fn of(status: &PeonTaskStatus) -> Option<Self> {
        let run = status.run.as_ref().filter(|run| run.kind == RunKind::Worker)?;
        Some(Self {
            pod_uid: run.pod_uid.clone().unwrap_or_default(),
            is_shared: run.slot.is_some(),
            location: location(run).filter(|_| status.phase == Some(Phase::Running)),
        })
    }
}

/// The whole location: a host and at least one port.
fn location(run: &RunStatus) -> Option<TaskLocation> {
    let unknown = TaskLocation::unknown();
    let port = |port: Option<i32>| port.filter(|port| (1..=65_535).contains(port));
    let (port, tls_port) = (port(run.port), port(run.tls_port));
    port.or(tls_port)?;
    Some(TaskLocation {
        host: Some(run.host.clone().filter(|host| !host.is_empty())?),
        port: port.unwrap_or(unknown.port),
        tls_port: tls_port.unwrap_or(unknown.tls_port),
        ..unknown
    })
}

#[cfg(test)]
#[path = "indexer_run_tests.rs"]
mod tests;
