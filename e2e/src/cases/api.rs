//! What the API server itself does for a PeonTask.

use std::thread;

use anyhow::{Context, Result, bail, ensure};
use serde_json::{Value, json};

use super::{Case, case};
use crate::testbed::{druid::samples, fixture::Fixture};

pub(super) const CASES: [Case; 5] = [
    case("api::every_field_is_explained", explained),
    case("api::specs_are_immutable", immutable),
    case("api::a_verdict_is_frozen", frozen),
    case("api::tasks_are_listed_and_selected", listed),
    case(
        "api::workers_without_zookeeper_need_credentials_or_the_word_that_they_have_none",
        workers_on_pods,
    ),
];

fn explained(fixture: &Fixture) -> Result<()> {
    for field in [
        "peontask.spec.task",
        "pt.spec.resources",
        "pt.spec.javaOpts",
        "pt.spec.templateRef.name",
        "pt.spec.registration",
        "pt.status.conditions",
        "pt.status.taskId",
        "ptpl.spec.image",
        "ptpl.spec.properties",
        "ptpl.spec.template.spec",
    ] {
        let said = fixture.kubectl.run(&["explain", field])?;
        ensure!(!said.contains("<empty>"), "{field}: {said}");
    }
    let said = fixture.kubectl.run(&["explain", "peontask.spec.resources"])?;
    let said = said.split_whitespace().collect::<Vec<_>>().join(" ");
    ensure!(
        said.contains("Default:") && said.contains("Example:") && said.contains("in bytes"),
        "{said}"
    );
    Ok(())
}

fn patch(fixture: &Fixture, namespace: &str, name: &str, more: &[&str], body: &Value) -> Result<String> {
    let body = body.to_string();
    let mut args = vec![
        "patch",
        "peontask",
        name,
        "--namespace",
        namespace,
        "--type=merge",
        "--patch",
        &body,
    ];
    args.extend(more);
    fixture.kubectl.run(&args)
}

fn immutable(fixture: &Fixture) -> Result<()> {
    let namespace = fixture.namespace("immutable")?;
    fixture.task(
        &namespace,
        "x",
        &json!({"task": {"type": "noop", "deep": {"list": [1, 2]}}, "resources": {"limits": {"cpu": 1, "memory": 536_870_912}}}),
    )?;
    // Quantities may be numbers, as in a pod.
    fixture.until(&namespace, "x", |s| s["cpu"] == "1" && s["memory"] == "536870912")?;
    for change in [
        json!({"task": {"type": "kill"}}),
        json!({"task": {"deep": {"list": [1, 3]}}}),
        json!({"templateRef": {"name": "other"}}),
        json!({"resources": {"limits": {"cpu": "2"}}}),
        json!({"javaOpts": ["-Xmx1g"]}),
        json!({"registration": "External"}),
        json!({"retry": {"rerun": "Never"}}),
        json!({"resources": null}),
    ] {
        match patch(fixture, &namespace, "x", &[], &json!({ "spec": change })) {
            Ok(_) => bail!("{change} was accepted"),
            Err(error) => ensure!(format!("{error:#}").contains("immutable"), "{change}: {error:#}"),
        }
    }
    // As many fields as before, of which one is null.
    let exchange =
        r#"[{"op":"remove","path":"/spec/resources"},{"op":"add","path":"/spec/templateRef","value":null}]"#;
    let args = [
        "patch",
        "pt",
        "x",
        "--namespace",
        &namespace,
        "--type=json",
        "--patch",
        exchange,
    ];
    match fixture.kubectl.run(&args) {
        Ok(_) => bail!("{exchange} was accepted"),
        Err(error) => ensure!(format!("{error:#}").contains("immutable"), "{error:#}"),
    }
    patch(
        fixture,
        &namespace,
        "x",
        &[],
        &json!({"metadata": {"labels": {"a": "b"}}}),
    )
    .map(drop)
}

