//! Requests to Indexers.
//!
//! An Indexer answers in JSON whatever is asked for, except Smile alone. On a secured Druid the user needs `STATE`
//! `READ` for the polls, and `STATE` `WRITE` for assignments and shutdowns.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::FutureExt;
use futures::future::BoxFuture;
use http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE};
use http::{HeaderValue, Method, StatusCode};
use reqwest::{Client, RequestBuilder, Response, Url};
use tokio::sync::Semaphore;
use tokio::time::timeout;

use super::decide::post::Posted;
use super::decide::view::{Target, Trouble};
use crate::druid::error_body;
use crate::druid::task_id::path_segment;
use crate::druid::worker::{Answer, Counter};
use crate::druid_http::connection::{self, InvalidCa, Trust, Unread, causes};
use crate::druid_http::credentials::Credentials;

/// How long an Indexer holds a poll if nothing changes. An open poll delays the end of its JVM on SIGTERM.
pub const HOLD: Duration = Duration::from_secs(10);
/// Time limit for a poll with its whole answer: the Indexer may be busy when the hold ends.
pub const POLL: Duration = Duration::from_secs(20);
/// Time limit for a shutdown.
pub const SHUTDOWN: Duration = Duration::from_secs(10);
/// Time limit for the question whether it is ready.
const READY: Duration = Duration::from_secs(5);
/// Most bytes of an answer that are read.
pub const MOST: usize = 4 << 20;
/// Most bytes of an answer that is only a message.
const MOST_OF_A_MESSAGE: usize = 16 << 10;
/// Most bytes of an answer that counts as small.
const SMALL: usize = 256 << 10;
/// How many answers that are not known to be small are read at the same time; others are refused, and asked for again.
const LARGE_ANSWERS: usize = 32;

static LARGE: Semaphore = Semaphore::const_new(LARGE_ANSWERS);

/// An answer to a poll.
#[derive(Debug, Clone, PartialEq)]
pub enum Polled {
    /// Something to apply.
    Answer(Answer),
    /// Nothing has changed until the hold ended.
    NothingNew,
}

/// The requests that a worker of Druid answers.
pub trait Worker: Send + Sync {
    /// Asks for what has changed since `asked`, or for everything. The caller limits the time, by [`POLL`].
    fn poll<'a>(
        &'a self,
        target: &'a Target,
        asked: Option<Counter>,
    ) -> BoxFuture<'a, Result<Polled, Trouble>>;

    /// Assigns a task, given as JSON. The same task may be assigned again. `limit` is to be shorter than the time for
    /// which this process certainly leads.
    fn assign<'a>(&'a self, target: &'a Target, task: Bytes, limit: Duration) -> BoxFuture<'a, Posted>;

    /// Asks a task to stop. An unknown id is accepted, too, and a task that the Indexer has not noticed yet is not
    /// stopped: repeat it until the end is announced.
    fn shutdown<'a>(&'a self, target: &'a Target, task_id: &'a str, limit: Duration)
    -> BoxFuture<'a, Posted>;
}

/// Settings of a client.
#[derive(Debug, Clone, Default)]
pub struct Settings {
    /// Certificates in PEM that are trusted instead of the system's.
    pub ca: Option<Vec<u8>>,
    /// Whether the Indexers speak HTTPS.
    pub tls: bool,
    /// Whether a certificate may be of another host than the one that is called. Needs `ca`.
    pub any_hostname: bool,
    /// Credentials, sent with every request. The user needs `STATE` `READ` and `WRITE`.
    pub credentials: Option<Credentials>,
}

/// Makes a client with these settings.
pub type Connect = Arc<dyn Fn(&Settings) -> Result<Arc<dyn Worker>, InvalidCa> + Send + Sync>;

/// Makes [`IndexerClient`]s.
#[must_use]
pub fn connect() -> Connect {
    Arc::new(|settings| Ok(Arc::new(IndexerClient::new(settings)?)))
}

/// A client of all Indexers with the same settings; cheap to clone.
#[derive(Debug, Clone)]
pub struct IndexerClient {
    http: Client,
    authorization: Option<HeaderValue>,
}

impl IndexerClient {
    /// A client; it does not connect yet.
    ///
    /// # Errors
    /// When the certificates cannot be used.
    pub fn new(settings: &Settings) -> Result<Self, InvalidCa> {
        Ok(Self {
            http: connection::client(&Trust {
                ca: settings.ca.as_deref(),
                tls: settings.tls,
                any_hostname: settings.any_hostname,
            })?,
            authorization: settings.credentials.as_ref().map(Credentials::header_value),
        })
    }

    /// Whether the Indexer sees its own announcement, as its readiness probe asks.
    ///
    /// # Errors
    /// When it does not say.
    pub async fn ready(&self, target: &Target) -> Result<bool, Trouble> {
        let url = url(target, "/status/selfDiscovered/status")?;
        let asked = async {
            let mut response = send(self.request(Method::GET, url)).await?;
            match response.status() {
                StatusCode::OK => Ok(true),
                StatusCode::SERVICE_UNAVAILABLE => Ok(false),
                _ => Err(refused(&mut response).await),
            }
        };
        within(READY, asked).await
    }

