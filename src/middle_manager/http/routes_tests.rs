use flate2::read::GzDecoder;
use http_body_util::BodyExt;
use std::io::Read;
use std::time::Instant;

use super::*;
use crate::druid::smile;
use crate::druid::worker::{End, TaskAnnouncement, TaskLocation};
use crate::middle_manager::fixtures::{
    HASH, Identity, SMILE, Said, facts, get, piecemeal, post, recorded, running, until,
};

macro_rules! wire {
    ($name:literal) => {
        include_bytes!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/druid-wire/", $name)).as_slice()
    };
}

macro_rules! head {
    ($name:literal) => {
        include_str!(concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/tests/druid-wire/overlord-worker/",
            $name,
            ".request.headers.txt"
        ))
    };
}

const ASSIGN: &str = "/druid-internal/v1/worker/assignTask";
const NOOP: &str = "noop_2026-11-21T01:50:17.060Z_feaaea03-68f1-450d-97a4-b165c2f90fbc";

fn poll_path(counter: i64, hash: i64, timeout: i64) -> String {
    format!("/druid-internal/v1/worker?counter={counter}&hash={hash}&timeout={timeout}")
}

fn answer(said: &Said) -> Answer {
    assert_eq!(said.code, StatusCode::OK, "{said:?}");
    serde_json::from_slice(&said.body).unwrap()
}

fn code(code: u16) -> StatusCode {
    StatusCode::from_u16(code).unwrap()
}

async fn assign_json(identity: &Identity, task: &str) -> Said {
    let json = [(header::CONTENT_TYPE, "application/json")];
    identity.call(post(ASSIGN, &json, task.to_owned())).await
}

#[tokio::test]
async fn a_recorded_overlord_is_answered_as_by_a_real_worker() {
    let identity = Identity::start().await;
    let mut overlord = identity.connect().await;
    let first = overlord
        .call(recorded(head!("00-first-poll-fullsync"), Body::empty()))
        .await;
    assert_eq!(first.header(header::CONTENT_TYPE), Some(SMILE));
    assert_eq!(
        first.header(header::CACHE_CONTROL),
        Some("no-cache, no-store, max-age=0")
    );
    let theirs = wire!("overlord-worker/00-first-poll-fullsync.response.body.smile");
    let mut theirs: Answer = serde_smile::from_slice(theirs).unwrap();
    theirs.counter.as_mut().unwrap().hash = HASH;
    assert_eq!(first.body, smile::encode(&theirs).unwrap());

    let counter = format!("hash={HASH}");
    let second = head!("01-second-poll-delta").replace("hash=1795225806183", &counter);
    let poll = async { overlord.call(recorded(&second, Body::empty())).await };
    let assignment = async {
        until("the poll is held", || identity.line.held() == 1).await;
        let task = wire!("overlord-worker/02-assignTask-noop.request.body.smile");
        let since = Instant::now();
        let taken = identity.call(recorded(head!("02-assignTask-noop"), task)).await;
        (taken, since)
    };
    let (said, (taken, since)) = futures::join!(poll, assignment);
    println!("from the assignment to its announcement: {:?}", since.elapsed());
    assert_eq!((taken.code, taken.body.len()), (StatusCode::OK, 0));
    let theirs = wire!("overlord-worker/01-second-poll-delta.response.body.smile");
    let mut theirs: Answer = serde_smile::from_slice(theirs).unwrap();
    theirs.counter.as_mut().unwrap().hash = HASH;
    // A real worker packs this answer, too.
    assert_eq!(said.header(header::CONTENT_ENCODING), Some("gzip"));
    let mut unpacked = Vec::new();
    GzDecoder::new(&said.body[..]).read_to_end(&mut unpacked).unwrap();
    assert_eq!(unpacked, smile::encode(&theirs).unwrap());

    let task = identity.backend.assigned.lock()[0].clone();
    let json: serde_json::Value = serde_json::from_str(&task.json).unwrap();
    let theirs = wire!("overlord-worker/02-assignTask-noop.request.body.decoded.json");
    assert_eq!(task.id, NOOP);
    assert_eq!(json, serde_json::from_slice::<serde_json::Value>(theirs).unwrap());

    let ended = identity
        .call(recorded(head!("13-shutdown-task"), Body::empty()))
        .await;
    assert_eq!(
        ended.body,
        wire!("overlord-worker/13-shutdown-task.response.body.json")
    );
    let log = wire!("overlord-worker/14-overlord-log-get.response.body.json");
    let killed = identity.backend.ended.lock()[0].clone();
    identity.backend.logs.lock().insert((killed, -300), log.into());
    let told = identity
        .call(recorded(head!("14-overlord-log-get"), Body::empty()))
        .await;
    assert_eq!((told.code, &*told.body), (StatusCode::OK, log));
}

