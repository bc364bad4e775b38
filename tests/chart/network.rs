//! Metrics and network policies.

use peon_operator::api::virtual_middle_manager::MOST_IDENTITIES;
use peon_operator::api::{LABEL_MANAGED_BY, LABEL_POOL, OPERATOR, VirtualMiddleManager};
use peon_operator::druid::indexer_ports::{INDEXER_PORT, INDEXER_TLS_PORT};
use peon_operator::middle_manager::controller::decide::objects::{self, Surroundings};
use peon_operator::task::accept::peon_ports::PEON_TLS_PORT;
use peon_operator::task::run::pod::build::PORT;
use serde_json::{Value, json};

use crate::render::{FULL_NAME, NAMESPACE, Objects, refusal, render};

const OPERATOR_POLICY: &str = "networkPolicy.operator.enabled=true";
const PEON_POLICY: &str = "networkPolicy.peons.enabled=true";
const MANAGER_POLICY: &str = "networkPolicy.middleManagers.enabled=true";

fn selects_the_pods(objects: &Objects, selector: &Value) -> bool {
    let labels = objects.pod()["metadata"]["labels"].as_object().unwrap();
    let selector = selector.as_object().unwrap();
    !selector.is_empty() && selector.iter().all(|(k, v)| labels.get(k) == Some(v))
}

fn policy<'a>(objects: &'a Objects, name: &str) -> &'a Value {
    let policy = objects.named("NetworkPolicy", name);
    // Both are named, so that what is not allowed is refused.
    assert_eq!(policy["spec"]["policyTypes"], json!(["Ingress", "Egress"]));
    policy
}

#[test]
fn the_metrics_have_a_service() {
    let objects = render(&["metrics.service.port=9000"]);
    let service = objects.only("Service");
    assert!(selects_the_pods(&objects, &service["spec"]["selector"]));
    let port = json!([{"name": "http", "port": 9000, "targetPort": "http"}]);
    assert_eq!(service["spec"]["ports"], port);
    assert_eq!(
        objects.container()["ports"],
        json!([{"name": "http", "containerPort": 8080}, {"name": "archive", "containerPort": 8081}])
    );
    assert!(
        render(&["metrics.service.enabled=false"])
            .all("Service")
            .is_empty()
    );
}

