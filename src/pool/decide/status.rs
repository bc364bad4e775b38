//! The operator's part of the status of an IndexerPool, and when it is written (pure).

use std::time::Duration;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use k8s_openapi::jiff::Timestamp;
use kube::ResourceExt;
use serde::Serialize;

use super::indexer::{Indexer, Seen};
use super::plan::Plan;
use super::queries::Queries;
use crate::api::conditions::{self, Conditions, READY, RECONCILING, STALLED};
use crate::api::indexer_pool::{IndexerState, IndexerStatus, MOST_LISTED};
use crate::api::reason::PoolReadiness;
use crate::api::{
    IndexerPool, LABEL_MANAGED_BY, LABEL_POOL, OPERATOR, PoolOutOfMemory, PoolQuarantine, PoolScaling, names,
};
use crate::apiserver::classify::decode::Unreadable;

/// Least time between two writes of counts alone.
pub const INTERVAL: Duration = Duration::from_secs(10);
/// Longest details of an Indexer, in bytes.
const LONGEST_DETAILS: usize = 256;

/// What the operator writes of the status.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Written {
    conditions: Vec<Condition>,
    #[serde(skip_serializing_if = "Option::is_none")]
    replicas: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ready_replicas: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    busy_replicas: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tasks: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    updated_replicas: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    selector: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    scaling: Option<PoolScaling>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    out_of_memory: Vec<PoolOutOfMemory>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    quarantine: Vec<PoolQuarantine>,
    indexers: Vec<IndexerStatus>,
    observed_generation: Option<i64>,
}

/// Whether a status is written.
#[derive(Debug, Clone, PartialEq)]
pub enum Decision {
    /// Nothing changed.
    Nothing,
    /// Only counts changed, and they were written a moment ago: after this time.
    Later(Duration),
    /// Now.
    Write(Box<Written>),
}

/// The status after a pass. `last` is the time of the last write.
#[must_use]
pub fn decide(
    pool: &IndexerPool,
    plan: &Plan,
    revision: Option<&str>,
    indexers: &[Indexer],
    seen: &Seen,
    last: Option<Timestamp>,
    now: Timestamp,
) -> Decision {
    let old = of(pool);
    let new = status(pool, plan, revision, indexers, seen, now);
    if new == old {
        return Decision::Nothing;
    }
    let urgent = essence(&new) != essence(&old);
    let since = last.map(|last| Duration::try_from(now.duration_since(last)).unwrap_or_default());
    match since {
        Some(since) if !urgent && since < INTERVAL => Decision::Later(INTERVAL.saturating_sub(since)),
        _ => Decision::Write(Box::new(new)),
    }
}

/// What is written at once when it changes.
#[derive(PartialEq)]
struct Essence<'a> {
    conditions: Vec<(&'a str, &'a str, &'a str)>,
    generation: Option<i64>,
    desired: Option<u32>,
    selector: Option<&'a str>,
}

fn essence(written: &Written) -> Essence<'_> {
    let conditions = written.conditions.iter();
    let conditions = conditions.map(|c| (c.type_.as_str(), c.status.as_str(), c.reason.as_str()));
    Essence {
        conditions: conditions.collect(),
        generation: written.observed_generation,
        desired: written.scaling.as_ref().map(|scaling| scaling.desired_replicas),
        selector: written.selector.as_deref(),
    }
}

/// The operator's part of the current status.
fn of(pool: &IndexerPool) -> Written {
    let status = pool.status.clone().unwrap_or_default();
    Written {
        conditions: status.conditions,
        replicas: status.replicas,
        ready_replicas: status.ready_replicas,
        busy_replicas: status.busy_replicas,
        tasks: status.tasks,
        updated_replicas: status.updated_replicas,
        selector: status.selector,
        scaling: status.scaling,
        out_of_memory: status.out_of_memory,
        quarantine: status.quarantine,
        indexers: status.indexers,
        observed_generation: status.observed_generation,
    }
}

