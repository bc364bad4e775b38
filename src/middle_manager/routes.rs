//! The worker protocol of one identity over HTTP, as an overlord speaks it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::rejection::{PathRejection, QueryRejection};
use axum::extract::{Path, Query, Request, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use serde::Deserialize;
use serde_json::json;
use tokio::sync::Semaphore;

use super::backend::{Backend, Ordinal, Unavailable};
use super::body::{self, Format};
use super::credentials::{CHALLENGE, Credentials};
use super::line::Line;
use super::problem::{Problem, broken, json_body};
use crate::druid::worker::{Answer, Counter};

/// Largest assignment in bytes, as it is sent and as JSON, where nothing else is said.
pub const BODY_LIMIT: usize = 64 << 20;
/// Least room for assignments, in bytes.
const LEAST_ROOM: usize = 16 << 20;
/// For so long the body of an assignment is waited for: the overlord itself gives up then.
const READING: Duration = Duration::from_secs(60);
/// For so long the cluster is waited for before a complete state is answered, where the poll does not end sooner.
const REFRESHING: Duration = Duration::from_secs(60);
/// Answers of more changes, and assignments of more bytes, are written and read where nobody waits for it.
const MANY_CHANGES: usize = 1000;
const MANY_BYTES: usize = 64 << 10;

/// What is served at one identity.
pub struct Served<B> {
    /// Which identity.
    pub identity: Ordinal,
    /// Its `host:port`, as it is announced.
    pub address: String,
    /// What it has to tell.
    pub line: Arc<Line>,
    /// What stands behind it.
    pub backend: Arc<B>,
    /// Who may call it; everybody where there are none.
    pub credentials: Option<Credentials>,
    /// Largest assignment in bytes, as it is sent and as JSON; see [`BODY_LIMIT`].
    pub body_limit: usize,
    /// Room for assignments, from when they are read until they are kept: see [`room`]. All identities share it.
    pub room: Arc<Semaphore>,
    /// Whether the identity stands in discovery. Whoever announces it says so.
    pub discovered: Arc<AtomicBool>,
}

struct Worker<B> {
    served: Served<B>,
}

/// Room for one assignment of the largest size, or many smaller ones: what they take is bounded, whatever is sent at the
/// same time. In KiB.
#[must_use]
pub fn room(body_limit: usize) -> Arc<Semaphore> {
    Arc::new(Semaphore::new(body_limit.max(LEAST_ROOM).div_ceil(1024)))
}

/// What a body takes of it: what it says that it has, or else the most that it may have.
fn takes(headers: &HeaderMap, most: usize) -> u32 {
    let said = headers.get(header::CONTENT_LENGTH);
    let said = said.and_then(|v| v.to_str().ok()?.parse::<usize>().ok());
    let kibibytes = said.unwrap_or(most).min(most).div_ceil(1024).max(1);
    u32::try_from(kibibytes).unwrap_or(u32::MAX)
}

type Shared<B> = State<Arc<Worker<B>>>;

/// The routes of one identity. All but `/status/health` and `/status/ready`, which probes ask, want the credentials.
///
/// What a client orders is carried out even if the client goes away meanwhile.
pub fn routes<B: Backend>(served: Served<B>) -> Router {
    let worker = Arc::new(Worker { served });
    let guarded = Router::new()
        .route("/druid-internal/v1/worker", get(poll::<B>))
        .route("/druid-internal/v1/worker/assignTask", post(assign::<B>))
        .route("/druid/worker/v1/enable", post(enable::<B>))
        .route("/druid/worker/v1/disable", post(disable::<B>))
        .route("/druid/worker/v1/enabled", get(enabled::<B>))
        .route("/druid/worker/v1/tasks", get(tasks::<B>))
        .route("/druid/worker/v1/task/{id}/shutdown", post(shutdown::<B>))
        .route("/druid/worker/v1/task/{id}/log", get(log::<B>))
        .route("/status", get(status))
        .route("/status/properties", get(async || json_body(&json!({}))))
        .route("/status/selfDiscovered", get(self_discovered::<B>))
        .route("/status/selfDiscovered/status", get(self_discovered_status::<B>))
        .route_layer(middleware::from_fn_with_state(worker.clone(), admit::<B>));
    Router::new()
        .route("/status/health", get(async || json_body(&json!(true))))
        .route("/status/ready", get(self_discovered::<B>))
        .merge(guarded)
        .fallback(async || Problem::new(StatusCode::NOT_FOUND, "there is nothing of that name"))
        .with_state(worker)
}

async fn admit<B: Backend>(State(worker): Shared<B>, request: Request, next: Next) -> Response {
    let credentials = &worker.served.credentials;
    if credentials.as_ref().is_some_and(|c| !c.admit(request.headers())) {
        tracing::debug!(
            path = request.uri().path(),
            "a request without the right credentials"
        );
        let said = "the credentials are missing or wrong: those of druid.escalator are expected";
        let mut refused = Problem::new(StatusCode::UNAUTHORIZED, said).into_response();
        refused.headers_mut().insert(header::WWW_AUTHENTICATE, CHALLENGE);
        return refused;
    }
    next.run(request).await
}

/// Does what must be done to its end, whether or not the client still waits for it.
async fn see_through<T: Send + 'static>(
    work: impl Future<Output = T> + Send + 'static,
) -> Result<T, Problem> {
    tokio::spawn(work).await.map_err(broken)
}

