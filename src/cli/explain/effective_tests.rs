#![allow(clippy::needless_pass_by_value)] // `json!` is handed over as it is written.

use super::*;
use crate::cli::explain::findings::{KnownPools, choose, judge, payload};
use crate::cli::tasks::tests::{at, task};
use serde_json::json;

fn of(spec: Value, template: Value) -> Vec<Row> {
    let task = task("a", spec, Value::Null);
    let template = json!({
        "apiVersion": "peon.dev/v1alpha1", "kind": "PeonTemplate", "metadata": {"name": "default"}, "spec": template,
    });
    let payload = payload(&task, Err(String::new()));
    let choice = choose(
        &task,
        payload.as_deref().ok(),
        &[serde_json::from_value(template).unwrap()],
    );
    let operator = RuntimeProperties::default();
    let judged = judge(&task, &choice, &operator, payload, &KnownPools::default(), at(0));
    assert_eq!(judged.refused, None);
    rows(&task, &choice, &operator, judged.settings.as_ref())
}

fn find<'a>(rows: &'a [Row], setting: &str) -> (&'a str, &'a str) {
    let row = rows.iter().find(|r| r.setting == setting);
    row.map(|r| (r.value.as_str(), r.source.as_str())).unwrap()
}

#[test]
fn every_value_has_its_source() {
    let rows = of(
        json!({
            "task": {"type": "noop", "context": {"druid.peon.pod.cpu": 2}}, "javaOpts": ["-Xmx600m"],
            "ttlSecondsAfterFinished": 60, "retry": {"limits": {"TaskFailed": 1}},
        }),
        json!({
            "image": "druid:1", "resources": {"limits": {"memory": "2Gi"}, "requests": {"memory": "1Gi"}},
            "startDeadlineSeconds": 900, "maxRunning": 3, "retry": {"rerun": "Always", "memory": {"factorPercent": 200}},
            "propertiesFrom": [{"secretRef": {"name": "store"}}],
        }),
    );
    for (setting, value, source) in [
        ("template", "default", "the default: nothing else matches"),
        ("image", "druid:1", "the PeonTemplate"),
        ("memory", "2Gi", "the PeonTemplate"),
        ("memory request", "1Gi", "the PeonTemplate"),
        ("cpu", "2", "the task's context"),
        ("heap", "600 MiB", "the PeonTask's spec"),
        ("direct memory", "256 MiB", "computed from memory"),
        ("processors", "2", "computed from cpu"),
        ("startDeadlineSeconds", "900", "the PeonTemplate"),
        ("activeDeadlineSeconds", "none", "the built-in default"),
        ("ttlSecondsAfterFinished", "60", "the PeonTask's spec"),
        ("retry.rerun", "Always", "the PeonTemplate"),
        ("retry.memory.factorPercent", "200 %", "the PeonTemplate"),
        ("retry.limits.TaskFailed", "1", "the PeonTask's spec"),
        ("maxRunning", "3", "the PeonTemplate"),
        ("more properties", "Secret store (not shown)", "the PeonTemplate"),
        ("java option", "-Xmx600m", "the PeonTask's spec"),
    ] {
        assert_eq!(find(&rows, setting), (value, source), "{setting}");
    }
}

#[test]
fn secrets_are_not_shown() {
    for option in [
        "-Ddruid.metadata.storage.connector.password=hunter2",
        "-Ddruid.s3.secretKey=hunter2",
        "-Ddruid.s3.accessKey=hunter2",
        "-Ddruid.x={\"type\":\"default\",\"password\":\"hunter2\"}",
        "-Dhttp.proxy=http://me:hunter2@proxy/",
        "-Dmy.API_TOKEN=hunter2",
    ] {
        let shown = redacted(option);
        assert!(
            !shown.contains("hunter2") && shown.ends_with("=(not shown)"),
            "{shown}"
        );
    }
    for option in [
        "-Xmx600m",
        "-Ddruid.zk.service.host=zookeeper:2181",
        "-Dx=http://host/a@b",
    ] {
        assert_eq!(redacted(option), option);
    }
    let rows = of(
        json!({"task": {"type": "noop", "context": {"druid.indexer.fork.property.druid.s3.secretKey": "hunter2"}}}),
        json!({"properties": {"druid.metadata.storage.connector.password": "hunter2"}}),
    );
    assert!(!serde_json::to_string(&rows).unwrap().contains("hunter2"));
}

#[test]
fn variables_that_only_the_pod_knows_are_named() {
    let env = json!([{"name": "druid_x", "valueFrom": {"secretKeyRef": {"name": "s", "key": "k"}}}]);
    let template = json!({"template": {"spec": {"containers": [{"name": "peon", "env": env}]}}});
    let rows = of(json!({"task": {"type": "noop"}}), template);
    let (value, source) = find(&rows, "more properties");
    assert!(value.starts_with("druid_* variables"), "{value}");
    assert_eq!(source, "the PeonTemplate");
}
