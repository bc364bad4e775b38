//! The node of a task is lost, or seems to be.

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use super::{Case, Turn, case};
use crate::testbed::{
    cluster::SecondNode,
    druid::samples,
    fixture::{Fixture, LIMIT, NAMESPACE},
    peons,
    wait::wait_until,
};

pub(super) const CASES: [Case; 5] = [
    case("nodes::a_task_outlives_a_partition_of_its_node", partition)
        .turn(Turn::OneByOne)
        .own(),
    case(
        "nodes::a_task_whose_node_lost_power_ends_when_it_is_out_of_service",
        power_failure,
    )
    .turn(Turn::OneByOne)
    .own(),
    case(
        "nodes::a_retry_after_a_power_failure_waits_until_the_node_is_written_off",
        written_off,
    )
    .turn(Turn::OneByOne)
    .own(),
    case(
        "nodes::a_pod_deleted_by_force_on_a_cut_off_node_is_not_followed_while_its_peon_lives",
        forced,
    )
    .turn(Turn::OneByOne)
    .own(),
    case(
        "nodes::a_deleted_node_proves_nothing_while_its_peon_may_live",
        deleted_node,
    )
    .turn(Turn::OneByOne)
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
    let retry = json!({"rerun": "Never"});
    noop_with(fixture, node, name, seconds, seconds_when_lost, &retry)
}

/// As [`noop_on`], and its template has this retry policy.
fn noop_with(
    fixture: &Fixture,
    node: &SecondNode,
    name: &str,
    seconds: u32,
    seconds_when_lost: u32,
    retry: &Value,
) -> Result<String> {
    fixture.template_on(node, NAMESPACE, name, seconds_when_lost)?;
    set_retry(fixture, name, retry)?;
    let mut task = samples::noop(name)?;
    task["spec"]["templateRef"] = json!({ "name": name });
    task["spec"]["task"]["runTime"] = json!(seconds * 1000);
    fixture.apply(NAMESPACE, &task)?;
    let task = fixture.until_running(NAMESPACE, name)?;
    let pod = task["status"]["run"]["podUID"]
        .as_str()
        .context("no status.run.podUID")?
        .to_owned();
    wait_until(LIMIT, "the peon's JVM", || {
        Ok((peons::on(node.name()).len() == 1).then_some(()))
    })?;
    Ok(pod)
}

fn partition(fixture: &Fixture) -> Result<()> {
    let node = fixture.second_node()?;
    let name = "cut-off";
    let pod = noop_on(fixture, &node, name, 45, 600)?;
    let before = peons::on(node.name());
    node.partition()?;
    node.until_lost()?;
    let status = |task: &Value| task["status"].clone();
    let cut_off = status(&fixture.get(NAMESPACE, name)?);
    ensure!(cut_off["phase"] == "Running", "during the partition: {cut_off}");
    ensure!(
        peons::in_pod(&pod).len() == 1 && peons::on(node.name()) == before,
        "not the same peon: {:?}",
        peons::on(node.name())
    );
    node.heal()?;
    node.until_ready()?;
    let ended = status(&fixture.until_reason(NAMESPACE, name, "Succeeded")?);
    ensure!(ended["run"]["podUID"] == pod.as_str(), "another pod: {ended}");
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
    ensure!(ended["run"]["podUID"] == pod.as_str(), "another pod: {ended}");
    node.down()
}

fn set_retry(fixture: &Fixture, template: &str, retry: &Value) -> Result<()> {
    let patch = json!({"spec": {"retry": retry}}).to_string();
    let args = [
        "patch",
        "peontemplate",
        template,
        "--type=merge",
        "--patch",
        &patch,
        "--namespace",
        NAMESPACE,
    ];
    fixture.kubectl.run(&args).map(drop)
}

fn until_awaiting(fixture: &Fixture, name: &str) -> Result<Value> {
    let task = fixture.until(NAMESPACE, name, |s| s["reason"] == "AwaitingNodeProof")?;
    ensure!(task["status"]["attempt"] == 1, "{}", task["status"]);
    Ok(task)
}

