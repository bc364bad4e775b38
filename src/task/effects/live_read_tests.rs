use std::convert::Infallible;

use http::{Request, Response};
use kube::client::Body;
use serde_json::{Value, json};

use super::*;

/// Eyes on a cluster that has this node, and how often it was read.
fn eyes_on(node: &Arc<Mutex<Option<Value>>>) -> (Eyes, Arc<Mutex<usize>>) {
    let (reads, node) = (Arc::new(Mutex::new(0)), node.clone());
    let counted = reads.clone();
    let service = tower::service_fn(move |_: Request<Body>| {
        *counted.lock() += 1;
        let (code, body) = match &*node.lock() {
            Some(node) => (200, node.clone()),
            None => (
                404,
                json!({"kind": "Status", "code": 404, "status": "Failure", "reason": "NotFound", "message": "no"}),
            ),
        };
        let answer = Response::builder()
            .status(code)
            .body(Body::from(body.to_string().into_bytes()));
        async move { Ok::<_, Infallible>(answer.unwrap()) }
    });
    let client = Client::new(service, "default");
    (Eyes::new(client, Clock::default()), reads)
}

fn node(ready: &str, tainted: bool) -> Value {
    let taints = json!([{"key": OUT_OF_SERVICE, "value": "nodeshutdown", "effect": "NoExecute"}]);
    let condition = json!({"type": "Ready", "status": ready, "lastTransitionTime": "2026-01-01T00:00:00Z"});
    json!({
        "apiVersion": "v1", "kind": "Node", "metadata": {"name": "n"},
        "spec": {"taints": if tainted { taints } else { json!([]) }}, "status": {"conditions": [condition]},
    })
}

async fn look(eyes: &Eyes) -> NodeState {
    eyes.look_node("ns", Some("n".into()), "uid").await.unwrap()
}

#[tokio::test]
async fn a_node_that_was_written_off_is_looked_at_anew_for_each_pod() {
    let nodes = Arc::new(Mutex::new(Some(node("Unknown", true))));
    let (eyes, _) = eyes_on(&nodes);
    assert_eq!(look(&eyes).await, NodeState::OutOfService);
    *nodes.lock() = None;
    assert_eq!(look(&eyes).await, NodeState::Deleted);
    *nodes.lock() = Some(node("True", false));
    assert!(matches!(look(&eyes).await, NodeState::Ready(_)));
}

#[tokio::test]
async fn many_pods_of_a_node_that_is_not_ready_read_it_once() {
    let nodes = Arc::new(Mutex::new(Some(node("Unknown", false))));
    let (eyes, reads) = eyes_on(&nodes);
    for _ in 0..10 {
        assert_eq!(look(&eyes).await, NodeState::NotReady);
    }
    assert_eq!(*reads.lock(), 1);
}

/// Eyes on a namespace with these Secrets and ConfigMaps, by the end of their path, and what was asked for.
fn eyes_on_objects(objects: Vec<(&'static str, Value)>) -> (Eyes, Arc<Mutex<Vec<String>>>) {
    let asked: Arc<Mutex<Vec<String>>> = Arc::default();
    let asks = asked.clone();
    let service = tower::service_fn(move |request: Request<Body>| {
        let path = request.uri().path().to_owned();
        let found = objects.iter().find(|(end, _)| path.ends_with(end));
        asks.lock().push(path.clone());
        let (code, body) = match found {
            Some((_, object)) => (200, object.clone()),
            None => (
                404,
                json!({"kind": "Status", "code": 404, "status": "Failure", "reason": "NotFound", "message": "no"}),
            ),
        };
        let answer = Response::builder()
            .status(code)
            .body(Body::from(body.to_string().into_bytes()));
        async move { Ok::<_, Infallible>(answer.unwrap()) }
    });
    let client = Client::new(service, "default");
    (Eyes::new(client, Clock::default()), asked)
}

fn owned_by(uid: &str) -> Value {
    json!([{"apiVersion": "peon.dev/v1alpha1", "kind": "PeonTask", "name": "t", "uid": uid, "controller": true}])
}

fn from_secret(name: &str, key: &str) -> TaskFrom {
    serde_json::from_value(json!({"sha256": "0", "secrets": [{"name": name, "key": key}]})).unwrap()
}

/// Whoever copies `taskFrom` of a task into another one learns nothing by it, not even whether the Secret exists.
#[tokio::test]
async fn a_chunk_of_somebody_else_is_as_good_as_missing() {
    let secret = |name: &str, metadata: Value| {
        let mut object =
            json!({"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "data": {"chunk": "e30="}});
        object["metadata"]["name"] = json!(name);
        object
    };
    let (eyes, asked) = eyes_on_objects(vec![
        (
            "/secrets/mine",
            secret("mine", json!({"ownerReferences": owned_by("uid-1")})),
        ),
        (
            "/secrets/theirs",
            secret("theirs", json!({"ownerReferences": owned_by("uid-2")})),
        ),
        ("/secrets/plain", secret("plain", json!({}))),
        (
            "/secrets/given",
            secret("given", json!({"labels": {"peon.dev/payload": "true"}})),
        ),
    ]);
    let read = async |name: &str, key: &str| {
        eyes.read_chunks("ns", Some("uid-1"), &from_secret(name, key))
            .await
            .unwrap()
            .map_err(|absent| absent.to_string().replace(name, "NAME"))
    };
    assert_eq!(read("mine", "chunk").await, Ok(vec![b"{}".to_vec()]));
    assert_eq!(read("given", "chunk").await, Ok(vec![b"{}".to_vec()]));
    let missing = read("missing", "chunk").await;
    assert!(
        missing.as_ref().is_err_and(|m| m.contains("peon.dev/payload")),
        "{missing:?}"
    );
    for name in ["theirs", "plain"] {
        // Its keys are not told either.
        for key in ["chunk", "other"] {
            assert_eq!(read(name, key).await, missing, "{name}");
        }
    }
    assert_ne!(read("mine", "other").await, missing);
    assert_eq!(asked.lock().len(), 8, "one request a chunk");
}

#[tokio::test]
async fn a_config_map_is_not_everybodys_payload_either() {
    let object = |metadata: Value| json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": {"task": "{}"}});
    let (eyes, _) = eyes_on_objects(vec![
        ("/configmaps/plain", object(json!({"name": "plain"}))),
        (
            "/configmaps/mine",
            object(json!({"name": "mine", "ownerReferences": owned_by("uid-1")})),
        ),
    ]);
    let read = async |name: &str, uid: Option<&str>| {
        let from = json!({"sha256": "0", "configMaps": [{"name": name, "key": "task"}]});
        let from: TaskFrom = serde_json::from_value(from).unwrap();
        eyes.read_chunks("ns", uid, &from).await.unwrap().is_ok()
    };
    assert!(read("mine", Some("uid-1")).await);
    for (name, uid) in [("plain", Some("uid-1")), ("mine", Some("uid-2")), ("mine", None)] {
        assert!(!read(name, uid).await, "{name} {uid:?}");
    }
}
