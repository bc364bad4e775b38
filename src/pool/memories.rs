//! What a pass over a pool leaves for the next one, and how many Indexers are in which state.

use std::collections::{BTreeSet, HashMap, HashSet};

use k8s_openapi::jiff::Timestamp;
use parking_lot::Mutex;

use super::decide::budget;
use super::decide::failures::Failures;
use super::decide::heap::watchdog::Heaps;
use super::decide::quarantine::Quarantine;
use super::decide::scaling::Scaling;
use crate::api::indexer_pool::IndexerState;
use crate::metrics::Metrics;

/// What one pass leaves for the next. A new process begins without it.
#[derive(Debug, Clone, Default)]
pub(super) struct Memory {
    pub(super) failures: Failures,
    pub(super) refused: Option<(String, Timestamp)>,
    pub(super) status_written: Option<Timestamp>,
    pub(super) budget: Option<budget::Done>,
    pub(super) states: Vec<IndexerState>,
    pub(super) scaling: Scaling,
    pub(super) quarantine: Quarantine,
    pub(super) heaps: Heaps,
    /// Uids of the pods that are drained.
    pub(super) draining: BTreeSet<String>,
}

/// By uid of the pool.
pub(super) struct Memories {
    pub(super) all: Mutex<HashMap<String, Memory>>,
    pub(super) metrics: Metrics,
}

impl Memories {
    pub(super) fn new(metrics: Metrics) -> Self {
        Self {
            all: Mutex::default(),
            metrics,
        }
    }

    pub(super) fn of(&self, uid: &str) -> Memory {
        self.all.lock().get(uid).cloned().unwrap_or_default()
    }

    /// What is remembered of a new pool is stored in place of what is remembered of pools that are gone: those that are
    /// not among `pools`.
    pub(super) fn keep(&self, uid: &str, memory: Memory, pools: impl FnOnce() -> HashSet<String>) {
        let mut all = self.all.lock();
        if !all.contains_key(uid) {
            let pools = pools();
            all.retain(|uid, memory| {
                let remains = pools.contains(uid);
                if !remains {
                    self.count(&memory.states, &[]);
                }
                remains
            });
        }
        let before = all.get(uid).map(|memory| memory.states.clone());
        self.count(&before.unwrap_or_default(), &memory.states);
        all.insert(uid.to_owned(), memory);
    }

    pub(super) fn forget(&self, uid: &str) {
        let forgotten = self.all.lock().remove(uid);
        self.count(&forgotten.unwrap_or_default().states, &[]);
    }

    /// Tells the metrics that a pool has Indexers in these states, and had them in others.
    fn count(&self, before: &[IndexerState], now: &[IndexerState]) {
        for state in before {
            self.metrics.indexers(state.as_str(), -1);
        }
        for state in now {
            self.metrics.indexers(state.as_str(), 1);
        }
    }
}
