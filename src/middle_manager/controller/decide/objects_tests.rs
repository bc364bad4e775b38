use super::*;

#[allow(clippy::needless_pass_by_value)] // `json!` is handed over as it is written.
fn manager(more: Value) -> VirtualMiddleManager {
    let mut spec = json!({
        "discovery": {"zookeeper": {"hosts": "zookeeper:2181"}},
        "overlord": {"url": "http://overlord:8090"},
    });
    spec.as_object_mut()
        .unwrap()
        .extend(more.as_object().unwrap().clone());
    serde_json::from_value(json!({
        "apiVersion": "peon.dev/v1alpha1", "kind": "VirtualMiddleManager",
        "metadata": {"name": "ingestion", "namespace": "druid", "uid": "u"},
        "spec": spec,
    }))
    .unwrap()
}

fn surroundings() -> Surroundings {
    Surroundings {
        image: "image:1".into(),
        role: "ClusterRole/peon-operator-middle-manager".parse().unwrap(),
        pod: PodParts::default(),
    }
}

#[test]
fn each_identity_has_a_service_and_all_have_one_pod() {
    let manager = manager(json!({"identities": 3}));
    let surroundings = surroundings();
    let objects = Objects::of(&manager, &surroundings);
    let services = objects.services();
    assert_eq!(services.len(), 3);
    let deployment = objects.deployment(&["a".into(), "b".into(), "c".into()]);
    let pod = &deployment["spec"]["template"];
    for (ordinal, service) in services.iter().enumerate() {
        assert_eq!(service["metadata"]["name"], format!("ingestion-vmm-{ordinal}"));
        assert_eq!(service["spec"]["ports"][0]["port"], 8091);
        let target = &service["spec"]["ports"][0]["targetPort"];
        let ports = pod["spec"]["containers"][0]["ports"].as_array().unwrap();
        assert!(ports.iter().any(|p| p["containerPort"] == *target), "{target}");
        for (label, value) in service["spec"]["selector"].as_object().unwrap() {
            assert_eq!(pod["metadata"]["labels"][label], *value);
        }
    }
    let arguments = pod["spec"]["containers"][0]["args"].as_array().unwrap();
    assert!(arguments.iter().any(|a| a == "--hosts=a,b,c"), "{arguments:?}");
}

#[test]
fn the_pod_is_none_of_the_operators_and_no_peon_is_behind_a_service() {
    let manager = manager(json!({}));
    let surroundings = surroundings();
    let objects = Objects::of(&manager, &surroundings);
    let deployment = objects.deployment(&[]);
    let labels = &deployment["spec"]["template"]["metadata"]["labels"];
    assert_eq!(labels.get(crate::api::LABEL_MANAGED_BY), None);
    assert_eq!(labels.get(crate::api::LABEL_MIDDLE_MANAGER), None);
}

#[test]
fn hosts_are_names_or_addresses() {
    let surroundings = surroundings();
    let by_name = manager(json!({}));
    let service = json!({"spec": {"clusterIP": "10.0.0.7"}});
    let host = |manager: &VirtualMiddleManager, service: &Value| {
        Objects::of(manager, &surroundings).host(1, service)
    };
    assert_eq!(
        host(&by_name, &service).as_deref(),
        Some("ingestion-vmm-1.druid.svc")
    );
    let by_address = manager(json!({"advertise": "ClusterIP"}));
    assert_eq!(host(&by_address, &service).as_deref(), Some("10.0.0.7"));
    assert_eq!(host(&by_address, &json!({"spec": {}})), None);
}

#[test]
fn only_the_secrets_that_are_named_reach_the_pod() {
    let surroundings = surroundings();
    let none = manager(json!({"submissions": {"enabled": false, "authRef": {"name": "submitter"}}}));
    let volumes = |manager: &VirtualMiddleManager| {
        let deployment = Objects::of(manager, &surroundings).deployment(&[]);
        let volumes = deployment["spec"]["template"]["spec"]["volumes"]
            .as_array()
            .unwrap()
            .clone();
        volumes
            .iter()
            .map(|v| v["secret"]["secretName"].as_str().unwrap().to_owned())
            .collect::<Vec<_>>()
    };
    assert_eq!(volumes(&none), Vec::<String>::new());
    let all = manager(json!({
        "authRef": {"name": "a"}, "tlsRef": {"name": "b"}, "overlord": {"url": "https://o:8290", "caRef": {"name": "c"}},
        "discovery": {"zookeeper": {"hosts": "z:2181", "authRef": {"name": "d"}}},
        "submissions": {"enabled": true, "authRef": {"name": "e"}},
    }));
    assert_eq!(volumes(&all), ["a", "b", "c", "d", "e"]);
    let objects = Objects::of(&all, &surroundings);
    assert_eq!(objects.port(), 8291);
}

#[test]
fn what_is_created_goes_with_its_owner() {
    let manager = manager(json!({}));
    let surroundings = surroundings();
    let objects = Objects::of(&manager, &surroundings);
    let all = [
        objects.services(),
        objects.account(),
        vec![objects.deployment(&[])],
    ]
    .concat();
    for object in all {
        let owner = &object["metadata"]["ownerReferences"][0];
        assert_eq!(
            (&owner["uid"], &owner["kind"]),
            (&json!("u"), &json!("VirtualMiddleManager")),
            "{object}"
        );
        assert_eq!(object["metadata"]["namespace"], "druid");
    }
    assert!("Deployment/x".parse::<Role>().is_err() && "ClusterRole/".parse::<Role>().is_err());
}

