//! Parts that cannot be reached for a while, and processes that stand still.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use serde_json::{Value, json};

use super::{
    Case, MiddleManager, Turn, case,
    faults::InFlight,
    list, noop,
    process::Process,
    text,
    worker::{JSON, Worker},
};
use crate::testbed::{
    api_server::Away,
    fixture::{Fixture, LIMIT},
    kubectl::is_ready,
    wait::wait_until,
};

pub(super) const CASES: &[Case] = &[
    case(
        "middle_manager::faults::an_api_server_that_is_away_for_a_minute_loses_nothing",
        api_server_away,
    )
    .turn(Turn::Alone)
    .own()
    .full(),
    case(
        "middle_manager::faults::workers_whose_session_expired_are_announced_again",
        session_expires,
    )
    .own()
    .full(),
    case(
        "middle_manager::faults::two_processes_of_the_same_identities_do_no_harm",
        two_processes,
    )
    .own()
    .full(),
];

/// How long the API server is away.
const AWAY: Duration = Duration::from_secs(60);
/// The shortest session that ZooKeeper takes with its defaults.
const SHORT_SESSION: u32 = 4;

/// A process that stands still for as long as the value lives.
pub(super) struct Paused(Pid);

impl Paused {
    pub(super) fn by(process: i32, signal: Signal) -> Result<Self> {
        let id = Pid::from_raw(process);
        kill(id, signal).context("the process is gone")?;
        Ok(Self(id))
    }
}

impl Drop for Paused {
    fn drop(&mut self) {
        // It may have been killed for its silence.
        let _ = kill(self.0, Signal::SIGCONT);
    }
}

/// How many workers the overlord has, and how many of them are enabled: of others the version is empty.
fn workers(overlord: &Worker) -> Result<(usize, usize)> {
    let workers = overlord.get_json("/druid/indexer/v1/workers")?;
    let workers = list(&workers);
    let enabled = workers
        .iter()
        .filter(|w| !text(&w["worker"]["version"]).is_empty());
    Ok((workers.len(), enabled.count()))
}

fn direct(fixture: &Fixture) -> Result<Worker> {
    let url = fixture.druid.service_url()?;
    Ok(Worker::at(url.trim_start_matches("http://")))
}

fn api_server_away(fixture: &Fixture) -> Result<()> {
    let manager = MiddleManager::start(fixture)?;
    let tasks = InFlight::start(&manager, "under_no_api_server", 90_000)?;
    let overlord = direct(fixture)?;
    let away = Away::begin(fixture)?;
    wait_until(LIMIT, "workers that are disabled", || {
        Ok((workers(&overlord)? == (2, 0)).then_some(()))
    })?;
    let silent = away.since.elapsed();
    println!("disabled after {:.1} s", silent.as_secs_f32());
    let later = noop(fixture, "after_no_api_server", 1000);
    let headers = [("Content-Type", JSON)];
    let path = "/druid/indexer/v1/task";
    let answer = overlord.send("POST", path, &headers, later.to_string().as_bytes())?;
    ensure!(answer.code == 200, "{answer:?}");
    let later = text(&later["id"]).to_owned();
    wait_until(LIMIT, "a minute without an API server", || {
        ensure!(workers(&overlord)? == (2, 0), "{:?}", workers(&overlord)?);
        for id in tasks.ids.iter().chain([&later]) {
            let status = overlord.get_json(&format!("/druid/indexer/v1/task/{id}/status"))?;
            ensure!(status["status"]["statusCode"] == "RUNNING", "{status}");
        }
        Ok((away.since.elapsed() >= AWAY).then_some(()))
    })?;
    drop(away);
    manager.until_workers(2)?;
    let status = manager.until_ended(&later)?;
    ensure!(status["statusCode"] == "SUCCESS", "{status}");
    ensure!(
        manager.peon_tasks(&later)?.len() == 1,
        "{later} has not one PeonTask"
    );
    tasks.end()
}

fn short_session(spec: &mut Value) {
    spec["discovery"]["zookeeper"]["sessionTimeoutSeconds"] = json!(SHORT_SESSION);
}

