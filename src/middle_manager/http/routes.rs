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
use serde::Deserialize;
use serde_json::json;

use super::backend::{Backend, Unavailable};
use super::body::{self, Format};
use super::body_budget::BodyBudget;
use super::http_error::{HttpError, broken, json_body};
use crate::druid::worker::{Answer, Counter};
use crate::druid_http::credentials::{CHALLENGE, Credentials};
use crate::middle_manager::registry::identity::Ordinal;
use crate::middle_manager::sync::long_poll::LongPoll;

/// Default of the largest assignment in bytes, as sent and as JSON.
pub const BODY_LIMIT: usize = 64 << 20;
/// How long to wait for the cluster before a complete state is answered, if the poll does not end sooner.
const REFRESHING: Duration = Duration::from_secs(60);
/// Answers with more changes, and assignments with more bytes, are processed on a blocking thread.
const MANY_CHANGES: usize = 1000;
const MANY_BYTES: usize = 64 << 10;

/// An identity and what serves it.
pub struct Served<B> {
    /// Ordinal of the identity.
    pub identity: Ordinal,
    /// `host:port`, as announced.
    pub address: String,
    /// Its long poll.
    pub line: Arc<LongPoll>,
    /// The code behind its routes.
    pub backend: Arc<B>,
    /// Credentials that callers need; without them, everybody may call.
    pub credentials: Option<Credentials>,
    /// Budget for reading assignments; its largest size is also the limit as JSON. See [`BODY_LIMIT`].
    pub room: Arc<BodyBudget>,
    /// Whether the identity is announced in discovery; set by the announcer.
    pub discovered: Arc<AtomicBool>,
}

type Shared<B> = State<Arc<Served<B>>>;

/// The routes of one identity. All but `/status/health` and `/status/ready`, which probes call, require the
/// credentials.
///
/// A client's order is carried out even if the client disconnects meanwhile.
pub fn routes<B: Backend>(served: Served<B>) -> Router {
    let worker = Arc::new(served);
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
        .route_layer(middleware::from_fn_with_state(worker.clone(), authenticate::<B>));
    Router::new()
        .route("/status/health", get(async || json_body(&json!(true))))
        .route("/status/ready", get(self_discovered::<B>))
        .merge(guarded)
        .fallback(async || HttpError::new(StatusCode::NOT_FOUND, "not found"))
        .with_state(worker)
}

async fn authenticate<B: Backend>(State(worker): Shared<B>, request: Request, next: Next) -> Response {
    let credentials = &worker.credentials;
    if credentials.as_ref().is_some_and(|c| !c.accept(request.headers())) {
        tracing::debug!(
            path = request.uri().path(),
            "a request without valid credentials is refused"
        );
        let said = "the credentials are missing or wrong: those of druid.escalator are expected";
        let mut refused = HttpError::new(StatusCode::UNAUTHORIZED, said).into_response();
        refused.headers_mut().insert(header::WWW_AUTHENTICATE, CHALLENGE);
        return refused;
    }
    next.run(request).await
}

/// Runs work to its end, whether or not the client still waits.
async fn see_through<T: Send + 'static>(
    work: impl Future<Output = T> + Send + 'static,
) -> Result<T, HttpError> {
    tokio::spawn(work).await.map_err(broken)
}

/// Runs slow work where it blocks no other request.
async fn aside<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, HttpError> {
    tokio::task::spawn_blocking(work).await.map_err(broken)
}

/// A poll. As a real worker, it reads a missing counter or hash as 0.
#[derive(Deserialize)]
struct Asked {
    #[serde(default)]
    counter: i64,
    #[serde(default)]
    hash: i64,
    /// In milliseconds.
    timeout: Option<i64>,
}

