//! What the tasks of a pool mean for it: how many Indexers there are, and which kinds of tasks share none of them.

use std::borrow::Cow;
use std::time::Duration;

use k8s_openapi::jiff::Timestamp;
use kube::ResourceExt;

use super::decide::indexer::Indexer;
use super::decide::plan::Plan;
use super::decide::quarantine;
use super::decide::scaling::{self, Scaled};
use super::effects::Effects;
use super::memories::Memory;
use super::work::Work;
use crate::api::indexer_pool::IndexerPoolSpec;
use crate::api::{IndexerPool, TaskKind};

/// What follows from the tasks for a pass.
pub(super) struct Demanded {
    scaled: Option<Scaled>,
    /// Kinds of tasks that run alone from now on.
    isolated: Vec<TaskKind>,
}

impl Demanded {
    /// Looks at the tasks that have slots or wait, and at the Indexers that ended. `settled`: all tasks are known.
    pub(super) fn of(
        pool: &IndexerPool,
        work: &Work,
        memory: &mut Memory,
        indexers: &[Indexer],
        settled: bool,
        now: Timestamp,
    ) -> Self {
        let demand = work.demand(&pool.namespace().unwrap_or_default(), &pool.name_any());
        Self {
            scaled: scaling::scale(pool, &mut memory.scaling, &demand, settled, now),
            isolated: memory.quarantine.observe(pool.status.as_ref(), indexers, now),
        }
    }

    /// The spec with the number of Indexers that is aimed at.
    pub(super) fn spec<'a>(&self, pool: &'a IndexerPool) -> Cow<'a, IndexerPoolSpec> {
        scaling::applied(&pool.spec, self.scaled.as_ref())
    }

    /// Adds what the status says of it.
    pub(super) fn describe(&self, memory: &Memory, plan: &mut Plan) {
        plan.scaling = self.scaled.as_ref().map(|scaled| scaled.status.clone());
        plan.ended.clone_from(&memory.quarantine.ended);
        plan.quarantine.clone_from(&memory.quarantine.kinds);
    }

    /// Publishes what changed.
    pub(super) async fn publish(&self, pool: &IndexerPool, effects: &Effects) {
        for kind in &self.isolated {
            effects.tell(pool, "Quarantined", &quarantine::note(kind)).await;
        }
        if let Some((reason, note)) = self.scaled.as_ref().and_then(Scaled::event) {
            effects.tell(pool, reason, note).await;
        }
    }

    /// When it is considered again, at the latest after `again`.
    pub(super) fn look_again(&self, memory: &Memory, again: Duration, now: Timestamp) -> Duration {
        let scaled = self.scaled.as_ref().and_then(|scaled| scaled.look_again);
        let ends = memory.quarantine.look_again(now);
        scaled.into_iter().chain(ends).fold(again, Duration::min)
    }
}
