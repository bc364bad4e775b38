//! `/livez`, `/readyz` and `/metrics`.
//!
//! Live: the runtime still runs its timers; a process whose runtime does not should be restarted. Ready: the custom
//! resources exist and every cache is complete, so that this process could lead at once; the body of a 503 says what is
//! missing.
//!
//! The metrics are rendered at most once a second, so that a client that requests them continuously does not slow the
//! process down.

use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::get;
use bytes::Bytes;
use parking_lot::Mutex;

use crate::metrics::Metrics;

const BEAT: Duration = Duration::from_secs(2);
const SILENT: Duration = Duration::from_secs(30);
/// How long rendered metrics are reused.
const FRESH: Duration = Duration::from_secs(1);

/// The caches that a process waits for before it is ready, and measures for its metrics.
pub trait Caches: Send + Sync {
    /// Caches that are not complete yet, one line each.
    fn pending(&self) -> Vec<String>;

    /// Sets the metrics that events do not update.
    fn measure(&self, metrics: &Metrics);
}

/// State of the process for its probes.
#[derive(Clone)]
pub struct Health(Arc<Inner>);

struct Inner {
    beat: Mutex<Instant>,
    missing: Mutex<Vec<String>>,
    caches: Mutex<Option<Arc<dyn Caches>>>,
    metrics: Metrics,
    /// The metrics last rendered, and when.
    told: tokio::sync::Mutex<Option<(Instant, Bytes)>>,
}

impl Health {
    /// A process that is live but not ready.
    #[must_use]
    pub fn new(metrics: Metrics) -> Self {
        Self(Arc::new(Inner {
            beat: Mutex::new(Instant::now()),
            missing: Mutex::new(vec!["starting".into()]),
            caches: Mutex::default(),
            metrics,
            told: tokio::sync::Mutex::default(),
        }))
    }

    /// Sets what is missing before the caches can be filled.
    pub fn missing(&self, what: Vec<String>) {
        *self.0.missing.lock() = what;
    }

    /// From now on readiness depends on the caches.
    pub fn caches(&self, caches: impl Caches + 'static) {
        *self.0.caches.lock() = Some(Arc::new(caches));
        self.0.missing.lock().clear();
    }

    /// Runs the heartbeat for as long as the runtime works.
    pub async fn beat(self) {
        let mut ticks = tokio::time::interval(BEAT);
        loop {
            ticks.tick().await;
            *self.0.beat.lock() = Instant::now();
        }
    }

    /// The routes.
    pub fn routes(self) -> Router {
        Router::new()
            .route("/livez", get(livez))
            .route("/readyz", get(readyz))
            .route("/metrics", get(metrics))
            .with_state(self)
    }

    fn pending(&self) -> Vec<String> {
        let mut pending = self.0.missing.lock().clone();
        if let Some(caches) = &*self.0.caches.lock() {
            pending.extend(caches.pending());
        }
        pending
    }
}

async fn livez(State(health): State<Health>) -> impl IntoResponse {
    let silent = health.0.beat.lock().elapsed();
    if silent > SILENT {
        return (
            StatusCode::SERVICE_UNAVAILABLE,
            format!("no heartbeat for {} s\n", silent.as_secs()),
        );
    }
    (StatusCode::OK, "ok\n".to_owned())
}

async fn readyz(State(health): State<Health>) -> impl IntoResponse {
    let pending = health.pending();
    if pending.is_empty() {
        (StatusCode::OK, "ok\n".to_owned())
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, pending.join("\n") + "\n")
    }
}

async fn metrics(State(health): State<Health>) -> impl IntoResponse {
    match text(&health).await {
        Ok(text) => {
            let format = "application/openmetrics-text; version=1.0.0; charset=utf-8";
            (StatusCode::OK, [(header::CONTENT_TYPE, format)], text).into_response()
        }
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
    }
}

async fn text(health: &Health) -> Result<Bytes, std::fmt::Error> {
    let mut told = health.0.told.lock().await;
    if let Some((at, text)) = &*told
        && at.elapsed() < FRESH
    {
        return Ok(text.clone());
    }
    let caches = health.0.caches.lock().clone();
    if let Some(caches) = caches {
        caches.measure(&health.0.metrics);
    }
    let text = Bytes::from(health.0.metrics.text()?);
    *told = Some((Instant::now(), text.clone()));
    Ok(text)
}
