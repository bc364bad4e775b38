//! Templates: which one a task has, and what it gives the peon.

use anyhow::{Result, ensure};
use serde_json::{Value, json};

use super::{Case, case};
use crate::testbed::fixture::{Fixture, LIMIT, NAMESPACE};

pub(super) const CASES: [Case; 7] = [
    case("templates::the_template_that_matches_best_is_used", selection),
    case(
        "templates::a_task_may_not_ask_for_more_than_its_template_allows",
        overrides,
    ),
    case(
        "templates::properties_of_a_secret_reach_the_peon_and_no_log",
        properties_from,
    ),
    case("templates::a_native_sidecar_runs_beside_the_peon", native_sidecar),
    case(
        "templates::memory_in_bytes_is_what_the_peon_is_given",
        memory_in_bytes,
    ),
    case("templates::the_status_counts_tasks", counted).long(),
    case("templates::the_status_says_what_is_wrong", readiness),
];

/// Waits for a template whose status is as wanted.
fn until_status(
    fixture: &Fixture,
    namespace: &str,
    name: &str,
    wanted: impl Fn(&Value) -> bool,
) -> Result<()> {
    let args = ["peontemplate", name, "--namespace", namespace];
    let seen = fixture.kubectl.wait_for(&args, LIMIT, |t| wanted(&t["status"]));
    seen.map(drop)
}

/// The condition `Ready` of a status: status and reason.
fn ready(status: &Value) -> (Option<&str>, Option<&str>) {
    let conditions = status["conditions"].as_array().into_iter().flatten();
    let ready = conditions.into_iter().find(|c| c["type"] == "Ready");
    ready.map_or((None, None), |c| (c["status"].as_str(), c["reason"].as_str()))
}

fn counted(fixture: &Fixture) -> Result<()> {
    let namespace = fixture.namespace("counted")?;
    template(fixture, &namespace, "one", |spec| spec["maxRunning"] = json!(1))?;
    let names = ["first", "second", "third"];
    let spec = json!({"task": {"type": "noop", "runTime": 20_000}, "templateRef": {"name": "one"}});
    for name in names {
        fixture.task(&namespace, name, &spec)?;
    }
    until_status(fixture, &namespace, "one", |s| {
        s["running"] == 1 && s["waiting"] == 2
    })?;
    for name in names {
        fixture.until_reason(&namespace, name, "Succeeded")?;
    }
    until_status(fixture, &namespace, "one", |s| {
        s["running"] == 0 && s["waiting"] == 0
    })
}

fn readiness(fixture: &Fixture) -> Result<()> {
    let namespace = fixture.namespace("readiness")?;
    let port = |port: &str| {
        template(fixture, &namespace, "port", |spec| {
            spec["properties"]["druid.plaintextPort"] = json!(port);
        })
    };
    port("8200")?;
    until_status(fixture, &namespace, "port", |s| {
        ready(s) == (Some("False"), Some("InvalidTemplate"))
    })?;
    port("8100")?;
    until_status(fixture, &namespace, "port", |s| {
        ready(s) == (Some("True"), Some("Valid"))
    })
}

/// Applies a template for `noop` under this name, changed.
fn template(fixture: &Fixture, namespace: &str, name: &str, change: impl FnOnce(&mut Value)) -> Result<()> {
    let mut template = fixture.bare_sample()?;
    template["metadata"]["name"] = json!(name);
    change(&mut template["spec"]);
    fixture.apply(namespace, &template)
}

fn pod_of(fixture: &Fixture, namespace: &str, task: &Value) -> Result<Value> {
    let name = task["status"]["run"]["pod"].as_str().unwrap_or_default();
    fixture.kubectl.get_json(&["pod", name, "--namespace", namespace])
}

/// Of what matches the highest priority, of equals the first by name, said in an Event.
fn selection(fixture: &Fixture) -> Result<()> {
    let namespace = fixture.namespace("selection")?;
    let task = json!({"task": {"type": "noop", "runTime": 1, "context": {"tags": {"team": "ads"}}}});
    for (name, matches, priority) in [
        ("misses", json!({"types": ["index"]}), 9),
        ("second", json!({"contextTags": {"team": ["ads"]}}), 5),
        ("first", json!({"types": ["noop"]}), 5),
        ("low", json!({}), 0),
    ] {
        template(fixture, &namespace, name, |spec| {
            spec["match"] = matches;
            spec["priority"] = json!(priority);
            spec["template"]["metadata"] = json!({"labels": {"made-with": name}});
        })?;
    }
    fixture.task(&namespace, "chosen", &task)?;
    let done = fixture.until_reason(&namespace, "chosen", "Succeeded")?;
    let label = &pod_of(fixture, &namespace, &done)?["metadata"]["labels"]["made-with"];
    ensure!(label == "first", "made with {label}");
    let selector = "--field-selector=reason=TemplateTie";
    let events = fixture
        .kubectl
        .get_json(&["events", "--namespace", &namespace, selector])?;
    let note = events["items"][0]["message"].as_str().unwrap_or_default();
    ensure!(
        note.contains("PeonTemplate first") && note.contains("second"),
        "{events}"
    );
    Ok(())
}

