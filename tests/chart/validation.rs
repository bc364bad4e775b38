//! What the chart renders, checked strictly: Kubernetes' own types know every field, and so do the schemas of other kinds.

use k8s_openapi::api::admissionregistration::v1::{
    ValidatingAdmissionPolicy, ValidatingAdmissionPolicyBinding,
};
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{ConfigMap, Pod, Service, ServiceAccount};
use k8s_openapi::api::networking::v1::NetworkPolicy;
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use k8s_openapi::api::rbac::v1::{ClusterRole, ClusterRoleBinding, Role, RoleBinding};
use k8s_openapi::api::scheduling::v1::PriorityClass;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::render::{Objects, render_with_hooks};

/// Everything that can be switched on, with a value for everything that is empty otherwise.
pub const EVERYTHING: &[&str] = &[
    r#"imagePullSecrets=[{"name": "registry"}]"#,
    r#"serviceAccount.annotations={"a": "b"}"#,
    r#"podAnnotations={"a": "b"}"#,
    r#"podLabels={"c": "d"}"#,
    r#"extraEnv=[{"name": "PEON_IDENTITY", "value": "me"}]"#,
    r#"extraVolumes=[{"name": "x", "emptyDir": {}}]"#,
    r#"extraVolumeMounts=[{"name": "x", "mountPath": "/x"}]"#,
    r#"nodeSelector={"kubernetes.io/os": "linux"}"#,
    r#"tolerations=[{"key": "a", "operator": "Exists"}]"#,
    r#"affinity={"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": []}}}"#,
    r#"priorityClassName="system-cluster-critical""#,
    r#"metrics.service.annotations={"a": "b"}"#,
    "metrics.serviceMonitor.enabled=true",
    "networkPolicy.operator.enabled=true",
    "networkPolicy.peons.enabled=true",
    "networkPolicy.middleManagers.enabled=true",
    r#"networkPolicy.middleManagers.metricsFrom=[{"podSelector": {}}]"#,
    r#"networkPolicy.operator.ingressFrom=[{"podSelector": {}}]"#,
    r#"log.filter="info,peon_operator=debug""#,
    r#"logs.caConfigMap="ca""#,
    r#"logs.credentialsSecret="log-store""#,
    r#"commonLabels={"team": "ads"}"#,
    r#"crds.annotations={"argocd.argoproj.io/sync-options": "Prune=false"}"#,
    "global={}",
];

