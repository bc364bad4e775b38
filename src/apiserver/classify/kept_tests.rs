//! What of an object stays in memory, however large it is.

use serde::Serialize;
use serde_json::{Value, json};

use super::*;
use crate::api::{ANNOTATION_DATA_SOURCE, ANNOTATION_TASK_ID, LABEL_IDENTITY};
use crate::middle_manager::registry::view::{PodView, Seen, TaskView};

/// Most bytes that are left of what is large here.
const LEFT: usize = 4096;

/// Metadata with what anybody may write there.
fn large() -> Value {
    let finalizers: Vec<_> = (0..20_000)
        .map(|n| format!("example.com/finalizer-{n:030}"))
        .collect();
    let owner = |name: &str, controls: bool| json!({"apiVersion": "peon.dev/v1alpha1", "kind": "PeonTask", "name": name, "uid": "u", "controller": controls});
    let mut owners = vec![owner(&"o".repeat(200_000), false); 2];
    owners.push(owner("mine", true));
    let mut labels = json!({LABEL_IDENTITY: "3"});
    for n in 0..2000 {
        labels[format!("peon.dev/label-{n}")] = json!("x".repeat(63));
    }
    json!({
        "name": "a", "namespace": "ns", "uid": "u", "resourceVersion": "7", "generation": 2,
        "generateName": "g".repeat(253), "finalizers": finalizers, "ownerReferences": owners, "labels": labels,
        "annotations": {
            "peon.dev/x": "x".repeat(200 << 10), ANNOTATION_TASK_ID: "Ü".repeat(127),
            ANNOTATION_DATA_SOURCE: "d".repeat(50_000),
        },
    })
}

fn finished(spec: &Value) -> String {
    let complete = json!({"conditions": [{
        "type": "Complete", "status": "True", "reason": "Succeeded", "message": "",
        "lastTransitionTime": "2026-01-01T00:00:00Z",
    }]});
    json!({"metadata": large(), "spec": spec, "status": complete}).to_string()
}

fn size(of: &impl Serialize) -> usize {
    serde_json::to_string(of).unwrap().len()
}

#[test]
fn little_is_left_of_a_finished_task_whatever_stands_in_it() {
    let requests: serde_json::Map<_, _> = (0..5000).map(|n| (format!("r-{n}"), json!("1"))).collect();
    let chunks = vec![json!({"configMap": "c".repeat(200)}); 64];
    let spec = json!({
        "taskFrom": {"sha256": "0".repeat(64), "chunks": chunks}, "resources": {"requests": requests},
    });
    let task = Guarded::<PeonTask>::read(&finished(&spec)).0.unwrap();
    assert!(size(&task) < LEFT, "{}", size(&task));
    assert_eq!(task.metadata.annotations.unwrap()[ANNOTATION_TASK_ID].len(), 254);
    assert_eq!(task.metadata.generation, Some(2));
    let task = Guarded::<TaskView>::read(&finished(&spec)).0.unwrap();
    assert!(size(&task) < LEFT, "{}", size(&task));
    assert_eq!(Seen::of(&task).unwrap().identity.0, 3);
}

#[test]
fn little_is_left_of_what_cannot_be_read() {
    fn left<K: Readable + std::fmt::Debug>(object: &str) -> ObjectMeta {
        let metadata = Guarded::<K>::read(object).0.unwrap_err().metadata;
        assert!(size(&metadata) < LEFT, "{} {}", K::kind(&()), size(&metadata));
        assert_eq!(metadata.resource_version.as_deref(), Some("7"));
        metadata
    }
    let task = finished(&json!({"suspend": 7, "cancel": 7}));
    let kept = left::<PeonTask>(&task).annotations.unwrap();
    assert_eq!(kept[ANNOTATION_TASK_ID].len(), 254);
    left::<TaskView>(&task);
    left::<PeonTemplate>(&task);
    left::<VirtualMiddleManager>(&json!({"metadata": large(), "spec": 7}).to_string());
    let pod = json!({"metadata": large(), "spec": 7, "status": 7}).to_string();
    for kept in [
        left::<WatchedPod>(&pod),
        left::<PodView>(&pod),
        left::<Deployment>(&pod),
    ] {
        let owners = kept.owner_references.unwrap();
        assert_eq!(owners.iter().map(|o| &o.name).collect::<Vec<_>>(), ["mine"]);
    }
}

#[test]
fn a_pod_has_the_owner_that_controls_it_and_no_more() {
    let pod = json!({"metadata": large()}).to_string();
    let of_operator = Guarded::<WatchedPod>::read(&pod).0.unwrap();
    assert!(size(&of_operator) < LEFT, "{}", size(&of_operator));
    let of_worker = Guarded::<PodView>::read(&pod).0.unwrap();
    assert!(size(&of_worker) < LEFT, "{}", size(&of_worker));
    for metadata in [of_operator.metadata, of_worker.metadata] {
        assert_eq!(metadata.owner_references.unwrap()[0].name, "mine");
    }
    // Its name is none that a PeonTask can have.
    let mut pod = json!({"metadata": large()});
    pod["metadata"]["ownerReferences"][0]["controller"] = json!(true);
    pod["metadata"]["ownerReferences"][2]["controller"] = json!(false);
    let pod = Guarded::<WatchedPod>::read(&pod.to_string()).0.unwrap();
    assert!(size(&pod) < LEFT, "{}", size(&pod));
}

#[test]
fn little_is_left_of_the_metadata_of_a_template() {
    let template = json!({"metadata": large(), "spec": {"image": "i"}}).to_string();
    // Larger than a template may be.
    assert!(Guarded::<PeonTemplate>::read(&template).0.is_err());
    let mut metadata = large();
    for field in ["ownerReferences", "finalizers"] {
        metadata[field].as_array_mut().unwrap().truncate(0);
    }
    metadata["annotations"]["peon.dev/x"] = json!("x".repeat(20_000));
    metadata["finalizers"] = json!(vec!["example.com/f"; 200]);
    metadata["labels"] = json!({"team": "a"});
    let template = json!({"metadata": metadata, "spec": {"image": "i"}}).to_string();
    let template = Guarded::<PeonTemplate>::read(&template).0.unwrap();
    assert!(size(&template) < LEFT, "{}", size(&template));
}
