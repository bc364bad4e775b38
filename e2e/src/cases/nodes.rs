//! The node of a task is lost, or seems to be.

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use super::{Case, Turn, case};
use crate::{
    cluster::SecondNode,
    fixture::{Fixture, LIMIT, NAMESPACE},
    peons, samples,
    wait::wait_until,
};

pub(super) const CASES: [Case; 2] = [
    case("nodes::a_task_outlives_a_partition_of_its_node", partition)
        .turn(Turn::Alone)
        .own(),
    case(
        "nodes::a_task_whose_node_lost_power_ends_when_it_is_out_of_service",
        power_failure,
    )
    .turn(Turn::Alone)
    .own(),
];

/// A noop that runs for so many seconds on the second node; returns its pod's unique id once its JVM runs.
fn noop_on(
    fixture: &Fixture,
    node: &SecondNode,
    name: &str,
    seconds: u32,
    seconds_when_lost: u32,
) -> Result<String> {
    fixture.template_on(node, NAMESPACE, name, seconds_when_lost)?;
    let mut task = samples::noop(name)?;
    task["spec"]["templateRef"] = json!({ "name": name });
    task["spec"]["task"]["runTime"] = json!(seconds * 1000);
    fixture.apply(NAMESPACE, &task)?;
    let task = fixture.until(NAMESPACE, name, |status| status["phase"] == "Running")?;
    let pod = task["status"]["podUid"].as_str().context("no podUid")?.to_owned();
    wait_until(LIMIT, "the peon's JVM", || {
        Ok((peons::on(node.name()).len() == 1).then_some(()))
    })?;
    Ok(pod)
}

fn partition(fixture: &Fixture) -> Result<()> {
    let node = fixture.second_node()?;
    let name = "cut-off";
    let pod = noop_on(fixture, &node, name, 45, 600)?;
    let before = peons::all();
    node.partition()?;
    node.until_lost()?;
    let status = |task: &Value| task["status"].clone();
    let cut_off = status(&fixture.get(NAMESPACE, name)?);
    ensure!(cut_off["phase"] == "Running", "during the partition: {cut_off}");
    ensure!(
        peons::in_pod(&pod).len() == 1 && peons::all() == before,
        "not the same peon: {:?}",
        peons::all()
    );
    node.heal()?;
    node.until_ready()?;
    let ended = status(&fixture.until_reason(NAMESPACE, name, "Succeeded")?);
    ensure!(ended["podUid"] == pod.as_str(), "another pod: {ended}");
    node.down()
}

fn power_failure(fixture: &Fixture) -> Result<()> {
    let node = fixture.second_node()?;
    let name = "without-power";
    let pod = noop_on(fixture, &node, name, 600, 0)?;
    node.power_off()?;
    ensure!(
        peons::on(node.name()).is_empty(),
        "a peon runs: {:?}",
        peons::all()
    );
    node.until_lost()?;
    node.taint_out_of_service()?;
    let ended = fixture.until_reason(NAMESPACE, name, "NodeLost")?["status"].clone();
    ensure!(ended["podUid"] == pod.as_str(), "another pod: {ended}");
    node.down()
}
