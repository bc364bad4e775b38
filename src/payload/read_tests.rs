use serde_json::{Value, json};

use super::*;
use crate::apiserver::fixtures::client;

/// A reader of a namespace with these Secrets and ConfigMaps, by the end of their path, and what was asked for.
fn reader_of(objects: Vec<(&'static str, Value)>) -> (PayloadReader, Arc<Mutex<Vec<String>>>) {
    let asked: Arc<Mutex<Vec<String>>> = Arc::default();
    let asks = asked.clone();
    let client = client(move |path| {
        asks.lock().push(path.to_owned());
        let found = objects.iter().find(|(end, _)| path.ends_with(end));
        found.map(|(_, object)| object.clone())
    });
    (PayloadReader::new(client), asked)
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
    let (reader, asked) = reader_of(vec![
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
        reader
            .read("ns", Some("uid-1"), &from_secret(name, key))
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
    let (reader, _) = reader_of(vec![
        ("/configmaps/plain", object(json!({"name": "plain"}))),
        (
            "/configmaps/mine",
            object(json!({"name": "mine", "ownerReferences": owned_by("uid-1")})),
        ),
    ]);
    let read = async |name: &str, uid: Option<&str>| {
        let from = json!({"sha256": "0", "configMaps": [{"name": name, "key": "task"}]});
        let from: TaskFrom = serde_json::from_value(from).unwrap();
        reader.read("ns", uid, &from).await.unwrap().is_ok()
    };
    assert!(read("mine", Some("uid-1")).await);
    for (name, uid) in [("plain", Some("uid-1")), ("mine", Some("uid-2")), ("mine", None)] {
        assert!(!read(name, uid).await, "{name} {uid:?}");
    }
}

/// A pass reads a payload to decide, and a later one to post it.
#[tokio::test]
async fn a_payload_is_read_once_until_it_is_not_needed_any_more() {
    let secret = json!({
        "apiVersion": "v1", "kind": "Secret", "data": {"chunk": "e30="},
        "metadata": {"name": "mine", "ownerReferences": owned_by("uid-1")},
    });
    let (reader, asked) = reader_of(vec![("/secrets/mine", secret)]);
    let read = async |uid: &str| {
        let from = from_secret("mine", "chunk");
        reader.read("ns", Some(uid), &from).await.unwrap().is_ok()
    };
    assert!(read("uid-1").await);
    assert!(!read("uid-2").await, "not of this task");
    assert!(read("uid-1").await);
    assert_eq!(asked.lock().len(), 2);
    reader.forget("uid-1");
    assert!(read("uid-1").await);
    assert_eq!(asked.lock().len(), 3);
}

/// Its creator writes the chunks behind the task: a request at first sight would find none.
#[tokio::test]
async fn chunks_of_a_new_task_are_not_requested_at_first_sight() {
    let owned = json!({
        "apiVersion": "v1", "kind": "Secret", "metadata": {"name": "s", "ownerReferences": owned_by("uid-1")},
        "data": {"chunk": "e30="},
    });
    let (reader, asked) = reader_of(vec![("/secrets/s", owned)]);
    let from = from_secret("s", "chunk");
    let absent = reader.first_look("ns", Some("uid-1"), &from);
    assert!(absent.is_some_and(|a| a.to_string().contains("Secret s")));
    assert!(asked.lock().is_empty());
    assert!(
        reader.first_look("ns", Some("uid-1"), &from).is_none(),
        "the next time it is requested"
    );
    assert!(reader.read("ns", Some("uid-1"), &from).await.unwrap().is_ok());
    assert!(
        reader.first_look("ns", Some("uid-1"), &from).is_none(),
        "it was read"
    );
    assert_eq!(asked.lock().len(), 1);
}
