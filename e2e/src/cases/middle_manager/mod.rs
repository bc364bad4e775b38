//! A stock overlord runs its tasks through a VirtualMiddleManager.

mod conformance;
mod discovery_on_pods;
mod draining;
mod faults;
mod faults_network;
mod faults_node;
mod kills;
mod migration;
mod peon_addresses;
mod polls;
mod pool_ends;
mod pool_faults;
mod pool_nodes;
mod pool_queries;
mod pool_secured;
mod pool_shared;
mod pool_tasks;
mod pools;
mod process;
mod races;
mod runs;
mod strangers;
mod streaming;
mod submissions;
mod worker;

use serde_json::{Value, json};

use super::{Case, Turn, case};
use crate::testbed::{
    druid::middle_manager::{MiddleManager, NAME},
    fixture::Fixture,
    json::{list, text},
};

/// The cases. Those that change or kill the workers, or want all of their slots, run in lanes with workers of their own: the
/// overlord would give these what other cases left pending. Those that stop the operator or the API server run alone.
pub(super) fn cases() -> Vec<Case> {
    let all = runs::CASES
        .iter()
        .chain(faults::CASES)
        .chain(submissions::CASES)
        .chain(draining::CASES)
        .chain(discovery_on_pods::CASES)
        .chain(races::CASES)
        .chain(kills::CASES)
        .chain(migration::CASES)
        .chain(peon_addresses::CASES)
        .chain(pools::CASES)
        .chain(pool_tasks::CASES)
        .chain(pool_secured::CASES)
        .chain(pool_shared::CASES)
        .chain(pool_faults::CASES)
        .chain(pool_ends::CASES)
        .chain(pool_nodes::CASES)
        .chain(polls::CASES)
        .chain(strangers::CASES)
        .chain(faults_network::CASES)
        .chain(faults_node::CASES)
        .chain(pool_queries::CASES)
        .chain(streaming::CASES)
        .chain(conformance::CASES);
    let turn = |case: &Case| match case.turn {
        Turn::Workers | Turn::OneByOne | Turn::Alone | Turn::Outside => *case,
        _ => case.turn(Turn::Lane),
    };
    all.map(turn).collect()
}

/// A case that shares its workers with others.
const fn shared(name: &'static str, run: fn(&Fixture) -> anyhow::Result<()>) -> Case {
    case(name, run).turn(Turn::Workers).own()
}

/// A noop of the overlord's that runs so many milliseconds.
fn noop(fixture: &Fixture, name: &str, run_time: u64) -> Value {
    json!({"type": "noop", "id": format!("{name}_{}", fixture.run), "runTime": run_time})
}
