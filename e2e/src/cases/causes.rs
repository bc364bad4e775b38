//! Causes that other cases do not reach, each on real parts or, where these cannot provoke it, through the API.

use anyhow::{Result, ensure};
use serde_json::{Value, json};

use super::logs::fill_a_volume;
use super::{Case, case};
use crate::testbed::fixture::{Fixture, NAMESPACE};

pub(super) const CASES: [Case; 4] = [
    case("causes::a_pod_that_the_kubelet_rejects_is_pod_rejected", rejected),
    case("causes::a_pod_that_fills_its_disk_is_evicted", evicted),
    case(
        "causes::an_image_without_a_shell_is_container_start",
        container_start,
    ),
    case("causes::a_node_that_shuts_down_is_node_shutdown", node_shutdown),
];

fn failed(fixture: &Fixture, name: &str, reason: &str, spec: &Value) -> Result<Value> {
    let mut whole = json!({"task": {"type": "noop", "runTime": 600_000}, "templateRef": {"name": name}});
    for (key, value) in spec.as_object().into_iter().flatten() {
        whole[key] = value.clone();
    }
    fixture.task(NAMESPACE, name, &whole)?;
    fixture.until_reason(NAMESPACE, name, reason)
}

/// A pod that names its node meets no scheduler.
fn rejected(fixture: &Fixture) -> Result<()> {
    let name = "rejected";
    let node = fixture.kubectl.get_json(&["node"])?["items"][0]["metadata"]["name"].clone();
    fixture.template(NAMESPACE, name, |spec| {
        spec["template"]["spec"]["nodeName"] = node;
        spec["retry"] = json!({"limits": {"PodRejected": 1}, "backoffSeconds": 0});
    })?;
    let resources = json!({"limits": {"cpu": "1", "memory": "500Gi"}});
    let task = failed(fixture, name, "PodRejected", &json!({ "resources": resources }))?;
    let status = &task["status"];
    ensure!(
        status["attempt"] == 2 && status["attempts"][0]["cause"] == "PodRejected",
        "{status}"
    );
    let message = Fixture::message(&task, "Failed", "True")?;
    ensure!(
        message.contains("OutOf") && message.contains("all 1 retries"),
        "{message}"
    );
    Ok(())
}

fn evicted(fixture: &Fixture) -> Result<()> {
    let name = "fills-its-disk";
    let image = fixture.druid_image.clone();
    fixture.template(NAMESPACE, name, |spec| {
        fill_a_volume(spec, &image, "");
        spec["retry"] = json!({"rerun": "Never"});
    })?;
    let task = failed(fixture, name, "Evicted", &json!({}))?;
    let message = Fixture::message(&task, "Failed", "True")?;
    ensure!(message.contains("EmptyDir"), "not the kubelet's words: {message}");
    Ok(())
}

fn container_start(fixture: &Fixture) -> Result<()> {
    let name = "without-shell";
    fixture.template(NAMESPACE, name, |spec| {
        spec["template"]["spec"]["containers"][0]["workingDir"] = json!("/etc/passwd");
        spec["retry"] = json!({"limits": {"ContainerStart": 0}});
    })?;
    failed(fixture, name, "ContainerStart", &json!({})).map(drop)
}

/// The kubelet's shutdown needs systemd; what it writes is written here, to a pod that no kubelet has.
fn node_shutdown(fixture: &Fixture) -> Result<()> {
    let name = "shut-down";
    fixture.template(NAMESPACE, name, |spec| {
        spec["template"]["spec"]["nodeSelector"] = json!({"peon.dev/there-is": "none"});
        spec["retry"] = json!({"limits": {"NodeShutdown": 0}});
    })?;
    fixture.task(
        NAMESPACE,
        name,
        &json!({"task": {"type": "noop"}, "templateRef": {"name": name}}),
    )?;
    fixture.until(NAMESPACE, name, |s| s["reason"] == "Unschedulable")?;
    let status = json!({"status": {
        "phase": "Failed", "reason": "Terminated", "message": "Pod was terminated in response to imminent node shutdown.",
    }});
    let patch = status.to_string();
    let pod = format!("{name}-1");
    let args = [
        "patch",
        "pod",
        &pod,
        "--subresource=status",
        "--type=merge",
        "--patch",
        &patch,
        "--namespace",
        NAMESPACE,
    ];
    fixture.kubectl.run(&args)?;
    fixture.until_reason(NAMESPACE, name, "NodeShutdown").map(drop)
}
