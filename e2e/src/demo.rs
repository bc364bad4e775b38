//! `make demo`: an ingestion on a real Kubernetes and a real Druid, from nothing to its segments.

use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde_json::Value;

use crate::{
    cache::Cache,
    fixture::{Fixture, LIMIT, NAMESPACE},
    lock::Busy,
    progress::Progress,
    target::Target,
    wait::wait_until,
};

const TASK: &str = "demo";

/// Runs the demo; `keep` leaves everything running for a look around.
///
/// # Errors
/// When anything does not work; the task's status is in the message.
pub fn run(cache: &Cache, busy: Busy, keep: bool, progress: &Progress) -> Result<()> {
    let target = Target::choose_running(cache, busy, progress)?;
    let foreign = target.own().is_none();
    let fixture = Fixture::prepare(target, cache, progress)?;
    let shown = fixture.install(progress).and_then(|()| show(&fixture, progress));
    if shown.is_err() {
        let folder = cache.path("run/failed");
        fixture.target.collect_logs(&folder)?;
        progress.say(format_args!("logs of everything are in {}", folder.display()));
    }
    if keep {
        look_around(&fixture);
        fixture.target.keep();
        return shown;
    }
    if foreign {
        fixture.remove(progress)?;
    }
    let Fixture { target, druid, .. } = fixture;
    drop(druid);
    target.down()?;
    shown
}

fn show(fixture: &Fixture, progress: &Progress) -> Result<()> {
    fixture
        .kubectl
        .delete(&["peontask", TASK, "--namespace", NAMESPACE])?;
    progress.say("submitting an ingestion to the overlord, and applying it as a PeonTask");
    let (id, datasource) = fixture.ingest(TASK, |_| {})?;
    let task = follow(fixture, progress)?;
    let pod = task["status"]["podName"]
        .as_str()
        .context("the task has no pod")?;

    heading(&format!("the task's log: kubectl logs {pod}"));
    print!("{}", fixture.kubectl.logs(&[pod, "--namespace", NAMESPACE])?);
    heading("the task: kubectl get peontasks -o wide");
    print!(
        "{}",
        fixture
            .kubectl
            .run(&["get", "peontasks", "-o", "wide", "--namespace", NAMESPACE])?
    );
    heading("its conditions");
    for condition in task["status"]["conditions"].as_array().into_iter().flatten() {
        let text = |name: &str| condition[name].as_str().unwrap_or_default();
        println!(
            "{:<12} {:<6} {:<12} {}",
            text("type"),
            text("status"),
            text("reason"),
            text("message")
        );
    }
    heading("the cpu and memory of its pod");
    let resources = "jsonpath={.spec.containers[0].resources}";
    println!(
        "{}",
        fixture
            .kubectl
            .run(&["get", "pod", pod, "-o", resources, "--namespace", NAMESPACE])?
    );
    if task["status"]["phase"] != "Succeeded" {
        bail!("the task did not succeed: {}", task["status"]);
    }
    heading("the segments that Druid has now");
    for segment in segments(fixture, &datasource)? {
        println!(
            "{} {} bytes",
            segment["identifier"].as_str().unwrap_or_default(),
            segment["size"]
        );
    }
    // The overlord has no worker and would wait for one to report the end.
    fixture.druid.shutdown(&id)?;
    println!();
    progress.say("the demo is complete");
    Ok(())
}

/// Says each phase as it comes, until the task has ended.
fn follow(fixture: &Fixture, progress: &Progress) -> Result<Value> {
    let mut last = Value::Null;
    wait_until(LIMIT, "the task to end", || {
        let task = fixture.get(NAMESPACE, TASK)?;
        let phase = task["status"]["phase"].clone();
        if phase != last {
            let reason = task["status"]["reason"].as_str().unwrap_or_default();
            progress.say(format_args!(
                "{TASK}: {} ({reason})",
                phase.as_str().unwrap_or("created")
            ));
            last = phase.clone();
        }
        let ended = matches!(phase.as_str(), Some("Succeeded" | "Failed"));
        Ok(ended.then_some(task))
    })
}

fn segments(fixture: &Fixture, datasource: &str) -> Result<Vec<Value>> {
    wait_until(Duration::from_secs(60), "the segments", || {
        let segments = fixture.druid.segments(datasource)?;
        Ok((!segments.is_empty()).then_some(segments))
    })
}

fn heading(text: &str) {
    println!("\n=== {text}");
}

fn look_around(fixture: &Fixture) {
    println!("\nEverything is left running. To look around:");
    if let Some(own) = fixture.target.own() {
        println!("  export KUBECONFIG={}", own.kubeconfig().display());
        println!("  export PATH={}:$PATH", own.bin_dir().display());
    }
    println!("  kubectl get peontasks --namespace {NAMESPACE}");
    println!("  make cluster-down");
}