async fn poll<B: Backend>(
    State(worker): Shared<B>,
    asked: Result<Query<Asked>, QueryRejection>,
    headers: HeaderMap,
) -> Result<Response, HttpError> {
    let Query(asked) = asked?;
    let timeout = asked.timeout.and_then(|ms| u64::try_from(ms).ok());
    let timeout = timeout.filter(|ms| *ms > 0).map(Duration::from_millis);
    let timeout =
        timeout.ok_or_else(|| HttpError::new(StatusCode::BAD_REQUEST, "timeout must be positive."))?;
    let asked = Counter {
        counter: asked.counter,
        hash: asked.hash,
    };
    if asked.counter < 0 {
        // The overlord fails tasks that are missing in the answer.
        let refresh = worker.backend.refresh(worker.identity);
        let refreshed = tokio::time::timeout(timeout.min(REFRESHING), refresh).await;
        refreshed.map_err(|_| Unavailable("the API server does not list the tasks in time".into()))??;
    }
    let answer = worker.line.poll(asked, timeout).await;
    respond(answer, Format::of_answer(&headers), body::takes_gzip(&headers)).await
}

async fn respond(answer: Answer, format: Format, gzip: bool) -> Result<Response, HttpError> {
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

async fn assign<B: Backend>(State(worker): Shared<B>, request: Request) -> Result<StatusCode, HttpError> {
    let (parts, body) = request.into_parts();
    let format =
        Format::of_body(&parts.headers).filter(|_| !parts.headers.contains_key(header::CONTENT_ENCODING));
    let format = format.ok_or_else(|| {
        let said = "a task must be sent as application/x-jackson-smile or application/json, without a \
            Content-Encoding";
        HttpError::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, said)
    })?;
    let most = worker.room.most();
    let (bytes, place) = worker.room.read(body).await?;
    let aside_better = bytes.len() > MANY_BYTES;
    let read = move || body::assigned(format, bytes, most);
    let task = if aside_better { aside(read).await? } else { read() }?;
    see_through(async move {
        let assigned = worker.backend.assign(worker.identity, task).await;
        // The payload is held until it is stored.
        drop(place);
        assigned
    })
    .await??;
    Ok(StatusCode::OK)
}

async fn shutdown<B: Backend>(
    State(worker): Shared<B>,
    id: Result<Path<String>, PathRejection>,
) -> Result<Response, HttpError> {
    let Path(id) = id?;
    let answer = json_body(&json!({"task": id}));
    see_through(async move { worker.backend.shutdown(worker.identity, &id).await }).await??;
    Ok(answer)
}

async fn enable<B: Backend>(State(worker): Shared<B>) -> Result<Response, HttpError> {
    set_enabled(worker, true).await
}

async fn disable<B: Backend>(State(worker): Shared<B>) -> Result<Response, HttpError> {
    set_enabled(worker, false).await
}

async fn set_enabled<B: Backend>(worker: Arc<Served<B>>, enabled: bool) -> Result<Response, HttpError> {
    let word = if enabled { "enabled" } else { "disabled" };
    let answer = json_body(&json!({&worker.address: word}));
    see_through(async move { worker.backend.enable(worker.identity, enabled).await }).await??;
    Ok(answer)
}

async fn enabled<B: Backend>(State(worker): Shared<B>) -> Response {
    json_body(&json!({&worker.address: !worker.line.disabled()}))
}

async fn tasks<B: Backend>(State(worker): Shared<B>) -> Response {
    json_body(&json!(worker.line.running()))
}

#[derive(Deserialize)]
struct Portion {
    /// As in Druid: 0 for the whole log, positive for an offset, negative for the last bytes.
    #[serde(default)]
    offset: i64,
}

/// Streams the log, neither compressed nor buffered: a user may be following it. The overlord passes the body to the
/// user whatever the status is, so the answer for a task that is not here has no body.
async fn log<B: Backend>(
    State(worker): Shared<B>,
    id: Result<Path<String>, PathRejection>,
    portion: Result<Query<Portion>, QueryRejection>,
) -> Result<Response, HttpError> {
    let (Path(id), Query(portion)) = (id?, portion?);
    let log = worker.backend.log(worker.identity, &id, portion.offset).await;
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
    if worker.discovered.load(Ordering::Relaxed) {
        StatusCode::OK
    } else {
        StatusCode::SERVICE_UNAVAILABLE
    }
}

async fn self_discovered_status<B: Backend>(State(worker): Shared<B>) -> Response {
    let discovered = worker.discovered.load(Ordering::Relaxed);
    json_body(&json!({"selfDiscovered": discovered}))
}

#[cfg(test)]
#[path = "routes_tests.rs"]
mod tests;

#[cfg(test)]
#[path = "routes_crowd_tests.rs"]
mod crowd_tests;
