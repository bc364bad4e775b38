//! The node of the pod that serves the identities is lost.

use std::time::Instant;

use anyhow::{Result, ensure};
use serde_json::{Value, json};

use super::{Case, MiddleManager, Turn, case, faults::InFlight, list, noop, text};
use crate::testbed::{
    cluster::{NODE, SecondNode},
    fixture::{Fixture, LIMIT},
    kubectl::is_ready,
    wait::wait_until,
};

pub(super) const CASES: &[Case] = &[case(
    "middle_manager::faults::identities_whose_node_lost_power_are_served_from_another",
    node_lost,
)
.turn(Turn::Alone)
.own()
.full()];

/// The first node is cordoned, for as long as the value lives.
pub(super) struct Cordoned<'a>(&'a Fixture);

impl<'a> Cordoned<'a> {
    pub(super) fn begin(fixture: &'a Fixture) -> Result<Self> {
        let cordoned = Self(fixture);
        fixture.kubectl.run(&["cordon", NODE])?;
        Ok(cordoned)
    }
}

impl Drop for Cordoned<'_> {
    fn drop(&mut self) {
        if let Err(error) = self.0.kubectl.run(&["uncordon", NODE]) {
            eprintln!("{NODE} stays cordoned: {error:#}");
        }
    }
}

/// Keeps pods from other nodes and lets all come to the second, for as long as the value lives.
pub(super) struct OnlySecond<'a> {
    _cordoned: Cordoned<'a>,
}

impl<'a> OnlySecond<'a> {
    pub(super) fn begin(fixture: &'a Fixture, node: &SecondNode) -> Result<Self> {
        let only = Self {
            _cordoned: Cordoned::begin(fixture)?,
        };
        let open = ["taint", "node", node.name(), "e2e.peon.dev/second-node-"];
        fixture.kubectl.run(&open)?;
        Ok(only)
    }
}

/// Sends the pod that serves the identities to the second node.
fn move_to(fixture: &Fixture, node: &SecondNode) -> Result<String> {
    let _only = OnlySecond::begin(fixture, node)?;
    let pods = [
        "pod",
        "--namespace",
        fixture.home(),
        "--selector",
        "peon.dev/serves",
    ];
    fixture.kubectl.delete(&pods)?;
    let there = |found: &Value| {
        let pods = list(&found["items"]);
        pods.len() == 1 && pods[0]["spec"]["nodeName"] == node.name() && is_ready(&pods[0])
    };
    let found = fixture.kubectl.wait_for(&pods, LIMIT, there)?;
    Ok(text(&found["items"][0]["metadata"]["uid"]).to_owned())
}

fn node_lost(fixture: &Fixture) -> Result<()> {
    // Shorter than the pod takes to be replaced. Until it ends, the overlord assigns tasks to whom nobody hears, and fails
    // them after minutes, as those of any worker whose machine is gone.
    let manager = MiddleManager::start_with(fixture, |spec| {
        spec["discovery"]["zookeeper"]["sessionTimeoutSeconds"] = json!(10);
    })?;
    let tasks = InFlight::start(&manager, "under_a_lost_node", 150_000)?;
    // Goes before the VirtualMiddleManager does: with it what is left of its pods.
    let node = fixture.second_node()?;
    let before = move_to(fixture, &node)?;
    manager.until_workers(2)?;
    node.power_off()?;
    let lost = Instant::now();
    wait_until(LIMIT, "the end of the session", || {
        let workers = fixture.druid.get("/druid/indexer/v1/workers")?;
        Ok(list(&workers).is_empty().then_some(()))
    })?;
    let later = manager.submit(&noop(fixture, "after_a_lost_node", 1000))?;
    let pods = [
        "pod",
        "--namespace",
        fixture.home(),
        "--selector",
        "peon.dev/serves",
    ];
    let another = |found: &Value| {
        let other = |pod: &Value| pod["metadata"]["uid"] != json!(before);
        list(&found["items"])
            .iter()
            .any(|pod| other(pod) && is_ready(pod))
    };
    fixture.kubectl.wait_for(&pods, LIMIT, another)?;
    manager.until_workers(2)?;
    println!("served again after {:.0} s", lost.elapsed().as_secs_f32());
    let status = manager.until_ended(&later)?;
    ensure!(status["statusCode"] == "SUCCESS", "{status}");
    tasks.end()?;
    node.down()
}
