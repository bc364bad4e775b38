//! What settings make of a pod, and what of the template's stays.

#![allow(clippy::needless_pass_by_value)] // `json!` is handed over as it is written.

use super::tests::{arguments_of, named, objects_of, peon, pod_of};
use super::*;
use crate::task::accept::accept;
use crate::task::fixtures::{snapshot, task, template};
use crate::task::run::pod::entrypoint;
use crate::task::run::pod::java_container::SCRATCH_VOLUME;
use crate::task::snapshot::Template;
use std::sync::Arc;

#[test]
fn properties_from_elsewhere_are_in_a_file_that_every_option_overrides() {
    let spec = json!({"propertiesFrom": [{"configMapRef": {"name": "common"}}, {"secretRef": {"name": "metadata"}}]});
    let (config_map, pod) = objects_of(json!({"type": "noop"}), spec.clone());
    let command = peon(&pod)["command"][2].as_str().unwrap();
    assert!(
        command.starts_with(PREPARE) && command.ends_with(entrypoint::EXEC),
        "{command}"
    );
    assert!(
        command.contains("write_sources /etc/peon-properties"),
        "{command}"
    );
    let secret = named(&pod["spec"]["volumes"], "peon-properties-01");
    assert_eq!(secret["secret"]["secretName"], "metadata");
    assert_eq!(
        named(&peon(&pod)["volumeMounts"], "peon-properties-01")["readOnly"],
        true
    );
    assert!(
        !config_map
            .data
            .unwrap()
            .values()
            .any(|text| text.contains("metadata"))
    );
    let arguments = arguments_of(spec);
    for expected in [
        "-Ddruid.properties.file=/peon-properties/runtime.properties",
        "-Ddruid.startup.logging.logProperties=false",
    ] {
        assert!(
            arguments.contains(&expected.to_owned()),
            "{expected} in {arguments:?}"
        );
    }
    let mut snapshot = snapshot(task(json!({"task": {"type": "noop"}})));
    snapshot.template = Template::Found(Arc::new(template(json!({
        "propertiesFrom": [{"secretRef": {"name": "metadata"}}],
        "properties": {"druid.startup.logging.logProperties": "true"},
    }))));
    let refused = accept(&snapshot).unwrap_err();
    assert!(
        refused
            .message
            .contains("logProperties is set by the operator to false"),
        "{}",
        refused.message
    );
}

#[test]
fn a_peon_has_time_to_stop_unless_the_template_says_how_much() {
    let grace = |pod: &Value| pod["spec"]["terminationGracePeriodSeconds"].clone();
    assert_eq!(grace(&pod_of(json!({}))), 45);
    assert_eq!(
        grace(&pod_of(json!({"spec": {"terminationGracePeriodSeconds": 5}}))),
        5
    );
    let properties = json!({"properties": {"druid.indexer.task.gracefulShutdownTimeout": "PT2M"}});
    assert_eq!(grace(&objects_of(json!({"type": "noop"}), properties).1), 135);
}

#[test]
fn the_active_deadline_is_the_tasks_else_the_templates() {
    let deadline = |task_spec: Value, template_spec: Value| {
        let mut spec = task_spec;
        spec["task"] = json!({"type": "noop"});
        let mut snapshot = snapshot(task(spec));
        snapshot.template = Template::Found(Arc::new(template(template_spec)));
        let accepted = accept(&snapshot).unwrap();
        let names = accepted.names();
        accepted.attempt(1, &names).pod()["spec"]["activeDeadlineSeconds"].clone()
    };
    let in_pod = || json!({"template": {"spec": {"activeDeadlineSeconds": 30}}});
    let mut both = in_pod();
    both["activeDeadlineSeconds"] = json!(20);
    assert_eq!(deadline(json!({"activeDeadlineSeconds": 10}), both.clone()), 10);
    assert_eq!(deadline(json!({}), both), 20);
    assert_eq!(deadline(json!({}), in_pod()), 30);
    assert_eq!(deadline(json!({}), json!({})), Value::Null);
}