/// Does what takes its time where nobody else waits for it.
async fn aside<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, Problem> {
    tokio::task::spawn_blocking(work).await.map_err(broken)
}

/// A poll. A real worker takes a counter or hash that is not given for 0.
#[derive(Deserialize)]
struct Asked {
    #[serde(default)]
    counter: i64,
    #[serde(default)]
    hash: i64,
    /// Milliseconds.
    timeout: Option<i64>,
}

async fn poll<B: Backend>(
    State(worker): Shared<B>,
    asked: Result<Query<Asked>, QueryRejection>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let Query(asked) = asked?;
    let timeout = asked.timeout.and_then(|ms| u64::try_from(ms).ok());
    let timeout = timeout.filter(|ms| *ms > 0).map(Duration::from_millis);
    let timeout =
        timeout.ok_or_else(|| Problem::new(StatusCode::BAD_REQUEST, "timeout must be positive."))?;
    let served = &worker.served;
    let asked = Counter {
        counter: asked.counter,
        hash: asked.hash,
    };
    if asked.counter < 0 {
        // Tasks that are not in the answer are failed by the overlord.
        let refresh = served.backend.refresh(served.identity);
        let refreshed = tokio::time::timeout(timeout.min(REFRESHING), refresh).await;
        refreshed.map_err(|_| Unavailable("the cluster does not say in time what it knows".into()))??;
    }
    let answer = served.line.poll(asked, timeout).await;
    respond(answer, Format::of_answer(&headers), body::takes_gzip(&headers)).await
}

async fn respond(answer: Answer, format: Format, gzip: bool) -> Result<Response, Problem> {
    let many = answer.requests.as_ref().is_some_and(|r| r.len() > MANY_CHANGES);
    let write = move || body::write(&answer, format, gzip);
    let written = if many { aside(write).await? } else { write() };
    let written = written.map_err(broken)?;
    let mut response = Response::new(Body::from(written.bytes));
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, format.media_type());
    let never = HeaderValue::from_static("no-cache, no-store, max-age=0");
    headers.insert(header::CACHE_CONTROL, never);
    if written.packed {
        headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
    }
    Ok(response)
}

async fn assign<B: Backend>(State(worker): Shared<B>, request: Request) -> Result<StatusCode, Problem> {
    let (parts, body) = request.into_parts();
    let format =
        Format::of_body(&parts.headers).filter(|_| !parts.headers.contains_key(header::CONTENT_ENCODING));
    let format = format.ok_or_else(|| {
        let said = "a task is sent as application/x-jackson-smile or application/json, and not packed";
        Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, said)
    })?;
    let most = worker.served.body_limit;
    let room = worker.served.room.clone();
    let place = room.acquire_many_owned(takes(&parts.headers, most)).await;
    let place = place.map_err(broken)?;
    let bytes = match tokio::time::timeout(READING, Limited::new(body, most).collect()).await {
        Ok(Ok(read)) => Vec::from(read.to_bytes()),
        Ok(Err(error)) if error.is::<LengthLimitError>() => {
            let said = format!("the task has more than {most} bytes, which is the most that is taken");
            return Err(Problem::new(StatusCode::PAYLOAD_TOO_LARGE, said));
        }
        Ok(Err(error)) => {
            let said = format!("the task did not arrive: {error}");
            return Err(Problem::new(StatusCode::BAD_REQUEST, said));
        }
        Err(_) => {
            let said = format!("the task did not arrive within {} s", READING.as_secs());
            return Err(Problem::new(StatusCode::REQUEST_TIMEOUT, said));
        }
    };
    let aside_better = bytes.len() > MANY_BYTES;
    let read = move || body::assigned(format, bytes, most);
    let task = if aside_better { aside(read).await? } else { read() }?;
    see_through(async move {
        let _place = place;
        let served = &worker.served;
        served.backend.assign(served.identity, task).await
    })
    .await??;
    Ok(StatusCode::OK)
}

