//! The Deployment and what belongs to its pods.

use clap::Parser;
use peon_operator::api::{LABEL_MANAGED_BY, OPERATOR};
use peon_operator::app::options::Config;
use peon_operator::process::telemetry::LogFormat;
use peon_operator::quantity;
use serde_json::{Value, json};

use crate::render::{FULL_NAME, NAMESPACE, RELEASE, render};
use crate::validation::EVERYTHING;

#[test]
fn objects_carry_the_standard_labels_and_the_releases_namespace() {
    for object in render(EVERYTHING).0 {
        let kind = object["kind"].as_str().unwrap();
        let metadata = &object["metadata"];
        let of_the_cluster = [
            "Cluster",
            "ValidatingAdmission",
            "CustomResourceDefinition",
            "PriorityClass",
        ];
        let cluster = of_the_cluster.iter().any(|beginning| kind.starts_with(beginning));
        let namespace = if cluster { Value::Null } else { NAMESPACE.into() };
        assert_eq!(metadata["namespace"], namespace, "{kind}");
        let labels = &metadata["labels"];
        assert_eq!(labels["app.kubernetes.io/name"], "peon-operator", "{kind}");
        assert_eq!(labels["app.kubernetes.io/instance"], RELEASE, "{kind}");
        assert_eq!(
            labels["app.kubernetes.io/version"],
            env!("CARGO_PKG_VERSION"),
            "{kind}"
        );
        // The operator takes what carries its own name here for a peon.
        assert_eq!(labels[LABEL_MANAGED_BY], "Helm", "{kind}");
        let version = env!("CARGO_PKG_VERSION");
        assert_eq!(labels["helm.sh/chart"], format!("peon-operator-{version}"));
    }
    let pod = &render(EVERYTHING).pod()["metadata"]["labels"].clone();
    assert_ne!(pod[LABEL_MANAGED_BY], OPERATOR);
    assert_eq!(pod["c"], "d");
}

