use std::sync::Arc;

use axum::http::Request;
use futures::TryStreamExt;
use http_body_util::BodyExt;
use object_store::memory::InMemory;
use object_store::path::Path as Key;
use object_store::{ObjectStore, ObjectStoreExt};
use serde_json::Value;
use tower::ServiceExt;

use super::*;
use crate::logs::fixtures::archive_over;

const LOG: &[u8] = b"first line\nsecond line\n";

struct Ground {
    store: Arc<dyn ObjectStore>,
    archive: Archive,
}

impl Ground {
    async fn new() -> Self {
        let store: Arc<dyn ObjectStore> = Arc::new(InMemory::new());
        let archive = archive_over(store.clone());
        let ground = Self { store, archive };
        for (second, name) in [(100, "a"), (200, "b"), (300, "c")] {
            let json = format!("{{\"name\": \"{name}\",\n \"uid\": \"{second}\"}}");
            let at = Timestamp::from_second(second).unwrap();
            ground
                .archive
                .put_history("ns", at, &second.to_string(), json.into())
                .await
                .unwrap();
        }
        ground.put("p/a task: 1/log", LOG).await;
        ground.put("p/a task: 1/report.json", b"{}").await;
        ground.put("p/.peon/composed/u-1", b"23").await;
        ground
    }

    async fn put(&self, key: &str, bytes: &'static [u8]) {
        let key = Key::parse(key).unwrap();
        self.store
            .put(&key, Bytes::from_static(bytes).into())
            .await
            .unwrap();
    }

    async fn get(&self, path: &str) -> (StatusCode, Vec<u8>) {
        answer(routes(self.archive.clone()), path).await
    }
}

/// As `kubectl port-forward` and `kubectl peon` ask.
fn local(request: axum::http::request::Builder) -> Request<Body> {
    let request = request.header(header::HOST, "localhost:8081");
    request.body(Body::empty()).unwrap()
}

/// A page in a browser may have its own name point to this machine, and would then be asked by its own name.
#[tokio::test]
async fn whoever_asks_for_another_host_gets_nothing() {
    let ground = Ground::new().await;
    for host in [Some("evil.example:8081"), Some("localhost.evil.example"), None] {
        for path in [
            "/v1/history/ns",
            "/v1/log?id=a+task%3A+1&uid=u-1",
            "/v1/report?id=a+task%3A+1&uid=u-1",
            "/",
        ] {
            let mut request = Request::get(path);
            if let Some(host) = host {
                request = request.header(header::HOST, host);
            }
            let request = request.body(Body::empty()).unwrap();
            let response = routes(ground.archive.clone()).oneshot(request).await.unwrap();
            assert_eq!(
                response.status(),
                StatusCode::MISDIRECTED_REQUEST,
                "{host:?} {path}"
            );
        }
    }
}

async fn answer(routes: Router, path: &str) -> (StatusCode, Vec<u8>) {
    let request = local(Request::get(path));
    let response = routes.oneshot(request).await.unwrap();
    let code = response.status();
    let body = response.into_body().collect().await.unwrap();
    (code, body.to_bytes().to_vec())
}

fn names(lines: &[u8]) -> Vec<String> {
    let lines = std::str::from_utf8(lines).unwrap().lines();
    lines
        .map(|l| {
            serde_json::from_str::<Value>(l).unwrap()["name"]
                .as_str()
                .unwrap()
                .to_owned()
        })
        .collect()
}

