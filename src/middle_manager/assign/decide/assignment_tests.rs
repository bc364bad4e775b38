#![allow(clippy::needless_pass_by_value)] // `json!` is handed over as it is written.

use serde_json::json;

use super::*;
use crate::api::TemplateRef;
use crate::middle_manager::object_fixtures::at;

fn maker(payload: PayloadPlace) -> Maker {
    Maker {
        middle_manager: "vmm".into(),
        uid: "vmm-uid".into(),
        namespace: "ns".into(),
        labels: BTreeMap::from([
            ("team".to_owned(), "ads".to_owned()),
            (LABEL_IDENTITY.to_owned(), "9".to_owned()),
        ]),
        payload,
    }
}

fn assigned(json: serde_json::Value) -> Assigned {
    Assigned {
        id: json["id"].as_str().unwrap_or_default().to_owned(),
        json: json.to_string(),
    }
}

fn new(id: &str, nth: u32) -> New {
    let card = facts(id, "index_kafka", None);
    let json = json!({"type": "index_kafka", "id": id}).to_string();
    maker(PayloadPlace::Secret)
        .task(Ordinal(1), &card, &json, nth)
        .unwrap()
}

/// A recorded assignment, shortened.
#[test]
fn what_an_assigned_task_says_of_itself_is_read_from_it() {
    let (card, wrong) = read(&assigned(json!({
        "type": "index_kafka", "id": "a", "groupId": "g",
        "resource": {"availabilityGroup": "index_kafka_w_1a2b", "requiredCapacity": 2},
        "dataSchema": {"dataSource": "wiki"}, "context": {"forceTimeChunkLock": true},
    })));
    assert_eq!(wrong, None);
    assert_eq!(
        card,
        TaskFacts {
            id: "a".into(),
            task_type: "index_kafka".into(),
            data_source: "wiki".into(),
            resource: crate::druid::worker::TaskResource {
                availability_group: "index_kafka_w_1a2b".into(),
                required_capacity: 2,
            },
        }
    );
    for odd in [
        json!(null),
        json!({}),
        json!({"requiredCapacity": 0}),
        json!({"availabilityGroup": null}),
        json!(7),
    ] {
        let (card, wrong) = read(&assigned(json!({"type": "noop", "id": "a", "resource": odd})));
        assert_eq!((card, wrong), (facts("a", "noop", None), None));
    }
}

