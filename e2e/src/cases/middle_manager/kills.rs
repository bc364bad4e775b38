//! Tasks that the overlord is told to end.

use anyhow::{Result, ensure};

use super::{Case, MiddleManager, case, noop, races::noop_that_waits, shared, text};
use crate::testbed::{
    fixture::{Fixture, LIMIT},
    peons,
    wait::wait_until,
};

pub(super) const CASES: &[Case] = &[
    shared("middle_manager::a_kill_while_running_stops_the_peon", running),
    shared("middle_manager::a_kill_while_starting_stops_the_task", starting),
    case("middle_manager::a_kill_while_pending_ends_the_task", pending).own(),
    shared(
        "middle_manager::a_deleted_peontask_fails_at_the_overlord",
        deleted,
    ),
];

fn ended(fixture: &Fixture, manager: &MiddleManager, id: &str) -> Result<()> {
    let status = manager.until_ended(id)?;
    ensure!(status["statusCode"] == "FAILED", "{status}");
    let name = manager.until_assigned(id)?;
    let task = fixture.until_reason(fixture.home(), &name, "Cancelled")?;
    ensure!(task["spec"]["cancel"] == true, "{task}");
    fixture.until_no_pod(fixture.home(), &name)
}

fn running(fixture: &Fixture) -> Result<()> {
    let manager = MiddleManager::shared(fixture)?;
    let id = manager.submit(&noop(fixture, "killed_running", 3_600_000))?;
    let name = manager.until_assigned(&id)?;
    let task = fixture.until_running(fixture.home(), &name)?;
    let uid = text(&task["status"]["run"]["podUID"]).to_owned();
    fixture.druid.shutdown(&id)?;
    ended(fixture, &manager, &id)?;
    wait_until(LIMIT, "the JVM to go", || {
        Ok(peons::in_pod(&uid).is_empty().then_some(()))
    })
}

fn starting(fixture: &Fixture) -> Result<()> {
    let manager = MiddleManager::shared(fixture)?;
    let id = manager.submit(&noop(fixture, "killed_starting", 3_600_000))?;
    manager.until_assigned(&id)?;
    fixture.druid.shutdown(&id)?;
    ended(fixture, &manager, &id)
}

/// More than both workers take: the last ones wait at the overlord.
fn pending(fixture: &Fixture) -> Result<()> {
    let manager = MiddleManager::start(fixture)?;
    let mut all = Vec::new();
    for n in 0..9 {
        // Nothing but the slots is taken: no pod of theirs starts.
        all.push(manager.submit(&noop_that_waits(fixture, &format!("killed_pending_{n}")))?);
    }
    let waiting = wait_until(LIMIT, "a task that waits at the overlord", || {
        let tasks = fixture.druid.get("/druid/indexer/v1/runningTasks")?;
        if tasks.as_array().map(Vec::len) != Some(8) {
            return Ok(None);
        }
        let of = |id: &&String| fixture.druid.runner_status(id).is_ok_and(|s| s == "PENDING");
        Ok(all.iter().find(of).cloned())
    })?;
    fixture.druid.shutdown(&waiting)?;
    let status = manager.until_ended(&waiting)?;
    ensure!(status["statusCode"] == "FAILED", "{status}");
    for id in all.iter().filter(|id| **id != waiting) {
        fixture.druid.shutdown(id)?;
    }
    for id in all.iter().filter(|id| **id != waiting) {
        manager.until_ended(id)?;
    }
    // An overlord may still assign it, and then ends it again.
    for task in manager.peon_tasks(&waiting)? {
        let name = text(&task["metadata"]["name"]);
        fixture.until_reason(fixture.home(), name, "Cancelled")?;
        fixture.until_no_pod(fixture.home(), name)?;
    }
    Ok(())
}

fn deleted(fixture: &Fixture) -> Result<()> {
    let manager = MiddleManager::shared(fixture)?;
    let id = manager.submit(&noop(fixture, "deleted_under", 3_600_000))?;
    let name = manager.until_assigned(&id)?;
    fixture.until_running(fixture.home(), &name)?;
    fixture
        .kubectl
        .delete(&["peontask", &name, "--namespace", fixture.home()])?;
    let status = manager.until_ended(&id)?;
    ensure!(
        status["statusCode"] == "FAILED" && text(&status["errorMsg"]).contains("PeonTask"),
        "{status}"
    );
    Ok(())
}
