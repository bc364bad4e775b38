#![allow(clippy::needless_pass_by_value)] // `json!` is handed over as it is written.

use crate::task::run::pod::entrypoint;
use std::sync::Arc;

use super::*;
use crate::task::accept::accept;
use crate::task::fixtures::{POD, TASK_UID, snapshot, task, template};
use crate::task::run::pod::java_container::SCRATCH_VOLUME;
use crate::task::snapshot::Template;

/// Ids that are legal in Druid and mean something to a shell, to the kubelet or to a file system.
const ODD: [&str; 8] = [
    "$(PEON_POD_IP)",
    "a\"b'c",
    "back\\slash",
    "with space and ; rm -rf $HOME `id`",
    "ünïcødé_日本",
    "index_parallel_ds_bdpkgnoi_2026-11-21T01:31:38.123Z",
    "-Xmx1g",
    "@jvm.args",
];

/// The ConfigMap and the pod of a task with this payload and this template.
pub(super) fn objects_of(payload: Value, template_spec: Value) -> (ConfigMap, Value) {
    let mut snapshot = snapshot(task(json!({ "task": payload })));
    snapshot.template = Template::Found(Arc::new(template(template_spec)));
    let accepted = accept(&snapshot).unwrap();
    let names = accepted.names();
    let attempt = accepted.attempt(1, &names);
    (attempt.config_map(), attempt.pod())
}

pub(super) fn pod_of(pod_template: Value) -> Value {
    objects_of(json!({"type": "noop"}), json!({ "template": pod_template })).1
}

/// The argument file of a task with this template, as `java` reads it.
pub(super) fn arguments_of(template_spec: Value) -> Vec<String> {
    let (config_map, _) = objects_of(json!({"type": "noop", "id": ODD[1]}), template_spec);
    unquoted(&config_map.data.unwrap()[ARGUMENTS_KEY])
}

/// Reads an argument file as the Java launcher's documentation describes it: every line one quoted argument.
fn unquoted(file: &str) -> Vec<String> {
    let line = |line: &str| {
        let inner = line.strip_prefix('"').and_then(|l| l.strip_suffix('"')).unwrap();
        let mut argument = String::new();
        let mut chars = inner.chars();
        while let Some(c) = chars.next() {
            assert_ne!(c, '"', "a quote that is not escaped in {line}");
            argument.push(match c {
                '\\' => match chars.next().unwrap() {
                    'n' => '\n',
                    'r' => '\r',
                    't' => '\t',
                    c => c,
                },
                c => c,
            });
        }
        argument
    };
    file.lines().map(line).collect()
}

pub(super) fn named<'a>(list: &'a Value, name: &str) -> &'a Value {
    let mut found = list.as_array().unwrap().iter().filter(|i| i["name"] == name);
    let item = found.next().unwrap();
    assert_eq!(found.next(), None, "{name} is there twice");
    item
}

pub(super) fn peon(pod: &Value) -> &Value {
    named(&pod["spec"]["containers"], "peon")
}

/// As OpenShift does, which refuses pods that name a user outside of the range of their namespace.
#[test]
fn a_platform_may_choose_the_user_of_peons() {
    let with = |pod_template: Value| {
        let mut snapshot = snapshot(task(json!({"task": {"type": "noop"}})));
        Arc::make_mut(&mut snapshot.operator).platform_user = true;
        let spec = json!({ "template": pod_template });
        snapshot.template = Template::Found(Arc::new(template(spec)));
        let accepted = accept(&snapshot).unwrap();
        let names = accepted.names();
        accepted.attempt(1, &names).pod()["spec"]["securityContext"].clone()
    };
    let profile = json!({"type": "RuntimeDefault"});
    let expected = json!({"runAsNonRoot": true, "seccompProfile": profile});
    assert_eq!(with(json!({})), expected);
    let named = with(json!({"spec": {"securityContext": {"runAsUser": 5}}}));
    assert_eq!(named["runAsUser"], 5);
    assert!(named["runAsGroup"].is_null() && named["fsGroup"].is_null());
}

