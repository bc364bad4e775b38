use std::convert::Infallible;
use std::sync::Arc;

use http::{Request, Response};
use kube::client::Body;
use parking_lot::Mutex;
use serde_json::Value;

use super::*;
use crate::api::indexer_pool::IndexerDiscovery;
use crate::middle_manager::indexers::decide::pod::PoolId;

/// A request: method, path with query, body.
type Asked = (String, String, Value);

/// A writer to an API server that answers everything with this, and what that was asked.
fn writer(code: u16, body: Value) -> (PoolWriter, Arc<Mutex<Vec<Asked>>>) {
    let asked = Arc::<Mutex<Vec<Asked>>>::default();
    let heard = asked.clone();
    let service = tower::service_fn(move |request: Request<Body>| {
        let (heard, body) = (heard.clone(), body.to_string());
        async move {
            let (parts, sent) = request.into_parts();
            let sent = sent.collect_bytes().await.unwrap();
            let path = parts.uri.path_and_query().unwrap().to_string();
            heard.lock().push((
                parts.method.to_string(),
                path,
                serde_json::from_slice(&sent).unwrap(),
            ));
            let answer = Response::builder()
                .status(code)
                .body(Body::from(body.into_bytes()));
            Ok::<_, Infallible>(answer.unwrap())
        }
    });
    let client = Client::new(service, "ns");
    (PoolWriter::new(client, "ns"), asked)
}

fn write() -> Write {
    Write {
        pool: PoolId {
            name: "warm".into(),
            uid: "u".into(),
        },
        discovery: IndexerDiscovery {
            hidden: vec!["a".into()],
            ..IndexerDiscovery::default()
        },
    }
}

fn failure(code: u16) -> Value {
    json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": code, "reason": "", "message": "no"})
}

#[tokio::test]
async fn applies_the_field_of_exactly_this_pool() {
    let kept = json!({
        "apiVersion": "peon.dev/v1alpha1", "kind": "IndexerPool",
        "metadata": {"name": "warm", "uid": "u"}, "spec": {"of": "a later version"},
    });
    let (writer, asked) = writer(200, kept);
    assert_eq!(writer.write(&write()).await, Written::Kept);
    let (method, path, body) = asked.lock().remove(0);
    assert_eq!(method, "PATCH");
    let (path, query) = path.split_once('?').unwrap();
    assert_eq!(
        path,
        "/apis/peon.dev/v1alpha1/namespaces/ns/indexerpools/warm/status"
    );
    assert!(
        query.contains("force=true") && query.contains(&format!("fieldManager={FIELD_MANAGER}")),
        "{query}"
    );
    let expected = json!({
        "apiVersion": "peon.dev/v1alpha1", "kind": "IndexerPool", "metadata": {"uid": "u"},
        "status": {"discovery": {"hidden": ["a"]}},
    });
    assert_eq!(body, expected);
}

/// Of an object whose last field goes server-side apply makes `null`, and the schema refuses that.
#[tokio::test]
async fn an_empty_status_has_a_field() {
    let (writer, asked) = writer(500, failure(500));
    let write = Write {
        discovery: IndexerDiscovery::default(),
        ..write()
    };
    writer.write(&write).await;
    assert_eq!(asked.lock()[0].2["status"], json!({"discovery": {"hidden": []}}));
}

#[tokio::test]
async fn what_a_refusal_means() {
    for (code, outcome) in [
        (404, Written::Refused),
        (409, Written::Refused),
        (403, Written::Refused),
        (422, Written::Failed),
        (429, Written::Failed),
        (500, Written::Failed),
    ] {
        let (writer, _) = writer(code, failure(code));
        for _ in 0..2 {
            assert_eq!(writer.write(&write()).await, outcome, "{code}");
        }
        assert_eq!(writer.is_forbidden.load(Ordering::Relaxed), code == 403);
    }
    let (writer, _) = writer(200, json!("odd"));
    assert_eq!(writer.write(&write()).await, Written::Kept);
}
