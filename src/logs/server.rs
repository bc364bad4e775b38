//! The archive over HTTP, read-only: the history, logs and reports.
//!
//! It is served only on the loopback interface of the operator's pod. Users who may forward a port of that pod
//! (`pods/portforward`) may read the archive of all namespaces; clients on the pod network cannot reach it. Web pages
//! in the browser of such a user cannot read it either: the Host of a request has to be this machine's.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use axum::Router;
use axum::body::Body;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Path, Query, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::middleware::from_fn;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use bytes::Bytes;
use futures::stream::{BoxStream, StreamExt};
use jiff::Timestamp;
use serde::Deserialize;
use serde_json::json;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};

use super::format::layout::InvalidKey;
use super::format::parts::LogRange;
use super::history::reader::{self, MOST};
use super::store::archive::{Archive, ArchiveError};
use crate::process::http_server::{self, Bounds, only_local_names};

/// Default port.
pub const PORT: u16 = 8081;
/// Header of a history with older entries that were not searched.
pub const CUT: &str = "peon-history-cut";
/// Requests answered at the same time; further clients are told to try again.
const PLACES: usize = 16;
/// Default number of tasks in a history.
const DEFAULT_LIMIT: usize = 100;
/// How long a reader may accept no bytes before it is disconnected: it occupies a place.
const STALLED: Duration = Duration::from_secs(60);

/// Reports read at the same time: a report is held in memory as a whole.
const REPORTS: usize = 2;
/// Limits of its connections.
const BOUNDS: Bounds = Bounds {
    connections: 64,
    head: Duration::from_secs(10),
    stalled: STALLED,
};

#[derive(Clone)]
struct Served {
    archive: Archive,
    places: Arc<Semaphore>,
    reports: Arc<Semaphore>,
}

/// Binds the address; the future returned serves the archive.
///
/// # Errors
/// When the address cannot be bound.
pub async fn serve(
    address: SocketAddr,
    archive: Archive,
) -> anyhow::Result<impl Future<Output = ()> + Send + 'static> {
    let listener = tokio::net::TcpListener::bind(address)
        .await
        .with_context(|| format!("--archive-listen {address} cannot be bound"))?;
    Ok(http_server::serve(listener, routes(archive), BOUNDS))
}

/// The routes.
pub fn routes(archive: Archive) -> Router {
    Router::new()
        .route("/v1/history/{namespace}", get(tasks))
        .route("/v1/log", get(log))
        .route("/v1/report", get(report))
        .fallback(async || Refused::new(StatusCode::NOT_FOUND, "not found"))
        .with_state(Served {
            archive,
            places: Arc::new(Semaphore::new(PLACES)),
            reports: Arc::new(Semaphore::new(REPORTS)),
        })
        .layer(from_fn(only_local_names))
}

/// An error, as returned to the client.
struct Refused {
    code: StatusCode,
    message: String,
}

impl Refused {
    fn new(code: StatusCode, message: impl Into<String>) -> Self {
        let message = message.into();
        Self { code, message }
    }
}

impl IntoResponse for Refused {
    fn into_response(self) -> Response {
        let json = json!({"message": self.message}).to_string();
        (self.code, [(header::CONTENT_TYPE, "application/json")], json).into_response()
    }
}

impl From<ArchiveError> for Refused {
    fn from(error: ArchiveError) -> Self {
        let code = match error {
            ArchiveError::Key(_) => StatusCode::BAD_REQUEST,
            _ => StatusCode::BAD_GATEWAY,
        };
        Self::new(code, error.to_string())
    }
}

impl From<InvalidKey> for Refused {
    fn from(error: InvalidKey) -> Self {
        Self::new(StatusCode::BAD_REQUEST, error.to_string())
    }
}

impl From<QueryRejection> for Refused {
    fn from(error: QueryRejection) -> Self {
        Self::new(StatusCode::BAD_REQUEST, error.body_text())
    }
}

#[derive(Deserialize)]
struct Wanted {
    since: Option<String>,
    limit: Option<usize>,
    name: Option<String>,
}

/// The task whose log or report is requested.
#[derive(Deserialize)]
struct OfTask {
    id: String,
    uid: String,
    /// Offset of the first byte; if negative, the last bytes of the log, as in a stock overlord.
    offset: Option<i64>,
}