#[test]
fn a_task_that_can_never_run_says_so_with_all_that_is_known_of_it() {
    let wrong = |json: serde_json::Value| read(&assigned(json));
    let (card, why) = wrong(json!({"type": "noop", "id": "nul\0x"}));
    assert_eq!(card.task_type, "noop");
    assert!(why.unwrap().contains("not legal in Druid"));
    let (card, why) = wrong(json!({"id": "a"}));
    assert_eq!((card.id.as_str(), card.task_type.as_str()), ("a", ""));
    assert!(why.unwrap().contains("no type"));
    let other = Assigned {
        id: "b".into(),
        json: r#"{"type":"noop","id":"a"}"#.into(),
    };
    assert!(read(&other).1.unwrap().contains(r#""a", not "b""#));
}

#[test]
fn a_task_is_kept_with_its_payload_in_secrets_and_nothing_that_others_say() {
    let new = new("Ünï id: 1/2", 0);
    let metadata = &new.task.metadata;
    assert_eq!(metadata.namespace.as_deref(), Some("ns"));
    assert_eq!(
        json!(metadata.labels),
        json!({"team": "ads", "peon.dev/middle-manager": "vmm", "peon.dev/identity": "1"})
    );
    assert_eq!(new.task.annotations()[ANNOTATION_TASK_ID], "Ünï id: 1/2");
    let from = new.task.spec.task_from.clone().unwrap();
    assert_eq!(from.secrets.len(), 1);
    assert_eq!(
        json!(new.task.spec),
        json!({"taskFrom": from, "middleManagerRef": {"name": "vmm"}}),
        "neither resources nor options"
    );
    let objects = new.objects(&new.task);
    assert_eq!(objects[0]["kind"], "Secret");
}

#[test]
fn inline_means_inline_where_it_is_small() {
    let card = facts("a", "noop", None);
    let of = |json: &str| {
        maker(PayloadPlace::Inline)
            .task(Ordinal(0), &card, json, 0)
            .unwrap()
    };
    let small = of("{}");
    assert_eq!(
        (small.task.spec.task_json.as_deref(), &small.chunks),
        (Some("{}"), &None)
    );
    let large = of(&"x".repeat(200_000));
    assert_eq!(large.chunks.unwrap().1, Kind::ConfigMap);
    assert!(
        maker(PayloadPlace::Secret)
            .task(Ordinal(0), &card, &"x".repeat((16 << 20) + 1), 0)
            .is_err()
    );
}

#[test]
fn names_are_legal_readable_and_the_same_for_the_same_task() {
    let name = |id: &str, nth| new(id, nth).task.name_any();
    let first = name("a", 0);
    assert!(
        first.starts_with("index-kafka-") && first.len() == "index-kafka-".len() + 16,
        "{first}"
    );
    assert_eq!(first, name("a", 0));
    assert_ne!(first, name("b", 0));
    assert_eq!(name("a", 3), format!("{first}-3"));
    let of = |maker: &Maker, type_: &str| {
        let card = facts("a", type_, None);
        maker.task(Ordinal(0), &card, "{}", 15).unwrap().task.name_any()
    };
    let long = of(&maker(PayloadPlace::Secret), &"Very_Long.Type".repeat(20));
    assert!(
        names::is_dns_label(&names::attempt(&long, 99)) && names::attempt(&long, 99) == format!("{long}-99"),
        "{long}"
    );
    assert!(names::is_object_name(&of(&maker(PayloadPlace::Secret), "ü")));
    let other = Maker {
        middle_manager: "other".into(),
        ..maker(PayloadPlace::Secret)
    };
    assert_ne!(
        of(&other, "noop"),
        of(&maker(PayloadPlace::Secret), "noop"),
        "two Druid clusters may have the same ids"
    );
}

#[test]
fn labels_select_what_was_made() {
    let long = Maker {
        middle_manager: "x".repeat(100),
        ..maker(PayloadPlace::Secret)
    };
    let card = facts("a", "noop", None);
    let made = long.task(Ordinal(0), &card, "{}", 0).unwrap().task;
    let label = &made.labels()[LABEL_MIDDLE_MANAGER];
    assert!(names::is_label_value(label));
    assert_eq!(long.selector(), format!("peon.dev/middle-manager={label}"));
}

#[test]
fn only_the_same_task_is_taken_for_the_same() {
    let json = json!({"type": "index_kafka", "id": "a"}).to_string();
    let wanted = new("a", 0);
    let judge = |change: fn(&mut PeonTask)| {
        let mut existing = wanted.task.clone();
        existing.metadata.uid = Some("u".into());
        existing.metadata.creation_timestamp =
            Some(k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(at(0)));
        change(&mut existing);
        Existing::of(&existing, &wanted, &json, at(3600))
    };
    let same = Existing::Same(wanted.chunks.clone());
    assert_eq!(judge(|_| {}), same);
    // What users may change, the operator writes, and another identity.
    assert_eq!(judge(|t| (t.spec.suspend, t.spec.cancel) = (true, true)), same);
    assert_eq!(
        judge(|t| drop(t.labels_mut().insert(LABEL_IDENTITY.into(), "0".into()))),
        same
    );
    let other = |what| Existing::Other(what);
    assert_eq!(judge(|t| t.metadata.labels = None), other("VirtualMiddleManager"));
    assert_eq!(
        judge(|t| t.spec.middle_manager_ref = None),
        other("VirtualMiddleManager")
    );
    assert_eq!(
        judge(|t| drop(t.labels_mut().remove(LABEL_IDENTITY))),
        other("identity")
    );
    assert_eq!(judge(|t| t.metadata.annotations = None), other("task id"));
    let payload = |t: &mut PeonTask| t.spec.task_from.as_mut().unwrap().sha256 = "0".repeat(64);
    assert_eq!(judge(payload), other("payload"));
    assert_eq!(
        judge(|t| t.spec.task_from = None),
        other("payload"),
        "an object's numbers may have been rewritten"
    );
    assert_eq!(
        judge(|t| t.spec.template_ref = Some(TemplateRef { name: "x".into() })),
        other("settings")
    );
    assert_eq!(
        judge(|t| t.spec.java_opts = vec!["-javaagent:x".into()]),
        other("settings")
    );
    let elsewhere = |t: &mut PeonTask| t.spec.task_from.as_mut().unwrap().secrets[0].name = "x".into();
    assert_eq!(judge(elsewhere), other("payload location"));
}

#[test]
fn a_task_that_was_kept_in_another_place_is_completed_there() {
    let card = facts("a", "noop", None);
    let json = "x".repeat(200_000);
    let made = |place| maker(place).task(Ordinal(0), &card, &json, 0).unwrap();
    let (secret, config_map) = (made(PayloadPlace::Secret), made(PayloadPlace::Inline));
    for (existing, wanted) in [(&secret, &config_map), (&config_map, &secret)] {
        assert_eq!(
            Existing::of(&existing.task, wanted, &json, at(0)),
            Existing::Same(existing.chunks.clone())
        );
    }
    let made = |place| maker(place).task(Ordinal(0), &card, "{}", 0).unwrap();
    let (secret, inline) = (made(PayloadPlace::Secret), made(PayloadPlace::Inline));
    assert_eq!(
        Existing::of(&inline.task, &secret, "{}", at(0)),
        Existing::Same(None)
    );
    assert_eq!(
        Existing::of(&secret.task, &inline, "{}", at(0)),
        Existing::Same(secret.chunks)
    );
}

/// Of a Druid whose metadata was lost, or restored.
#[test]
fn an_id_may_live_again_long_after_it_was_forgotten() {
    let json = json!({"type": "index_kafka", "id": "a"}).to_string();
    let wanted = new("a", 0);
    let mut existing = wanted.task.clone();
    existing.metadata.creation_timestamp = Some(k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(at(0)));
    existing
        .annotations_mut()
        .insert(ANNOTATION_OVERLORD.into(), FORGOTTEN.into());
    let judge = |existing: &PeonTask, now| Existing::of(existing, &wanted, &json, at(now));
    let same = Existing::Same(wanted.chunks.clone());
    assert_eq!(judge(&existing, 3600), same, "it has no verdict");
    existing.status = serde_json::from_value(crate::middle_manager::object_fixtures::succeeded()).unwrap();
    assert_eq!(judge(&existing, 3600), Existing::Other("lifetime"));
    assert_eq!(
        judge(&existing, 599),
        same,
        "the same assignment may have been sent again"
    );
    existing.annotations_mut().remove(ANNOTATION_OVERLORD);
    assert_eq!(judge(&existing, 3600), same);
}
