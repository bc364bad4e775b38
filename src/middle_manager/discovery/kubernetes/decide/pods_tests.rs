use serde_json::{Value, json};

use super::*;

fn pod(name: &str, uid: &str, version: &str) -> Guarded<AnnouncingPodView> {
    with(
        json!({"name": name, "uid": uid, "resourceVersion": version}),
        &json!([true]),
    )
}

#[allow(clippy::needless_pass_by_value)] // `json!` is handed over as it is written.
fn with(metadata: Value, ready: &Value) -> Guarded<AnnouncingPodView> {
    let containers = ready.as_array().unwrap().iter();
    let containers: Vec<Value> = containers
        .map(|ready| json!({"name": "c", "image": "i", "imageID": "", "restartCount": 0, "ready": ready}))
        .collect();
    serde_json::from_value(json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": metadata, "status": {"containerStatuses": containers},
    }))
    .unwrap()
}

fn version(pods: &AnnouncingPods, name: &str) -> Option<String> {
    pods.get(name).map(|pod| pod.version.clone())
}

#[test]
fn a_pod_is_ready_when_all_of_its_containers_are() {
    for (ready, expected) in [
        (json!([]), false),
        (json!([true]), true),
        (json!([true, false]), false),
        (json!([true, true]), true),
    ] {
        let pod = with(json!({"name": "a", "uid": "u", "resourceVersion": "1"}), &ready);
        let read = AnnouncingPod::of(pod.0.as_ref().unwrap()).unwrap();
        assert_eq!(read.is_ready, expected, "{ready}");
        assert!(read.has_nothing());
    }
}

#[test]
fn a_part_of_an_announcement_is_not_nothing() {
    for metadata in [
        json!({"labels": {WORKER_LABEL: "true"}}),
        json!({"labels": {CLUSTER_LABEL: "c"}}),
        json!({"annotations": {WORKER_ANNOTATION: "{}"}}),
    ] {
        let mut metadata = metadata;
        metadata["uid"] = json!("u");
        metadata["resourceVersion"] = json!("1");
        let pod = with(metadata, &json!([true]));
        let read = AnnouncingPod::of(pod.0.as_ref().unwrap()).unwrap();
        assert!(!read.has_nothing(), "{read:?}");
    }
}

#[test]
fn a_list_replaces_what_was_known_when_it_is_complete() {
    let mut pods = AnnouncingPods::default();
    pods.list_begins();
    pods.see(&pod("a", "1", "5"));
    assert!(!pods.is_listed() && pods.get("a").is_none());
    pods.list_ends();
    assert!(pods.is_listed() && pods.get("a").is_some());
    pods.see(&pod("b", "2", "6"));
    pods.list_begins();
    pods.see(&pod("b", "2", "6"));
    assert!(pods.get("a").is_some());
    pods.list_ends();
    assert!(pods.get("a").is_none() && pods.get("b").is_some());
}

#[test]
fn a_watch_that_is_behind_changes_nothing() {
    let mut pods = AnnouncingPods::default();
    pods.see(&pod("a", "1", "10"));
    pods.see(&pod("a", "1", "9"));
    assert_eq!(version(&pods, "a").as_deref(), Some("10"));
    // A later pod of the name, and the late end of the earlier one.
    pods.see(&pod("a", "2", "11"));
    pods.gone(&pod("a", "1", "12"));
    assert_eq!(version(&pods, "a").as_deref(), Some("11"));
    pods.gone(&pod("a", "2", "13"));
    assert_eq!(version(&pods, "a"), None);
}

#[test]
fn what_was_written_counts_also_for_a_list_that_is_being_received() {
    let mut pods = AnnouncingPods::default();
    pods.see(&pod("a", "1", "10"));
    pods.list_begins();
    pods.see(&pod("a", "1", "10"));
    pods.written(&pod("a", "1", "11"));
    assert_eq!(version(&pods, "a").as_deref(), Some("11"));
    pods.list_ends();
    assert_eq!(version(&pods, "a").as_deref(), Some("11"));
}
