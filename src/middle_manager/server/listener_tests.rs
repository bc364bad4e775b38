use std::future::pending;

use axum::http::StatusCode;
use rcgen::{CertifiedKey, generate_simple_self_signed};
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, RootCertStore, SupportedProtocolVersion};
use tokio_rustls::TlsConnector;

use super::*;
use crate::middle_manager::fixtures::{Client, HASH, Identity, get, piecemeal, until};

const HOST: &str = "worker-0.ns.svc";
const POLL: &str = "/druid-internal/v1/worker?counter=0&hash=77&timeout=180000";

fn certificate() -> (String, String) {
    let CertifiedKey { cert, signing_key } = generate_simple_self_signed([HOST.to_owned()]).unwrap();
    (cert.pem(), signing_key.serialize_pem())
}

async fn connect_tls(
    address: SocketAddr,
    trusted: &str,
    version: &'static SupportedProtocolVersion,
) -> std::io::Result<Client> {
    let mut roots = RootCertStore::empty();
    let trusted = CertificateDer::from_pem_slice(trusted.as_bytes()).unwrap();
    roots.add(trusted).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[version])
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let stream = TcpStream::connect(address).await?;
    let host = ServerName::try_from(HOST).unwrap();
    let stream = TlsConnector::from(Arc::new(config)).connect(host, stream).await?;
    assert_eq!(stream.get_ref().1.protocol_version(), Some(version.version));
    Ok(Client::over(stream).await)
}

#[tokio::test]
async fn tls_is_spoken_as_new_and_as_old_as_druid_does() {
    let (chain, key) = certificate();
    let config = tls(chain.as_bytes(), key.as_bytes()).unwrap();
    let identity = Identity::start_with(Some(config), Duration::ZERO, |_| {}).await;
    for version in [&rustls::version::TLS12, &rustls::version::TLS13] {
        let mut client = connect_tls(identity.address, &chain, version).await.unwrap();
        for _ in 0..2 {
            let said = client.call(get("/status/health")).await;
            assert_eq!((said.code, said.text()), (StatusCode::OK, "true"));
        }
    }
    let other = connect_tls(identity.address, &certificate().0, &rustls::version::TLS13).await;
    assert!(other.is_err(), "another certificate is not this one");
    // Whoever does not speak TLS keeps nobody out who does.
    let mut plain = Client::over(TcpStream::connect(identity.address).await.unwrap()).await;
    assert!(plain.begin(get("/status/health")).await.is_err());
    let again = connect_tls(identity.address, &chain, &rustls::version::TLS12).await;
    assert_eq!(
        again.unwrap().call(get("/status/health")).await.code,
        StatusCode::OK
    );
    identity.stopped().await;
}

#[test]
fn certificates_that_cannot_be_used_are_named() {
    let (chain, key) = certificate();
    let message = |chain: &str, key: &str| tls(chain.as_bytes(), key.as_bytes()).unwrap_err().to_string();
    assert!(message("", &key).contains("(`tls.crt`) must be PEM"));
    assert!(message("-----BEGIN CERTIFICATE-----\n*\n", &key).contains("(`tls.crt`) must be PEM"));
    assert!(message(&chain, "").contains("(`tls.key`) must be PEM"));
    assert!(message(&chain, &certificate().1).contains("cannot be used together"));
    let folder = tempfile::tempdir().unwrap();
    let (chain_file, key_file) = (folder.path().join("tls.crt"), folder.path().join("tls.key"));
    std::fs::write(&chain_file, &chain).unwrap();
    let missing = tls_from_files(&chain_file, &key_file).unwrap_err().to_string();
    assert!(missing.contains("tls.key cannot be read"), "{missing}");
    std::fs::write(&key_file, &key).unwrap();
    tls_from_files(&chain_file, &key_file).unwrap();
}

#[tokio::test]
async fn an_address_that_is_taken_is_named() {
    let first = Port::bind(([127, 0, 0, 1], 0).into(), None).await.unwrap();
    let second = Port::bind(first.address(), None).await.unwrap_err().to_string();
    assert!(second.starts_with(&format!("{} cannot be bound", first.address())));
}

/// The clock is moved, so that nobody waits.
#[tokio::test]
async fn a_connection_may_be_idle_for_as_long_as_an_overlord_keeps_it() {
    let identity = Identity::start().await;
    let mut client = identity.connect().await;
    for _ in 0..3 {
        assert_eq!(client.call(get("/status/health")).await.code, StatusCode::OK);
        tokio::time::pause();
        tokio::time::advance(Duration::from_secs(4 * 60 + 30)).await;
        tokio::time::resume();
    }
    assert_eq!(client.call(get("/status/health")).await.code, StatusCode::OK);
    tokio::time::pause();
    tokio::time::advance(IDLE + Duration::from_secs(1)).await;
    tokio::time::resume();
    client.closed().await;
}