fn status(
    pool: &IndexerPool,
    plan: &Plan,
    revision: Option<&str>,
    indexers: &[Indexer],
    seen: &Seen,
    now: Timestamp,
) -> Written {
    let status = pool.status.as_ref();
    let generation = pool.metadata.generation;
    let old = status.map(|s| &s.conditions[..]).unwrap_or_default();
    let mut conditions = Conditions::from(old, generation, now);
    let is_ready = plan.reason == PoolReadiness::Warm;
    conditions.set(READY, is_ready, &plan.reason, &plan.message);
    // As kstatus has them: they are there only while they are true.
    let updates = |indexer: &Indexer| matches!(indexer.state(revision, seen), (IndexerState::Outdated, _));
    let present = match plan.reason {
        PoolReadiness::Warm if indexers.iter().any(updates) => Some(RECONCILING),
        PoolReadiness::Warm => None,
        PoolReadiness::Starting | PoolReadiness::Cordoned => Some(RECONCILING),
        _ => Some(STALLED),
    };
    for type_ in [RECONCILING, STALLED] {
        if present == Some(type_) {
            conditions.set(type_, true, &plan.reason, &plan.message);
        } else {
            conditions.remove(type_);
        }
    }
    Queries::describe(plan.queries.as_ref(), &mut conditions);
    let listed: Vec<(&Indexer, IndexerState, Option<String>)> = indexers
        .iter()
        .map(|indexer| {
            let (state, details) = indexer.state(revision, seen);
            (indexer, state, details)
        })
        .collect();
    let lives = |state: &IndexerState| {
        matches!(
            state,
            IndexerState::Starting
                | IndexerState::Ready
                | IndexerState::Cordoned
                | IndexerState::Outdated
                | IndexerState::Used
                | IndexerState::Draining
        )
    };
    let count = |wanted: &dyn Fn(&IndexerState) -> bool| {
        let found = listed.iter().filter(|(_, state, _)| wanted(state)).count();
        Some(as_number(found))
    };
    let is_busy = |(indexer, state, _): &&(&Indexer, IndexerState, Option<String>)| {
        *state == IndexerState::Used || indexer.load.tasks > 0
    };
    Written {
        conditions: conditions.into_list(),
        replicas: count(&lives),
        busy_replicas: u32::try_from(listed.iter().filter(is_busy).count())
            .ok()
            .filter(|busy| *busy > 0),
        tasks: indexers
            .iter()
            .any(|i| i.slots.is_some())
            .then(|| as_number(indexers.iter().map(|i| i.load.tasks).sum())),
        ready_replicas: u32::try_from(indexers.iter().filter(|i| i.is_warm(seen)).count()).ok(),
        updated_replicas: count(&|state| lives(state) && *state != IndexerState::Outdated),
        selector: selector(pool),
        scaling: plan.scaling.clone(),
        out_of_memory: plan.ended.clone(),
        quarantine: plan.quarantine.clone(),
        indexers: listed
            .iter()
            .take(MOST_LISTED)
            .map(|(indexer, state, details)| IndexerStatus {
                pod: indexer.name().to_owned(),
                state: *state,
                tasks: indexer.slots.map(|_| as_number(indexer.load.tasks)),
                live_percent: indexer.live_percent.map(Into::into),
                reason: details
                    .as_ref()
                    .map(|details| conditions::cut(details, LONGEST_DETAILS)),
            })
            .collect(),
        observed_generation: generation,
    }
}

/// The pods of the pool, for what scales it; `None` where nothing else is to: of mode `Single`, one that counts Indexers with
/// tasks would ask for more and more idle ones, and with `autoscaling` there would be two.
fn selector(pool: &IndexerPool) -> Option<String> {
    let scales = pool.spec.shared_slots().is_some() && pool.spec.autoscaling.is_none();
    let label = names::label_value(&pool.name_any());
    scales.then(|| format!("{LABEL_MANAGED_BY}={OPERATOR},{LABEL_POOL}={label}"))
}

fn as_number(count: usize) -> u32 {
    u32::try_from(count).unwrap_or(u32::MAX)
}

/// The status of an object that cannot be read: deterministic, so that writing it again changes nothing.
#[must_use]
pub fn unreadable(unreadable: &Unreadable, since: Option<&Time>) -> Vec<Condition> {
    let message = format!(
        "this version of the operator cannot decode the IndexerPool: {}",
        unreadable.error
    );
    let since = since.map_or(Timestamp::UNIX_EPOCH, |time| time.0);
    let mut conditions = Conditions::from(&[], unreadable.metadata.generation, since);
    conditions.set(READY, false, &PoolReadiness::Unreadable, &message);
    conditions.into_list()
}

#[cfg(test)]
#[path = "status_tests.rs"]
mod tests;
