#![allow(clippy::needless_pass_by_value)] // `json!` is handed over as it is written.

use std::sync::Arc;

use k8s_openapi::api::core::v1::ConfigMap;

use super::*;
use crate::logs::format::sidecar_config;
use crate::task::accept::accept;
use crate::task::fixtures::{POD, TASK_UID, snapshot, task, template};
use crate::task::snapshot::Template;

const ID: &str = "$(PEON_POD_IP) \"ü\"";

fn plan() -> LogPlan {
    let sources =
        json!([{"configMapRef": {"name": "location", "optional": true}}, {"secretRef": {"name": "keys"}}]);
    LogPlan::Sidecar(SidecarPlan {
        image: "registry/operator:1".into(),
        compose: true,
        flush_seconds: 5,
        max_bytes: 1000,
        properties: BTreeMap::from([("druid.indexer.logs.type".to_owned(), "s3".to_owned())]),
        properties_from: serde_json::from_value(sources).unwrap(),
    })
}

fn objects(logs: Option<&LogPlan>, pod_template: Value) -> (ConfigMap, Value) {
    let mut snapshot = snapshot(task(json!({"task": {"type": "noop", "id": ID}})));
    snapshot.template = Template::Found(Arc::new(template(json!({ "template": pod_template }))));
    let accepted = accept(&snapshot).unwrap();
    let names = accepted.names();
    let mut attempt = accepted.attempt(1, &names);
    attempt.logs = logs;
    (attempt.config_map(), attempt.pod())
}

fn named<'a>(list: &'a Value, name: &str) -> &'a Value {
    let mut found = list.as_array().unwrap().iter().filter(|i| i["name"] == name);
    let item = found.next().unwrap();
    assert_eq!(found.next(), None, "{name} is there twice");
    item
}

fn peon(pod: &Value) -> &Value {
    named(&pod["spec"]["containers"], "peon")
}

fn sidecar(pod: &Value) -> &Value {
    named(&pod["spec"]["initContainers"], CONTAINER)
}

/// A follower changes nothing but the script.
#[test]
fn a_follower_needs_the_script_alone() {
    let (config_map, mut pod) = objects(Some(&LogPlan::Follower), json!({}));
    let (plain_config_map, plain) = objects(None, json!({}));
    assert_eq!(config_map, plain_config_map);
    let command = &mut pod["spec"]["containers"][0]["command"][2];
    let script = command.as_str().unwrap().to_owned();
    assert!(
        script.contains("print_report") && !script.contains("exec java"),
        "{script}"
    );
    *command = plain["spec"]["containers"][0]["command"][2].clone();
    assert_eq!(pod, plain);
}

#[test]
fn a_sidecar_is_an_init_container_that_is_restarted() {
    let (_, pod) = objects(Some(&plan()), json!({}));
    let amount = json!({"cpu": "100m", "memory": "64Mi"});
    assert_eq!(
        pod["spec"]["initContainers"],
        json!([{
            "name": "peon-log", "image": "registry/operator:1", "args": ["log-sidecar"], "restartPolicy": "Always",
            "terminationMessagePath": "/dev/termination-log", "terminationMessagePolicy": "File",
            "resources": {"requests": amount, "limits": amount},
            "securityContext": {
                "allowPrivilegeEscalation": false, "readOnlyRootFilesystem": true, "capabilities": {"drop": ["ALL"]},
                "seccompProfile": {"type": "RuntimeDefault"},
            },
            "volumeMounts": [
                {"name": "peon-log", "mountPath": "/peon-log"},
                {"name": "peon-scratch", "mountPath": "/peon", "readOnly": true},
                {"name": "peon-log-config", "mountPath": "/etc/peon-log", "readOnly": true},
                {"name": "peon-log-properties-00", "mountPath": "/etc/peon-log-properties/00", "readOnly": true},
                {"name": "peon-log-properties-01", "mountPath": "/etc/peon-log-properties/01", "readOnly": true},
            ],
        }])
    );
    let spec = &pod["spec"];
    assert_eq!(spec["restartPolicy"], "Never");
    assert_eq!(spec["automountServiceAccountToken"], false);
    assert_eq!(spec["securityContext"]["runAsNonRoot"], true);
    assert_eq!(spec["terminationGracePeriodSeconds"], 45 + 30);
    assert_eq!(named(&spec["volumes"], "peon-log")["emptyDir"], json!({}));
    assert_eq!(
        named(&spec["volumes"], "peon-log-config")["configMap"],
        json!({"name": POD, "items": [{"key": "log.json", "path": "log.json"}], "defaultMode": 292})
    );
    assert_eq!(
        named(&spec["volumes"], "peon-log-properties-00")["configMap"],
        json!({"name": "location", "optional": true, "defaultMode": 292})
    );
    assert_eq!(
        named(&spec["volumes"], "peon-log-properties-01")["secret"]["secretName"],
        "keys"
    );
}

