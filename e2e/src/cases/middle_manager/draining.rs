//! Identities that go, and labels that do.

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use super::{Case, MiddleManager, case, faults::InFlight, list, noop, text};
use crate::testbed::{
    fixture::{Fixture, LIMIT},
    wait::wait_until,
};

pub(super) const CASES: &[Case] = &[
    case(
        "middle_manager::races::an_identity_that_goes_first_lets_its_tasks_end",
        drains,
    )
    .own(),
    case(
        "middle_manager::races::a_peontask_without_its_label_runs_on",
        relabelled,
    )
    .own(),
];

fn workers(fixture: &Fixture) -> Result<Vec<Value>> {
    Ok(list(&fixture.druid.get("/druid/indexer/v1/workers")?))
}

fn drains(fixture: &Fixture) -> Result<()> {
    let manager = MiddleManager::start(fixture)?;
    // One on each, since the overlord takes the worker with the most free slots.
    let tasks = InFlight::start(&manager, "under_a_drain", 30_000)?;
    let last = wait_until(LIMIT, "a task on the last identity", || {
        let last = manager.status()?["identities"][1].take();
        Ok((last["used"] == 1).then(|| text(&last["address"]).to_owned()))
    })?;
    manager.change(&json!({"identities": 1}))?;
    wait_until(LIMIT, "an identity that drains", || {
        let status = manager.status()?;
        Ok((status["identities"][1]["drain"] == "Draining").then_some(()))
    })?;
    let of_last = |worker: &Value| worker["worker"]["host"] == last.as_str();
    wait_until(LIMIT, "a worker that is disabled", || {
        let all = workers(fixture)?;
        let worker = all.iter().find(|w| of_last(w)).context("it is gone already")?;
        Ok(text(&worker["worker"]["version"]).is_empty().then_some(()))
    })?;
    let later = manager.submit(&noop(fixture, "beside_a_drain", 1000))?;
    let name = manager.until_assigned(&later)?;
    let task = fixture.get(fixture.home(), &name)?;
    ensure!(task["metadata"]["labels"]["peon.dev/identity"] == "0", "{task}");
    tasks.end()?;
    wait_until(LIMIT, "its withdrawal", || {
        Ok((!workers(fixture)?.iter().any(of_last)).then_some(()))
    })?;
    let gone = |found: &Value| list(&found["items"]).len() == 1;
    let services = [
        "service",
        "--namespace",
        fixture.home(),
        "--selector",
        "peon.dev/serves",
    ];
    fixture.kubectl.wait_for(&services, LIMIT, gone)?;
    manager.until_ready()?;
    manager.until_workers(1)?;
    let status = manager.until_ended(&later)?;
    ensure!(status["statusCode"] == "SUCCESS", "{status}");
    wait_until(LIMIT, "a status without it", || {
        Ok((list(&manager.status()?["identities"]).len() == 1).then_some(()))
    })
}

/// Only the service account of the workers may take the label away, so it has to be borrowed.
fn relabelled(fixture: &Fixture) -> Result<()> {
    let manager = MiddleManager::start(fixture)?;
    let tasks = InFlight::start(&manager, "under_no_label", 20_000)?;
    let account = format!(
        "--as=system:serviceaccount:{}:{}-vmm",
        fixture.home(),
        super::NAME
    );
    let mut names = Vec::new();
    for id in &tasks.ids {
        names.push(manager.until_assigned(id)?);
    }
    for (name, label) in names
        .iter()
        .zip(["peon.dev/middle-manager-", "peon.dev/identity-"])
    {
        let args = [
            "label",
            "peontask",
            name,
            label,
            &account,
            "--namespace",
            fixture.home(),
        ];
        fixture.kubectl.run(&args)?;
    }
    for name in &names {
        let args = ["peontask", name, "--namespace", fixture.home()];
        fixture.kubectl.wait_for(&args, LIMIT, |task| {
            let labels = &task["metadata"]["labels"];
            labels["peon.dev/middle-manager"] == super::NAME && labels["peon.dev/identity"].is_string()
        })?;
    }
    tasks.end()
}