/// A native sidecar is an init container that is restarted; the peon's own policy is what the operator says.
#[test]
fn init_containers_are_as_the_template_has_them() {
    let init = json!([
        {"name": "shipper", "image": "s", "restartPolicy": "Always", "env": [{"name": "A", "value": "1"}],
         "volumeMounts": [{"name": SCRATCH_VOLUME, "mountPath": "/peon"}]},
        {"name": "fetch", "image": "f"},
    ]);
    let pod = pod_of(json!({"spec": {"initContainers": init, "containers": [{"name": "peon"}]}}));
    assert_eq!(pod["spec"]["initContainers"], init);
    assert_eq!(pod["spec"]["restartPolicy"], "Never");
}

#[test]
fn a_mount_with_a_slash_at_its_end_is_the_same_mount() {
    let mounts = json!([{"name": "mine", "mountPath": "/etc/peon/"}]);
    let pod = pod_of(json!({"spec": {"containers": [{"name": "peon", "volumeMounts": mounts}]}}));
    assert_eq!(peon(&pod)["volumeMounts"].as_array().unwrap().len(), 2);
}

/// Some clusters choose users and groups, and a null in a template does not survive every way of applying it.
#[test]
fn a_template_leaves_fields_of_the_security_contexts_to_the_cluster() {
    let security = |omitted: Value| {
        let (_, pod) = objects_of(
            json!({"type": "noop"}),
            json!({ "omitSecurityDefaults": omitted }),
        );
        let container = peon(&pod)["securityContext"].clone();
        (pod["spec"]["securityContext"].clone(), container)
    };
    let (pod, container) = security(json!(["runAsUser", "runAsGroup", "fsGroup"]));
    assert_eq!(
        pod,
        json!({"runAsNonRoot": true, "seccompProfile": {"type": "RuntimeDefault"}})
    );
    assert_eq!(container["allowPrivilegeEscalation"], false);
    let all: Vec<_> = crate::api::SecurityDefault::ALL
        .iter()
        .map(|d| d.as_str())
        .collect();
    assert_eq!(security(json!(all)), (json!({}), json!({})));
    let given = json!({
        "omitSecurityDefaults": ["runAsUser"],
        "template": {"spec": {"securityContext": {"runAsUser": 7}}},
    });
    let (_, pod) = objects_of(json!({"type": "noop"}), given);
    assert_eq!(pod["spec"]["securityContext"]["runAsUser"], 7);
}

/// The input of a cluster whose processes speak TLS only.
fn tls_only() -> Value {
    json!({
        "druid.enablePlaintextPort": "false",
        "druid.enableTlsPort": "true",
        "druid.tlsPort": "8101",
        "druid.server.https.keyStorePath": "/tls/keystore.p12",
    })
}

#[test]
fn a_peon_is_announced_where_it_listens() {
    let endpoint = |pod: &Value| pod["metadata"]["annotations"].get(ANNOTATION_ENDPOINT).cloned();
    let foreign = json!({"metadata": {"annotations": {ANNOTATION_ENDPOINT: "{}"}}});
    assert_eq!(endpoint(&pod_of(foreign)), None);
    let spec = json!({"properties": tls_only(), "host": "{dashedAddress}.{namespace}.pod.cluster.local"});
    let (_, pod) = objects_of(json!({"type": "noop"}), spec.clone());
    let text = r#"{"host":"{dashedAddress}.ns.pod.cluster.local","tlsPort":8101}"#;
    assert_eq!(endpoint(&pod), Some(json!(text)));
    let script = peon(&pod)["command"][2].as_str().unwrap();
    assert!(
        script.contains("sed 's/[.:]/-/g').ns.pod.cluster.local\"\n"),
        "{script}"
    );
    assert!(arguments_of(spec).contains(&"-Ddruid.tlsPort=8101".to_owned()));
    let mut without_port = tls_only();
    without_port.as_object_mut().unwrap().remove("druid.tlsPort");
    let arguments = arguments_of(json!({ "properties": without_port }));
    assert!(arguments.contains(&"-Ddruid.tlsPort=8300".to_owned()));
}
