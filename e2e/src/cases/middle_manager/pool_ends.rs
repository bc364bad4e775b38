//! How tasks in the Indexers of a pool end that do not run to their own end.

use anyhow::{Result, ensure};
use serde_json::{Value, json};

use super::pool_faults::{Logs, ingestion, jvm, running};
use super::pool_tasks::Pool;
use super::{Case, case, list, text};
use crate::testbed::exec;
use crate::testbed::fixture::{Fixture, LIMIT};
use crate::testbed::peons::kill_hard;
use crate::testbed::wait::wait_until;

pub(super) const CASES: &[Case] = &[
    case("pool_ends::a_kill_at_any_moment_has_one_verdict", killed)
        .own()
        .full(),
    case(
        "pool_ends::a_task_that_ran_out_of_memory_gets_more",
        out_of_memory,
    )
    .own()
    .full(),
    case("pool_ends::a_task_that_published_is_not_run_again", published).own(),
];

/// An ingestion that has published and does not end: it waits for a Historical, of which there is none.
pub(super) fn lingering(fixture: &Fixture, name: &str) -> Result<Value> {
    let mut task = ingestion(fixture, name)?;
    task["spec"]["tuningConfig"]["awaitSegmentAvailabilityTimeoutMillis"] = json!(600_000);
    Ok(task)
}

/// Waits until the log of a pod that runs says that its task has published.
pub(super) fn until_published(fixture: &Fixture, pod: &str) -> Result<()> {
    let args = [pod, "--namespace", fixture.home(), "--container", "peon"];
    wait_until(LIMIT, "the task to publish", || {
        let log = fixture.kubectl.logs(&args).unwrap_or_default();
        Ok(log.contains("Published [").then_some(()))
    })
}

/// The overlord has a task ended while it is assigned, claimed, runs, and has published.
fn killed(fixture: &Fixture) -> Result<()> {
    let pool = Pool::start(fixture, &json!({"replicas": 2}))?;
    let logs = Logs::keep(fixture)?;
    let claimed = |name: &str| {
        let in_pool = |s: &Value| s["run"]["kind"] == "Worker";
        fixture.until(fixture.home(), name, in_pool).map(drop)
    };
    let runs = |name: &str| fixture.until_running(fixture.home(), name).map(drop);
    let has_published = |name: &str| {
        runs(name)?;
        let task = fixture.get(fixture.home(), name)?;
        until_published(fixture, text(&task["status"]["run"]["pod"]))
    };
    for moment in ["assigned", "claimed", "running", "published"] {
        pool.until_warm(2)?;
        let id = pool
            .manager
            .submit(&lingering(fixture, &format!("killed_{moment}"))?)?;
        let name = pool.manager.until_assigned(&id)?;
        match moment {
            "claimed" => claimed(&name)?,
            "running" => runs(&name)?,
            "published" => has_published(&name)?,
            _ => {}
        }
        fixture.druid.shutdown(&id)?;
        let status = pool.manager.until_ended(&id)?;
        ensure!(status["statusCode"] == "FAILED", "{moment}: {status}");
        let task = fixture.until_reason(fixture.home(), &name, "Cancelled")?;
        let status = &task["status"];
        ensure!(list(&status["attempts"]).is_empty(), "{moment}: {status}");
        ensure!(
            logs.naming(&id)?.len() <= 1,
            "{moment}: more than one JVM had it: {status}"
        );
        let pod = text(&status["run"]["pod"]);
        if !pod.is_empty() {
            pool.until_pod_is_gone(pod)?;
        }
    }
    Ok(())
}

/// Other processes take the memory of its Indexer, so that the kernel ends the JVM.
fn out_of_memory(fixture: &Fixture) -> Result<()> {
    const TAKE_ALL: &str =
        "for n in 1 2 3 4 5 6 7 8; do (x=$(head -c 60000000 /dev/zero | tr '\\0' a); sleep 60) & done; wait";
    let pool = Pool::start(fixture, &json!({"replicas": 1}))?;
    let task = super::noop(fixture, "out_of_memory_warm", 20_000);
    let id = pool.manager.submit(&task)?;
    let name = pool.manager.until_assigned(&id)?;
    fixture.until_running(fixture.home(), &name)?;
    let run = pool.run(&id)?;
    let exec = [
        "exec",
        text(&run["pod"]),
        "--namespace",
        fixture.home(),
        "--container",
        "peon",
    ];
    // It ends with the container.
    let _ = exec::ended(
        fixture
            .kubectl
            .command()
            .args(exec)
            .args(["--", "bash", "-c", TAKE_ALL]),
        "",
    )?;
    let status = pool.manager.until_ended(&id)?;
    ensure!(status["statusCode"] == "SUCCESS", "{status}");
    let task = pool.peon_task(&id)?;
    let status = &task["status"];
    let attempts = list(&status["attempts"]);
    ensure!(
        attempts.len() == 1 && attempts[0]["cause"] == "OOMKilled",
        "{status}"
    );
    // No Indexer has more than that one had.
    ensure!(status["run"]["kind"] == "Pod", "{status}");
    let mebibytes: Option<u32> = text(&status["memory"])
        .strip_suffix("Mi")
        .and_then(|number| number.parse().ok());
    ensure!(
        mebibytes.is_none_or(|mebibytes| mebibytes > 640),
        "no more memory than before: {status}"
    );
    Ok(())
}

/// Nothing says how it ended but its log.
fn published(fixture: &Fixture) -> Result<()> {
    let pool = Pool::start(fixture, &json!({"replicas": 1}))?;
    for placement in ["Pool", "Pod"] {
        let mut task = lingering(fixture, &format!("published_{}", placement.to_lowercase()))?;
        task["context"]["druid.peon.placement"] = json!(placement);
        // One that is run again in all other cases.
        task["type"] = json!("index");
        task["spec"]["ioConfig"]["type"] = json!("index");
        task["spec"]["tuningConfig"]["type"] = json!("index");
        let id = pool.manager.submit(&task)?;
        let name = pool.manager.until_assigned(&id)?;
        let task = fixture.until_running(fixture.home(), &name)?;
        let run = &task["status"]["run"];
        until_published(fixture, text(&run["pod"]))?;
        kill_hard(jvm(run)?)?;
        let status = pool.manager.until_ended(&id)?;
        let said = text(&status["errorMsg"]);
        ensure!(
            status["statusCode"] == "FAILED"
                && said.contains("published segments: the task is not run again"),
            "{placement}: {status}"
        );
        wait_until(LIMIT, "the segments", || {
            Ok((fixture.druid.segments(&id)?.len() == 2).then_some(()))
        })?;
    }
    // One that has not is.
    pool.until_warm(1)?;
    let (id, run) = running(fixture, &pool, "not_published", 10_000)?;
    kill_hard(jvm(&run)?)?;
    let status = pool.manager.until_ended(&id)?;
    ensure!(status["statusCode"] == "SUCCESS", "{status}");
    Ok(())
}
