//! What a task waits for is said, and it goes on when that is there.

use anyhow::{Result, ensure};
use serde_json::{Value, json};

use super::{Case, Turn, case};
use crate::testbed::{
    druid::samples,
    fixture::{Fixture, LIMIT},
};

pub(super) const CASES: [Case; 6] = [
    case("waits::for_a_template", for_a_template),
    case("waits::for_a_configmap_that_a_volume_names", for_a_volume).turn(Turn::Waiting),
    case(
        "waits::for_a_configmap_that_the_environment_names",
        for_the_environment,
    )
    .turn(Turn::Waiting),
    case("waits::for_quota", for_quota),
    case("waits::for_an_image", for_an_image),
    case("waits::for_a_name", for_a_name),
];

fn for_a_template(fixture: &Fixture) -> Result<()> {
    let namespace = fixture.namespace("no-template")?;
    let spec = json!({"task": {"type": "noop"}, "templateRef": {"name": "later"}});
    fixture.task(&namespace, "early", &spec)?;
    let task = fixture.until_reason(&namespace, "early", "NoTemplate")?;
    let message = Fixture::message(&task, "Accepted", "False")?;
    ensure!(message.contains("later"), "{message}");
    let mut template = fixture.bare_sample()?;
    template["metadata"]["name"] = json!("later");
    fixture.apply(&namespace, &template)?;
    fixture.until_reason(&namespace, "early", "Succeeded").map(drop)
}

/// A template whose peon container and pod spec have these fields besides.
fn template(fixture: &Fixture, namespace: &str, container: &Value, spec: &Value) -> Result<()> {
    let mut template = fixture.bare_sample()?;
    template["metadata"]["name"] = json!("special");
    let pod = &mut template["spec"]["template"]["spec"];
    let merge = |to: &mut Value, from: &Value| {
        for (key, value) in from.as_object().into_iter().flatten() {
            to[key] = value.clone();
        }
    };
    merge(pod, spec);
    merge(&mut pod["containers"][0], container);
    fixture.apply(namespace, &template)
}

fn config_map(fixture: &Fixture, namespace: &str) -> Result<()> {
    let object =
        json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "absent"}, "data": {"a": "b"}});
    fixture.apply(namespace, &object)
}

fn for_a_volume(fixture: &Fixture) -> Result<()> {
    let namespace = fixture.namespace("no-volume")?;
    let container = json!({"volumeMounts": [{"name": "x", "mountPath": "/x"}]});
    template(
        fixture,
        &namespace,
        &container,
        &json!({"volumes": [{"name": "x", "configMap": {"name": "absent"}}]}),
    )?;
    let spec = json!({"task": {"type": "noop"}, "templateRef": {"name": "special"}});
    fixture.task(&namespace, "early", &spec)?;
    let task = fixture.until_reason(&namespace, "early", "ContainerConfig")?;
    let message = Fixture::message(&task, "Started", "False")?;
    ensure!(message.contains("\"absent\" not found"), "{message}");
    config_map(fixture, &namespace)?;
    fixture.until_reason(&namespace, "early", "Succeeded").map(drop)
}

fn for_the_environment(fixture: &Fixture) -> Result<()> {
    let namespace = fixture.namespace("no-environment")?;
    template(
        fixture,
        &namespace,
        &json!({"envFrom": [{"configMapRef": {"name": "absent"}}]}),
        &json!({}),
    )?;
    let spec = json!({"task": {"type": "noop"}, "templateRef": {"name": "special"}});
    fixture.task(&namespace, "early", &spec)?;
    let task = fixture.until_reason(&namespace, "early", "ContainerConfig")?;
    let message = Fixture::message(&task, "Started", "False")?;
    ensure!(message.contains("\"absent\" not found"), "{message}");
    let args = ["events.events.k8s.io", "--namespace", &namespace];
    let warned = |list: &Value| {
        let events = list["items"].as_array().cloned().unwrap_or_default();
        events.iter().any(|e| {
            e["reason"] == "ContainerConfig" && e["regarding"]["name"] == "early" && e["type"] == "Warning"
        })
    };
    fixture.kubectl.wait_for(&args, LIMIT, warned)?;
    config_map(fixture, &namespace)?;
    fixture.until_reason(&namespace, "early", "Succeeded").map(drop)
}

fn for_quota(fixture: &Fixture) -> Result<()> {
    let namespace = fixture.namespace("no-quota")?;
    let quota = json!({
        "apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": "none"}, "spec": {"hard": {"pods": "0"}},
    });
    fixture.apply(&namespace, &quota)?;
    let args = ["resourcequota", "none", "--namespace", &namespace];
    fixture
        .kubectl
        .wait_for(&args, LIMIT, |q| q["status"]["hard"]["pods"] == "0")?;
    fixture.apply(&namespace, &samples::noop("early")?)?;
    let task = fixture.until_reason(&namespace, "early", "QuotaExceeded")?;
    let message = Fixture::message(&task, "Started", "False")?;
    ensure!(message.contains("exceeded quota: none"), "{message}");
    fixture
        .kubectl
        .delete(&["resourcequota", "none", "--namespace", &namespace])?;
    fixture.until_reason(&namespace, "early", "Succeeded").map(drop)
}

fn for_an_image(fixture: &Fixture) -> Result<()> {
    let namespace = fixture.namespace("no-image")?;
    let mut absent = fixture.bare_sample()?;
    absent["metadata"]["name"] = json!("special");
    absent["spec"]["image"] = json!("localhost/absent:1");
    // Nothing is asked of any registry.
    absent["spec"]["template"]["spec"]["containers"][0]["imagePullPolicy"] = json!("Never");
    fixture.apply(&namespace, &absent)?;
    let spec = json!({"task": {"type": "noop"}, "templateRef": {"name": "special"}});
    fixture.task(&namespace, "early", &spec)?;
    let task = fixture.until_reason(&namespace, "early", "ImagePull")?;
    ensure!(task["status"]["phase"] == "Starting", "{}", task["status"]);
    let message = Fixture::message(&task, "Started", "False")?;
    ensure!(message.contains("localhost/absent:1"), "{message}");
    // Its pod would hold its share of the node for as long as the cluster lives.
    fixture
        .kubectl
        .delete(&["peontask", "early", "--namespace", &namespace])
}

/// Somebody else's objects have the names that the task needs.
fn for_a_name(fixture: &Fixture) -> Result<()> {
    let namespace = fixture.namespace("no-name")?;
    let config_map = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "early-1"}});
    fixture.apply(&namespace, &config_map)?;
    fixture.apply(&namespace, &samples::noop("early")?)?;
    let task = fixture.until_reason(&namespace, "early", "NameConflict")?;
    let message = Fixture::message(&task, "Started", "False")?;
    ensure!(message.contains("a ConfigMap of the same name"), "{message}");
    fixture
        .kubectl
        .delete(&["configmap", "early-1", "--namespace", &namespace])?;
    let first = fixture.until_reason(&namespace, "early", "Succeeded")?;
    // A task of the same name, while the garbage collector still has the first one's objects.
    fixture
        .kubectl
        .delete(&["peontask", "early", "--namespace", &namespace])?;
    fixture.apply(&namespace, &samples::noop("early")?)?;
    let second = fixture.until_reason(&namespace, "early", "Succeeded")?;
    ensure!(
        first["status"]["run"]["podUID"] != second["status"]["run"]["podUID"],
        "the first task's pod was taken for the second's"
    );
    Ok(())
}