#[tokio::test]
async fn every_legal_id_comes_through() {
    let said = include_str!(concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/tests/druid-wire/odd-task-ids.txt"
    ));
    // What an overlord accepted it answered with; one answer is cut off in the recording.
    let mut ids: Vec<String> = said
        .lines()
        .filter_map(|line| line.split_once(" 200 "))
        .filter_map(|(_, task)| serde_json::from_str::<serde_json::Value>(task).ok())
        .map(|task| task["task"].as_str().unwrap().to_owned())
        .collect();
    assert!(ids.len() > 35, "{ids:?}");
    ids.push("ü".repeat(127));
    let identity = Identity::start().await;
    for id in &ids {
        let path = format!("/druid/worker/v1/task/{}", encoded(id));
        let ended = identity.post(&format!("{path}/shutdown")).await;
        let json: serde_json::Value = serde_json::from_slice(&ended.body).unwrap();
        assert_eq!((ended.code, &json), (StatusCode::OK, &json!({"task": id})));
        let log = (id.clone(), 0);
        identity.backend.logs.lock().insert(log, id.clone().into());
        assert_eq!(identity.get(&format!("{path}/log")).await.text(), id);
    }
    assert_eq!(*identity.backend.ended.lock(), ids);
    let broken = identity.post("/druid/worker/v1/task/%ff/shutdown").await;
    assert_eq!(broken.code, StatusCode::BAD_REQUEST);
}

/// As Druid's client does.
fn encoded(id: &str) -> String {
    let byte = |byte: u8| match byte {
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'.' | b'-' | b'*' | b'_' => char::from(byte).to_string(),
        other => format!("%{other:02X}"),
    };
    id.bytes().map(byte).collect()
}

