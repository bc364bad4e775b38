//! Tasks that run to their end.

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use super::{Case, MiddleManager, list, noop, shared, text};
use crate::{
    cases::lifecycle::cannot_be_parsed,
    testbed::{
        druid::{STORAGE_PATH, samples},
        fixture::{Fixture, LIMIT},
        wait::wait_until,
    },
};

pub(super) const CASES: &[Case] = &[
    shared("middle_manager::a_noop_of_the_overlord_runs_in_a_pod", a_noop),
    shared(
        "middle_manager::ingestions_of_disjoint_intervals_publish_their_segments",
        ingestions,
    ),
    shared("middle_manager::subtasks_find_each_other", subtasks),
    shared("middle_manager::a_task_that_fails_in_druid_fails", fails),
    shared("middle_manager::odd_ids_run_and_end", odd_ids),
];

fn a_noop(fixture: &Fixture) -> Result<()> {
    let manager = MiddleManager::shared(fixture)?;
    let id = manager.submit(&noop(fixture, "by_overlord", 15_000))?;
    let name = manager.until_assigned(&id)?;
    let running = manager.until_status(&id, |s| {
        s["location"]["host"].is_string() || s["statusCode"] != "RUNNING"
    })?;
    let pod = fixture.pod_of(fixture.home(), &name)?;
    ensure!(
        running["location"]["host"] == pod["status"]["podIP"] && running["location"]["port"] == 8100,
        "{running}"
    );
    let status = manager.until_ended(&id)?;
    ensure!(status["statusCode"] == "SUCCESS", "{status}");
    ensure!(status["duration"].as_i64() > Some(0), "{status}");
    // The log is where the overlord reads it, before it hears of the end.
    let log = fixture
        .druid
        .get_text(&format!("/druid/indexer/v1/task/{id}/log"))?;
    ensure!(log.contains("Task completed with status"), "{log}");
    let task = fixture.get(fixture.home(), &name)?;
    ensure!(task["spec"]["middleManagerRef"]["name"] == super::NAME, "{task}");
    ensure!(task["spec"].get("resources").is_none(), "{task}");
    let status = manager.status()?;
    ensure!(text(&status["leader"]).starts_with("http://"), "{status}");
    ensure!(list(&status["identities"]).len() == 2, "{status}");
    Ok(())
}

/// An ingestion with its own id and datasource.
fn ingest(fixture: &Fixture, name: &str) -> Result<(Value, String)> {
    let datasource = format!("{name}_{}", fixture.run);
    let id = format!("index_parallel_{datasource}_2026-11-21T00:00:00.000Z");
    let mut sample = samples::index_parallel(name, &id, &datasource)?;
    Ok((sample["spec"]["task"].take(), datasource))
}

fn until_segments(fixture: &Fixture, datasource: &str) -> Result<Vec<Value>> {
    wait_until(LIMIT, "the segments", || {
        let segments = fixture.druid.segments(datasource)?;
        Ok((!segments.is_empty()).then_some(segments))
    })
}

/// Two at the same time into one datasource: each holds the lock of its own days.
fn ingestions(fixture: &Fixture) -> Result<()> {
    let manager = MiddleManager::shared(fixture)?;
    let (january, datasource) = ingest(fixture, "ingested")?;
    let mut february: Value = serde_json::from_str(&january.to_string().replace("2024-01-0", "2024-02-0"))?;
    february["id"] = json!(text(&january["id"]).replace("2026-11-21", "2026-11-22"));
    let mut ids = Vec::new();
    for (mut task, days) in [
        (january, "2024-01-01/2024-01-03"),
        (february, "2024-02-01/2024-02-03"),
    ] {
        task["spec"]["dataSchema"]["granularitySpec"]["intervals"] = json!([days]);
        task["spec"]["ioConfig"]["appendToExisting"] = json!(false);
        ids.push(manager.submit(&task)?);
    }
    for id in &ids {
        let status = manager.until_ended(id)?;
        ensure!(status["statusCode"] == "SUCCESS", "{status}");
        manager.check_report(id)?;
    }
    wait_until(LIMIT, "the segments of both", || {
        let segments = fixture.druid.segments(&datasource)?;
        let days: std::collections::BTreeSet<&str> = segments.iter().map(|s| text(&s["interval"])).collect();
        Ok((days.len() == 4).then_some(()))
    })
}

