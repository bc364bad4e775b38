//! Whether a task may run in an Indexer of a pool, and in which pools (pure).
//!
//! A pool runs tasks that the overlord of its VirtualMiddleManager assigned, that need no JVM of their own settings, and
//! whose memory and cpu its Indexers have. What is not right for a pool runs in a pod of its own.

pub mod rules;

use std::sync::Arc;
use std::time::Duration;

use self::rules::{isolates, refusals};
use super::Accepted;
use crate::api::reason::{Acceptance, Waiting};
use crate::api::{PeonTask, Placement, TaskKind, TaskSlot};
use crate::druid::payload::Payload;
use crate::task::accept::Refused;
use crate::task::aggregates::durations::Expected;
use crate::task::aggregates::idle_indexers::PoolOffer;

/// The entry of a task's context that stands for `spec.placement`.
pub const CONTEXT: &str = "druid.peon.placement";

/// A task that is to be placed.
#[derive(Debug, Clone, Copy)]
pub struct Case<'a> {
    /// The task.
    pub task: &'a PeonTask,
    /// What was accepted of it.
    pub accepted: &'a Accepted<'a>,
    /// How long it is expected to run.
    pub expected: Option<Expected>,
}

impl<'a> Case<'a> {
    /// The pool that the task names.
    fn named(&self) -> Option<&'a str> {
        self.task.spec.pool_ref.as_ref().map(|pool| pool.name.as_str())
    }

    /// Whether the task names this pool.
    pub(super) fn names(&self, pool: &PoolOffer) -> bool {
        self.named() == Some(pool.name.as_str())
    }
}

/// Where a task may run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Choice {
    /// In its own pod, and why in no pool; `None` where no pool has anything to do with it.
    Pod(Option<String>),
    /// In an idle Indexer of the first of these pools that has one; else it waits, or runs in its own pod.
    Pools {
        /// Names of the pools, in order.
        names: Vec<String>,
        /// How long it waits for one before it runs in its own pod; `None`: until there is one.
        overflows_after: Option<Duration>,
    },
    /// Nowhere, for now.
    Wait(Waiting, String),
}

/// The placement that the task wants, from its spec, else from its context.
///
/// # Errors
/// `InvalidTask`, if the context has another value.
pub fn wanted(task: &PeonTask, payload: &Payload) -> Result<Placement, Refused> {
    if let Some(placement) = task.spec.placement {
        return Ok(placement);
    }
    match payload.context.get(CONTEXT).filter(|value| !value.is_null()) {
        None => Ok(Placement::Auto),
        Some(value) => serde_json::from_value(value.clone()).map_err(|_| {
            let message = format!("{CONTEXT} in the context is {value}, it must be Auto, Pod or Pool");
            Refused::new(Acceptance::InvalidTask, message)
        }),
    }
}

/// The slot that a task needs of a shared Indexer.
#[must_use]
pub fn slot(payload: &Payload) -> TaskSlot {
    if payload.delegates {
        TaskSlot::Light
    } else {
        TaskSlot::Heavy
    }
}

/// What the task has in common with others that need about the same.
#[must_use]
pub fn kind(accepted: &Accepted<'_>) -> TaskKind {
    TaskKind {
        task_type: accepted.payload.type_.clone(),
        data_source: accepted.payload.data_source.clone(),
    }
}

/// Chooses among the pools of the task's VirtualMiddleManager.
#[must_use]
pub fn choose(case: &Case<'_>, pools: &[Arc<PoolOffer>]) -> Choice {
    let Case { task, accepted, .. } = *case;
    if accepted.placement == Placement::Pod {
        let why = (!pools.is_empty()).then(|| "placement is Pod".to_owned());
        return Choice::Pod(why);
    }
    let named = case.named();
    let candidates: Vec<&Arc<PoolOffer>> = pools
        .iter()
        .filter(|pool| named.is_none_or(|named| pool.name == named))
        .collect();
    let mut fit = Vec::new();
    let mut why_not = Vec::new();
    for pool in &candidates {
        match refusals(case, pool).next() {
            None => fit.push(*pool),
            Some(refusal) => why_not.push(format!("{}: {}", pool.name, refusal.why)),
        }
    }
    // What it waits for will not come: neither another attempt nor one that runs for long shares an Indexer.
    let runs_alone = candidates.iter().any(|pool| isolates(case, pool));
    let waits = accepted.placement == Placement::Pool && !runs_alone;
    if fit.is_empty() {
        let message = match (task.middle_manager(), named) {
            (None, _) => {
                "no overlord assigned the task, and pools run only tasks that one assigned".to_owned()
            }
            (Some(manager), Some(named)) if candidates.is_empty() => {
                format!("there is no IndexerPool {named} of the VirtualMiddleManager {manager}")
            }
            (Some(manager), None) if candidates.is_empty() => {
                format!("the VirtualMiddleManager {manager} has no IndexerPool")
            }
            _ => why_not.join("; "),
        };
        return if waits {
            Choice::Wait(Waiting::NoPool, message)
        } else {
            Choice::Pod((!candidates.is_empty() || named.is_some()).then_some(message))
        };
    }
    fit.sort_by(|a, b| {
        let rank = |pool: &PoolOffer| (std::cmp::Reverse(pool.priority), pool.memory.0, pool.name.clone());
        rank(a).cmp(&rank(b))
    });
    let is_subtask = accepted.payload.subtask.is_some();
    let patience = |pool: &PoolOffer| match pool.overflows_after {
        // The task that waits for it may have the slot that it waits for.
        None if is_subtask => Some(Duration::ZERO),
        other => other,
    };
    // `None` is the longest.
    let shortest = fit.iter().filter_map(|pool| patience(pool)).min();
    Choice::Pools {
        names: fit.iter().map(|pool| pool.name.clone()).collect(),
        overflows_after: shortest.filter(|_| !waits),
    }
}

#[cfg(test)]
#[path = "placement_tests.rs"]
mod tests;
