//! Which pools may run a task, and the rules by which the others refuse it (pure).

use std::sync::Arc;
use std::time::Duration;

use kube::ResourceExt;
use serde::Serialize;

use crate::api::conditions::{self, QUERIES_SERVED, READY};
use crate::api::indexer_pool::PoolMode;
use crate::api::{IndexerPool, Placement, PoolServing, TaskSlot};
use crate::cli::output;
use crate::pool::decide::{jvm, offer};
use crate::quantity::mebibytes;
use crate::task::accept::placement::rules::refusals;
use crate::task::accept::placement::{Case, Choice, choose, slot};
use crate::task::aggregates::idle_indexers::PoolOffer;

/// What the pools of a namespace say about a task.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Pools {
    /// Where it runs, as far as the rules decide it.
    result: String,
    pools: Vec<Verdict>,
}

/// What one pool says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
struct Verdict {
    pool: String,
    mode: PoolMode,
    /// The kind of slot of a shared one that may run it.
    #[serde(skip_serializing_if = "Option::is_none")]
    slot: Option<TaskSlot>,
    /// Bytes of rows that it is estimated to hold in memory there.
    #[serde(skip_serializing_if = "Option::is_none")]
    estimated_bytes: Option<u64>,
    /// Why the pool does not run it, by rule; empty if it may.
    refused_by: Vec<Broken>,
    /// `Ready` of a pool of a cluster, where that is false.
    #[serde(skip_serializing_if = "Option::is_none")]
    not_ready: Option<String>,
}

/// A rule that refuses the task.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
struct Broken {
    rule: &'static str,
    message: String,
}

impl Pools {
    /// Asks all pools of the task's namespace; `None` if there are none.
    pub(super) fn of(case: &Case<'_>, pools: &[IndexerPool]) -> Option<Self> {
        if pools.is_empty() {
            return None;
        }
        let offers: Vec<Option<Arc<PoolOffer>>> =
            pools.iter().map(|pool| offered(pool).map(Arc::new)).collect();
        let verdicts = pools.iter().zip(&offers);
        let mut verdicts: Vec<Verdict> = verdicts
            .map(|(pool, offer)| Verdict::of(case, pool, offer.as_deref()))
            .collect();
        verdicts.sort_by(|a, b| a.pool.cmp(&b.pool));
        let manager = case.task.middle_manager();
        let its_own: Vec<Arc<PoolOffer>> = offers
            .into_iter()
            .flatten()
            .filter(|offer| manager == Some(offer.manager.as_str()))
            .collect();
        Some(Self {
            result: result(&choose(case, &its_own)),
            pools: verdicts,
        })
    }

    /// For people.
    pub(super) fn text(&self) -> String {
        let mut rows = Vec::new();
        for verdict in &self.pools {
            let first = [verdict.pool.clone(), mode(verdict.mode).to_owned()];
            for (at, (rule, said)) in verdict.lines().into_iter().enumerate() {
                let [pool, mode] = if at == 0 {
                    first.clone()
                } else {
                    Default::default()
                };
                rows.push(vec![pool, mode, rule, said]);
            }
        }
        let table = output::table(&["POOL", "MODE", "RULE", "RESULT"], &rows);
        format!("{}\n\n{table}", self.result)
    }
}

impl Verdict {
    fn of(case: &Case<'_>, pool: &IndexerPool, offer: Option<&PoolOffer>) -> Self {
        let payload = &case.accepted.payload;
        let mut refused_by = before_its_rules(case, pool);
        match offer {
            Some(offer) => refused_by.extend(refusals(case, offer).map(|refusal| Broken {
                rule: refusal.rule,
                message: refusal.why,
            })),
            None => refused_by.push(Broken {
                rule: "sizes",
                message: jvm::size(&pool.spec)
                    .err()
                    .unwrap_or_else(|| "its cpu limit cannot be read".to_owned()),
            }),
        }
        let shared = offer.filter(|offer| offer.is_shared && refused_by.is_empty());
        let ready = pool
            .status
            .as_ref()
            .and_then(|status| conditions::find(&status.conditions, READY));
        Self {
            pool: pool.name_any(),
            mode: pool.spec.mode,
            slot: shared.map(|_| slot(payload)),
            estimated_bytes: shared.map(|offer| payload.rows.bytes(offer.task_bytes)),
            refused_by,
            not_ready: ready
                .filter(|ready| ready.status != "True")
                .map(|ready| format!("{}: {}", ready.reason, ready.message)),
        }
    }

