use serde_json::json;

use super::*;
use crate::apiserver::classify::decode::Guarded;
use crate::apiserver::classify::watched_pod::WatchedPod;
use crate::pool::decide::indexer::Indexer;
use crate::pool::fixtures::{POOL_UID, pool};
use crate::task::fixtures::template;

fn revision(pool_spec: Value, template_spec: Value) -> Result<Revision, Unusable> {
    revision_of(pool_spec, template_spec, false)
}

fn revision_of(pool_spec: Value, template_spec: Value, secured: bool) -> Result<Revision, Unusable> {
    Revision::of(
        &pool(pool_spec),
        &template(template_spec),
        &RuntimeProperties::default(),
        true,
        secured,
    )
}

#[test]
fn a_pod_brings_its_configuration_and_belongs_to_the_pool() {
    let revision = revision(
        json!({"killGraceSeconds": 10}),
        json!({
            "javaOpts": ["-Dx=$(HOME)"],
            "template": {
                "metadata": {"labels": {"team": "ads"}},
                "spec": {
                    "activeDeadlineSeconds": 60,
                    "terminationGracePeriodSeconds": 1,
                    "nodeSelector": {"disk": "fast"},
                    "containers": [{"name": "main", "livenessProbe": {"exec": {"command": ["x"]}}}, {"name": "proxy"}],
                },
            },
        }),
    )
    .unwrap();
    let pod = revision.pod();
    let metadata = &pod["metadata"];
    assert_eq!(metadata["generateName"], "warm-");
    assert_eq!(metadata["ownerReferences"][0]["uid"], POOL_UID);
    assert_eq!(metadata["labels"]["team"], "ads");
    assert_eq!(metadata["labels"][LABEL_REVISION], revision.hash);
    assert_eq!(metadata["labels"][LABEL_MIDDLE_MANAGER], "ingestion");
    assert_eq!(metadata["annotations"][ANNOTATION_CONTAINER], "main");
    let spec = &pod["spec"];
    assert_eq!(spec["restartPolicy"], "Never");
    assert_eq!(spec["terminationGracePeriodSeconds"], 60);
    assert_eq!(spec["activeDeadlineSeconds"], Value::Null);
    assert_eq!(spec["nodeSelector"]["disk"], "fast");
    assert_eq!(spec["automountServiceAccountToken"], false);
    let indexer = &spec["containers"][0];
    assert_eq!(
        (&indexer["name"], &spec["containers"][1]["name"]),
        (&json!("main"), &json!("proxy"))
    );
    assert_eq!(indexer["livenessProbe"], Value::Null);
    for (probe, seconds) in [("startupProbe", 1), ("readinessProbe", 10)] {
        assert_eq!(indexer[probe]["httpGet"]["port"], 8091);
        assert_eq!(indexer[probe]["periodSeconds"], seconds);
    }
    assert_eq!(indexer["resources"]["limits"]["memory"], "1Gi");
    assert_eq!(indexer["terminationMessagePolicy"], "FallbackToLogsOnError");
    let wait = indexer["lifecycle"]["preStop"]["exec"]["command"][2]
        .as_str()
        .unwrap();
    assert!(
        wait.contains("-lt 20 ") && wait.contains("/peon/base/assignedTasks"),
        "{wait}"
    );
    let env = indexer["env"].as_array().unwrap();
    let arguments = env.iter().find(|v| v["name"] == ARGUMENTS).unwrap();
    // The kubelet makes `$(HOME)` of it.
    assert!(arguments["value"].as_str().unwrap().contains("-Dx=$$(HOME)"));
}

#[test]
fn a_revision_changes_with_what_pods_are_made_of_and_with_nothing_else() {
    let hash = |pool: Value, template: Value| revision(pool, template).unwrap().hash;
    let first = hash(json!({}), json!({}));
    assert_eq!(
        hash(json!({"replicas": 7, "maxIndexers": 9}), json!({"maxRunning": 3})),
        first
    );
    for other in [
        hash(json!({"resources": {"limits": {"memory": "2Gi"}}}), json!({})),
        hash(json!({"killGraceSeconds": 31}), json!({})),
        hash(json!({}), json!({"image": "druid:34"})),
        hash(json!({}), json!({"properties": {"a": "b"}})),
        hash(json!({"middleManagerRef": {"name": "other"}}), json!({})),
    ] {
        assert_ne!(other, first);
    }
}