/// What the process reads once comes into force with another pod; what it follows does not need one.
#[test]
fn a_change_that_the_process_does_not_follow_replaces_the_pod() {
    let surroundings = surroundings();
    let template = |more: Value| {
        let manager = manager(more);
        Objects::of(&manager, &surroundings).deployment(&["a".into(), "b".into()])["spec"]["template"].clone()
    };
    let before = template(json!({}));
    for same in [
        json!({}),
        json!({"capacity": 3}),
        json!({"category": "x"}),
        json!({"version": "1"}),
        json!({"submissions": {"enabled": true, "taskTypes": ["kill"]}}),
    ] {
        assert_eq!(template(same.clone()), before, "{same}");
    }
    for other in [
        json!({"overlord": {"url": "http://another:8090"}}),
        json!({"discovery": {"zookeeper": {"hosts": "another:2181"}}}),
        json!({"discovery": {"zookeeper": {"hosts": "zookeeper:2181", "basePath": "/other"}}}),
        json!({"payload": "Inline"}),
        json!({"taskLabels": {"team": "ads"}}),
        json!({"authRef": {"name": "druid"}}),
        json!({"submissions": {"enabled": true, "authRef": {"name": "submitter"}}}),
    ] {
        assert_ne!(template(other.clone()), before, "{other}");
    }
}

#[test]
fn labels_that_no_task_could_have_are_named() {
    let wrong = |key: &str, value: &str| invalid_label(&[(key.to_owned(), value.to_owned())].into());
    for (key, value) in [("team", "ads"), ("example.com/team", ""), ("a", "b.c_d")] {
        assert_eq!(wrong(key, value), None, "{key}={value}");
    }
    for (key, value) in [
        ("team", "ads team"),
        ("", "x"),
        ("peon.dev/identity", "0"),
        ("a b", "c"),
    ] {
        assert!(
            wrong(key, value).is_some_and(|m| m.contains(key)),
            "{key}={value}"
        );
    }
}

#[test]
fn another_role_gets_another_binding() {
    let manager = manager(json!({}));
    let name = |role: &str| {
        let surroundings = Surroundings {
            role: role.parse().unwrap(),
            ..surroundings()
        };
        Objects::of(&manager, &surroundings).account()[1]["metadata"]["name"].clone()
    };
    assert_ne!(
        name("ClusterRole/a-middle-manager"),
        name("Role/a-middle-manager")
    );
}

#[test]
fn an_identity_that_drains_is_served_on() {
    let mut manager = manager(json!({"identities": 1}));
    let identity = |ordinal: u16, drain: Value| json!({"ordinal": ordinal, "address": "a", "announced": true, "disabled": true, "used": 1, "drain": drain});
    let surroundings = surroundings();
    for (drain, served) in [(Value::Null, 2), (json!("Draining"), 2), (json!("Drained"), 1)] {
        let status = json!({"identities": [identity(0, Value::Null), identity(1, drain)]});
        manager.status = serde_json::from_value(status).unwrap();
        let objects = Objects::of(&manager, &surroundings);
        assert_eq!(objects.services().len(), served);
        let ports = &objects.deployment(&[])["spec"]["template"]["spec"]["containers"][0]["ports"];
        assert_eq!(
            ports.as_array().unwrap().len(),
            served + 1,
            "and that of the probes"
        );
    }
}

#[test]
fn the_largest_assignment_is_said_and_fits() {
    let surroundings = surroundings();
    let default = usize::try_from(manager(json!({})).spec.max_task_bytes).unwrap();
    assert_eq!(default, crate::middle_manager::http::routes::BODY_LIMIT);
    for (bytes, argument, memory) in [
        (67_108_864, "--body-limit=67108864", "544Mi"),
        (1024, "--body-limit=1024", "198Mi"),
    ] {
        let manager = manager(json!({"maxTaskBytes": bytes}));
        let deployment = Objects::of(&manager, &surroundings).deployment(&[]);
        let container = &deployment["spec"]["template"]["spec"]["containers"][0];
        assert!(container["args"].as_array().unwrap().contains(&json!(argument)));
        assert_eq!(container["resources"]["limits"]["memory"], memory);
    }
}

#[test]
fn the_pod_fits_its_cluster() {
    let parts = json!({
        "imagePullSecrets": [{"name": "registry"}],
        "nodeSelector": {"pool": "druid"},
        "tolerations": [{"key": "druid", "operator": "Exists"}],
        "securityContext": {"runAsNonRoot": true},
    });
    let surroundings = Surroundings {
        pod: parts.to_string().parse().unwrap(),
        ..surroundings()
    };
    let manager = manager(json!({}));
    let deployment = Objects::of(&manager, &surroundings).deployment(&[]);
    let spec = &deployment["spec"]["template"]["spec"];
    for field in ["imagePullSecrets", "nodeSelector", "securityContext"] {
        assert_eq!(spec[field], parts[field], "{field}");
    }
    assert_eq!(spec["tolerations"].as_array().unwrap().len(), 3, "its own stay");
    for wrong in ["[]", "{", r#"{"containers": []}"#, r#"{"volumes": []}"#] {
        assert!(wrong.parse::<PodParts>().is_err(), "{wrong}");
    }
}
