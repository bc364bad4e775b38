use super::*;
use crate::cli::tasks::tests::task;
use crate::druid::payload::LARGEST_INLINE;
use crate::payload::chunks::{Chunks, Kind};
use serde_json::json;

const NOOP: &str = r#"{"type":"noop", "id":"Index_Wiki ü:2026", "x": 1.50}"#;

fn new(text: &str, wishes: &Wishes) -> New {
    of_payload(text, wishes).unwrap()
}

#[test]
fn a_payload_becomes_a_task_with_the_wishes_of_the_command_line() {
    let wishes = Wishes {
        name: Some("nightly".into()),
        template: Some("large".into()),
        memory: Some("4Gi".into()),
        cpu: Some("2".into()),
        registration: Some(Registration::External),
        suspend: true,
        labels: vec![("team".into(), "ads".into())],
        secret: false,
    };
    let made = new(NOOP, &wishes);
    assert_eq!(made.chunks, None);
    assert_eq!(
        json!(made.task),
        json!({
            "apiVersion": "peon.dev/v1alpha1", "kind": "PeonTask",
            "metadata": {"name": "nightly", "labels": {"team": "ads"}},
            "spec": {
                "taskJson": NOOP, "templateRef": {"name": "large"}, "registration": "External", "suspend": true,
                "resources": {"limits": {"cpu": "2", "memory": "4Gi"}},
            },
        })
    );
}

#[test]
fn a_made_name_is_legal_readable_and_always_the_same() {
    let named = |text: &str| new(text, &Wishes::default()).task.name_any();
    let name = named(NOOP);
    assert!(name.starts_with("index-wiki-2026-"), "{name}");
    assert_eq!(name.len(), "index-wiki-2026-".len() + 8);
    // One id is one task, whatever else the payload says.
    assert_eq!(named(&NOOP.replace("1.50", "2")), name);
    let (one, two) = (named(r#"{"type":"noop"}"#), named(r#"{"type":"noop","x":1}"#));
    assert!(one.starts_with("noop-") && one != two, "{one} {two}");
    let odd = named(r#"{"type":"noop","id":"ü"}"#);
    assert!(odd.starts_with("task-"), "{odd}");
    let long = named(&format!(r#"{{"type":"noop","id":"{}"}}"#, "a:".repeat(120)));
    assert!(long.len() <= 53 && check_name(&long).is_ok(), "{long}");
}

#[test]
fn a_large_or_secret_payload_goes_into_chunks_that_the_task_owns() {
    let large = format!(r#"{{"type":"noop","pad":"{}"}}"#, "x".repeat(LARGEST_INLINE));
    let mut made = new(&large, &Wishes::default());
    let from = made.task.spec.task_from.clone().unwrap();
    assert_eq!(from.sha256, hex(&Sha256::digest(large.as_bytes())));
    made.task.metadata.uid = Some("u".into());
    let objects = made.objects(&made.task);
    assert_eq!(objects.len(), from.config_maps.len());
    assert_eq!(objects[0]["metadata"]["name"], *from.config_maps[0].name);
    assert_eq!(objects[0]["metadata"]["ownerReferences"][0]["uid"], "u");
    let secret = Wishes {
        secret: true,
        ..Wishes::default()
    };
    let made = new(NOOP, &secret);
    assert_eq!(made.task.spec.task_from.as_ref().unwrap().secrets.len(), 1);
    assert_eq!(made.task.spec.task_json, None);
    assert_eq!(made.objects(&made.task)[0]["kind"], "Secret");
    let largest = format!(r#"{{"type":"noop","pad":"{}"}}"#, "x".repeat(16 << 20));
    assert!(of_payload(&largest, &Wishes::default()).is_err());
}

#[test]
fn a_peontask_stays_as_it_is_unless_its_payload_is_too_large() {
    let mut written = task("a", json!({"task": {"type": "noop"}}), json!({"phase": "Failed"}));
    let kept = of_task(written.clone(), &Wishes::default()).unwrap();
    assert_eq!(kept.task.spec, written.spec);
    assert_eq!((kept.task.status, kept.task.metadata.uid), (None, None));
    let pad = Value::from("x".repeat(LARGEST_INLINE));
    let Value::Object(payload) = json!({"type": "noop", "pad": pad}) else {
        unreachable!()
    };
    written.spec.task = Some(payload.into());
    let moved = of_task(written, &Wishes::default()).unwrap();
    assert_eq!(moved.task.spec.task, None);
    assert_eq!(moved.objects(&moved.task).len(), 1);
}

#[test]
fn what_cannot_be_is_refused_before_anything_is_created() {
    let error = |text: &str| of_payload(text, &Wishes::default()).unwrap_err();
    assert!(error("{}").contains("no type"));
    assert!(error(r#"{"type":"noop","id":7}"#).contains("not a string"));
    assert!(error(r#"{"type":"noop","id":"a/b"}"#).contains("not legal in Druid"));
    let wish = |wishes: Wishes| of_payload(NOOP, &wishes).unwrap_err();
    let bad_memory = Wishes {
        memory: Some("much".into()),
        ..Wishes::default()
    };
    assert!(wish(bad_memory).starts_with("--memory: "));
    let bad_name = Wishes {
        name: Some("Up_Per".into()),
        ..Wishes::default()
    };
    assert!(wish(bad_name).contains("not an object name"));
    let both = task(
        "a",
        json!({"task": {"type": "noop"}, "taskJson": "{}"}),
        json!({}),
    );
    assert!(
        of_task(both, &Wishes::default())
            .unwrap_err()
            .contains("exactly one")
    );
    let mut nameless = task("a", json!({"task": {"type": "noop"}}), json!({}));
    nameless.metadata.name = None;
    assert!(
        of_task(nameless, &Wishes::default())
            .unwrap_err()
            .contains("metadata.name")
    );
}

#[test]
fn a_repetition_is_told_from_another_task_of_the_same_name() {
    let json_of = |text: &str| task("a", json!({"taskJson": text}), json!({}));
    assert_eq!(difference(&json_of("{}"), &json_of("{}")), None);
    assert_eq!(difference(&json_of("{}"), &json_of("{ }")), Some("payload"));
    let object = |x: Value| task("a", json!({"task": {"type": "noop", "x": [x]}}), json!({}));
    assert_eq!(difference(&object(json!(1.0)), &object(json!(1))), None);
    assert_eq!(difference(&object(json!(2)), &object(json!(1))), Some("payload"));
    assert_eq!(difference(&object(json!(1)), &json_of("{}")), Some("payload"));
    let mut secret = json_of("{}");
    let chunks = Chunks::split(b"{}").unwrap();
    (secret.spec.task_json, secret.spec.task_from) = (None, Some(chunks.task_from("a", Kind::Secret)));
    assert_eq!(
        difference(&json_of("{}"), &secret),
        Some("payload location (--secret)")
    );
    assert_eq!(difference(&secret, &secret), None);
    let mut other = json_of("{}");
    other.spec.template_ref = Some(TemplateRef { name: "large".into() });
    assert_eq!(difference(&json_of("{}"), &other), Some("settings"));
    // Desires are changed by other commands.
    let mut held = json_of("{}");
    held.spec.suspend = true;
    assert_eq!(difference(&held, &json_of("{}")), None);
}
