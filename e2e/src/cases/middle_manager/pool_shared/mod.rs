//! Tasks that share the JVMs of a pool.

mod heap;
mod leaving;
mod lines;
mod memory;
mod scaling;
mod source;
mod streaming;

use std::collections::BTreeSet;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use self::source::Source;
use super::pool_faults::{ingestion, jvm};
use super::pool_tasks::Pool;
use super::{Case, NAME, Turn, case, list, text};
use crate::testbed::druid::samples;
use crate::testbed::fixture::Fixture;
use crate::testbed::peons::kill_hard;

pub(super) const CASES: &[Case] = &[
    case("pool_shared::short_tasks_share_two_indexers", lines::short_tasks).own(),
    case("pool_shared::a_jvm_that_dies_leaves_each_task_a_verdict", deaths)
        .long()
        .own(),
    case(
        "pool_shared::what_ran_when_memory_ran_out_runs_alone",
        memory::runs_out,
    )
    .own()
    .full(),
    case(
        "pool_shared::an_operator_that_dies_loses_no_line_of_their_logs",
        lines::operator_dies,
    )
    .turn(Turn::Alone)
    .own()
    .full(),
    case("pool_shared::a_full_heap_gets_no_task_for_now", heap::full)
        .own()
        .full(),
    case("pool_shared::fewer_and_newer_indexers_lose_no_task", drained)
        .long()
        .own(),
    case("pool_shared::a_drain_waits_for_all_tasks", leaving::drained)
        .turn(Turn::Alone)
        .own(),
    case(
        "pool_shared::a_jvm_that_hangs_is_given_up_with_its_tasks",
        leaving::hung,
    )
    .long()
    .own()
    .full(),
    case(
        "pool_shared::a_task_that_does_not_stop_and_changes_under_load_lose_none",
        leaving::replaced,
    )
    .long()
    .own()
    .full(),
    case(
        "pool_shared::a_supervisor_loses_no_row_though_an_indexer_dies",
        streaming::loses_no_row,
    )
    .turn(Turn::Alone)
    .own()
    .full(),
    case(
        "pool_shared::indexers_come_with_tasks_and_go_without",
        scaling::by_tasks,
    )
    .long()
    .own(),
    case(
        "pool_shared::kubectl_and_an_autoscaler_scale_a_pool",
        scaling::by_others,
    )
    .own(),
];

/// A pool of shared Indexers.
fn start(fixture: &Fixture, replicas: u32) -> Result<Pool<'_>> {
    Pool::start(fixture, &spec(replicas, "40Mi"))
}

fn spec(replicas: u32, task_bytes: &str) -> Value {
    json!({
        "mode": "Shared", "replicas": replicas, "slots": {"heavy": 4, "light": 2},
        "resources": {"limits": {"memory": "1536Mi", "cpu": "2"}, "requests": {"cpu": "100m"}},
        "sizing": {"taskBytes": task_bytes}, "killGraceSeconds": 5,
    })
}

/// Changes the spec of the pool.
fn change(fixture: &Fixture, spec: &Value) -> Result<()> {
    let mut of_pool = json!({"middleManagerRef": {"name": NAME}});
    for (key, value) in spec.as_object().context("a spec is an object")? {
        of_pool[key] = value.clone();
    }
    fixture.apply(fixture.home(), &samples::pool("warm", &of_pool))
}

/// Makes another revision of the Indexers that this template is of.
fn change_template(fixture: &Fixture, name: &str) -> Result<()> {
    let properties = json!({"properties": {"druid.startup.logging.logProperties": "false"}});
    fixture.change_of("peontemplate", fixture.home(), name, &properties)
}

/// A small ingestion that replaces what it writes, read by one task.
fn index(fixture: &Fixture, id: &str) -> Result<Value> {
    // Tasks of one datasource would wait for one another's locks.
    let plain: String = id.chars().filter(char::is_ascii_alphanumeric).collect();
    index_of(
        fixture,
        id,
        &format!("shared_{plain}_{}_{}", id.len(), fixture.run),
    )
}

