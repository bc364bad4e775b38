//! Identities over real ports, a backend in memory, and a client that sends what it is told to.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use axum::body::Body;
use axum::http::{HeaderMap, HeaderName, HeaderValue, Request, Response, StatusCode};
use bytes::Bytes;
use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;
use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::sync::{Notify, mpsc, oneshot};
use tokio::task::JoinHandle;

use super::http::backend::{Backend, Refused, Unavailable};
use super::http::body_budget::BodyBudget;
use super::http::routes::{BODY_LIMIT, Served, routes};
use super::registry::identity::{Assigned, Ordinal};
use super::server::listener::Port;
use super::sync::long_poll::LongPoll;
use crate::druid::worker::{TaskAnnouncement, TaskFacts, TaskLocation, TaskResource};

pub(crate) const HASH: i64 = 77;
pub(crate) const SMILE: &str = "application/x-jackson-smile";
const PATIENCE: Duration = Duration::from_secs(60);

pub(crate) fn facts(id: &str) -> TaskFacts {
    TaskFacts {
        id: id.into(),
        task_type: "noop".into(),
        data_source: "none".into(),
        resource: TaskResource::one(id),
    }
}

pub(crate) fn running(id: &str) -> TaskAnnouncement {
    TaskAnnouncement::running(facts(id), TaskLocation::unknown())
}

/// Waits until something is so.
pub(crate) async fn until(what: &str, mut so: impl FnMut() -> bool) {
    let since = Instant::now();
    while !so() {
        assert!(since.elapsed() < PATIENCE, "{what}");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

/// What stands behind an identity: nothing but memory.
pub(crate) struct Memory {
    line: Arc<LongPoll>,
    pub(crate) refreshed: AtomicUsize,
    /// Nothing can be reached.
    pub(crate) away: AtomicBool,
    /// An assignment is never taken.
    pub(crate) invalid: AtomicBool,
    /// An assignment waits for this once it has begun, where there is one.
    pub(crate) gate: Mutex<Option<Arc<Notify>>>,
    pub(crate) begun: AtomicUsize,
    pub(crate) assigned: Mutex<Vec<Assigned>>,
    pub(crate) ended: Mutex<Vec<String>>,
    pub(crate) logs: Mutex<BTreeMap<(String, i64), Body>>,
}

impl Memory {
    fn here(&self) -> Result<(), Unavailable> {
        if self.away.load(Ordering::SeqCst) {
            return Err(Unavailable("nobody knows".into()));
        }
        Ok(())
    }
}

impl Backend for Memory {
    async fn refresh(&self, _: Ordinal) -> Result<(), Unavailable> {
        self.refreshed.fetch_add(1, Ordering::SeqCst);
        self.here()
    }

    async fn assign(&self, _: Ordinal, task: Assigned) -> Result<(), Refused> {
        self.begun.fetch_add(1, Ordering::SeqCst);
        let gate = self.gate.lock().clone();
        if let Some(gate) = gate {
            gate.notified().await;
        }
        if self.invalid.load(Ordering::SeqCst) {
            return Err(Refused::Invalid("no such task".into()));
        }
        self.here().map_err(|error| Refused::Unavailable(error.0))?;
        self.line.announce(running(&task.id));
        self.assigned.lock().push(task);
        Ok(())
    }

    async fn shutdown(&self, _: Ordinal, task_id: &str) -> Result<(), Unavailable> {
        self.here()?;
        self.ended.lock().push(task_id.to_owned());
        Ok(())
    }

    async fn enable(&self, _: Ordinal, enabled: bool) -> Result<(), Unavailable> {
        self.here()?;
        self.line.disable(!enabled);
        Ok(())
    }

    async fn log(&self, _: Ordinal, task_id: &str, offset: i64) -> Option<Body> {
        self.logs.lock().remove(&(task_id.to_owned(), offset))
    }
}

/// An identity that is served.
pub(crate) struct Identity {
    pub(crate) address: std::net::SocketAddr,
    pub(crate) line: Arc<LongPoll>,
    pub(crate) backend: Arc<Memory>,
    pub(crate) discovered: Arc<AtomicBool>,
    stop: Option<oneshot::Sender<()>>,
    serving: JoinHandle<()>,
}

impl Identity {
    pub(crate) async fn start() -> Self {
        Self::start_with(None, Duration::ZERO, |_| {}).await
    }

    /// With what the test wants otherwise.
    pub(crate) async fn start_with(
        tls: Option<Arc<rustls::ServerConfig>>,
        grace: Duration,
        change: impl FnOnce(&mut Served<Memory>),
    ) -> Self {
        let line = Arc::new(LongPoll::new(HASH));
        let backend = Arc::new(Memory {
            line: line.clone(),
            refreshed: AtomicUsize::new(0),
            away: AtomicBool::new(false),
            invalid: AtomicBool::new(false),
            gate: Mutex::new(None),
            begun: AtomicUsize::new(0),
            assigned: Mutex::default(),
            ended: Mutex::default(),
            logs: Mutex::default(),
        });
        let discovered = Arc::new(AtomicBool::new(false));
        let port = Port::bind(([127, 0, 0, 1], 0).into(), tls).await.unwrap();
        let address = port.address();
        let mut served = Served {
            identity: Ordinal(0),
            address: "worker-0.ns.svc:8091".into(),
            line: line.clone(),
            backend: backend.clone(),
            credentials: None,
            room: Arc::new(BodyBudget::new(BODY_LIMIT)),
            discovered: discovered.clone(),
        };
        change(&mut served);
        let (stop, stopped) = oneshot::channel();
        let stopped = async {
            // Dropped is as good as sent.
            let _ = stopped.await;
        };
        let serving = tokio::spawn(port.serve(routes(served), stopped, grace));
        Self {
            address,
            line,
            backend,
            discovered,
            stop: Some(stop),
            serving,
        }
    }

    /// Asks the server to end, and does not wait for it.
    pub(crate) fn stop(&mut self) {
        self.stop.take();
    }

    /// Waits for the server's end.
    pub(crate) async fn stopped(mut self) {
        self.stop();
        tokio::time::timeout(PATIENCE, self.serving)
            .await
            .unwrap()
            .unwrap();
    }

    pub(crate) async fn connect(&self) -> Client {
        Client::over(TcpStream::connect(self.address).await.unwrap()).await
    }

    /// One request on a connection of its own.
    pub(crate) async fn call(&self, request: Request<Body>) -> Said {
        self.connect().await.call(request).await
    }

    pub(crate) async fn get(&self, path: &str) -> Said {
        self.call(get(path)).await
    }

    pub(crate) async fn post(&self, path: &str) -> Said {
        self.call(post(path, &[], Body::empty())).await
    }
}

/// One connection. It is closed when this is dropped.
pub(crate) struct Client {
    sender: SendRequest<Body>,
    connection: JoinHandle<hyper::Result<()>>,
}

impl Drop for Client {
    fn drop(&mut self) {
        self.connection.abort();
    }
}

impl Client {
    pub(crate) async fn over<S>(stream: S) -> Self
    where
        S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        let (sender, connection) = handshake(TokioIo::new(stream)).await.unwrap();
        Self {
            sender,
            connection: tokio::spawn(connection),
        }
    }

    /// The answer as soon as it begins.
    pub(crate) async fn begin(&mut self, request: Request<Body>) -> hyper::Result<Response<Incoming>> {
        self.sender.ready().await?;
        self.sender.send_request(request).await
    }

    pub(crate) async fn call(&mut self, request: Request<Body>) -> Said {
        let response = tokio::time::timeout(PATIENCE, self.begin(request)).await;
        let (head, body) = response.unwrap().unwrap().into_parts();
        Said {
            code: head.status,
            headers: head.headers,
            body: body.collect().await.unwrap().to_bytes(),
        }
    }

    /// Waits until the server has closed the connection.
    pub(crate) async fn closed(&mut self) {
        let closed = tokio::time::timeout(PATIENCE, &mut self.connection).await;
        assert!(closed.is_ok(), "the connection is still open");
    }
}

/// What was answered.
#[derive(Debug)]
pub(crate) struct Said {
    pub(crate) code: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

impl Said {
    pub(crate) fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }

    pub(crate) fn header(&self, name: HeaderName) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().unwrap())
    }
}

