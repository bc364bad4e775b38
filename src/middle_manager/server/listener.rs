//! One port per identity, which serves its [routes](crate::middle_manager::http::routes): plain or TLS, a limited
//! number of connections, and a shutdown that interrupts no answer.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::{GracefulShutdown, Watcher};
use hyper_util::service::TowerToHyperService;
use parking_lot::Mutex;
use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;

/// Time limit for an idle connection, and for the head of a request. An overlord keeps connections for 4 minutes
/// (`druid.global.http.unusedConnectionTimeout`): if we closed one sooner, a request might be under way on it. Druid's
/// own servers wait for 5.
pub const IDLE: Duration = Duration::from_secs(6 * 60);
const _: () = assert!(
    IDLE.as_secs() > 4 * 60,
    "an overlord keeps connections for 4 minutes"
);
/// Most connections to one identity at the same time; further ones wait to be accepted. An overlord has at most 20.
pub const CONNECTIONS: usize = 256;
/// Most connections from one client address to one identity. Further ones are closed at once, so that no client can
/// keep the overlord out: connections count before anything received over them is examined.
pub const PER_CLIENT: usize = CONNECTIONS / 2;
/// Time limit for the first byte of a connection, and for the TLS handshake.
const HANDSHAKE: Duration = Duration::from_secs(10);
/// Delay after a failure to accept that no client caused, such as too many open files.
const AGAIN: Duration = Duration::from_secs(1);

/// Why a port cannot be served.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The address cannot be bound.
    #[error("{address} cannot be bound: {error}")]
    Bind {
        /// The address.
        address: SocketAddr,
        /// The cause.
        error: std::io::Error,
    },
    /// A file of the certificate cannot be read.
    #[error("{file} cannot be read: {error}")]
    File {
        /// The file.
        file: PathBuf,
        /// The cause.
        error: std::io::Error,
    },
    /// The certificates are not PEM, or there are none.
    #[error("the certificate (`tls.crt`) must be PEM, with the worker's certificate first: {0}")]
    Certificate(String),
    /// The key is not PEM, or there is none.
    #[error("the key (`tls.key`) must be PEM: {0}")]
    Key(String),
    /// Certificate and key do not match.
    #[error("certificate and key (`tls.crt`, `tls.key`) cannot be used together: {0}")]
    Pair(rustls::Error),
}

/// TLS with the certificate chain and key in two PEM texts, as in a Secret of type `kubernetes.io/tls`.
///
/// TLS 1.2 is supported too: Druid's clients use no later version unless `druid.client.https.protocol` says so. Clients
/// are not asked for certificates. A renewed certificate needs a new process.
///
/// # Errors
/// [`ServeError`], which says what of the two cannot be used.
pub fn tls(certificate: &[u8], key: &[u8]) -> Result<Arc<ServerConfig>, ServeError> {
    let chain: Vec<_> = CertificateDer::pem_slice_iter(certificate)
        .collect::<Result<_, _>>()
        .map_err(|error| ServeError::Certificate(error.to_string()))?;
    if chain.is_empty() {
        return Err(ServeError::Certificate("it contains no certificate".into()));
    }
    let key = PrivateKeyDer::from_pem_slice(key).map_err(|error| ServeError::Key(error.to_string()))?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13, &rustls::version::TLS12])
        .map_err(ServeError::Pair)?;
    let mut config = builder
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .map_err(ServeError::Pair)?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}

/// [`tls`] from two files.
///
/// # Errors
/// [`ServeError`], also where a file cannot be read.
pub fn tls_from_files(certificate: &Path, key: &Path) -> Result<Arc<ServerConfig>, ServeError> {
    let read = |file: &Path| {
        std::fs::read(file).map_err(|error| ServeError::File {
            file: file.to_owned(),
            error,
        })
    };
    tls(&read(certificate)?, &read(key)?)
}

/// Binds an address; the address of all interfaces is also supported where the kernel has no IPv6.
///
/// # Errors
/// When it cannot be bound.
pub async fn bind(address: SocketAddr) -> std::io::Result<TcpListener> {
    match TcpListener::bind(address).await {
        Err(error) if address.ip() == Ipv6Addr::UNSPECIFIED && lacks_ipv6(&error) => {
            TcpListener::bind((Ipv4Addr::UNSPECIFIED, address.port())).await
        }
        bound => bound,
    }
}

fn lacks_ipv6(error: &std::io::Error) -> bool {
    // EAFNOSUPPORT has no `ErrorKind`.
    const NO_SUCH_FAMILY: i32 = 97;
    error.kind() == std::io::ErrorKind::AddrNotAvailable || error.raw_os_error() == Some(NO_SUCH_FAMILY)
}

/// A bound port. Until it is served, clients wait.
#[derive(Debug)]
pub struct Port {
    listener: TcpListener,
    address: SocketAddr,
    tls: Option<Arc<ServerConfig>>,
}

impl Port {
    /// Binds a port, with TLS if there is a certificate. Port 0 is any free port.
    ///
    /// # Errors
    /// [`ServeError::Bind`].
    pub async fn bind(address: SocketAddr, tls: Option<Arc<ServerConfig>>) -> Result<Self, ServeError> {
        let failed = |error| ServeError::Bind { address, error };
        let listener = bind(address).await.map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        Ok(Self {
            listener,
            address,
            tls,
        })
    }