fn overrides(fixture: &Fixture) -> Result<()> {
    let namespace = fixture.namespace("overrides")?;
    let limited = |max: &str| {
        template(fixture, &namespace, "limited", |spec| {
            spec["overrides"] = json!({"maxMemory": max});
        })
    };
    limited("600Mi")?;
    let spec = json!({
        "task": {"type": "noop", "runTime": 1}, "templateRef": {"name": "limited"},
        "resources": {"limits": {"memory": "700Mi"}},
    });
    fixture.task(&namespace, "greedy", &spec)?;
    let task = fixture.until_reason(&namespace, "greedy", "LimitExceeded")?;
    let message = Fixture::message(&task, "Accepted", "False")?;
    ensure!(
        message.contains("700Mi") && message.contains("600Mi"),
        "{message}"
    );
    limited("700Mi")?;
    fixture.until_reason(&namespace, "greedy", "Succeeded")?;
    Ok(())
}

/// The peon finds its ZooKeeper by a property in a Secret; without it, it could not run.
fn properties_from(fixture: &Fixture) -> Result<()> {
    let namespace = fixture.namespace("properties")?;
    let marker = "marker-\\of\na secret";
    let secret = json!({
        "apiVersion": "v1", "kind": "Secret", "metadata": {"name": "hidden"},
        "stringData": {"druid.zk.service.host": fixture.druid.zookeeper(), "druid.marker": marker},
    });
    fixture.apply(&namespace, &secret)?;
    template(fixture, &namespace, "from-secret", |spec| {
        if let Some(properties) = spec["properties"].as_object_mut() {
            properties.remove("druid.zk.service.host");
        }
        let missing = json!({"configMapRef": {"name": "missing", "optional": true}});
        spec["propertiesFrom"] = json!([missing, {"secretRef": {"name": "hidden"}}]);
    })?;
    let spec = json!({"task": {"type": "noop", "runTime": 1}, "templateRef": {"name": "from-secret"}});
    fixture.task(&namespace, "informed", &spec)?;
    let done = fixture.until_reason(&namespace, "informed", "Succeeded")?;
    let pod = pod_of(fixture, &namespace, &done)?;
    let name = pod["metadata"]["name"].as_str().unwrap_or_default();
    let log = fixture.kubectl.logs(&[name, "--namespace", &namespace])?;
    let config_map = fixture
        .kubectl
        .get_json(&["configmap", name, "--namespace", &namespace])?;
    for (place, text) in [
        ("log", log),
        ("pod", pod.to_string()),
        ("ConfigMap", config_map.to_string()),
    ] {
        ensure!(!text.contains("marker-"), "the {place} has a secret");
    }
    Ok(())
}

/// The verdict is the peon's container's, while the sidecar still runs; the kubelet ends it afterwards.
fn native_sidecar(fixture: &Fixture) -> Result<()> {
    let namespace = fixture.namespace("sidecar")?;
    template(fixture, &namespace, "beside", |spec| {
        spec["template"]["spec"]["initContainers"] = json!([{
            "name": "beside", "image": fixture.druid_image, "imagePullPolicy": "IfNotPresent",
            "restartPolicy": "Always", "command": ["/bin/sh", "-c", "trap exit TERM; while :; do sleep 1; done"],
            "securityContext": {"allowPrivilegeEscalation": false, "capabilities": {"drop": ["ALL"]}},
        }]);
    })?;
    let spec = json!({"task": {"type": "noop", "runTime": 1}, "templateRef": {"name": "beside"}});
    fixture.task(&namespace, "accompanied", &spec)?;
    let done = fixture.until_reason(&namespace, "accompanied", "Succeeded")?;
    let sidecar = &pod_of(fixture, &namespace, &done)?["status"]["initContainerStatuses"][0];
    let ran = sidecar["started"] == true || sidecar["state"]["terminated"].is_object();
    ensure!(sidecar["restartCount"] == 0 && ran, "{sidecar}");
    Ok(())
}

/// A real ingestion with its limits in rows lifted.
fn memory_in_bytes(fixture: &Fixture) -> Result<()> {
    let mut template = fixture.sample()?;
    template["metadata"]["name"] = json!("bytes");
    template["spec"]["sizing"] = json!({"ingestionMemory": "Bytes"});
    fixture.apply(NAMESPACE, &template)?;
    let mut given = Value::Null;
    fixture.ingest("memory_in_bytes", |task| {
        task["metadata"]["name"] = json!("memory-in-bytes");
        task["spec"]["templateRef"] = json!({"name": "bytes"});
        given = task["spec"]["task"].clone();
    })?;
    let done = fixture.until_reason(NAMESPACE, "memory-in-bytes", "Succeeded")?;
    let pod = done["status"]["run"]["pod"].as_str().unwrap_or_default();
    let config_map = fixture
        .kubectl
        .get_json(&["configmap", pod, "--namespace", NAMESPACE])?;
    let text = config_map["data"]["task.json"].as_str().unwrap_or_default();
    let effective: Value = serde_json::from_str(text)?;
    let tuning = &effective["spec"]["tuningConfig"];
    ensure!(tuning["maxRowsInMemory"] == i32::MAX, "{tuning}");
    ensure!(
        effective["spec"]["dataSchema"] == given["spec"]["dataSchema"],
        "{effective}"
    );
    Ok(())
}
