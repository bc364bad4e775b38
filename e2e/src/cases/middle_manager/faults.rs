//! Parts that die while tasks are in flight.

use anyhow::{Result, ensure};
use serde_json::{Value, json};

use super::{Case, Manager, case, list, noop, text};
use crate::{
    cluster::pod_processes,
    fixture::{Fixture, LIMIT, NAMESPACE, OPERATOR_NAMESPACE},
    peons,
    wait::wait_until,
};

pub(super) const CASES: &[Case] = &[
    case(
        "middle_manager::killed_hard_it_loses_and_doubles_nothing",
        killed_hard,
    )
    .own(),
    case(
        "middle_manager::an_operator_that_dies_loses_nothing",
        operator_dies,
    )
    .own(),
    case(
        "middle_manager::an_overlord_that_restarts_finds_its_tasks",
        overlord_restarts,
    )
    .own(),
    case("middle_manager::a_change_of_capacity_harms_no_task", capacity).own(),
];

/// Tasks that run while something happens, and after it.
struct InFlight<'m, 'f> {
    manager: &'m Manager<'f>,
    ids: Vec<String>,
}

impl<'m, 'f> InFlight<'m, 'f> {
    fn start(manager: &'m Manager<'f>, name: &str, run_time: u64) -> Result<Self> {
        let mut ids = Vec::new();
        for n in 0..2 {
            ids.push(manager.submit(&noop(manager.fixture, &format!("{name}_{n}"), run_time))?);
        }
        for id in &ids {
            let name = manager.until_assigned(id)?;
            manager
                .fixture
                .until(NAMESPACE, &name, |s| s["phase"] == "Running")?;
        }
        Ok(Self { manager, ids })
    }

    /// Waits for their ends: each succeeded, in its first attempt, with one PeonTask.
    fn end(&self) -> Result<()> {
        for id in &self.ids {
            let status = self.manager.until_ended(id)?;
            ensure!(status["statusCode"] == "SUCCESS", "{id}: {status}");
            let tasks = self.manager.peon_tasks(id)?;
            ensure!(tasks.len() == 1, "{tasks:?}");
            let status = &tasks[0]["status"];
            ensure!(status["attempt"].as_u64().unwrap_or(1) == 1, "{status}");
        }
        Ok(())
    }
}

/// The process of the pod that serves the identities.
fn process(fixture: &Fixture, namespace: &str, selector: &str) -> Result<Option<i32>> {
    let pods = fixture
        .kubectl
        .get_json(&["pod", "--namespace", namespace, "--selector", selector])?;
    let uids: Vec<String> = list(&pods["items"])
        .iter()
        .map(|p| text(&p["metadata"]["uid"]).to_owned())
        .collect();
    let program = |id: i32| {
        std::fs::read_to_string(format!("/proc/{id}/comm"))
            .is_ok_and(|comm| comm.starts_with("peon-operator"))
    };
    let found = pod_processes()
        .into_iter()
        .find(|p| uids.contains(&p.pod) && program(p.id));
    Ok(found.map(|p| p.id))
}

/// Kills the process of a pod, and waits until another runs.
pub(super) fn kill(fixture: &Fixture, namespace: &str, selector: &str) -> Result<()> {
    let id = wait_until(LIMIT, "the process", || process(fixture, namespace, selector))?;
    peons::kill_hard(id)?;
    wait_until(LIMIT, "another process", || {
        Ok(process(fixture, namespace, selector)?.filter(|other| *other != id))
    })
    .map(drop)
}

fn killed_hard(fixture: &Fixture) -> Result<()> {
    let manager = Manager::start(fixture)?;
    let tasks = InFlight::start(&manager, "under_a_kill", 15_000)?;
    kill(fixture, NAMESPACE, "peon.dev/serves")?;
    // It goes on with what was assigned before, and takes more.
    let later = manager.submit(&noop(fixture, "after_a_kill", 1000))?;
    tasks.end()?;
    let status = manager.until_ended(&later)?;
    ensure!(status["statusCode"] == "SUCCESS", "{status}");
    Ok(())
}

fn operator_dies(fixture: &Fixture) -> Result<()> {
    let manager = Manager::start(fixture)?;
    let tasks = InFlight::start(&manager, "under_no_operator", 10_000)?;
    kill(
        fixture,
        OPERATOR_NAMESPACE,
        "app.kubernetes.io/name=peon-operator",
    )?;
    tasks.end()
}

fn overlord_restarts(fixture: &Fixture) -> Result<()> {
    let manager = Manager::start(fixture)?;
    let tasks = InFlight::start(&manager, "under_no_overlord", 40_000)?;
    let pods = ["pod", "--namespace", NAMESPACE, "--selector", "app=overlord"];
    let args = [&["delete", "--wait=false"], &pods[..]].concat();
    let before = text(&fixture.kubectl.get_json(&pods)?["items"][0]["metadata"]["uid"]).to_owned();
    fixture.kubectl.run(&args)?;
    let back = |found: &Value| {
        let pods = list(&found["items"]);
        let ready = |p: &Value| {
            list(&p["status"]["conditions"])
                .iter()
                .any(|c| c["type"] == "Ready" && c["status"] == "True")
        };
        pods.len() == 1 && pods[0]["metadata"]["uid"] != json!(before) && ready(&pods[0])
    };
    fixture.kubectl.wait_for(&pods, LIMIT, back)?;
    tasks.end()
}

fn capacity(fixture: &Fixture) -> Result<()> {
    let manager = Manager::start(fixture)?;
    let tasks = InFlight::start(&manager, "under_a_change", 10_000)?;
    let patch = json!({"spec": {"capacity": 7}}).to_string();
    let args = [
        "patch",
        "virtualmiddlemanager",
        super::NAME,
        "--type=merge",
        "--patch",
        &patch,
        "--namespace",
        NAMESPACE,
    ];
    fixture.kubectl.run(&args)?;
    wait_until(LIMIT, "the new capacity at the overlord", || {
        let workers = fixture.druid.get("/druid/indexer/v1/workers")?;
        let workers = list(&workers);
        let changed = workers.len() == 2 && workers.iter().all(|w| w["worker"]["capacity"] == 7);
        Ok(changed.then_some(()))
    })?;
    tasks.end()
}
