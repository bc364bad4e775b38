//! The log and the report of a task outlive its pod, however it ends.

mod chatter;
mod exits;
mod interrupted;
mod written;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

pub(in crate::cases) use self::exits::fill_a_volume;
use self::exits::{EXITS, Scene};
use self::written::{Written, is_same, without_report};
use super::{Case, Turn, case};
use crate::{
    cache::Cache,
    druid::STORAGE_PATH,
    fixture::{Fixture, NAMESPACE},
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
    cases
}

/// Waits until the log of a task is archived, and returns it.
fn archived(fixture: &Fixture, name: &str, reason: &str) -> Result<Vec<u8>> {
    let condition = |status: &Value| {
        let conditions = status["conditions"].as_array().into_iter().flatten();
        conditions
            .filter(|c| c["type"] == "LogsArchived" && c["status"] == "True")
            .map(|c| c["reason"].clone())
            .next()
    };
    let task = fixture.until(NAMESPACE, name, |status| condition(status).is_some())?;
    let found = condition(&task["status"]);
    ensure!(found == Some(json!(reason)), "{found:?}: {}", task["status"]);
    let id = task["status"]["taskId"].as_str().context("no taskId")?;
    fixture
        .archived(&format!("{id}.log"))?
        .with_context(|| format!("{id} has no log"))
}

fn success(fixture: &Fixture) -> Result<()> {
    let name = "log-of-success";
    let (id, _) = fixture.ingest(name, |_| {})?;
    fixture.until(NAMESPACE, name, |s| s["phase"] == "Running")?;
    let on_node = Written::hold(fixture, NAMESPACE, &format!("{name}-1"))?;
    fixture.until_reason(NAMESPACE, name, "Succeeded")?;
    let log = archived(fixture, name, "Archived")?;
    is_same(&log, without_report(&on_node.bytes()?))?;
    // As a stock overlord has them.
    let path = format!("/druid/indexer/v1/task/{id}/log");
    let read = fixture.druid.get_text(&path)?;
    ensure!(read.as_bytes() == log, "the overlord reads {} bytes", read.len());
    let tail = fixture.druid.get_text(&format!("{path}?offset=-100"))?;
    ensure!(
        tail.as_bytes() == &log[log.len() - 100..],
        "with an offset: {tail}"
    );
    let report = fixture
        .druid
        .get(&format!("/druid/indexer/v1/task/{id}/reports"))?;
    let state = &report["ingestionStatsAndErrors"]["payload"]["ingestionState"];
    ensure!(state == "COMPLETED", "{report}");
    Ok(())
}

fn task_failure(fixture: &Fixture) -> Result<()> {
    let name = "log-of-failure";
    let (id, _) = fixture.ingest(name, |task| {
        let spec = &mut task["spec"]["task"]["spec"];
        spec["ioConfig"]["inputSource"]["data"] = json!("this is no JSON");
        spec["tuningConfig"]["maxParseExceptions"] = json!(0);
        spec["tuningConfig"]["logParseExceptions"] = json!(true);
    })?;
    fixture.until(NAMESPACE, name, |s| s["phase"] == "Running")?;
    let on_node = Written::hold(fixture, NAMESPACE, &format!("{name}-1"))?;
    fixture.until_reason(NAMESPACE, name, "TaskFailed")?;
    let log = archived(fixture, name, "Archived")?;
    is_same(&log, without_report(&on_node.bytes()?))?;
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
    let log = archived(fixture, name, "Archived")?;
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
    let (id, _) = fixture.ingest(name, |task| {
        task["spec"]["templateRef"] = json!({"name": name});
    })?;
    fixture.until(NAMESPACE, name, |s| s["phase"] == "Running")?;
    let on_node = Written::hold(fixture, NAMESPACE, &format!("{name}-1"))?;
    fixture.until_reason(NAMESPACE, name, "Succeeded")?;
    let log = archived(fixture, name, "Archived")?;
    is_same(&log, &on_node.bytes()?)?;
    let report = fixture
        .druid
        .get(&format!("/druid/indexer/v1/task/{id}/reports"))?;
    let state = &report["ingestionStatsAndErrors"]["payload"]["ingestionState"];
    ensure!(state == "COMPLETED", "{report}");
    Ok(())
}

/// In a store that a server of this machine keeps, with an operator of its own.
fn every_store(fixture: &Fixture) -> Result<()> {
    let grounds = Grounds::prepare(fixture, "stores")?;
    let namespace = &grounds.namespace;
    object_stores::for_each(&Cache::open()?, &Progress::default(), |store| {
        let operator = grounds.start_archiving(&store.properties)?;
        for exit in EXITS.iter().filter(|e| e.in_every_store || super::all_pairs()) {
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