fn message(json: &[u8]) -> String {
    let json: Value = serde_json::from_slice(json).unwrap();
    json["message"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn a_history_is_a_line_for_each_task_newest_first() {
    let ground = Ground::new().await;
    let all = ground.get("/v1/history/ns").await;
    assert_eq!(
        (all.0, names(&all.1)),
        (StatusCode::OK, vec!["c".into(), "b".into(), "a".into()])
    );
    let since = ground
        .get("/v1/history/ns?since=1970-01-01T00:03:20Z&limit=1000")
        .await;
    assert_eq!(names(&since.1), ["c", "b"]);
    assert_eq!(names(&ground.get("/v1/history/ns?limit=1").await.1), ["c"]);
    assert_eq!(names(&ground.get("/v1/history/ns?name=a").await.1), ["a"]);
    assert_eq!(
        ground.get("/v1/history/other").await,
        (StatusCode::OK, Vec::new())
    );
}

#[tokio::test]
async fn a_log_is_what_was_archived_whole_or_from_an_offset() {
    let ground = Ground::new().await;
    let log = "/v1/log?id=a+task%3A+1&uid=u-1";
    assert_eq!(ground.get(log).await, (StatusCode::OK, LOG.to_vec()));
    assert_eq!(ground.get(&format!("{log}&offset=6")).await.1, &LOG[6..]);
    assert_eq!(
        ground.get(&format!("{log}&offset=-5")).await.1,
        &LOG[LOG.len() - 5..]
    );
    assert_eq!(ground.get(&format!("{log}&offset=5000")).await.1, b"");
    let report = ground.get("/v1/report?id=a+task%3A+1&uid=u-1").await;
    assert_eq!(report, (StatusCode::OK, b"{}".to_vec()));
    for what in ["log", "report"] {
        let (code, said) = ground.get(&format!("/v1/{what}?id=other&uid=u")).await;
        assert_eq!(code, StatusCode::NOT_FOUND);
        assert!(message(&said).contains("s3://b/p/other/"), "{}", message(&said));
    }
}

#[tokio::test]
async fn what_is_no_name_is_refused_before_the_store_is_asked() {
    let ground = Ground::new().await;
    for path in [
        "/v1/history/a.b",
        "/v1/history/..%2F..",
        "/v1/history/ns?limit=1001",
        "/v1/history/ns?limit=x",
        "/v1/history/ns?since=yesterday",
        "/v1/log?id=a",
        "/v1/log?id=..&uid=u",
        "/v1/log?id=a%2Fb&uid=u",
        "/v1/log?id=.peon&uid=u",
        "/v1/log?id=a&uid=%2E%2E",
        "/v1/report?id=a%2Fb&uid=u",
    ] {
        let (code, said) = ground.get(path).await;
        assert_eq!(code, StatusCode::BAD_REQUEST, "{path}");
        assert!(!message(&said).is_empty(), "{path}");
    }
    let (code, said) = ground.get("/v1/else").await;
    assert_eq!(code, StatusCode::NOT_FOUND);
    assert!(!message(&said).is_empty());
}

#[tokio::test]
async fn nothing_can_be_written() {
    let ground = Ground::new().await;
    for method in ["PUT", "POST", "DELETE"] {
        let request = Request::builder().method(method).uri("/v1/log?id=a&uid=u");
        let request = local(request);
        let response = routes(ground.archive.clone()).oneshot(request).await.unwrap();
        assert_eq!(response.status(), StatusCode::METHOD_NOT_ALLOWED, "{method}");
    }
}

/// Whoever is not done reading keeps a place, and gives it back when it goes away.
#[tokio::test]
async fn no_more_are_answered_at_a_time_than_there_are_places() {
    let ground = Ground::new().await;
    let routes = routes(ground.archive.clone());
    let ask = async || {
        let request = local(Request::get("/v1/history/ns"));
        routes.clone().oneshot(request).await.unwrap()
    };
    let mut open = Vec::new();
    for _ in 0..PLACES {
        let response = ask().await;
        assert_eq!(response.status(), StatusCode::OK);
        open.push(response);
    }
    assert_eq!(ask().await.status(), StatusCode::SERVICE_UNAVAILABLE);
    drop(open);
    while ask().await.status() != StatusCode::OK {
        tokio::task::yield_now().await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_reader_that_stalls_loses_its_place_and_sees_that_it_has_not_all() {
    let places = Arc::new(Semaphore::new(1));
    let place = places.clone().try_acquire_owned().unwrap();
    let endless = futures::stream::repeat_with(|| Ok(Bytes::from_static(b"x"))).boxed();
    let body = body(place, endless);
    // It comes back when the reader was cut off.
    let _again = places.acquire().await.unwrap();
    let read = body.into_data_stream().try_collect::<Vec<_>>().await;
    assert!(read.is_err());
}

#[tokio::test]
async fn what_breaks_off_in_the_store_does_not_look_whole() {
    let places = Arc::new(Semaphore::new(1));
    let place = places.try_acquire_owned().unwrap();
    let failed = ArchiveError::Failed {
        url: "s3://b/p".into(),
        said: "gone".into(),
    };
    let pieces = vec![Ok(Bytes::from_static(b"x")), Err(failed)];
    let body = body(place, futures::stream::iter(pieces).boxed());
    assert!(body.into_data_stream().try_collect::<Vec<_>>().await.is_err());
}
