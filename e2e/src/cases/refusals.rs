//! Bad input gets a clear message and harms nothing else.

use anyhow::{Result, bail, ensure};
use serde_json::{Value, json};

use super::{Case, Turn, case};
use crate::testbed::{
    druid::samples,
    fixture::{Fixture, LIMIT},
};

pub(super) const CASES: [Case; 6] = [
    case(
        "refusals::bad_tasks_are_refused_by_the_api_server",
        by_the_api_server,
    ),
    case("refusals::tasks_that_cannot_run_fail_at_once", at_once),
    case(
        "refusals::a_pod_that_the_api_server_refuses_fails_its_task",
        refused_pods,
    ),
    case(
        "refusals::an_invalid_image_name_fails_its_task_and_leaves_no_pod",
        invalid_image,
    ),
    case("refusals::a_bad_template_is_named", bad_template),
    case("refusals::an_undecodable_object_stops_nobody_else", undecodable)
        .turn(Turn::Alone)
        .own(),
];

fn by_the_api_server(fixture: &Fixture) -> Result<()> {
    let namespace = fixture.namespace("refused")?;
    let cases = [
        (json!({"task": 7}), "spec.task in body must be of type object"),
        (json!({"task": "{}"}), "spec.task in body must be of type object"),
        (json!({"task": {}}), "spec.task.type: Required value"),
        (json!({"task": {"type": ""}}), "spec.task.type"),
        (
            json!({"task": {"type": "noop", "id": "a/b"}}),
            "cannot contain '/'",
        ),
        (json!({"task": {"type": "noop", "id": ".x"}}), "start with '.'"),
        (
            json!({"task": {"type": "noop", "id": "a\tb"}}),
            "a character that Druid refuses",
        ),
        (
            json!({"task": {"type": "noop", "id": "nul\u{0}"}}),
            "a character that Druid refuses",
        ),
        (
            json!({"task": {"type": "noop", "id": "\u{1f600}"}}),
            "a character that Druid refuses",
        ),
        (
            json!({"task": {"type": "noop", "id": "ü".repeat(128)}}),
            "255 bytes",
        ),
        (
            json!({"task": {"type": "noop", "context": []}}),
            "spec.task.context",
        ),
        (
            json!({"task": {"type": "noop"}, "resources": {"limits": {"memory": "much"}}}),
            "must be a Kubernetes quantity",
        ),
        (
            json!({"task": {"type": "noop"}, "registration": "Elsewhere"}),
            "spec.registration: Unsupported value",
        ),
        (
            json!({"task": {"type": "noop"}, "registration": "External", "middleManagerRef": {"name": "m"}}),
            "leave registration out",
        ),
        (
            json!({"task": {"type": "noop"}, "ttlSecondsAfterFinished": -2}),
            "greater than or equal to -1",
        ),
    ];
    for (spec, expected) in cases {
        let task = json!({
            "apiVersion": "peon.dev/v1alpha1",
            "kind": "PeonTask",
            "metadata": {"name": "bad", "namespace": namespace},
            "spec": spec,
        });
        match fixture.kubectl.create(&task.to_string()) {
            Ok(_) => bail!("{spec} was accepted"),
            Err(error) => ensure!(format!("{error:#}").contains(expected), "{spec}: {error:#}"),
        }
    }
    Ok(())
}

fn at_once(fixture: &Fixture) -> Result<()> {
    let namespace = fixture.namespace("unfit")?;
    let context = |context: Value| json!({"task": {"type": "noop", "context": context}});
    let cases = [
        (
            "needs-overlord",
            json!({"task": {"type": "index_parallel"}}),
            "NeedsOverlord",
            "registration: External",
        ),
        (
            "small",
            json!({"task": {"type": "noop"}, "resources": {"limits": {"memory": "100Mi"}}}),
            "InvalidTask",
            "a memory limit of 100 MiB cannot hold the JVM: a heap of at least 64 MiB + direct memory 32 MiB + 128 MiB",
        ),
        (
            "small-unit",
            context(json!({"druid.peon.pod.memory": "512m"})),
            "InvalidTask",
            "write 512Mi",
        ),
        (
            "nonsense",
            context(json!({"druid.peon.pod.cpu": "many"})),
            "InvalidTask",
            "\"many\" is not a Kubernetes quantity",
        ),
        (
            "reserved",
            context(json!({"druid.indexer.fork.property.druid.host": "x"})),
            "InvalidTask",
            "druid.host",
        ),
        (
            "heap",
            json!({"task": {"type": "noop"}, "javaOpts": ["-Xmx2g"]}),
            "InvalidTask",
            "-Xmx 2048 MiB",
        ),
        (
            "large",
            json!({"task": {"type": "noop", "x": "y".repeat(103_000)}}),
            "InvalidTask",
            "at most 102400",
        ),
    ];
    for (name, spec, _, _) in &cases {
        fixture.task(&namespace, name, spec)?;
    }
    for (name, _, reason, expected) in &cases {
        let task = fixture.until_reason(&namespace, name, reason)?;
        ensure!(task["status"]["phase"] == "Failed", "{name}: {}", task["status"]);
        let message = Fixture::message(&task, "Failed", "True")?;
        ensure!(message.contains(expected), "{name}: {message}");
    }
    let left = fixture.kubectl.get_json(&["pod", "--namespace", &namespace])?;
    ensure!(left["items"] == json!([]), "pods were created: {left}");
    Ok(())
}

