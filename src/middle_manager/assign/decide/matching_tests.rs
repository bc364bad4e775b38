use serde_json::{Value, json};

use super::*;

fn said() -> Provenance {
    Provenance {
        middle_manager: "vmm-uid".into(),
        name: "nightly".into(),
        uid: "u".into(),
        task_id: "a".into(),
        task_hash: "sha256:x".into(),
    }
}

/// A PeonTask that was submitted as `a`, in this state.
fn submitted(state: &str, extra: &Value) -> PeonTask {
    let mut task = json!({
        "apiVersion": "peon.dev/v1alpha1", "kind": "PeonTask",
        "metadata": {"name": "nightly", "namespace": "ns", "uid": "u"},
        "spec": {"middleManagerRef": {"name": "vmm"}},
        "status": {"submission": {"state": state, "taskId": "a", "taskHash": "sha256:x"}},
    });
    if let Some(identity) = extra.get("identity") {
        task["status"]["submission"]["identity"] = identity.clone();
    }
    if extra.get("cancel").is_some() {
        task["spec"]["cancel"] = json!(true);
    }
    if extra.get("of").is_some() {
        task["spec"]["middleManagerRef"]["name"] = json!("other");
    }
    serde_json::from_value(task).unwrap()
}

#[test]
fn what_is_done_about_a_peon_task_follows_from_what_was_recorded() {
    let none = json!({});
    for (task, expected) in [
        (None, "ended"),
        (Some(submitted("Submitted", &json!({"cancel": true}))), "ended"),
        (Some(submitted("Submitted", &json!({"of": "other"}))), "refuse"),
        (Some(submitted("Submitting", &none)), "compare"),
        (Some(submitted("Submitted", &none)), "compare"),
        (Some(submitted("Assigned", &json!({"identity": 1}))), "label 1"),
        (Some(submitted("Assigned", &none)), "label 3"),
    ] {
        let found = match Match::of(task.clone(), "vmm", &said(), Ordinal(3)) {
            Match::Ended(_) => "ended".to_owned(),
            Match::Refuse(..) => "refuse".to_owned(),
            Match::Label(_, identity) => format!("label {}", identity.0),
            Match::Compare(_) => "compare".to_owned(),
        };
        assert_eq!(found, expected, "{task:?}");
    }
}

#[test]
fn only_the_task_that_was_sent_is_the_same() {
    let json = json!({"type": "noop", "id": "a", "dataSource": "wiki"}).to_string();
    let document = Document::read(&json, "x").unwrap();
    let mut said = said();
    let read = |document: &Document| Ok::<_, Unread>(document.clone());
    let changed = difference(read(&document), &said, &json).unwrap();
    assert_eq!(
        changed.as_deref(),
        Some("the payload of its PeonTask has changed since")
    );
    said.task_hash.clone_from(&document.hash);
    assert_eq!(difference(read(&document), &said, &json), Ok(None));
    let other = json!({"type": "noop", "id": "a", "dataSource": "other"}).to_string();
    let other = difference(read(&document), &said, &other).unwrap();
    assert_eq!(other.as_deref(), Some("its dataSource differs"));
    for gone in [
        Unread::Deficient("w".into()),
        Unread::Forbidden("w".into()),
        Unread::Unfit("w".into()),
    ] {
        assert_eq!(difference(Err(gone), &said, &json), Ok(Some("w".to_owned())));
    }
    let not_now = difference(Err(Unread::Unavailable("w".into())), &said, &json);
    assert_eq!(not_now, Err(NotNow("w".into())));
}

#[test]
fn a_refused_assignment_is_recorded_where_its_id_is_still_open() {
    let none = json!({});
    for (state, id, is_recorded) in [
        ("Submitted", "a", true),
        ("Submitted", "b", false),
        ("Refused", "a", false),
        ("Assigned", "a", false),
    ] {
        let recorded = refused(&submitted(state, &none), id);
        assert_eq!(recorded.is_some(), is_recorded, "{state} {id}");
        assert!(recorded.is_none_or(|s| s.state == SubmissionState::IdConflict));
    }
}

#[test]
fn the_record_of_an_assignment_names_its_chunks() {
    let (json, task) = ("{\"id\":\"a\"}", submitted("Submitted", &json!({})));
    for (place, kind) in [
        (PayloadPlace::Secret, Kind::Secret),
        (PayloadPlace::Inline, Kind::ConfigMap),
    ] {
        let assignment = Assignment::of(&task, json, place, Ordinal(2)).unwrap();
        assert!(assignment.name.starts_with("u."), "{}", assignment.name);
        assert_eq!(assignment.kind, kind);
        let record = &assignment.submission;
        assert_eq!(
            (record.state, record.identity),
            (SubmissionState::Assigned, Some(2))
        );
        assert_eq!(record.task_hash.as_deref(), Some("sha256:x"));
        let from = assignment.chunks.task_from(&assignment.name, kind);
        assert_eq!(record.assigned.as_ref(), Some(&from));
    }
    let other = Assignment::of(&task, "{}", PayloadPlace::Secret, Ordinal(2)).unwrap();
    let same = Assignment::of(&task, json, PayloadPlace::Inline, Ordinal(3)).unwrap();
    assert_ne!(other.name, same.name);
}
