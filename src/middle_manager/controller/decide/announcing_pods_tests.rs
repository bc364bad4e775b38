use serde_json::json;

use super::*;
use crate::api::VirtualMiddleManager;
use crate::middle_manager::controller::decide::objects::{LABEL_SERVES, PodParts, Surroundings};

fn manager(discovery: &Value) -> VirtualMiddleManager {
    serde_json::from_value(json!({
        "apiVersion": "peon.dev/v1alpha1", "kind": "VirtualMiddleManager",
        "metadata": {"name": "ingestion", "namespace": "druid", "uid": "u"},
        "spec": {
            "discovery": discovery, "overlord": {"url": "http://overlord:8090"}, "allowAnonymous": true,
            "identities": 3,
        },
    }))
    .unwrap()
}

fn surroundings() -> Surroundings {
    Surroundings {
        image: "image:1".into(),
        role: "ClusterRole/workers".parse().unwrap(),
        pod: r#"{"nodeSelector": {"pool": "control"}}"#.parse::<PodParts>().unwrap(),
    }
}

fn hosts() -> Vec<String> {
    vec!["10.0.0.1".into(), "fd00::1".into()]
}

fn on_pods() -> VirtualMiddleManager {
    manager(&json!({"kubernetes": {"clusterIdentifier": "analytics"}}))
}

#[test]
fn each_identity_has_a_pod_that_is_named_like_its_service() {
    let (manager, surroundings) = (on_pods(), surroundings());
    let objects = Objects::of(&manager, &surroundings);
    let set = objects.announcing_pods(&hosts()).unwrap();
    assert_eq!(set["spec"]["replicas"], 3);
    let set_name = set["metadata"]["name"].as_str().unwrap();
    let services = objects.services();
    for (ordinal, service) in (0_u16..).zip(&services) {
        assert_eq!(service["metadata"]["name"], format!("{set_name}-{ordinal}"));
        assert_eq!(
            announcing_pod("ingestion", ordinal),
            format!("{set_name}-{ordinal}")
        );
    }
    let container = &set["spec"]["template"]["spec"]["containers"][0];
    assert_eq!(
        container["args"],
        json!([
            "announcing-pod",
            "--pod=$(POD_NAME)",
            "--workers=$(POD_NAME).druid.svc:8091"
        ])
    );
    let mut by_address = on_pods();
    by_address.spec.advertise = crate::api::virtual_middle_manager::Advertise::ClusterIp;
    let set = Objects::of(&by_address, &surroundings)
        .announcing_pods(&hosts())
        .unwrap();
    let container = &set["spec"]["template"]["spec"]["containers"][0];
    assert_eq!(container["args"][2], "--workers=10.0.0.1:8091,[fd00::1]:8091");
    assert_eq!(set["metadata"]["ownerReferences"][0]["uid"], "u");
}

#[test]
fn their_template_announces_nothing_and_serves_nothing() {
    let (manager, surroundings) = (on_pods(), surroundings());
    let objects = Objects::of(&manager, &surroundings);
    let set = objects.announcing_pods(&hosts()).unwrap();
    let pod = &set["spec"]["template"];
    let labels = pod["metadata"]["labels"].as_object().unwrap();
    assert!(!pod.to_string().contains("druidDiscovery") && !pod.to_string().contains("druidNodeInfo"));
    assert!(
        !labels.contains_key(LABEL_SERVES),
        "no Service sends the overlord there"
    );
    assert!(
        !labels.contains_key(crate::api::LABEL_MANAGED_BY),
        "the operator takes it for no peon"
    );
    let selector = set["spec"]["selector"]["matchLabels"].as_object().unwrap();
    assert!(
        selector
            .iter()
            .all(|(label, value)| labels.get(label) == Some(value))
    );
    assert_eq!(pod["spec"]["automountServiceAccountToken"], false);
    assert_eq!(pod["spec"]["nodeSelector"]["pool"], "control");
}

#[test]
fn the_pod_may_patch_those_pods_and_no_others() {
    let (manager, surroundings) = (on_pods(), surroundings());
    let account = Objects::of(&manager, &surroundings).announcing_account();
    assert_eq!(
        account[0]["rules"],
        json!([{
            "apiGroups": [""], "resources": ["pods"], "verbs": ["patch"],
            "resourceNames": ["ingestion-vmm-0", "ingestion-vmm-1", "ingestion-vmm-2"],
        }])
    );
    assert_eq!(account[1]["roleRef"]["name"], account[0]["metadata"]["name"]);
    let subject = &account[1]["subjects"][0];
    assert_eq!(
        (&subject["name"], &subject["namespace"]),
        (&json!("ingestion-vmm"), &json!("druid"))
    );
}

#[test]
fn with_zookeeper_there_is_none_of_this() {
    let (manager, surroundings) = (
        manager(&json!({"zookeeper": {"hosts": "zookeeper:2181"}})),
        surroundings(),
    );
    let objects = Objects::of(&manager, &surroundings);
    assert_eq!(objects.announcing_pods(&hosts()), None);
    assert!(objects.announcing_account().is_empty());
}