/// The finished tasks of a namespace, newest first, one line of JSON each.
async fn tasks(
    State(served): State<Served>,
    Path(namespace): Path<String>,
    wanted: Result<Query<Wanted>, QueryRejection>,
) -> Result<Response, Refused> {
    let place = served.place()?;
    let Query(wanted) = wanted?;
    let since = wanted.since.map_or(Ok(Timestamp::UNIX_EPOCH), |s| s.parse());
    let since =
        since.map_err(|e: jiff::Error| Refused::new(StatusCode::BAD_REQUEST, format!("since: {e}")))?;
    let limit = wanted.limit.unwrap_or(DEFAULT_LIMIT);
    if limit > MOST {
        let said = format!("limit must be at most {MOST}");
        return Err(Refused::new(StatusCode::BAD_REQUEST, said));
    }
    let query = reader::Query {
        namespace,
        since,
        limit,
        name: wanted.name,
    };
    let found = served.archive.history(query).await?;
    let lines = found.records.map(|record| record.map(line)).boxed();
    let mut response = Response::new(body(place, lines));
    let kind = HeaderValue::from_static("application/x-ndjson");
    response.headers_mut().insert(header::CONTENT_TYPE, kind);
    if found.cut {
        let headers = response.headers_mut();
        headers.insert(CUT, HeaderValue::from_static("true"));
    }
    Ok(response)
}

/// A record on one line, regardless of its writer.
fn line(record: Bytes) -> Bytes {
    let mut line: Vec<u8> = record.into();
    line.iter_mut()
        .filter(|b| matches!(**b, b'\n' | b'\r'))
        .for_each(|b| *b = b' ');
    line.push(b'\n');
    line.into()
}

/// The archived log of a task.
async fn log(
    State(served): State<Served>,
    of: Result<Query<OfTask>, QueryRejection>,
) -> Result<Response, Refused> {
    let place = served.place()?;
    let Query(of) = of?;
    let range = match of.offset {
        None => LogRange::All,
        Some(offset @ 0..) => LogRange::From(offset.unsigned_abs()),
        Some(offset) => LogRange::Last(offset.unsigned_abs()),
    };
    let task = served.archive.of_task(&of.id, &of.uid)?;
    let Some(content) = task.read_log(range).await? else {
        let said = format!("no log is archived at {}", task.log_url());
        return Err(Refused::new(StatusCode::NOT_FOUND, said));
    };
    let length = content.range.end - content.range.start;
    let mut response = Response::new(body(place, content.bytes));
    let headers = response.headers_mut();
    let kind = HeaderValue::from_static("text/plain; charset=utf-8");
    headers.insert(header::CONTENT_TYPE, kind);
    headers.insert(header::CONTENT_LENGTH, HeaderValue::from(length));
    Ok(response)
}

/// The archived report of a task.
async fn report(
    State(served): State<Served>,
    of: Result<Query<OfTask>, QueryRejection>,
) -> Result<Response, Refused> {
    let place = place_of(&served.reports, REPORTS)?;
    let Query(of) = of?;
    let task = served.archive.of_task(&of.id, &of.uid)?;
    let Some(report) = task.read_report().await? else {
        let said = format!("no report is archived at {}", task.report_url());
        return Err(Refused::new(StatusCode::NOT_FOUND, said));
    };
    let length = report.len();
    // The place is held for as long as the report is.
    let mut response = Response::new(body(place, futures::stream::iter([Ok(report)]).boxed()));
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(header::CONTENT_LENGTH, HeaderValue::from(length));
    Ok(response)
}

impl Served {
    fn place(&self) -> Result<OwnedSemaphorePermit, Refused> {
        place_of(&self.places, PLACES)
    }
}

fn place_of(places: &Arc<Semaphore>, many: usize) -> Result<OwnedSemaphorePermit, Refused> {
    let place = places.clone().try_acquire_owned();
    place.map_err(|_| {
        let said = format!(
            "{many} requests of this kind are being served, which is the limit: try again in a moment"
        );
        Refused::new(StatusCode::SERVICE_UNAVAILABLE, said)
    })
}

enum Piece {
    Some(Bytes),
    Failed(ArchiveError),
    End,
}

/// Streams the bytes for as long as the client reads them. An incomplete body ends with an error, which the client sees
/// as a broken connection.
fn body(place: OwnedSemaphorePermit, mut bytes: BoxStream<'static, Result<Bytes, ArchiveError>>) -> Body {
    let (sender, receiver) = mpsc::channel(1);
    tokio::spawn(async move {
        let _place = place;
        loop {
            let piece = match bytes.next().await {
                Some(Ok(some)) => Piece::Some(some),
                Some(Err(error)) => Piece::Failed(error),
                None => Piece::End,
            };
            let last = !matches!(piece, Piece::Some(_));
            if sender.send_timeout(piece, STALLED).await.is_err() || last {
                return;
            }
        }
    });
    let pieces = futures::stream::unfold(Some(receiver), async |receiver: Option<mpsc::Receiver<Piece>>| {
        let mut receiver = receiver?;
        match receiver.recv().await {
            Some(Piece::Some(bytes)) => Some((Ok(bytes), Some(receiver))),
            Some(Piece::End) => None,
            Some(Piece::Failed(error)) => {
                tracing::warn!(%error, "the archive failed while a response was being sent: the response \
                    is incomplete");
                Some((Err(error.to_string()), None))
            }
            None => Some((
                Err("the client did not read the response in time".to_owned()),
                None,
            )),
        }
    });
    Body::from_stream(pieces)
}

#[cfg(test)]
#[path = "server_tests.rs"]
mod tests;
