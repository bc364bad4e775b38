//! Serves small answers over HTTP on a port that others can reach: with a limited number of connections, time limits
//! for each, and no request bodies.
//!
//! If all connections are in use, a new one replaces the oldest one of the address that has the most. So a client that
//! opens many connections loses its own, and a kubelet, which opens one for each probe and sends its request at once,
//! is answered.

use std::collections::{BTreeMap, HashMap};
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::Router;
use axum::body::{Body, HttpBody};
use axum::extract::Request;
use axum::http::{StatusCode, header};
use axum::middleware::{Next, from_fn};
use axum::response::{IntoResponse, Response};
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::{Sleep, sleep};

/// Delay after a failure to accept that no client caused, such as too many open files.
const AGAIN: Duration = Duration::from_secs(1);
/// Buffer size in bytes for the head of a request and for an answer.
const BUFFER: usize = 16 * 1024;

/// Limits of the connections of a port.
#[derive(Debug, Clone, Copy)]
pub struct Bounds {
    /// Most connections at the same time.
    pub connections: usize,
    /// Time limit for the head of a request, counted from the end of the previous one, and so for an idle connection.
    pub head: Duration,
    /// How long a reader may accept no bytes of an answer.
    pub stalled: Duration,
}

/// For probes and metrics.
pub const PROBES: Bounds = Bounds {
    connections: 128,
    head: Duration::from_secs(10),
    stalled: Duration::from_secs(10),
};

/// Serves these routes until it is dropped.
pub async fn serve(listener: TcpListener, routes: Router, bounds: Bounds) {
    let routes = routes.layer(from_fn(without_body));
    let open = Open::default();
    let mut connections = JoinSet::new();
    let mut number = 0;
    loop {
        let (stream, peer) = match listener.accept().await {
            Ok(accepted) => accepted,
            Err(error) if of_the_client(&error) => continue,
            Err(error) => {
                tracing::warn!(%error, "connections cannot be accepted; it is tried again");
                sleep(AGAIN).await;
                continue;
            }
        };
        while let Some(ended) = connections.try_join_next() {
            if let Err(error) = ended
                && error.is_panic()
            {
                tracing::error!(%error, "a handler panicked: its connection was closed, other connections \
                    are not affected");
            }
        }
        open.make_room(bounds.connections);
        number += 1;
        let (routes, entry) = (routes.clone(), open.clone());
        let mut open = open.0.lock();
        // It cannot end before it is entered.
        let handle = connections.spawn(async move {
            // Created here: a task that is dropped before it starts, while the entry is being made, must not remove the
            // entry.
            let _entered = Entered { open: entry, number };
            answer(stream, routes, bounds).await;
        });
        open.insert(number, (peer.ip(), handle));
    }
}

/// Whether an error of accepting concerns only the connection that was to be accepted.
fn of_the_client(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset};
    matches!(
        error.kind(),
        ConnectionAborted | ConnectionRefused | ConnectionReset
    )
}

/// The connections by number; the oldest has the lowest.
#[derive(Clone, Default)]
struct Open(Arc<Mutex<BTreeMap<u64, (IpAddr, AbortHandle)>>>);

impl Open {
    /// Ends a connection if there are `most` of them.
    fn make_room(&self, most: usize) {
        let mut open = self.0.lock();
        if open.len() < most {
            return;
        }
        let peers = open.iter().map(|(number, (peer, _))| (*number, *peer));
        let Some(number) = oldest_of_the_most(peers) else {
            return;
        };
        if let Some((peer, connection)) = open.remove(&number) {
            tracing::debug!(%peer, "{most} connections are open, which is the limit: the oldest of the \
                client with the most is closed");
            connection.abort();
        }
    }
}

/// Removes a connection when it ends, even by a panic.
struct Entered {
    open: Open,
    number: u64,
}

impl Drop for Entered {
    fn drop(&mut self) {
        self.open.0.lock().remove(&self.number);
    }
}

/// The lowest number of the address that has the most connections.
fn oldest_of_the_most(open: impl Iterator<Item = (u64, IpAddr)>) -> Option<u64> {
    let mut of: HashMap<IpAddr, (usize, u64)> = HashMap::new();
    for (number, peer) in open {
        let (count, oldest) = of.entry(peer).or_insert((0, number));
        *count += 1;
        *oldest = number.min(*oldest);
    }
    of.into_values()
        .max_by_key(|(count, oldest)| (*count, std::cmp::Reverse(*oldest)))
        .map(|(_, oldest)| oldest)
}

async fn answer(stream: TcpStream, routes: Router, bounds: Bounds) {
    let stream = Timed {
        stream,
        stalled: bounds.stalled,
        timer: None,
    };
    // The timer of a request's head starts at the end of the previous request, and so ends idle connections, too.
    let served = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(bounds.head)
        .max_buf_size(BUFFER)
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(routes));
    if let Err(error) = served.await {
        tracing::debug!(%error, "a connection ended with an error");
    }
}

/// Request bodies are not read.
async fn without_body(request: Request, next: Next) -> Response {
    if request.body().is_end_stream() {
        return next.run(request).await;
    }
    let close = [(header::CONNECTION, "close")];
    (
        StatusCode::PAYLOAD_TOO_LARGE,
        close,
        "requests with a body are not accepted\n",
    )
        .into_response()
}

/// Refuses requests whose Host is not a name of this machine: a web page in a browser whose own name resolves to this
/// address.
pub async fn only_local_names(request: Request<Body>, next: Next) -> Response {
    let host = request.headers().get(header::HOST);
    if host.and_then(|host| host.to_str().ok()).is_some_and(is_local) {
        return next.run(request).await;
    }
    let said = "the Host of a request must be localhost or a loopback address\n";
    (StatusCode::MISDIRECTED_REQUEST, said).into_response()
}

/// Whether a Host, with or without a port, is this machine's loopback.
fn is_local(host: &str) -> bool {
    if let Ok(address) = host.parse::<SocketAddr>() {
        return address.ip().is_loopback();
    }
    let bare = host.strip_prefix('[').and_then(|h| h.strip_suffix(']'));
    if let Ok(address) = bare.unwrap_or(host).parse::<IpAddr>() {
        return address.is_loopback();
    }
    let name = match host.split_once(':') {
        Some((name, port)) if port.parse::<u16>().is_ok() => name,
        Some(_) => return false,
        None => host,
    };
    name.eq_ignore_ascii_case("localhost")
}

/// A connection whose reader has to accept bytes from time to time.
struct Timed {
    stream: TcpStream,
    stalled: Duration,
    timer: Option<Pin<Box<Sleep>>>,
}

impl Timed {
    /// Result of a write, or an error if it took too long.
    fn timed<T>(&mut self, context: &mut Context<'_>, written: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if written.is_ready() {
            self.timer = None;
            return written;
        }
        let stalled = self.stalled;
        let timer = self.timer.get_or_insert_with(|| Box::pin(sleep(stalled)));
        ready!(timer.as_mut().poll(context));
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }
}

impl AsyncRead for Timed {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, into)
    }
}

impl AsyncWrite for Timed {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.timed(context, written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(context, bytes);
        self.timed(context, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

#[cfg(test)]
#[path = "http_server_tests.rs"]
mod tests;
