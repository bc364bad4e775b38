//! Attempts that follow one another: what took the pod away does not take the task away.

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use super::lifecycle::long_noop;
use super::{Case, Turn, case};
use crate::testbed::{
    fixture::{Fixture, LIMIT, NAMESPACE},
    peons,
    wait::wait_until,
};

pub(super) const CASES: [Case; 6] = [
    case("attempts::a_drained_task_runs_again_where_it_may", drained),
    case("attempts::a_deleted_pod_is_followed_by_another_one", deleted),
    case(
        "attempts::a_force_deleted_pod_is_followed_once_its_peon_is_dead",
        force_deleted,
    )
    .turn(Turn::Waiting)
    .own(),
    case("attempts::memory_climbs_until_the_task_succeeds", ladder).long(),
    case(
        "attempts::a_sidecar_that_never_exits_does_not_hold_the_verdict",
        sidecar,
    ),
    case("attempts::a_preempted_task_runs_again", preempted).turn(Turn::Alone),
];

fn second_attempt(fixture: &Fixture, name: &str, cause: &str) -> Result<Value> {
    let task = fixture.until(NAMESPACE, name, |s| s["phase"] == "Running" && s["attempt"] == 2)?;
    let status = &task["status"];
    ensure!(
        status["attempts"][0]["cause"] == cause && status["failures"] == json!({cause: 1}),
        "{status}"
    );
    Ok(task)
}

fn cancel(fixture: &Fixture, name: &str) -> Result<()> {
    fixture.change(NAMESPACE, name, &json!({"cancel": true}))?;
    fixture.until_reason(NAMESPACE, name, "Cancelled").map(drop)
}

fn drained(fixture: &Fixture) -> Result<()> {
    let (pod, _) = long_noop(fixture, "drained", &json!({}))?;
    fixture.evict(NAMESPACE, &pod)?;
    second_attempt(fixture, "drained", "Drained")?;
    cancel(fixture, "drained")?;

    let (pod, _) = long_noop(fixture, "drained-once", &json!({"retry": {"rerun": "Never"}}))?;
    fixture.evict(NAMESPACE, &pod)?;
    let task = fixture.until_reason(NAMESPACE, "drained-once", "Drained")?;
    let message = Fixture::message(&task, "Failed", "True")?;
    ensure!(message.contains("retry.rerun"), "{message}");
    Ok(())
}

fn deleted(fixture: &Fixture) -> Result<()> {
    let (pod, _) = long_noop(fixture, "pod-deleted", &json!({}))?;
    fixture
        .kubectl
        .delete(&["pod", &pod, "--wait=false", "--namespace", NAMESPACE])?;
    second_attempt(fixture, "pod-deleted", "PodDeleted")?;
    cancel(fixture, "pod-deleted")
}

/// The object is gone at once; its peon is not.
fn force_deleted(fixture: &Fixture) -> Result<()> {
    let name = "force-deleted";
    fixture.template(NAMESPACE, name, |spec| {
        spec["template"]["spec"]["terminationGracePeriodSeconds"] = json!(5);
    })?;
    let (pod, address) = long_noop(fixture, name, &json!({"templateRef": {"name": name}}))?;
    let args = [
        "pod",
        &pod,
        "--force",
        "--grace-period=0",
        "--namespace",
        NAMESPACE,
    ];
    fixture.kubectl.delete(&args)?;
    let task = fixture.until(NAMESPACE, name, |s| s["attempt"] == 2)?;
    ensure!(
        peons::at(&address).is_empty(),
        "the next attempt was claimed while a peon lived: {}",
        task["status"]
    );
    second_attempt(fixture, name, "PodDeleted")?;
    cancel(fixture, name)
}

/// A heap that is too small for the task, with all of it moving together.
fn ladder(fixture: &Fixture) -> Result<()> {
    let name = "climbs";
    fixture.template(NAMESPACE, name, |spec| {
        spec["retry"] = json!({"rerun": "Always", "memory": {"factorPercent": 200}, "backoffSeconds": 1});
        spec["javaOpts"] = json!(["-Xmx20m", "-XX:MaxDirectMemorySize=16m", "-XX:+UseSerialGC"]);
        spec["properties"]["druid.processing.buffer.sizeBytes"] = json!("1MiB");
    })?;
    let (id, datasource) = fixture.ingest(name, |task| {
        task["spec"]["templateRef"] = json!({"name": name});
        task["spec"]["resources"] =
            json!({"limits": {"memory": "256Mi", "cpu": "1"}, "requests": {"cpu": "250m"}});
    })?;
    let task = fixture.until_reason(NAMESPACE, name, "Succeeded")?;
    let status = &task["status"];
    ensure!(
        status["attempts"][0]["cause"] == "JavaOutOfMemory" && status["attempts"][0]["memory"] == "256Mi",
        "{status}"
    );
    ensure!(
        status["memoryStep"].as_u64() >= Some(1) && status["memory"] != "256Mi",
        "{status}"
    );
    println!(
        "memory that {name} took: {} then {}",
        status["attempts"], status["memory"]
    );
    let segments = wait_until(LIMIT, "its segments", || {
        Ok(Some(fixture.druid.segments(&datasource)?).filter(|s| !s.is_empty()))
    })?;
    ensure!(segments.len() == 2, "published twice: {segments:?}");
    fixture.druid.shutdown(&id)
}