/// The peon shares the volume of the log, and sees nothing of the location or its keys.
#[test]
fn the_peon_has_the_log_and_no_keys() {
    let (_, pod) = objects(Some(&plan()), json!({}));
    let mounts = &peon(&pod)["volumeMounts"];
    assert_eq!(
        named(mounts, "peon-log"),
        &json!({"name": "peon-log", "mountPath": "/peon-log"})
    );
    assert!(!mounts.to_string().contains("peon-log-"), "{mounts}");
    let script = peon(&pod)["command"][2].as_str().unwrap();
    assert!(
        script.contains(sidecar_config::SHARED_DIR) && !script.contains("print_report"),
        "{script}"
    );
}

#[test]
fn the_task_id_is_in_the_sidecars_file_and_not_in_the_pod() {
    let (config_map, mut pod) = objects(Some(&plan()), json!({}));
    let file: SidecarConfig = serde_json::from_str(&config_map.data.unwrap()["log.json"]).unwrap();
    assert_eq!(
        (file.task_id.as_str(), file.task_uid.as_str(), file.attempt),
        (ID, TASK_UID, 1)
    );
    assert!(file.compose);
    assert_eq!((file.flush_seconds, file.max_bytes), (5, 1000));
    assert_eq!(file.properties["druid.indexer.logs.type"], "s3");
    pod["metadata"]["annotations"] = Value::Null;
    assert!(!pod.to_string().contains("PEON_POD_IP) "), "{pod}");
    let (config_map, _) = objects(None, json!({}));
    assert!(!config_map.data.unwrap().contains_key("log.json"));
}

/// Other init containers stay as they are and where they are; one of the sidecar's name gives what it does not set.
#[test]
fn the_template_is_merged_in() {
    let others =
        json!([{"name": "mesh", "image": "m", "restartPolicy": "Always"}, {"name": "fetch", "image": "f"}]);
    let (_, pod) = objects(
        Some(&plan()),
        json!({"spec": {
            "initContainers": others, "terminationGracePeriodSeconds": 7, "containers": [{
                "name": "peon", "securityContext": {"runAsUser": 5, "runAsGroup": 6, "privileged": true},
            }],
        }}),
    );
    let names: Vec<_> = pod["spec"]["initContainers"]
        .as_array()
        .unwrap()
        .iter()
        .map(|c| &c["name"])
        .collect();
    assert_eq!(names, ["mesh", "fetch", CONTAINER]);
    assert_eq!(pod["spec"]["initContainers"][1], others[1]);
    assert_eq!(pod["spec"]["terminationGracePeriodSeconds"], 7);
    let security = &sidecar(&pod)["securityContext"];
    assert_eq!(
        (&security["runAsUser"], &security["runAsGroup"]),
        (&json!(5), &json!(6))
    );
    assert_eq!(security["privileged"], Value::Null);

    let given = json!({
        "name": CONTAINER, "image": "mine", "command": ["sh"], "args": ["x"], "restartPolicy": "Never", "newest": 1,
        "env": [{"name": "AWS_REGION", "value": "r"}], "resources": {"limits": {"memory": "1Gi"}},
        "volumeMounts": [{"name": "nfs", "mountPath": "/logs"}, {"name": "nfs", "mountPath": "/peon/"}],
        "securityContext": {"runAsUser": 9},
    });
    let volumes =
        json!([{"name": "nfs", "emptyDir": {}}, {"name": "peon-log", "emptyDir": {"sizeLimit": "2Gi"}}]);
    let (_, pod) = objects(
        Some(&plan()),
        json!({"spec": {"initContainers": [given, {"name": "fetch"}], "volumes": volumes}}),
    );
    let names: Vec<_> = pod["spec"]["initContainers"]
        .as_array()
        .unwrap()
        .iter()
        .map(|c| &c["name"])
        .collect();
    assert_eq!(names, [CONTAINER, "fetch"]);
    let sidecar = sidecar(&pod);
    assert_eq!(sidecar["image"], "registry/operator:1");
    assert_eq!(
        (&sidecar["command"], &sidecar["args"]),
        (&Value::Null, &json!(["log-sidecar"]))
    );
    assert_eq!(
        (&sidecar["restartPolicy"], &sidecar["newest"]),
        (&json!("Always"), &json!(1))
    );
    assert_eq!(sidecar["env"], json!([{"name": "AWS_REGION", "value": "r"}]));
    assert_eq!(sidecar["resources"], json!({"limits": {"memory": "1Gi"}}));
    assert_eq!(sidecar["securityContext"]["runAsUser"], 9);
    assert_eq!(sidecar["securityContext"]["allowPrivilegeEscalation"], false);
    let mounts = sidecar["volumeMounts"].as_array().unwrap();
    assert_eq!(mounts.len(), 6);
    assert_eq!(mounts[0], json!({"name": "nfs", "mountPath": "/logs"}));
    assert_eq!(mounts[1]["name"], "peon-scratch");
    assert_eq!(
        named(&pod["spec"]["volumes"], "peon-log")["emptyDir"]["sizeLimit"],
        "2Gi"
    );
}
