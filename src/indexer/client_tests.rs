use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::response::IntoResponse;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use super::*;
use crate::druid::worker::Change;
use crate::druid_http::fixtures::{SelfMadeCa, with_tls};
use crate::indexer::fixtures::{ModelIndexer, Mood, running, succeeded, update};

const ID: &str = "index_ds ü;1_2026-11-21T02:00:48.496Z";
const BASIC: &str = "Basic ZHJ1aWRfc3lzdGVtOnNlY3JldA==";
const LIMIT: Duration = Duration::from_secs(30);

fn target(address: SocketAddr) -> Target {
    Target {
        pod_uid: "p".into(),
        host: address.ip().to_string(),
        port: address.port(),
        tls: false,
    }
}

fn client() -> IndexerClient {
    let credentials = Some(Credentials::new("druid_system", "secret").unwrap());
    let settings = Settings {
        credentials,
        ..Settings::default()
    };
    IndexerClient::new(&settings).unwrap()
}

async fn served() -> (Arc<ModelIndexer>, Target) {
    let model = ModelIndexer::new();
    let address = model.serve().await;
    (model, target(address))
}

/// A server that answers everything in one way.
async fn saying(status: u16, body: impl Fn() -> Body + Clone + Send + Sync + 'static) -> Target {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let status = StatusCode::from_u16(status).unwrap();
    let routes = Router::new().fallback(move || {
        let body = body();
        async move { (status, body).into_response() }
    });
    tokio::spawn(async move { axum::serve(listener, routes).await.unwrap() });
    target(address)
}

/// A server that reads one request, writes this, and closes the connection.
async fn writing(text: &'static str) -> Target {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut head = [0; 4096];
        let _ = stream.read(&mut head).await.unwrap();
        stream.write_all(text.as_bytes()).await.unwrap();
    });
    target(address)
}

async fn nobody() -> Target {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    target(listener.local_addr().unwrap())
}

#[tokio::test]
async fn asks_as_an_overlord_asks_a_worker() {
    let (model, target) = served().await;
    let Ok(Polled::Answer(first)) = client().poll(&target, None).await else {
        panic!("an idle one answers at once");
    };
    let task = Bytes::from(serde_json::json!({"type": "noop", "id": ID}).to_string());
    assert_eq!(
        client().assign(&target, task.clone(), LIMIT).await,
        Posted::Accepted
    );
    let Ok(Polled::Answer(changes)) = client().poll(&target, first.counter).await else {
        panic!("there is something new");
    };
    assert_eq!(changes.requests, Some(vec![update(running(ID))]));
    assert_eq!(client().shutdown(&target, ID, LIMIT).await, Posted::Accepted);
    assert_eq!(model.stopped(), [path_segment(ID)]);
    assert_eq!(client().ready(&target).await, Ok(true));
    let expected = [
        ("GET", "/druid-internal/v1/worker?counter=-1&timeout=10000", ""),
        (
            "POST",
            "/druid-internal/v1/worker/assignTask",
            std::str::from_utf8(&task).unwrap(),
        ),
        (
            "GET",
            "/druid-internal/v1/worker?counter=0&hash=1000000&timeout=10000",
            "",
        ),
        (
            "POST",
            // As in the recorded request, and more carefully.
            "/druid/worker/v1/task/index_ds%20%C3%BC%3B1_2026-11-21T02%3A00%3A48.496Z/shutdown",
            "",
        ),
        ("GET", "/status/selfDiscovered/status", ""),
    ];
    let expected = expected.map(|(method, path, body)| {
        let authorization = Some(BASIC.to_owned());
        (method.to_owned(), path.to_owned(), authorization, body.to_owned())
    });
    assert_eq!(model.asked(), expected);
}

#[tokio::test]
async fn says_that_it_is_not_ready_or_does_not_say() {
    let (model, target) = served().await;
    model.mood(Mood::Fails(500));
    assert_eq!(client().ready(&target).await, Ok(false));
    assert!(matches!(
        client().ready(&nobody().await).await,
        Err(Trouble::Unreachable(_))
    ));
    let other = saying(404, || Body::from("x")).await;
    assert!(matches!(
        client().ready(&other).await,
        Err(Trouble::Refused { status: 404, .. })
    ));
}