fn sidecar(fixture: &Fixture) -> Result<()> {
    let name = "with-sidecar";
    let image = fixture.druid_image.clone();
    fixture.template(NAMESPACE, name, |spec| {
        let sidecar = json!({
            "name": "forever", "image": image, "command": ["/bin/sh", "-c", "echo begun; sleep 100000"],
            "securityContext": {"allowPrivilegeEscalation": false, "capabilities": {"drop": ["ALL"]}},
            "resources": {"limits": {"memory": "32Mi", "cpu": "50m"}},
        });
        if let Some(containers) = spec["template"]["spec"]["containers"].as_array_mut() {
            containers.push(sidecar);
        }
        spec["template"]["spec"]["terminationGracePeriodSeconds"] = json!(1);
    })?;
    fixture.task(
        NAMESPACE,
        name,
        &json!({"task": {"type": "noop", "runTime": 1}, "templateRef": {"name": name}}),
    )?;
    fixture.until_reason(NAMESPACE, name, "Succeeded")?;
    let pod = format!("{name}-1");
    let args = ["pod", &pod, "--namespace", NAMESPACE];
    fixture
        .kubectl
        .wait_for(&args, LIMIT, |p| p["status"]["phase"] == "Failed")
        .context("the sidecar runs on")?;
    let log = fixture.kubectl.logs(&[&pod, "--namespace", NAMESPACE])?;
    ensure!(log.contains("SUCCESS"), "the log is gone: {log}");
    let task = fixture.get(NAMESPACE, name)?;
    ensure!(task["status"]["phase"] == "Succeeded", "{}", task["status"]);
    Ok(())
}

fn preempted(fixture: &Fixture) -> Result<()> {
    for (name, value) in [("peon-e2e-low", -10), ("peon-e2e-high", 1000)] {
        let class = json!({
            "apiVersion": "scheduling.k8s.io/v1", "kind": "PriorityClass", "metadata": {"name": name}, "value": value,
        });
        fixture.kubectl.apply(&class.to_string())?;
    }
    let name = "preempted";
    fixture.template(NAMESPACE, name, |spec| {
        spec["template"]["spec"]["priorityClassName"] = json!("peon-e2e-low");
        spec["template"]["spec"]["terminationGracePeriodSeconds"] = json!(5);
    })?;
    let (_, _) = long_noop(fixture, name, &json!({"templateRef": {"name": name}}))?;
    let node = fixture.pod_of(NAMESPACE, name)?["spec"]["nodeName"].clone();
    let more = free_cpu(fixture, node.as_str().context("no node")?)? + 100;
    let image = fixture.druid_image.clone();
    let usurper = json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": {"name": "usurper"},
        "spec": {
            "priorityClassName": "peon-e2e-high", "nodeSelector": {"kubernetes.io/hostname": node},
            "terminationGracePeriodSeconds": 0,
            "securityContext": {"runAsNonRoot": true, "runAsUser": 1000, "seccompProfile": {"type": "RuntimeDefault"}},
            "containers": [{
                "name": "main", "image": image, "imagePullPolicy": "IfNotPresent", "command": ["sleep", "100000"],
                "securityContext": {"allowPrivilegeEscalation": false, "capabilities": {"drop": ["ALL"]}},
                "resources": {"requests": {"cpu": format!("{more}m")}},
            }],
        },
    });
    fixture.apply(NAMESPACE, &usurper)?;
    let task = fixture.until(NAMESPACE, name, |s| s["attempt"] == 2)?;
    fixture
        .kubectl
        .delete(&["pod", "usurper", "--namespace", NAMESPACE])?;
    ensure!(
        task["status"]["attempts"][0]["cause"] == "Preempted",
        "{}",
        task["status"]
    );
    second_attempt(fixture, name, "Preempted")?;
    cancel(fixture, name)?;
    fixture
        .kubectl
        .delete(&["priorityclass", "peon-e2e-low", "peon-e2e-high"])
}

/// Thousandths of a core that nobody has requested on a node.
fn free_cpu(fixture: &Fixture, node: &str) -> Result<u64> {
    let milli = |quantity: &Value| -> u64 {
        let text = quantity.as_str().unwrap_or("0");
        match text.strip_suffix('m') {
            Some(milli) => milli.parse().unwrap_or(0),
            None => text.parse::<u64>().unwrap_or(0) * 1000,
        }
    };
    let all = milli(&fixture.kubectl.get_json(&["node", node])?["status"]["allocatable"]["cpu"]);
    let selector = format!("spec.nodeName={node},status.phase!=Succeeded,status.phase!=Failed");
    let pods = fixture
        .kubectl
        .get_json(&["pod", "--all-namespaces", "--field-selector", &selector])?;
    let containers = pods["items"]
        .as_array()
        .into_iter()
        .flatten()
        .flat_map(|pod| pod["spec"]["containers"].as_array().into_iter().flatten());
    let used: u64 = containers
        .map(|c| milli(&c["resources"]["requests"]["cpu"]))
        .sum();
    Ok(all.saturating_sub(used))
}
