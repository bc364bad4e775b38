use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use serde_json::json;

use super::*;
use crate::api::conditions::{READY, find};
use crate::api::reason::ManagerReady;
use crate::middle_manager::controller::decide::objects::{PodParts, Surroundings};

fn surroundings() -> Surroundings {
    Surroundings {
        image: "image:1".into(),
        role: "ClusterRole/workers".parse().unwrap(),
        pod: PodParts::default(),
    }
}

/// With two identities, each reached at the address of its Service.
fn manager() -> VirtualMiddleManager {
    serde_json::from_value(json!({
        "apiVersion": "peon.dev/v1alpha1", "kind": "VirtualMiddleManager",
        "metadata": {"name": "ingestion", "namespace": "druid", "uid": "u", "generation": 1},
        "spec": {
            "discovery": {"zookeeper": {"hosts": "z:2181"}}, "overlord": {"url": "http://o:8090"},
            "authRef": {"name": "druid-escalator"}, "identities": 2, "advertise": "ClusterIP",
        },
    }))
    .unwrap()
}

fn service(address: &str) -> Value {
    json!({"spec": {"clusterIP": address}})
}

fn owned(name: &str) -> OwnedService {
    OwnedService {
        name: name.to_owned(),
        uid: Some(format!("uid of {name}")),
    }
}

fn deployment() -> Value {
    json!({
        "metadata": {"generation": 1},
        "status": {"observedGeneration": 1, "readyReplicas": 1, "replicas": 1, "updatedReplicas": 1},
    })
}

/// A step in few words.
fn words(step: &Step) -> String {
    match step {
        Step::Leave => "leave".into(),
        Step::Apply(part, object) => {
            format!("apply {part:?} {}", object["metadata"]["name"].as_str().unwrap())
        }
        Step::ListServices => "list".into(),
        Step::DeleteService(service) => format!("delete {}", service.name),
        Step::Settle(seen) => format!("settle {seen:?}"),
    }
}

type Given = fn(&mut VirtualMiddleManager);
type Change = fn(&mut Snapshot<'_>);

/// Each outcome is put in, and the next step follows from all of them.
#[test]
fn each_step_follows_from_the_outcomes_before_it() {
    let steps: [(&str, Change); 8] = [
        ("apply Service ingestion-vmm-0", |s| {
            s.services.push(service("10.0.0.1"));
        }),
        ("apply Service ingestion-vmm-1", |s| {
            s.services.push(service("10.0.0.2"));
        }),
        ("apply Account ingestion-vmm", |s| s.account.push(json!({}))),
        ("apply Account ingestion-vmm-", |s| s.account.push(json!({}))),
        ("apply Deployment ingestion-vmm", |s| {
            s.deployment = Some(deployment());
        }),
        ("list", |s| {
            let names = ["ingestion-vmm-1", "ingestion-vmm-2", "ingestion-vmm-0"];
            s.owned_services = Some(names.map(owned).to_vec());
        }),
        ("delete ingestion-vmm-2", |s| {
            s.owned_services.as_mut().unwrap().remove(1);
        }),
        ("settle Runs", |_| {}),
    ];
    let (manager, surroundings) = (manager(), surroundings());
    let mut snapshot = Snapshot::new(&manager, &surroundings);
    for (expected, outcome) in steps {
        let step = plan(&snapshot);
        assert!(
            words(&step).starts_with(expected),
            "{} for {expected}",
            words(&step)
        );
        if let Step::Apply(Part::Deployment, object) = &step {
            assert!(
                object.to_string().contains("--hosts=10.0.0.1,10.0.0.2"),
                "{object}"
            );
        }
        outcome(&mut snapshot);
    }
}

#[test]
fn some_passes_end_before_everything_is_applied() {
    let cases: [(&str, Given, Change); 6] = [
        (
            "leave",
            |m| {
                m.metadata.deletion_timestamp = Some(Time(Timestamp::UNIX_EPOCH));
            },
            |_| {},
        ),
        ("settle NoAuthentication", |m| m.spec.auth_ref = None, |_| {}),
        (
            "settle Failed",
            |m| drop(m.spec.task_labels.insert("peon.dev/x".into(), "y".into())),
            |_| {},
        ),
        ("settle NoAddress", |_| {}, |s| s.services.push(service(""))),
        (
            "settle Conflict(\"shop\")",
            |_| {},
            |s| s.name_conflict = Some("shop".into()),
        ),
        (
            "settle NotReady",
            |_| {},
            |s| {
                s.services = vec![service("10.0.0.1"), service("10.0.0.2")];
                s.account = vec![json!({}), json!({})];
                s.deployment = Some(json!({}));
                s.owned_services = Some(Vec::new());
            },
        ),
    ];
    for (expected, change, outcomes) in cases {
        let (mut manager, surroundings) = (manager(), surroundings());
        change(&mut manager);
        let mut snapshot = Snapshot::new(&manager, &surroundings);
        outcomes(&mut snapshot);
        let step = words(&plan(&snapshot));
        assert!(step.starts_with(expected), "{step} for {expected}");
    }
}

#[test]
fn a_name_conflict_is_looked_at_again_sooner() {
    for (seen, reason, requeue) in [
        (Seen::Runs, ManagerReady::Starting, 300),
        (Seen::NoAddress, ManagerReady::NoAddress, 300),
        (Seen::Failed("x".into()), ManagerReady::NotCreated, 300),
        (Seen::Conflict("x".into()), ManagerReady::NameConflict, 15),
    ] {
        let settlement = settle(&manager(), &seen, Timestamp::UNIX_EPOCH);
        assert_eq!(settlement.requeue, Duration::from_secs(requeue), "{seen:?}");
        let conditions = settlement.conditions.unwrap();
        assert_eq!(find(&conditions, READY).unwrap().reason, reason.as_str());
    }
}

#[test]
fn announcing_pods_come_before_the_pod_that_writes_on_them() {
    let (mut manager, surroundings) = (manager(), surroundings());
    manager.spec.discovery =
        serde_json::from_value(json!({"kubernetes": {"clusterIdentifier": "analytics"}})).unwrap();
    let mut snapshot = Snapshot::new(&manager, &surroundings);
    snapshot.services = vec![service("10.0.0.1"), service("10.0.0.2")];
    let mut said = Vec::new();
    for _ in 0..4 {
        said.push(words(&plan(&snapshot)));
        snapshot.account.push(json!({}));
    }
    assert_eq!(
        said[2..],
        [
            "apply Account ingestion-vmm-announcer",
            "apply Account ingestion-vmm-announcer"
        ]
    );
    assert_eq!(words(&plan(&snapshot)), "apply AnnouncingPods ingestion-vmm");
    snapshot.announcing_pods = Some(json!({}));
    assert_eq!(words(&plan(&snapshot)), "apply Deployment ingestion-vmm");
}
