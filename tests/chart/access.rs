//! Roles: the operator's hold exactly the verbs that the code says it uses.

use std::path::Path;

use peon_operator::api::{
    ANNOTATION_AVAILABILITY_GROUP, ANNOTATION_DATA_SOURCE, ANNOTATION_OVERLORD, ANNOTATION_REQUIRED_CAPACITY,
    ANNOTATION_TASK_ID, ANNOTATION_TASK_TYPE, LABEL_IDENTITY, LABEL_MIDDLE_MANAGER,
};
use serde_json::{Value, json};

use crate::render::{FULL_NAME, NAMESPACE, Objects, render, root};
use crate::rights::{Rights, documented, rights, table};

/// Group and resource, verbs, and the names that they are narrowed to.
const TASKS: [(&str, &[&str]); 9] = [
    ("peon.dev/peontasks", &["delete", "get", "list", "watch"]),
    ("peon.dev/peontemplates", &["list", "watch"]),
    ("peon.dev/peontasks/status", &["patch"]),
    ("peon.dev/peontemplates/status", &["patch"]),
    ("/pods/log", &["get"]),
    ("/pods", &["create", "delete", "get", "list", "patch", "watch"]),
    ("/configmaps", &["create", "get"]),
    ("/secrets", &["get"]),
    ("/events", &["list"]),
];
/// What it needs for VirtualMiddleManagers.
const MANAGERS: [(&str, &[&str]); 11] = [
    ("peon.dev/virtualmiddlemanagers", &["list", "watch"]),
    ("peon.dev/virtualmiddlemanagers/status", &["patch"]),
    ("peon.dev/indexerpools", &["list", "watch"]),
    ("/pods/resize", &["patch"]),
    ("policy/poddisruptionbudgets", &["create", "delete", "patch"]),
    ("peon.dev/indexerpools/status", &["patch"]),
    ("apps/deployments", &["create", "get", "list", "patch", "watch"]),
    ("/services", &["create", "delete", "get", "list", "patch"]),
    ("/serviceaccounts", &["create", "get", "patch"]),
    (
        "rbac.authorization.k8s.io/rolebindings",
        &["create", "get", "patch"],
    ),
    ("rbac.authorization.k8s.io/clusterroles", &["bind"]),
];
/// What their pods need.
const MANAGER_PODS: [(&str, &[&str]); 9] = [
    ("peon.dev/peontasks", &["create", "get", "list", "patch", "watch"]),
    ("peon.dev/peontasks/status", &["patch"]),
    ("peon.dev/virtualmiddlemanagers", &["get", "list", "watch"]),
    ("peon.dev/virtualmiddlemanagers/status", &["patch"]),
    ("peon.dev/indexerpools/status", &["patch"]),
    ("/pods", &["list", "watch"]),
    ("/pods/log", &["get"]),
    ("/secrets", &["create"]),
    ("/configmaps", &["create"]),
];
/// What they need beside it to submit tasks whose payload stands in chunks.
const CHUNKS: [(&str, &[&str]); 2] = [("/secrets", &["get"]), ("/configmaps", &["get"])];
/// What the operator needs beside it where workers are announced on pods.
const ANNOUNCING_PODS: [(&str, &[&str]); 2] = [
    ("apps/statefulsets", &["create", "get", "patch"]),
    ("rbac.authorization.k8s.io/roles", &["create", "get", "patch"]),
];
/// What the pods of a VirtualMiddleManager get then, by a Role that the operator creates and that names the announcing pods.
const BY_NAME: [(&str, &[&str]); 1] = [("/pods", &["patch"])];
const WARNINGS: (&str, &[&str]) = ("events.k8s.io/events", &["create", "patch"]);
const NODES: (&str, &[&str]) = ("/nodes", &["get", "list", "watch"]);
const LEASES: (&str, &[&str]) = ("coordination.k8s.io/leases", &["create", "get", "update"]);

/// The controller of VirtualMiddleManagers, which is the operator's.
const CONTROLLER: &str = "middle_manager/controller";
/// The process of a VirtualMiddleManager's pod.
const WORKERS: &str = "app/workers.rs";