#[test]
fn monitors_are_offered() {
    let objects = render(&[]);
    assert!(objects.all("ServiceMonitor").is_empty() && objects.all("PodMonitor").is_empty());

    let objects = render(&[r#"metrics.serviceMonitor={"enabled": true, "labels": {"release": "prom"}}"#]);
    let monitor = objects.only("ServiceMonitor");
    assert_eq!(monitor["metadata"]["labels"]["release"], "prom");
    assert_eq!(monitor["spec"]["endpoints"][0]["port"], "http");
    let selected = monitor["spec"]["selector"]["matchLabels"].as_object().unwrap();
    let service = &objects.only("Service")["metadata"]["labels"];
    assert!(selected.iter().all(|(k, v)| service[k] == *v));

    let objects = render(&["metrics.podMonitor.enabled=true", "metrics.service.enabled=false"]);
    let monitor = objects.named("PodMonitor", FULL_NAME);
    assert!(selects_the_pods(
        &objects,
        &monitor["spec"]["selector"]["matchLabels"]
    ));
    assert_eq!(monitor["spec"]["podMetricsEndpoints"][0]["port"], "http");
}

#[test]
fn monitors_that_make_no_sense_are_refused() {
    let said = refusal(&[
        "metrics.serviceMonitor.enabled=true",
        "metrics.service.enabled=false",
    ]);
    assert!(said.contains("needs metrics.service.enabled"), "{said}");
    let said = refusal(&[
        "metrics.serviceMonitor.enabled=true",
        "metrics.podMonitor.enabled=true",
    ]);
    assert!(said.contains("twice"), "{said}");
}

#[test]
fn network_policies_are_off() {
    assert!(render(&[]).all("NetworkPolicy").is_empty());
}

#[test]
fn nobody_reaches_the_operator_unless_named() {
    let objects = render(&[OPERATOR_POLICY]);
    let spec = &policy(&objects, FULL_NAME)["spec"];
    assert!(selects_the_pods(&objects, &spec["podSelector"]["matchLabels"]));
    // A rule with an empty `from` would let everybody in.
    assert_eq!(spec["ingress"], json!([]));
    let ports: Vec<_> = spec["egress"].as_array().unwrap().iter().collect();
    assert!(ports.iter().all(|rule| rule["ports"].is_array()), "{ports:?}");

    let peer = r#"[{"namespaceSelector": {"matchLabels": {"a": "b"}}}]"#;
    let objects = render(&[
        OPERATOR_POLICY,
        &format!("networkPolicy.operator.ingressFrom={peer}"),
    ]);
    let peer: Value = serde_json::from_str(peer).unwrap();
    let rule = json!([{"from": peer, "ports": [{"protocol": "TCP", "port": 8080}]}]);
    assert_eq!(policy(&objects, FULL_NAME)["spec"]["ingress"], rule);
}

#[test]
fn peons_are_reached_at_their_port_only() {
    let name = format!("{FULL_NAME}-peons");
    let objects = render(&[PEON_POLICY]);
    let policy_ = policy(&objects, &name);
    assert_eq!(policy_["metadata"]["namespace"], NAMESPACE);
    let spec = &policy_["spec"];
    assert_eq!(
        spec["podSelector"]["matchLabels"],
        json!({ LABEL_MANAGED_BY: OPERATOR })
    );
    let ingress = spec["ingress"].as_array().unwrap();
    assert_eq!(ingress.len(), 1);
    let port: u16 = PORT.parse().unwrap();
    let ports = |tls: u16| json!([{"protocol": "TCP", "port": port}, {"protocol": "TCP", "port": tls}]);
    assert_eq!(ingress[0]["ports"], ports(PEON_TLS_PORT));
    let other = render(&[PEON_POLICY, "networkPolicy.peons.tlsPort=8101"]);
    assert_eq!(policy(&other, &name)["spec"]["ingress"][0]["ports"], ports(8101));
    assert_eq!(spec["egress"], json!([{}]));

    let objects = render(&[PEON_POLICY, "networkPolicy.peons.ingressFrom=[]"]);
    assert_eq!(policy(&objects, &name)["spec"]["ingress"], json!([]));
}

/// An Indexer is called by the operator, and by whoever calls a peon.
#[test]
fn indexers_are_reached_at_another_port() {
    let name = format!("{FULL_NAME}-indexers");
    let objects = render(&[PEON_POLICY, r#"networkPolicy.peons.namespaces=["a"]"#]);
    let indexers = objects.named("NetworkPolicy", &name);
    assert_eq!(indexers["metadata"]["namespace"], "a");
    let spec = &indexers["spec"];
    assert_eq!(
        spec["podSelector"],
        json!({
            "matchLabels": {LABEL_MANAGED_BY: OPERATOR},
            "matchExpressions": [{"key": LABEL_POOL, "operator": "Exists"}],
        })
    );
    // The policy of peons selects them, too, and says where they may connect to.
    assert_eq!(spec["policyTypes"], json!(["Ingress"]));
    let peons = policy(&objects, &format!("{FULL_NAME}-peons"));
    let from = &peons["spec"]["ingress"][0]["from"];
    let ports = [INDEXER_PORT, INDEXER_TLS_PORT].map(|port| json!({"protocol": "TCP", "port": port}));
    let ports = json!(ports);
    assert_eq!(spec["ingress"], json!([{"from": from, "ports": ports}]));
    let operator = render(&[OPERATOR_POLICY]);
    let egress = policy(&operator, FULL_NAME)["spec"]["egress"].as_array().unwrap();
    assert!(egress.iter().any(|rule| rule["ports"] == ports), "{egress:?}");

    for values in [
        [PEON_POLICY, "networkPolicy.peons.ingressFrom=[]"],
        [PEON_POLICY, "middleManagers.enabled=false"],
    ] {
        let policies = render(&values).all("NetworkPolicy").len();
        assert_eq!(policies, 1, "{values:?}");
    }
}

/// The pod of a VirtualMiddleManager, as the operator makes it with what the chart hands on to it.
fn worker(objects: &Objects) -> Value {
    let manager = json!({
        "apiVersion": "peon.dev/v1alpha1", "kind": "VirtualMiddleManager", "metadata": {"name": "m", "namespace": "druid"},
        "spec": {
            "discovery": {"zookeeper": {"hosts": "zookeeper:2181"}}, "overlord": {"url": "http://overlord:8090"},
            "identities": 1, "capacity": 1,
        },
    });
    let manager: VirtualMiddleManager = serde_json::from_value(manager).unwrap();
    let handed_on = objects.container()["env"].as_array().unwrap().clone();
    let pod = handed_on.iter().find(|v| v["name"] == "PEON_MIDDLE_MANAGER_POD");
    let surroundings = Surroundings {
        image: "image".into(),
        role: "Role/x".parse().unwrap(),
        pod: pod.map_or_else(Default::default, |v| {
            v["value"].as_str().unwrap().parse().unwrap()
        }),
    };
    let deployment = objects::Objects::of(&manager, &surroundings).deployment(&["host".into()]);
    deployment["spec"]["template"].clone()
}

#[test]
fn the_workers_of_an_overlord_are_reached_from_their_namespace_only() {
    let name = format!("{FULL_NAME}-middle-managers");
    let objects = render(&[MANAGER_POLICY]);
    let spec = &policy(&objects, &name)["spec"];
    let selector = spec["podSelector"]["matchLabels"].as_object().unwrap();
    let worker = worker(&objects);
    for (label, value) in selector {
        assert_eq!(worker["metadata"]["labels"][label], *value, "{label}");
    }
    // Neither peons nor the operator, whose ports are others.
    assert!(
        !selector.contains_key(LABEL_MANAGED_BY) && selector.len() == 2,
        "{selector:?}"
    );
    assert!(!selects_the_pods(&objects, &spec["podSelector"]["matchLabels"]));
    let first = objects::FIRST_POD_PORT;
    let ports = json!([{"protocol": "TCP", "port": first, "endPort": first + MOST_IDENTITIES - 1}]);
    assert_eq!(
        spec["ingress"],
        json!([{"from": [{"podSelector": {}}], "ports": ports}])
    );
    assert_eq!(spec["egress"], json!([{}]));

    let peer = r#"[{"ipBlock": {"cidr": "192.0.2.0/24"}}]"#;
    let metrics = format!("networkPolicy.middleManagers.metricsFrom={peer}");
    let nobody = "networkPolicy.middleManagers.ingressFrom=[]";
    let objects = render(&[MANAGER_POLICY, nobody]);
    assert_eq!(policy(&objects, &name)["spec"]["ingress"], json!([]));
    let objects = render(&[MANAGER_POLICY, nobody, &metrics]);
    let peer: Value = serde_json::from_str(peer).unwrap();
    let rule = json!([{"from": peer, "ports": [{"protocol": "TCP", "port": objects::HEALTH_PORT}]}]);
    assert_eq!(policy(&objects, &name)["spec"]["ingress"], rule);
    // Pods that carry announcements reach the workers, whoever else may.
    let objects = render(&[MANAGER_POLICY, nobody, "middleManagers.kubernetesDiscovery=true"]);
    let ingress = &policy(&objects, &name)["spec"]["ingress"];
    let from = &ingress[0]["from"][0]["podSelector"]["matchLabels"];
    assert_eq!(from["app.kubernetes.io/component"], "announcement");
    assert_eq!((&ingress[0]["ports"], &ingress[1]), (&ports, &Value::Null));
}

/// A node that is full of peons makes room for those who watch them.
#[test]
fn operator_and_workers_have_a_priority_of_their_own() {
    let classes = |objects: &Objects| {
        let worker = worker(objects)["spec"]["priorityClassName"].clone();
        (objects.pod()["spec"]["priorityClassName"].clone(), worker)
    };
    let objects = render(&[]);
    let class = objects.only("PriorityClass");
    let name = &class["metadata"]["name"];
    assert_eq!(*name, format!("{FULL_NAME}-{NAMESPACE}-1000000"));
    assert_eq!(
        (&class["value"], &class["globalDefault"]),
        (&json!(1_000_000), &json!(false))
    );
    assert_eq!(class["preemptionPolicy"], "PreemptLowerPriority");
    assert_eq!(classes(&objects), (name.clone(), name.clone()));
    // A PriorityClass cannot be changed: another value is another one.
    let objects = render(&["priorityClass.value=-5"]);
    let class = objects.only("PriorityClass");
    assert_eq!(
        class["metadata"]["name"],
        format!("{FULL_NAME}-{NAMESPACE}-minus-5")
    );
    assert_eq!(class["value"], -5);

    let objects = render(&[r#"priorityClassName="theirs""#]);
    assert!(objects.all("PriorityClass").is_empty());
    assert_eq!(classes(&objects), (json!("theirs"), json!("theirs")));
    let objects = render(&[r#"middleManagers.podSpec={"priorityClassName": "other"}"#]);
    assert_eq!(classes(&objects).1, "other");
    let objects = render(&["priorityClass.create=false"]);
    assert!(objects.all("PriorityClass").is_empty());
    assert_eq!(classes(&objects), (Value::Null, Value::Null));
}

#[test]
fn the_policy_of_peons_is_where_the_peons_are() {
    let namespaces = |values: &[&str]| {
        let objects = render(values);
        let namespace = |o: &&Value| o["metadata"]["namespace"].as_str().unwrap().to_owned();
        objects
            .all("NetworkPolicy")
            .iter()
            .map(namespace)
            .collect::<Vec<_>>()
    };
    let watched = [PEON_POLICY, r#"scope="namespace""#, r#"watchNamespace="druid""#];
    // Of peons, and of Indexers.
    assert_eq!(namespaces(&watched), ["druid", "druid"]);
    let listed = [PEON_POLICY, r#"networkPolicy.peons.namespaces=["a", "b"]"#];
    assert_eq!(namespaces(&listed), ["a", "a", "b", "b"]);
    let watched = [
        MANAGER_POLICY,
        r#"scope="namespace""#,
        r#"watchNamespace="druid""#,
    ];
    assert_eq!(namespaces(&watched), ["druid"]);
    let listed = [
        MANAGER_POLICY,
        r#"networkPolicy.middleManagers.namespaces=["a", "b"]"#,
    ];
    assert_eq!(namespaces(&listed), ["a", "b"]);
}