async fn shutdown<B: Backend>(
    State(worker): Shared<B>,
    id: Result<Path<String>, PathRejection>,
) -> Result<Response, Problem> {
    let Path(id) = id?;
    let answer = json_body(&json!({"task": id}));
    see_through(async move {
        let served = &worker.served;
        served.backend.shutdown(served.identity, &id).await
    })
    .await??;
    Ok(answer)
}

async fn enable<B: Backend>(State(worker): Shared<B>) -> Result<Response, Problem> {
    set_enabled(worker, true).await
}

async fn disable<B: Backend>(State(worker): Shared<B>) -> Result<Response, Problem> {
    set_enabled(worker, false).await
}

async fn set_enabled<B: Backend>(worker: Arc<Worker<B>>, enabled: bool) -> Result<Response, Problem> {
    let word = if enabled { "enabled" } else { "disabled" };
    let answer = json_body(&json!({&worker.served.address: word}));
    see_through(async move {
        let served = &worker.served;
        served.backend.enable(served.identity, enabled).await
    })
    .await??;
    Ok(answer)
}

async fn enabled<B: Backend>(State(worker): Shared<B>) -> Response {
    let served = &worker.served;
    json_body(&json!({&served.address: !served.line.disabled()}))
}

async fn tasks<B: Backend>(State(worker): Shared<B>) -> Response {
    json_body(&json!(worker.served.line.running()))
}

#[derive(Deserialize)]
struct Portion {
    /// As in Druid: 0 for the whole, else from there, or below 0 so many bytes from the end.
    #[serde(default)]
    offset: i64,
}

/// The log as it comes, neither packed nor collected: somebody may be watching it. The overlord hands the body to the
/// user whatever the status says, so that a task that is not here has none.
async fn log<B: Backend>(
    State(worker): Shared<B>,
    id: Result<Path<String>, PathRejection>,
    portion: Result<Query<Portion>, QueryRejection>,
) -> Result<Response, Problem> {
    let (Path(id), Query(portion)) = (id?, portion?);
    let served = &worker.served;
    let log = served.backend.log(served.identity, &id, portion.offset).await;
    let (code, body) = log.map_or((StatusCode::NOT_FOUND, Body::empty()), |log| {
        (StatusCode::OK, log)
    });
    let text = [(header::CONTENT_TYPE, "text/plain; charset=UTF-8")];
    Ok((code, text, body).into_response())
}

async fn status() -> Response {
    let memory =
        json!({"maxMemory": 0, "totalMemory": 0, "freeMemory": 0, "usedMemory": 0, "directMemory": 0});
    json_body(&json!({"version": env!("CARGO_PKG_VERSION"), "modules": [], "memory": memory}))
}

async fn self_discovered<B: Backend>(State(worker): Shared<B>) -> StatusCode {
    if worker.served.discovered.load(Ordering::Relaxed) {
        StatusCode::OK
    } else {
        StatusCode::SERVICE_UNAVAILABLE
    }
}

async fn self_discovered_status<B: Backend>(State(worker): Shared<B>) -> Response {
    let discovered = worker.served.discovered.load(Ordering::Relaxed);
    json_body(&json!({"selfDiscovered": discovered}))
}

#[cfg(test)]
#[path = "routes_tests.rs"]
mod tests;

#[cfg(test)]
#[path = "routes_crowd_tests.rs"]
mod crowd_tests;