/// The same, of this datasource.
fn index_of(fixture: &Fixture, id: &str, datasource: &str) -> Result<Value> {
    let mut task = ingestion(fixture, "unused")?;
    task["id"] = json!(id);
    task["spec"]["dataSchema"]["dataSource"] = json!(datasource);
    task["type"] = json!("index");
    task["spec"]["ioConfig"]["type"] = json!("index");
    task["spec"]["tuningConfig"]["type"] = json!("index");
    Ok(task)
}

fn noop(id: &str, run_time: u64) -> Value {
    json!({"type": "noop", "id": id, "runTime": run_time, "context": {"druid.peon.placement": "Pool"}})
}

fn deaths(fixture: &Fixture) -> Result<()> {
    let pool = start(fixture, 1)?;
    let source = Source::start(fixture)?;
    let run = &fixture.run;
    let safe: Vec<String> = (0..3).map(|n| format!("safe_{n}_{run}")).collect();
    for id in &safe {
        pool.manager.submit(&noop(id, 30_000))?;
    }
    // One that may have written, and waits for rows that never come.
    let appends = format!("appends_{run}");
    let mut task = source.feed(index(fixture, &appends)?)?;
    task["spec"]["ioConfig"]["appendToExisting"] = json!(true);
    pool.manager.submit(&task)?;
    source.until_read_by(&appends)?;
    for id in &safe {
        let name = pool.manager.until_assigned(id)?;
        fixture.until_running(fixture.home(), &name)?;
    }
    let place = pool.run(&appends)?;
    kill_hard(jvm(&place)?)?;
    let status = pool.manager.until_ended(&appends)?;
    let said = text(&status["errorMsg"]);
    ensure!(
        status["statusCode"] == "FAILED" && said.contains("the JVM was shared with other tasks"),
        "{status}"
    );
    for id in &safe {
        let status = pool.manager.until_ended(id)?;
        ensure!(status["statusCode"] == "SUCCESS", "{id}: {status}");
        let task = pool.peon_task(id)?;
        let status = &task["status"];
        let attempts = list(&status["attempts"]);
        ensure!(
            attempts.len() == 1 && attempts[0]["cause"] == "NoVerdict" && status["run"]["kind"] == "Pod",
            "{id}: {status}"
        );
    }
    pool.until_pod_is_gone(text(&place["pod"]))?;
    pool.until_warm(1).map(drop)
}

/// The pool gets smaller, and then other Indexers, while its tasks run; one task is stopped, and the others do not notice.
fn drained(fixture: &Fixture) -> Result<()> {
    let pool = start(fixture, 2)?;
    let run = &fixture.run;
    let ids: Vec<String> = (0..6).map(|n| format!("drained_{n}_{run}")).collect();
    for id in &ids {
        pool.manager.submit(&noop(id, 45_000))?;
    }
    let mut pods = BTreeSet::new();
    for id in &ids {
        let name = pool.manager.until_assigned(id)?;
        fixture.until_running(fixture.home(), &name)?;
        pods.insert(text(&pool.run(id)?["pod"]).to_owned());
    }
    ensure!(pods.len() == 2, "{pods:?}");
    change(fixture, &spec(1, "40Mi"))?;
    change(fixture, &spec(1, "41Mi"))?;
    fixture.druid.shutdown(&ids[0])?;
    let status = pool.manager.until_ended(&ids[0])?;
    ensure!(status["statusCode"] == "FAILED", "{status}");
    for id in &ids[1..] {
        let status = pool.manager.until_ended(id)?;
        ensure!(status["statusCode"] == "SUCCESS", "{id}: {status}");
        let task = pool.peon_task(id)?;
        ensure!(
            list(&task["status"]["attempts"]).is_empty(),
            "{id}: {}",
            task["status"]
        );
    }
    // The Indexers that had them are gone, and one of the new revision is there.
    for pod in &pods {
        pool.until_pod_is_gone(pod)?;
    }
    pool.until_warm(1).map(drop)
}
