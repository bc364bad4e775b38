//! The log and the report of a task outlive its pod, however it ends.

mod chatter;
mod exits;
mod interrupted;
mod shared;
mod written;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

pub(in crate::cases) use self::exits::fill_a_volume;
use self::exits::{EXITS, Scene};
use self::written::{Written, is_same, without_report};
use super::lifecycle::cannot_be_parsed;
use super::{Case, Turn, case};
use crate::testbed::{
    cache::Cache,
    druid::STORAGE_PATH,
    fixture::{Fixture, NAMESPACE},
    kubectl::condition,
    object_stores::{self, Running},
    outside::Grounds,
    progress::Progress,
};

pub(super) fn cases() -> Vec<Case> {
    let mut cases = vec![
        case("logs::of_a_success_are_where_the_overlord_reads_them", success).own(),
        case("logs::of_a_task_that_fails_are_archived", task_failure).own(),
        case("logs::of_every_attempt_are_in_one_log", attempts).own(),
        case("logs::a_sidecar_archives_a_success", sidecar_success).own(),
        case("logs::of_every_end_are_archived_in_every_store", every_store)
            .turn(Turn::Outside)
            .own(),
    ];
    cases.extend(exits::CASES);
    cases.extend(interrupted::CASES);
    cases.extend(shared::CASES);
    cases
}

/// Waits until all that can be had of a task's log is archived; returns the task, and what is said of its log.
fn until_archived(fixture: &Fixture, namespace: &str, name: &str) -> Result<(Value, String)> {
    let reason = |status: &Value| -> Option<String> {
        let archived = condition(status, "LogsArchived", "True")?;
        archived["reason"].as_str().map(str::to_owned)
    };
    let task = fixture.until(namespace, name, |status| reason(status).is_some())?;
    let reason = reason(&task["status"]).context("no reason")?;
    Ok((task, reason))
}

/// Waits until the log of a task beside the overlord is archived as a whole, and returns it.
fn archived(fixture: &Fixture, name: &str) -> Result<Vec<u8>> {
    let (task, reason) = until_archived(fixture, NAMESPACE, name)?;
    ensure!(reason == "Archived", "{reason}: {}", task["status"]);
    let id = task["status"]["taskId"].as_str().context("no taskId")?;
    fixture
        .archived(&format!("{id}.log"))?
        .with_context(|| format!("{id} has no log"))
}

/// Has an ingestion run; returns its id, and what it writes.
fn ingest(fixture: &Fixture, name: &str, change: impl FnOnce(&mut Value)) -> Result<(String, Written)> {
    let (id, _) = fixture.ingest(name, change)?;
    fixture.until_running(NAMESPACE, name)?;
    let written = Written::hold(fixture, NAMESPACE, &format!("{name}-1"))?;
    Ok((id, written))
}

/// The overlord has the report of an ingestion that succeeded.
fn has_report(fixture: &Fixture, id: &str) -> Result<()> {
    let report = fixture
        .druid
        .get(&format!("/druid/indexer/v1/task/{id}/reports"))?;
    let state = &report["ingestionStatsAndErrors"]["payload"]["ingestionState"];
    ensure!(state == "COMPLETED", "{report}");
    Ok(())
}

fn success(fixture: &Fixture) -> Result<()> {
    let name = "log-of-success";
    let (id, written) = ingest(fixture, name, |_| {})?;
    fixture.until_reason(NAMESPACE, name, "Succeeded")?;
    let log = archived(fixture, name)?;
    is_same(&log, without_report(&written.bytes()?))?;
    // As a stock overlord has them.
    let path = format!("/druid/indexer/v1/task/{id}/log");
    let read = fixture.druid.get_text(&path)?;
    ensure!(read.as_bytes() == log, "the overlord reads {} bytes", read.len());
    let tail = fixture.druid.get_text(&format!("{path}?offset=-100"))?;
    ensure!(
        tail.as_bytes() == &log[log.len() - 100..],
        "with an offset: {tail}"
    );
    has_report(fixture, &id)
}

fn task_failure(fixture: &Fixture) -> Result<()> {
    let name = "log-of-failure";
    let (id, written) = ingest(fixture, name, cannot_be_parsed)?;
    fixture.until_reason(NAMESPACE, name, "TaskFailed")?;
    let log = archived(fixture, name)?;
    is_same(&log, without_report(&written.bytes()?))?;
    fixture.druid.shutdown(&id)
}

fn attempts(fixture: &Fixture) -> Result<()> {
    let name = "log-of-attempts";
    fixture.template(NAMESPACE, name, |spec| {
        spec["javaOpts"] = json!(["-Xms900m", "-Xmx900m", "-XX:+AlwaysPreTouch"]);
        spec["sizing"] = json!({"enforce": false});
        spec["retry"] = json!({"limits": {"OOMKilled": 1}, "backoffSeconds": 0});
    })?;
    let spec = json!({"task": {"type": "noop"}, "templateRef": {"name": name}});
    fixture.task(NAMESPACE, name, &spec)?;
    fixture.until_reason(NAMESPACE, name, "OOMKilled")?;
    let log = archived(fixture, name)?;
    let text = String::from_utf8_lossy(&log).into_owned();
    ensure!(text.contains("attempt 2 of the task begins here"), "{text}");
    Ok(())
}

/// Has the pods of a template archive their log themselves; `spec` is the template's.
fn with_sidecar(spec: &mut Value) {
    spec["logs"] = json!({"collect": "Sidecar"});
    let pod = &mut spec["template"]["spec"];
    let mount = pod["containers"][0]["volumeMounts"]
        .as_array()
        .and_then(|mounts| mounts.iter().find(|m| m["mountPath"] == STORAGE_PATH))
        .cloned();
    pod["initContainers"] = json!([{"name": "peon-log", "volumeMounts": [mount]}]);
}

fn sidecar_success(fixture: &Fixture) -> Result<()> {
    let name = "sidecar-of-success";
    fixture.template(NAMESPACE, name, with_sidecar)?;
    let (id, written) = ingest(fixture, name, |task| {
        task["spec"]["templateRef"] = json!({"name": name});
    })?;
    fixture.until_reason(NAMESPACE, name, "Succeeded")?;
    let log = archived(fixture, name)?;
    is_same(&log, &written.bytes()?)?;
    has_report(fixture, &id)
}

/// In a store that a server of this machine keeps, with an operator of its own.
fn every_store(fixture: &Fixture) -> Result<()> {
    let grounds = Grounds::prepare(fixture, "stores")?;
    let namespace = &grounds.namespace;
    object_stores::for_each(&Cache::open()?, &Progress::default(), |store| {
        let operator = grounds.start_archiving(&store.properties)?;
        for exit in EXITS.iter().filter(|e| e.in_every_store || super::full()) {
            let name = format!("{}-in-{}", exit.name, store.name);
            let scene = Scene {
                fixture,
                namespace,
                name: &name,
                sidecar: false,
            };
            ends(&scene, exit, store).with_context(|| format!("{name}: {}", operator.tail()))?;
        }
        Ok(())
    })
}

fn ends(scene: &Scene<'_>, exit: &exits::Exit, store: &Running<'_>) -> Result<()> {
    let written = (exit.run)(scene)?;
    let reason = scene.until_archived()?;
    let log = store.log(scene.name)?.context("no log")?;
    exit.check(&reason, &log, &written.bytes()?)
}
