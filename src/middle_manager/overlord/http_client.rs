//! The way to an overlord: redirects, credentials, bounds, and what an answer's status means.

use std::fmt::Write as _;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::header::{AUTHORIZATION, CONTENT_TYPE, LOCATION};
use http::{HeaderValue, Method, StatusCode};
use reqwest::{Certificate, Client, Response, Url, redirect};
use serde::de::DeserializeOwned;
use tokio::time::timeout;

use super::decide::refusal;
use super::decide::refusal::OverlordError;
use super::{InvalidSettings, Settings};
use crate::middle_manager::http::credentials::Credentials;

/// For a connection to be made.
const CONNECT: Duration = Duration::from_secs(10);
/// For a question with all its redirects and the whole answer.
const LIMIT: Duration = Duration::from_secs(60);
/// Most of an answer that is read; a task's payload can have megabytes.
const MOST: usize = 64 << 20;
/// Most of an answer that says who leads.
const MOST_OF_A_NAME: usize = 16 << 10;
/// Redirects that are followed: to the leader, and once more when that has just changed.
const REDIRECTS: usize = 4;

/// A client, the address, and whom to be.
#[derive(Debug, Clone)]
pub(super) struct HttpClient {
    http: Client,
    url: Url,
    authorization: Option<HeaderValue>,
    /// For [`HttpClient::confirm`], and only to the address that was given.
    observer: Option<HeaderValue>,
}

/// What was answered, by whom.
pub(super) struct Answer {
    url: Url,
    pub(super) status: StatusCode,
    pub(super) body: Bytes,
}

impl HttpClient {
    pub(super) fn new(settings: &Settings) -> Result<Self, InvalidSettings> {
        let url = address(&settings.url)?;
        // The client asks for the process' provider. One that is there already is the same.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let mut http = Client::builder()
            .connect_timeout(CONNECT)
            // The overlord is on the cluster's network, where a proxy of the environment does not lead.
            .no_proxy()
            // A redirect must keep the credentials, which this client would drop.
            .redirect(redirect::Policy::none());
        if let Some(pem) = &settings.ca {
            let ca = Certificate::from_pem_bundle(pem).map_err(|e| InvalidSettings::Ca(causes(&e)))?;
            if ca.is_empty() {
                return Err(InvalidSettings::Ca("there is no certificate".to_owned()));
            }
            http = http.tls_certs_only(ca);
        } else if url.scheme() != "https" {
            // An image may have no certificates, and none are needed.
            http = http.tls_certs_only([]);
        }
        Ok(Self {
            http: http.build().map_err(|e| InvalidSettings::Ca(causes(&e)))?,
            url,
            authorization: settings.credentials.as_ref().map(Credentials::header_value),
            observer: settings.observer.as_ref().map(Credentials::header_value),
        })
    }

    /// Asks, whoever it takes.
    pub(super) async fn ask(
        &self,
        method: Method,
        path: &str,
        body: Option<Bytes>,
    ) -> Result<Answer, OverlordError> {
        match timeout(LIMIT, self.ask_leader(method, path, body)).await {
            Ok(answer) => answer,
            Err(_) => Err(self.unavailable(&format!("there was no answer for {} s", LIMIT.as_secs()))),
        }
    }

    async fn ask_leader(
        &self,
        method: Method,
        path: &str,
        body: Option<Bytes>,
    ) -> Result<Answer, OverlordError> {
        let mut url = self.url_of(path);
        for _ in 0..=REDIRECTS {
            let mut request = self.http.request(method.clone(), url.clone());
            if let Some(authorization) = &self.authorization {
                request = request.header(AUTHORIZATION, authorization.clone());
            }
            if let Some(body) = &body {
                request = request
                    .header(CONTENT_TYPE, "application/json")
                    .body(body.clone());
            }
            let response = request.send().await.map_err(|e| unavailable(&url, &causes(&e)))?;
            match response.status() {
                StatusCode::TEMPORARY_REDIRECT | StatusCode::PERMANENT_REDIRECT => {
                    let to = redirected(&url, response.headers().get(LOCATION))?;
                    // Whoever answers could send the credentials and the task anywhere.
                    if to.host() != url.host() && to.host() != self.url.host() {
                        self.confirm(&to).await?;
                    }
                    url = to;
                }
                _ => return read(url, response, MOST).await,
            }
        }
        Err(unavailable(
            &url,
            "the overlords redirect to each other: none leads yet",
        ))
    }

    /// Makes sure that another host is the leader's, as the address that was given says.
    async fn confirm(&self, to: &Url) -> Result<(), OverlordError> {
        let url = self.url_of("leader");
        let mut request = self.http.get(url.clone());
        if let Some(authorization) = self.observer.as_ref().or(self.authorization.as_ref()) {
            request = request.header(AUTHORIZATION, authorization.clone());
        }
        let response = request.send().await.map_err(|e| unavailable(&url, &causes(&e)))?;
        let answer = read(url, response, MOST_OF_A_NAME).await?;
        if self.observer.is_some() && answer.is_of_rights() {
            return Err(self.unavailable(&format!(
                "it redirects to {}, and refuses to tell the user of spec.auth who leads ({}: {}), without which that is \
                 not followed: that user needs STATE READ in Druid",
                shown(to),
                answer.status,
                refusal::message(&answer.body)
            )));
        }
        let answer = answer.success()?;
        let said = String::from_utf8_lossy(&answer.body);
        let said = said.trim();
        if Url::parse(said).is_ok_and(|leader| leader.origin() == to.origin()) {
            return Ok(());
        }
        let said = if said.is_empty() { "nobody" } else { said };
        Err(self.unavailable(&format!(
            "it redirects to {}, and says that {} leads: that is not followed, since the credentials and tasks would go there",
            shown(to),
            refusal::shortened(said)
        )))
    }