#[test]
fn names_follow_the_release() {
    let name = |values: &[&str]| render(values).only("Deployment")["metadata"]["name"].clone();
    assert_eq!(name(&[]), FULL_NAME);
    assert_eq!(name(&[r#"nameOverride="peons""#]), "blue-peons");
    assert_eq!(name(&[r#"nameOverride="blue""#]), "blue");
    assert_eq!(name(&[r#"fullnameOverride="green""#]), "green");
}

#[test]
fn the_pod_meets_the_restricted_level() {
    let objects = render(&[]);
    let pod = &objects.pod()["spec"];
    let expected = json!({
        "runAsNonRoot": true, "runAsUser": 65532, "runAsGroup": 65532,
        "seccompProfile": {"type": "RuntimeDefault"},
    });
    assert_eq!(pod["securityContext"], expected);
    let expected = json!({
        "readOnlyRootFilesystem": true, "allowPrivilegeEscalation": false,
        "capabilities": {"drop": ["ALL"]},
    });
    assert_eq!(objects.container()["securityContext"], expected);
    for field in ["hostNetwork", "hostPID", "hostIPC", "initContainers"] {
        assert!(pod.get(field).is_none(), "{field}");
    }
    assert_eq!(pod["automountServiceAccountToken"], true);
    assert_eq!(pod["enableServiceLinks"], false);
    let account = objects.only("ServiceAccount");
    assert_eq!(account["automountServiceAccountToken"], false);
}

#[test]
fn a_platform_may_choose_the_user() {
    let objects = render(&[
        "podSecurityContext.runAsUser=null",
        "podSecurityContext.runAsGroup=null",
    ]);
    let context = &objects.pod()["spec"]["securityContext"];
    assert_eq!(
        *context,
        json!({"runAsNonRoot": true, "seccompProfile": {"type": "RuntimeDefault"}})
    );
}

/// The arguments of the operator, as the program reads them.
fn config(values: &[&str]) -> Config {
    let arguments = render(values).arguments();
    Config::try_parse_from(std::iter::once("peon-operator".to_owned()).chain(arguments)).unwrap()
}

#[test]
fn the_program_understands_its_arguments() {
    let default = config(&[]);
    assert_eq!(default.namespace, None);
    assert_eq!(default.listen.to_string(), "0.0.0.0:8080");
    assert_eq!(default.lease_name, FULL_NAME);
    assert_eq!(default.lease_seconds, 15);
    assert_eq!(default.retain_finished, None);
    assert_eq!(default.log.format, LogFormat::Text);
    assert_eq!(default.log.filter, "info,kube_runtime=warn");

    let given = config(&[
        r#"scope="namespace""#,
        r#"log={"format": "json", "filter": "warn,peon_operator=debug"}"#,
        "leaderElection.leaseSeconds=60",
        "retainFinished=1000000",
        r#"listenAddress="[::]""#,
    ]);
    assert_eq!(given.namespace.as_deref(), Some(NAMESPACE));
    assert_eq!(given.log.format, LogFormat::Json);
    assert_eq!(given.log.filter, "warn,peon_operator=debug");
    assert_eq!(given.lease_seconds, 60);
    assert_eq!(given.retain_finished, Some(1_000_000));
    assert_eq!(given.listen.to_string(), "[::]:8080");
}

#[test]
fn logs_have_their_volume_their_credentials_and_their_spool() {
    let objects = render(&[
        r#"logs.volume={"persistentVolumeClaim": {"claimName": "druid-logs"}}"#,
        r#"logs.mountPath="/druid/logs""#,
        r#"logs.credentialsSecret="log-store""#,
    ]);
    let volumes = json!([
        {"name": "spool", "emptyDir": {"sizeLimit": "4Gi"}},
        {"name": "log-credentials", "secret": {"secretName": "log-store"}},
        {"name": "logs", "persistentVolumeClaim": {"claimName": "druid-logs"}},
    ]);
    let found = objects.pod()["spec"]["volumes"].as_array().unwrap();
    assert_eq!(json!(found[..3]), volumes);
    let mounts = objects.container()["volumeMounts"].as_array().unwrap();
    let path_of = |name: &str| mounts.iter().find(|m| m["name"] == name).unwrap()["mountPath"].clone();
    let paths = [path_of("spool"), path_of("log-credentials"), path_of("logs")];
    assert_eq!(
        paths,
        [
            "/var/spool/peon-operator",
            "/etc/peon-operator-logs",
            "/druid/logs"
        ]
    );
    let given = objects.arguments();
    assert!(given.contains(&"--log-properties=/etc/peon-operator-logs/log.properties".to_owned()));
    assert!(given.contains(&"--log-spool=/var/spool/peon-operator".to_owned()));
}

/// A kubelet counts no file without a name: what the pod is said to take of the node's disk has to be what it may take.
#[test]
fn the_spool_fits_its_volume_and_the_volume_what_the_pod_asks_for() {
    for values in [
        &[][..],
        &[
            r#"logs.spoolSizeLimit="20Gi""#,
            r#"resources.requests.ephemeral-storage="20Gi""#,
            r#"resources.limits.ephemeral-storage="21Gi""#,
        ],
    ] {
        let objects = render(values);
        let pod = objects.pod();
        let volume = &pod["spec"]["volumes"][0]["emptyDir"]["sizeLimit"];
        let bytes = |value: &Value| quantity::parse(value.as_str().unwrap()).unwrap();
        let config = config(values);
        let budget = config.log_spool_budget();
        assert!(
            budget >= u64::from(config.log_followers) << 20,
            "the program would not start"
        );
        assert!(
            budget > 0 && budget <= bytes(volume) / 5 * 4,
            "{budget} in {volume}"
        );
        let resources = &objects.container()["resources"];
        assert!(bytes(&resources["requests"]["ephemeral-storage"]) >= bytes(volume));
        assert!(bytes(&resources["limits"]["ephemeral-storage"]) > bytes(volume));
    }
}

#[test]
fn the_properties_are_mounted_where_the_program_reads_them() {
    let objects = render(&[]);
    let config_map = objects.only("ConfigMap");
    let volumes = json!([
        {"name": "spool", "emptyDir": {"sizeLimit": "4Gi"}},
        {"name": "config", "configMap": {"name": config_map["metadata"]["name"]}},
    ]);
    assert_eq!(objects.pod()["spec"]["volumes"], volumes);
    let mount = &objects.container()["volumeMounts"][0];
    let path = format!(
        "--runtime-properties={}/runtime.properties",
        mount["mountPath"].as_str().unwrap()
    );
    assert!(objects.arguments().contains(&path));
    assert!(config_map["data"]["runtime.properties"].is_string());
}

#[test]
fn other_properties_replace_the_pods() {
    let checksum = |values: &[&str]| {
        render(values).pod()["metadata"]["annotations"]["checksum/runtime-properties"].clone()
    };
    let default = checksum(&[]);
    assert!(default.is_string());
    assert_ne!(checksum(&[r#"runtimeProperties="a=b\n""#]), default);
    assert_eq!(checksum(&["replicas=3"]), default);
}

#[test]
fn the_process_knows_its_namespace_and_its_image() {
    let objects = render(&["priorityClass.create=false"]);
    let expected = json!([
        {
            "name": "PEON_LEASE_NAMESPACE",
            "valueFrom": {"fieldRef": {"fieldPath": "metadata.namespace"}},
        },
        {"name": "PEON_IMAGE", "value": objects.container()["image"]},
        {"name": "PEON_MIDDLE_MANAGER_ROLE", "value": format!("ClusterRole/{FULL_NAME}-middle-manager")},
    ]);
    assert_eq!(objects.container()["env"], expected);
    let values = [
        r#"imagePullSecrets=[{"name": "registry"}]"#,
        r#"middleManagers.podSpec={"priorityClassName": "high"}"#,
    ];
    let objects = render(&values);
    let env = objects.container()["env"].as_array().unwrap().clone();
    let pod = env
        .iter()
        .find(|e| e["name"] == "PEON_MIDDLE_MANAGER_POD")
        .unwrap();
    let pod: serde_json::Value = serde_json::from_str(pod["value"].as_str().unwrap()).unwrap();
    assert_eq!(
        pod,
        json!({"imagePullSecrets": [{"name": "registry"}], "priorityClassName": "high"})
    );
}

#[test]
fn a_pod_has_time_to_drain_and_is_asked_for_its_health() {
    let objects = render(&[]);
    let spec = &objects.only("Deployment")["spec"];
    assert_eq!(spec["replicas"], 2);
    assert_eq!(spec["strategy"]["type"], "RollingUpdate");
    assert_eq!(objects.pod()["spec"]["terminationGracePeriodSeconds"], 40);
    let container = objects.container();
    assert_eq!(container["livenessProbe"]["httpGet"]["path"], "/livez");
    assert_eq!(container["readinessProbe"]["httpGet"]["path"], "/readyz");
    let resources = json!({
        "requests": {"cpu": "50m", "memory": "64Mi", "ephemeral-storage": "4Gi"},
        "limits": {"memory": "512Mi", "ephemeral-storage": "5Gi"},
    });
    assert_eq!(container["resources"], resources);
}

#[test]
fn the_image_is_named_by_digest_or_tag() {
    let image = |values: &[&str]| render(values).container()["image"].as_str().unwrap().to_owned();
    let version = env!("CARGO_PKG_VERSION");
    assert!(image(&[]).ends_with(&format!("/peon-operator:{version}")));
    let local = r#"image={"repository": "localhost:5000/peon-operator", "tag": "dev"}"#;
    assert_eq!(image(&[local]), "localhost:5000/peon-operator:dev");
    let digest = format!("sha256:{}", "0a".repeat(32));
    let by_digest = image(&[local, &format!("image.digest=\"{digest}\"")]);
    assert_eq!(by_digest, format!("localhost:5000/peon-operator@{digest}"));
}

#[test]
fn the_pods_are_spread() {
    let constraints = |values: &[&str]| render(values).pod()["spec"]["topologySpreadConstraints"].clone();
    let labels = json!({"app.kubernetes.io/name": "peon-operator", "app.kubernetes.io/instance": RELEASE});
    let spread = |key: &str| {
        json!({
            "maxSkew": 1, "topologyKey": key, "whenUnsatisfiable": "ScheduleAnyway",
            "labelSelector": {"matchLabels": labels},
        })
    };
    let expected = json!([
        spread("kubernetes.io/hostname"),
        spread("topology.kubernetes.io/zone")
    ]);
    assert_eq!(constraints(&[]), expected);
    let own = r#"[{"maxSkew": 2, "topologyKey": "zone", "whenUnsatisfiable": "DoNotSchedule", "labelSelector": {}}]"#;
    let own = own.replace("{}", r#"{"matchLabels": {"a": "b"}}"#);
    let expected: Value = serde_json::from_str(&own).unwrap();
    assert_eq!(
        constraints(&[&format!("topologySpreadConstraints={own}")]),
        expected
    );
    assert_eq!(constraints(&["topologySpreadConstraints=[]"]), Value::Null);
}

#[test]
fn a_single_pod_blocks_no_drain() {
    let objects = render(&[]);
    assert_eq!(objects.only("PodDisruptionBudget")["spec"]["maxUnavailable"], 1);
    for values in ["replicas=1", "podDisruptionBudget.enabled=false"] {
        assert!(
            render(&[values]).all("PodDisruptionBudget").is_empty(),
            "{values}"
        );
    }
}

#[test]
fn what_a_pod_may_hold_reaches_the_pod() {
    let objects = render(EVERYTHING);
    let pod = &objects.pod()["spec"];
    assert_eq!(pod["imagePullSecrets"], json!([{"name": "registry"}]));
    assert_eq!(pod["nodeSelector"], json!({"kubernetes.io/os": "linux"}));
    assert_eq!(pod["tolerations"][0]["key"], "a");
    assert!(pod["affinity"]["nodeAffinity"].is_object());
    assert_eq!(pod["priorityClassName"], "system-cluster-critical");
    assert_eq!(objects.pod()["metadata"]["annotations"]["a"], "b");
    let env = objects.container()["env"].as_array().unwrap();
    assert!(env.contains(&json!({"name": "PEON_IDENTITY", "value": "me"})));
    let account = objects.only("ServiceAccount");
    assert_eq!(account["metadata"]["annotations"]["a"], "b");
    let automount = render(&["serviceAccount.automount=true"]);
    assert_eq!(
        automount.only("ServiceAccount")["automountServiceAccountToken"],
        true
    );
}