/// The pod of `helm test`.
pub const SELF_TEST: &str = "app/self_test.rs";

/// The pod of `helm uninstall`.
pub const UNINSTALL_CHECK: &str = "app/uninstall_check.rs";

/// Whether the operator acts there: the command line does with its user's rights, the pod of a VirtualMiddleManager and
/// those of Helm's hooks with their own.
fn is_operators(path: &Path) -> bool {
    !path.ends_with("cli")
        && !path.ends_with(SELF_TEST)
        && !path.ends_with(UNINSTALL_CHECK)
        && !path.ends_with(WORKERS)
        && (!path.parent().is_some_and(|p| p.ends_with("middle_manager")) || path.ends_with(CONTROLLER))
}

fn lease_role(objects: &Objects) -> &Value {
    objects.named("Role", &format!("{FULL_NAME}-lease"))
}

fn task_rights() -> Rights {
    table(TASKS.into_iter().chain([WARNINGS]).chain(MANAGERS))
}

#[test]
fn the_operator_has_exactly_the_rights_of_the_table() {
    let objects = render(&[]);
    assert_eq!(rights(objects.named("ClusterRole", FULL_NAME)), task_rights());
    let nodes = objects.named("ClusterRole", &format!("{FULL_NAME}-{NAMESPACE}-nodes"));
    assert_eq!(rights(nodes), table([NODES]));
    let lease = lease_role(&objects);
    assert_eq!(rights(lease), table([LEASES]));
    assert_eq!(lease["metadata"]["namespace"], NAMESPACE);
}

#[test]
fn the_operator_has_exactly_the_rights_that_the_code_documents() {
    let mut documented_rights = Rights::new();
    documented(&root().join("src"), &is_operators, &mut documented_rights);
    let objects = render(&["middleManagers.kubernetesDiscovery=true"]);
    let mut granted = rights(objects.named("ClusterRole", FULL_NAME));
    granted.extend(rights(
        objects.named("ClusterRole", &format!("{FULL_NAME}-{NAMESPACE}-nodes")),
    ));
    granted.extend(rights(lease_role(&objects)));
    assert_eq!(granted, documented_rights);
}

