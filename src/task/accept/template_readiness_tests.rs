#![allow(clippy::needless_pass_by_value)] // `json!` is handed over as it is written.

use std::sync::Arc;

use serde_json::{Value, json};

use super::*;
use crate::task::accept::accept;
use crate::task::fixtures::{noop, snapshot, template};
use crate::task::snapshot::Template;

use TemplateReadiness::{InvalidSizing, InvalidTemplate};

fn properties(text: &str) -> RuntimeProperties {
    RuntimeProperties::parse(text).unwrap()
}

/// The reason and message of a template, and of a task that uses it.
fn both(
    spec: Value,
    operator: &RuntimeProperties,
    archives_logs: bool,
) -> (Result<(), Unusable>, Option<Refused>) {
    let template = template(spec);
    let checked = check(&template, operator, archives_logs);
    let mut snapshot = snapshot(noop());
    snapshot.template = Template::Found(Arc::new(template));
    snapshot.operator = Arc::new(operator.clone());
    snapshot.keeps_logs = archives_logs;
    (checked, accept(&snapshot).err())
}

#[test]
#[allow(clippy::too_many_lines)] // One table.
fn every_way_to_be_wrong_is_reported_as_a_task_reports_it() {
    let memory = |memory: &str| json!({"limits": {"memory": memory}});
    let none = "";
    for (spec, operator, reason, said) in [
        // The pod template.
        (
            json!({"template": {"spec": []}}),
            none,
            InvalidTemplate,
            "template.spec is not an object",
        ),
        (
            json!({"template": {"metadata": {"labels": {"team": "a b"}}}}),
            none,
            InvalidTemplate,
            "template.metadata.labels.team",
        ),
        (
            json!({"template": {"spec": {"containers": [{"name": "peon", "volumeMount": []}]}}}),
            none,
            InvalidTemplate,
            "template.spec.containers[0].volumeMount is not a field of a pod: volumeMounts is",
        ),
        // Memory and cpu, wherever they are from.
        (
            json!({"resources": memory("2GB")}),
            none,
            InvalidTemplate,
            "memory: ",
        ),
        (
            json!({"resources": {"limits": {"cpu": "0"}}}),
            none,
            InvalidTemplate,
            "cpu is 0, it must be above zero",
        ),
        (
            json!({"resources": {"limits": {"memory": "1Gi"}, "requests": {"memory": "2Gi"}}}),
            none,
            InvalidTemplate,
            "the memory request 2Gi is above its limit 1Gi (to be changed in the PeonTemplate); PeonTemplate default",
        ),
        (
            json!({"template": {"spec": {"containers": [{"name": "peon", "resources": memory("much")}]}}}),
            none,
            InvalidTemplate,
            "memory: ",
        ),
        // The memory ladder.
        (
            json!({"retry": {"memory": {"max": "much"}}}),
            none,
            InvalidTemplate,
            "retry.memory.max: ",
        ),
        (
            json!({"overrides": {"maxMemory": "much"}}),
            none,
            InvalidTemplate,
            "overrides.maxMemory: ",
        ),
        // Properties that the operator sets, in every notation.
        (
            json!({"properties": {"druid.plaintextPort": "8200"}}),
            none,
            InvalidTemplate,
            "druid.plaintextPort is set by the operator",
        ),
        (
            json!({"javaOpts": ["-Ddruid.host=here"]}),
            none,
            InvalidTemplate,
            "druid.host is set by the operator",
        ),
        (
            json!({"propertiesFrom": [{"configMapRef": {"name": "c"}}], "properties": {"druid.properties.file": "/x"}}),
            none,
            InvalidTemplate,
            "druid.properties.file is set by the operator",
        ),
        (
            json!({}),
            "druid.indexer.fork.property.druid.plaintextPort=8200",
            InvalidTemplate,
            "(to be changed in the operator's runtime properties); PeonTemplate default",
        ),
        // Ports and the host.
        (
            json!({"properties": {"druid.enablePlaintextPort": "false"}}),
            none,
            InvalidTemplate,
            "the peon has no port",
        ),
        (
            json!({"properties": {"druid.enableTlsPort": "true"}}),
            none,
            InvalidTemplate,
            "druid.server.https.keyStorePath is not set",
        ),
        (
            json!({"host": "peon.example.com"}),
            none,
            InvalidTemplate,
            "every peon has its own address",
        ),
        // Time-outs.
        (
            json!({"properties": {"druid.indexer.task.gracefulShutdownTimeout": "300"}}),
            none,
            InvalidTemplate,
            "it must be a period such as PT5M",
        ),
        // Sizes that cannot be read, and one that no JVM starts with.
        (
            json!({"javaOpts": ["-Xmx1x"]}),
            none,
            InvalidTemplate,
            "-Xmx1x is not a JVM memory size",
        ),
        (
            json!({"properties": {"druid.processing.numThreads": "two"}}),
            none,
            InvalidTemplate,
            "druid.processing.numThreads is \"two\"",
        ),
        (
            json!({"javaOpts": ["-Xmx256m", "-Xms512m"]}),
            none,
            InvalidTemplate,
            "-Xms 512 MiB is above the heap",
        ),
        // Sizes that do not fit.
        (
            json!({"javaOpts": ["-Xmx4g"]}),
            none,
            InvalidSizing,
            "cannot hold the JVM",
        ),
        (
            json!({"resources": memory("100Mi")}),
            none,
            InvalidSizing,
            "the limit 100Mi comes from the PeonTemplate (to be changed in the PeonTemplate); PeonTemplate default",
        ),
        (
            json!({"properties": {"druid.processing.buffer.sizeBytes": "500MiB"}, "javaOpts": ["-XX:MaxDirectMemorySize=512m"]}),
            none,
            InvalidSizing,
            "of direct memory",
        ),
        (
            json!({}),
            "druid.indexer.default.pod.memory=100Mi",
            InvalidSizing,
            "the operator's runtime properties",
        ),
    ] {
        let (checked, of_task) = both(spec.clone(), &properties(operator), false);
        let unusable = checked.unwrap_err();
        assert_eq!(unusable.reason, reason, "{spec}: {}", unusable.message);
        assert!(unusable.message.contains(said), "{spec}: {}", unusable.message);
        let of_task = of_task.unwrap();
        assert_eq!(of_task.reason, Acceptance::InvalidTemplate, "{spec}");
        assert_eq!(of_task.message, unusable.message, "{spec}");
    }
}

