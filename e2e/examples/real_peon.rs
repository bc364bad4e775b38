//! Runs real Druid peons as pods, without the operator: the ground that the operator stands on.
//!
//! `cargo run -p e2e --example real_peon` uses the cluster that is up, or starts one and ends it.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use e2e::{
    cache::Cache,
    druid::{Druid, JVM_CONFIG, LOG4J2, fill},
    images::Image,
    interrupt,
    kubectl::Kubectl,
    lock::Busy,
    progress::Progress,
    target::Target,
    wait::wait_until,
};
use serde_json::{Value, json};

const PEON: &str = include_str!("../druid/peon.yaml");
const LIMIT: Duration = Duration::from_secs(120);

fn main() -> Result<()> {
    let progress = Progress::default();
    let cache = Cache::open()?;
    interrupt::watch()?;
    let target = Target::choose_running(&cache, Busy::Wait, &progress)?;
    let image = target.image(Image::Druid, &cache, &progress)?;
    let druid = Druid::deploy(&target, "druid", &image, &progress)?;
    let kubectl = target.kubectl();

    let suffix = jiff::Timestamp::now().as_second();
    let noop =
        json!({"type": "noop", "id": format!("noop_{suffix}"), "dataSource": "nothing", "runTime": 100});
    verdict(
        &kubectl,
        &druid,
        &image,
        &format!("noop-{suffix}"),
        &noop,
        &progress,
    )?;

    let (id, datasource) = (format!("index:{suffix}.äö"), format!("letters-{suffix}"));
    let index = index_task(&id, &datasource);
    ensure!(druid.submit(&index)? == id, "the Overlord changed the task's id");
    verdict(
        &kubectl,
        &druid,
        &image,
        &format!("index-{suffix}"),
        &index,
        &progress,
    )?;
    let segments = wait_until(LIMIT, "the segments", || {
        Ok(Some(druid.segments(&datasource)?).filter(|segments| !segments.is_empty()))
    })?;
    progress.say(format_args!("{} segments are published", segments.len()));
    ensure!(segments.len() == 2, "two days of data make two segments");
    // Nobody reports the end of a peon that runs by hand: for the Overlord it still waits for a worker.
    ensure!(
        druid.status(&id)?["runnerStatusCode"] == "PENDING",
        "{}",
        druid.status(&id)?
    );
    druid.shutdown(&id)?;
    ensure!(
        druid.status(&id)?["statusCode"] == "FAILED",
        "{}",
        druid.status(&id)?
    );
    target.down()
}

/// Runs a task in a pod and checks what Druid wrote into the termination message.
fn verdict(
    kubectl: &Kubectl,
    druid: &Druid,
    image: &str,
    name: &str,
    task: &Value,
    progress: &Progress,
) -> Result<()> {
    let step = progress.step(name);
    let properties = druid.common_properties();
    let task = task.to_string();
    let values = [
        ("{name}", name),
        ("{image}", image),
        ("{jvm}", JVM_CONFIG),
        ("{log4j2}", LOG4J2),
        ("{properties}", properties.as_str()),
        ("{task}", task.as_str()),
    ];
    let namespace = ["--namespace", druid.namespace()];
    let apply = [namespace.as_slice(), &["create", "-f", "-"]].concat();
    kubectl.run_with_input(&apply, &fill(PEON, &values))?;
    let pod = kubectl.wait_for(&[namespace.as_slice(), &["pod", name]].concat(), LIMIT, |pod| {
        pod["status"]["containerStatuses"][0]["state"]["terminated"].is_object()
    })?;
    let message = &pod["status"]["containerStatuses"][0]["state"]["terminated"]["message"];
    let status: Value = serde_json::from_str(message.as_str().context("no verdict")?)?;
    ensure!(status["status"] == "SUCCESS", "{name} ended with {status}");
    step.done("SUCCESS");
    Ok(())
}

fn index_task(id: &str, datasource: &str) -> Value {
    let rows = "{\"t\":\"2024-01-01\",\"letter\":\"a\"}\n{\"t\":\"2024-01-02\",\"letter\":\"b\"}";
    json!({
        "type": "index_parallel",
        "id": id,
        "spec": {
            "dataSchema": {
                "dataSource": datasource,
                "timestampSpec": {"column": "t", "format": "auto"},
                "dimensionsSpec": {"dimensions": ["letter"]},
                "granularitySpec": {"segmentGranularity": "day", "rollup": false},
            },
            "ioConfig": {
                "type": "index_parallel",
                "inputSource": {"type": "inline", "data": rows},
                "inputFormat": {"type": "json"},
            },
            "tuningConfig": {"type": "index_parallel", "maxNumConcurrentSubTasks": 1},
        },
    })
}