/// Hash partitions of three files: a subtask for each of them that partitions, and others that merge what those left in
/// deep storage. Returns the task and its datasource.
pub(super) fn hashed(fixture: &Fixture, name: &str) -> Result<(Value, String)> {
    let (mut task, datasource) = ingest(fixture, name)?;
    let inputs = fixture.storage_folder()?.join(&datasource);
    std::fs::create_dir_all(&inputs)?;
    for file in 0..3 {
        let row = |n| {
            format!(
                "{{\"ts\":\"2024-01-0{}T00:00:00Z\",\"page\":\"{file}-{n}\",\"added\":1}}\n",
                1 + n % 2
            )
        };
        std::fs::write(
            inputs.join(format!("{file}.json")),
            (0..8).map(row).collect::<String>(),
        )?;
    }
    let spec = &mut task["spec"];
    let folder = format!("{STORAGE_PATH}/{datasource}");
    spec["ioConfig"]["inputSource"] = json!({"type": "local", "baseDir": folder, "filter": "*.json"});
    spec["dataSchema"]["granularitySpec"]["intervals"] = json!(["2024-01-01/2024-01-03"]);
    spec["tuningConfig"] = json!({
        "type": "index_parallel",
        "maxNumConcurrentSubTasks": 3,
        "forceGuaranteedRollup": true,
        "partitionsSpec": {"type": "hashed", "numShards": 2},
        "splitHintSpec": {"type": "maxSize", "maxSplitSize": 1, "maxNumFiles": 1},
    });
    Ok((task, datasource))
}

/// Waits until a [`hashed`] ingestion has succeeded, and returns the statuses of the PeonTasks of its datasource.
pub(super) fn until_hashed(
    fixture: &Fixture,
    manager: &MiddleManager,
    id: &str,
    datasource: &str,
) -> Result<Vec<Value>> {
    let status = manager.until_ended(id)?;
    ensure!(status["statusCode"] == "SUCCESS", "{status}");
    ensure!(!until_segments(fixture, datasource)?.is_empty(), "no segments");
    let selector = format!("peon.dev/middle-manager={}", super::NAME);
    let all =
        fixture
            .kubectl
            .get_json(&["peontask", "--namespace", fixture.home(), "--selector", &selector])?;
    let all = list(&all["items"])
        .into_iter()
        .map(|mut task| task["status"].take());
    let of_datasource: Vec<Value> = all.filter(|s| s["dataSource"] == json!(datasource)).collect();
    let of = |kind: &str| {
        let is = |s: &&Value| s["taskType"] == kind && s["phase"] == "Succeeded";
        of_datasource.iter().filter(is).count()
    };
    ensure!(
        of("partial_index_generate") == 3 && of("partial_index_generic_merge") >= 1,
        "{of_datasource:?}"
    );
    Ok(of_datasource)
}

fn subtasks(fixture: &Fixture) -> Result<()> {
    let manager = MiddleManager::shared(fixture)?;
    let (task, datasource) = hashed(fixture, "hashed")?;
    let id = manager.submit(&task)?;
    until_hashed(fixture, &manager, &id, &datasource).map(drop)
}

fn fails(fixture: &Fixture) -> Result<()> {
    let manager = MiddleManager::shared(fixture)?;
    let (task, _) = ingest(fixture, "fails")?;
    let mut object = json!({"spec": {"task": task}});
    cannot_be_parsed(&mut object);
    let id = manager.submit(&object["spec"]["task"])?;
    let status = manager.until_ended(&id)?;
    ensure!(status["statusCode"] == "FAILED", "{status}");
    ensure!(text(&status["errorMsg"]).contains("parse"), "{status}");
    Ok(())
}

fn odd_ids(fixture: &Fixture) -> Result<()> {
    let manager = MiddleManager::shared(fixture)?;
    let ids = ["$(PEON_POD_IP) & @", "ünïcødé日本 +%2F", "a\"b'c\\d"];
    let mut submitted = Vec::new();
    for id in ids {
        let id = format!("{id} {}", fixture.run);
        submitted.push(manager.submit(&json!({"type": "noop", "id": id, "runTime": 500}))?);
    }
    for id in submitted {
        let status = manager.until_ended(&id).with_context(|| id.clone())?;
        ensure!(status["statusCode"] == "SUCCESS", "{id}: {status}");
    }
    Ok(())
}