/// Values as they are used: a platform, a policy, a company's rules.
const SETS: [(&str, &[&str]); 12] = [
    ("defaults", &[]),
    ("everything", EVERYTHING),
    ("one namespace", &[r#"scope="namespace""#]),
    (
        "another namespace",
        &[
            r#"scope="namespace""#,
            r#"watchNamespace="druid""#,
            "rbac.nodes=false",
        ],
    ),
    ("an administrator's part", &[r#"parts="cluster""#]),
    (
        "a namespace's part",
        &[r#"parts="namespace""#, r#"scope="namespace""#, "replicas=1"],
    ),
    (
        "OpenShift",
        &[
            r#"platform="openshift""#,
            "metrics.podMonitor.enabled=true",
            "middleManagers.submissions=true",
        ],
    ),
    (
        "roles of somebody else",
        &[
            "rbac.create=false",
            "rbac.aggregate=false",
            r#"middleManagers.role="ClusterRole/workers""#,
            r#"serviceAccount={"create": false, "name": "theirs"}"#,
        ],
    ),
    (
        "only PeonTasks",
        &[
            "middleManagers.enabled=false",
            "boundsPolicy=false",
            "priorityClass.create=false",
            "metrics.service.enabled=false",
        ],
    ),
    (
        "a shared volume for logs",
        &[
            r#"logs.volume={"persistentVolumeClaim": {"claimName": "druid-logs"}}"#,
            r#"logs.mountPath="/druid/logs""#,
            "replicas=3",
        ],
    ),
    (
        "a mirror by digest",
        &[
            r#"global={"imageRegistry": "registry.example.com"}"#,
            r#"image.digest="sha256:0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a""#,
            r#"listenAddress="[::]""#,
            r#"log.format="json""#,
        ],
    ),
    (
        "closed networks",
        &[
            "networkPolicy.operator.enabled=true",
            "networkPolicy.peons.enabled=true",
            r#"networkPolicy.peons.namespaces=["a", "b"]"#,
            "networkPolicy.peons.ingressFrom=[]",
            "networkPolicy.middleManagers.enabled=true",
            "networkPolicy.middleManagers.ingressFrom=[]",
        ],
    ),
];

/// Refuses fields that Kubernetes does not know: they do not survive the way through its types.
fn round_trip<K: Serialize + DeserializeOwned>(object: &Value) {
    let typed: K = serde_json::from_value(object.clone()).unwrap_or_else(|e| panic!("{e} in {object}"));
    assert_eq!(serde_json::to_value(typed).unwrap(), *object);
}

/// Fields of the Prometheus operator's kinds that the chart uses, each with the fields inside.
fn check_monitor(object: &Value, endpoints: &str) {
    let fields = |value: &Value| -> Vec<String> { value.as_object().unwrap().keys().cloned().collect() };
    for field in fields(&object["spec"]) {
        let known = ["selector", "namespaceSelector", endpoints];
        assert!(known.contains(&field.as_str()), "{field} in {object}");
    }
    let selector = &object["spec"]["selector"];
    assert_eq!(fields(selector), ["matchLabels"]);
    for endpoint in object["spec"][endpoints].as_array().unwrap() {
        assert_eq!(fields(endpoint), ["interval", "path", "port", "scrapeTimeout"]);
    }
}

fn check(set: &str, object: &Value) {
    match object["kind"].as_str().unwrap() {
        "Deployment" => round_trip::<Deployment>(object),
        "ConfigMap" => round_trip::<ConfigMap>(object),
        "Pod" => round_trip::<Pod>(object),
        "Service" => round_trip::<Service>(object),
        "ServiceAccount" => round_trip::<ServiceAccount>(object),
        "NetworkPolicy" => round_trip::<NetworkPolicy>(object),
        "PodDisruptionBudget" => round_trip::<PodDisruptionBudget>(object),
        "ClusterRole" => round_trip::<ClusterRole>(object),
        "ClusterRoleBinding" => round_trip::<ClusterRoleBinding>(object),
        "PriorityClass" => round_trip::<PriorityClass>(object),
        "Role" => round_trip::<Role>(object),
        "RoleBinding" => round_trip::<RoleBinding>(object),
        "ValidatingAdmissionPolicy" => round_trip::<ValidatingAdmissionPolicy>(object),
        "ValidatingAdmissionPolicyBinding" => round_trip::<ValidatingAdmissionPolicyBinding>(object),
        "ServiceMonitor" => check_monitor(object, "endpoints"),
        "PodMonitor" => check_monitor(object, "podMetricsEndpoints"),
        // Compared with the files of crds/ elsewhere.
        "CustomResourceDefinition" => {}
        other => panic!("{set}: no type for {other}"),
    }
}

/// Every object once: Helm refuses the second one only in a cluster.
fn check_names(set: &str, objects: &Objects) {
    let mut names = std::collections::BTreeSet::new();
    for object in &objects.0 {
        let metadata = &object["metadata"];
        let name = format!(
            "{} {} {}",
            object["kind"], metadata["namespace"], metadata["name"]
        );
        assert!(names.insert(name.clone()), "{set}: {name} twice");
        let length = metadata["name"].as_str().unwrap().len();
        assert!(length <= 253, "{set}: {name}");
    }
}

#[test]
fn kubernetes_knows_every_field_of_every_set_of_values() {
    for (set, values) in SETS {
        let objects = render_with_hooks(values);
        assert!(!objects.0.is_empty(), "{set}");
        check_names(set, &objects);
        for object in &objects.0 {
            check(set, object);
        }
    }
}

#[test]
fn an_unknown_field_is_found() {
    let objects = render_with_hooks(&[r#"affinity={"nodeAffinities": {}}"#]);
    let deployment = objects.only("Deployment").clone();
    assert!(std::panic::catch_unwind(|| check("wrong", &deployment)).is_err());
}