    async fn ask(&self, target: &Target, asked: Option<Counter>) -> Result<Polled, Trouble> {
        let mut url = url(target, "/druid-internal/v1/worker")?;
        {
            let mut query = url.query_pairs_mut();
            match asked {
                Some(Counter { counter, hash }) => query
                    .append_pair("counter", &counter.to_string())
                    .append_pair("hash", &hash.to_string()),
                None => query.append_pair("counter", "-1"),
            }
            .append_pair("timeout", &HOLD.as_millis().to_string());
        }
        let request = self.request(Method::GET, url).header(ACCEPT, "application/json");
        let mut response = send(request).await?;
        match response.status() {
            StatusCode::OK => {}
            StatusCode::NO_CONTENT => return Ok(Polled::NothingNew),
            _ => return Err(refused(&mut response).await),
        }
        let length = response.content_length().and_then(|n| usize::try_from(n).ok());
        let small = length.is_some_and(|length| length <= SMALL);
        let _permit = if small {
            None
        } else {
            let why = || Trouble::Unreachable("too many large answers are being read".to_owned());
            Some(LARGE.try_acquire().map_err(|_| why())?)
        };
        let body = read(&mut response, if small { SMALL } else { MOST }).await?;
        let answer = serde_json::from_slice(&body);
        answer
            .map(Polled::Answer)
            .map_err(|e| Trouble::Nonsense(error_body::shortened(&e.to_string())))
    }

    async fn post(&self, url: Result<Url, Trouble>, body: Option<Bytes>, limit: Duration) -> Posted {
        let url = match url {
            Ok(url) => url,
            Err(trouble) => return Posted::NotReceived(trouble.to_string()),
        };
        let mut request = self.request(Method::POST, url);
        if let Some(body) = body {
            request = request.header(CONTENT_TYPE, "application/json").body(body);
        }
        let posted = async {
            match request.send().await {
                Ok(mut response) => {
                    let status = response.status().as_u16();
                    // The status counts, whatever becomes of the body.
                    let body = connection::body(&mut response, MOST_OF_A_MESSAGE).await;
                    Posted::of_answer(status, &body.unwrap_or_default())
                }
                Err(error) if error.is_connect() || error.is_builder() => Posted::NotReceived(causes(&error)),
                Err(error) => Posted::Unknown(causes(&error)),
            }
        };
        match timeout(limit, posted).await {
            Ok(posted) => posted,
            Err(_) => Posted::Unknown(no_answer_within(limit)),
        }
    }

    fn request(&self, method: Method, url: Url) -> RequestBuilder {
        let request = self.http.request(method, url);
        match &self.authorization {
            Some(authorization) => request.header(AUTHORIZATION, authorization.clone()),
            None => request,
        }
    }
}

impl Worker for IndexerClient {
    fn poll<'a>(
        &'a self,
        target: &'a Target,
        asked: Option<Counter>,
    ) -> BoxFuture<'a, Result<Polled, Trouble>> {
        self.ask(target, asked).boxed()
    }

    fn assign<'a>(&'a self, target: &'a Target, task: Bytes, limit: Duration) -> BoxFuture<'a, Posted> {
        let url = url(target, "/druid-internal/v1/worker/assignTask");
        self.post(url, Some(task), limit).boxed()
    }

    fn shutdown<'a>(
        &'a self,
        target: &'a Target,
        task_id: &'a str,
        limit: Duration,
    ) -> BoxFuture<'a, Posted> {
        let path = format!("/druid/worker/v1/task/{}/shutdown", path_segment(task_id));
        self.post(url(target, &path), None, limit).boxed()
    }
}

async fn within<T>(limit: Duration, asked: impl Future<Output = Result<T, Trouble>>) -> Result<T, Trouble> {
    let answer = timeout(limit, asked).await;
    answer.unwrap_or_else(|_| Err(Trouble::Unreachable(no_answer_within(limit))))
}

fn no_answer_within(limit: Duration) -> String {
    format!("no answer within {} s", limit.as_secs_f32())
}

async fn send(request: RequestBuilder) -> Result<Response, Trouble> {
    let response = request.send().await;
    response.map_err(|e| Trouble::Unreachable(error_body::shortened(&causes(&e))))
}

async fn read(response: &mut Response, most: usize) -> Result<Bytes, Trouble> {
    connection::body(response, most).await.map_err(|e| match e {
        Unread::TooLong(_) => Trouble::Nonsense(e.to_string()),
        Unread::Broken(_) => Trouble::Unreachable(error_body::shortened(&e.to_string())),
    })
}

async fn refused(response: &mut Response) -> Trouble {
    let status = response.status().as_u16();
    let body = connection::body(response, MOST_OF_A_MESSAGE).await;
    let why = error_body::message(&body.unwrap_or_default());
    Trouble::Refused { status, why }
}

/// The URL of a request. The host is an address or a name, and nothing else.
fn url(target: &Target, path: &str) -> Result<Url, Trouble> {
    let scheme = if target.tls { "https" } else { "http" };
    let host = match target.host.parse() {
        Ok(std::net::IpAddr::V6(ip)) => format!("[{ip}]"),
        Ok(std::net::IpAddr::V4(ip)) => ip.to_string(),
        Err(_) => target.host.clone(),
    };
    let invalid = || Trouble::Unreachable(format!("{:?} is no address of a host", target.host));
    if host.contains(['/', '@', '?', '#', '\\', '%']) || host.is_empty() {
        return Err(invalid());
    }
    Url::parse(&format!("{scheme}://{host}:{}{path}", target.port)).map_err(|_| invalid())
}

#[cfg(test)]
#[path = "client_tests.rs"]
mod tests;