/// <https://kubernetes.io/docs/concepts/security/pod-security-standards/#restricted>
#[test]
fn the_default_pod_meets_the_restricted_level() {
    let pod = pod_of(json!({}));
    let spec = &pod["spec"];
    for absent in ["hostNetwork", "hostPID", "hostIPC", "initContainers"] {
        assert_eq!(spec[absent], Value::Null, "{absent}");
    }
    let security = &spec["securityContext"];
    assert_eq!(security["runAsNonRoot"], true);
    assert_eq!(security["runAsUser"], 1000);
    assert_eq!(security["runAsGroup"], 1000);
    assert_eq!(security["seccompProfile"]["type"], "RuntimeDefault");
    for absent in ["sysctls", "seLinuxOptions", "windowsOptions", "appArmorProfile"] {
        assert_eq!(security[absent], Value::Null, "{absent}");
    }
    let containers = spec["containers"].as_array().unwrap();
    assert_eq!(containers.len(), 1);
    assert_eq!(
        containers[0]["securityContext"],
        json!({"allowPrivilegeEscalation": false, "capabilities": {"drop": ["ALL"]}})
    );
    assert_eq!(containers[0]["ports"], Value::Null);
    for volume in spec["volumes"].as_array().unwrap() {
        let kinds: Vec<_> = volume
            .as_object()
            .unwrap()
            .keys()
            .filter(|k| *k != "name")
            .collect();
        assert!(kinds == ["configMap"] || kinds == ["emptyDir"], "{volume}");
    }
}

#[test]
fn the_pod_gets_no_token_and_no_service_links_unless_the_template_says_so() {
    let pod = pod_of(json!({}));
    assert_eq!(pod["spec"]["automountServiceAccountToken"], false);
    assert_eq!(pod["spec"]["enableServiceLinks"], false);
    let pod = pod_of(json!({"spec": {"automountServiceAccountToken": true, "enableServiceLinks": true}}));
    assert_eq!(pod["spec"]["automountServiceAccountToken"], true);
    assert_eq!(pod["spec"]["enableServiceLinks"], true);
}

#[test]
fn the_task_id_stands_only_in_the_annotation_and_the_config_map() {
    let plain = objects_of(json!({"type": "noop", "id": "plain"}), json!({}));
    for id in ODD {
        let (mut config_map, mut pod) = objects_of(json!({"type": "noop", "id": id}), json!({}));
        for annotations in [
            config_map
                .metadata
                .annotations
                .as_mut()
                .unwrap()
                .remove(ANNOTATION_TASK_ID),
            pod["metadata"]["annotations"]
                .as_object_mut()
                .unwrap()
                .remove(ANNOTATION_TASK_ID)
                .map(|v| v.as_str().unwrap().to_owned()),
        ] {
            assert_eq!(annotations.as_deref(), Some(id));
        }
        let data = config_map.data.take().unwrap();
        let written: Value = serde_json::from_str(&data[TASK_KEY]).unwrap();
        assert_eq!(written["id"], id);
        let dimension = format!("-Ddruid.metrics.emitter.dimension.taskId={id}");
        assert!(unquoted(&data[ARGUMENTS_KEY]).contains(&dimension), "{data:?}");
        // What is left is that of any other task.
        let (mut other_map, mut other_pod) = plain.clone();
        other_map
            .metadata
            .annotations
            .as_mut()
            .unwrap()
            .remove(ANNOTATION_TASK_ID);
        other_map.data = None;
        other_pod["metadata"]["annotations"]
            .as_object_mut()
            .unwrap()
            .remove(ANNOTATION_TASK_ID);
        assert_eq!(config_map, other_map, "{id}");
        assert_eq!(pod, other_pod, "{id}");
    }
}

#[test]
fn both_objects_are_owned_labelled_and_named_alike() {
    let (config_map, pod) = objects_of(json!({"type": "noop"}), json!({}));
    let meta = json!(config_map.metadata);
    for meta in [&meta, &pod["metadata"]] {
        assert_eq!(meta["name"], POD);
        assert_eq!(meta["namespace"], "ns");
        assert_eq!(
            meta["ownerReferences"],
            json!([{
                "apiVersion": "peon.dev/v1alpha1", "kind": "PeonTask", "name": "nightly", "uid": TASK_UID,
                "controller": true,
            }])
        );
        assert_eq!(
            meta["labels"],
            json!({LABEL_MANAGED_BY: OPERATOR, LABEL_TASK: "nightly", LABEL_TASK_UID: TASK_UID})
        );
    }
    assert_eq!(pod["metadata"]["annotations"][ANNOTATION_CONTAINER], "peon");
}

#[test]
fn nobody_may_change_the_config_map() {
    let (config_map, pod) = objects_of(json!({"type": "noop"}), json!({}));
    assert_eq!(config_map.immutable, Some(true));
    let keys: Vec<_> = config_map.data.unwrap().into_keys().collect();
    assert_eq!(keys, [ARGUMENTS_KEY, LOG4J_KEY, TASK_KEY]);
    let volume = named(&pod["spec"]["volumes"], CONFIG_VOLUME);
    assert_eq!(volume["configMap"]["name"], POD);
}