    fn url_of(&self, path: &str) -> Url {
        let mut url = self.url.clone();
        url.set_path(&format!(
            "{}/druid/indexer/v1/{path}",
            url.path().trim_end_matches('/')
        ));
        url
    }

    pub(super) fn unavailable(&self, why: &str) -> OverlordError {
        unavailable(&self.url, why)
    }
}

impl Answer {
    /// This answer, if it is one of success.
    pub(super) fn success(self) -> Result<Self, OverlordError> {
        let (status, url) = (self.status, shown(&self.url));
        if status.is_success() {
            return Ok(self);
        }
        let why = refusal::message(&self.body);
        Err(match status {
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
                OverlordError::NotAuthorized { url, status, why }
            }
            StatusCode::SERVICE_UNAVAILABLE => {
                let why = format!("{status}, no overlord leads or it is starting: {why}");
                OverlordError::Unavailable { url, why }
            }
            _ if is_temporary(status) => {
                let why = format!("{status}: {why}");
                OverlordError::Unavailable { url, why }
            }
            _ => OverlordError::Unexpected {
                url,
                why: format!("{status}: {why}"),
            },
        })
    }

    /// Whether we are not let.
    fn is_of_rights(&self) -> bool {
        matches!(self.status, StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN)
    }

    /// Whether it says that what was asked for will never be done, and not that it cannot be done now or by us.
    pub(super) fn is_final_refusal(&self) -> bool {
        self.status.is_client_error() && !self.is_of_rights() && !is_temporary(self.status)
    }

    pub(super) fn json<T: DeserializeOwned>(&self) -> Result<T, OverlordError> {
        serde_json::from_slice(&self.body).map_err(|e| self.unexpected(&e.to_string()))
    }

    pub(super) fn unexpected(&self, why: &str) -> OverlordError {
        OverlordError::Unexpected {
            url: shown(&self.url),
            why: why.to_owned(),
        }
    }
}

/// Where a redirect leads. Whether it is followed to another host, [`HttpClient::confirm`] says. Never from `https` to `http`: neither the credentials nor a task's payload are for everybody
/// on the way.
fn redirected(from: &Url, location: Option<&HeaderValue>) -> Result<Url, OverlordError> {
    let unexpected = |why: String| {
        let url = shown(from);
        Err(OverlordError::Unexpected { url, why })
    };
    let Some(location) = location.and_then(|location| location.to_str().ok()) else {
        return unexpected("it redirects and does not say where to".to_owned());
    };
    match from.join(location) {
        Ok(to) if to.scheme() == "https" || (to.scheme(), from.scheme()) == ("http", "http") => Ok(to),
        Ok(to) if to.scheme() == "http" => unexpected(format!(
            "it redirects from https to {}, which is not followed; the overlords have to announce themselves with TLS",
            shown(&to)
        )),
        _ => unexpected(format!("it redirects to {}", refusal::shortened(location))),
    }
}

/// Whether another time may be better.
fn is_temporary(status: StatusCode) -> bool {
    status.is_server_error()
        || matches!(
            status,
            StatusCode::REQUEST_TIMEOUT | StatusCode::TOO_EARLY | StatusCode::TOO_MANY_REQUESTS
        )
}

/// Reads an answer, up to a bound.
async fn read(url: Url, mut response: Response, most: usize) -> Result<Answer, OverlordError> {
    let status = response.status();
    let mut body = BytesMut::new();
    while let Some(piece) = response
        .chunk()
        .await
        .map_err(|e| unavailable(&url, &causes(&e)))?
    {
        if body.len() + piece.len() > most {
            let why = format!("the answer has more than {} KiB", most >> 10);
            let url = shown(&url);
            return Err(OverlordError::Unexpected { url, why });
        }
        body.extend_from_slice(&piece);
    }
    let body = body.freeze();
    Ok(Answer { url, status, body })
}

fn unavailable(url: &Url, why: &str) -> OverlordError {
    OverlordError::Unavailable {
        url: shown(url),
        why: why.to_owned(),
    }
}

/// An address for messages: it may come from others, and end up in a status.
fn shown(url: &Url) -> String {
    refusal::shortened(url.as_str())
}

/// An error with what is behind it, and without its address, which is said already.
fn causes(error: &reqwest::Error) -> String {
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

/// Reads the address of an overlord.
fn address(text: &str) -> Result<Url, InvalidSettings> {
    let invalid = |why: &str| InvalidSettings::Url {
        url: text.to_owned(),
        why: why.to_owned(),
    };
    let url = Url::parse(text).map_err(|e| invalid(&format!("{e}; give it as http://overlord:8090")))?;
    if !matches!(url.scheme(), "http" | "https") || !url.has_host() {
        return Err(invalid("it has to begin with http:// or https://"));
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err(InvalidSettings::Url {
            url: "…".to_owned(),
            why: "it holds a user or password; those belong into the Secret of spec.auth".to_owned(),
        });
    }
    if url.query().is_some() || url.fragment().is_some() {
        return Err(invalid("it has to end before `?` and `#`"));
    }
    Ok(url)
}

#[cfg(test)]
#[path = "http_client_tests.rs"]
mod tests;
