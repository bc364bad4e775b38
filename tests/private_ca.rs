//! A store whose certificate is of a private authority: trusted with `SSL_CERT_DIR`, refused without.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test may end this way")]

use std::fs;
use std::path::Path;
use std::process::{Command, Output};
use std::sync::Arc;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};

/// The answer of an S3 server to a list of an empty bucket.
const EMPTY: &str = "<?xml version=\"1.0\"?><ListBucketResult><Name>logs</Name><KeyCount>0</KeyCount>\
                     <MaxKeys>1000</MaxKeys><IsTruncated>false</IsTruncated></ListBucketResult>";

/// Answers every request of every connection with [`EMPTY`].
async fn serve(listener: TcpListener, acceptor: TlsAcceptor) {
    loop {
        let Ok((stream, _)) = listener.accept().await else {
            return;
        };
        let acceptor = acceptor.clone();
        tokio::spawn(async move {
            // A client that refuses the certificate ends the handshake.
            let Ok(mut stream) = acceptor.accept(stream).await else {
                return;
            };
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n") {
                match stream.read_u8().await {
                    Ok(byte) => head.push(byte),
                    Err(_) => return,
                }
            }
            let answer = format!(
                "HTTP/1.1 200 OK\r\ncontent-type: application/xml\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{EMPTY}",
                EMPTY.len()
            );
            if stream.write_all(answer.as_bytes()).await.is_ok() {
                // Whether the client waits for the end of the stream is its own matter.
                let _ = stream.shutdown().await;
            }
        });
    }
}

fn history(properties: &Path, certificates: &Path) -> Output {
    Command::new(env!("CARGO_BIN_EXE_kubectl-peon"))
        .args(["history", "--namespace", "druid", "--log-properties"])
        .arg(properties)
        .env("SSL_CERT_DIR", certificates)
        .env_remove("SSL_CERT_FILE")
        .env("KUBECONFIG", "/dev/null")
        .output()
        .unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_is_trusted_by_the_certificates_that_the_environment_names() {
    let certified = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(certified.signing_key.serialize_der()));
    let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certified.cert.der().clone()], key)
        .unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let server = tokio::spawn(serve(listener, TlsAcceptor::from(Arc::new(config))));

    let folder = tempfile::tempdir().unwrap();
    let properties = folder.path().join("log.properties");
    let text = format!(
        "druid.indexer.logs.type=s3\ndruid.indexer.logs.s3Bucket=logs\ndruid.indexer.logs.s3Prefix=p\n\
         druid.s3.accessKey=a\ndruid.s3.secretKey=b\ndruid.s3.enablePathStyleAccess=true\n\
         druid.s3.endpoint.url=https://localhost:{port}\n"
    );
    fs::write(&properties, text).unwrap();
    let ours = folder.path().join("ours");
    fs::create_dir(&ours).unwrap();
    fs::write(ours.join("company-ca.crt"), certified.cert.pem()).unwrap();
    // Another authority, since without any certificate no request is sent.
    let others = folder.path().join("others");
    fs::create_dir(&others).unwrap();
    let other = rcgen::generate_simple_self_signed(["elsewhere".to_owned()]).unwrap();
    fs::write(others.join("ca.crt"), other.cert.pem()).unwrap();

    // As the chart sets it: several folders.
    let dirs = format!("{}:{}", others.display(), ours.display());
    let (trusted, refused) = tokio::task::spawn_blocking(move || {
        (
            history(&properties, Path::new(&dirs)),
            history(&properties, &others),
        )
    })
    .await
    .unwrap();
    server.abort();
    let said = |output: &Output| String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(trusted.status.success(), "{}", said(&trusted));
    assert!(!refused.status.success());
    let why = said(&refused).to_lowercase();
    assert!(why.contains("certificate"), "{why}");
}
