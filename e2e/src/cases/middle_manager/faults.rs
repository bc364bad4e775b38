//! Parts that die while tasks are in flight.

use anyhow::{Result, ensure};
use serde_json::{Value, json};

use super::{Case, MiddleManager, Turn, case, list, noop, process::Process};
use crate::testbed::{
    api_server::Away,
    fixture::{Fixture, LIMIT},
    wait::wait_until,
};

pub(super) const CASES: &[Case] = &[
    case(
        "middle_manager::an_overlord_that_restarts_finds_its_tasks",
        overlord_restarts,
    )
    .long()
    .own(),
    case(
        "middle_manager::killed_hard_it_loses_and_doubles_nothing",
        killed_hard,
    )
    .long()
    .own(),
    case(
        "middle_manager::an_operator_and_an_api_server_that_die_lose_nothing",
        operator_dies,
    )
    .turn(Turn::Alone)
    .own(),
    case("middle_manager::a_change_of_capacity_harms_no_task", capacity)
        .long()
        .own(),
];

/// Tasks that run while something happens, and after it.
pub(super) struct InFlight<'m, 'f> {
    manager: &'m MiddleManager<'f>,
    pub(super) ids: Vec<String>,
}

impl<'m, 'f> InFlight<'m, 'f> {
    pub(super) fn start(manager: &'m MiddleManager<'f>, name: &str, run_time: u64) -> Result<Self> {
        let mut ids = Vec::new();
        for n in 0..2 {
            ids.push(manager.submit(&noop(manager.fixture, &format!("{name}_{n}"), run_time))?);
        }
        for id in &ids {
            let name = manager.until_assigned(id)?;
            let fixture = manager.fixture;
            fixture.until_running(fixture.home(), &name)?;
        }
        Ok(Self { manager, ids })
    }

    /// Waits for their ends: each succeeded, in its first attempt, with one PeonTask.
    pub(super) fn end(&self) -> Result<()> {
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

fn killed_hard(fixture: &Fixture) -> Result<()> {
    let manager = MiddleManager::start(fixture)?;
    let tasks = InFlight::start(&manager, "under_a_kill", 20_000)?;
    Process::server(fixture).kill()?;
    // It goes on with what was assigned before, and takes more.
    let later = manager.submit(&noop(fixture, "after_a_kill", 1000))?;
    tasks.end()?;
    let status = manager.until_ended(&later)?;
    ensure!(status["statusCode"] == "SUCCESS", "{status}");
    Ok(())
}

fn operator_dies(fixture: &Fixture) -> Result<()> {
    let manager = MiddleManager::start(fixture)?;
    let tasks = InFlight::start(&manager, "under_no_operator", 10_000)?;
    Process::operator(fixture).kill()?;
    drop(Away::begin(fixture)?);
    tasks.end()
}

fn overlord_restarts(fixture: &Fixture) -> Result<()> {
    let manager = MiddleManager::start(fixture)?;
    let tasks = InFlight::start(&manager, "under_no_overlord", 40_000)?;
    let pods = ["pod", "--namespace", fixture.home(), "--selector", "app=overlord"];
    let container = |found: &Value| found["items"][0]["status"]["containerStatuses"][0].clone();
    let before = container(&fixture.kubectl.get_json(&pods)?)["restartCount"].as_u64();
    Process::overlord(fixture).kill()?;
    fixture.kubectl.wait_for(&pods, LIMIT, |found| {
        let now = container(found);
        now["restartCount"].as_u64() > before && now["ready"] == true
    })?;
    tasks.end()
}

fn capacity(fixture: &Fixture) -> Result<()> {
    let manager = MiddleManager::start(fixture)?;
    let tasks = InFlight::start(&manager, "under_a_change", 20_000)?;
    manager.change(&json!({"capacity": 7}))?;
    wait_until(LIMIT, "the new capacity at the overlord", || {
        let workers = fixture.druid.get("/druid/indexer/v1/workers")?;
        let workers = list(&workers);
        let changed = workers.len() == 2 && workers.iter().all(|w| w["worker"]["capacity"] == 7);
        Ok(changed.then_some(()))
    })?;
    tasks.end()
}
