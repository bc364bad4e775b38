use serde_json::{Value, json};

use super::*;
use crate::apiserver::fixtures::client;

/// A reader of a cluster that has this node, and how often it was read.
fn reader_of(node: &Arc<Mutex<Option<Value>>>) -> (LiveReader, Arc<Mutex<usize>>) {
    let (reads, node) = (Arc::new(Mutex::new(0)), node.clone());
    let counted = reads.clone();
    let client = client(move |_| {
        *counted.lock() += 1;
        node.lock().clone()
    });
    (LiveReader::new(client, Clock::default()), reads)
}

fn node(ready: &str, tainted: bool) -> Value {
    let taints = json!([{"key": OUT_OF_SERVICE, "value": "nodeshutdown", "effect": "NoExecute"}]);
    let condition = json!({"type": "Ready", "status": ready, "lastTransitionTime": "2026-01-01T00:00:00Z"});
    json!({
        "apiVersion": "v1", "kind": "Node", "metadata": {"name": "n"},
        "spec": {"taints": if tainted { taints } else { json!([]) }}, "status": {"conditions": [condition]},
    })
}

async fn look(reader: &LiveReader) -> NodeState {
    reader.look_node("ns", Some("n".into()), "uid").await.unwrap()
}

#[tokio::test]
async fn a_node_that_was_written_off_is_looked_at_anew_for_each_pod() {
    let nodes = Arc::new(Mutex::new(Some(node("Unknown", true))));
    let (reader, _) = reader_of(&nodes);
    assert_eq!(look(&reader).await, NodeState::OutOfService);
    *nodes.lock() = None;
    assert_eq!(look(&reader).await, NodeState::Deleted);
    *nodes.lock() = Some(node("True", false));
    assert!(matches!(look(&reader).await, NodeState::Ready(_)));
}

#[tokio::test]
async fn many_pods_of_a_node_that_is_not_ready_read_it_once() {
    let nodes = Arc::new(Mutex::new(Some(node("Unknown", false))));
    let (reader, reads) = reader_of(&nodes);
    for _ in 0..10 {
        assert_eq!(look(&reader).await, NodeState::NotReady);
    }
    assert_eq!(*reads.lock(), 1);
}