fn refused_pods(fixture: &Fixture) -> Result<()> {
    let namespace = fixture.namespace("forbidden")?;
    let cases = [
        ("insecure", json!({"hostNetwork": true}), "violates PodSecurity"),
        (
            "invalid",
            json!({"containers": [{"name": "peon", "ports": [{"containerPort": 70_000}]}]}),
            "spec.containers[0].ports[0].containerPort",
        ),
        (
            "unknown",
            json!({"fieldOfNoPod": true}),
            "unknown field \"spec.fieldOfNoPod\"",
        ),
    ];
    for (name, pod, _) in &cases {
        let mut template = fixture.bare_sample()?;
        template["metadata"]["name"] = json!(name);
        template["spec"]["template"]["spec"] = pod.clone();
        fixture.apply(&namespace, &template)?;
        let spec = json!({"task": {"type": "noop"}, "templateRef": {"name": name}});
        fixture.task(&namespace, name, &spec)?;
    }
    for (name, _, expected) in &cases {
        let task = fixture.until_reason(&namespace, name, "PodRefused")?;
        let message = Fixture::message(&task, "Failed", "True")?;
        ensure!(message.contains(expected), "{name}: {message}");
    }
    Ok(())
}

fn invalid_image(fixture: &Fixture) -> Result<()> {
    let namespace = fixture.namespace("bad-image")?;
    let mut template = fixture.bare_sample()?;
    template["metadata"]["name"] = json!("bad");
    template["spec"]["image"] = json!("Not/An/Image::x");
    fixture.apply(&namespace, &template)?;
    fixture.task(
        &namespace,
        "fails",
        &json!({"task": {"type": "noop"}, "templateRef": {"name": "bad"}}),
    )?;
    let task = fixture.until_reason(&namespace, "fails", "ImagePull")?;
    ensure!(task["status"]["phase"] == "Failed", "{}", task["status"]);
    let message = Fixture::message(&task, "Failed", "True")?;
    ensure!(message.contains("Not/An/Image::x"), "{message}");
    fixture
        .kubectl
        .wait_for(&["pod", "--namespace", &namespace], LIMIT, |p| {
            p["items"] == json!([])
        })
        .map(drop)
}

fn bad_template(fixture: &Fixture) -> Result<()> {
    let namespace = fixture.namespace("bad-template")?;
    let spec = json!({"task": {"type": "noop"}, "templateRef": {"name": "bad"}});
    fixture.task(&namespace, "waits", &spec)?;
    fixture.until_reason(&namespace, "waits", "NoTemplate")?;
    let mut template = fixture.bare_sample()?;
    template["metadata"]["name"] = json!("bad");
    template["spec"]["template"]["spec"]["containers"] = json!({"name": "peon"});
    fixture.apply(&namespace, &template)?;
    let task = fixture.until_reason(&namespace, "waits", "InvalidTemplate")?;
    ensure!(task["status"]["phase"] == "Pending", "{}", task["status"]);
    let message = Fixture::message(&task, "Stalled", "True")?;
    ensure!(
        message.contains("template.spec.containers is not a list"),
        "{message}"
    );
    fixture
        .kubectl
        .delete(&["peontemplate", "bad", "--namespace", &namespace])?;
    fixture.until_reason(&namespace, "waits", "NoTemplate")?;
    template["spec"]["template"]["spec"]["containers"] =
        json!([{"name": "peon", "imagePullPolicy": "IfNotPresent"}]);
    fixture.apply(&namespace, &template)?;
    fixture.until_reason(&namespace, "waits", "Succeeded").map(drop)
}

/// What a CRD of another version lets in.
fn undecodable(fixture: &Fixture) -> Result<()> {
    let namespace = fixture.namespace("undecodable")?;
    let path = "/spec/versions/0/schema/openAPIV3Schema/properties/spec";
    let set = |schema: &Value| {
        let change = json!([{"op": "replace", "path": path, "value": schema}]).to_string();
        fixture.kubectl.run(&[
            "patch",
            "crd",
            "peontasks.peon.dev",
            "--type=json",
            "--patch",
            &change,
        ])
    };
    let crd = fixture.kubectl.get_json(&["crd", "peontasks.peon.dev"])?;
    let schema = crd.pointer(path).cloned().unwrap_or_default();
    let mut lax = schema.clone();
    lax["x-kubernetes-validations"] = json!([]);
    lax["properties"]["registration"] = json!({"x-kubernetes-preserve-unknown-fields": true});
    set(&lax)?;
    let outcome = (|| {
        let spec = json!({"task": {"type": "noop"}, "registration": {"by": "nobody"}});
        // The API server takes a moment to serve the changed schema.
        crate::testbed::wait::wait_until(LIMIT, "the changed schema", || {
            Ok(fixture.task(&namespace, "bad", &spec).ok())
        })?;
        fixture.apply(&namespace, &samples::noop("good")?)?;
        fixture.until_reason(&namespace, "good", "Succeeded")?;
        let task = fixture.until_reason(&namespace, "bad", "InvalidTask")?;
        let message = Fixture::message(&task, "Stalled", "True")?;
        ensure!(message.contains("cannot decode"), "{message}");
        fixture
            .kubectl
            .delete(&["peontask", "bad", "--namespace", &namespace])
    })();
    set(&schema)?;
    outcome
}
