//! Clients of Druid's processes: which certificates they trust, how much of an answer they read.

use std::fmt::Write as _;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use reqwest::{Certificate, Client, Response, redirect};

/// Time limit for connecting.
pub const CONNECT: Duration = Duration::from_secs(10);

/// Certificates that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct InvalidCa(String);

/// Why the body of an answer was not read.
#[derive(Debug, thiserror::Error)]
pub enum Unread {
    /// It has more than the given number of bytes.
    #[error("the answer has more than {} KiB", .0 >> 10)]
    TooLong(usize),
    /// The connection ended.
    #[error("{}", causes(.0))]
    Broken(#[source] reqwest::Error),
}

/// Whose certificates a client trusts.
#[derive(Debug, Clone, Copy, Default)]
pub struct Trust<'a> {
    /// Certificates in PEM that are trusted instead of the system's.
    pub ca: Option<&'a [u8]>,
    /// Whether the client will speak HTTPS.
    pub tls: bool,
    /// Whether a certificate of `ca` may be of another host than the one that is called. Without `ca` it may not.
    pub any_hostname: bool,
}

/// A client that follows no redirects and uses no proxy.
///
/// # Errors
/// When `ca` has no certificate, or one that cannot be read.
pub fn client(trust: &Trust<'_>) -> Result<Client, InvalidCa> {
    // The client needs the process's crypto provider. An existing one is the same.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let mut http = Client::builder()
        .connect_timeout(CONNECT)
        // Druid is on the cluster's network, which a proxy from the environment does not reach.
        .no_proxy()
        // Redirects must keep the credentials, which this client would drop.
        .redirect(redirect::Policy::none());
    if let Some(pem) = trust.ca {
        let ca = Certificate::from_pem_bundle(pem).map_err(|e| InvalidCa(causes(&e)))?;
        if ca.is_empty() {
            return Err(InvalidCa("it contains no certificate".to_owned()));
        }
        http = http
            .tls_certs_only(ca)
            .tls_danger_accept_invalid_hostnames(trust.any_hostname);
    } else if !trust.tls {
        // An image may have no certificates, and none are needed.
        http = http.tls_certs_only([]);
    }
    http.build().map_err(|e| InvalidCa(causes(&e)))
}

/// The body of an answer of at most `most` bytes. Its length is not known before it is read.
///
/// # Errors
/// [`Unread`].
pub async fn body(response: &mut Response, most: usize) -> Result<Bytes, Unread> {
    let mut body = BytesMut::new();
    while let Some(piece) = response.chunk().await.map_err(Unread::Broken)? {
        if body.len() + piece.len() > most {
            return Err(Unread::TooLong(most));
        }
        body.extend_from_slice(&piece);
    }
    Ok(body.freeze())
}

/// An error with its causes, without its URL, which the message already has.
#[must_use]
pub fn causes(error: &reqwest::Error) -> String {
    let mut text = if error.is_connect() {
        "no connection"
    } else {
        "no answer"
    }
    .to_owned();
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        let _ = write!(text, ": {cause}");
        source = cause.source();
    }
    text
}