#[test]
fn the_template_is_merged_by_name() {
    let pod = pod_of(json!({
        "metadata": {
            "labels": {"team": "a", LABEL_TASK: "stolen"},
            "annotations": {"b": "c", ANNOTATION_TASK_ID: "stolen"},
        },
        "spec": {
            "nodeSelector": {"pool": "ingestion"},
            "containers": [
                {"name": "proxy", "image": "p"},
                {
                    "name": "peon",
                    "env": [{"name": "A", "value": "1"}, {"name": "PEON_POD_IP", "value": "stolen"}],
                    "volumeMounts": [
                        {"name": "data", "mountPath": "/data"}, {"name": "data", "mountPath": "/etc/peon"},
                    ],
                },
            ],
            "initContainers": [{"name": "fetch", "image": "f"}],
            "volumes": [{"name": "data", "emptyDir": {}}, {"name": CONFIG_VOLUME, "emptyDir": {}}],
        },
    }));
    let (metadata, spec) = (&pod["metadata"], &pod["spec"]);
    assert_eq!(metadata["labels"]["team"], "a");
    assert_eq!(metadata["labels"][LABEL_TASK], "nightly");
    assert_eq!(metadata["annotations"]["b"], "c");
    assert_eq!(metadata["annotations"][ANNOTATION_TASK_ID], "nightly");
    assert_eq!(spec["nodeSelector"], json!({"pool": "ingestion"}));
    assert_eq!(
        named(&spec["containers"], "proxy"),
        &json!({"name": "proxy", "image": "p"})
    );
    assert_eq!(spec["initContainers"], json!([{"name": "fetch", "image": "f"}]));
    let env = &peon(&pod)["env"];
    assert_eq!(named(env, "A")["value"], "1");
    assert_eq!(
        named(env, "PEON_POD_IP"),
        &json!({"name": "PEON_POD_IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}})
    );
    let mounts = peon(&pod)["volumeMounts"].as_array().unwrap();
    let at = |path: &str| {
        let at: Vec<_> = mounts.iter().filter(|m| m["mountPath"] == path).collect();
        assert_eq!(at.len(), 1, "{path}");
        at[0]["name"].clone()
    };
    assert_eq!(
        [at("/data"), at("/etc/peon"), at("/peon")],
        ["data", CONFIG_VOLUME, SCRATCH_VOLUME]
    );
    named(&spec["volumes"], "data");
    assert_eq!(named(&spec["volumes"], CONFIG_VOLUME)["configMap"]["name"], POD);
}

#[test]
fn fields_of_a_newer_kubernetes_survive() {
    let pod = pod_of(json!({"spec": {
        "brandNew": {"deep": [1, 2]},
        "containers": [{"name": "peon", "alsoNew": "x", "securityContext": {"newest": true}}],
    }}));
    assert_eq!(pod["spec"]["brandNew"], json!({"deep": [1, 2]}));
    assert_eq!(peon(&pod)["alsoNew"], "x");
    assert_eq!(peon(&pod)["securityContext"]["newest"], true);
    assert_eq!(peon(&pod)["securityContext"]["allowPrivilegeEscalation"], false);
}

#[test]
fn the_template_may_put_the_scratch_space_elsewhere() {
    let disk = json!({"name": SCRATCH_VOLUME, "emptyDir": {"medium": "Memory"}});
    let pod = pod_of(json!({"spec": {"volumes": [disk]}}));
    assert_eq!(named(&pod["spec"]["volumes"], SCRATCH_VOLUME), &disk);
    let default = pod_of(json!({}));
    assert_eq!(
        named(&default["spec"]["volumes"], SCRATCH_VOLUME)["emptyDir"],
        json!({})
    );
}

#[test]
fn what_runs_and_how_often_is_the_operators() {
    let pod = pod_of(json!({"spec": {
        "restartPolicy": "Always",
        "containers": [{
            "name": "peon", "command": ["sleep"], "args": ["1d"],
            "terminationMessagePath": "/tmp/x", "terminationMessagePolicy": "FallbackToLogsOnError",
        }],
    }}));
    assert_eq!(pod["spec"]["restartPolicy"], "Never");
    let peon = peon(&pod);
    let host = "peon_host=\"$PEON_POD_IP\"\n";
    let script = [PREPARE, LINK_TASK, LINK_STATUS, host, entrypoint::EXEC].concat();
    assert_eq!(peon["command"], json!(["/bin/sh", "-c", script]));
    assert_eq!(peon["args"], Value::Null);
    assert_eq!(peon["terminationMessagePath"], "/dev/termination-log");
    assert_eq!(peon["terminationMessagePolicy"], "File");
}

/// A container may have a restart policy of its own, which outranks the pod's.
#[test]
fn the_peons_container_is_never_restarted() {
    let pod = pod_of(json!({"spec": {"containers": [{
        "name": "peon", "restartPolicy": "Always",
        "restartPolicyRules": [{"action": "Restart", "exitCodes": {"operator": "In", "values": [3]}}],
    }]}}));
    assert_eq!(peon(&pod)["restartPolicy"], Value::Null);
    assert_eq!(peon(&pod)["restartPolicyRules"], Value::Null);
}

#[test]
fn the_peon_may_have_another_name() {
    let pod = pod_of(json!({"spec": {"containers": [{"name": "main", "image": "x"}, {"name": "b"}]}}));
    assert_eq!(pod["spec"]["containers"][0]["name"], "main");
    assert_eq!(pod["spec"]["containers"][0]["image"], "x");
    assert_eq!(pod["metadata"]["annotations"][ANNOTATION_CONTAINER], "main");
}

#[test]
fn reserved_properties_stand_last() {
    let arguments = arguments_of(json!({
        "properties": {"druid.a": "1", "druid.indexer.runner.type": "k8s"},
        "javaOpts": ["-Ddruid.b=2"],
    }));
    let at = |argument: &str| {
        let at: Vec<_> = (0..arguments.len())
            .filter(|i| arguments[*i] == argument)
            .collect();
        assert_eq!(at.len(), 1, "{argument} in {arguments:?}");
        at[0]
    };
    for (name, value) in crate::task::accept::settings::RESERVED {
        let reserved = at(&format!("-D{name}={value}"));
        assert!(
            reserved > at("-Ddruid.a=1") && reserved > at("-Ddruid.b=2"),
            "{name}"
        );
        assert!(reserved < at("-cp"), "{name}");
    }
    let command = &arguments[at("-cp")..];
    assert_eq!(
        command,
        [
            "-cp",
            CLASS_PATH,
            "org.apache.druid.cli.Main",
            "internal",
            "peon",
            TASK_DIR,
            "1",
            "--loadBroadcastDatasourceMode",
            "ALL",
        ]
    );
}

#[test]
fn what_the_user_says_of_the_jvm_wins() {
    let starting = |arguments: &[String], prefix: &str| -> Vec<String> {
        arguments
            .iter()
            .filter(|a| a.starts_with(prefix))
            .cloned()
            .collect()
    };
    let default = arguments_of(json!({}));
    assert_eq!(starting(&default, "-Xmx").len(), 1);
    let given = arguments_of(json!({
        "javaOpts": ["-Xmx700m", "-XX:ActiveProcessorCount=7", "-Duser.timezone=CET"],
        "properties": {"druid.processing.numThreads": "1"},
    }));
    assert_eq!(starting(&given, "-Xmx"), [format!("-Xmx{}", 700 << 20)]);
    assert_eq!(
        starting(&given, "-XX:ActiveProcessorCount"),
        ["-XX:ActiveProcessorCount=7"]
    );
    assert_eq!(starting(&given, "-Duser.timezone"), ["-Duser.timezone=CET"]);
    assert_eq!(
        starting(&given, "-Ddruid.processing.numThreads"),
        ["-Ddruid.processing.numThreads=1"]
    );
}

#[test]
fn a_jvm_out_of_memory_always_ends() {
    for java_opts in [json!([]), json!(["-XX:+ExitOnOutOfMemoryError", "-ea"])] {
        let arguments = arguments_of(json!({ "javaOpts": java_opts }));
        let said: Vec<_> = arguments
            .iter()
            .filter(|a| a.contains("ExitOnOutOfMemoryError"))
            .collect();
        assert_eq!(said, ["-XX:+ExitOnOutOfMemoryError"]);
    }
}

#[test]
fn folders_of_the_template_stand_before_druids_libraries() {
    let path = |spec: Value| {
        let arguments = arguments_of(spec);
        let at = arguments.iter().position(|argument| argument == "-cp").unwrap();
        arguments[at + 1].clone()
    };
    assert_eq!(path(json!({})), "/opt/druid/lib/*");
    assert_eq!(
        path(json!({"classPath": ["/opt/hadoop-conf", "/opt/more/*"]})),
        "/opt/hadoop-conf:/opt/more/*:/opt/druid/lib/*"
    );
}

#[test]
fn odd_options_reach_the_jvm_as_they_are() {
    let odd = ["-Da=b c", "-Db=\"q\" 'r' \\ # $(X)", "-Dc=l1\nl2\r\t", "-Dd=ü"];
    let arguments = arguments_of(json!({ "javaOpts": odd }));
    for option in odd {
        assert!(
            arguments.contains(&option.to_owned()),
            "{option:?} in {arguments:?}"
        );
    }
}