fn force_delete(fixture: &Fixture, name: &str) -> Result<()> {
    let pod = format!("{name}-1");
    let args = [
        "pod",
        &pod,
        "--force",
        "--grace-period=0",
        "--namespace",
        NAMESPACE,
    ];
    fixture.kubectl.delete(&args)
}

fn cancel(fixture: &Fixture, name: &str) -> Result<()> {
    fixture.change(NAMESPACE, name, &json!({"cancel": true}))?;
    fixture
        .until(NAMESPACE, name, |s| s["phase"] == "Failed")
        .map(drop)
}

fn written_off(fixture: &Fixture) -> Result<()> {
    let node = fixture.second_node()?;
    let name = "written-off";
    // A node that has just joined may be tainted for a moment.
    noop_with(fixture, &node, name, 600, 20, &json!({"rerun": "Safe"}))?;
    node.power_off()?;
    node.until_lost()?;
    until_awaiting(fixture, name)?;
    node.taint_out_of_service()?;
    let says = |s: &Value| {
        let conditions = s["conditions"].as_array().into_iter().flatten();
        let mut messages = conditions.filter_map(|c| c["message"].as_str());
        messages.any(|m| m.contains("out-of-service") && m.contains("retry.afterNodeLoss"))
    };
    let task = fixture.until(NAMESPACE, name, says)?;
    ensure!(task["status"]["attempt"] == 1, "{}", task["status"]);
    set_retry(fixture, name, &json!({"rerun": "Safe", "afterNodeLoss": "Rerun"}))?;
    let task = fixture.until(NAMESPACE, name, |s| s["attempt"] == 2)?;
    ensure!(
        task["status"]["attempts"][0]["cause"] == "NodeLost",
        "{}",
        task["status"]
    );
    cancel(fixture, name)?;
    node.down()
}

fn forced(fixture: &Fixture) -> Result<()> {
    let node = fixture.second_node()?;
    let name = "forced-off";
    let retry = json!({"rerun": "Safe", "afterNodeLoss": "Rerun"});
    let pod = noop_with(fixture, &node, name, 600, 600, &retry)?;
    node.partition()?;
    force_delete(fixture, name)?;
    until_awaiting(fixture, name)?;
    node.until_lost()?;
    ensure!(
        peons::in_pod(&pod).len() == 1,
        "the peon has ended: {:?}",
        peons::all()
    );
    until_awaiting(fixture, name)?;
    node.heal()?;
    node.until_ready()?;
    let task = fixture.until(NAMESPACE, name, |s| s["attempt"] == 2)?;
    ensure!(
        peons::in_pod(&pod).is_empty(),
        "another attempt was claimed while a peon lived: {}",
        task["status"]
    );
    wait_until(LIMIT, "the peon of the second attempt", || {
        let peons = peons::on(node.name());
        ensure!(peons.len() <= 1, "two peons: {peons:?}");
        Ok((peons.len() == 1).then_some(()))
    })?;
    cancel(fixture, name)?;
    node.down()
}

/// Whoever deletes a node says nothing about what runs on it.
fn deleted_node(fixture: &Fixture) -> Result<()> {
    let node = fixture.second_node()?;
    let name = "node-deleted";
    let pod = noop_with(fixture, &node, name, 600, 600, &json!({"rerun": "Safe"}))?;
    node.partition()?;
    node.until_lost()?;
    fixture.kubectl.delete(&["node", node.name()])?;
    force_delete(fixture, name)?;
    until_awaiting(fixture, name)?;
    ensure!(
        peons::in_pod(&pod).len() == 1,
        "the peon has ended: {:?}",
        peons::all()
    );
    // It can be given up, though, since nothing follows.
    cancel(fixture, name)?;
    ensure!(peons::in_pod(&pod).len() == 1, "{:?}", peons::all());
    node.down()
}