    /// Each with the name of the rule that it is about.
    fn lines(&self) -> Vec<(String, String)> {
        let mut lines: Vec<(String, String)> = self
            .refused_by
            .iter()
            .map(|broken| (broken.rule.to_owned(), broken.message.clone()))
            .collect();
        if lines.is_empty() {
            let slot = match (self.slot, self.estimated_bytes) {
                (Some(TaskSlot::Heavy), Some(bytes)) => {
                    format!(", in a heavy slot: about {} of rows in memory", mebibytes(bytes))
                }
                (Some(TaskSlot::Light), _) => ", in a light slot".to_owned(),
                _ => String::new(),
            };
            lines.push(("-".to_owned(), format!("may run it{slot}")));
        }
        let not_ready = self.not_ready.iter();
        lines.extend(not_ready.map(|message| ("-".to_owned(), format!("is not ready: {message}"))));
        lines
    }
}

/// Why a pool is not asked at all.
fn before_its_rules(case: &Case<'_>, pool: &IndexerPool) -> Vec<Broken> {
    let mut broken = Vec::new();
    let mut add = |rule, message| broken.push(Broken { rule, message });
    let manager = &pool.spec.middle_manager_ref.name;
    match case.task.middle_manager() {
        None => add(
            "middleManagerRef",
            "no overlord assigned the task, and pools run only tasks that one assigned".to_owned(),
        ),
        Some(own) if own != manager => add(
            "middleManagerRef",
            format!("it runs tasks of the VirtualMiddleManager {manager}, the task is for {own}"),
        ),
        Some(_) => {}
    }
    if case.accepted.placement == Placement::Pod {
        add("placement", "the task's placement is Pod".to_owned());
    }
    let named = case.task.spec.pool_ref.as_ref();
    if let Some(named) = named.filter(|named| named.name != pool.name_any()) {
        add("poolRef", format!("the task names the pool {}", named.name));
    }
    broken
}

/// What the pool offers, by its spec and what its status says of queries and of kinds that run alone.
fn offered(pool: &IndexerPool) -> Option<PoolOffer> {
    let status = pool.status.as_ref();
    let serves = status.map_or(pool.spec.serving == PoolServing::Queries, |status| {
        conditions::is_true(&status.conditions, QUERIES_SERVED)
    });
    let quarantined = status.map(|status| status.quarantine.clone()).unwrap_or_default();
    offer::of(pool, serves, None, &quarantined)
}

fn result(choice: &Choice) -> String {
    match choice {
        Choice::Pod(_) => "it runs in its own pod".to_owned(),
        Choice::Wait(reason, message) => format!("it waits ({reason}): {message}"),
        Choice::Pools {
            names,
            overflows_after,
        } => {
            let first = format!("it runs in an Indexer of {}", names.join(", else of "));
            match overflows_after {
                None => format!("{first}; it waits while none has room"),
                Some(Duration::ZERO) => format!("{first}; if none has room, in its own pod"),
                Some(after) => format!(
                    "{first}; if none has room {} s after its creation, in its own pod",
                    after.as_secs()
                ),
            }
        }
    }
}

fn mode(mode: PoolMode) -> &'static str {
    match mode {
        PoolMode::Single => "Single",
        PoolMode::Shared => "Shared",
    }
}

#[cfg(test)]
#[path = "pools_tests.rs"]
mod tests;
