//! What a pool offers to tasks (pure).

use std::time::Duration;

use kube::ResourceExt;

use super::jvm;
use crate::api::{IndexerPool, PoolQuarantine};
use crate::quantity;
use crate::task::aggregates::idle_indexers::PoolOffer;

/// What the pool offers; `None` if its size cannot be read, which its `Ready` says.
#[must_use]
pub fn of(
    pool: &IndexerPool,
    serves_queries: bool,
    busy_cpu: Option<String>,
    quarantined: &[PoolQuarantine],
) -> Option<PoolOffer> {
    let spec = &pool.spec;
    let limits = spec.resources.limits.as_ref();
    let memory = limits?.get("memory")?.0.clone();
    let cpu = limits?
        .get("cpu")
        .map_or_else(|| "1".to_owned(), |cpu| cpu.0.clone());
    Some(PoolOffer {
        name: pool.name_any(),
        manager: spec.middle_manager_ref.name.clone(),
        template: spec.template_ref.name.clone(),
        matches: spec.matches.clone(),
        serves_queries,
        is_shared: spec.shared_slots().is_some(),
        scales: spec.autoscaling.is_some(),
        longest: spec.longest(),
        // Where it does not fit, there is no Indexer.
        task_bytes: jvm::size(spec).map_or(0, |sizing| sizing.task_bytes),
        quarantined: quarantined.to_vec(),
        overflows_after: spec.overflows_after(),
        priority: spec.priority.unwrap_or_default(),
        memory: (quantity::parse(&memory).ok()?, memory),
        cpu_milli: (u64::try_from(quantity::milli(&cpu).ok()?).ok()?, cpu),
        kill_grace: Duration::from_secs(spec.kill_grace_seconds.into()),
        busy_cpu,
    })
}
