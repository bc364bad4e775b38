//! The worker protocol of Druid 33 over HTTP, as an Indexer serves it.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use axum::Router;
use axum::body::Bytes;
use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use k8s_openapi::jiff::Timestamp;
use parking_lot::Mutex;
use peon_operator::druid::payload::Payload;
use peon_operator::druid::worker::{Counter, End, TaskLocation};
use peon_operator::middle_manager::registry::announcement::facts;
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::Notify;
use tokio::time::{Instant, sleep, timeout_at};

use super::history::History;

/// An Indexer at an address of its own, which runs nothing: its tasks succeed after some time, or at once.
pub struct Indexer {
    address: SocketAddr,
    runs_for: Duration,
    history: Mutex<History>,
    changed: Notify,
}

/// What a poll asks for.
#[derive(Deserialize)]
struct Asked {
    counter: i64,
    hash: Option<i64>,
    timeout: i64,
}

impl Indexer {
    pub fn new(address: SocketAddr, runs_for: Duration) -> Arc<Self> {
        Arc::new(Self {
            address,
            runs_for,
            history: Mutex::new(History::new(now())),
            changed: Notify::new(),
        })
    }

    /// Answers at its address; returns when that is possible, with what answers until it is dropped.
    pub async fn serve(self: Arc<Self>) -> anyhow::Result<impl Future<Output = std::io::Result<()>>> {
        let listener = TcpListener::bind(self.address).await;
        let listener = listener.with_context(|| format!("{} cannot be bound", self.address))?;
        let routes = Router::new()
            .route("/druid-internal/v1/worker", get(poll))
            .route("/druid-internal/v1/worker/assignTask", post(assign))
            .route("/druid/worker/v1/task/{id}/shutdown", post(shut_down))
            .route("/druid/worker/v1/enabled", get(enabled))
            .route("/druid/worker/v1/tasks", get(tasks))
            .route(
                "/status/health",
                get(async || of_json(StatusCode::OK, &json!(true))),
            )
            .route(
                "/status/properties",
                get(async || of_json(StatusCode::OK, &json!({}))),
            )
            .route("/status/selfDiscovered/status", get(async || StatusCode::OK))
            .route(
                "/status/selfDiscovered",
                get(async || of_json(StatusCode::OK, &json!({"selfDiscovered": true}))),
            )
            .with_state(self);
        Ok(axum::serve(listener, routes).into_future())
    }

    fn location(&self) -> TaskLocation {
        TaskLocation::http(self.address.ip().to_string(), self.address.port())
    }

    fn change(&self, change: impl FnOnce(&mut History)) {
        change(&mut self.history.lock());
        self.changed.notify_waiters();
    }

    fn succeeded(&self, id: &str) {
        let millis = i64::try_from(self.runs_for.as_millis()).unwrap_or(i64::MAX);
        self.change(|history| history.ended(id, End::Success, millis, self.location(), now()));
    }
}

async fn poll(State(indexer): State<Arc<Indexer>>, Query(asked): Query<Asked>) -> Response {
    let hold = u64::try_from(asked.timeout).unwrap_or_default();
    if hold == 0 {
        return of_json(
            StatusCode::BAD_REQUEST,
            &json!({"error": "timeout must be positive."}),
        );
    }
    let until = Instant::now() + Duration::from_millis(hold);
    let known = Counter {
        counter: asked.counter,
        hash: asked.hash.unwrap_or_default(),
    };
    let known = (asked.counter >= 0).then_some(known);
    loop {
        let changed = indexer.changed.notified();
        tokio::pin!(changed);
        // From here on no change is missed.
        changed.as_mut().enable();
        let answer = indexer.history.lock().answer(known);
        if let Some(answer) = answer {
            return of_json(StatusCode::OK, &json!(answer));
        }
        if timeout_at(until, changed).await.is_err() {
            return StatusCode::NO_CONTENT.into_response();
        }
    }
}

async fn assign(State(indexer): State<Arc<Indexer>>, body: Bytes) -> Response {
    let task = match Payload::parse_chunked(&body, "") {
        Ok(task) => task,
        Err(why) => return of_json(StatusCode::BAD_REQUEST, &json!({"error": why.to_string()})),
    };
    let facts = facts(&task.id, &task.type_, task.data_source.as_deref());
    let mut is_new = false;
    indexer.change(|history| {
        is_new = history.assigned(facts, now());
        if is_new {
            history.started(&task.id, indexer.location(), now());
        }
    });
    if !is_new {
        return StatusCode::OK.into_response();
    }
    if indexer.runs_for.is_zero() {
        indexer.succeeded(&task.id);
    } else {
        let indexer = indexer.clone();
        tokio::spawn(async move {
            sleep(indexer.runs_for).await;
            indexer.succeeded(&task.id);
        });
    }
    StatusCode::OK.into_response()
}

async fn shut_down(State(indexer): State<Arc<Indexer>>, Path(id): Path<String>) -> Response {
    let end = End::Failed("Task was asked to stop.".to_owned());
    indexer.change(|history| history.ended(&id, end, 0, indexer.location(), now()));
    of_json(StatusCode::OK, &json!({"task": id}))
}

async fn enabled(State(indexer): State<Arc<Indexer>>) -> Response {
    let mut all = serde_json::Map::new();
    all.insert(indexer.address.to_string(), true.into());
    of_json(StatusCode::OK, &all.into())
}

async fn tasks(State(indexer): State<Arc<Indexer>>) -> Response {
    let running = json!(indexer.history.lock().all_running());
    of_json(StatusCode::OK, &running)
}

fn of_json(status: StatusCode, value: &Value) -> Response {
    (status, [(CONTENT_TYPE, "application/json")], value.to_string()).into_response()
}

/// Milliseconds, as Druid's hashes are.
fn now() -> i64 {
    Timestamp::now().as_millisecond()
}