    /// The bound address.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Serves until `stop`; then accepts no more connections, closes idle ones, and waits for the answers of the
    /// others, but not longer than `grace`. Polls are held for minutes:
    /// [close](crate::middle_manager::sync::long_poll::LongPoll::close) their long poll.
    pub async fn serve(self, routes: Router, stop: impl Future<Output = ()>, grace: Duration) {
        let ending = GracefulShutdown::new();
        let places = Arc::new(Semaphore::new(CONNECTIONS));
        let clients = Clients::default();
        let acceptor = self.tls.clone().map(TlsAcceptor::from);
        let mut connections = JoinSet::new();
        let mut stop = pin!(stop);
        loop {
            let (stream, client, place) = tokio::select! {
                accepted = self.accept(&places) => accepted,
                () = &mut stop => break,
            };
            while connections.try_join_next().is_some() {}
            let Some(client) = clients.accept(client.ip()) else {
                tracing::debug!(client = %client.ip(), "the client has {PER_CLIENT} connections, which is \
                    the limit: its new connection is closed");
                continue;
            };
            let (acceptor, routes, watcher) = (acceptor.clone(), routes.clone(), ending.watcher());
            connections.spawn(async move {
                let _place = (place, client);
                connection(stream, acceptor, routes, watcher).await;
            });
        }
        drop(self.listener);
        if tokio::time::timeout(grace, ending.shutdown()).await.is_err() {
            let port = self.address.port();
            tracing::warn!(
                port,
                "requests that did not end within the grace period are aborted"
            );
        }
        connections.shutdown().await;
    }

    async fn accept(&self, places: &Arc<Semaphore>) -> (TcpStream, SocketAddr, OwnedSemaphorePermit) {
        let port = self.address.port();
        loop {
            if places.available_permits() == 0 {
                tracing::warn!(
                    port,
                    "{CONNECTIONS} connections are open, which is the limit: new ones wait"
                );
            }
            // The semaphore is never closed.
            let Ok(place) = places.clone().acquire_owned().await else {
                return std::future::pending().await;
            };
            match self.listener.accept().await {
                Ok((stream, client)) => return (stream, client, place),
                Err(error) if of_the_client(&error) => {}
                Err(error) => {
                    tracing::warn!(port, %error, "connections cannot be accepted; it is tried again");
                    tokio::time::sleep(AGAIN).await;
                }
            }
        }
    }
}

/// Connections by client address.
#[derive(Debug, Clone, Default)]
struct Clients(Arc<Mutex<HashMap<IpAddr, usize>>>);

/// One connection of a client.
struct Client {
    address: IpAddr,
    clients: Clients,
}

impl Clients {
    /// Counts one more connection; `None` if the client has as many as it may.
    fn accept(&self, address: IpAddr) -> Option<Client> {
        let mut clients = self.0.lock();
        let count = clients.entry(address).or_default();
        if *count >= PER_CLIENT {
            return None;
        }
        *count += 1;
        Some(Client {
            address,
            clients: self.clone(),
        })
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        let mut clients = self.clients.0.lock();
        if let Some(count) = clients.get_mut(&self.address) {
            *count -= 1;
            if *count == 0 {
                clients.remove(&self.address);
            }
        }
    }
}

fn of_the_client(error: &std::io::Error) -> bool {
    use std::io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset};
    matches!(
        error.kind(),
        ConnectionAborted | ConnectionRefused | ConnectionReset
    )
}

async fn connection(stream: TcpStream, acceptor: Option<TlsAcceptor>, routes: Router, watcher: Watcher) {
    // Answers are small and must not be delayed to be sent together with more data.
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%error, "TCP_NODELAY cannot be set on a connection: small responses may be delayed");
    }
    // A silent connection gives up its place: places are limited, and an overlord sends its request at once.
    let mut first = [0];
    if !matches!(
        tokio::time::timeout(HANDSHAKE, stream.peek(&mut first)).await,
        Ok(Ok(1..))
    ) {
        return tracing::debug!("a connection without a request is closed");
    }
    let Some(acceptor) = acceptor else {
        return requests(stream, routes, watcher).await;
    };
    match tokio::time::timeout(HANDSHAKE, acceptor.accept(stream)).await {
        Ok(Ok(stream)) => requests(stream, routes, watcher).await,
        Ok(Err(error)) => tracing::debug!(%error, "the TLS handshake failed"),
        Err(_) => tracing::debug!("the TLS handshake did not end in time"),
    }
}

async fn requests<S>(stream: S, routes: Router, watcher: Watcher)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    // The timer of a request's head starts at the end of the previous request, and so ends idle connections, too.
    // Nothing limits how long an answer takes.
    let served = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(IDLE)
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(routes));
    if let Err(error) = watcher.watch(served).await {
        tracing::debug!(%error, "a connection ended with an error");
    }
}

#[cfg(test)]
#[path = "listener_tests.rs"]
mod tests;
