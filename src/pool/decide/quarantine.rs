//! Kinds of tasks that share no Indexer for a while, because Indexers ran out of memory with them (pure).
//!
//! Which of its tasks made an Indexer run out of memory is not known. A kind (type and datasource) of which tasks ran in two
//! of the last three Indexers that did is suspected, and runs alone for a day.

use std::collections::BTreeSet;
use std::time::Duration;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::{SignedDuration, Timestamp};

use super::indexer::Indexer;
use crate::api::indexer_pool::IndexerPoolStatus;
use crate::api::{PoolOutOfMemory, PoolQuarantine, TaskKind};
use crate::task::run::pod::evidence::{Container, Evidence};

/// How many Indexers that ran out of memory are remembered.
const REMEMBERED: usize = 3;
/// In so many of them a kind has to have run.
const SUSPECTED: usize = 2;
/// For so long the kind runs alone.
const LASTS: SignedDuration = SignedDuration::from_hours(24);
/// Most kinds at the same time, and most of one Indexer that are remembered.
const MOST: usize = 10;

/// What one pass leaves for the next; the status has it, too.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Quarantine {
    /// Whether the status of before was read.
    is_read: bool,
    /// The last Indexers that ran out of memory.
    pub ended: Vec<PoolOutOfMemory>,
    /// The kinds that run alone.
    pub kinds: Vec<PoolQuarantine>,
    /// Uids of the pods that were looked at, as long as they are there.
    looked_at: BTreeSet<String>,
}

impl Quarantine {
    /// Looks at the Indexers that ended. Returns the kinds that run alone from now on.
    pub fn observe(
        &mut self,
        status: Option<&IndexerPoolStatus>,
        indexers: &[Indexer],
        now: Timestamp,
    ) -> Vec<TaskKind> {
        if !std::mem::replace(&mut self.is_read, true)
            && let Some(status) = status
        {
            self.ended.clone_from(&status.out_of_memory);
            self.kinds.clone_from(&status.quarantine);
            self.looked_at = self.ended.iter().map(|ended| ended.pod_uid.clone()).collect();
        }
        let mut new = Vec::new();
        let there: BTreeSet<&str> = indexers.iter().map(|i| i.evidence.pod_uid.as_str()).collect();
        self.looked_at.retain(|uid| there.contains(uid.as_str()));
        for indexer in indexers {
            let uid = &indexer.evidence.pod_uid;
            let Some(at) = ran_out_of_memory(&indexer.evidence, now) else {
                continue;
            };
            if indexer.load.kinds.is_empty() || !self.looked_at.insert(uid.clone()) {
                continue;
            }
            let kinds = indexer.load.kinds.iter().take(MOST).cloned();
            self.ended.push(PoolOutOfMemory {
                pod_uid: uid.clone(),
                time: Time(at),
                kinds: kinds.collect(),
            });
            let surplus = self.ended.len().saturating_sub(REMEMBERED);
            self.ended.drain(..surplus);
            for kind in indexer.load.kinds.iter().take(MOST) {
                if self.isolate(kind, at) {
                    new.push(kind.clone());
                }
            }
        }
        self.kinds.retain(|kind| kind.until.0 > now);
        new
    }

    /// The kind runs alone, if it is suspected. Returns whether it did not before.
    fn isolate(&mut self, kind: &TaskKind, at: Timestamp) -> bool {
        let with = self.ended.iter().filter(|ended| ended.kinds.contains(kind));
        if with.count() < SUSPECTED {
            return false;
        }
        let before = self.kinds.len();
        self.kinds.retain(|known| known.kind != *kind);
        let is_new = self.kinds.len() == before;
        self.kinds.push(PoolQuarantine {
            kind: kind.clone(),
            until: Time(at.checked_add(LASTS).unwrap_or(Timestamp::MAX)),
        });
        let surplus = self.kinds.len().saturating_sub(MOST);
        self.kinds.drain(..surplus);
        is_new
    }

    /// When the first kind need not run alone any more.
    #[must_use]
    pub fn look_again(&self, now: Timestamp) -> Option<Duration> {
        let first = self.kinds.iter().map(|kind| kind.until.0).min()?;
        Duration::try_from(first.duration_since(now)).ok()
    }
}

/// What the Event about a kind says.
#[must_use]
pub fn note(kind: &TaskKind) -> String {
    let of = kind.data_source.as_ref();
    let of = of.map_or_else(String::new, |name| format!(" of the datasource {name}"));
    format!(
        "two of the last three Indexers that ran out of memory had tasks of type {}{of}: these run alone for a day",
        kind.task_type
    )
}

/// When the JVM ended, if it ran out of memory: its container's, or its heap (`ExitOnOutOfMemoryError`).
fn ran_out_of_memory(evidence: &Evidence, now: Timestamp) -> Option<Timestamp> {
    match &evidence.peon {
        Container::Terminated(ended) if ended.reason == "OOMKilled" || ended.exit_code == 3 => {
            Some(ended.finished.unwrap_or(now))
        }
        _ => None,
    }
}

#[cfg(test)]
#[path = "quarantine_tests.rs"]
mod tests;
