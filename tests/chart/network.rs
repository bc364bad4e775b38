//! Metrics and network policies.

use peon_operator::api::{LABEL_MANAGED_BY, OPERATOR};
use peon_operator::task::pod::PORT;
use serde_json::{Value, json};

use crate::render::{FULL_NAME, NAMESPACE, Objects, refusal, render};

const OPERATOR_POLICY: &str = "networkPolicy.operator.enabled=true";
const PEON_POLICY: &str = "networkPolicy.peons.enabled=true";

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
    let monitor = objects.only("PodMonitor");
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
    assert_eq!(ingress[0]["ports"], json!([{"protocol": "TCP", "port": port}]));
    assert_eq!(spec["egress"], json!([{}]));

    let objects = render(&[PEON_POLICY, "networkPolicy.peons.ingressFrom=[]"]);
    assert_eq!(policy(&objects, &name)["spec"]["ingress"], json!([]));
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
    assert_eq!(namespaces(&watched), ["druid"]);
    let listed = [PEON_POLICY, r#"networkPolicy.peons.namespaces=["a", "b"]"#];
    assert_eq!(namespaces(&listed), ["a", "b"]);
}