#[tokio::test]
async fn a_complete_state_is_told_only_when_the_cluster_was_asked() {
    let identity = Identity::start().await;
    identity.line.announce(running("a"));
    let backend = &identity.backend;
    backend.away.store(true, Ordering::SeqCst);
    let said = identity.get(&poll_path(-1, 0, 1000)).await;
    assert_eq!(
        (said.code, said.text()),
        (code(503), r#"{"error":"nobody knows"}"#)
    );
    // Changes are known, cluster or not.
    let changes = answer(&identity.get(&poll_path(0, HASH, 1000)).await);
    assert_eq!(changes.requests.map(|r| r.len()), Some(1));
    assert_eq!(backend.refreshed.load(Ordering::SeqCst), 1);
    backend.away.store(false, Ordering::SeqCst);
    let state = answer(&identity.get(&poll_path(-1, 0, 1000)).await);
    assert_eq!(state.requests.map(|r| r.len()), Some(2));
    assert_eq!(backend.refreshed.load(Ordering::SeqCst), 2);
}

#[tokio::test]
async fn odd_polls_are_answered() {
    let identity = Identity::start().await;
    let path = "/druid-internal/v1/worker";
    for query in [
        "counter=-1",
        "counter=-1&timeout=0",
        "counter=-1&timeout=-5",
        "counter=-1&timeout=x",
        "counter=x&timeout=1",
        "counter=99999999999999999999&timeout=1",
        "",
    ] {
        let said = identity.get(&format!("{path}?{query}")).await;
        assert_eq!(said.code, StatusCode::BAD_REQUEST, "{query}");
        assert!(said.text().starts_with("{\"error\":"), "{query}");
    }
    let said = identity.get(&format!("{path}?counter=-1&timeout=0")).await;
    assert_eq!(said.text(), r#"{"error":"timeout must be positive."}"#);
    for (query, cause) in [
        ("counter=0", "failed to match"),
        ("hash=5", "failed to match"),
        ("counter=9999&hash=1", "> last counter"),
    ] {
        let reset = answer(&identity.get(&format!("{path}?{query}&timeout=1000")).await);
        assert!(reset.reset_cause.unwrap().contains(cause), "{query}");
    }
    let idle = answer(&identity.get(&poll_path(0, HASH, 20)).await);
    let here = Counter {
        counter: 0,
        hash: HASH,
    };
    assert_eq!(idle, Answer::changes(here, Vec::new()));
    let posted = identity.post(&poll_path(0, HASH, 20)).await;
    assert_eq!(posted.code, StatusCode::METHOD_NOT_ALLOWED);
}

#[tokio::test]
async fn assignments_that_cannot_be_taken_say_why() {
    let small = |served: &mut Served<_>| served.room = Arc::new(BodyBudget::new(1000));
    let identity = Identity::start_with(None, Duration::ZERO, small).await;
    let said = assign_json(&identity, r#"{"id":"a","type":"noop","x":1.10}"#).await;
    assert_eq!((said.code, said.body.len()), (StatusCode::OK, 0));
    assert_eq!(
        identity.backend.assigned.lock()[0].json,
        r#"{"id":"a","type":"noop","x":1.10}"#
    );
    let nothing = assign_json(&identity, "nope").await;
    assert_eq!(
        (nothing.code, nothing.text()),
        (
            code(400),
            r#"{"error":"the task cannot be read: it does not begin with `{`"}"#
        )
    );
    let smile = (header::CONTENT_TYPE, SMILE);
    let no_smile = identity
        .call(post(ASSIGN, std::slice::from_ref(&smile), "{}"))
        .await;
    assert_eq!(no_smile.code, StatusCode::BAD_REQUEST);
    let text = (header::CONTENT_TYPE, "text/plain");
    let packed = (header::CONTENT_ENCODING, "gzip");
    for headers in [vec![], vec![text], vec![smile, packed]] {
        let said = identity.call(post(ASSIGN, &headers, "{}")).await;
        assert_eq!(said.code, StatusCode::UNSUPPORTED_MEDIA_TYPE, "{headers:?}");
    }
    let long = format!(r#"{{"id":"a","x":"{}"}}"#, "y".repeat(1000));
    let said = assign_json(&identity, &long).await;
    assert_eq!(said.code, StatusCode::PAYLOAD_TOO_LARGE, "{}", said.text());
    // Short as Smile, and long as JSON.
    let controls = smile::encode(&json!({"id": "a", "x": "\u{1}".repeat(900)})).unwrap();
    let smile = [(header::CONTENT_TYPE, SMILE)];
    let said = identity.call(post(ASSIGN, &smile, controls)).await;
    assert_eq!(said.code, StatusCode::PAYLOAD_TOO_LARGE, "{}", said.text());

    identity.backend.away.store(true, Ordering::SeqCst);
    let said = assign_json(&identity, r#"{"id":"b"}"#).await;
    assert_eq!(
        (said.code, said.text()),
        (code(503), r#"{"error":"nobody knows"}"#)
    );
    for path in ["task/b/shutdown", "enable", "disable"] {
        let said = identity.post(&format!("/druid/worker/v1/{path}")).await;
        assert_eq!(
            (said.code, said.text()),
            (code(503), r#"{"error":"nobody knows"}"#)
        );
    }
    identity.backend.invalid.store(true, Ordering::SeqCst);
    let said = assign_json(&identity, r#"{"id":"b"}"#).await;
    assert_eq!(
        (said.code, said.text()),
        (code(400), r#"{"error":"no such task"}"#)
    );
    assert_eq!(identity.backend.assigned.lock().len(), 1);
}

#[tokio::test]
async fn a_large_task_is_taken() {
    let identity = Identity::start().await;
    let long = "y".repeat(8 << 20);
    let task = smile::encode(&json!({"id": "large", "x": long})).unwrap();
    let smile = [(header::CONTENT_TYPE, SMILE)];
    let said = identity.call(post(ASSIGN, &smile, task)).await;
    assert_eq!(said.code, StatusCode::OK);
    assert_eq!(
        identity.backend.assigned.lock()[0].json,
        json!({"id": "large", "x": long}).to_string()
    );
}

#[tokio::test]
async fn an_identity_says_what_it_is_and_does() {
    let identity = Identity::start().await;
    let at = |path: &str| format!("/druid/worker/v1/{path}");
    let host = "worker-0.ns.svc:8091";
    identity.line.announce(running("b"));
    identity.line.announce(running("a"));
    let over = TaskAnnouncement::ended(facts("c"), End::Success, 1, TaskLocation::unknown());
    identity.line.announce(over);
    assert_eq!(identity.get(&at("tasks")).await.text(), r#"["a","b"]"#);
    let enabled = identity.get(&at("enabled")).await;
    assert_eq!(enabled.text(), format!(r#"{{"{host}":true}}"#));
    assert_eq!(enabled.header(header::CONTENT_TYPE), Some("application/json"));
    let disabled = identity.post(&at("disable")).await;
    assert_eq!(disabled.text(), format!(r#"{{"{host}":"disabled"}}"#));
    assert!(identity.line.disabled());
    assert_eq!(
        identity.get(&at("enabled")).await.text(),
        format!(r#"{{"{host}":false}}"#)
    );
    let enabled = identity.post(&at("enable")).await;
    assert_eq!(enabled.text(), format!(r#"{{"{host}":"enabled"}}"#));
    assert!(!identity.line.disabled());

    assert_eq!(identity.get("/status/health").await.text(), "true");
    assert_eq!(identity.get("/status/properties").await.text(), "{}");
    let status: serde_json::Value = serde_json::from_slice(&identity.get("/status").await.body).unwrap();
    assert!(status["version"].is_string() && status["modules"].is_array() && status["memory"].is_object());
    for (discovered, expected) in [(false, 503), (true, 200)] {
        identity.discovered.store(discovered, Ordering::SeqCst);
        let said = identity.get("/status/selfDiscovered/status").await;
        let json = format!(r#"{{"selfDiscovered":{discovered}}}"#);
        assert_eq!((said.code, said.text()), (StatusCode::OK, json.as_str()));
        for path in ["/status/selfDiscovered", "/status/ready"] {
            assert_eq!(identity.get(path).await.code, code(expected), "{path}");
        }
    }
    assert_eq!(identity.get("/nothing").await.code, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn a_log_is_told_as_it_grows() {
    let identity = Identity::start().await;
    let path = "/druid/worker/v1/task/a/log";
    let unknown = identity.get(path).await;
    assert_eq!((unknown.code, unknown.body.len()), (StatusCode::NOT_FOUND, 0));
    for (offset, query) in [
        (0, ""),
        (0, "?offset=0"),
        (7, "?offset=7"),
        (-300, "?offset=-300"),
    ] {
        let log = ("a".to_owned(), offset);
        identity.backend.logs.lock().insert(log, "some".into());
        let said = identity.get(&format!("{path}{query}")).await;
        assert_eq!((said.code, said.text()), (StatusCode::OK, "some"), "{query}");
    }
    assert_eq!(
        identity.get(&format!("{path}?offset=x")).await.code,
        StatusCode::BAD_REQUEST
    );
    let (pieces, body) = piecemeal();
    identity.backend.logs.lock().insert(("a".into(), 0), body);
    let mut request = get(path);
    let gzip = HeaderValue::from_static("gzip");
    request.headers_mut().insert(header::ACCEPT_ENCODING, gzip);
    let mut client = identity.connect().await;
    let mut response = client.begin(request).await.unwrap();
    let kind = response.headers().get(header::CONTENT_TYPE);
    assert_eq!(kind.unwrap(), "text/plain; charset=UTF-8");
    assert!(!response.headers().contains_key(header::CONTENT_ENCODING));
    for piece in ["one", "two"] {
        pieces.send(piece).unwrap();
        let frame = tokio::time::timeout(Duration::from_secs(60), response.frame()).await;
        let frame = frame.unwrap().unwrap().unwrap();
        assert_eq!(frame.into_data().unwrap(), piece);
    }
    drop(pieces);
    assert!(response.frame().await.is_none());
}

#[tokio::test]
async fn whoever_has_no_credentials_is_not_read() {
    let credentials = Credentials::new("druid_system", "secret").unwrap();
    let with = |served: &mut Served<_>| served.credentials = Some(credentials);
    let identity = Identity::start_with(None, Duration::ZERO, with).await;
    // Bodies that never come, more than there is room for.
    let mut strangers = Vec::new();
    for _ in 0..20 {
        let (sender, body) = piecemeal();
        let json = [(header::CONTENT_TYPE, "application/json")];
        let said = identity.call(post(ASSIGN, &json, body)).await;
        assert_eq!(said.code, StatusCode::UNAUTHORIZED);
        strangers.push(sender);
    }
    assert_eq!(identity.backend.begun.load(Ordering::SeqCst), 0);
}

#[tokio::test]
async fn nobody_gets_in_without_the_credentials() {
    let credentials = Credentials::new("druid_system", "secret").unwrap();
    let given = credentials.clone();
    let with = |served: &mut Served<_>| served.credentials = Some(credentials);
    let identity = Identity::start_with(None, Duration::ZERO, with).await;
    let wrong = Credentials::new("druid_system", "wrong").unwrap().header_value();
    let poll = poll_path(-1, 0, 1000);
    for request in [
        ("GET", poll.as_str()),
        ("POST", ASSIGN),
        ("POST", "/druid/worker/v1/enable"),
        ("POST", "/druid/worker/v1/disable"),
        ("GET", "/druid/worker/v1/enabled"),
        ("GET", "/druid/worker/v1/tasks"),
        ("POST", "/druid/worker/v1/task/a/shutdown"),
        ("GET", "/druid/worker/v1/task/a/log"),
        ("GET", "/status"),
        ("GET", "/status/properties"),
        ("GET", "/status/selfDiscovered"),
        ("GET", "/status/selfDiscovered/status"),
    ] {
        let ask = |authorization: Option<&HeaderValue>| {
            let mut ask = axum::http::Request::builder().method(request.0).uri(request.1);
            if let Some(value) = authorization {
                ask = ask.header(header::AUTHORIZATION, value);
            }
            ask.body(Body::empty()).unwrap()
        };
        for authorization in [None, Some(&wrong)] {
            let said = identity.call(ask(authorization)).await;
            assert_eq!(said.code, StatusCode::UNAUTHORIZED, "{request:?}");
            assert_eq!(
                said.header(header::WWW_AUTHENTICATE),
                Some("Basic realm=\"druid\"")
            );
        }
        let said = identity.call(ask(Some(&given.header_value()))).await;
        assert_ne!(said.code, StatusCode::UNAUTHORIZED, "{request:?}");
    }
    assert_eq!(identity.get("/status/health").await.code, StatusCode::OK);
    assert_ne!(identity.get("/status/ready").await.code, StatusCode::UNAUTHORIZED);
    assert_eq!(*identity.backend.ended.lock(), ["a"]);
}