#[test]
fn a_template_that_tasks_can_use_is_valid() {
    for spec in [
        json!({}),
        json!({"sizing": {"enforce": false}, "javaOpts": ["-Xmx4g"]}),
        json!({"sizing": {"ingestionMemory": "Bytes"}, "maxRunning": 1, "match": {"types": ["noop"]}}),
        json!({"overrides": {"maxMemory": "1Gi", "maxCpu": "500m"}, "resources": {"limits": {"memory": "4Gi"}}}),
        json!({"propertiesFrom": [{"secretRef": {"name": "absent"}}], "logs": {"collect": "Sidecar"}}),
    ] {
        let checked = both(spec.clone(), &RuntimeProperties::default(), false);
        assert_eq!(checked, (Ok(()), None), "{spec}");
    }
}

#[test]
fn a_limit_that_only_some_tasks_would_meet_is_checked() {
    let (checked, of_task) = both(
        json!({"overrides": {"maxCpu": "many"}}),
        &RuntimeProperties::default(),
        false,
    );
    let unusable = checked.unwrap_err();
    assert_eq!(unusable.reason, InvalidTemplate);
    assert!(
        unusable
            .message
            .starts_with("the PeonTemplate default cannot be used: overrides.maxCpu: "),
        "{}",
        unusable.message
    );
    assert_eq!(of_task, None, "this task asks for no cpu");
}

#[test]
fn a_sidecar_needs_its_image_where_logs_are_archived() {
    let sidecar = || json!({"logs": {"collect": "Sidecar"}});
    let (checked, of_task) = both(sidecar(), &RuntimeProperties::default(), true);
    let unusable = checked.unwrap_err();
    assert_eq!(unusable.reason, InvalidTemplate);
    assert_eq!(of_task.unwrap().message, unusable.message);
    let operator = RuntimeProperties {
        sidecar_image: Some("operator:1".into()),
        ..RuntimeProperties::default()
    };
    assert_eq!(both(sidecar(), &operator, true), (Ok(()), None));
}

#[test]
fn one_that_cannot_be_decoded_says_what_its_tasks_say() {
    let mut snapshot = snapshot(noop());
    snapshot.template = Template::Undecodable {
        name: "default".into(),
        error: "invalid type, expected u32".into(),
    };
    let unusable = Unusable::undecodable("default", "invalid type, expected u32");
    assert_eq!(unusable.reason, InvalidTemplate);
    assert_eq!(accept(&snapshot).unwrap_err().message, unusable.message);
}

/// Users begin with these.
#[test]
fn the_templates_in_config_can_be_used_as_they_are() {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("config/samples");
    let mut names = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let text = std::fs::read_to_string(entry.unwrap().path()).unwrap();
        let object: Value = serde_yaml::from_str(&text).unwrap();
        if object["kind"] != "PeonTemplate" {
            continue;
        }
        let template: PeonTemplate = serde_json::from_value(object).unwrap();
        assert_eq!(check(&template, &RuntimeProperties::default(), true), Ok(()));
        let without_effect = crate::task::accept::without_effect::of_template(&template.spec);
        assert_eq!(without_effect, [""; 0], "{}", template.name_any());
        names.push(template.name_any());
    }
    assert!(names.len() > 2, "{names:?}");
}