fn frozen(fixture: &Fixture) -> Result<()> {
    let namespace = fixture.namespace("frozen")?;
    fixture.task(&namespace, "x", &json!({"task": {"type": "index"}}))?;
    let task = fixture.until_reason(&namespace, "x", "NeedsOverlord")?;
    let mut conditions = task["status"]["conditions"]
        .as_array()
        .cloned()
        .context("no conditions")?;
    let failed = conditions
        .iter()
        .position(|c| c["type"] == "Failed")
        .context("not failed")?;
    let complete = json!({
        "type": "Complete", "status": "True", "reason": "Succeeded", "message": "", "lastTransitionTime": "2026-01-01T00:00:00Z",
    });
    let refuses = |conditions: &Value, expected: &str| {
        let body = json!({"status": {"conditions": conditions}});
        match patch(fixture, &namespace, "x", &["--subresource=status"], &body) {
            Ok(_) => bail!("{conditions} was accepted"),
            Err(error) => {
                ensure!(format!("{error:#}").contains(expected), "{conditions}: {error:#}");
                Ok(())
            }
        }
    };
    let mut both = conditions.clone();
    both.push(complete.clone());
    refuses(&json!(both), "exclude each other")?;
    refuses(&json!([complete]), "cannot be changed")?;
    refuses(&json!([]), "cannot be changed")?;
    refuses(&Value::Null, "cannot be changed")?;
    for status in [Value::Null, json!({"phase": "Pending"})] {
        let operation = json!([{"op": "replace", "path": "/status", "value": status}]).to_string();
        let args = [
            "patch",
            "pt",
            "x",
            "--namespace",
            &namespace,
            "--subresource=status",
            "--type=json",
        ];
        match fixture
            .kubectl
            .run(&[&args[..], &["--patch", &operation]].concat())
        {
            Ok(_) => bail!("{operation} was accepted"),
            Err(error) => ensure!(format!("{error:#}").contains("cannot be changed"), "{error:#}"),
        }
    }
    conditions[failed]["reason"] = json!("OOMKilled");
    refuses(&json!(conditions), "cannot be changed")
}

fn listed(fixture: &Fixture) -> Result<()> {
    let namespace = fixture.namespace("listed")?;
    thread::scope(|scope| {
        let noop = scope.spawn(|| {
            fixture.apply(&namespace, &samples::noop("one")?)?;
            fixture.until_reason(&namespace, "one", "Succeeded")
        });
        fixture.task(
            &namespace,
            "two",
            &json!({"task": {"type": "index", "dataSource": "wikipedia"}}),
        )?;
        fixture.until_reason(&namespace, "two", "NeedsOverlord")?;
        noop.join().unwrap_or_else(|_| bail!("panicked"))
    })?;
    let list = |more: &[&str]| {
        let args = [&["get", "pt", "--no-headers", "--namespace", &namespace], more].concat();
        fixture.kubectl.run(&args)
    };
    for selector in [
        "status.dataSource=wikipedia",
        "status.phase=Failed",
        "status.taskType=index",
        "status.taskId=two",
    ] {
        let listed = list(&["--field-selector", selector])?;
        ensure!(
            listed.lines().count() == 1 && listed.starts_with("two"),
            "{selector}: {listed}"
        );
    }
    let line = list(&["--field-selector", "status.taskId=one"])?;
    let columns: Vec<&str> = line.split_whitespace().collect();
    ensure!(
        columns[..6] == ["one", "noop", "Succeeded", "Succeeded", "1", "512Mi"],
        "{line}"
    );
    Ok(())
}

/// The page on Druid clusters without `ZooKeeper`.
const DISCOVERY_PAGE: &str = include_str!("../../../docs/kubernetes-discovery.md");

/// The least that a user without `ZooKeeper` would write is refused with what is missing; either answer to that is accepted,
/// as is the example of the page.
fn workers_on_pods(fixture: &Fixture) -> Result<()> {
    let namespace = fixture.namespace("on-pods")?;
    let applied = |object: &Value| {
        let args = [
            "apply",
            "--server-side",
            "--dry-run=server",
            "--namespace",
            &namespace,
            "-f",
            "-",
        ];
        fixture.kubectl.run_with_input(&args, &object.to_string())
    };
    let least = json!({
        "apiVersion": "peon.dev/v1alpha1", "kind": "VirtualMiddleManager", "metadata": {"name": "ingestion"},
        "spec": {
            "discovery": {"kubernetes": {"clusterIdentifier": "analytics"}},
            "overlord": {"url": "http://overlord:8090"},
        },
    });
    let refused = applied(&least)
        .err()
        .context("workers that anybody may call were accepted")?;
    let said = format!("{refused:#}");
    for advice in [
        "set authRef to a Secret with the username and password of Druid's escalator",
        "or allowAnonymous: true where a NetworkPolicy admits only the overlord",
    ] {
        ensure!(said.contains(advice), "{said}");
    }
    for (field, value) in [
        ("authRef", json!({"name": "druid-escalator"})),
        ("allowAnonymous", json!(true)),
    ] {
        let mut answered = least.clone();
        answered["spec"][field] = value;
        applied(&answered).context(field)?;
    }
    let example = DISCOVERY_PAGE
        .split("```yaml\n")
        .nth(1)
        .and_then(|rest| rest.split("```").next())
        .context("the page has no example")?;
    applied(&serde_yaml::from_str(example).context("the example is not YAML")?).map(drop)
}