#[test]
fn the_pods_of_middle_managers_have_exactly_the_rights_that_the_code_documents() {
    let pods = |path: &Path| !path.ends_with(CONTROLLER);
    let mut expected = Rights::new();
    documented(&root().join("src/middle_manager"), &pods, &mut expected);
    let workers = |path: &Path| path.ends_with(WORKERS);
    documented(&root().join("src/app"), &workers, &mut expected);
    for (values, kind) in [(vec![], "ClusterRole"), (vec![r#"scope="namespace""#], "Role")] {
        let objects = render(&values);
        let name = format!("{FULL_NAME}-middle-manager");
        let role = objects.named(kind, &name);
        assert_eq!(rights(role), table(MANAGER_PODS));
        let submitting = render(&[&values[..], &["middleManagers.submissions=true"]].concat());
        let with_chunks = rights(submitting.named(kind, &name));
        assert_eq!(with_chunks, table(MANAGER_PODS.into_iter().chain(CHUNKS)));
        assert_eq!(&with_chunks | &table(BY_NAME), expected);
        // The operator can give this one away, and no other.
        let operator = objects.named(kind, FULL_NAME)["rules"].as_array().unwrap();
        let mut bind = operator.iter().filter(|r| r["verbs"] == json!(["bind"]));
        assert_eq!(bind.next().unwrap()["resourceNames"], json!([name]));
        assert_eq!(bind.next(), None);
    }
    let without = render(&["middleManagers.enabled=false"]);
    assert_eq!(
        rights(without.named("ClusterRole", FULL_NAME)),
        table(TASKS.into_iter().chain([WARNINGS]))
    );
    assert!(
        without
            .find("ClusterRole", &format!("{FULL_NAME}-middle-manager"))
            .is_none()
    );
    assert!(
        !without.container()["env"]
            .to_string()
            .contains("PEON_MIDDLE_MANAGER_ROLE")
    );
}

/// The operator may create Roles only where that is wanted, and the API server lets it give no right that it has not.
#[test]
fn announcing_on_pods_needs_rights_of_its_own() {
    for (values, kind) in [(vec![], "ClusterRole"), (vec![r#"scope="namespace""#], "Role")] {
        let without = rights(render(&values).named(kind, FULL_NAME));
        let values = [&values[..], &["middleManagers.kubernetesDiscovery=true"]].concat();
        let objects = render(&values);
        let with = rights(objects.named(kind, FULL_NAME));
        assert_eq!(&with - &without, table(ANNOUNCING_PODS));
        assert!(with.is_superset(&table(BY_NAME)), "what it gives away");
        let pods = objects.named(kind, &format!("{FULL_NAME}-middle-manager"));
        assert_eq!(rights(pods), table(MANAGER_PODS), "none but the Role of each");
    }
}

#[test]
fn only_the_own_lease_can_be_read_and_changed() {
    for (values, name) in [
        (vec![], FULL_NAME),
        (vec![r#"leaderElection.leaseName="mine""#], "mine"),
    ] {
        let objects = render(&values);
        let rules = lease_role(&objects)["rules"].as_array().unwrap().clone();
        for rule in rules {
            let names = rule.get("resourceNames");
            if rule["verbs"] == json!(["create"]) {
                assert_eq!(names, None);
            } else {
                assert_eq!(names, Some(&json!([name])));
            }
        }
        assert!(objects.arguments().contains(&format!("--lease-name={name}")));
    }
}

#[test]
fn one_namespace_needs_no_cluster_role() {
    for (watch, values) in [
        ("druid", vec![r#"scope="namespace""#, r#"watchNamespace="druid""#]),
        (NAMESPACE, vec![r#"scope="namespace""#]),
    ] {
        let mut values = values;
        values.push("rbac.nodes=false");
        let objects = render(&values);
        assert!(objects.find("ClusterRole", FULL_NAME).is_none());
        assert!(objects.all("ClusterRoleBinding").is_empty());
        let role = objects.named("Role", FULL_NAME);
        assert_eq!(role["metadata"]["namespace"], watch);
        let of_a_namespace: Rights = task_rights()
            .into_iter()
            .map(|(resource, verb)| (resource.replace("clusterroles", "roles"), verb))
            .collect();
        assert_eq!(rights(role), of_a_namespace);
        let binding = objects.named("RoleBinding", FULL_NAME);
        assert_eq!(binding["metadata"]["namespace"], watch);
        let lease = objects.named("Role", &format!("{FULL_NAME}-lease"));
        assert_eq!(lease["metadata"]["namespace"], NAMESPACE);
        assert!(objects.arguments().contains(&format!("--namespace={watch}")));
    }
    let everywhere = render(&[]).arguments();
    assert!(!everywhere.iter().any(|a| a.starts_with("--namespace")));
}

#[test]
fn one_namespace_gives_no_right_in_the_cluster_but_to_read_nodes() {
    // With all of it, no ClusterRole of this installation has more than nodes, and who has it aggregated is a user.
    let objects = render(&[r#"scope="namespace""#]);
    for role in objects.all("ClusterRole") {
        let rights = rights(role);
        let is_users = role["metadata"]["labels"]
            .as_object()
            .unwrap()
            .keys()
            .any(|l| l.contains("aggregate-to"));
        assert!(is_users || rights == table([NODES]), "{rights:?}");
        assert!(
            !rights
                .iter()
                .any(|(resource, _)| ["/secrets", "/pods", "/configmaps"].contains(&resource.as_str()))
        );
    }
}

#[test]
fn every_binding_is_of_a_role_that_exists_to_the_operators_account() {
    for values in [
        vec![],
        vec![r#"scope="namespace""#],
        vec![r#"serviceAccount={"name": "other"}"#],
    ] {
        let objects = render(&values);
        let account = &objects.only("ServiceAccount")["metadata"]["name"];
        assert_eq!(objects.pod()["spec"]["serviceAccountName"], *account);
        let mut bindings = objects.all("RoleBinding");
        bindings.extend(objects.all("ClusterRoleBinding"));
        assert_eq!(bindings.len(), 3);
        for binding in bindings {
            let role = &binding["roleRef"];
            objects.named(role["kind"].as_str().unwrap(), role["name"].as_str().unwrap());
            let subject = json!({"kind": "ServiceAccount", "name": account, "namespace": NAMESPACE});
            assert_eq!(binding["subjects"], json!([subject]));
        }
    }
}

#[test]
fn roles_and_accounts_may_be_somebody_elses() {
    let none = |objects: &Objects, kinds: &[&str]| {
        for kind in kinds {
            assert!(objects.all(kind).is_empty(), "{kind}");
        }
    };
    let all = ["Role", "RoleBinding", "ClusterRole", "ClusterRoleBinding"];
    none(
        &render(&[
            "rbac.create=false",
            "rbac.aggregate=false",
            "rbac.archiveReader=false",
        ]),
        &all,
    );
    let objects = render(&[r#"serviceAccount={"create": false, "name": "theirs"}"#]);
    none(&objects, &["ServiceAccount"]);
    assert_eq!(objects.pod()["spec"]["serviceAccountName"], "theirs");
}

/// Who may forward a port of the operator may read all archived logs: nobody may, unless an administrator says so.
#[test]
fn the_archive_may_be_read_by_whom_an_administrator_names() {
    for values in [vec![], vec![r#"scope="namespace""#, r#"watchNamespace="druid""#]] {
        let objects = render(&values);
        let name = format!("{FULL_NAME}-archive-reader");
        let role = objects.named("Role", &name);
        let expected: [(&str, &[&str]); 2] = [
            ("/pods", &["get", "list"]),
            ("/pods/portforward", &["get", "create"]),
        ];
        assert_eq!(rights(role), table(expected));
        assert_eq!(role["metadata"]["namespace"], NAMESPACE);
        let mut bindings = objects.all("RoleBinding");
        bindings.extend(objects.all("ClusterRoleBinding"));
        assert!(bindings.iter().all(|b| b["roleRef"]["name"] != *name));
        // It is not added to what a cluster's own roles allow.
        let labels = role["metadata"]["labels"].as_object().unwrap();
        assert!(!labels.keys().any(|l| l.contains("aggregate-to")));
        let without = [&values[..], &["rbac.archiveReader=false"]].concat();
        assert!(render(&without).find("Role", &name).is_none());
    }
    let arguments = render(&[]).arguments();
    assert!(arguments.contains(&"--archive-listen=127.0.0.1:8081".to_owned()));
}

#[test]
fn people_get_their_rights_through_the_clusters_own_roles() {
    let objects = render(&[]);
    let verbs =
        |verbs: &'static [&str]| table([("peon.dev/peontasks", verbs), ("peon.dev/peontemplates", verbs)]);
    let managers = |verbs: &'static [&str]| {
        table([
            ("peon.dev/virtualmiddlemanagers", verbs),
            ("peon.dev/indexerpools", verbs),
        ])
    };
    let labels = |role: &Value| {
        let labels = role["metadata"]["labels"].as_object().unwrap();
        let aggregate = |l: &&String| l.contains("aggregate-to");
        labels.keys().filter(aggregate).cloned().collect::<Vec<_>>()
    };
    let label = |role: &str| format!("rbac.authorization.k8s.io/aggregate-to-{role}");
    let view = objects.named("ClusterRole", &format!("{FULL_NAME}-view"));
    let reading = &["get", "list", "watch"];
    assert_eq!(rights(view), &verbs(reading) | &managers(reading));
    assert_eq!(labels(view), [label("admin"), label("edit"), label("view")]);
    let edit = objects.named("ClusterRole", &format!("{FULL_NAME}-edit"));
    let all = &["get", "list", "watch", "create", "update", "patch", "delete"];
    assert_eq!(rights(edit), verbs(all));
    assert_eq!(labels(edit), [label("admin"), label("edit")]);
    let admin = objects.named("ClusterRole", &format!("{FULL_NAME}-admin"));
    let scale: &'static [&str] = &["get", "update", "patch"];
    let scale = table([("peon.dev/indexerpools/scale", scale)]);
    assert_eq!(rights(admin), &managers(all) | &scale);
    assert_eq!(labels(admin), [label("admin")]);
    let without = render(&["rbac.aggregate=false"]);
    assert_eq!(without.all("ClusterRole").len(), 3);
}

#[test]
fn what_marks_an_assigned_task_is_kept_from_everybody_else() {
    let name = format!("{FULL_NAME}-{NAMESPACE}-assigned-tasks");
    let kinds = ["ValidatingAdmissionPolicy", "ValidatingAdmissionPolicyBinding"];
    let objects = render(&[]);
    let policy = objects.named(kinds[0], &name);
    let expression = policy["spec"]["validations"][0]["expression"].as_str().unwrap();
    for key in [
        LABEL_MIDDLE_MANAGER,
        LABEL_IDENTITY,
        ANNOTATION_OVERLORD,
        ANNOTATION_TASK_ID,
        ANNOTATION_TASK_TYPE,
        ANNOTATION_DATA_SOURCE,
        ANNOTATION_AVAILABILITY_GROUP,
        ANNOTATION_REQUIRED_CAPACITY,
    ] {
        assert!(expression.contains(&format!("'{key}'")), "{key}");
    }
    // An account is known by its namespace, its group and a right that the operator gives, not by its name alone.
    let variables = policy["spec"]["variables"].as_array().unwrap();
    let manager = variables.iter().find(|v| v["name"] == "isMiddleManager").unwrap();
    let manager = manager["expression"].as_str().unwrap();
    for part in [
        "'system:serviceaccount:' + request.namespace + ':'",
        "('system:serviceaccounts:' + request.namespace) in request.userInfo.groups",
        "authorizer.group('peon.dev').resource('virtualmiddlemanagers').subresource('status')",
        ".namespace(request.namespace).name(object.spec.middleManagerRef.name).check('patch').allowed()",
    ] {
        assert!(manager.contains(part), "{part}: {manager}");
    }
    let role = objects.named("ClusterRole", &format!("{FULL_NAME}-middle-manager"));
    let right = (
        "peon.dev/virtualmiddlemanagers/status".to_owned(),
        "patch".to_owned(),
    );
    assert!(rights(role).contains(&right));
    let binding = &objects.named(kinds[1], &name)["spec"];
    assert_eq!(binding["policyName"], name);
    assert_eq!(binding["validationActions"], json!(["Deny"]));
    assert!(binding["matchResources"].is_null(), "all namespaces");
    let objects = render(&[r#"scope="namespace""#]);
    let selector = &objects.named(kinds[1], &name)["spec"]["matchResources"]["namespaceSelector"];
    assert_eq!(selector["matchLabels"]["kubernetes.io/metadata.name"], NAMESPACE);
    for without in [
        "middleManagers.enabled=false",
        "middleManagers.admissionPolicy=false",
    ] {
        let objects = render(&[without, "boundsPolicy=false"]);
        for kind in kinds {
            assert!(objects.all(kind).is_empty(), "{without}");
        }
    }
}

#[test]
fn what_is_beyond_all_bounds_is_refused_where_it_enters() {
    let name = format!("{FULL_NAME}-{NAMESPACE}-bounds");
    let kinds = ["ValidatingAdmissionPolicy", "ValidatingAdmissionPolicyBinding"];
    let objects = render(&[]);
    let policy = &objects.named(kinds[0], &name)["spec"];
    assert_eq!(
        policy["matchConstraints"]["resourceRules"][0]["resources"],
        json!(["peontasks"])
    );
    assert_eq!(objects.named(kinds[1], &name)["spec"]["policyName"], name);
    let objects = render(&[r#"scope="namespace""#]);
    let selector = &objects.named(kinds[1], &name)["spec"]["matchResources"]["namespaceSelector"];
    assert_eq!(selector["matchLabels"]["kubernetes.io/metadata.name"], NAMESPACE);
    let objects = render(&["boundsPolicy=false"]);
    for kind in kinds {
        let names = objects.all(kind);
        assert!(names.iter().all(|o| o["metadata"]["name"] != name), "{kind}");
    }
}