fn session_expires(fixture: &Fixture) -> Result<()> {
    let manager = MiddleManager::start_with(fixture, short_session)?;
    let tasks = InFlight::start(&manager, "under_no_session", 40_000)?;
    let overlord = direct(fixture)?;
    let id = Process::server(fixture).until_there()?;
    let paused = Paused::by(id, Signal::SIGSTOP)?;
    wait_until(LIMIT, "the end of its session", || {
        Ok((workers(&overlord)? == (0, 0)).then_some(()))
    })?;
    drop(paused);
    manager.until_workers(2)?;
    let now = Process::server(fixture).id()?;
    ensure!(now == Some(id), "it was another process that announced them");
    let later = manager.submit(&noop(fixture, "after_no_session", 1000))?;
    let status = manager.until_ended(&later)?;
    ensure!(status["statusCode"] == "SUCCESS", "{status}");
    tasks.end()
}

/// A second pod like the one of the Deployment, behind the same Services.
struct Twin<'a> {
    fixture: &'a Fixture,
}

impl<'a> Twin<'a> {
    const NAME: &'static str = "twin";

    fn start(fixture: &'a Fixture) -> Result<Self> {
        let name = format!("{}-vmm", super::NAME);
        let deployment = ["deployment", &name, "--namespace", fixture.home()];
        let template = fixture.kubectl.get_json(&deployment)?["spec"]["template"].take();
        let pod = json!({
            "apiVersion": "v1", "kind": "Pod",
            "metadata": {"name": Self::NAME, "labels": template["metadata"]["labels"]},
            "spec": template["spec"],
        });
        fixture.apply(fixture.home(), &pod)?;
        let twin = Self { fixture };
        let pod = ["pod", Self::NAME, "--namespace", fixture.home()];
        fixture.kubectl.wait_for(&pod, LIMIT, is_ready)?;
        Ok(twin)
    }

    fn end(&self) -> Result<()> {
        self.fixture
            .kubectl
            .delete(&["pod", Self::NAME, "--namespace", self.fixture.home()])
    }
}

impl Drop for Twin<'_> {
    fn drop(&mut self) {
        if let Err(error) = self.end() {
            eprintln!("the second process stays: {error:#}");
        }
    }
}

/// Submits a short task and waits for its success.
fn succeeds(fixture: &Fixture, manager: &MiddleManager, name: &str) -> Result<()> {
    let id = manager.submit(&noop(fixture, name, 1000))?;
    let status = manager.until_ended(&id)?;
    ensure!(status["statusCode"] == "SUCCESS", "{status}");
    ensure!(manager.peon_tasks(&id)?.len() == 1, "{id} has not one PeonTask");
    Ok(())
}

fn two_processes(fixture: &Fixture) -> Result<()> {
    let manager = MiddleManager::start_with(fixture, short_session)?;
    let tasks = InFlight::start(&manager, "under_two_processes", 60_000)?;
    let first = Process::server(fixture).until_there()?;
    let twin = Twin::start(fixture)?;
    for n in 0..2 {
        succeeds(fixture, &manager, &format!("by_either_{n}"))?;
    }
    let killed = manager.submit(&noop(fixture, "killed_by_either", 3_600_000))?;
    let name = manager.until_assigned(&killed)?;
    fixture.druid.shutdown(&killed)?;
    let status = manager.until_ended(&killed)?;
    ensure!(status["statusCode"] == "FAILED", "{status}");
    fixture.until_reason(fixture.home(), &name, "Cancelled")?;
    fixture.until_no_pod(fixture.home(), &name)?;
    // The first stands still, the second has everything, and the first wakes up.
    let paused = Paused::by(first, Signal::SIGSTOP)?;
    succeeds(fixture, &manager, "by_the_second")?;
    drop(paused);
    succeeds(fixture, &manager, "by_either_again")?;
    twin.end()?;
    manager.until_workers(2)?;
    succeeds(fixture, &manager, "by_the_first")?;
    tasks.end()
}