pub(crate) fn get(path: &str) -> Request<Body> {
    Request::get(path)
        .header("Host", "worker-0")
        .body(Body::empty())
        .unwrap()
}

pub(crate) fn post(path: &str, headers: &[(HeaderName, &str)], body: impl Into<Body>) -> Request<Body> {
    let mut request = Request::post(path)
        .header("Host", "worker-0")
        .body(body.into())
        .unwrap();
    for (name, value) in headers {
        let value = HeaderValue::from_str(value).unwrap();
        request.headers_mut().append(name, value);
    }
    request
}

/// A request whose line and headers were recorded. The body's length is found anew.
pub(crate) fn recorded(head: &str, body: impl Into<Body>) -> Request<Body> {
    let mut lines = head.lines();
    let mut first = lines.next().unwrap().split(' ');
    let mut request = Request::builder()
        .method(first.next().unwrap())
        .uri(first.next().unwrap());
    for line in lines {
        let (name, value) = line.split_once(": ").unwrap();
        if name != "Content-Length" {
            request = request.header(name, value);
        }
    }
    request.body(body.into()).unwrap()
}

/// A body that is given piece by piece.
pub(crate) fn piecemeal() -> (mpsc::UnboundedSender<&'static str>, Body) {
    let (sender, mut receiver) = mpsc::unbounded_channel();
    let pieces = futures::stream::poll_fn(move |context| receiver.poll_recv(context));
    let pieces = futures::StreamExt::map(pieces, Ok::<_, std::convert::Infallible>);
    (sender, Body::from_stream(pieces))
}
