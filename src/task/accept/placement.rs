//! Whether a task may run in an Indexer of a pool, and in which pools (pure).
//!
//! A pool runs tasks that the overlord of its VirtualMiddleManager assigned, that need no JVM of their own settings, and
//! whose memory and cpu its Indexers have. What is not right for a pool runs in a pod of its own.

use std::sync::Arc;
use std::time::Duration;

use super::Accepted;
use super::settings::Source;
use super::template_choice::fits;
use crate::api::reason::{Acceptance, Cause, Waiting};
use crate::api::{Collect, PeonTask, Placement, PoolQuarantine};
use crate::druid::payload::Payload;
use crate::logs::format::shared_log;
use crate::quantity;
use crate::task::accept::Refused;
use crate::task::aggregates::idle_indexers::PoolOffer;

/// The entry of a task's context that stands for `spec.placement`.
pub const CONTEXT: &str = "druid.peon.placement";
/// Most bytes of a task's JSON: an Indexer has it in memory several times.
const LARGEST: usize = 1 << 20;
/// Tasks of the multi-stage query engine plan for three quarters of the heap, other tasks for a third.
const MULTI_STAGE: [&str; 2] = ["query_controller", "query_worker"];

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

/// Chooses among the pools of the task's VirtualMiddleManager.
#[must_use]
pub fn choose(task: &PeonTask, accepted: &Accepted<'_>, pools: &[Arc<PoolOffer>]) -> Choice {
    if accepted.placement == Placement::Pod {
        let why = (!pools.is_empty()).then(|| "placement is Pod".to_owned());
        return Choice::Pod(why);
    }
    let named = task.spec.pool_ref.as_ref().map(|pool| pool.name.as_str());
    let candidates: Vec<&Arc<PoolOffer>> = pools
        .iter()
        .filter(|pool| named.is_none_or(|named| pool.name == named))
        .collect();
    let mut fit = Vec::new();
    let mut why_not = Vec::new();
    for pool in &candidates {
        match why_not_in(task, accepted, pool, named.is_some()) {
            None => fit.push(*pool),
            Some(why) => why_not.push(format!("{}: {why}", pool.name)),
        }
    }
    // What it waits for will not come: a further attempt shares no Indexer.
    let isolated = |pool: &PoolOffer| task.attempt() > 1 || quarantine(accepted, pool).is_some();
    let runs_alone = candidates.iter().any(|pool| pool.is_shared && isolated(pool));
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

/// Why the task may not run in this pool.
fn why_not_in(task: &PeonTask, accepted: &Accepted<'_>, pool: &PoolOffer, is_named: bool) -> Option<String> {
    let (payload, settings) = (&accepted.payload, &accepted.settings);
    let listed = pool.matches.as_ref().map(|matches| &matches.types[..]);
    let is_listed = listed.is_some_and(|types| types.contains(&payload.type_));
    if MULTI_STAGE.contains(&payload.type_.as_str()) {
        return Some(format!("tasks of type {} run in their own pods", payload.type_));
    }
    if payload.is_streaming() && !is_listed && !is_named && !pool.serves_queries {
        return Some(format!(
            "tasks of type {} run in a pool only if it serves queries (its condition QueriesServed), or its match.types \
             names them: else what they have not published cannot be queried",
            payload.type_
        ));
    }
    if !is_named && !pool.matches.as_ref().is_none_or(|matches| fits(matches, payload)) {
        return Some("its match does not fit the task".to_owned());
    }
    if let Some((option, source)) = settings
        .java_opts
        .iter()
        .find(|(_, source)| matches!(source, Source::Context | Source::Task))
    {
        let name = option.split(['=', ':']).next().unwrap_or_default();
        return Some(format!(
            "the task sets {name} ({source}), and the JVM has started already"
        ));
    }
    if pool.template != accepted.template_name() {
        return Some(format!(
            "its Indexers are made from the PeonTemplate {}, the task's is {}",
            pool.template,
            accepted.template_name()
        ));
    }
    let logs = accepted
        .template()
        .spec
        .logs
        .as_ref()
        .and_then(|logs| logs.collect);
    if logs == Some(Collect::Sidecar) {
        return Some("logs.collect of the template is Sidecar, and Indexers have none".to_owned());
    }
    if payload.size > LARGEST {
        return Some(format!(
            "the task has {} bytes of JSON, at most {LARGEST} are given to an Indexer",
            payload.size
        ));
    }
    if pool.is_shared {
        return why_not_shared(task, accepted).or_else(|| {
            let found = quarantine(accepted, pool)?;
            Some(format!(
                "two of the last three Indexers that ran out of memory had tasks of its type and datasource: it runs \
                 alone, as all of them do until {}",
                found.until.0
            ))
        });
    }
    let least = needed_memory(task, &settings.memory.0);
    if least.is_none_or(|least| least > pool.memory.0) {
        return Some(format!(
            "the task needs more memory than its Indexers have ({})",
            pool.memory.1
        ));
    }
    if quantity::milli(&settings.cpu.0).is_ok_and(|cpu| cpu > u128::from(pool.cpu_milli.0)) {
        return Some(format!(
            "the task needs {} of cpu, its Indexers have {}",
            settings.cpu.0, pool.cpu_milli.1
        ));
    }
    None
}

/// Until when tasks like this one share no Indexer of the pool, if they may not.
fn quarantine<'a>(accepted: &Accepted<'_>, pool: &'a PoolOffer) -> Option<&'a PoolQuarantine> {
    let payload = &accepted.payload;
    let mut all = pool.quarantined.iter();
    all.find(|found| found.kind.task_type == payload.type_ && found.kind.data_source == payload.data_source)
}

/// Why the task may not share an Indexer with others.
fn why_not_shared(task: &PeonTask, accepted: &Accepted<'_>) -> Option<String> {
    let settings = &accepted.settings;
    for (name, (value, source)) in [("memory", &settings.memory), ("cpu", &settings.cpu)] {
        if matches!(source, Source::Context | Source::Task) {
            return Some(format!(
                "the task asks for {value} of {name} of its own ({source}), and its Indexers are shared"
            ));
        }
    }
    if task.attempt() > 1 {
        return Some("another attempt runs alone, and its Indexers are shared".to_owned());
    }
    if !shared_log::is_distinct(&accepted.payload.id) {
        return Some(
            "the task's id contains `]-`, `][` or a line break: in the log of a shared Indexer its lines could be taken \
             for another task's"
                .to_owned(),
        );
    }
    None
}

/// Memory that an attempt needs at least, in bytes: more than one had that ran out of it.
fn needed_memory(task: &PeonTask, wanted: &str) -> Option<u64> {
    let wanted = quantity::parse(wanted).ok()?;
    let attempts = task.status.iter().flat_map(|status| &status.attempts);
    let too_little = attempts
        .filter(|attempt| Cause::parse(&attempt.cause).is_some_and(Cause::needs_memory))
        .filter_map(|attempt| quantity::parse(attempt.memory.as_deref()?).ok())
        .max();
    Some(wanted.max(too_little.map_or(0, |bytes| bytes.saturating_add(1))))
}

#[cfg(test)]
#[path = "placement_tests.rs"]
mod tests;