#[test]
fn the_kubelet_asks_what_it_may_at_a_port_that_there_is() {
    let own = "/status/selfDiscovered/status";
    let properties = |text: Value| json!({"properties": text});
    let tls = json!({"druid.enableTlsPort": "true"});
    let only = json!({"druid.enableTlsPort": "true", "druid.enablePlaintextPort": "false"});
    let chain = json!({"druid.auth.authenticatorChain": "[\"basic\"]"});
    let https = json!({"path": own, "port": 8291, "scheme": "HTTPS"});
    for (template, secured, get, said) in [
        (json!({}), false, json!({"path": own, "port": 8091}), Value::Null),
        (
            json!({}),
            true,
            json!({"path": "/status/health", "port": 8091}),
            Value::Null,
        ),
        (
            properties(chain),
            false,
            json!({"path": "/status/health", "port": 8091}),
            Value::Null,
        ),
        (
            properties(tls),
            false,
            json!({"path": own, "port": 8091}),
            json!("http,https"),
        ),
        (properties(only), false, https, json!("https")),
    ] {
        let revision = revision_of(json!({}), template, secured).unwrap();
        let pod = revision.pod();
        assert_eq!(pod["spec"]["containers"][0]["readinessProbe"]["httpGet"], get);
        assert_eq!(pod["metadata"]["annotations"][ANNOTATION_INDEXER_PORTS], said);
        assert_eq!(IndexerPorts::read(said.as_str()), revision.ports);
    }
}

#[test]
fn what_cannot_be_used_says_what_to_change() {
    let long: Vec<String> = (0..2000)
        .map(|n| format!("-Dlong.{n}={}", "x".repeat(50)))
        .collect();
    for (pool, template, reason, said) in [
        (
            json!({"resources": {"limits": {"memory": "256Mi"}}}),
            json!({}),
            PoolReadiness::InvalidSizing,
            "a memory limit of 256 MiB cannot hold",
        ),
        (
            json!({}),
            json!({"logs": {"collect": "Sidecar"}}),
            PoolReadiness::InvalidTemplate,
            "logs.collect is Sidecar",
        ),
        (
            json!({}),
            json!({"host": "{dashedAddress}.{namespace}.pod.cluster.local"}),
            PoolReadiness::InvalidTemplate,
            "use a template without host",
        ),
        (
            json!({}),
            json!({"properties": {"druid.host": "x"}}),
            PoolReadiness::InvalidTemplate,
            "druid.host",
        ),
        (
            json!({}),
            json!({"template": {"spec": {"containers": [{}]}}}),
            PoolReadiness::InvalidTemplate,
            "template.spec.containers[0]",
        ),
        (
            json!({"mode": "Shared", "maxIndexers": null, "resources": {"limits": {"memory": "2Gi"}}}),
            json!({"javaOpts": ["-Dlog4j.configurationFile=/opt/log4j2.xml"]}),
            PoolReadiness::InvalidTemplate,
            "-Dlog4j.configurationFile=/opt/log4j2.xml replaces the layout",
        ),
        (
            json!({"mode": "Shared", "maxIndexers": null, "resources": {"limits": {"memory": "2Gi"}}}),
            json!({"javaOpts": ["-Dlog4j2.configurationFile=/opt/log4j2.xml"]}),
            PoolReadiness::InvalidTemplate,
            "-Dlog4j2.configurationFile=/opt/log4j2.xml replaces the layout",
        ),
        (
            json!({}),
            json!({"javaOpts": long}),
            PoolReadiness::InvalidTemplate,
            "at most 102400 are possible",
        ),
    ] {
        let unusable = revision(pool, template).unwrap_err();
        assert_eq!(unusable.reason, reason);
        assert!(unusable.message.contains(said), "{}", unusable.message);
    }
}

