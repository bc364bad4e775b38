use std::net::Ipv4Addr;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::timeout;

use super::*;
use crate::metrics::Metrics;
use crate::process::health::Health;

const LIMIT: Duration = Duration::from_secs(60);

async fn port(bounds: Bounds) -> (SocketAddr, JoinSet<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let health = Health::new(Metrics::default());
    let large = axum::routing::get(async || vec![b'x'; 64 << 20]);
    let panics = axum::routing::get(async || -> &str { panic!("a handler that fails") });
    let routes = health.routes().route("/large", large).route("/panics", panics);
    let mut served = JoinSet::new();
    served.spawn(serve(listener, routes, bounds));
    (address, served)
}

/// All that comes until the connection ends.
async fn said(mut stream: TcpStream) -> String {
    let mut all = Vec::new();
    // A connection may be reset: what came before counts.
    let _ = timeout(LIMIT, stream.read_to_end(&mut all)).await.unwrap();
    String::from_utf8_lossy(&all).into_owned()
}

async fn ask(address: SocketAddr, request: &str) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    said(stream).await
}

const PROBE: &str = "GET /livez HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_slow_connections_are_bounded_and_a_probe_is_answered() {
    let bounds = Bounds {
        head: LIMIT * 10,
        ..PROBES
    };
    let (address, _served) = port(bounds).await;
    let mut slow = Vec::new();
    for _ in 0..1000 {
        let mut stream = TcpStream::connect(address).await.unwrap();
        // Its head never ends. Older ones may be closed already.
        let _ = stream.write_all(b"GET /livez HTTP/1.1\r\nHost:").await;
        slow.push(stream);
        if slow.len() % 100 == 0 {
            let answer = ask(address, PROBE).await;
            assert!(
                answer.starts_with("HTTP/1.1 200"),
                "{} slow ones: {answer:?}",
                slow.len()
            );
        }
    }
    // The bound holds: all but the newest were closed.
    let excess = slow.len() - bounds.connections;
    for stream in slow.drain(..excess) {
        assert_eq!(said(stream).await, "");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_probe_is_answered_while_the_metrics_are_flooded_and_nobody_reads_them() {
    let (address, _served) = port(PROBES).await;
    let mut flood = Vec::new();
    for at in 0..1000 {
        let mut stream = TcpStream::connect(address).await.unwrap();
        let path = if at % 20 == 0 { "large" } else { "metrics" };
        let request = format!("GET /{path} HTTP/1.1\r\nHost: a\r\n\r\n").repeat(5);
        let _ = stream.write_all(request.as_bytes()).await;
        flood.push(stream);
    }
    let answer = ask(address, PROBE).await;
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer:?}");
    let metrics = PROBE.replace("livez", "metrics");
    assert!(ask(address, &metrics).await.contains("# EOF"));
}

#[tokio::test]
async fn time_is_bounded_for_heads_for_idle_connections_and_for_readers() {
    let moment = Duration::from_millis(50);
    let bounds = Bounds {
        head: moment,
        stalled: moment,
        ..PROBES
    };
    let (address, _served) = port(bounds).await;
    assert!(!ask(address, "GET /livez HTTP/1.1\r\nHost").await.contains("200"));
    let kept = PROBE.replace("close", "keep-alive");
    assert!(
        ask(address, &kept).await.starts_with("HTTP/1.1 200"),
        "answered, and then closed"
    );

    // Somebody who takes nothing of a large answer.
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut stalled = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
    let large = PROBE.replace("livez", "large");
    stalled.write_all(large.as_bytes()).await.unwrap();
    let (stream, _) = listener.accept().await.unwrap();
    let routes = Router::new().route("/large", axum::routing::get(async || vec![b'x'; 64 << 20]));
    timeout(LIMIT, answer(stream, routes, bounds)).await.unwrap();
    assert!(said(stalled).await.len() < 64 << 20);
}

#[tokio::test]
async fn bodies_and_long_heads_are_refused() {
    let (address, _served) = port(PROBES).await;
    for body in [
        "Content-Length: 5\r\n\r\nhello",
        "Content-Length: 99999999999\r\n\r\nx",
        "Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n",
    ] {
        let request = format!("GET /livez HTTP/1.1\r\nHost: a\r\n{body}");
        let answer = ask(address, &request).await;
        assert!(answer.starts_with("HTTP/1.1 413"), "{body:?}: {answer:?}");
    }
    let long = format!(
        "GET /livez HTTP/1.1\r\nHost: a\r\nX: {}\r\n\r\n",
        "x".repeat(100_000)
    );
    let mut stream = TcpStream::connect(address).await.unwrap();
    let _ = stream.write_all(long.as_bytes()).await;
    assert!(!said(stream).await.starts_with("HTTP/1.1 200"));
    assert!(ask(address, PROBE).await.starts_with("HTTP/1.1 200"));
}

#[test]
fn who_has_the_most_loses_the_oldest() {
    let peer = |n: u8| IpAddr::from(Ipv4Addr::new(10, 0, 0, n));
    let open = [
        (1, peer(1)),
        (2, peer(2)),
        (3, peer(2)),
        (4, peer(3)),
        (5, peer(2)),
    ];
    assert_eq!(oldest_of_the_most(open.into_iter()), Some(2));
    assert_eq!(
        oldest_of_the_most(open[..2].iter().copied()),
        Some(1),
        "of equals the oldest"
    );
    assert_eq!(oldest_of_the_most(std::iter::empty()), None);
}

#[test]
fn only_loopback_is_this_machine() {
    for (host, local) in [
        ("localhost", true),
        ("LocalHost:8081", true),
        ("127.0.0.1", true),
        ("127.0.0.1:8081", true),
        ("127.9.9.9:1", true),
        ("[::1]:8081", true),
        ("[::1]", true),
        ("evil.example", false),
        ("evil.example:8081", false),
        ("localhost.evil.example", false),
        ("127.0.0.1.evil.example:8081", false),
        ("localhost:80:80", false),
        ("localhost@evil.example", false),
        ("10.0.0.1:8081", false),
        ("[::]:8081", false),
        ("0.0.0.0", false),
        ("", false),
    ] {
        assert_eq!(is_local(host), local, "{host}");
    }
}

#[tokio::test]
async fn a_connection_whose_handler_panicked_takes_no_place() {
    let bounds = Bounds {
        connections: 2,
        ..PROBES
    };
    let (address, _served) = port(bounds).await;
    let mut idle = TcpStream::connect(address).await.unwrap();
    assert_eq!(ask(address, &PROBE.replace("livez", "panics")).await, "");
    let answer = ask(address, PROBE).await;
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer:?}");
    // It was not closed for the one before: there was room.
    idle.write_all(PROBE.as_bytes()).await.unwrap();
    let answer = said(idle).await;
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer:?}");
}