/// Each answer to a poll, and what it is taken for.
#[tokio::test]
async fn answers_that_are_none() {
    let polled = async |target: &Target| client().poll(target, None).await.unwrap_err();
    assert!(matches!(polled(&nobody().await).await, Trouble::Unreachable(_)));
    let cut = writing("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{").await;
    assert!(matches!(polled(&cut).await, Trouble::Unreachable(_)));
    let page = saying(200, || Body::from("<html>a page</html>")).await;
    let Trouble::Nonsense(why) = polled(&page).await else {
        panic!("it does not parse");
    };
    assert!(!why.contains("a page"), "{why}");
    let long = format!("{{\"x\":\"{}\"", "x".repeat(MOST));
    let endless = saying(200, move || Body::from(long.clone())).await;
    let Trouble::Nonsense(why) = polled(&endless).await else {
        panic!("it is too long");
    };
    assert!(why.contains("more than 4096 KiB"), "{why}");
    let denied = saying(403, || Body::from(r#"{"Access-Check-Result":"no rights"}"#)).await;
    let expected = Trouble::Refused {
        status: 403,
        why: "no rights".into(),
    };
    assert_eq!(polled(&denied).await, expected);
    // The credentials are sent to the pod and nowhere else.
    let elsewhere =
        writing("HTTP/1.1 307 Moved\r\nLocation: http://127.0.0.1:1/\r\nContent-Length: 0\r\n\r\n");
    assert!(matches!(
        polled(&elsewhere.await).await,
        Trouble::Refused { status: 307, .. }
    ));
    let nothing = saying(204, Body::empty).await;
    assert_eq!(client().poll(&nothing, None).await, Ok(Polled::NothingNew));
}

#[tokio::test]
async fn an_answer_of_megabytes_is_read() {
    let tasks = (0..5_000).map(|n| update(succeeded(&n.to_string())));
    let counter = Counter { counter: 5, hash: 5 };
    let answer = Answer::changes(counter, tasks.collect::<Vec<Change>>());
    let text = serde_json::to_string(&answer).unwrap();
    assert!(text.len() > 1 << 20);
    let large = saying(200, move || Body::from(text.clone())).await;
    assert_eq!(client().poll(&large, None).await, Ok(Polled::Answer(answer)));
}

/// Each way in which a POST can end.
#[tokio::test]
async fn what_is_known_after_a_post() {
    let assigned = async |target: &Target| client().assign(target, Bytes::from("{}"), LIMIT).await;
    assert!(matches!(assigned(&nobody().await).await, Posted::NotReceived(_)));
    let closed = writing("").await;
    assert!(matches!(assigned(&closed).await, Posted::Unknown(_)));
    let cut = writing("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{").await;
    assert_eq!(assigned(&cut).await, Posted::Accepted);
    let failed = saying(500, || Body::from("x")).await;
    assert!(matches!(assigned(&failed).await, Posted::Unknown(_)));
    let refused = saying(400, || Body::from("{\"error\":\"bad\"}")).await;
    let expected = Posted::Refused {
        status: 400,
        why: "bad".into(),
    };
    assert_eq!(assigned(&refused).await, expected);
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let silent = target(silent.local_addr().unwrap());
    let soon = Duration::from_millis(50);
    // The listener is gone, or accepts and says nothing: which one is known differs.
    let posted = client().shutdown(&silent, "a", soon).await;
    assert!(!matches!(posted, Posted::Accepted | Posted::Refused { .. }));
    for host in ["", "a/b", "user@host", "h?x", "h#x", "h%20"] {
        let target = Target {
            host: host.into(),
            ..silent.clone()
        };
        assert!(
            matches!(assigned(&target).await, Posted::NotReceived(_)),
            "{host}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn a_post_is_not_waited_for_beyond_its_limit() {
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let target = target(silent.local_addr().unwrap());
    let posted = client().assign(&target, Bytes::from("{}"), LIMIT).await;
    assert!(matches!(posted, Posted::Unknown(_)), "{posted:?}");
}

#[tokio::test]
async fn trusts_the_given_certificate_and_no_other() {
    let (address, ca) = with_tls("HTTP/1.1 204 No Content\r\n\r\n".into()).await;
    let (_, other) = with_tls(String::new()).await;
    let polled = async |ca: Option<Vec<u8>>| {
        let settings = Settings {
            ca,
            tls: true,
            ..Settings::default()
        };
        let target = Target {
            tls: true,
            ..target(address)
        };
        IndexerClient::new(&settings).unwrap().poll(&target, None).await
    };
    assert_eq!(polled(Some(ca)).await, Ok(Polled::NothingNew));
    for ca in [None, Some(other)] {
        let Err(Trouble::Unreachable(why)) = polled(ca).await else {
            panic!("it is not trusted");
        };
        assert!(why.contains("certificate"), "{why}");
    }
    let none = Settings {
        ca: Some(b"no certificate".to_vec()),
        ..Settings::default()
    };
    assert!(IndexerClient::new(&none).is_err());
}

/// Certificates of pods name no address as a rule.
#[tokio::test]
async fn trusts_other_hosts_of_its_ca_where_that_is_wanted() {
    let indexers = SelfMadeCa::new();
    let others = SelfMadeCa::new();
    let answer = "HTTP/1.1 204 No Content\r\n\r\n";
    for (named, any_hostname, ca, expected) in [
        ("127.0.0.1", false, &indexers, Ok(())),
        ("127.0.0.1", true, &indexers, Ok(())),
        ("indexers.druid.svc", true, &indexers, Ok(())),
        ("indexers.druid.svc", false, &indexers, Err("not valid for name")),
        (
            "indexers.druid.svc",
            true,
            &others,
            Err("invalid peer certificate"),
        ),
        ("127.0.0.1", false, &others, Err("invalid peer certificate")),
    ] {
        let address = indexers.serve(named, answer.to_owned()).await;
        let settings = Settings {
            ca: Some(ca.pem()),
            tls: true,
            any_hostname,
            ..Settings::default()
        };
        let target = Target {
            tls: true,
            ..target(address)
        };
        let polled = IndexerClient::new(&settings).unwrap().poll(&target, None).await;
        match (polled, expected) {
            (Ok(polled), Ok(())) => assert_eq!(polled, Polled::NothingNew),
            (Err(trouble), Err(said)) => assert!(trouble.to_string().contains(said), "{trouble}"),
            (polled, _) => panic!("{named} {any_hostname}: {polled:?}"),
        }
    }
}

#[test]
fn an_address_of_ipv6_is_put_into_brackets() {
    let target = Target {
        host: "fd00::9".into(),
        tls: true,
        ..target("127.0.0.1:8091".parse().unwrap())
    };
    let url = url(&target, "/x").unwrap();
    assert_eq!(url.as_str(), "https://[fd00::9]:8091/x");
}
