use crate::apiserver::classify::decode::Guarded;
use serde_json::json;

use super::*;
use crate::middle_manager::object_fixtures::{at, indexer, pod, pod_view, running, seen, task, view};

fn pod_seen(pod: serde_json::Value) -> PodSeen {
    PodSeen::of(&pod_view(pod)).unwrap()
}

#[test]
fn an_assigned_task_is_read_without_its_payload() {
    let mut object = task("the id", "u", 7, running());
    object["spec"] = json!({"taskJson": "{}", "cancel": true, "registration": "External"});
    object["metadata"]["labels"]["peon.dev/identity"] = json!("2");
    let task = view(object);
    assert!(!json!(task).to_string().contains("taskJson"));
    let seen = Seen::of(&task).unwrap();
    assert_eq!((seen.version, seen.identity), (Some(7), Ordinal(2)));
    assert_eq!((seen.facts.id.as_str(), seen.cancel), ("the id", true));
    assert_eq!(seen.state.map(|s| s.started), Some(Some(at(100))));
}

#[test]
fn what_nobody_assigned_is_passed_over() {
    let without = |change: fn(&mut serde_json::Value)| {
        let mut object = task("a", "u", 7, running());
        change(&mut object["metadata"]);
        Seen::of(&view(object))
    };
    assert!(without(|_| {}).is_some());
    assert_eq!(
        without(|m| m["labels"]["peon.dev/identity"] = json!("first")),
        None
    );
    assert_eq!(without(|m| m["labels"] = json!({})), None);
    assert_eq!(without(|m| m["annotations"] = json!({})), None);
}

/// The CRD of the cluster may be a later one's.
#[test]
fn a_task_whose_status_cannot_be_read_is_there_all_the_same() {
    let object = task("a", "u", 7, json!({"phase": "Dreaming"}));
    let guarded: Guarded<TaskView> = serde_json::from_value(object).unwrap();
    let guarded = Seen::guarded(&guarded).unwrap();
    assert_eq!(guarded.state, None);
    let whole = seen("a", "u", 7, json!({}));
    assert_eq!((guarded.uid, guarded.facts), (whole.uid, whole.facts));
}

#[test]
fn the_overlords_word_is_read_from_the_annotation() {
    let mut object = task("a", "u", 7, running());
    object["metadata"]["annotations"][ANNOTATION_OVERLORD] = json!("something else");
    assert!(!Seen::of(&view(object.clone())).unwrap().forgotten);
    object["metadata"]["annotations"][ANNOTATION_OVERLORD] = json!(FORGOTTEN);
    assert!(Seen::of(&view(object)).unwrap().forgotten);
}

#[test]
fn a_pod_is_somewhere_once_it_was_ready() {
    let at_host = |pod: serde_json::Value| pod_seen(pod).location.map(|l| (l.host, l.port, l.tls_port));
    let here = Some((Some("10.0.0.1".to_owned()), 8100, -1));
    assert_eq!(at_host(pod("u", 1, true, 120)), here);
    assert_eq!(at_host(pod("u", 1, false, 109)), None, "it never was");
    assert_eq!(
        at_host(pod("u", 1, false, 110)),
        None,
        "times are of a second: it may never have been"
    );
    assert_eq!(
        at_host(pod("u", 1, false, 125)),
        here,
        "it was, after its container had started"
    );
    let mut tls_only = pod("u", 1, true, 120);
    tls_only["metadata"]["annotations"][crate::api::ANNOTATION_ENDPOINT] =
        json!(r#"{"host":"{dashedAddress}.druid.pod.cluster.local","tlsPort":8101}"#);
    let named = "10-0-0-1.druid.pod.cluster.local".to_owned();
    assert_eq!(at_host(tls_only), Some((Some(named), -1, 8101)));
    let mut no_address = pod("u", 1, true, 120);
    no_address["status"]["podIP"] = json!("");
    assert_eq!(at_host(no_address), None);
    let mut ended = pod("u", 1, false, 200);
    ended["status"]["containerStatuses"][0]["state"] =
        json!({"terminated": {"exitCode": 0, "startedAt": at(110), "finishedAt": at(200)}});
    assert_eq!(at_host(ended.clone()), here, "it ended");
    // A container that the runtime could not start.
    ended["status"]["containerStatuses"][0]["state"]["terminated"]["startedAt"] = json!(at(0));
    assert_eq!(at_host(ended.clone()), None);
    ended["status"] = json!({"phase": "Failed", "reason": "Evicted"});
    assert_eq!(at_host(ended), None);
}

#[test]
fn a_log_is_in_the_container_that_has_begun() {
    let seen = pod_seen(pod("u", 1, false, 109));
    assert_eq!((seen.container.as_str(), seen.begun), ("main", true));
    let mut waits = pod("u", 1, false, 109);
    waits["status"]["containerStatuses"][0]["state"] = json!({"waiting": {"reason": "ContainerCreating"}});
    assert!(!pod_seen(waits).begun);
}

#[test]
fn the_pod_of_an_indexer_is_nobodys_location() {
    assert_eq!(pod_seen(pod("u", 1, true, 120)).owner, Owner::Task("u".into()));
    let seen = pod_seen(indexer("i", "10.1.0.1"));
    assert_eq!((seen.owner, seen.location, seen.begun), (Owner::Pool, None, true));
}

#[test]
fn a_pod_of_nobody_is_passed_over() {
    let mut other = pod("u", 1, true, 120);
    other["metadata"]["ownerReferences"][0]["kind"] = json!("Job");
    assert_eq!(PodSeen::of(&pod_view(other)), None);
}
