//! Installations of other kinds: by the administrator of a namespace, on a platform that chooses users, under labels and
//! registries of a company; and what `helm test` runs.

use std::collections::BTreeSet;
use std::path::Path;

use clap::Parser;
use peon_operator::api::OPERATOR;
use peon_operator::app::options::{Config, Other, PodUser, Program};
use peon_operator::middle_manager::controller::decide::objects::PodParts;
use serde_json::{Value, json};

use crate::access::{SELF_TEST, UNINSTALL_CHECK};
use crate::render::{FULL_NAME, NAMESPACE, Objects, render, render_with_hooks, root};
use crate::rights::{Rights, documented, rights, rights_of};

/// What a namespace's administrator may create is enough for an installation there.
#[test]
fn one_namespace_needs_nothing_of_the_cluster_where_that_is_said() {
    let objects = render_with_hooks(&[r#"scope="namespace""#, r#"parts="namespace""#]);
    let kinds: BTreeSet<&str> = objects.kinds().collect();
    let expected = [
        "ConfigMap",
        "Deployment",
        "Pod",
        "PodDisruptionBudget",
        "Role",
        "RoleBinding",
        "Service",
        "ServiceAccount",
    ];
    assert_eq!(kinds, expected.into());
    let priority = &objects.pod()["spec"]["priorityClassName"];
    assert!(priority.is_null(), "{priority} is not created");
    // Kubernetes lets nobody give rights that they do not have: an administrator gives these first.
    let cluster = render(&[r#"parts="cluster""#]);
    let of = |name: &str| rights_of(cluster.named("ClusterRole", &format!("{FULL_NAME}-{name}")));
    let installer: Rights = ["installer", "edit", "admin"].into_iter().flat_map(of).collect();
    for role in objects.all("Role") {
        let missing: Vec<_> = rights(role).difference(&installer).cloned().collect();
        assert!(missing.is_empty(), "{}: {missing:?}", role["metadata"]["name"]);
    }
}

#[test]
fn what_an_administrator_installs_once_has_no_operator_and_binds_nothing() {
    let objects = render_with_hooks(&[r#"parts="cluster""#]);
    let kinds: BTreeSet<&str> = objects.kinds().collect();
    let expected = [
        "ClusterRole",
        "CustomResourceDefinition",
        "ValidatingAdmissionPolicy",
        "ValidatingAdmissionPolicyBinding",
    ];
    assert_eq!(kinds, expected.into());
    let installer = objects.named("ClusterRole", &format!("{FULL_NAME}-installer"));
    let labels = installer["metadata"]["labels"].as_object().unwrap();
    assert!(!labels.keys().any(|l| l.contains("aggregate-to")));
    assert!(
        render(&[])
            .find("ClusterRole", &format!("{FULL_NAME}-installer"))
            .is_none()
    );
}

#[test]
fn a_hook_has_exactly_the_rights_that_the_code_documents() {
    let values = [r#"scope="namespace""#, r#"watchNamespace="druid""#];
    for (file, component) in [(SELF_TEST, "self-test"), (UNINSTALL_CHECK, "uninstall-check")] {
        let mut documented_rights = Rights::new();
        let only = |path: &Path| path.ends_with("app") || path.ends_with(file);
        documented(&root().join("src/app"), &only, &mut documented_rights);
        let objects = render_with_hooks(&values);
        let name = format!("{FULL_NAME}-{component}");
        let role = objects.named("Role", &name);
        assert_eq!(rights(role), documented_rights);
        assert_eq!(role["metadata"]["namespace"], "druid");
        assert_eq!(
            objects.named("RoleBinding", &name)["metadata"]["namespace"],
            "druid"
        );
    }
    // VirtualMiddleManagers are looked for where the operator has them.
    let name = format!("{FULL_NAME}-uninstall-check");
    let objects = render_with_hooks(&[]);
    assert!(objects.find("ClusterRole", &name).is_some() && objects.find("Role", &name).is_none());
    assert!(objects.find("ClusterRoleBinding", &name).is_some());
}

/// The program that a hook's pod runs, which is no pod of the operator.
fn hook(objects: &Objects, component: &str, hook: &str) -> Other {
    let pod = objects.named("Pod", &format!("{FULL_NAME}-{component}"));
    assert_eq!(pod["metadata"]["annotations"]["helm.sh/hook"], hook);
    let container = &pod["spec"]["containers"][0];
    assert_eq!(container["image"], objects.container()["image"]);
    // Neither a Service nor kubectl peon may take it for an operator.
    let labels = &pod["metadata"]["labels"];
    let selector = objects.only("Deployment")["spec"]["selector"]["matchLabels"]
        .as_object()
        .unwrap()
        .clone();
    assert!(
        selector.iter().any(|(key, value)| labels[key] != *value),
        "{labels}"
    );
    assert_eq!(labels["app.kubernetes.io/component"], component);
    let arguments: Vec<String> = serde_json::from_value(container["args"].clone()).unwrap();
    let arguments = [&["peon-operator".to_owned()][..], &arguments].concat();
    Program::try_parse_from(arguments).unwrap().other.unwrap()
}

#[test]
fn helm_test_runs_a_program_that_is_no_pod_of_the_operator() {
    let Other::SelfTest(test) = hook(&render_with_hooks(&[]), "self-test", "test") else {
        panic!("another program");
    };
    assert_eq!((test.namespace.as_str(), test.wait_seconds), (NAMESPACE, 60));
    assert!(render(&[]).all("Pod").is_empty());
    let off = ["selfTest.enabled=false", "uninstallCheck.enabled=false"];
    assert!(render_with_hooks(&off).all("Pod").is_empty());
}

#[test]
fn helm_uninstall_asks_whether_the_operator_may_go() {
    let one = [r#"scope="namespace""#, r#"watchNamespace="druid""#];
    for (values, expected) in [(&[][..], None), (&one[..], Some("druid"))] {
        let found = hook(&render_with_hooks(values), "uninstall-check", "pre-delete");
        let Other::UninstallCheck(check) = found else {
            panic!("another program");
        };
        assert_eq!(check.namespace.as_deref(), expected);
    }
    let without = render_with_hooks(&["middleManagers.enabled=false"]);
    assert!(
        without
            .find("Pod", &format!("{FULL_NAME}-uninstall-check"))
            .is_none()
    );
}

#[test]
fn the_operator_is_found_by_labels_that_no_name_changes() {
    for values in [&[][..], &[r#"nameOverride="x""#], &[r#"fullnameOverride="y""#]] {
        let labels = render(values).pod()["metadata"]["labels"].clone();
        assert_eq!(labels["app.kubernetes.io/part-of"], OPERATOR);
        assert_eq!(labels["app.kubernetes.io/component"], "operator");
    }
}

fn config(objects: &Objects) -> Config {
    let arguments = objects.arguments();
    Config::try_parse_from(std::iter::once("peon-operator".to_owned()).chain(arguments)).unwrap()
}

fn variable(objects: &Objects, name: &str) -> Option<String> {
    let env = objects.container()["env"].as_array()?.clone();
    let found = env.into_iter().find(|e| e["name"] == name)?;
    found["value"].as_str().map(str::to_owned)
}

/// No pod of any kind names a user, without a null in anybody's values.
#[test]
fn on_openshift_the_platform_chooses_every_user() {
    let objects = render_with_hooks(&[r#"platform="openshift""#]);
    let expected = json!({"runAsNonRoot": true, "seccompProfile": {"type": "RuntimeDefault"}});
    assert_eq!(objects.pod()["spec"]["securityContext"], expected);
    for hook in objects.all("Pod") {
        assert_eq!(hook["spec"]["securityContext"], expected);
    }
    assert_eq!(config(&objects).pod_user, PodUser::Platform);
    let workers = variable(&objects, "PEON_MIDDLE_MANAGER_POD").unwrap();
    assert!(workers.parse::<PodParts>().is_ok());
    let workers: Value = serde_json::from_str(&workers).unwrap();
    assert_eq!(workers["securityContext"], expected);
    let own = render(&[
        r#"platform="openshift""#,
        r#"middleManagers.podSpec={"securityContext": {"runAsUser": 5}}"#,
    ]);
    let workers: Value = serde_json::from_str(&variable(&own, "PEON_MIDDLE_MANAGER_POD").unwrap()).unwrap();
    assert_eq!(workers["securityContext"], json!({"runAsUser": 5}));
    assert_eq!(config(&render(&[])).pod_user, PodUser::Druid);
}

#[test]
fn a_companys_registry_replaces_the_images() {
    let image = |values: &[&str]| render(values).container()["image"].as_str().unwrap().to_owned();
    let version = env!("CARGO_PKG_VERSION");
    let company = r#"global.imageRegistry="registry.example.com:5000/mirror""#;
    for (repository, expected) in [
        (
            "ghcr.io/peon-operator/peon-operator",
            "peon-operator/peon-operator",
        ),
        ("localhost/peon-operator", "peon-operator"),
        ("localhost:5000/peon-operator", "peon-operator"),
        ("team/peon-operator", "team/peon-operator"),
        ("peon-operator", "peon-operator"),
    ] {
        let given = format!(r#"image.repository="{repository}""#);
        let found = image(&[company, &given]);
        assert_eq!(
            found,
            format!("registry.example.com:5000/mirror/{expected}:{version}"),
            "{repository}"
        );
        assert_eq!(image(&[&given]), format!("{repository}:{version}"));
    }
    let objects = render(&[company]);
    assert_eq!(
        variable(&objects, "PEON_IMAGE").as_deref(),
        objects.container()["image"].as_str()
    );
}

#[test]
fn every_object_has_the_common_labels_and_the_pods_have_their_own_first() {
    let objects = render_with_hooks(&[
        r#"commonLabels={"team": "ads", "cost": "1"}"#,
        r#"podLabels={"cost": "2"}"#,
    ]);
    for object in &objects.0 {
        assert_eq!(object["metadata"]["labels"]["team"], "ads", "{}", object["kind"]);
    }
    let pod = &objects.pod()["metadata"]["labels"];
    assert_eq!((&pod["team"], &pod["cost"]), (&json!("ads"), &json!("2")));
    // A Deployment's selector cannot be changed.
    let selector = &objects.only("Deployment")["spec"]["selector"]["matchLabels"];
    assert!(selector["team"].is_null());
}

#[test]
fn what_is_extra_reaches_the_pod_and_the_release() {
    let objects = render(&[
        r#"extraArgs=["--identity=me"]"#,
        r#"extraVolumes=[{"name": "x", "emptyDir": {}}]"#,
        r#"extraVolumeMounts=[{"name": "x", "mountPath": "/x"}]"#,
        r#"extraObjects=[{"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "{{ .Release.Name }}-a"}}, "apiVersion: v1\nkind: Secret\nmetadata: {name: b}"]"#,
    ]);
    assert_eq!(config(&objects).identity.as_deref(), Some("me"));
    let volumes = objects.pod()["spec"]["volumes"].as_array().unwrap();
    assert!(volumes.contains(&json!({"name": "x", "emptyDir": {}})));
    let mounts = objects.container()["volumeMounts"].as_array().unwrap();
    assert!(mounts.contains(&json!({"name": "x", "mountPath": "/x"})));
    for name in ["blue-a", "b"] {
        objects.named("Secret", name);
    }
}

#[test]
fn a_role_of_somebody_else_is_bound_to_workers() {
    let objects = render(&["rbac.create=false", r#"middleManagers.role="Role/theirs""#]);
    assert_eq!(
        variable(&objects, "PEON_MIDDLE_MANAGER_ROLE").as_deref(),
        Some("Role/theirs")
    );
    let role = config(&objects).middle_manager_role;
    assert!(role.is_none(), "it is given as a variable");
    let objects = render(&["rbac.create=false"]);
    assert_eq!(variable(&objects, "PEON_MIDDLE_MANAGER_ROLE"), None);
}

#[test]
fn certificates_of_a_private_authority_are_read_beside_the_images_own() {
    let objects = render(&[r#"logs.caConfigMap="company-ca""#]);
    let volumes = objects.pod()["spec"]["volumes"].as_array().unwrap();
    assert!(volumes.contains(&json!({"name": "log-ca", "configMap": {"name": "company-ca"}})));
    let mounts = objects.container()["volumeMounts"].as_array().unwrap();
    let mount = mounts.iter().find(|m| m["name"] == "log-ca").unwrap();
    let folders = variable(&objects, "SSL_CERT_DIR").unwrap();
    let folders: Vec<&str> = folders.split(':').collect();
    assert_eq!(folders, ["/etc/ssl/certs", mount["mountPath"].as_str().unwrap()]);
    assert_eq!(variable(&render(&[]), "SSL_CERT_DIR"), None);
}

#[test]
fn one_monitor_brings_that_of_the_workers() {
    for (monitor, operators) in [("serviceMonitor", 0), ("podMonitor", 1)] {
        let enabled = format!("metrics.{monitor}.enabled=true");
        let labels = format!(r#"metrics.{monitor}.labels={{"release": "prometheus"}}"#);
        let objects = render(&[&enabled, &labels]);
        assert_eq!(objects.all("PodMonitor").len(), operators + 1);
        let workers = objects.named("PodMonitor", &format!("{FULL_NAME}-middle-managers"));
        assert_eq!(workers["metadata"]["labels"]["release"], "prometheus");
        assert_eq!(workers["spec"]["namespaceSelector"], json!({"any": true}));
        let labels = &workers["spec"]["selector"]["matchLabels"];
        let expected =
            json!({"app.kubernetes.io/component": "middle-manager", "app.kubernetes.io/part-of": OPERATOR});
        assert_eq!(*labels, expected);
        let one = render(&[&enabled, r#"scope="namespace""#, r#"watchNamespace="druid""#]);
        let workers = one.named("PodMonitor", &format!("{FULL_NAME}-middle-managers"));
        assert_eq!(
            workers["spec"]["namespaceSelector"],
            json!({"matchNames": ["druid"]})
        );
        for off in ["metrics.middleManagers=false", "middleManagers.enabled=false"] {
            assert_eq!(render(&[&enabled, off]).all("PodMonitor").len(), operators);
        }
    }
    assert!(render(&[]).all("PodMonitor").is_empty());
}
