//! What a shared Indexer has to do (data only).

use std::collections::BTreeSet;

use k8s_openapi::jiff::Timestamp;

use crate::api::TaskKind;

/// The tasks on one Indexer.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Load {
    /// Tasks that need the Indexer: those that run there, and those whose verdict or log is not stored yet.
    pub tasks: usize,
    /// Those of them that were not asked to stop.
    pub unstopped: usize,
    /// Those of them whose PeonTask is gone.
    pub orphans: usize,
    /// When the first stop was recorded that is not confirmed yet.
    pub stopping_since: Option<Timestamp>,
    /// Their ids.
    pub ids: Vec<String>,
    /// The kinds of the tasks that run there, or ran when it ended.
    pub kinds: BTreeSet<TaskKind>,
    /// Tasks that it ever had, as far as this process knows.
    pub had: usize,
    /// Whether it is being deleted.
    pub retired: bool,
}

impl Load {
    /// Tasks that need the Indexer and whose PeonTask is there.
    #[must_use]
    pub fn known(&self) -> usize {
        self.tasks.saturating_sub(self.orphans)
    }
}
