//! The log and the report of a task outlive its pod, however it ends.

use std::path::PathBuf;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use super::lifecycle::long_noop;
use super::{Case, Turn, case};
use crate::{
    cache::Cache,
    druid::STORAGE_PATH,
    fixture::{Fixture, LIMIT, NAMESPACE},
    object_stores,
    outside::Grounds,
    progress::Progress,
    samples,
    wait::wait_until,
};

pub(super) const CASES: [Case; 11] = [
    case("logs::of_a_success_are_where_the_overlord_reads_them", success).own(),
    case("logs::of_a_task_that_fails_are_archived", task_failure).own(),
    case("logs::of_every_attempt_are_in_one_log", attempts).own(),
    case("logs::of_a_cancelled_task_are_archived", cancelled).own(),
    case("logs::of_a_drained_task_are_archived", drained).own(),
    case("logs::of_a_deleted_pod_are_archived", deleted).own(),
    case("logs::of_a_pod_deleted_by_force_are_archived", forced).own(),
    case("logs::a_sidecar_archives_a_success", sidecar_success).own(),
    case("logs::a_sidecar_archives_a_cancelled_task", sidecar_cancelled).own(),
    case("logs::of_a_success_are_archived_in_every_store", every_store)
        .turn(Turn::Alone)
        .own(),
    case(
        "logs::a_sidecar_loses_nothing_of_a_pod_deleted_by_force",
        sidecar_forced,
    )
    .own(),
];

/// A container's log on its node, which stays readable when the kubelet removes it: a link of our own.
struct OnNode(PathBuf);

impl OnNode {
    fn hold(fixture: &Fixture, pod: &str) -> Result<Self> {
        let object = fixture
            .kubectl
            .get_json(&["pod", pod, "--namespace", NAMESPACE])?;
        let uid = object["metadata"]["uid"].as_str().context("no uid")?;
        let own = fixture.target.own().context("no cluster of our own")?;
        let file = own
            .pod_logs()
            .join(format!("{NAMESPACE}_{pod}_{uid}"))
            .join("peon")
            .join("0.log");
        // The kubelet removes what it does not know from its own folder.
        let link = own.scratch("held-logs")?.join(uid);
        wait_until(LIMIT, "the container's log on its node", || {
            Ok(std::fs::hard_link(&file, &link).ok())
        })?;
        Ok(Self(link))
    }

    /// What the container wrote: each line of the file has its time, stream, and whether it is a whole one.
    fn bytes(&self) -> Result<Vec<u8>> {
        let file = std::fs::read(&self.0).with_context(|| self.0.display().to_string())?;
        let mut bytes = Vec::new();
        for line in file.split_inclusive(|b| *b == b'\n') {
            let mut fields = line.splitn(4, |b| *b == b' ');
            let (_, _, tag, text) = (fields.next(), fields.next(), fields.next(), fields.next());
            let text = text.context("a line without text")?;
            match tag {
                Some(b"P") => bytes.extend_from_slice(text.strip_suffix(b"\n").unwrap_or(text)),
                _ => bytes.extend_from_slice(text),
            }
        }
        Ok(bytes)
    }
}