#[tokio::test]
async fn an_end_answers_who_waits_and_takes_nobody_new() {
    let mut identity = Identity::start_with(None, Duration::from_secs(60), |_| {}).await;
    let mut idle = identity.connect().await;
    assert_eq!(idle.call(get("/status/health")).await.code, StatusCode::OK);
    let mut client = identity.connect().await;
    let poll = tokio::spawn(async move { client.call(get(POLL)).await });
    until("the poll is held", || identity.line.held() == 1).await;
    identity.stop();
    idle.closed().await;
    until("nobody is accepted", || {
        std::net::TcpStream::connect(identity.address).is_err()
    })
    .await;
    assert_eq!(identity.line.held(), 1);
    identity.line.close();
    let said = poll.await.unwrap();
    assert_eq!(said.code, StatusCode::OK);
    assert_eq!(
        said.text(),
        format!(
            r#"{{"resetCounter":false,"resetCause":null,"counter":{{"counter":0,"hash":{HASH}}},"requests":[]}}"#
        )
    );
    identity.stopped().await;
}

#[tokio::test]
async fn an_end_does_not_wait_for_ever() {
    let identity = Identity::start_with(None, Duration::from_millis(50), |_| {}).await;
    let (pieces, log) = piecemeal();
    identity.backend.logs.lock().insert(("a".into(), 0), log);
    let mut client = identity.connect().await;
    let response = client.begin(get("/druid/worker/v1/task/a/log")).await.unwrap();
    assert_eq!(response.status(), StatusCode::OK);
    identity.stopped().await;
    client.closed().await;
    assert!(pieces.send("more").is_err(), "nobody reads the log any more");
}

/// A client of another address of this machine.
async fn connect_as(client: usize, identity: &Identity) -> Client {
    let socket = tokio::net::TcpSocket::new_v4().unwrap();
    let address = [127, 0, 0, u8::try_from(client + 2).unwrap()];
    socket.bind((address, 0).into()).unwrap();
    Client::over(socket.connect(identity.address).await.unwrap()).await
}

#[tokio::test]
async fn one_client_cannot_keep_the_others_out() {
    let identity = Identity::start().await;
    let mut clients = Vec::new();
    for _ in 0..PER_CLIENT {
        let mut client = connect_as(0, &identity).await;
        assert_eq!(client.call(get("/status/health")).await.code, StatusCode::OK);
        clients.push(client);
    }
    for _ in 0..CONNECTIONS {
        connect_as(0, &identity).await.closed().await;
    }
    let mut other = connect_as(1, &identity).await;
    assert_eq!(other.call(get("/status/health")).await.code, StatusCode::OK);
    // A connection that ends makes room for another one.
    clients.pop();
    let mut again = connect_as(0, &identity).await;
    while again.begin(get("/status/health")).await.is_err() {
        again = connect_as(0, &identity).await;
    }
}

#[tokio::test]
async fn connections_are_bounded_and_free_places_are_taken() {
    let identity = Identity::start().await;
    let mut clients = Vec::new();
    for n in 0..CONNECTIONS {
        let mut client = connect_as(n / PER_CLIENT, &identity).await;
        assert_eq!(client.call(get("/status/health")).await.code, StatusCode::OK);
        clients.push(client);
    }
    let mut one_more = connect_as(9, &identity).await;
    let mut waits = Box::pin(async move { one_more.call(get("/status/health")).await.code });
    // Those that are connected are served, many times over, and the one more is not.
    for client in clients.iter_mut().take(20) {
        assert_eq!(client.call(get("/status/health")).await.code, StatusCode::OK);
        assert!(futures::poll!(&mut waits).is_pending());
    }
    clients.pop();
    assert_eq!(waits.await, StatusCode::OK);
}

#[tokio::test]
async fn a_port_that_is_bound_and_not_served_keeps_its_clients_waiting() {
    let port = Port::bind(([127, 0, 0, 1], 0).into(), None).await.unwrap();
    let mut early = Client::over(TcpStream::connect(port.address()).await.unwrap()).await;
    let routes = Router::new().route("/", axum::routing::get(async || "here"));
    tokio::spawn(port.serve(routes, pending(), Duration::ZERO));
    assert_eq!(early.call(get("/")).await.text(), "here");
}
