//! The node of a pool's Indexers is drained, or lost.

use std::thread;

use anyhow::{Result, anyhow, ensure};
use serde_json::json;

use super::faults_node::{Cordoned, OnlySecond};
use super::pool_faults::running;
use super::pool_tasks::Pool;
use super::{Case, Turn, case, list, text};
use crate::testbed::cluster::NODE;
use crate::testbed::fixture::Fixture;

pub(super) const CASES: &[Case] = &[
    case(
        "pool_nodes::a_drain_waits_for_tasks_and_for_nothing_else",
        drained,
    )
    .turn(Turn::Alone)
    .own(),
    case(
        "pool_nodes::a_task_whose_node_lost_power_runs_again",
        power_failure,
    )
    .turn(Turn::Alone)
    .own()
    .full(),
];

/// `kubectl drain` of the node, of the Indexers only.
pub(super) const DRAIN: [&str; 5] = [
    "drain",
    NODE,
    "--pod-selector=peon.dev/pool=warm",
    "--delete-emptydir-data",
    "--timeout=300s",
];

fn drained(fixture: &Fixture) -> Result<()> {
    let pool = Pool::start(fixture, &json!({"replicas": 1}))?;
    let (id, run) = running(fixture, &pool, "drained_warm", 20_000)?;
    let warm = pool.until_warm(1)?;
    let indexers = list(&warm["status"]["indexers"]);
    let idle = indexers.iter().find(|other| other["pod"] != run["pod"]);
    let idle = text(&idle.ok_or_else(|| anyhow!("none is idle: {indexers:?}"))?["pod"]).to_owned();
    let _cordoned = Cordoned::begin(fixture)?;
    let said = thread::scope(|scope| {
        let draining = scope.spawn(|| fixture.kubectl.run(&DRAIN));
        // The operator deletes it: evictions of it are refused.
        let gone = pool.until_pod_is_gone(&idle);
        let status = pool.manager.until_ended(&id);
        let said = draining.join().map_err(|_| anyhow!("kubectl drain panicked"))?;
        gone.and(status.map(|status| (status, said)))
    });
    let (status, said) = said?;
    let said = said?;
    ensure!(status["statusCode"] == "SUCCESS", "{status}");
    let status = &pool.peon_task(&id)?["status"];
    ensure!(
        status["run"]["podUID"] == run["podUID"] && list(&status["attempts"]).is_empty(),
        "{status}"
    );
    ensure!(said.contains("drained"), "{said}");
    Ok(())
}

fn power_failure(fixture: &Fixture) -> Result<()> {
    let node = fixture.second_node()?;
    let only = OnlySecond::begin(fixture, &node)?;
    let pool = Pool::start(fixture, &json!({"replicas": 1}))?;
    let retry = json!({"spec": {"retry": {"rerun": "Safe", "afterNodeLoss": "Rerun"}}}).to_string();
    let home = fixture.home();
    let patch = [
        "patch",
        "peontemplate",
        "default",
        "--type=merge",
        "--patch",
        &retry,
    ];
    fixture
        .kubectl
        .run(&[&patch[..], &["--namespace", home]].concat())?;
    let (id, run) = running(fixture, &pool, "without_power_warm", 20_000)?;
    let task = pool.peon_task(&id)?;
    ensure!(task["status"]["nodeName"] == node.name(), "{}", task["status"]);
    drop(only);
    node.power_off()?;
    node.until_lost()?;
    node.taint_out_of_service()?;
    let status = pool.manager.until_ended(&id)?;
    ensure!(status["statusCode"] == "SUCCESS", "{status}");
    let status = &pool.peon_task(&id)?["status"];
    let attempts = list(&status["attempts"]);
    ensure!(
        attempts.len() == 1 && attempts[0]["cause"] == "NodeLost" && status["run"]["podUID"] != run["podUID"],
        "{status}"
    );
    node.down()
}