impl Drop for OnNode {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
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

fn is_same(archived: &[u8], written: &[u8]) -> Result<()> {
    let at = archived.iter().zip(written).position(|(a, w)| a != w);
    ensure!(
        archived == written,
        "{} bytes were archived and {} written; they differ from {at:?} on: {} … {}",
        archived.len(),
        written.len(),
        String::from_utf8_lossy(&archived[archived.len().saturating_sub(300)..]),
        String::from_utf8_lossy(&written[written.len().saturating_sub(300)..]),
    );
    Ok(())
}

/// What stands before the report, which is no part of the log.
fn without_report(written: &[u8]) -> &[u8] {
    let mark = b"-----BEGIN PEON REPORT ";
    let at = written.windows(mark.len()).position(|w| w == mark);
    &written[..at.unwrap_or(written.len())]
}

fn success(fixture: &Fixture) -> Result<()> {
    let name = "log-of-success";
    let (id, _) = fixture.ingest(name, |_| {})?;
    fixture.until(NAMESPACE, name, |s| s["phase"] == "Running")?;
    let on_node = OnNode::hold(fixture, &format!("{name}-1"))?;
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
    let on_node = OnNode::hold(fixture, &format!("{name}-1"))?;
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

/// A task that runs, once it has written something.
fn running(fixture: &Fixture, name: &str, spec: &Value) -> Result<OnNode> {
    let mut spec = spec.clone();
    spec["retry"] = json!({"rerun": "Never"});
    long_noop(fixture, name, &spec)?;
    let on_node = OnNode::hold(fixture, &format!("{name}-1"))?;
    wait_until(LIMIT, "the peon to write its log", || {
        Ok((on_node.bytes()?.len() > 5000).then_some(()))
    })?;
    Ok(on_node)
}

fn cancelled(fixture: &Fixture) -> Result<()> {
    let name = "log-of-cancelled";
    let on_node = running(fixture, name, &json!({}))?;
    fixture.change(NAMESPACE, name, &json!({"cancel": true}))?;
    fixture.until_reason(NAMESPACE, name, "Cancelled")?;
    is_same(
        &archived(fixture, name, "Archived")?,
        without_report(&on_node.bytes()?),
    )
}

fn drained(fixture: &Fixture) -> Result<()> {
    let name = "log-of-drained";
    let on_node = running(fixture, name, &json!({}))?;
    fixture.evict(NAMESPACE, &format!("{name}-1"))?;
    fixture.until_reason(NAMESPACE, name, "Drained")?;
    is_same(
        &archived(fixture, name, "Archived")?,
        without_report(&on_node.bytes()?),
    )
}

fn delete(fixture: &Fixture, name: &str, more: &[&str]) -> Result<()> {
    let pod = format!("{name}-1");
    let mut args = vec!["pod", pod.as_str(), "--namespace", NAMESPACE];
    args.extend(more);
    fixture.kubectl.delete(&args)
}

fn deleted(fixture: &Fixture) -> Result<()> {
    let name = "log-of-deleted";
    let on_node = running(fixture, name, &json!({}))?;
    delete(fixture, name, &[])?;
    fixture.until_reason(NAMESPACE, name, "PodDeleted")?;
    is_same(
        &archived(fixture, name, "Archived")?,
        without_report(&on_node.bytes()?),
    )
}

/// The API server forgets the pod at once, and with it the way to its log: what was read by then is kept, and the log says
/// that its end may be missing.
fn forced(fixture: &Fixture) -> Result<()> {
    let name = "log-of-forced";
    let on_node = running(fixture, name, &json!({}))?;
    delete(fixture, name, &["--force", "--grace-period=0"])?;
    let ended = |s: &Value| s["phase"] == "Failed";
    fixture.until(NAMESPACE, name, ended)?;
    let task = fixture.until(NAMESPACE, name, |s| {
        let conditions = s["conditions"].as_array().into_iter().flatten();
        conditions
            .into_iter()
            .any(|c| c["type"] == "LogsArchived" && c["status"] == "True")
    })?;
    let id = task["status"]["taskId"].as_str().context("no taskId")?;
    let log = fixture.archived(&format!("{id}.log"))?.context("no log")?;
    let written = on_node.bytes()?;
    let text = String::from_utf8_lossy(&log).into_owned();
    let declared = text.find("[peon-operator]");
    let log = &log[..declared.unwrap_or(log.len())];
    ensure!(log.len() > 1000, "too little: {text}");
    ensure!(
        written.starts_with(log) && (declared.is_some() || log == without_report(&written)),
        "not what was written: {text}"
    );
    Ok(())
}

fn every_store(fixture: &Fixture) -> Result<()> {
    let grounds = Grounds::prepare(fixture, "stores")?;
    let namespace = &grounds.namespace;
    object_stores::for_each(&Cache::open()?, &Progress::default(), |store| {
        let operator = grounds.start_archiving(&store.properties)?;
        let name = format!("in-{}", store.name);
        fixture.apply(namespace, &samples::noop(&name)?)?;
        fixture
            .until_reason(namespace, &name, "Succeeded")
            .with_context(|| operator.tail())?;
        let is_archived = |s: &Value| {
            let conditions = s["conditions"].as_array().into_iter().flatten();
            conditions.into_iter().any(|c| c["reason"] == "Archived")
        };
        fixture
            .until(namespace, &name, is_archived)
            .with_context(|| operator.tail())?;
        let log = store.log(&name)?.context("no log")?;
        let pod = format!("{name}-1");
        let written = fixture.kubectl.logs(&[&pod, "--namespace", namespace])?;
        is_same(&log, written.as_bytes())
    })
}

/// A template whose pods archive their log themselves.
fn with_sidecar(fixture: &Fixture, name: &str) -> Result<Value> {
    fixture.template(NAMESPACE, name, |spec| {
        spec["logs"] = json!({"collect": "Sidecar"});
        let pod = &mut spec["template"]["spec"];
        let mount = pod["containers"][0]["volumeMounts"]
            .as_array()
            .and_then(|mounts| mounts.iter().find(|m| m["mountPath"] == STORAGE_PATH))
            .cloned();
        pod["initContainers"] = json!([{"name": "peon-log", "volumeMounts": [mount]}]);
    })?;
    Ok(json!({"templateRef": {"name": name}}))
}

fn sidecar_success(fixture: &Fixture) -> Result<()> {
    let name = "sidecar-of-success";
    let spec = with_sidecar(fixture, name)?;
    let (id, _) = fixture.ingest(name, |task| {
        task["spec"]["templateRef"] = spec["templateRef"].clone();
    })?;
    fixture.until(NAMESPACE, name, |s| s["phase"] == "Running")?;
    let on_node = OnNode::hold(fixture, &format!("{name}-1"))?;
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

fn sidecar_cancelled(fixture: &Fixture) -> Result<()> {
    let name = "sidecar-of-cancelled";
    let spec = with_sidecar(fixture, name)?;
    let on_node = running(fixture, name, &spec)?;
    fixture.change(NAMESPACE, name, &json!({"cancel": true}))?;
    fixture.until_reason(NAMESPACE, name, "Cancelled")?;
    is_same(&archived(fixture, name, "Archived")?, &on_node.bytes()?)
}

/// The kubelet still ends the pod in its time: the sidecar archives all of it, though nobody can say so any more.
fn sidecar_forced(fixture: &Fixture) -> Result<()> {
    let name = "sidecar-of-forced";
    let spec = with_sidecar(fixture, name)?;
    let on_node = running(fixture, name, &spec)?;
    delete(fixture, name, &["--force", "--grace-period=0"])?;
    fixture.until(NAMESPACE, name, |s| s["phase"] == "Failed")?;
    let log = archived(fixture, name, "Gap")?;
    let text = String::from_utf8_lossy(&log).into_owned();
    let (log, _) = text
        .split_once("\n[peon-operator]")
        .context("no gap was declared")?;
    is_same(log.as_bytes(), &on_node.bytes()?)
}