/// The script is run, with the folder of a test in place of that in a pod.
#[test]
fn before_sigterm_it_waits_for_a_task_and_for_nothing_else() {
    let folder = tempfile::tempdir().unwrap();
    let script = await_task(1).replace(BASE_TASK_DIR, folder.path().to_str().unwrap());
    // A second passes at once, and something happens in it.
    let seconds = |happens: &str| {
        let script = format!("sleep() {{ {happens}; }}\n{script}");
        let mut shell = std::process::Command::new("/bin/sh");
        let output = shell.args(["-euxc", &script]).output().unwrap();
        assert!(output.status.success(), "{output:?}");
        let traced = String::from_utf8(output.stderr).unwrap();
        traced.matches("+ sleep 1\n").count()
    };
    assert_eq!(seconds(":"), 0, "no task was ever given to it");
    let tasks = folder.path().join("assignedTasks");
    std::fs::create_dir(&tasks).unwrap();
    assert_eq!(seconds(":"), 0);
    let task = tasks.join("t");
    std::fs::write(&task, "{}").unwrap();
    assert_eq!(seconds(":"), 11, "no longer than it may");
    assert_eq!(seconds(&format!("rm -f {}", task.display())), 1);
}

#[test]
fn a_hook_of_the_template_replaces_the_wait() {
    let own = json!({"exec": {"command": ["own"]}});
    let revision = revision(
        json!({}),
        json!({"template": {"spec": {"containers": [{"name": "main", "lifecycle": {"preStop": own}}]}}}),
    );
    let pod = revision.unwrap().pod();
    assert_eq!(pod["spec"]["containers"][0]["lifecycle"]["preStop"], own);
}

/// What a pod says of itself is read from the cache, which keeps little of a pod.
#[test]
fn a_shared_indexer_is_known_by_its_pod() {
    let shared = json!({
        "mode": "Shared", "maxIndexers": null, "slots": {"heavy": 3, "light": 2},
        "resources": {"limits": {"memory": "2Gi"}},
    });
    let pod = |spec: Value| {
        let mut pod = revision(spec, json!({})).unwrap().pod();
        pod["metadata"]["name"] = json!("warm-x");
        let cached = Guarded::<WatchedPod>::read(&pod.to_string()).0.unwrap();
        (pod, Indexer::of(&cached))
    };
    let (whole, indexer) = pod(shared);
    let slots = indexer.slots.map(|slots| (slots.heavy, slots.light));
    assert_eq!(slots, Some((3, 2)));
    assert!(indexer.heap.is_some());
    // The layout of its log names the task of a line, behind the token.
    let text = whole["spec"]["containers"][0].to_string();
    for part in [
        "%X{task.log.id}",
        "PEON_LOG_TOKEN",
        "metadata.uid",
        "-Xlog:gc:stdout:uptime,tags",
        "druid.worker.capacity=5",
    ] {
        assert!(text.contains(part), "{part}: {text}");
    }
    // It is not idle for long: it has its cpu from the start.
    assert_eq!(
        whole["spec"]["containers"][0]["resources"]["requests"]["cpu"],
        "1"
    );
    assert_eq!(pod(json!({})).1.slots, None);
}

#[test]
fn pods_say_that_their_pool_serves_queries() {
    let of = |pool: Value| revision_of(pool, json!({}), false).unwrap();
    let said = |revision: &Revision| revision.pod()["metadata"]["annotations"][ANNOTATION_SERVING].clone();
    let (silent, none) = (of(json!({})), of(json!({"serving": "None"})));
    let queries = of(json!({"serving": "Queries"}));
    assert_eq!((said(&none), said(&queries)), (Value::Null, json!("Queries")));
    assert_eq!(silent.hash, none.hash, "Indexers are not replaced for a default");
    assert_ne!(queries.hash, none.hash);
}
