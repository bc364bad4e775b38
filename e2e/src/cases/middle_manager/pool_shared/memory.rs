//! A shared Indexer runs out of memory.

use anyhow::{Result, ensure};
use serde_json::{Value, json};

use super::super::pool_tasks::Pool;
use super::source::Source;
use super::{index_of, list, spec, text};
use crate::testbed::exec;
use crate::testbed::fixture::{Fixture, LIMIT};
use crate::testbed::wait::wait_until;

/// Takes more memory than the container has left, in parts that are smaller than its JVM, so that the kernel ends that.
const TAKE_ALL: &str =
    "for n in $(seq 20); do (x=$(head -c 60000000 /dev/zero | tr '\\0' a); sleep 60) & done; wait";

/// One of five tasks reads a line without an end. Later, in another Indexer, another process takes the memory. What ran in
/// both runs alone from then on.
pub(super) fn runs_out(fixture: &Fixture) -> Result<()> {
    let mut of_pool = spec(1, "25Mi");
    of_pool["slots"] = json!({"heavy": 5, "light": 1});
    of_pool["resources"]["limits"]["memory"] = json!("1Gi");
    let pool = Pool::start(fixture, &of_pool)?;
    let source = Source::start(fixture)?;
    let run = &fixture.run;
    let datasource = |kind: &str| format!("memory_{kind}_{run}");

    let safe = ["a", "b", "c"].map(|kind| (kind, format!("safe_{kind}_{run}")));
    for (kind, id) in &safe {
        pool.manager
            .submit(&source.feed(index_of(fixture, id, &datasource(kind))?)?)?;
    }
    let appends = format!("appends_{run}");
    let mut task = source.feed(index_of(fixture, &appends, &datasource("d"))?)?;
    task["spec"]["ioConfig"]["appendToExisting"] = json!(true);
    pool.manager.submit(&task)?;
    let greedy = format!("greedy_{run}");
    let task = source.feed(index_of(fixture, &greedy, &datasource("e"))?)?;
    pool.manager.submit(&task)?;
    let again: Vec<&str> = safe.iter().map(|(_, id)| id.as_str()).chain([&*greedy]).collect();
    for id in again.iter().copied().chain([&*appends]) {
        source.until_read_by(id)?;
    }
    let first = pool.run(&greedy)?;
    ensure!(first["podUID"] == pool.run(&appends)?["podUID"], "{first}");
    source.flood(&greedy)?;
    let status = pool.manager.until_ended(&appends)?;
    source.open();
    let said = text(&status["errorMsg"]);
    ensure!(
        status["statusCode"] == "FAILED" && said.contains("the JVM was shared with other tasks"),
        "{status}"
    );
    let status = &pool.peon_task(&appends)?["status"];
    ensure!(status["reason"] == "JavaOutOfMemory", "{status}");
    for id in again {
        alone(&pool, id, "JavaOutOfMemory")?;
    }

    // Of two kinds that were there, one is there the second time.
    pool.until_warm(1)?;
    let held = Source::start(fixture)?;
    let suspect = format!("suspect_{run}");
    pool.manager
        .submit(&held.feed(index_of(fixture, &suspect, &datasource("a"))?)?)?;
    held.until_read_by(&suspect)?;
    let place = pool.run(&suspect)?;
    let exec = ["exec", text(&place["pod"]), "--namespace", fixture.home()];
    let take = ["--container", "peon", "--", "bash", "-c", TAKE_ALL];
    // It ends with the container.
    let _ = exec::ended(fixture.kubectl.command().args(exec).args(take), "")?;
    let args = ["indexerpool", "warm", "--namespace", fixture.home()];
    let found = fixture.kubectl.wait_for(&args, LIMIT, |pool| {
        !list(&pool["status"]["quarantine"]).is_empty()
    })?;
    held.open();
    let quarantine = list(&found["status"]["quarantine"]);
    ensure!(
        quarantine.len() == 1
            && quarantine[0]["kind"] == json!({"taskType": "index", "dataSource": datasource("a")}),
        "{quarantine:?}"
    );
    let ended = list(&found["status"]["outOfMemory"]);
    ensure!(
        ended.len() == 2 && list(&ended[0]["kinds"]).len() == 5,
        "{ended:?}"
    );
    let events = ["get", "events", "--namespace", fixture.home()];
    let of_pool = ["--field-selector", "reason=Quarantined", "--output", "json"];
    wait_until(LIMIT, "an Event of the pool", || {
        let said = fixture.kubectl.run(&[&events[..], &of_pool].concat())?;
        Ok(said.contains(&datasource("a")).then_some(()))
    })?;
    alone(&pool, &suspect, "OOMKilled")?;

    // The next one of the kind runs alone at once, one of another kind does not.
    pool.until_warm(1)?;
    let next = format!("next_{run}");
    pool.manager
        .submit(&index_of(fixture, &next, &datasource("a"))?)?;
    let other = format!("other_{run}");
    pool.manager
        .submit(&index_of(fixture, &other, &datasource("b"))?)?;
    for id in [&next, &other] {
        let status = pool.manager.until_ended(id)?;
        ensure!(status["statusCode"] == "SUCCESS", "{id}: {status}");
    }
    pool.run(&other)?;
    let task = pool.peon_task(&next)?;
    ensure!(
        task["status"]["run"]["kind"] == "Pod" && list(&task["status"]["attempts"]).is_empty(),
        "{}",
        task["status"]
    );
    let name = text(&task["metadata"]["name"]);
    let said = fixture.peon(&["explain", name, "--namespace", fixture.home()])?;
    ensure!(said.contains("ran out of memory"), "{said}");
    Ok(())
}

/// The overlord saw the task succeed, which ran again in a pod of its own after one attempt that ended for this cause.
fn alone(pool: &Pool<'_>, id: &str, cause: &str) -> Result<()> {
    let status = pool.manager.until_ended(id)?;
    ensure!(status["statusCode"] == "SUCCESS", "{id}: {status}");
    let status: Value = pool.peon_task(id)?["status"].take();
    let attempts = list(&status["attempts"]);
    ensure!(
        attempts.len() == 1 && attempts[0]["cause"] == cause && status["run"]["kind"] == "Pod",
        "{id}: {status}"
    );
    Ok(())
}
